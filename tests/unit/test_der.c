/* DER: what has one spelling, and what is another spelling or none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/der.h"

#define BYTES(literal) ((struct tc_span){(const uint8_t *)(literal), sizeof(literal) - 1})

static void test_der(void **state)
{
    (void)state;
    const struct tc_span accepted[] = {
        BYTES("\x30\x00"), BYTES("\x02\x01\x00"), BYTES("\x02\x02\x00\x80"), BYTES("\x02\x01\x80"),
        BYTES("\x01\x01\xff"), BYTES("\x03\x02\x07\x80"), BYTES("\x03\x01\x00"), BYTES("\x05\x00"),
        BYTES("\x06\x03\x2b\x81\x04"), BYTES("\x17\x0d" "200101000000Z"),
        BYTES("\x18\x0f" "20500101000000Z"), BYTES("\xa0\x03\x02\x01\x02"),
        BYTES("\x31\x02\x05\x00"), BYTES("\x80\x01\x00"),
    };
    const struct tc_span refused[] = {
        BYTES(""), BYTES("\x30"), BYTES("\x30\x01"), BYTES("\x30\x00\x00"),
        BYTES("\x30\x80\x00\x00"),                     /* indefinite */
        BYTES("\x30\x81\x00"), BYTES("\x04\x81\x01\x00"), /* longer length */
        BYTES("\x04\x82\x00\x01\x00"), BYTES("\x04\x85\x00\x00\x00\x00\x00"),
        BYTES("\x04\x84\xff\xff\xff\xff"), BYTES("\x30\x03\x04\x05\x00"),
        BYTES("\x02\x00"), BYTES("\x02\x02\x00\x7f"), BYTES("\x02\x02\xff\x80"),
        BYTES("\x01\x01\x01"), BYTES("\x01\x01\x00"), BYTES("\x01\x02\xff\xff"),
        BYTES("\x03\x00"), BYTES("\x03\x02\x07\x81"), BYTES("\x03\x02\x08\x00"),
        BYTES("\x03\x01\x01"),
        BYTES("\x05\x01\x00"), BYTES("\x06\x00"), BYTES("\x06\x02\x80\x01"), BYTES("\x06\x01\x81"),
        BYTES("\x06\x03\x2b\x80\x04"), BYTES("\x17\x0b" "2001010000Z"),
        BYTES("\x17\x11" "200101000000+0000"), BYTES("\x18\x11" "20500101000000.5Z"),
        BYTES("\x24\x00"), BYTES("\x1f\x81\x01\x00"), BYTES("\x31\x04\x05\x00\x05\x00"),
        BYTES("\x31\x00"), BYTES("\x10\x00"), BYTES("\x13\x01"),
    };
    struct tc_error err = {0};
    for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++)
        if (tc_der_check(accepted[i], "it", &err) != TC_OK) fail_msg("%zu: %s", i, err.message);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (tc_der_check(refused[i], "it", &err) != TC_MALFORMED) fail_msg("der %zu accepted", i);
    uint8_t deep[2 * (TC_DER_DEPTH_MAX + 1)];
    for (size_t i = 0; i <= TC_DER_DEPTH_MAX; i++) {
        deep[2 * i] = 0x30;
        deep[2 * i + 1] = (uint8_t)(2 * (TC_DER_DEPTH_MAX - i));
    }
    assert_int_equal(tc_der_check((struct tc_span){deep, sizeof deep}, "it", &err), TC_MALFORMED);
    assert_int_equal(tc_der_check((struct tc_span){deep + 2, sizeof deep - 2}, "it", &err), TC_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_der)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
