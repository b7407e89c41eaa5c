/* DSSE envelopes (https://github.com/secure-systems-lab/dsse, v1) over the
 * statement, signed by the build's own P-256 key with SHA-256. */
#ifndef TC_CORE_DSSE_H
#define TC_CORE_DSSE_H

#include "core/digest.h"

#define TC_DSSE_PAYLOAD_TYPE "application/vnd.in-toto+json"
enum { TC_DSSE_MAX = 12 << 20, TC_DSSE_KEY_MAX = 256 };

/* PAE(type, payload): the bytes that are signed. */
void tc_dsse_pae(struct tc_span payload, struct tc_buf *buf);

/* A P-256 key pair made for one build. Opaque; holds the secret. */
struct tc_build_key;
tc_status tc_build_key_new(struct tc_build_key **ret_key, struct tc_error *err) TC_MUST_USE;
void tc_build_key_free(struct tc_build_key *key); /* accepts NULL */
/* Appends the DER SubjectPublicKeyInfo. */
tc_status tc_build_key_public(const struct tc_build_key *key, struct tc_buf *spki,
                              struct tc_error *err) TC_MUST_USE;

/* Appends the envelope's JSON: one signature, keyid = hex SHA-256 of the SPKI. */
tc_status tc_dsse_sign(const struct tc_build_key *key, struct tc_span payload, struct tc_buf *buf,
                       struct tc_error *err) TC_MUST_USE;

/* Strict: exact fields, the payload equal to `payload` byte for byte, exactly
 * one signature, by `spki` (DER; must be a P-256 key). Base64 in either alphabet;
 * keyid may be absent or empty, and is `spki`'s otherwise. */
tc_status tc_dsse_verify(struct tc_span envelope, struct tc_span payload, struct tc_span spki,
                         struct tc_error *err) TC_MUST_USE;

#endif
