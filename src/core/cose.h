/* COSE_Sign1 (RFC 9052 section 4.2) in the one form that Nitro documents have:
 * untagged, ES384, protected header exactly {1: -35}, empty unprotected map,
 * no external data. Every vendor document seen is untagged, so a tag is refused:
 * one document, one spelling. */
#ifndef TC_CORE_COSE_H
#define TC_CORE_COSE_H

#include <openssl/types.h>

#include "base/bytes.h"

enum {
    TC_COSE_SCALAR_SIZE = 48, /* of P-384 */
    TC_COSE_SIGNATURE_SIZE = 2 * TC_COSE_SCALAR_SIZE,
};

struct tc_cose_sign1 {
    struct tc_span protected_header; /* contents of the byte string, as received */
    struct tc_span payload;
    struct tc_span signature; /* r || s */
};

/* Decodes and checks everything but the signature; spans borrow from bytes. */
tc_status tc_cose_sign1_decode(struct tc_span bytes, size_t payload_max,
                               struct tc_cose_sign1 *ret_sign1, struct tc_error *err) TC_MUST_USE;

/* The signature by a P-384 key over the bytes received. Either s or n - s
 * verifies, as ECDSA has it: the bytes of a document do not identify it.
 * TC_REFUSED when it does not verify. */
tc_status tc_cose_sign1_verify(const struct tc_cose_sign1 *sign1, EVP_PKEY *key,
                               struct tc_error *err) TC_MUST_USE;

/* Signs payload with a P-384 private key and appends the whole to buf. */
tc_status tc_cose_sign1_create(struct tc_span payload, EVP_PKEY *key, struct tc_buf *buf,
                               struct tc_error *err) TC_MUST_USE;

#endif
