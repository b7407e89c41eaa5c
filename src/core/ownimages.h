/* The images that the user trusts by a word of their own: own.json of the trust
 * store. Nobody signs it; it names each image by PCR0 and nothing more. Pure. */
#ifndef TC_CORE_OWNIMAGES_H
#define TC_CORE_OWNIMAGES_H

#include "core/imagelist.h"

#define TC_OWNIMAGES_TYPE "tee-compile/own-images/1"
enum { TC_OWNIMAGES_MAX = 1 << 20, TC_OWNIMAGES_ENTRIES_MAX = 1024 };

struct tc_own_image {
    char name[TC_IMAGE_NAME_MAX + 1];
    char version[TC_IMAGE_NAME_MAX + 1]; /* may be empty */
    struct tc_sha384 pcr0;
    bool has_recipe;
    struct tc_sha256 recipe;
};

/* Entries in ascending order of PCR0, none twice.
 * *ret_images is owned (free). */
tc_status tc_ownimages_read(struct tc_span json, const char *name, struct tc_own_image **ret_images,
                            size_t *ret_count, struct tc_error *err) TC_MUST_USE;
tc_status tc_ownimages_write(const struct tc_own_image *images, size_t count, struct tc_buf *buf,
                             struct tc_error *err) TC_MUST_USE;

#endif
