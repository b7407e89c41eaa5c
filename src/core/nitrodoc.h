/* AWS Nitro attestation documents: the one place that says whether a document
 * is good. COSE_Sign1 (RFC 9052) over a CBOR map (the attestation process text
 * of AWS's NSM API), a certificate chain judged at a stated time, every field
 * checked for presence, type and limit. Offline, pure, no global state. */
#ifndef TC_CORE_NITRODOC_H
#define TC_CORE_NITRODOC_H

#include "core/digest.h"

enum {
    TC_NITRODOC_MAX = 32768,         /* bytes of a document */
    TC_NITRODOC_PAYLOAD_MAX = 16384, /* bytes of its payload */
    TC_NITRODOC_FIELD_MAX = 1024,    /* user_data, nonce, public_key */
    TC_NITRODOC_MODULE_MAX = 256,
    TC_NITRODOC_PCRS = 32,
    TC_NITRODOC_CHAIN_MAX = 8,       /* certificates in cabundle */
    TC_NITRODOC_CERT_MAX = 1024,     /* bytes of each */
    TC_PCR_SIZE = TC_SHA384_SIZE,
};

/* A decoded document; spans borrow from the bytes that were parsed. */
struct tc_nitrodoc {
    struct tc_span module_id; /* UTF-8 */
    uint64_t timestamp;       /* milliseconds since the epoch, signed */
    uint32_t pcr_present;     /* bit i: PCR i is there */
    uint8_t pcr[TC_NITRODOC_PCRS][TC_PCR_SIZE];
    struct tc_span certificate; /* leaf, DER */
    struct tc_span cabundle[TC_NITRODOC_CHAIN_MAX]; /* root first */
    size_t cabundle_count;
    bool has_public_key, has_user_data, has_nonce; /* false for null and absent */
    struct tc_span public_key, user_data, nonce;
    /* COSE parts, for the signature */
    struct tc_span protected_header, payload, signature;
};

/* Step 1: decode and validate every field. No cryptography. */
tc_status tc_nitrodoc_decode(struct tc_span bytes, struct tc_nitrodoc *ret_document,
                             struct tc_error *err) TC_MUST_USE;

/* The same of an emulator's document, which nobody signed (cose.h): what it claims, for
 * the development attester to sign. No verifier calls this. */
tc_status tc_nitrodoc_decode_unsigned(struct tc_span bytes, struct tc_nitrodoc *ret_document,
                                      struct tc_error *err) TC_MUST_USE;

/* Step 2: chain from `root` (DER, one certificate, pinned by the caller) to the
 * leaf, judged at `at` (seconds since the epoch; the document's own signed time
 * for releases) and at the document's signed time, which must both be inside
 * every certificate's window; then the COSE signature by the leaf's key. */
tc_status tc_nitrodoc_authenticate(const struct tc_nitrodoc *document, struct tc_span root,
                                   int64_t at, struct tc_error *err) TC_MUST_USE;

/* The payload that decode reads, for the development attester to sign with
 * tc_cose_sign1_create; the document's COSE parts are not looked at. */
void tc_nitrodoc_encode_payload(const struct tc_nitrodoc *document, struct tc_buf *buf);

/* PCR0 all zero: a debug enclave, whose memory its host can read. */
bool tc_nitrodoc_is_debug(const struct tc_nitrodoc *document);

/* The AWS Nitro Enclaves root G1, embedded; SHA-256 fingerprint
 * 641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b. */
struct tc_span tc_aws_root(void);
/* True only for a certificate with that fingerprint. */
bool tc_is_aws_root(struct tc_span root_der);

#endif
