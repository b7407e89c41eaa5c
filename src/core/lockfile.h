/* lock.json: exactly which packages a recipe came to, and what their bytes are.
 *
 *   {"lock":1,"suite":"trixie","architecture":"amd64","snapshot":"20260102T030405Z","packages":[
 *   {"name":"bash","version":"5.2.37-2","architecture":"amd64","sha256":HEX,"size":1500792,
 *    "archive":"debian","path":"pool/main/b/bash/bash_5.2.37-2_amd64.deb"},
 *   ...
 *   ]}
 *
 * one line a package (broken here), in ascending order of name, none twice, a line
 * feed at the end: one text for one lock. snapshot is the moment of locking, by which
 * an archive that keeps old states finds the packages again. No host is named: where
 * the bytes come from does not matter, their digest does. Pure. */
#ifndef TC_CORE_LOCKFILE_H
#define TC_CORE_LOCKFILE_H

#include "core/digest.h"
#include "core/recipe.h"

enum {
    TC_LOCK_MAX = 2 << 20, /* bytes of the file */
    TC_LOCK_PACKAGES_MAX = 4096,
    TC_LOCK_PATH_MAX = 512,
};
#define TC_LOCK_SIZE_MAX ((uint64_t)1 << 32) /* of one package */

enum tc_archive { TC_ARCHIVE_MAIN, TC_ARCHIVE_SECURITY, TC_ARCHIVES };
/* "debian", "debian-security": the last part of a mirror's URL too. */
const char *tc_archive_name(enum tc_archive archive);

struct tc_lock_package {
    char *name, *version, *architecture; /* "amd64" or "all" */
    struct tc_sha256 digest;             /* of the .deb file */
    uint64_t size;                       /* 1 to TC_LOCK_SIZE_MAX */
    enum tc_archive archive;
    char *path; /* in the archive: "pool/..."; safe: no "..", no odd character */
};

struct tc_lock { /* owns its strings and its list */
    char *suite;
    int64_t snapshot; /* seconds since the epoch */
    struct tc_lock_package *packages;
    size_t packages_count; /* 1 or more */
};
#define TC_AUTO_LOCK TC_CLEANUP(tc_lock_free)
void tc_lock_free(struct tc_lock *lock); /* accepts NULL and a zeroed one */
void tc_lock_package_free(struct tc_lock_package *package);

/* Strict: what it takes, write writes again byte for byte. TC_MALFORMED. */
tc_status tc_lock_read(struct tc_span json, const char *name, struct tc_lock *ret_lock,
                       struct tc_error *err) TC_MUST_USE;

/* TC_MALFORMED, and which package's what, unless all values are as above. */
tc_status tc_lock_check(const struct tc_lock *lock, struct tc_error *err) TC_MUST_USE;
/* Checked first. */
tc_status tc_lock_write(const struct tc_lock *lock, struct tc_buf *buf, struct tc_error *err)
    TC_MUST_USE;
/* Puts the packages in order. */
void tc_lock_sort(struct tc_lock *lock);

/* NULL: not in the lock. */
const struct tc_lock_package *tc_lock_find(const struct tc_lock *lock, const char *name);

/* TC_REFUSED unless the lock has the recipe's suite and each of its packages: the
 * recipe was changed after it was locked. */
tc_status tc_lock_fits(const struct tc_lock *lock, const struct tc_recipe *recipe,
                       struct tc_error *err) TC_MUST_USE;

/* TC_REFUSED, naming the first of them and how many more there are, when a package is in
 * both locks and older in `after`: nothing but an old state of an archive has that, or a
 * version that Debian took back. */
tc_status tc_lock_check_newer(const struct tc_lock *before, const struct tc_lock *after,
                              struct tc_error *err) TC_MUST_USE;

enum { TC_SNAPSHOT_TEXT_SIZE = 17 }; /* "20260102T030405Z" and NUL */
void tc_snapshot_text(int64_t seconds, char out[TC_SNAPSHOT_TEXT_SIZE]);
bool tc_snapshot_parse(const char *text, int64_t *ret_seconds) TC_MUST_USE;

#endif
