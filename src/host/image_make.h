/* Writes enclave images: from their parts, or signed from an unsigned one. Each
 * reads back what it has written, and gives the file its name only then. */
#ifndef TC_HOST_IMAGE_MAKE_H
#define TC_HOST_IMAGE_MAKE_H

#include <openssl/types.h>

#include "host/image_read.h"

struct tc_image_parts {
    const char *kernel;          /* path of a bzImage */
    const char *cmdline;         /* printable ASCII */
    const char *const *ramdisks; /* paths, first one first */
    size_t ramdisks_count;
    const char *metadata; /* path of a JSON object; NULL: a minimal one */
};

/* The same bytes for the same parts, for x86_64. ret_facts is what reading the
 * result gave; it may be NULL. Files must be regular. */
tc_status tc_image_assemble(const struct tc_image_parts *parts, const char *output,
                            struct tc_image_facts *ret_facts, struct tc_error *err) TC_MUST_USE;

struct tc_image_signer {
    EVP_PKEY *key;              /* P-384, with its private part */
    struct tc_span certificate; /* DER, of that key */
    int64_t now;                /* the certificate must be valid then */
    bool replace;               /* a signature that is there already */
};

/* fd is the unsigned image, a regular file; what names it. ECDSA signatures are
 * random: two signed images of one unsigned one differ, their PCRs do not.
 * TC_REFUSED: damaged, or signed already, or a certificate that does not fit. */
tc_status tc_image_sign(int fd, const char *what, const struct tc_image_signer *signer,
                        const char *output, struct tc_image_facts *ret_facts, struct tc_error *err)
    TC_MUST_USE;

#endif
