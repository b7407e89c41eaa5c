/* What the parts of the image store share. */
#ifndef TC_HOST_IMAGESTORE_INTERNAL_H
#define TC_HOST_IMAGESTORE_INTERNAL_H

#include "host/imagestore.h"

#define TC_STORE_EIF "image.eif"
#define TC_STORE_ROOT "image.erofs"
#define TC_STORE_SBOM "image.spdx.json"
#define TC_STORE_NAMES "names"
#define TC_STORE_PART ".part-"

struct tc_imagestore {
    int fd; /* -1: not there */
    char *folder;
};

/* A folder of the store; *ret_fd -1 when it is not there. */
tc_status tc_imagestore_subfolder(const struct tc_imagestore *store, const char *name, int *ret_fd,
                                  struct tc_error *err) TC_MUST_USE;

/* The PCR0 that names/NAME holds. */
tc_status tc_imagestore_read_name(const struct tc_imagestore *store, const char *name,
                                  bool *ret_found, struct tc_sha384 *ret_pcr0, struct tc_error *err)
    TC_MUST_USE;

#endif
