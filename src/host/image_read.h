/* Everything that an enclave image's file says and measures, in one pass over it. */
#ifndef TC_HOST_IMAGE_READ_H
#define TC_HOST_IMAGE_READ_H

#include "core/eif.h"
#include "core/eifmeasure.h"
#include "core/eifsig.h"

struct tc_image_section {
    struct tc_eif_section place;
    struct tc_sha256 digest; /* of the data; only where it was asked for */
};

struct tc_image_facts {
    struct tc_eif_header header;
    struct tc_image_section sections[TC_EIF_SECTIONS_MAX];
    size_t sections_count;
    struct tc_buf cmdline, metadata, signature_section;
    unsigned warnings;       /* bits of tc_eif_warning */
    struct tc_sha384 pcr[3]; /* PCR0, PCR1, PCR2 */
    bool crc_is_good;
    char crc_problem[TC_ERROR_MAX]; /* the reason when it is not */
    bool is_signed;                 /* there is a signature section */
    bool signature_is_read;         /* signature below is set, and so PCR8 is known */
    bool signature_is_good;         /* ... and it verifies and is for this image */
    char signature_problem[TC_ERROR_MAX];
    struct tc_eifsig signature;
};
#define TC_AUTO_IMAGE_FACTS TC_CLEANUP(tc_image_facts_free)

/* Reads from where fd is to its end, on up to four threads; what names the file in
 * messages. A wrong CRC and a bad signature do not fail it: they are facts, and an
 * image that has one of them is not to be used. TC_MALFORMED: no image in the form
 * of eif.h. */
tc_status tc_image_read(int fd, const char *what, bool with_digests,
                        struct tc_image_facts *ret_facts, struct tc_error *err) TC_MUST_USE;
void tc_image_facts_free(struct tc_image_facts *facts);

/* TC_REFUSED with the reason unless CRC and, where there is one, signature are good. */
tc_status tc_image_check(const struct tc_image_facts *facts, struct tc_error *err) TC_MUST_USE;

#endif
