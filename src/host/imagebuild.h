/* image build: an enclave image from a recipe's folder, its lock and this project's
 * source, the same bytes wherever and whenever it is built. */
#ifndef TC_HOST_IMAGEBUILD_H
#define TC_HOST_IMAGEBUILD_H

#include "host/image_read.h"

struct tc_image_build {
    const char *recipe; /* folder with recipe.json and lock.json; NULL: rootfs is given */
    const char *rootfs; /* a folder, tar file or OCI archive in place of a recipe */
    const char *source; /* this project's tree; NULL: the nearest above the recipe, or above
                           the working folder where there is no recipe */
    const char *output; /* NAME.eif; NAME.erofs and NAME.spdx.json come beside it */
    const char *kernel; /* a bzImage; NULL: the project's own, from the cache or built */
    const char *mirror, *snapshot; /* as mirrors.h */
    bool self_contained;           /* the file system is inside the image; no NAME.erofs */
    unsigned jobs;                 /* at least 1; changes no byte */
    int interrupt_fd;              /* readable: stop, and leave nothing behind; -1: never */
    void *context;
    void (*say)(void *context, const char *text); /* what is being done; may be NULL */
};

struct tc_image_built {
    struct tc_sha256 recipe;
    struct tc_image_facts facts;
    size_t packages;    /* in the toolchain */
    uint64_t root_size; /* bytes of its file system, the hash tree included */
};
#define TC_AUTO_IMAGE_BUILT TC_CLEANUP(tc_image_built_free)
void tc_image_built_free(struct tc_image_built *built);

/* All files or none. No network unless a package is missing in the cache. TC_BUILD: a
 * step failed; the message names the file with its log, NAME.log, or NAME.1.log and so on
 * where a file of that name is no such log. TC_UNAVAILABLE: a package, a tool or a
 * feature of the machine is missing, and what to do. */
tc_status tc_image_build(const struct tc_image_build *wanted, struct tc_image_built *ret_built,
                         struct tc_error *err) TC_MUST_USE;

#endif
