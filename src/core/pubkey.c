#include "core/pubkey.h"

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

static const struct {
    enum tc_key_kind kind;
    const char *name;
    const char *group;  /* of an EC key */
    const char *digest; /* NULL: the algorithm hashes by itself */
} kinds_known[] = {
    {TC_KEY_ED25519, "ed25519", NULL, NULL},
    {TC_KEY_P256, "P-256", "prime256v1", "SHA256"},
    {TC_KEY_P384, "P-384", "secp384r1", "SHA384"},
};
enum { KINDS = sizeof kinds_known / sizeof *kinds_known, JOINED_MAX = 16 << 20 };

static void free_md_ctx(EVP_MD_CTX **context)
{
    EVP_MD_CTX_free(*context);
}

void tc_key_free_ptr(EVP_PKEY **key)
{
    EVP_PKEY_free(*key); /* clears a private number */
    *key = NULL;
}

const char *tc_key_kind_name(enum tc_key_kind kind)
{
    for (size_t i = 0; i < KINDS; i++)
        if (kinds_known[i].kind == kind) return kinds_known[i].name;
    return "unknown";
}

bool tc_key_kind(const EVP_PKEY *key, enum tc_key_kind *ret_kind)
{
    char group[32] = "";
    size_t group_size = 0;
    bool curve = EVP_PKEY_is_a(key, "EC") &&
                 EVP_PKEY_get_group_name(key, group, sizeof group, &group_size) == 1;
    for (size_t i = 0; i < KINDS; i++) {
        const char *wanted = kinds_known[i].group;
        if (wanted ? !curve || strcmp(group, wanted) != 0 : !EVP_PKEY_is_a(key, "ED25519"))
            continue;
        *ret_kind = kinds_known[i].kind;
        return true;
    }
    return false;
}

/* "P-256" or "ed25519, P-256 or P-384": the names of a set. */
static const char *kinds_text(unsigned kinds, char out[64])
{
    size_t count = 0, used = 0;
    for (size_t i = 0; i < KINDS; i++)
        count += (kinds & kinds_known[i].kind) != 0;
    out[0] = '\0';
    for (size_t i = 0, seen = 0; i < KINDS; i++) {
        if (!(kinds & kinds_known[i].kind)) continue;
        seen++;
        const char *joint = seen == 1 ? "" : seen == count ? " or " : ", ";
        used += (size_t)snprintf(out + used, 64 - used, "%s%s", joint, kinds_known[i].name);
    }
    return out;
}

tc_status tc_pubkey_read(struct tc_span spki, unsigned kinds, const char *what, EVP_PKEY **ret_key,
                         struct tc_error *err)
{
    TC_CLEANUP(tc_key_free_ptr) EVP_PKEY *key = NULL;
    if (spki.size > 0 && spki.size <= TC_PUBKEY_MAX) {
        const unsigned char *next = spki.data;
        key = d2i_PUBKEY(NULL, &next, (long)spki.size);
    }
    unsigned char *der = NULL;
    int size = key ? i2d_PUBKEY(key, &der) : 0;
    bool same = size > 0 && (size_t)size == spki.size && memcmp(der, spki.data, spki.size) == 0;
    OPENSSL_free(der);
    enum tc_key_kind kind;
    char names[64];
    if (!same || !tc_key_kind(key, &kind) || !(kinds & kind))
        return tc_fail(err, TC_REFUSED, "%s is not a %s key in DER", what,
                       kinds_text(kinds, names));
    *ret_key = TC_TAKE(key);
    return TC_OK;
}

tc_status tc_key_public(const EVP_PKEY *key, struct tc_buf *spki, struct tc_error *err)
{
    unsigned char *der = NULL;
    int size = i2d_PUBKEY(key, &der);
    if (size <= 0)
        return tc_fail(err, TC_SYSTEM, "the cryptographic library could not encode the public key");
    tc_buf_add(spki, der, (size_t)size);
    OPENSSL_free(der);
    return tc_buf_check(spki, "the public key", err);
}

tc_status tc_key_id(struct tc_span spki, char out[TC_SHA256_HEX], struct tc_error *err)
{
    struct tc_sha256 digest;
    TC_TRY(tc_sha256_of(spki, &digest, err));
    tc_hex((struct tc_span){digest.bytes, sizeof digest.bytes}, out);
    return TC_OK;
}

static const char *digest_of(const EVP_PKEY *key)
{
    enum tc_key_kind kind;
    if (!tc_key_kind(key, &kind)) return NULL;
    for (size_t i = 0; i < KINDS; i++)
        if (kinds_known[i].kind == kind) return kinds_known[i].digest;
    return NULL;
}

/* ed25519 reads its text twice and takes it in one piece only; the others take
 * it in two, without a copy. */
static bool join(struct tc_span head, struct tc_span body, struct tc_buf *text)
{
    tc_buf_add_span(text, head);
    tc_buf_add_span(text, body);
    return tc_buf_ok(text);
}

static bool make_signature(EVP_MD_CTX *context, EVP_PKEY *pair, struct tc_span head,
                           struct tc_span body, uint8_t *out, size_t *size)
{
    const char *digest = digest_of(pair);
    if (EVP_DigestSignInit_ex(context, NULL, digest, NULL, NULL, pair, NULL) != 1) return false;
    if (digest)
        return EVP_DigestSignUpdate(context, head.data, head.size) == 1 &&
               EVP_DigestSignUpdate(context, body.data, body.size) == 1 &&
               EVP_DigestSignFinal(context, out, size) == 1;
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(JOINED_MAX);
    return join(head, body, &text) && EVP_DigestSign(context, out, size, text.data, text.size) == 1;
}

tc_status tc_key_sign(EVP_PKEY *pair, struct tc_span head, struct tc_span body,
                      uint8_t out[TC_SIGNATURE_MAX], size_t *ret_size, struct tc_error *err)
{
    __attribute__((cleanup(free_md_ctx))) EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t size = TC_SIGNATURE_MAX;
    enum tc_key_kind kind;
    if (!context || !tc_key_kind(pair, &kind) ||
        !make_signature(context, pair, head, body, out, &size))
        return tc_fail(err, TC_SYSTEM, "the cryptographic library could not sign");
    *ret_size = size;
    return TC_OK;
}

static bool check_signature(EVP_MD_CTX *context, bool hashed, struct tc_span head,
                            struct tc_span body, struct tc_span signature)
{
    if (hashed)
        return EVP_DigestVerifyUpdate(context, head.data, head.size) == 1 &&
               EVP_DigestVerifyUpdate(context, body.data, body.size) == 1 &&
               EVP_DigestVerifyFinal(context, signature.data, signature.size) == 1;
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(JOINED_MAX);
    return join(head, body, &text) &&
           EVP_DigestVerify(context, signature.data, signature.size, text.data, text.size) == 1;
}

tc_status tc_key_verify(EVP_PKEY *key, struct tc_span head, struct tc_span body,
                        struct tc_span signature, struct tc_error *err)
{
    __attribute__((cleanup(free_md_ctx))) EVP_MD_CTX *context = EVP_MD_CTX_new();
    const char *digest = digest_of(key);
    enum tc_key_kind kind;
    if (!context || !tc_key_kind(key, &kind) ||
        EVP_DigestVerifyInit_ex(context, NULL, digest, NULL, NULL, key, NULL) != 1)
        return tc_fail(err, TC_SYSTEM, "the cryptographic library could not start a verification");
    if (!check_signature(context, digest != NULL, head, body, signature))
        return tc_fail(err, TC_REFUSED, "the signature is not by this key");
    return TC_OK;
}
