/* N=HEX: what is taken and what is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cmd/pcr_option.h"

#define VALUE                                                                                      \
    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292A2B2C2D2E2F"

static void test_taken(void **state)
{
    (void)state;
    struct tc_pcrs_asked pcrs = {0};
    struct tc_error err = {0};
    assert_int_equal(tc_pcr_option_add("0=" VALUE, &pcrs, &err), TC_OK);
    assert_int_equal(tc_pcr_option_add("31=" VALUE, &pcrs, &err), TC_OK);
    assert_int_equal(pcrs.asked, 0x80000001);
    for (size_t i = 0; i < TC_SHA384_SIZE; i++) {
        assert_int_equal(pcrs.value[0].bytes[i], i);
        assert_int_equal(pcrs.value[31].bytes[i], i);
    }
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "", "0", "0=", "=" VALUE, VALUE, "32=" VALUE, "-1=" VALUE, "00=" VALUE, "01=" VALUE,
        "256=" VALUE, " 1=" VALUE, "1 =" VALUE, "1= " VALUE, "1=0x" VALUE, "1=" VALUE "00",
        "1==" VALUE, "a=" VALUE, "1=g0" VALUE, "5=" VALUE, "4294967296=" VALUE,
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tc_pcrs_asked pcrs = {.asked = 1U << 5}, before = pcrs;
        struct tc_error err = {0};
        if (tc_pcr_option_add(cases[i], &pcrs, &err) != TC_USAGE)
            fail_msg("%s is taken", cases[i]);
        assert_memory_equal(&pcrs, &before, sizeof pcrs);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_taken), cmocka_unit_test(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
