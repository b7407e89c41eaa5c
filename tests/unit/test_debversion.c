/* The order of versions: by hand, and, where dpkg is installed, as dpkg has it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/debversion.h"

/* Each older than the next. */
static const char *const ascending[] = {
    "0~",
    "0",
    "0.0~~",
    "0.0~~a",
    "0.0~",
    "0.0",
    "1.0~rc1-1",
    "1.0",
    "1.0-0.1",
    "1.0-1~deb13u1",
    "1.0-1",
    "1.0-1+b1",
    "1.0-1+b10",
    "1.0-1.1",
    "1.0-2",
    "1.0-10",
    "1.0A",
    "1.0a",
    "1.0a1",
    "1.0+a",
    "1.0+dfsg-1",
    "1.0-1-1",
    "1.0.0",
    "1.2",
    "1.10",
    "1.99999999999999999999999999999999",
    "1.100000000000000000000000000000000",
    "2",
    "1:0.1",
    "2:0",
    "10:0",
    "4294967296:0",
};
enum { COUNT = sizeof ascending / sizeof *ascending };

static int sign(int value)
{
    return (value > 0) - (value < 0);
}

static void test_order(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT; i++)
        for (int j = 0; j < COUNT; j++)
            if (sign(tc_debversion_compare(ascending[i], ascending[j])) != sign(i - j))
                fail_msg("%s and %s", ascending[i], ascending[j]);
}

static void test_equal(void **state)
{
    static const char *const pairs[][2] = {
        {"1.0", "0:1.0"}, {"1.0", "1.0-0"}, {"1.0", "1.00"},     {"1.0", "01.0"}, {"00:1", "1"},
        {"1.a", "1.a0"},  {"", ""},         {"1.0-", "1.0-000"}, {"1:", "01:0"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        assert_int_equal(tc_debversion_compare(pairs[i][0], pairs[i][1]), 0);
        assert_int_equal(tc_debversion_compare(pairs[i][1], pairs[i][0]), 0);
    }
}

/* --- the oracle */

static bool dpkg_says(const char *left, const char *relation, const char *right)
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)execlp("dpkg", "dpkg", "--compare-versions", left, relation, right, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 127) skip();
    assert_true(WEXITSTATUS(status) < 2);
    return WEXITSTATUS(status) == 0;
}

/* Short ones of few characters, which meet often. */
static void make_version(char *out, size_t size, uint32_t *seed)
{
    static const char alphabet[] = "0011239aAz.+~~-";
    size_t at = 0;
    out[at++] = '1';
    for (uint32_t count = (*seed >> 28) % 7; count > 0 && at + 1 < size; count--) {
        *seed = *seed * 1664525 + 1013904223;
        out[at++] = alphabet[(*seed >> 16) % (sizeof alphabet - 1)];
    }
    *seed = *seed * 1664525 + 1013904223;
    if (out[at - 1] == '-') out[at++] = '1'; /* no version ends in one */
    out[at] = '\0';
}

static void test_as_dpkg(void **state)
{
    uint32_t seed = 20260102;
    (void)state;
    for (int i = 0; i < 400; i++) {
        char left[16], right[16];
        make_version(left, sizeof left, &seed);
        make_version(right, sizeof right, &seed);
        int order = tc_debversion_compare(left, right);
        if (!dpkg_says(left, order < 0 ? "lt" : order > 0 ? "gt" : "eq", right))
            fail_msg("%s and %s: %d, but dpkg says otherwise", left, right, order);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_equal),
        cmocka_unit_test(test_as_dpkg),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
