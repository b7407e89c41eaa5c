/* What an image is made from, copied aside once: what its digest is taken over is
 * what the builder sees, and the builder sees nothing else.
 *
 * The digest of a recipe is SHA-256 over lines "HEX  PATH\n" as sha256sum prints them,
 * sorted by path; PATH says what the file is for, whatever folder it came from. */
#ifndef TC_HOST_STAGING_H
#define TC_HOST_STAGING_H

#include "core/digest.h"

struct tc_staged {
    char *path; /* as in the digest's lines */
    struct tc_sha256 digest;
};

struct tc_staging { /* owns its list */
    struct tc_staged *files;
    size_t count;
};
#define TC_AUTO_STAGING TC_CLEANUP(tc_staging_free)
void tc_staging_free(struct tc_staging *staging);

/* Copies the file `from`, or the folder with all that is below it, to `to`, whose
 * parent exists, and adds its files under `name`. Files are 0644, or 0755 when they
 * begin with "#!"; times are TC_ROOM_EPOCH. Names that begin with a dot or end in .md
 * are left out, and folders without any file, which no digest could tell; what is
 * neither file nor folder is TC_USAGE, symlinks too. */
tc_status tc_staging_copy(struct tc_staging *staging, const char *from, const char *to,
                          const char *name, struct tc_error *err) TC_MUST_USE;
/* Copies those files below `from` once more, to the existing folder `to`, whose names
 * are one of `paths` (as tc_staging_digest) and which lie below `from` by these names. */
tc_status tc_staging_select(struct tc_staging *staging, const char *from, const char *to,
                            const char *const *paths, struct tc_error *err) TC_MUST_USE;
/* A file that stays where it is. */
tc_status tc_staging_add(struct tc_staging *staging, const char *name,
                         const struct tc_sha256 *digest, struct tc_error *err) TC_MUST_USE;

/* Over the files whose path is one of `paths` or below it (ended by NULL; NULL: all).
 * TC_USAGE when one of them is no file's. */
tc_status tc_staging_digest(struct tc_staging *staging, const char *const *paths,
                            struct tc_sha256 *ret_digest, struct tc_error *err) TC_MUST_USE;

#endif
