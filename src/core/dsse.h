/* DSSE envelopes (https://github.com/secure-systems-lab/dsse, v1). One reader
 * and one verifier for every kind of payload; what may stand in an envelope and
 * who may sign it is the form's: the statement's takes exactly one signature by
 * a P-256 key, lists of images take several by other keys too. */
#ifndef TC_CORE_DSSE_H
#define TC_CORE_DSSE_H

#include "core/pubkey.h"

#define TC_DSSE_PAYLOAD_TYPE "application/vnd.in-toto+json"
enum { TC_DSSE_MAX = 23 << 20, TC_DSSE_KEY_MAX = TC_PUBKEY_MAX, TC_DSSE_SIGNATURES_MAX = 8 };

struct tc_dsse_form {
    const char *payload_type;
    size_t max;            /* bytes of the envelope */
    size_t signatures_max; /* at most TC_DSSE_SIGNATURES_MAX */
    unsigned key_kinds;    /* of tc_key_kind */
};
/* The build's statement: one signature, P-256 with SHA-256. */
extern const struct tc_dsse_form tc_dsse_statement;

/* PAE(type, payload): the bytes that are signed. */
void tc_dsse_pae(const char *payload_type, struct tc_span payload, struct tc_buf *buf);

/* A P-256 key pair made for one build. Opaque; holds the secret. */
struct tc_build_key;
tc_status tc_build_key_new(struct tc_build_key **ret_key, struct tc_error *err) TC_MUST_USE;
void tc_build_key_free(struct tc_build_key *key); /* accepts NULL */
/* Appends the DER SubjectPublicKeyInfo. */
tc_status tc_build_key_public(const struct tc_build_key *key, struct tc_buf *spki,
                              struct tc_error *err) TC_MUST_USE;

/* Appends the envelope's JSON: a signature by each pair, keyid = tc_key_id. The
 * pairs must be of the form's kinds, and differ, or the result does not read. */
tc_status tc_dsse_sign_by(const struct tc_dsse_form *form, EVP_PKEY *const *pairs, size_t count,
                          struct tc_span payload, struct tc_buf *buf, struct tc_error *err)
    TC_MUST_USE;
/* The same in the statement's form, by the build's key. */
tc_status tc_dsse_sign(const struct tc_build_key *key, struct tc_span payload, struct tc_buf *buf,
                       struct tc_error *err) TC_MUST_USE;

/* An envelope that was read and not yet judged. */
struct tc_dsse {
    struct tc_buf payload; /* owned */
    struct {
        char key[TC_SHA256_HEX]; /* keyid */
        uint8_t bytes[TC_SIGNATURE_MAX];
        size_t size;
    } signatures[TC_DSSE_SIGNATURES_MAX];
    size_t signatures_count; /* at least one; no keyid twice */
};
#define TC_AUTO_DSSE TC_CLEANUP(tc_dsse_free)
void tc_dsse_free(struct tc_dsse *dsse); /* accepts NULL and a zeroed one */

/* Step 1: exact fields, the form's payload type and bounds. TC_MALFORMED. name
 * is how messages call the envelope. */
tc_status tc_dsse_read(struct tc_span envelope, const char *name, const struct tc_dsse_form *form,
                       struct tc_dsse *ret_dsse, struct tc_error *err) TC_MUST_USE;

/* Is there a signature that names this key? Says nothing about it being good. */
bool tc_dsse_names(const struct tc_dsse *dsse, const char *key_id);

/* Step 2: TC_REFUSED when no signature names `spki` (DER), when the one that
 * does is not by it, or when the form does not permit such a key. Signatures by
 * others are not looked at. */
tc_status tc_dsse_check(const struct tc_dsse *dsse, const struct tc_dsse_form *form,
                        struct tc_span spki, struct tc_error *err) TC_MUST_USE;

/* Both steps for a statement, strictly: the payload equal to `payload` byte for
 * byte, exactly one signature, by `spki` (DER; must be a P-256 key).
 * keyid may be absent or empty, and is `spki`'s otherwise. */
tc_status tc_dsse_verify(struct tc_span envelope, struct tc_span payload, struct tc_span spki,
                         struct tc_error *err) TC_MUST_USE;

#endif
