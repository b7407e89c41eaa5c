/* Reader and writer of an image's signature section. Everything is decoded on
 * the bounded cursor; libcrypto sees the certificate's DER once its text is known
 * to be one PEM block. */
#include "core/eifsig.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/cbor.h"
#include "core/eif.h"
#include "core/pcr.h"

enum {
    MESSAGE_MAX = 1024, /* of the COSE_Sign1: a payload of at most 127 bytes, 132 of signature */
    PAYLOAD_MAX = 256,
    PEM_LINE = 64,
};
static const char pem_begin[] = "-----BEGIN CERTIFICATE-----\n";
static const char pem_end[] = "-----END CERTIFICATE-----";

static void x509_free(X509 **certificate)
{
    X509_free(*certificate);
}

void tc_eifsig_free(struct tc_eifsig *signature)
{
    if (!signature) return;
    tc_buf_free(&signature->certificate);
    tc_buf_free(&signature->message);
    EVP_PKEY_free(signature->key);
    *signature = (struct tc_eifsig){0};
}

/* The key of a map, which must be this one: the order is part of the form. */
static tc_status take_key(struct tc_cursor *cursor, struct tc_cbor_map *map, const char *name,
                          struct tc_error *err)
{
    bool more = false;
    struct tc_span text;
    TC_TRY(tc_cbor_map_next(cursor, map, &more, err));
    if (more) TC_TRY(tc_cbor_text(cursor, map->what, 64, &text, err));
    if (!more || !tc_span_equal(text, tc_span_of_text(name)))
        return tc_fail(err, TC_MALFORMED, "%s: expected the key \"%s\"", map->what, name);
    return TC_OK;
}

/* An array of integers below 256, appended to buf. */
static tc_status take_bytes(struct tc_cursor *cursor, const char *what, struct tc_buf *buf,
                            struct tc_error *err)
{
    size_t count = 0;
    TC_TRY(tc_cbor_array(cursor, what, buf->max, &count, err));
    for (size_t i = 0; i < count; i++) {
        uint64_t value = 0;
        TC_TRY(tc_cbor_unsigned(cursor, what, UINT8_MAX, &value, err));
        tc_buf_add_u8(buf, (uint8_t)value);
    }
    return tc_buf_check(buf, what, err);
}

static void add_bytes(struct tc_buf *buf, struct tc_span bytes)
{
    tc_cbor_add_array(buf, bytes.size);
    for (size_t i = 0; i < bytes.size; i++)
        tc_cbor_add_unsigned(buf, bytes.data[i]);
}

/* One PEM block: its lines are base64 of 64 characters, as every tool writes them. */
static tc_status decode_pem(struct tc_span pem, struct tc_buf *der, struct tc_error *err)
{
    size_t head = strlen(pem_begin), tail = strlen(pem_end);
    TC_AUTO_BUF struct tc_buf base64 = tc_buf_new(TC_EIFSIG_CERTIFICATE_MAX);
    if (pem.size > 0 && pem.data[pem.size - 1] == '\n') pem.size--;
    bool good = pem.size > head + tail && memcmp(pem.data, pem_begin, head) == 0 &&
                memcmp(pem.data + pem.size - tail, pem_end, tail) == 0;
    if (good) {
        pem.data += head;
        pem.size -= head + tail;
    }
    while (good && pem.size > 0) {
        const uint8_t *end = memchr(pem.data, '\n', pem.size);
        size_t line = end ? (size_t)(end - pem.data) : 0;
        good = line > 0 && line <= PEM_LINE && (line == PEM_LINE || line + 1 == pem.size);
        if (!good) break;
        tc_buf_add(&base64, pem.data, line);
        pem.data += line + 1;
        pem.size -= line + 1;
    }
    TC_TRY(tc_buf_check(&base64, "the signing certificate", err));
    if (!good || !tc_base64_decode(tc_buf_span(&base64), der) || der->size == 0)
        return tc_fail(err, TC_MALFORMED,
                       "the image's signing certificate is not one certificate in PEM with nothing "
                       "before or after it");
    return TC_OK;
}

static void encode_pem(struct tc_span der, struct tc_buf *pem)
{
    TC_AUTO_BUF struct tc_buf base64 = tc_buf_new(TC_EIFSIG_CERTIFICATE_MAX);
    tc_base64_add(&base64, der);
    if (!tc_buf_ok(&base64)) pem->failed = true;
    tc_buf_add_text(pem, pem_begin);
    for (size_t at = 0; at < base64.size; at += PEM_LINE) {
        size_t left = base64.size - at;
        tc_buf_add(pem, base64.data + at, left < PEM_LINE ? left : PEM_LINE);
        tc_buf_add_u8(pem, '\n');
    }
    tc_buf_add_text(pem, pem_end);
    tc_buf_add_u8(pem, '\n');
}

/* The certificate as libcrypto reads it, if it reads exactly these bytes: PCR8 is
 * the digest of what it writes. */
static tc_status parse_certificate(struct tc_span der, X509 **ret_certificate, struct tc_error *err)
{
    const uint8_t *next = der.data;
    X509 *certificate TC_CLEANUP(x509_free) = d2i_X509(NULL, &next, (long)der.size);
    uint8_t *again = NULL;
    int size = certificate ? i2d_X509(certificate, &again) : -1;
    bool same = size > 0 && (size_t)size == der.size && memcmp(again, der.data, der.size) == 0;
    OPENSSL_free(again);
    ERR_clear_error();
    if (!same)
        return tc_fail(err, TC_MALFORMED,
                       "the image's signing certificate is no X.509 certificate in DER");
    *ret_certificate = TC_TAKE(certificate);
    return TC_OK;
}

static bool time_of(const ASN1_TIME *time, int64_t *ret_seconds)
{
    struct tm parts;
    if (ASN1_TIME_to_tm(time, &parts) != 1) return false;
    int64_t seconds = (int64_t)timegm(&parts);
    if (seconds < 0) return false;
    *ret_seconds = seconds;
    return true;
}

static tc_status read_certificate(struct tc_eifsig *signature, struct tc_error *err)
{
    X509 *certificate TC_CLEANUP(x509_free) = NULL;
    struct tc_span der = tc_buf_span(&signature->certificate);
    TC_TRY(parse_certificate(der, &certificate, err));
    signature->key = X509_get_pubkey(certificate);
    bool good = signature->key &&
                time_of(X509_get0_notBefore(certificate), &signature->not_before) &&
                time_of(X509_get0_notAfter(certificate), &signature->not_after);
    ERR_clear_error();
    if (!good)
        return tc_fail(err, TC_MALFORMED,
                       "the image's signing certificate has no usable key or validity");
    return tc_eifsig_pcr8(der, &signature->pcr8, err);
}

static tc_status decode_payload(struct tc_span payload, struct tc_sha384 *ret_pcr0,
                                struct tc_error *err)
{
    static const char what[] = "the image's signed register";
    struct tc_cursor cursor = tc_cursor_of(payload);
    struct tc_cbor_map map = {0};
    TC_AUTO_BUF struct tc_buf value = tc_buf_new(TC_SHA384_SIZE);
    uint64_t index = 0;
    TC_TRY(tc_cbor_map(&cursor, what, 2, TC_CBOR_DEFINITE, &map, err));
    TC_TRY(take_key(&cursor, &map, "register_index", err));
    TC_TRY(tc_cbor_unsigned(&cursor, what, UINT32_MAX, &index, err));
    if (index != 0)
        return tc_fail(err, TC_REFUSED, "%s is %llu; expected 0, for PCR0", what,
                       (unsigned long long)index);
    TC_TRY(take_key(&cursor, &map, "register_value", err));
    TC_TRY(take_bytes(&cursor, what, &value, err));
    if (value.size != TC_SHA384_SIZE)
        return tc_fail(err, TC_MALFORMED, "%s has %zu bytes; expected %d", what, value.size,
                       TC_SHA384_SIZE);
    TC_TRY(tc_cbor_end(&cursor, what, err));
    memcpy(ret_pcr0->bytes, value.data, TC_SHA384_SIZE);
    return TC_OK;
}

static tc_status decode(struct tc_span section, struct tc_eifsig *signature, struct tc_error *err)
{
    static const char what[] = "the image's signature section";
    struct tc_cursor cursor = tc_cursor_of(section);
    struct tc_cbor_map map = {0};
    TC_AUTO_BUF struct tc_buf pem = tc_buf_new(TC_EIFSIG_CERTIFICATE_MAX);
    size_t count = 0;
    TC_TRY(tc_cbor_array(&cursor, what, TC_EIF_SIGNATURE_MAX, &count, err));
    if (count != 1)
        return tc_fail(err, TC_MALFORMED, "%s has %zu signatures; expected one", what, count);
    TC_TRY(tc_cbor_map(&cursor, what, 2, TC_CBOR_DEFINITE, &map, err));
    TC_TRY(take_key(&cursor, &map, "signing_certificate", err));
    TC_TRY(take_bytes(&cursor, "the image's signing certificate", &pem, err));
    TC_TRY(take_key(&cursor, &map, "signature", err));
    TC_TRY(take_bytes(&cursor, "the image's signature", &signature->message, err));
    TC_TRY(tc_cbor_end(&cursor, what, err));
    TC_TRY(decode_pem(tc_buf_span(&pem), &signature->certificate, err));
    TC_TRY(read_certificate(signature, err));
    TC_TRY(tc_cose_sign1_decode_ecdsa(tc_buf_span(&signature->message), PAYLOAD_MAX,
                                      &signature->sign1, err));
    return decode_payload(signature->sign1.payload, &signature->pcr0, err);
}

tc_status tc_eifsig_decode(struct tc_span section, struct tc_eifsig *ret_signature,
                           struct tc_error *err)
{
    struct tc_eifsig signature = {.certificate = tc_buf_new(TC_EIFSIG_CERTIFICATE_MAX),
                                  .message = tc_buf_new(MESSAGE_MAX)};
    tc_status status = decode(section, &signature, err);
    if (status == TC_OK)
        *ret_signature = signature;
    else
        tc_eifsig_free(&signature);
    return status;
}

tc_status tc_eifsig_verify(const struct tc_eifsig *signature, const struct tc_sha384 *pcr0,
                           struct tc_error *err)
{
    struct tc_error reason = {0};
    tc_status status = tc_cose_sign1_verify(&signature->sign1, signature->key, &reason);
    if (status == TC_SYSTEM) {
        *err = reason;
        return status;
    }
    if (status != TC_OK)
        return tc_fail(err, TC_REFUSED,
                       "the image's signature (%s) is not by the key of its signing certificate: "
                       "it would not start; sign it again",
                       tc_cose_algorithm_name(signature->sign1.algorithm));
    if (memcmp(signature->pcr0.bytes, pcr0->bytes, TC_SHA384_SIZE) != 0) {
        char expected[TC_SHA384_HEX], seen[TC_SHA384_HEX];
        tc_hex((struct tc_span){pcr0->bytes, TC_SHA384_SIZE}, expected);
        tc_hex((struct tc_span){signature->pcr0.bytes, TC_SHA384_SIZE}, seen);
        return tc_fail(err, TC_REFUSED,
                       "the image's signature is for another image: it signs PCR0 %s, and this "
                       "image has %s; sign it again",
                       seen, expected);
    }
    return TC_OK;
}

static tc_status check_pair(struct tc_span certificate, EVP_PKEY *key, struct tc_error *err)
{
    X509 *parsed TC_CLEANUP(x509_free) = NULL;
    TC_TRY(parse_certificate(certificate, &parsed, err));
    char group[32] = "";
    size_t size = 0;
    bool is_p384 = EVP_PKEY_is_a(key, "EC") &&
                   EVP_PKEY_get_group_name(key, group, sizeof group, &size) == 1 &&
                   strcmp(group, "secp384r1") == 0;
    bool matches = X509_check_private_key(parsed, key) == 1;
    ERR_clear_error();
    if (!is_p384)
        return tc_fail(err, TC_REFUSED, "the signing key is not on P-384, but %s",
                       group[0] ? group : "of another kind");
    if (!matches)
        return tc_fail(err, TC_REFUSED,
                       "the certificate is not of the signing key: their public keys differ");
    return TC_OK;
}

static void add_payload(const struct tc_sha384 *pcr0, struct tc_buf *buf)
{
    tc_cbor_add_map(buf, 2);
    tc_cbor_add_name(buf, "register_index");
    tc_cbor_add_unsigned(buf, 0);
    tc_cbor_add_name(buf, "register_value");
    add_bytes(buf, (struct tc_span){pcr0->bytes, TC_SHA384_SIZE});
}

tc_status tc_eifsig_create(struct tc_span certificate, EVP_PKEY *key, const struct tc_sha384 *pcr0,
                           struct tc_buf *buf, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf pem = tc_buf_new(TC_EIFSIG_CERTIFICATE_MAX);
    TC_AUTO_BUF struct tc_buf payload = tc_buf_new(PAYLOAD_MAX);
    TC_AUTO_BUF struct tc_buf message = tc_buf_new(MESSAGE_MAX);
    TC_TRY(check_pair(certificate, key, err));
    encode_pem(certificate, &pem);
    TC_TRY(tc_buf_check(&pem, "the signing certificate", err));
    add_payload(pcr0, &payload);
    TC_TRY(tc_buf_check(&payload, "what is signed", err));
    TC_TRY(tc_cose_sign1_create(tc_buf_span(&payload), key, &message, err));
    tc_cbor_add_array(buf, 1);
    tc_cbor_add_map(buf, 2);
    tc_cbor_add_name(buf, "signing_certificate");
    add_bytes(buf, tc_buf_span(&pem));
    tc_cbor_add_name(buf, "signature");
    add_bytes(buf, tc_buf_span(&message));
    return tc_buf_check(buf, "the signature section", err);
}

tc_status tc_eifsig_pcr8(struct tc_span certificate, struct tc_sha384 *ret_pcr8,
                         struct tc_error *err)
{
    struct tc_sha384 digest, pcr = {{0}};
    TC_TRY(tc_sha384_of(certificate, &digest, err));
    TC_TRY(tc_pcr_extend(&pcr, (struct tc_span){digest.bytes, sizeof digest.bytes}, err));
    *ret_pcr8 = pcr;
    return TC_OK;
}
