#include "core/dsse.h"

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/json.h"
#include "core/jsonw.h"

const struct tc_dsse_form tc_dsse_statement = {
    .payload_type = TC_DSSE_PAYLOAD_TYPE,
    .max = TC_DSSE_MAX,
    .signatures_max = 1,
    .key_kinds = TC_KEY_P256,
};

struct tc_build_key {
    EVP_PKEY *pair;
};

static void add_pae_head(const char *type, struct tc_span payload, struct tc_buf *buf)
{
    tc_buf_add_format(buf, "DSSEv1 %zu %s %zu ", strlen(type), type, payload.size);
}

void tc_dsse_pae(const char *payload_type, struct tc_span payload, struct tc_buf *buf)
{
    add_pae_head(payload_type, payload, buf);
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
    return tc_key_public(key->pair, spki, err);
}

/* The signature is over the PAE in two pieces: no copy of the payload. */
static tc_status add_signature(const struct tc_dsse_form *form, EVP_PKEY *pair,
                               struct tc_span payload, struct tc_jsonw *w, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf spki = tc_buf_new(TC_DSSE_KEY_MAX);
    TC_AUTO_BUF struct tc_buf head = tc_buf_new(256);
    TC_CLEANUP(tc_key_free_ptr) EVP_PKEY *public_key = NULL;
    char id[TC_SHA256_HEX];
    uint8_t signature[TC_SIGNATURE_MAX];
    size_t size = 0;
    TC_TRY(tc_key_public(pair, &spki, err));
    /* What a verifier would refuse is not written. */
    TC_TRY(
        tc_pubkey_read(tc_buf_span(&spki), form->key_kinds, "the signing key", &public_key, err));
    TC_TRY(tc_key_id(tc_buf_span(&spki), id, err));
    add_pae_head(form->payload_type, payload, &head);
    TC_TRY(tc_buf_check(&head, "the envelope's head", err));
    TC_TRY(tc_key_sign(pair, tc_buf_span(&head), payload, signature, &size, err));
    tc_jsonw_object(w, NULL);
    tc_jsonw_text(w, "keyid", id);
    tc_jsonw_base64(w, "sig", (struct tc_span){signature, size});
    tc_jsonw_end_object(w);
    return TC_OK;
}

tc_status tc_dsse_sign_by(const struct tc_dsse_form *form, EVP_PKEY *const *pairs, size_t count,
                          struct tc_span payload, struct tc_buf *buf, struct tc_error *err)
{
    if (count == 0 || count > form->signatures_max)
        return tc_fail(err, TC_USAGE, "%zu keys to sign with; from 1 to %zu are allowed", count,
                       form->signatures_max);
    struct tc_jsonw w = tc_jsonw_new(buf);
    tc_jsonw_object(&w, NULL);
    tc_jsonw_base64(&w, "payload", payload);
    tc_jsonw_text(&w, "payloadType", form->payload_type);
    tc_jsonw_array(&w, "signatures");
    for (size_t i = 0; i < count; i++)
        TC_TRY(add_signature(form, pairs[i], payload, &w, err));
    tc_jsonw_end_array(&w);
    tc_jsonw_end_object(&w);
    return tc_buf_check(buf, "the envelope", err);
}

tc_status tc_dsse_sign(const struct tc_build_key *key, struct tc_span payload, struct tc_buf *buf,
                       struct tc_error *err)
{
    return tc_dsse_sign_by(&tc_dsse_statement, &key->pair, 1, payload, buf, err);
}

void tc_dsse_free(struct tc_dsse *dsse)
{
    if (!dsse) return;
    tc_buf_free(&dsse->payload);
    *dsse = (struct tc_dsse){0};
}

bool tc_dsse_names(const struct tc_dsse *dsse, const char *key_id)
{
    for (size_t i = 0; i < dsse->signatures_count; i++)
        if (!*dsse->signatures[i].key || strcmp(dsse->signatures[i].key, key_id) == 0) return true;
    return false;
}

/* Either alphabet of RFC 4648, as the protocol wants of a verifier; not both in one. */
static bool decode_base64(const char *text, size_t max, struct tc_buf *buf)
{
    if (!strpbrk(text, "-_")) return tc_base64_decode(tc_span_of_text(text), buf);
    if (strpbrk(text, "+/")) return false;
    TC_AUTO_BUF struct tc_buf standard = tc_buf_new(max);
    tc_buf_add_text(&standard, text);
    for (size_t i = 0; i < standard.size; i++) {
        if (standard.data[i] == '-') standard.data[i] = '+';
        if (standard.data[i] == '_') standard.data[i] = '/';
    }
    return tc_buf_ok(&standard) && tc_base64_decode(tc_buf_span(&standard), buf);
}

static tc_status read_signature(const struct tc_json *entry, const struct tc_dsse_form *form,
                                struct tc_dsse *dsse, struct tc_error *err)
{
    static const char *const known[] = {"keyid", "sig", NULL};
    struct tc_json field;
    const char *text = "";
    uint8_t id[TC_SHA256_SIZE];
    TC_AUTO_BUF struct tc_buf signature = tc_buf_new(TC_SIGNATURE_MAX);
    TC_TRY(tc_json_check_keys(entry, known, err));
    /* Where only one can sign, keyid is a hint that other tools leave out or empty;
     * it must not lie. */
    bool needed = form->signatures_max > 1;
    if (needed) TC_TRY(tc_json_get(entry, "keyid", &field, err));
    if (needed || tc_json_find(entry, "keyid", &field))
        TC_TRY(tc_json_string(&field, TC_SHA256_HEX - 1, &text, err));
    if (needed) TC_TRY(tc_json_hex(&field, id, sizeof id, err));
    if (tc_dsse_names(dsse, text)) return tc_json_fail(&field, err, "signs a second time");
    TC_TRY(tc_json_get(entry, "sig", &field, err));
    const char *digits;
    TC_TRY(tc_json_string(&field, 2 * TC_SIGNATURE_MAX, &digits, err));
    if (!decode_base64(digits, 2 * TC_SIGNATURE_MAX, &signature))
        return tc_json_fail(&field, err, "is not base64 of a signature");
    size_t index = dsse->signatures_count++;
    (void)snprintf(dsse->signatures[index].key, TC_SHA256_HEX, "%s", text);
    dsse->signatures[index].size = signature.size;
    if (signature.size > 0) memcpy(dsse->signatures[index].bytes, signature.data, signature.size);
    return TC_OK;
}

/* The envelope's exact fields. */
static tc_status read_envelope(const struct tc_json *top, const struct tc_dsse_form *form,
                               struct tc_dsse *dsse, struct tc_error *err)
{
    static const char *const known[] = {"payload", "payloadType", "signatures", NULL};
    struct tc_json value;
    const char *text;
    size_t count;
    TC_TRY(tc_json_check_keys(top, known, err));
    TC_TRY(tc_json_get(top, "payloadType", &value, err));
    TC_TRY(tc_json_string(&value, 64, &text, err));
    if (strcmp(text, form->payload_type) != 0)
        return tc_json_fail(&value, err, "must be %s", form->payload_type);

    TC_TRY(tc_json_get(top, "payload", &value, err));
    TC_TRY(tc_json_string(&value, form->max, &text, err));
    if (!decode_base64(text, form->max, &dsse->payload))
        return tc_json_fail(&value, err, "is not base64");

    TC_TRY(tc_json_get(top, "signatures", &value, err));
    TC_TRY(tc_json_array(&value, form->signatures_max, &count, err));
    if (count == 0)
        return tc_json_fail(&value, err, "must have %s signature",
                            form->signatures_max == 1 ? "exactly one" : "at least one");
    for (size_t i = 0; i < count; i++) {
        struct tc_json entry = tc_json_at(&value, i);
        TC_TRY(read_signature(&entry, form, dsse, err));
    }
    return TC_OK;
}

tc_status tc_dsse_read(struct tc_span envelope, const char *name, const struct tc_dsse_form *form,
                       struct tc_dsse *ret_dsse, struct tc_error *err)
{
    TC_AUTO_JSON struct tc_json_text *text = NULL;
    TC_AUTO_DSSE struct tc_dsse dsse = {.payload = tc_buf_new(form->max)};
    TC_TRY(tc_json_parse(envelope, name, form->max, &text, err));
    struct tc_json top = tc_json_top(text, name);
    TC_TRY(read_envelope(&top, form, &dsse, err));
    *ret_dsse = dsse;
    dsse = (struct tc_dsse){0};
    return TC_OK;
}

static tc_status check_by(const struct tc_dsse *dsse, const struct tc_dsse_form *form,
                          struct tc_span spki, EVP_PKEY *key, struct tc_error *err)
{
    char id[TC_SHA256_HEX];
    TC_AUTO_BUF struct tc_buf head = tc_buf_new(256);
    struct tc_span payload = tc_buf_span(&dsse->payload);
    TC_TRY(tc_key_id(spki, id, err));
    add_pae_head(form->payload_type, payload, &head);
    TC_TRY(tc_buf_check(&head, "the envelope's head", err));
    for (size_t i = 0; i < dsse->signatures_count; i++) {
        if (*dsse->signatures[i].key && strcmp(dsse->signatures[i].key, id) != 0) continue;
        struct tc_span signature = {dsse->signatures[i].bytes, dsse->signatures[i].size};
        return tc_key_verify(key, tc_buf_span(&head), payload, signature, err);
    }
    return tc_fail(err, TC_REFUSED, "no signature names the key %s", id);
}

tc_status tc_dsse_check(const struct tc_dsse *dsse, const struct tc_dsse_form *form,
                        struct tc_span spki, struct tc_error *err)
{
    TC_CLEANUP(tc_key_free_ptr) EVP_PKEY *key = NULL;
    TC_TRY(tc_pubkey_read(spki, form->key_kinds, "the signer's key", &key, err));
    return check_by(dsse, form, spki, key, err);
}

tc_status tc_dsse_verify(struct tc_span envelope, struct tc_span payload, struct tc_span spki,
                         struct tc_error *err)
{
    TC_CLEANUP(tc_key_free_ptr) EVP_PKEY *key = NULL;
    TC_AUTO_DSSE struct tc_dsse dsse = {0};
    char id[TC_SHA256_HEX];
    TC_TRY(
        tc_pubkey_read(spki, tc_dsse_statement.key_kinds, "the document's public key", &key, err));
    TC_TRY(tc_key_id(spki, id, err));
    TC_TRY(tc_dsse_read(envelope, "the envelope", &tc_dsse_statement, &dsse, err));
    if (!tc_span_equal(tc_buf_span(&dsse.payload), payload))
        return tc_fail(err, TC_REFUSED, "the envelope carries another statement than the bundle");
    if (!tc_dsse_names(&dsse, id))
        return tc_fail(err, TC_REFUSED,
                       "the envelope is signed by another key than the document's");
    tc_status status = check_by(&dsse, &tc_dsse_statement, spki, key, err);
    if (status == TC_REFUSED)
        return tc_fail(err, TC_REFUSED,
                       "the envelope's signature is not by the document's public key");
    return status;
}
