#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/text.h"
#include "core/pcr.h"

static void check(const struct tc_sha384 *pcr, const char *expected)
{
    char seen[TC_SHA384_HEX];
    tc_hex((struct tc_span){pcr->bytes, sizeof pcr->bytes}, seen);
    assert_string_equal(seen, expected);
}

/* Expected values by sha384sum over 48 zero bytes and "data", and over the text. */
static void test_extend(void **state)
{
    (void)state;
    struct tc_sha384 pcr = {{0}};
    struct tc_error err = {0};
    assert_int_equal(tc_pcr_extend(&pcr, tc_span_of_text("data"), &err), TC_OK);
    check(&pcr, "5c0b6a50c29a737e6b9a241fccd5d38090feb87efc9b17ef"
                "15c65171bf97f67ba756fd467f8d5c765a9f7527dcfd25d2");
    assert_int_equal(tc_pcr_extend(&pcr, tc_span_of_text("data"), &err), TC_OK);
    check(&pcr, "70ef1edbe53387eef470f950b62c88f696b8b43582d6299c"
                "353d5d78f7ee016aa5d9b91eb33a75eb1d84067ff619a3da");
}

static void test_unmeasured(void **state)
{
    (void)state;
    struct tc_sha384 pcr = {{0}};
    struct tc_error err = {0};
    assert_int_equal(tc_pcr_unmeasured(&pcr, &err), TC_OK);
    check(&pcr, "a57518863531f7a4b301467b2c5cada1b918c00d02fe4052"
                "1a78bcc4d7c0dc0a36b9b6f93087e7383314c4faba2032f8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_extend),
        cmocka_unit_test(test_unmeasured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
