/* Output patterns and the log's redaction. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/outmatch.h"
#include "core/redact.h"

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

/* Feeds text in pieces of every size: where a piece ends must not matter. */
static void expect(const char *text, const char *wanted)
{
    for (size_t piece = 1; piece <= strlen(text); piece++) {
        struct tc_redactor *redactor = tc_redactor_new();
        TC_AUTO_BUF struct tc_buf out = tc_buf_new(4096);
        assert_non_null(redactor);
        for (size_t at = 0; at < strlen(text); at += piece) {
            size_t left = strlen(text) - at;
            tc_redactor_add(redactor,
                            (struct tc_span){(const uint8_t *)text + at, left < piece ? left : piece},
                            &out);
        }
        tc_redactor_flush(redactor, &out);
        tc_redactor_free(redactor);
        if (!tc_span_equal(tc_buf_span(&out), tc_span_of_text(wanted)))
            fail_msg("\"%s\" became \"%.*s\"", text, (int)out.size, (const char *)out.data);
    }
}

static void test_redaction(void **state)
{
    (void)state;
    expect("gcc -O2 -o app main.c\n", "gcc -O2 -o app main.c\n");
    expect("no line end", "no line end");
    expect("> Authorization: Bearer abc.def\nnext\n", "> Authorization: [redacted]\nnext\n");
    expect("cookie:a=b; c=d\n", "cookie:[redacted]\n");
    expect("git clone https://user:pw@example.org/x\n", "git clone https://[redacted]@example.org/x\n");
    expect("https://example.org/a@b\n", "https://example.org/a@b\n");
    expect("GET /x?token=abc&y=1 z\n", "GET /x?token=[redacted]&y=1 z\n");
    expect("MY_API_KEY='s3cret' make\n", "MY_API_KEY='[redacted]' make\n");
    expect("password: hunter2\n", "password: [redacted]\n");
    expect("ghp_0123456789abcdefghij done\n", "[redacted] done\n");
    expect("ghp_short\n", "ghp_short\n");
    expect("AKIAIOSFODNN7EXAMPLE\n", "[redacted]\n");
    expect("a=b token=\n", "a=b token=\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_names), cmocka_unit_test(test_patterns),
                                       cmocka_unit_test(test_redaction)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
