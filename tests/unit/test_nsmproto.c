#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/nsmproto.h"

#define BYTES(literal) ((struct tc_span){(const uint8_t *)(literal), sizeof(literal) - 1})

static const uint8_t pcr[TC_PCR_SIZE] = {1, 2, 3};

static void check_request(const struct tc_nsm_request *request, struct tc_span expected)
{
    struct tc_error err = {0};
    struct tc_buf buf TC_AUTO_BUF = tc_buf_new(TC_NSM_REQUEST_MAX);
    struct tc_nsm_request read;
    tc_nsm_request_encode(request, &buf);
    assert_true(tc_span_equal(tc_buf_span(&buf), expected));
    assert_int_equal(tc_nsm_request_decode(expected, &read, &err), TC_OK);
    assert_int_equal(read.op, request->op);
    assert_true(read.index == request->index);
    assert_true(tc_span_equal(read.data, request->data));
    assert_int_equal(read.has_user_data, request->has_user_data);
    assert_int_equal(read.has_nonce, request->has_nonce);
    assert_int_equal(read.has_public_key, request->has_public_key);
    assert_true(tc_span_equal(read.user_data, request->user_data));
    assert_true(tc_span_equal(read.nonce, request->nonce));
    assert_true(tc_span_equal(read.public_key, request->public_key));
}

/* The bytes that the driver and the device know. */
static void test_requests(void **state)
{
    (void)state;
    check_request(&(struct tc_nsm_request){.op = TC_NSM_DESCRIBE_NSM}, BYTES("\x6b" "DescribeNSM"));
    check_request(&(struct tc_nsm_request){.op = TC_NSM_GET_RANDOM}, BYTES("\x69GetRandom"));
    check_request(&(struct tc_nsm_request){.op = TC_NSM_DESCRIBE_PCR, .index = 16},
                  BYTES("\xa1\x6b" "DescribePCR\xa1\x65index\x10"));
    check_request(&(struct tc_nsm_request){.op = TC_NSM_LOCK_PCR, .index = 31},
                  BYTES("\xa1\x67LockPCR\xa1\x65index\x18\x1f"));
    check_request(&(struct tc_nsm_request){.op = TC_NSM_EXTEND_PCR, .index = 3,
                                           .data = BYTES("xy")},
                  BYTES("\xa1\x69" "ExtendPCR\xa2\x65index\x03\x64" "data\x42xy"));
    check_request(&(struct tc_nsm_request){.op = TC_NSM_ATTESTATION,
                                           .has_nonce = true,
                                           .has_user_data = true,
                                           .nonce = BYTES("n"),
                                           .user_data = BYTES("")},
                  BYTES("\xa1\x6b" "Attestation\xa3\x69user_data\x40\x65nonce\x41n"
                        "\x6apublic_key\xf6"));
}

static void test_requests_refused(void **state)
{
    (void)state;
    const struct tc_span list[] = {
        BYTES(""),
        BYTES("\x67LockPCR"),                          /* no arguments */
        BYTES("\xa1\x69GetRandom\xa0"),                /* arguments where none belong */
        BYTES("\x67Unknown"),
        BYTES("\xa1\x67LockPCR\xa0"),                  /* index is missing */
        BYTES("\xa1\x67LockPCR\xa1\x65index\x20"),     /* -1 */
        BYTES("\xa1\x67LockPCR\xa1\x65index\x1a\x00\x01\x00\x00"), /* no u16 */
        BYTES("\xa1\x67LockPCR\xa2\x65index\x01\x65index\x02"),
        BYTES("\xa1\x67LockPCR\xa2\x65index\x01\x64" "data\x41x"), /* not its argument */
        BYTES("\xa1\x69" "ExtendPCR\xa1\x65index\x03"),
        BYTES("\xa1\x69" "ExtendPCR\xa2\x65index\x03\x64" "data\xf6"),
        BYTES("\xa2\x67LockPCR\xa1\x65index\x01\x67LockPCR\xa1\x65index\x01"),
        BYTES("\x69GetRandom\x00"),                    /* trailing */
        BYTES("\xa1\x67LockPCR\xa1\x65index\x01\x00"), /* trailing */
        BYTES("\xa0"), BYTES("\x01"),
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        struct tc_error err = {0};
        struct tc_nsm_request request;
        if (tc_nsm_request_decode(list[i], &request, &err) != TC_MALFORMED)
            fail_msg("request %zu is not refused", i);
    }
}

static void round_trip(const struct tc_nsm_response *response, struct tc_nsm_response *read,
                       struct tc_buf *buf)
{
    struct tc_error err = {0};
    tc_nsm_response_encode(response, buf);
    if (tc_nsm_response_decode(tc_buf_span(buf), response->op, read, &err) != TC_OK)
        fail_msg("%s", err.message);
    /* An answer to something else is none. */
    struct tc_nsm_response other;
    enum tc_nsm_op wrong = response->op == TC_NSM_GET_RANDOM ? TC_NSM_LOCK_PCR : TC_NSM_GET_RANDOM;
    tc_status status = tc_nsm_response_decode(tc_buf_span(buf), wrong, &other, &err);
    assert_int_equal(status, response->error.size ? TC_OK : TC_MALFORMED);
}

static void test_responses(void **state)
{
    (void)state;
    struct tc_span value = {pcr, sizeof pcr};
    const struct tc_nsm_response list[] = {
        {.op = TC_NSM_DESCRIBE_PCR, .lock = true, .data = value},
        {.op = TC_NSM_EXTEND_PCR, .data = value},
        {.op = TC_NSM_LOCK_PCR},
        {.op = TC_NSM_DESCRIBE_NSM,
         .module_id = BYTES("i-1-enc2"),
         .max_pcrs = 32,
         .locked_pcrs = 0x8001ffff},
        {.op = TC_NSM_ATTESTATION, .data = BYTES("document")},
        {.op = TC_NSM_GET_RANDOM, .data = BYTES("random")},
        {.op = TC_NSM_EXTEND_PCR, .error = BYTES("ReadOnlyIndex")},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        struct tc_buf buf TC_AUTO_BUF = tc_buf_new(TC_NSM_RESPONSE_MAX);
        struct tc_nsm_response read = {0};
        round_trip(&list[i], &read, &buf);
        assert_int_equal(read.op, list[i].op);
        assert_int_equal(read.lock, list[i].lock);
        assert_true(tc_span_equal(read.data, list[i].data));
        assert_true(tc_span_equal(read.error, list[i].error));
        assert_true(tc_span_equal(read.module_id, list[i].module_id));
        assert_true(read.max_pcrs == list[i].max_pcrs);
        assert_int_equal(read.locked_pcrs, list[i].locked_pcrs);
    }
}

static void test_responses_by_others(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct tc_nsm_response read;
    /* Keys in another order, maps of indefinite length. */
    struct tc_span swapped =
        BYTES("\xbf\x6b" "DescribePCR\xbf\x64" "data\x58\x30"
              "012345678901234567890123456789012345678901234567"
              "\x64lock\xf4\xff\xff");
    assert_int_equal(tc_nsm_response_decode(swapped, TC_NSM_DESCRIBE_PCR, &read, &err), TC_OK);
    assert_int_equal(read.data.size, TC_PCR_SIZE);
    assert_false(read.lock);
    const struct {
        struct tc_span bytes;
        enum tc_nsm_op op;
    } refused[] = {
        {BYTES("\xa1\x69" "ExtendPCR\xa1\x64" "data\x41x"), TC_NSM_EXTEND_PCR}, /* 1 byte */
        {BYTES("\xa1\x6b" "Attestation\xa1\x68" "document\x40"), TC_NSM_ATTESTATION},
        {BYTES("\xa1\x69GetRandom\xa1\x66random\x40"), TC_NSM_GET_RANDOM},
        {BYTES("\xa1\x69GetRandom\xa1\x68" "document\x41x"), TC_NSM_GET_RANDOM},
        {BYTES("\xa1\x69GetRandom\xa0"), TC_NSM_GET_RANDOM},
        {BYTES("\x69GetRandom"), TC_NSM_GET_RANDOM},
        {BYTES("\xa1\x67LockPCR\xa0"), TC_NSM_LOCK_PCR},
        {BYTES("\x65" "Error"), TC_NSM_LOCK_PCR},
        {BYTES("\xa1\x65" "Error\x60"), TC_NSM_LOCK_PCR},
        {BYTES("\xa1\x65" "Error\xf6"), TC_NSM_LOCK_PCR},
        {BYTES("\x67LockPCR\x67LockPCR"), TC_NSM_LOCK_PCR},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (tc_nsm_response_decode(refused[i].bytes, refused[i].op, &read, &err) != TC_MALFORMED)
            fail_msg("answer %zu is not refused", i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_requests_refused),
        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_responses_by_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
