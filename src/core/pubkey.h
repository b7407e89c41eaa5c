/* Keys that sign for others to check: ed25519 and ECDSA on P-256 (with SHA-256)
 * and P-384 (with SHA-384). One DER form a key, named by its SHA-256. Pure. */
#ifndef TC_CORE_PUBKEY_H
#define TC_CORE_PUBKEY_H

#include <openssl/types.h>

#include "core/digest.h"

enum tc_key_kind { TC_KEY_ED25519 = 1, TC_KEY_P256 = 2, TC_KEY_P384 = 4 };
enum {
    TC_KEYS_ALL = TC_KEY_ED25519 | TC_KEY_P256 | TC_KEY_P384,
    TC_PUBKEY_MAX = 256,    /* bytes of a SubjectPublicKeyInfo */
    TC_SIGNATURE_MAX = 112, /* DER of two 49-byte integers is 104 */
};

/* "ed25519", "P-256", "P-384". */
const char *tc_key_kind_name(enum tc_key_kind kind);

/* A DER SubjectPublicKeyInfo of one of `kinds` in its one form: decoding and
 * encoding again must give the same bytes. TC_REFUSED begins with `what`.
 * *ret_key is owned (EVP_PKEY_free). */
tc_status tc_pubkey_read(struct tc_span spki, unsigned kinds, const char *what, EVP_PKEY **ret_key,
                         struct tc_error *err) TC_MUST_USE;

/* False for any other kind of key; works for pairs too, as do the next two. */
bool tc_key_kind(const EVP_PKEY *key, enum tc_key_kind *ret_kind) TC_MUST_USE;

/* Appends the DER SubjectPublicKeyInfo. */
tc_status tc_key_public(const EVP_PKEY *key, struct tc_buf *spki, struct tc_error *err) TC_MUST_USE;

/* The name of a key: hex SHA-256 of its SubjectPublicKeyInfo. */
tc_status tc_key_id(struct tc_span spki, char out[TC_SHA256_HEX], struct tc_error *err) TC_MUST_USE;

/* The signature is over head || body. */
tc_status tc_key_sign(EVP_PKEY *pair, struct tc_span head, struct tc_span body,
                      uint8_t out[TC_SIGNATURE_MAX], size_t *ret_size, struct tc_error *err)
    TC_MUST_USE;
/* TC_REFUSED: the signature is not this key's. */
tc_status tc_key_verify(EVP_PKEY *key, struct tc_span head, struct tc_span body,
                        struct tc_span signature, struct tc_error *err) TC_MUST_USE;

/* For TC_CLEANUP. */
void tc_key_free_ptr(EVP_PKEY **key);

#endif
