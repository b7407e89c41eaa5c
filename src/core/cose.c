#include "core/cose.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>

#include "base/cleanup.h"
#include "core/cbor.h"

enum {
    HEADER_ALG = 1,
    ALG_ES384 = -35,
    ALG_UNSIGNED = -1,
    PROTECTED_MAX = 64,
    DER_SIGNATURE_MAX = 128, /* SEQUENCE of two integers of at most 49 bytes */
};

static void free_signature(ECDSA_SIG **signature)
{
    ECDSA_SIG_free(*signature);
}

static void free_context(EVP_MD_CTX **context)
{
    EVP_MD_CTX_free(*context);
}

static void free_openssl(uint8_t **bytes)
{
    OPENSSL_free(*bytes);
}

/* {1: -35} and nothing else: no crit, no second alg, no content type. */
static tc_status check_protected(struct tc_span bytes, struct tc_error *err)
{
    static const char what[] = "COSE protected header";
    struct tc_cursor cursor = tc_cursor_of(bytes);
    struct tc_cbor_map map = {0};
    bool more = false;
    int64_t label = 0, alg = 0;
    TC_TRY(tc_cbor_map(&cursor, what, 1, TC_CBOR_DEFINITE, &map, err));
    TC_TRY(tc_cbor_map_next(&cursor, &map, &more, err));
    if (!more) return tc_fail(err, TC_MALFORMED, "%s: no algorithm; expected ES384 (-35)", what);
    TC_TRY(tc_cbor_integer(&cursor, what, &label, err));
    if (label != HEADER_ALG)
        return tc_fail(err, TC_MALFORMED, "%s: label %lld; expected alg (1) alone", what,
                       (long long)label);
    TC_TRY(tc_cbor_integer(&cursor, what, &alg, err));
    /* What QEMU's nitro-enclave machine writes, over a zero signature. */
    if (alg == ALG_UNSIGNED)
        return tc_fail(err, TC_REFUSED,
                       "%s: algorithm -1; expected ES384 (-35): an emulator's document, which "
                       "nobody signed",
                       what);
    if (alg != ALG_ES384)
        return tc_fail(err, TC_REFUSED, "%s: algorithm %lld; expected ES384 (-35)", what,
                       (long long)alg);
    return tc_cbor_end(&cursor, what, err);
}

tc_status tc_cose_sign1_decode(struct tc_span bytes, size_t payload_max,
                               struct tc_cose_sign1 *ret_sign1, struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(bytes);
    struct tc_cose_sign1 sign1 = {0};
    struct tc_cbor_map unprotected = {0};
    size_t count = 0;
    TC_TRY(tc_cbor_array(&cursor, "COSE_Sign1", 4, &count, err));
    if (count != 4)
        return tc_fail(err, TC_MALFORMED, "COSE_Sign1: an array of %zu; expected 4 items", count);
    TC_TRY(tc_cbor_bytes(&cursor, "COSE protected header", PROTECTED_MAX, &sign1.protected_header,
                         err));
    TC_TRY(check_protected(sign1.protected_header, err));
    TC_TRY(tc_cbor_map(&cursor, "COSE unprotected header, which must be empty", 0,
                       TC_CBOR_DEFINITE, &unprotected, err));
    TC_TRY(tc_cbor_bytes(&cursor, "COSE payload", payload_max, &sign1.payload, err));
    if (sign1.payload.size == 0) return tc_fail(err, TC_MALFORMED, "COSE payload: empty");
    TC_TRY(tc_cbor_bytes(&cursor, "COSE signature", TC_COSE_SIGNATURE_SIZE, &sign1.signature, err));
    if (sign1.signature.size != TC_COSE_SIGNATURE_SIZE)
        return tc_fail(err, TC_MALFORMED, "COSE signature: %zu bytes; ES384 has %d",
                       sign1.signature.size, TC_COSE_SIGNATURE_SIZE);
    TC_TRY(tc_cbor_end(&cursor, "COSE_Sign1", err));
    *ret_sign1 = sign1;
    return TC_OK;
}

/* RFC 9052 section 4.4: what is signed. The protected header goes in as the
 * bytes that were received, never re-encoded. */
static void add_signed_bytes(const struct tc_cose_sign1 *sign1, struct tc_buf *buf)
{
    tc_cbor_add_array(buf, 4);
    tc_cbor_add_name(buf, "Signature1");
    tc_cbor_add_bytes(buf, sign1->protected_header);
    tc_cbor_add_bytes(buf, (struct tc_span){NULL, 0});
    tc_cbor_add_bytes(buf, sign1->payload);
}

static struct tc_buf new_signed_buf(const struct tc_cose_sign1 *sign1)
{
    enum { OVERHEAD = 64 };
    return tc_buf_new(sign1->protected_header.size + sign1->payload.size + OVERHEAD);
}

/* 1 <= scalar < n. ECDSA verification must check it too; a past release of more
 * than one library did not (all-zero signatures passed), so it is done here. */
static bool scalar_in_range(const BIGNUM *scalar)
{
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_secp384r1);
    bool in_range = group && !BN_is_zero(scalar) && !BN_is_negative(scalar) &&
                    BN_cmp(scalar, EC_GROUP_get0_order(group)) < 0;
    EC_GROUP_free(group);
    return in_range;
}

/* r || s to the DER that libcrypto verifies; the result is OPENSSL_malloc'ed. */
static tc_status signature_to_der(struct tc_span raw, uint8_t **ret_der, size_t *ret_size,
                                  struct tc_error *err)
{
    ECDSA_SIG *signature TC_CLEANUP(free_signature) = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw.data, TC_COSE_SCALAR_SIZE, NULL);
    BIGNUM *s = BN_bin2bn(raw.data + TC_COSE_SCALAR_SIZE, TC_COSE_SCALAR_SIZE, NULL);
    if (!signature || !r || !s || ECDSA_SIG_set0(signature, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        return tc_fail(err, TC_SYSTEM, "out of memory for a signature");
    }
    if (!scalar_in_range(r) || !scalar_in_range(s))
        return tc_fail(err, TC_REFUSED, "COSE signature: r or s is outside 1 .. n-1");
    int size = i2d_ECDSA_SIG(signature, ret_der);
    if (size <= 0) return tc_fail(err, TC_SYSTEM, "the signature could not be encoded");
    *ret_size = (size_t)size;
    return TC_OK;
}

tc_status tc_cose_sign1_verify(const struct tc_cose_sign1 *sign1, EVP_PKEY *key,
                               struct tc_error *err)
{
    if (sign1->signature.size != TC_COSE_SIGNATURE_SIZE)
        return tc_fail(err, TC_MALFORMED, "COSE signature: %zu bytes; ES384 has %d",
                       sign1->signature.size, TC_COSE_SIGNATURE_SIZE);
    uint8_t *der TC_CLEANUP(free_openssl) = NULL;
    size_t der_size = 0;
    TC_TRY(signature_to_der(sign1->signature, &der, &der_size, err));
    struct tc_buf signed_bytes TC_AUTO_BUF = new_signed_buf(sign1);
    add_signed_bytes(sign1, &signed_bytes);
    TC_TRY(tc_buf_check(&signed_bytes, "what a COSE signature covers", err));
    EVP_MD_CTX *context TC_CLEANUP(free_context) = EVP_MD_CTX_new();
    if (!context || EVP_DigestVerifyInit(context, NULL, EVP_sha384(), NULL, key) != 1) {
        ERR_clear_error();
        return tc_fail(err, TC_SYSTEM, "the cryptographic library could not verify with this key");
    }
    int verified =
        EVP_DigestVerify(context, der, der_size, signed_bytes.data, signed_bytes.size);
    ERR_clear_error();
    if (verified != 1)
        return tc_fail(err, TC_REFUSED,
                       "the document's signature does not verify with its leaf certificate: the "
                       "document was changed or signed by another key");
    return TC_OK;
}

static tc_status der_to_signature(const uint8_t *der, size_t size,
                                  uint8_t raw[TC_COSE_SIGNATURE_SIZE], struct tc_error *err)
{
    ECDSA_SIG *signature TC_CLEANUP(free_signature) = d2i_ECDSA_SIG(NULL, &der, (long)size);
    if (!signature ||
        BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, TC_COSE_SCALAR_SIZE) !=
            TC_COSE_SCALAR_SIZE ||
        BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + TC_COSE_SCALAR_SIZE,
                     TC_COSE_SCALAR_SIZE) != TC_COSE_SCALAR_SIZE)
        return tc_fail(err, TC_SYSTEM, "the signature is not one of a P-384 key");
    return TC_OK;
}

tc_status tc_cose_sign1_create(struct tc_span payload, EVP_PKEY *key, struct tc_buf *buf,
                               struct tc_error *err)
{
    static const uint8_t protected_header[] = {0xa1, HEADER_ALG, 0x38, -1 - ALG_ES384};
    uint8_t raw[TC_COSE_SIGNATURE_SIZE], der[DER_SIGNATURE_MAX];
    struct tc_cose_sign1 sign1 = {
        .protected_header = {protected_header, sizeof protected_header},
        .payload = payload,
        .signature = {raw, sizeof raw},
    };
    struct tc_buf signed_bytes TC_AUTO_BUF = new_signed_buf(&sign1);
    add_signed_bytes(&sign1, &signed_bytes);
    TC_TRY(tc_buf_check(&signed_bytes, "what a COSE signature covers", err));
    EVP_MD_CTX *context TC_CLEANUP(free_context) = EVP_MD_CTX_new();
    size_t der_size = sizeof der;
    if (!context || EVP_DigestSignInit(context, NULL, EVP_sha384(), NULL, key) != 1 ||
        EVP_DigestSign(context, der, &der_size, signed_bytes.data, signed_bytes.size) != 1) {
        ERR_clear_error();
        return tc_fail(err, TC_SYSTEM, "the cryptographic library could not sign");
    }
    TC_TRY(der_to_signature(der, der_size, raw, err));
    tc_cbor_add_array(buf, 4);
    tc_cbor_add_bytes(buf, sign1.protected_header);
    tc_cbor_add_map(buf, 0);
    tc_cbor_add_bytes(buf, sign1.payload);
    tc_cbor_add_bytes(buf, sign1.signature);
    return tc_buf_check(buf, "the signed document", err);
}
