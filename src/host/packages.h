/* The packages of a lock as files: from the cache, from the mirror, from the snapshot
 * archive, in this order. Each file is checked by size and SHA-256 every time it is
 * handed out, the cached ones too. */
#ifndef TC_HOST_PACKAGES_H
#define TC_HOST_PACKAGES_H

#include "host/mirrors.h"

/* $XDG_CACHE_HOME/tee-compile/NAME, else $HOME/.cache/tee-compile/NAME; made where it
 * is missing, 0700. *ret_path is owned. */
tc_status tc_cache_folder(const char *name, char **ret_path, struct tc_error *err) TC_MUST_USE;

struct tc_packages {
    const char *cache; /* folder with SHA256.deb files: tc_cache_folder("packages") */
    const struct tc_mirrors *mirrors;
    void *context;
    /* Before a package is fetched, and while it is: done and total are bytes of all
     * that have to be fetched. A failure ends it. May be NULL. */
    tc_status (*on_progress)(void *context, const struct tc_lock_package *package, uint64_t done,
                             uint64_t total, struct tc_error *err);
};

/* All of the lock's packages are in the cache afterwards. TC_UNAVAILABLE names the
 * first that is nowhere to be had, where it was looked for, and what to do. */
tc_status tc_packages_fetch(const struct tc_packages *packages, const struct tc_lock *lock,
                            struct tc_error *err) TC_MUST_USE;

/* Puts each into an existing folder as SHA256.deb, from the cache alone: what was
 * checked is what lies there. It may be a link to the cache's own file: mount the
 * folder read-only. */
tc_status tc_packages_place(const struct tc_packages *packages, const struct tc_lock *lock,
                            const char *folder, struct tc_error *err) TC_MUST_USE;

#endif
