/* Keys, certificates and signed lists for tests. What fails on the way aborts. */
#ifndef TC_TESTS_TRUST_SAMPLE_H
#define TC_TESTS_TRUST_SAMPLE_H

#include <openssl/types.h>

#include "core/imagelist.h"
#include "core/signer.h"

enum sample_key_kind { SAMPLE_ED25519, SAMPLE_P256, SAMPLE_P384, SAMPLE_P521, SAMPLE_KINDS };
EVP_PKEY *sample_key(enum sample_key_kind kind);

/* PEM of the public key, or of a self-signed certificate for it. */
void sample_key_pem(EVP_PKEY *pair, struct tc_buf *ret_pem);
void sample_certificate_pem(EVP_PKEY *pair, struct tc_buf *ret_pem);
void sample_signer(struct tc_span pem, struct tc_signer *ret_signer);

/* Valid 2026-01-01 to 2036-01-01; PCRs filled with first, first + 1, first + 2. */
struct tc_image sample_image(const char *name, uint8_t first);
/* Two images, "c" with PCRs 0x10.., "rust" with 0x40..; owned. */
void sample_list(uint64_t sequence, struct tc_imagelist *ret_list);
void sample_list_of(uint64_t sequence, const struct tc_image *images, size_t count,
                    struct tc_imagelist *ret_list);
/* The signed file. */
void sample_sign(const struct tc_imagelist *list, EVP_PKEY *const *pairs, size_t count,
                 struct tc_buf *ret_envelope);

#endif
