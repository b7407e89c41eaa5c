#include "core/dsse.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/json.h"
#include "core/jsonw.h"

enum { SIGNATURE_MAX = 80 }; /* DER of two 33-byte integers is 72 */

struct tc_build_key {
    EVP_PKEY *pair;
};

static void free_pkey(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

static void free_md_ctx(EVP_MD_CTX **context)
{
    EVP_MD_CTX_free(*context);
}

static void add_pae_head(struct tc_span payload, struct tc_buf *buf)
{
    tc_buf_add_format(buf, "DSSEv1 %zu %s %zu ", strlen(TC_DSSE_PAYLOAD_TYPE), TC_DSSE_PAYLOAD_TYPE,
                      payload.size);
}

void tc_dsse_pae(struct tc_span payload, struct tc_buf *buf)
{
    add_pae_head(payload, buf);
    tc_buf_add_span(buf, payload);
}

tc_status tc_build_key_new(struct tc_build_key **ret_key, struct tc_error *err)
{
    struct tc_build_key *key = calloc(1, sizeof *key);
    if (!key) return tc_fail(err, TC_SYSTEM, "out of memory for the build's key");
    key->pair = EVP_EC_gen("P-256");
    if (!key->pair) {
        free(key);
        return tc_fail(err, TC_SYSTEM, "the cryptographic library could not make a P-256 key");
    }
    *ret_key = key;
    return TC_OK;
}

void tc_build_key_free(struct tc_build_key *key)
{
    if (!key) return;
    EVP_PKEY_free(key->pair); /* clears the private number */
    free(key);
}

tc_status tc_build_key_public(const struct tc_build_key *key, struct tc_buf *spki,
                              struct tc_error *err)
{
    unsigned char *der = NULL;
    int size = i2d_PUBKEY(key->pair, &der);
    if (size <= 0)
        return tc_fail(err, TC_SYSTEM, "the cryptographic library could not encode the public key");
    tc_buf_add(spki, der, (size_t)size);
    OPENSSL_free(der);
    return tc_buf_check(spki, "the public key", err);
}

static tc_status key_id(struct tc_span spki, char out[TC_SHA256_HEX], struct tc_error *err)
{
    struct tc_sha256 digest;
    TC_TRY(tc_sha256_of(spki, &digest, err));
    tc_hex((struct tc_span){digest.bytes, sizeof digest.bytes}, out);
    return TC_OK;
}

/* The signature is over the PAE, hashed in two pieces: no copy of the payload. */
static int add_pae(EVP_MD_CTX *context, struct tc_span payload,
                   int (*update)(EVP_MD_CTX *, const void *, size_t))
{
    TC_AUTO_BUF struct tc_buf head = tc_buf_new(128);
    add_pae_head(payload, &head);
    return tc_buf_ok(&head) && update(context, head.data, head.size) == 1 &&
           update(context, payload.data, payload.size) == 1;
}

static tc_status sign(const struct tc_build_key *key, struct tc_span payload,
                      uint8_t out[SIGNATURE_MAX], size_t *ret_size, struct tc_error *err)
{
    __attribute__((cleanup(free_md_ctx))) EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t size = SIGNATURE_MAX;
    if (!context || EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key->pair) != 1 ||
        !add_pae(context, payload, EVP_DigestSignUpdate) ||
        EVP_DigestSignFinal(context, out, &size) != 1)
        return tc_fail(err, TC_SYSTEM, "the cryptographic library could not sign the statement");
    *ret_size = size;
    return TC_OK;
}

tc_status tc_dsse_sign(const struct tc_build_key *key, struct tc_span payload, struct tc_buf *buf,
                       struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf spki = tc_buf_new(TC_DSSE_KEY_MAX);
    char id[TC_SHA256_HEX];
    uint8_t signature[SIGNATURE_MAX];
    size_t signature_size = 0;
    TC_TRY(tc_build_key_public(key, &spki, err));
    TC_TRY(key_id(tc_buf_span(&spki), id, err));
    TC_TRY(sign(key, payload, signature, &signature_size, err));

    struct tc_jsonw w = tc_jsonw_new(buf);
    tc_jsonw_object(&w, NULL);
    tc_jsonw_base64(&w, "payload", payload);
    tc_jsonw_text(&w, "payloadType", TC_DSSE_PAYLOAD_TYPE);
    tc_jsonw_array(&w, "signatures");
    tc_jsonw_object(&w, NULL);
    tc_jsonw_text(&w, "keyid", id);
    tc_jsonw_base64(&w, "sig", (struct tc_span){signature, signature_size});
    tc_jsonw_end_object(&w);
    tc_jsonw_end_array(&w);
    tc_jsonw_end_object(&w);
    return tc_buf_check(buf, "the envelope", err);
}

/* A P-256 key in the one DER form of it: decoding and encoding again must give
 * the same bytes. */
static tc_status read_key(struct tc_span spki, EVP_PKEY **ret_key, struct tc_error *err)
{
    __attribute__((cleanup(free_pkey))) EVP_PKEY *key = NULL;
    if (spki.size > 0 && spki.size <= TC_DSSE_KEY_MAX) {
        const unsigned char *next = spki.data;
        key = d2i_PUBKEY(NULL, &next, (long)spki.size);
    }
    unsigned char *der = NULL;
    int size = key ? i2d_PUBKEY(key, &der) : 0;
    bool same = size > 0 && (size_t)size == spki.size && memcmp(der, spki.data, spki.size) == 0;
    OPENSSL_free(der);
    char group[32] = "";
    size_t group_size = 0;
    if (!same || !EVP_PKEY_is_a(key, "EC") ||
        EVP_PKEY_get_group_name(key, group, sizeof group, &group_size) != 1 ||
        strcmp(group, "prime256v1") != 0)
        return tc_fail(err, TC_REFUSED, "the document's public key is not a P-256 key in DER");
    *ret_key = TC_TAKE(key);
    return TC_OK;
}

/* Either alphabet of RFC 4648, as the protocol wants of a verifier; not both in one. */
static bool decode_base64(const char *text, struct tc_buf *buf)
{
    if (!strpbrk(text, "-_")) return tc_base64_decode(tc_span_of_text(text), buf);
    if (strpbrk(text, "+/")) return false;
    TC_AUTO_BUF struct tc_buf standard = tc_buf_new(TC_DSSE_MAX);
    tc_buf_add_text(&standard, text);
    for (size_t i = 0; i < standard.size; i++) {
        if (standard.data[i] == '-') standard.data[i] = '+';
        if (standard.data[i] == '_') standard.data[i] = '/';
    }
    return tc_buf_ok(&standard) && tc_base64_decode(tc_buf_span(&standard), buf);
}

/* Reads the one signature out of the envelope's exact fields. */
static tc_status read_envelope(const struct tc_json *top, struct tc_span payload, const char *id,
                               struct tc_buf *signature, struct tc_error *err)
{
    static const char *const known[] = {"payload", "payloadType", "signatures", NULL};
    static const char *const known_signature[] = {"keyid", "sig", NULL};
    struct tc_json value;
    const char *text;
    TC_TRY(tc_json_check_keys(top, known, err));
    TC_TRY(tc_json_get(top, "payloadType", &value, err));
    TC_TRY(tc_json_string(&value, 64, &text, err));
    if (strcmp(text, TC_DSSE_PAYLOAD_TYPE) != 0)
        return tc_json_fail(&value, err, "must be " TC_DSSE_PAYLOAD_TYPE);

    TC_TRY(tc_json_get(top, "payload", &value, err));
    TC_TRY(tc_json_string(&value, TC_DSSE_MAX, &text, err));
    TC_AUTO_BUF struct tc_buf content = tc_buf_new(TC_DSSE_MAX);
    if (!decode_base64(text, &content))
        return tc_json_fail(&value, err, "is not base64");
    if (!tc_span_equal(tc_buf_span(&content), payload))
        return tc_fail(err, TC_REFUSED, "the envelope carries another statement than the bundle");

    size_t count;
    TC_TRY(tc_json_get(top, "signatures", &value, err));
    TC_TRY(tc_json_array(&value, 1, &count, err));
    if (count != 1) return tc_json_fail(&value, err, "must have exactly one signature");
    struct tc_json entry = tc_json_at(&value, 0), field;
    TC_TRY(tc_json_check_keys(&entry, known_signature, err));
    /* A hint that other tools leave out or empty; where it is there it must not lie. */
    if (tc_json_find(&entry, "keyid", &field)) {
        TC_TRY(tc_json_string(&field, TC_SHA256_HEX, &text, err));
        if (*text && strcmp(text, id) != 0)
            return tc_fail(err, TC_REFUSED,
                           "the envelope is signed by another key than the document's");
    }
    TC_TRY(tc_json_get(&entry, "sig", &field, err));
    TC_TRY(tc_json_string(&field, 2 * SIGNATURE_MAX, &text, err));
    if (!decode_base64(text, signature))
        return tc_json_fail(&field, err, "is not base64 of a signature");
    return TC_OK;
}

tc_status tc_dsse_verify(struct tc_span envelope, struct tc_span payload, struct tc_span spki,
                         struct tc_error *err)
{
    __attribute__((cleanup(free_pkey))) EVP_PKEY *key = NULL;
    __attribute__((cleanup(free_md_ctx))) EVP_MD_CTX *context = NULL;
    TC_AUTO_JSON struct tc_json_text *text = NULL;
    TC_AUTO_BUF struct tc_buf signature = tc_buf_new(SIGNATURE_MAX);
    char id[TC_SHA256_HEX];
    TC_TRY(read_key(spki, &key, err));
    TC_TRY(key_id(spki, id, err));
    TC_TRY(tc_json_parse(envelope, "the envelope", TC_DSSE_MAX, &text, err));
    struct tc_json top = tc_json_top(text, "the envelope");
    TC_TRY(read_envelope(&top, payload, id, &signature, err));

    context = EVP_MD_CTX_new();
    if (!context || EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) != 1)
        return tc_fail(err, TC_SYSTEM, "the cryptographic library could not start a verification");
    if (!add_pae(context, payload, EVP_DigestVerifyUpdate) ||
        EVP_DigestVerifyFinal(context, signature.data, signature.size) != 1)
        return tc_fail(err, TC_REFUSED,
                       "the envelope's signature is not by the document's public key");
    return TC_OK;
}
