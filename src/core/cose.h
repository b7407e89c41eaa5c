/* COSE_Sign1 (RFC 9052 section 4.2) in the one form that Nitro documents have:
 * untagged, ES384, protected header exactly {1: -35}, empty unprotected map,
 * no external data. Every vendor document seen is untagged, so a tag is refused:
 * one document, one spelling.
 *
 * Images may be signed by other curves too; who accepts those says so by calling
 * tc_cose_sign1_decode_ecdsa. Nothing else differs. */
#ifndef TC_CORE_COSE_H
#define TC_CORE_COSE_H

#include <openssl/types.h>

#include "base/bytes.h"

enum {
    TC_COSE_SCALAR_SIZE = 48, /* of P-384 */
    TC_COSE_SIGNATURE_SIZE = 2 * TC_COSE_SCALAR_SIZE,
    TC_COSE_SIGNATURE_MAX = 2 * 66, /* of P-521 */
};

/* Each goes with one curve and one hash (RFC 9053 section 2.1 leaves the curve
 * open; here it is the one of the same strength). */
enum tc_cose_algorithm {
    TC_COSE_ES384 = 0, /* P-384, SHA-384: what is meant where nothing is said */
    TC_COSE_ES256,     /* P-256, SHA-256 */
    TC_COSE_ES512,     /* P-521, SHA-512 */
};
/* "ES384", ... */
const char *tc_cose_algorithm_name(enum tc_cose_algorithm algorithm);

struct tc_cose_sign1 {
    struct tc_span protected_header; /* contents of the byte string, as received */
    struct tc_span payload;
    struct tc_span signature; /* r || s */
    enum tc_cose_algorithm algorithm;
};

/* Decodes and checks everything but the signature; spans borrow from bytes. Only
 * ES384. */
tc_status tc_cose_sign1_decode(struct tc_span bytes, size_t payload_max,
                               struct tc_cose_sign1 *ret_sign1, struct tc_error *err) TC_MUST_USE;
/* The same for any of the three algorithms. */
tc_status tc_cose_sign1_decode_ecdsa(struct tc_span bytes, size_t payload_max,
                                     struct tc_cose_sign1 *ret_sign1, struct tc_error *err)
    TC_MUST_USE;

/* What an emulator's NSM makes: the same form, but for algorithm -1 and a signature of
 * zeros, which nobody made. For whoever is to sign the payload; no verifier calls this. */
tc_status tc_cose_sign1_decode_unsigned(struct tc_span bytes, size_t payload_max,
                                        struct tc_span *ret_payload, struct tc_error *err)
    TC_MUST_USE;

/* The signature by a key on the algorithm's curve over the bytes received. Either s or n - s
 * verifies, as ECDSA has it: the bytes of a document do not identify it.
 * TC_REFUSED when it does not verify. */
tc_status tc_cose_sign1_verify(const struct tc_cose_sign1 *sign1, EVP_PKEY *key,
                               struct tc_error *err) TC_MUST_USE;

/* Signs payload with a P-384 private key and appends the whole to buf. */
tc_status tc_cose_sign1_create(struct tc_span payload, EVP_PKEY *key, struct tc_buf *buf,
                               struct tc_error *err) TC_MUST_USE;

#endif
