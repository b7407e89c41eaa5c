/* Output patterns. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/outmatch.h"

static void test_names(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *name;
        bool matches;
    } cases[] = {
        {"*", "a", true},          {"*", ".a", false},         {".*", ".a", true},
        {"a*c", "abbbc", true},    {"a*c", "abbb", false},     {"a?c", "abc", true},
        {"a?c", "ac", false},      {"[a-c]x", "bx", true},     {"[a-c]x", "dx", false},
        {"[!a-c]x", "dx", true},   {"[!a-c]x", "ax", false},   {"[]]", "]", true},
        {"[a-]", "-", true},       {"*.so.*", "libx.so.1.2", true}, {"*.so.*", "libx.so", false},
        {"**", "abc", true},       {"?", ".", false},          {"", "", true},
        {"", "a", false},          {"a", "", false},           {"*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaac", false},
        {"\xc3\xa9*", "\xc3\xa9t\xc3\xa9", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (tc_outmatch_name(cases[i].pattern, cases[i].name) != cases[i].matches)
            fail_msg("%s against %s", cases[i].pattern, cases[i].name);
}

static void test_patterns(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "a/b*", "dist/[a-z].tar", ".hidden", "a/.b", "[]]x"};
    static const char *const bad[] = {"", "/a", "a/", "a//b", "./a", "../a", "a/../b", "a/.", "**",
                                      "a/**/b", "[a", "a[b/c]d", "a/[!"};
    struct tc_error err = {0};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(tc_outmatch_check(good[i], &err), TC_OK);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (tc_outmatch_check(bad[i], &err) == TC_OK) fail_msg("%s was accepted", bad[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_patterns)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
