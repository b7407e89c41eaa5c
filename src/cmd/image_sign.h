/* Signing lists of images. */
#ifndef TC_CMD_IMAGE_SIGN_H
#define TC_CMD_IMAGE_SIGN_H

#include "core/imagelist.h"

struct tc_sign_request {
    const char *keys[TC_DSSE_SIGNATURES_MAX]; /* private, PEM, a path each */
    size_t keys_count;
    const char *draft;  /* the payload's JSON, images in any order */
    const char *output; /* replaced in one step */
};

struct tc_sign_result {
    char ids[TC_DSSE_SIGNATURES_MAX][TC_SHA256_HEX];
    uint64_t sequence;
    size_t images;
};

/* Reads the draft, signs, reads back and verifies what it made, then names it. */
tc_status tc_sign_images(const struct tc_sign_request *request, struct tc_sign_result *ret_result,
                         struct tc_error *err) TC_MUST_USE;

#endif
