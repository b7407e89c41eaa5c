#include "core/cose.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <string.h>

#include "base/cleanup.h"
#include "core/cbor.h"

enum {
    HEADER_ALG = 1,
    ALG_ES384 = -35,
    ALG_UNSIGNED = -1,
    PROTECTED_MAX = 64,
    DER_SIGNATURE_MAX = 128, /* SEQUENCE of two integers of at most 49 bytes */
};

static const struct algorithm {
    const char *name;
    int64_t number; /* in the COSE registry */
    size_t scalar_size;
    int curve;
    const char *group;
    const char *digest;
} algorithms[] = {
    [TC_COSE_ES384] = {"ES384", ALG_ES384, TC_COSE_SCALAR_SIZE, NID_secp384r1, "secp384r1",
                       "SHA2-384"},
    [TC_COSE_ES256] = {"ES256", -7, 32, NID_X9_62_prime256v1, "prime256v1", "SHA2-256"},
    [TC_COSE_ES512] = {"ES512", -36, 66, NID_secp521r1, "secp521r1", "SHA2-512"},
};
enum { ALGORITHMS = sizeof algorithms / sizeof *algorithms };

const char *tc_cose_algorithm_name(enum tc_cose_algorithm algorithm)
{
    return algorithms[algorithm].name;
}

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

static bool find_algorithm(int64_t number, enum tc_cose_algorithm *ret_algorithm)
{
    for (size_t i = 0; i < ALGORITHMS; i++)
        if (algorithms[i].number == number) {
            *ret_algorithm = (enum tc_cose_algorithm)i;
            return true;
        }
    return false;
}

/* {1: algorithm} and nothing else: no crit, no second alg, no content type. */
static tc_status check_protected(struct tc_span bytes, bool any_curve,
                                 enum tc_cose_algorithm *ret_algorithm, struct tc_error *err)
{
    enum tc_cose_algorithm algorithm = TC_COSE_ES384;
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
    if (!find_algorithm(alg, &algorithm) || (!any_curve && algorithm != TC_COSE_ES384))
        return tc_fail(err, TC_REFUSED, "%s: algorithm %lld; expected ES384 (-35)%s", what,
                       (long long)alg, any_curve ? ", ES256 (-7) or ES512 (-36)" : "");
    TC_TRY(tc_cbor_end(&cursor, what, err));
    *ret_algorithm = algorithm;
    return TC_OK;
}

static tc_status check_signature_size(const struct tc_cose_sign1 *sign1, struct tc_error *err)
{
    const struct algorithm *algorithm = &algorithms[sign1->algorithm];
    if (sign1->signature.size == 2 * algorithm->scalar_size) return TC_OK;
    return tc_fail(err, TC_MALFORMED, "COSE signature: %zu bytes; %s has %zu",
                   sign1->signature.size, algorithm->name, 2 * algorithm->scalar_size);
}

static tc_status decode(struct tc_span bytes, size_t payload_max, bool any_curve,
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
    TC_TRY(check_protected(sign1.protected_header, any_curve, &sign1.algorithm, err));
    TC_TRY(tc_cbor_map(&cursor, "COSE unprotected header, which must be empty", 0,
                       TC_CBOR_DEFINITE, &unprotected, err));
    TC_TRY(tc_cbor_bytes(&cursor, "COSE payload", payload_max, &sign1.payload, err));
    if (sign1.payload.size == 0) return tc_fail(err, TC_MALFORMED, "COSE payload: empty");
    TC_TRY(tc_cbor_bytes(&cursor, "COSE signature", TC_COSE_SIGNATURE_MAX, &sign1.signature, err));
    TC_TRY(check_signature_size(&sign1, err));
    TC_TRY(tc_cbor_end(&cursor, "COSE_Sign1", err));
    *ret_sign1 = sign1;
    return TC_OK;
}

tc_status tc_cose_sign1_decode(struct tc_span bytes, size_t payload_max,
                               struct tc_cose_sign1 *ret_sign1, struct tc_error *err)
{
    return decode(bytes, payload_max, false, ret_sign1, err);
}

tc_status tc_cose_sign1_decode_ecdsa(struct tc_span bytes, size_t payload_max,
                                     struct tc_cose_sign1 *ret_sign1, struct tc_error *err)
{
    return decode(bytes, payload_max, true, ret_sign1, err);
}

static bool is_zero(struct tc_span bytes)
{
    for (size_t i = 0; i < bytes.size; i++)
        if (bytes.data[i] != 0) return false;
    return true;
}

tc_status tc_cose_sign1_decode_unsigned(struct tc_span bytes, size_t payload_max,
                                        struct tc_span *ret_payload, struct tc_error *err)
{
    static const uint8_t unsigned_header[] = {0xa1, HEADER_ALG, 0x20}; /* {1: -1} */
    struct tc_cursor cursor = tc_cursor_of(bytes);
    struct tc_cbor_map unprotected = {0};
    struct tc_span header, payload, signature;
    size_t count = 0;
    TC_TRY(tc_cbor_array(&cursor, "COSE_Sign1", 4, &count, err));
    if (count != 4)
        return tc_fail(err, TC_MALFORMED, "COSE_Sign1: an array of %zu; expected 4 items", count);
    TC_TRY(tc_cbor_bytes(&cursor, "COSE protected header", PROTECTED_MAX, &header, err));
    if (!tc_span_equal(header, (struct tc_span){unsigned_header, sizeof unsigned_header}))
        return tc_fail(err, TC_REFUSED,
                       "COSE protected header: expected algorithm -1, an emulator's");
    TC_TRY(tc_cbor_map(&cursor, "COSE unprotected header, which must be empty", 0, TC_CBOR_DEFINITE,
                       &unprotected, err));
    TC_TRY(tc_cbor_bytes(&cursor, "COSE payload", payload_max, &payload, err));
    TC_TRY(tc_cbor_bytes(&cursor, "COSE signature", TC_COSE_SIGNATURE_MAX, &signature, err));
    if (!is_zero(signature))
        return tc_fail(err, TC_REFUSED, "COSE signature: expected zeros, as an emulator's");
    TC_TRY(tc_cbor_end(&cursor, "COSE_Sign1", err));
    *ret_payload = payload;
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
static bool scalar_in_range(const BIGNUM *scalar, int curve)
{
    EC_GROUP *group = EC_GROUP_new_by_curve_name(curve);
    bool in_range = group && !BN_is_zero(scalar) && !BN_is_negative(scalar) &&
                    BN_cmp(scalar, EC_GROUP_get0_order(group)) < 0;
    EC_GROUP_free(group);
    return in_range;
}

/* r || s to the DER that libcrypto verifies; the result is OPENSSL_malloc'ed. */
static tc_status signature_to_der(const struct tc_cose_sign1 *sign1, uint8_t **ret_der,
                                  size_t *ret_size, struct tc_error *err)
{
    const struct algorithm *algorithm = &algorithms[sign1->algorithm];
    const uint8_t *raw = sign1->signature.data;
    size_t scalar_size = algorithm->scalar_size;
    ECDSA_SIG *signature TC_CLEANUP(free_signature) = ECDSA_SIG_new();
    BIGNUM *r = BN_bin2bn(raw, (int)scalar_size, NULL);
    BIGNUM *s = BN_bin2bn(raw + scalar_size, (int)scalar_size, NULL);
    if (!signature || !r || !s || ECDSA_SIG_set0(signature, r, s) != 1) {
        BN_free(r);
        BN_free(s);
        return tc_fail(err, TC_SYSTEM, "out of memory for a signature");
    }
    if (!scalar_in_range(r, algorithm->curve) || !scalar_in_range(s, algorithm->curve))
        return tc_fail(err, TC_REFUSED, "COSE signature: r or s is outside 1 .. n-1");
    int size = i2d_ECDSA_SIG(signature, ret_der);
    if (size <= 0) return tc_fail(err, TC_SYSTEM, "the signature could not be encoded");
    *ret_size = (size_t)size;
    return TC_OK;
}

/* A key of another kind or curve would make libcrypto answer by its own rules. */
static tc_status check_key(const struct algorithm *algorithm, EVP_PKEY *key, struct tc_error *err)
{
    char group[32] = "";
    size_t size = 0;
    if (!EVP_PKEY_is_a(key, "EC") ||
        EVP_PKEY_get_group_name(key, group, sizeof group, &size) != 1 ||
        strcmp(group, algorithm->group) != 0) {
        ERR_clear_error();
        return tc_fail(err, TC_REFUSED, "COSE: %s wants a key on %s", algorithm->name,
                       algorithm->group);
    }
    return TC_OK;
}

tc_status tc_cose_sign1_verify(const struct tc_cose_sign1 *sign1, EVP_PKEY *key,
                               struct tc_error *err)
{
    const struct algorithm *algorithm = &algorithms[sign1->algorithm];
    TC_TRY(check_signature_size(sign1, err));
    TC_TRY(check_key(algorithm, key, err));
    uint8_t *der TC_CLEANUP(free_openssl) = NULL;
    size_t der_size = 0;
    TC_TRY(signature_to_der(sign1, &der, &der_size, err));
    struct tc_buf signed_bytes TC_AUTO_BUF = new_signed_buf(sign1);
    add_signed_bytes(sign1, &signed_bytes);
    TC_TRY(tc_buf_check(&signed_bytes, "what a COSE signature covers", err));
    EVP_MD_CTX *context TC_CLEANUP(free_context) = EVP_MD_CTX_new();
    if (!context ||
        EVP_DigestVerifyInit_ex(context, NULL, algorithm->digest, NULL, NULL, key, NULL) != 1) {
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
