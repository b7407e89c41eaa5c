#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/evp.h>

#include "base/cleanup.h"
#include "core/cbor.h"
#include "core/cose.h"

#define BYTES(literal) ((struct tc_span){(const uint8_t *)(literal), sizeof(literal) - 1})

struct fixture {
    EVP_PKEY *key;
    struct tc_buf bytes;
    struct tc_cose_sign1 sign1;
};

static int start(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct tc_error err = {0};
    assert_non_null(fixture);
    fixture->key = EVP_EC_gen("P-384");
    fixture->bytes = tc_buf_new(4096);
    assert_int_equal(tc_cose_sign1_create(BYTES("payload"), fixture->key, &fixture->bytes, &err),
                     TC_OK);
    assert_int_equal(
        tc_cose_sign1_decode(tc_buf_span(&fixture->bytes), 100, &fixture->sign1, &err), TC_OK);
    *state = fixture;
    return 0;
}

static int stop(void **state)
{
    struct fixture *fixture = *state;
    EVP_PKEY_free(fixture->key);
    tc_buf_free(&fixture->bytes);
    free(fixture);
    return 0;
}

static void test_round_trip(void **state)
{
    const struct fixture *fixture = *state;
    struct tc_error err = {0};
    assert_true(tc_span_equal(fixture->sign1.payload, BYTES("payload")));
    assert_true(tc_span_equal(fixture->sign1.protected_header, BYTES("\xa1\x01\x38\x22")));
    assert_int_equal(tc_cose_sign1_verify(&fixture->sign1, fixture->key, &err), TC_OK);
    EVP_PKEY *other = EVP_EC_gen("P-384");
    assert_int_equal(tc_cose_sign1_verify(&fixture->sign1, other, &err), TC_REFUSED);
    EVP_PKEY_free(other);
    struct tc_cose_sign1 sign1 = fixture->sign1;
    sign1.payload = BYTES("Payload");
    assert_int_equal(tc_cose_sign1_verify(&sign1, fixture->key, &err), TC_REFUSED);
    sign1 = fixture->sign1;
    sign1.protected_header = BYTES("\xa1\x01\x26");
    assert_int_equal(tc_cose_sign1_verify(&sign1, fixture->key, &err), TC_REFUSED);
    sign1 = fixture->sign1;
    sign1.signature.size--;
    assert_int_equal(tc_cose_sign1_verify(&sign1, fixture->key, &err), TC_MALFORMED);
}

/* Every single byte of the document is covered by a check. */
static void test_every_byte(void **state)
{
    struct fixture *fixture = *state;
    struct tc_error err = {0};
    for (size_t i = 0; i < fixture->bytes.size; i++) {
        struct tc_cose_sign1 sign1;
        fixture->bytes.data[i] ^= 1;
        tc_status status = tc_cose_sign1_decode(tc_buf_span(&fixture->bytes), 100, &sign1, &err);
        if (status == TC_OK) status = tc_cose_sign1_verify(&sign1, fixture->key, &err);
        if (status == TC_OK) fail_msg("byte %zu", i);
        fixture->bytes.data[i] ^= 1;
    }
}

/* r and s of 0, n and n + 1 are out of range; n - s is the other valid one. */
static void test_scalars(void **state)
{
    struct fixture *fixture = *state;
    struct tc_error err = {0};
    uint8_t raw[TC_COSE_SIGNATURE_SIZE], *s_bytes = raw + TC_COSE_SCALAR_SIZE;
    struct tc_cose_sign1 sign1 = fixture->sign1;
    EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_secp384r1);
    BIGNUM *number = BN_new();
    sign1.signature = (struct tc_span){raw, sizeof raw};
    for (int half = 0; half < 2; half++) {
        for (int i = 0; i < 3; i++) {
            memcpy(raw, fixture->sign1.signature.data, sizeof raw);
            uint8_t *scalar = half ? s_bytes : raw;
            assert_non_null(BN_copy(number, EC_GROUP_get0_order(group)));
            if (i == 0) BN_zero(number);
            if (i == 2) assert_int_equal(BN_add_word(number, 1), 1);
            assert_int_equal(BN_bn2binpad(number, scalar, TC_COSE_SCALAR_SIZE),
                             TC_COSE_SCALAR_SIZE);
            assert_int_equal(tc_cose_sign1_verify(&sign1, fixture->key, &err), TC_REFUSED);
            assert_non_null(strstr(err.message, "1 .. n-1"));
        }
    }
    memcpy(raw, fixture->sign1.signature.data, sizeof raw);
    assert_non_null(BN_bin2bn(s_bytes, TC_COSE_SCALAR_SIZE, number));
    assert_int_equal(BN_sub(number, EC_GROUP_get0_order(group), number), 1);
    assert_int_equal(BN_bn2binpad(number, s_bytes, TC_COSE_SCALAR_SIZE), TC_COSE_SCALAR_SIZE);
    assert_int_equal(tc_cose_sign1_verify(&sign1, fixture->key, &err), TC_OK);
    BN_free(number);
    EC_GROUP_free(group);
}

static tc_status decode_with(struct tc_span before, struct tc_span header,
                             struct tc_span unprotected, struct tc_span after)
{
    static const uint8_t signature[TC_COSE_SIGNATURE_SIZE];
    struct tc_buf buf TC_AUTO_BUF = tc_buf_new(1000);
    struct tc_error err = {0};
    struct tc_cose_sign1 sign1;
    tc_buf_add_span(&buf, before);
    tc_cbor_add_array(&buf, 4);
    tc_cbor_add_bytes(&buf, header);
    tc_buf_add_span(&buf, unprotected);
    tc_cbor_add_bytes(&buf, BYTES("p"));
    tc_cbor_add_bytes(&buf, (struct tc_span){signature, sizeof signature});
    tc_buf_add_span(&buf, after);
    return tc_cose_sign1_decode(tc_buf_span(&buf), 100, &sign1, &err);
}

static void test_headers(void **state)
{
    (void)state;
    struct tc_span none = BYTES(""), good = BYTES("\xa1\x01\x38\x22"), empty = BYTES("\xa0");
    assert_int_equal(decode_with(none, good, empty, none), TC_OK);
    assert_int_equal(decode_with(BYTES("\xd2"), good, empty, none), TC_MALFORMED);
    assert_int_equal(decode_with(none, good, empty, BYTES("\x00")), TC_MALFORMED);
    assert_int_equal(decode_with(none, good, BYTES("\xf6"), none), TC_MALFORMED);
    assert_int_equal(decode_with(none, good, BYTES("\xbf\xff"), none), TC_MALFORMED);
    assert_int_equal(decode_with(none, good, BYTES("\xa1\x04\x40"), none), TC_MALFORMED);
    const struct tc_span headers[] = {
        BYTES(""), BYTES("\xa0"), BYTES("\xf6"), BYTES("\xa1\x01\x26"), BYTES("\xa1\x01\x38\x23"),
        BYTES("\xa1\x01\x39\x00\x22"), BYTES("\xa1\x02\x38\x22"), BYTES("\xa1\x01\x38\x22\x00"),
        BYTES("\xbf\x01\x38\x22\xff"), BYTES("\xa2\x01\x38\x22\x01\x38\x22"),
        BYTES("\xa2\x01\x38\x22\x02\x81\x01"), BYTES("\xa1\x01\x65" "ES384"),
        BYTES("\xa1\x61" "1\x38\x22"), BYTES("\xa1\x01"),
    };
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
        if (decode_with(none, headers[i], empty, none) == TC_OK) fail_msg("header %zu", i);
}

/* A message by a P-256 key, whole and right: no Nitro document, whatever it says. */
static void test_other_curves(void **state)
{
    (void)state;
    static const uint8_t signature[2 * 66] = {[31] = 1, [63] = 1};
    static const struct {
        struct tc_span header;
        size_t size;
        enum tc_cose_algorithm algorithm;
    } others[] = {{BYTES("\xa1\x01\x26"), 64, TC_COSE_ES256},
                  {BYTES("\xa1\x01\x38\x23"), 132, TC_COSE_ES512},
                  {BYTES("\xa1\x01\x38\x22"), 96, TC_COSE_ES384}};
    for (size_t i = 0; i < 3; i++)
        for (int delta = -1; delta <= 1; delta++) {
            struct tc_buf buf TC_AUTO_BUF = tc_buf_new(1000);
            struct tc_error err = {0};
            struct tc_cose_sign1 sign1 = {0};
            size_t size = others[i].size + (size_t)delta;
            uint8_t longer[134] = {0};
            memcpy(longer, signature, sizeof signature);
            tc_cbor_add_array(&buf, 4);
            tc_cbor_add_bytes(&buf, others[i].header);
            tc_cbor_add_map(&buf, 0);
            tc_cbor_add_bytes(&buf, BYTES("p"));
            tc_cbor_add_bytes(&buf, (struct tc_span){longer, size});
            bool nitro = others[i].algorithm == TC_COSE_ES384;
            assert_int_equal(tc_cose_sign1_decode(tc_buf_span(&buf), 100, &sign1, &err),
                             !nitro       ? TC_REFUSED
                             : delta == 0 ? TC_OK
                                          : TC_MALFORMED);
            assert_int_equal(tc_cose_sign1_decode_ecdsa(tc_buf_span(&buf), 100, &sign1, &err),
                             delta == 0 ? TC_OK : TC_MALFORMED);
            if (delta == 0) assert_int_equal(sign1.algorithm, others[i].algorithm);
        }
}

/* libcrypto would verify this: the key is on P-256, the label says ES384. */
static void test_key_of_another_curve(void **state)
{
    (void)state;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    struct tc_buf buf TC_AUTO_BUF = tc_buf_new(1000);
    struct tc_error err = {0};
    struct tc_cose_sign1 sign1;
    assert_int_equal(tc_cose_sign1_create(BYTES("payload"), key, &buf, &err), TC_OK);
    assert_int_equal(tc_cose_sign1_decode(tc_buf_span(&buf), 100, &sign1, &err), TC_OK);
    assert_int_equal(tc_cose_sign1_verify(&sign1, key, &err), TC_REFUSED);
    assert_non_null(strstr(err.message, "secp384r1"));
    EVP_PKEY_free(key);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, start, stop),
        cmocka_unit_test_setup_teardown(test_every_byte, start, stop),
        cmocka_unit_test_setup_teardown(test_scalars, start, stop),
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_other_curves),
        cmocka_unit_test(test_key_of_another_curve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
