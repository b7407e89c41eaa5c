/* go.sum's digests of what a module proxy serves ("h1:" of Go's dirhash), computed while the
 * bytes pass. Pure; memory is bounded by the caps below, whatever the zip says.
 *
 *   of a go.mod:  SHA-256 of "HEX  go.mod" LF, HEX: the file's SHA-256
 *   of a zip:     SHA-256 of "HEX  NAME" LF for each file in it, by NAME
 */
#ifndef TC_CORE_GOZIP_H
#define TC_CORE_GOZIP_H

#include "core/digest.h"

enum {
    TC_GOZIP_SIZE_MAX = 500 << 20, /* of the zip, and of all files in it: go's own cap */
    TC_GOZIP_FILES_MAX = 65534,    /* more need zip64 */
    TC_GOZIP_NAMES_MAX = 16 << 20, /* bytes of all names */
};

/* digest: SHA-256 of the go.mod's bytes. */
tc_status tc_go_mod_digest(const struct tc_sha256 *digest, struct tc_sha256 *ret_h1,
                           struct tc_error *err) TC_MUST_USE;

/* A zip as its bytes come. Only the plain form that go's proxies write is read: no gap, no
 * comment, no zip64, and a directory that says of each file what stood before its bytes;
 * everything else has no digest, so nobody can see other files in it. */
struct tc_gozip;
#define TC_AUTO_GOZIP TC_CLEANUP(tc_gozip_free_ptr)

struct tc_gozip *tc_gozip_new(void) TC_MUST_USE; /* NULL: no memory */
void tc_gozip_free(struct tc_gozip *zip);        /* accepts NULL */
void tc_gozip_free_ptr(struct tc_gozip **zip);
/* Never fails: once the bytes are no zip of that form the rest is skipped at no cost. */
void tc_gozip_add(struct tc_gozip *zip, struct tc_span bytes);
/* TC_MALFORMED, TC_LIMIT: it has no digest, and the message says why. */
tc_status tc_gozip_finish(struct tc_gozip *zip, struct tc_sha256 *ret_h1, struct tc_error *err)
    TC_MUST_USE;

#endif
