/* images.json: a signed list of enclave images. A DSSE envelope whose payload
 * is the JSON that docs/formats.md gives; entries stand in ascending order of
 * PCR0, which alone names an image. Reader and writer stand together here.
 * Pure: who is trusted, and which list is too old, is verify/truststore.h's. */
#ifndef TC_CORE_IMAGELIST_H
#define TC_CORE_IMAGELIST_H

#include "core/dsse.h"

#define TC_IMAGELIST_TYPE "tee-compile/images/1"
#define TC_IMAGELIST_PAYLOAD_TYPE "application/vnd.tee-compile.images+json"
enum {
    TC_IMAGELIST_MAX = 4 << 20,          /* bytes of the payload */
    TC_IMAGELIST_ENVELOPE_MAX = 6 << 20, /* bytes of the file */
    TC_IMAGELIST_ENTRIES_MAX = 4096,
    TC_IMAGE_NAME_MAX = 64,
    TC_IMAGE_REASON_MAX = 256,
};
/* Up to 8 signatures by ed25519, P-256 or P-384; one by a trusted signer does. */
extern const struct tc_dsse_form tc_imagelist_form;

struct tc_image {
    char name[TC_IMAGE_NAME_MAX + 1]; /* as build.json names images */
    char version[TC_IMAGE_NAME_MAX + 1];
    char architecture[16];
    struct tc_sha384 pcr[3];
    struct tc_sha256 recipe;
    int64_t valid_from, valid_until; /* seconds since the epoch, both inclusive */
    bool revoked;
    char *reason;         /* of the revocation; owned, UTF-8 from outside */
    bool revoked_for_all; /* times; else from: */
    int64_t revoked_from;
};

struct tc_imagelist {
    uint64_t sequence; /* 1 to 2^53 - 1; a later list has a higher one */
    int64_t issued, next_update;
    struct tc_image *images; /* ascending PCR0, none twice */
    size_t images_count;
};
#define TC_AUTO_IMAGELIST TC_CLEANUP(tc_imagelist_free)
void tc_imagelist_free(struct tc_imagelist *list); /* accepts NULL and a zeroed one */

/* A draft may have its images in any order, which are then put in order; in a
 * list another order than ascending PCR0 is TC_MALFORMED, as everything is that
 * the format does not have. */
enum tc_imagelist_kind { TC_IMAGELIST_SIGNED, TC_IMAGELIST_DRAFT };
tc_status tc_imagelist_read(struct tc_span json, const char *name, enum tc_imagelist_kind kind,
                            struct tc_imagelist *ret_list, struct tc_error *err) TC_MUST_USE;

/* One byte string for one list. */
tc_status tc_imagelist_write(const struct tc_imagelist *list, struct tc_buf *buf,
                             struct tc_error *err) TC_MUST_USE;

/* NULL when no entry has this PCR0. */
const struct tc_image *tc_imagelist_find(const struct tc_imagelist *list,
                                         const struct tc_sha384 *pcr0);

/* Is the image revoked for a document signed at this time? */
bool tc_image_is_revoked(const struct tc_image *image, int64_t signed_at);

/* 1 to 64 letters, digits and any of . _ + # -, as build.json has names. */
bool tc_image_name_is_good(const char *text);
/* Not all zero: that is a debug enclave, which says nothing of its image. */
bool tc_image_pcr0_is_good(const struct tc_sha384 *pcr0);

#endif
