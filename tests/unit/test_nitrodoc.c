/* What decode asks of the fields, by documents of our own writer; the chain and
 * real documents are in the vectors, tampering in test_devattest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/ec.h>
#include <openssl/evp.h>

#include "base/cleanup.h"
#include "core/cose.h"
#include "core/nitrodoc.h"

static uint8_t large[TC_NITRODOC_CERT_MAX + 1];

static struct tc_nitrodoc good_document(void)
{
    struct tc_span some = {large, 10};
    memset(large, 'x', sizeof large);
    return (struct tc_nitrodoc){
        .module_id = tc_span_of_text("module"),
        .timestamp = 1700000000000,
        .pcr_present = 0x10007,
        .pcr = {{1}, {2}, {3}},
        .certificate = some,
        .cabundle = {some, some},
        .cabundle_count = 2,
        .has_nonce = true,
        .has_user_data = true,
        .nonce = {large, TC_NITRODOC_FIELD_MAX},
    };
}

static tc_status judge(const struct tc_nitrodoc *document, struct tc_nitrodoc *ret_read)
{
    struct tc_error err = {0};
    struct tc_buf payload TC_AUTO_BUF = tc_buf_new(2 * TC_NITRODOC_MAX);
    static struct tc_buf bytes; /* what the result borrows from */
    EVP_PKEY *key = EVP_EC_gen("P-384");
    tc_buf_free(&bytes);
    bytes = tc_buf_new(2 * TC_NITRODOC_MAX);
    tc_nitrodoc_encode_payload(document, &payload);
    assert_int_equal(tc_cose_sign1_create(tc_buf_span(&payload), key, &bytes, &err), TC_OK);
    EVP_PKEY_free(key);
    tc_status status = tc_nitrodoc_decode(tc_buf_span(&bytes), ret_read, &err);
    if (status != TC_OK) tc_buf_free(&bytes);
    return status;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct tc_nitrodoc document = good_document(), read;
    assert_int_equal(judge(&document, &read), TC_OK);
    assert_true(tc_span_equal(read.module_id, document.module_id));
    assert_true(read.timestamp == document.timestamp);
    assert_int_equal(read.pcr_present, document.pcr_present);
    assert_memory_equal(read.pcr, document.pcr, sizeof read.pcr);
    assert_true(tc_span_equal(read.certificate, document.certificate));
    assert_int_equal(read.cabundle_count, 2);
    assert_true(read.has_nonce && tc_span_equal(read.nonce, document.nonce));
    assert_true(read.has_user_data && read.user_data.size == 0);
    assert_false(read.has_public_key);
    assert_false(tc_nitrodoc_is_debug(&read));
    document.pcr[0][0] = 0;
    assert_true(tc_nitrodoc_is_debug(&document));
    assert_int_equal(judge(&document, &read), TC_OK); /* the last one frees */
    document.timestamp = 0;
    assert_int_equal(judge(&document, &read), TC_MALFORMED);
}

static void refuse(const char *what, struct tc_nitrodoc document)
{
    struct tc_nitrodoc read;
    if (judge(&document, &read) != TC_MALFORMED) fail_msg("%s is not refused", what);
}

static void test_limits(void **state)
{
    (void)state;
    struct tc_nitrodoc document = good_document();
    document.timestamp = 0;
    refuse("timestamp 0", document);
    document.timestamp = UINT64_C(253402300800000);
    refuse("a timestamp in the year 10000", document);
    document = good_document();
    document.module_id.size = 0;
    refuse("an empty module_id", document);
    document.module_id = (struct tc_span){large, TC_NITRODOC_MODULE_MAX + 1};
    refuse("a long module_id", document);
    document = good_document();
    document.nonce.size = TC_NITRODOC_FIELD_MAX + 1;
    refuse("a long nonce", document);
    document = good_document();
    document.cabundle_count = 0;
    refuse("an empty cabundle", document);
    document = good_document();
    document.cabundle[1].size = 0;
    refuse("an empty certificate in cabundle", document);
    document = good_document();
    document.certificate = (struct tc_span){large, TC_NITRODOC_CERT_MAX + 1};
    refuse("a long certificate", document);
    for (unsigned i = 0; i < 3; i++) {
        document = good_document();
        document.pcr_present &= ~(1U << i);
        refuse("a missing PCR0, 1 or 2", document);
    }
}

/* The encoder writes no PCR twice: one index is made another one in what it wrote. */
static void test_pcr_twice(void **state)
{
    (void)state;
    struct tc_nitrodoc document = good_document(), read;
    TC_AUTO_BUF struct tc_buf payload = tc_buf_new(TC_NITRODOC_PAYLOAD_MAX);
    TC_AUTO_BUF struct tc_buf whole = tc_buf_new(TC_NITRODOC_MAX);
    struct tc_error err = {0};
    document.pcr_present |= 1U << 3;
    tc_nitrodoc_encode_payload(&document, &payload);
    static const uint8_t entry[] = {0x03, 0x58, TC_PCR_SIZE};
    uint8_t *at = memmem(payload.data, payload.size, entry, sizeof entry);
    assert_non_null(at);
    *at = 0x02;
    EVP_PKEY *key = EVP_EC_gen("P-384");
    assert_int_equal(tc_cose_sign1_create(tc_buf_span(&payload), key, &whole, &err), TC_OK);
    EVP_PKEY_free(key);
    assert_int_equal(tc_nitrodoc_decode(tc_buf_span(&whole), &read, &err), TC_MALFORMED);
    assert_non_null(strstr(err.message, "PCR2 is there twice"));
}

static void test_size(void **state)
{
    (void)state;
    static uint8_t bytes[TC_NITRODOC_MAX + 1];
    struct tc_error err = {0};
    struct tc_nitrodoc read;
    assert_int_equal(tc_nitrodoc_decode((struct tc_span){bytes, sizeof bytes}, &read, &err),
                     TC_MALFORMED);
    assert_non_null(strstr(err.message, "32768"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_pcr_twice),
        cmocka_unit_test(test_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
