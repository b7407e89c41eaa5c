/* Where Debian's packages come from. The product names no host: mirrors are said by
 * the user or by the machine's own apt, a snapshot archive by the user alone. Which
 * they are is a question of being reached, not of trust: apt's signatures judge what
 * is locked, the lock's digests what is fetched. */
#ifndef TC_HOST_MIRRORS_H
#define TC_HOST_MIRRORS_H

#include "core/lockfile.h"

struct tc_mirrors { /* owns its strings */
    /* By enum tc_archive: URLs (http, https, file) without a slash at the end, below
     * which lie dists/ and pool/; NULL: not known. */
    char *archive[TC_ARCHIVES];
    /* URL below which lie ARCHIVE/YYYYMMDDTHHMMSSZ/pool/...; NULL: none. */
    char *snapshot;
};
#define TC_AUTO_MIRRORS TC_CLEANUP(tc_mirrors_free)
void tc_mirrors_free(struct tc_mirrors *mirrors); /* accepts NULL and a zeroed one */

/* mirror: the URL of a copy of the archive "debian", its security archive being the
 * URL with "-security" behind it; NULL: what /etc/apt says. snapshot: NULL: what
 * TEE_COMPILE_SNAPSHOT says. An archive that nobody names is none. TC_USAGE for what
 * is no URL of these kinds. */
tc_status tc_mirrors_find(const char *mirror, const char *snapshot, struct tc_mirrors *ret_mirrors,
                          struct tc_error *err) TC_MUST_USE;

/* The same from another folder than /etc/apt: sources.list, sources.list.d. Both of
 * apt's notations; "mirror+file:" is followed into its file. First wins. */
tc_status tc_mirrors_of_apt(const char *folder, struct tc_mirrors *mirrors, struct tc_error *err)
    TC_MUST_USE;

#endif
