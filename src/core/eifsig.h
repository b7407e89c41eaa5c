/* The signature section of an enclave image: a statement that the holder of a
 * certificate's key vouches for PCR0. The hardware checks it when it starts the
 * enclave and puts the certificate's digest into PCR8.
 *
 *   [ { "signing_certificate": [bytes of a PEM text], "signature": [bytes of a COSE_Sign1] } ]
 *
 * in CBOR, where the bytes are arrays of integers. The COSE_Sign1 is untagged
 * (cose.h), its payload { "register_index": 0, "register_value": [48 bytes of PCR0] }.
 * The specification allows several elements and lets the hardware look at the
 * first alone; here there is exactly one, and the certificate's text is one PEM
 * block without anything around it: what is there is what was checked. ES256,
 * ES384 and ES512 are read, ES384 is written. Pure; no clock: whether the
 * certificate is valid now is the caller's question. */
#ifndef TC_CORE_EIFSIG_H
#define TC_CORE_EIFSIG_H

#include "core/cose.h"
#include "core/digest.h"

enum { TC_EIFSIG_CERTIFICATE_MAX = 12288 }; /* bytes of the PEM text */

struct tc_eifsig {
    struct tc_buf certificate;     /* DER */
    struct tc_buf message;         /* COSE_Sign1 */
    struct tc_cose_sign1 sign1;    /* borrows from message */
    struct tc_sha384 pcr0;         /* that is signed */
    struct tc_sha384 pcr8;         /* that the certificate gives */
    int64_t not_before, not_after; /* of the certificate, both inclusive */
    EVP_PKEY *key;                 /* of the certificate */
};
#define TC_AUTO_EIFSIG TC_CLEANUP(tc_eifsig_free)

/* Takes the section apart and checks its form; no signature yet. */
tc_status tc_eifsig_decode(struct tc_span section, struct tc_eifsig *ret_signature,
                           struct tc_error *err) TC_MUST_USE;
void tc_eifsig_free(struct tc_eifsig *signature); /* accepts NULL and a zeroed one */

/* TC_REFUSED unless the certificate's key signed it, and signed this PCR0. */
tc_status tc_eifsig_verify(const struct tc_eifsig *signature, const struct tc_sha384 *pcr0,
                           struct tc_error *err) TC_MUST_USE;

/* Appends a section. TC_REFUSED unless the certificate (DER) is of the key, which
 * is on P-384. */
tc_status tc_eifsig_create(struct tc_span certificate, EVP_PKEY *key, const struct tc_sha384 *pcr0,
                           struct tc_buf *buf, struct tc_error *err) TC_MUST_USE;

/* PCR8 of images that are signed with this certificate (DER). */
tc_status tc_eifsig_pcr8(struct tc_span certificate, struct tc_sha384 *ret_pcr8,
                         struct tc_error *err) TC_MUST_USE;

#endif
