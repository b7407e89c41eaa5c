/* base: text and bounded bytes. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/text.h"

static struct tc_span span(const char *text)
{
    return tc_span_of_text(text);
}

static void test_hex(void **state)
{
    (void)state;
    const uint8_t bytes[] = {0x00, 0x9f, 0xff};
    uint8_t out[3] = {1, 2, 3};
    char text[7];
    tc_hex((struct tc_span){bytes, 3}, text);
    assert_string_equal(text, "009fff");
    assert_true(tc_unhex("009FfF", out, 3));
    assert_memory_equal(out, bytes, 3);
    out[0] = 7;
    assert_false(tc_unhex("009ff", out, 3));
    assert_false(tc_unhex("009fff0", out, 3));
    assert_false(tc_unhex("009ffg", out, 3));
    assert_int_equal(out[0], 7);
}

static void test_utf8(void **state)
{
    (void)state;
    static const char *const good[] = {"", "a", "\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xed\x9f\xbf",
                                       "\xee\x80\x80", "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"};
    static const char *const bad[] = {"\x80", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80",
                                      "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xf5\x80\x80\x80",
                                      "\xc2", "\xe2\x82", "a\xff"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(tc_is_utf8(span(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(tc_is_utf8(span(bad[i])));
    assert_false(tc_is_utf8((struct tc_span){(const uint8_t *)"a\0b", 3}));
}

static void test_printable_again(void **state)
{
    (void)state;
    char once[64], out[64];
    const char *texts[] = {"\033[31m\n", "a\\b\xff", "plain"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        (void)tc_printable(span(texts[i]), once, sizeof once);
        assert_string_equal(tc_printable_again(span(once), out, sizeof out), once);
    }
    assert_string_equal(tc_printable_again(span("a\\b\033\n"), out, sizeof out), "a\\b\\x1b\\x0a");
}

/* What others chose may stand in any message. */
static void test_messages_are_safe(void **state)
{
    (void)state;
    struct tc_error err = {0};
    (void)tc_fail(&err, TC_USAGE, "%s", "a\033[31m\nb\\x1b");
    assert_string_equal(err.message, "a\\x1b[31m\\x0ab\\x1b");
    (void)tc_wrap(&err, "%s", "\r");
    assert_string_equal(err.message, "\\x0d: a\\x1b[31m\\x0ab\\x1b");
    (void)tc_fail_errno(&err, TC_USAGE, ENOENT, "%s", "\xc2\x9b");
    assert_string_equal(err.message, "\\xc2\\x9b: No such file or directory");
    char long_text[2 * TC_ERROR_MAX];
    memset(long_text, '\033', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    (void)tc_fail(&err, TC_USAGE, "%s", long_text);
    assert_null(strchr(err.message, '\033'));
    assert_true(strlen(err.message) < TC_ERROR_MAX);
}

static void test_printable(void **state)
{
    (void)state;
    char out[64];
    assert_string_equal(tc_printable(span("plain \xc3\xa9"), out, sizeof out), "plain \xc3\xa9");
    assert_string_equal(tc_printable(span("\033[31m\n"), out, sizeof out), "\\x1b[31m\\x0a");
    assert_string_equal(tc_printable(span("a\\b"), out, sizeof out), "a\\x5cb");
    /* U+202E turns the text around, U+009B starts a control sequence. */
    assert_string_equal(tc_printable(span("\xe2\x80\xae"), out, sizeof out), "\\xe2\\x80\\xae");
    assert_string_equal(tc_printable(span("\xc2\x9b"), out, sizeof out), "\\xc2\\x9b");
    assert_string_equal(tc_printable(span("\xff"), out, sizeof out), "\\xff");
    assert_string_equal(tc_printable(span("0123456789"), out, 8), "0123...");
    assert_string_equal(tc_printable(span("0123456"), out, 8), "0123456");
    assert_string_equal(tc_printable(span("x"), out, 1), "");
}

static void test_nearest(void **state)
{
    (void)state;
    static const char *const words[] = {"language", "input", "output", "limits", NULL};
    assert_string_equal(tc_nearest_word("langage", words), "language");
    assert_string_equal(tc_nearest_word("ouptut", words), "output");
    assert_null(tc_nearest_word("zzzzzzzz", words));
}

static void test_numbers(void **state)
{
    (void)state;
    uint64_t value = 7;
    assert_true(tc_parse_duration("90", &value) && value == 90);
    assert_true(tc_parse_duration("2h", &value) && value == 7200);
    assert_true(tc_parse_duration("720h", &value) && value == 2592000);
    assert_true(tc_parse_size("8G", &value) && value == UINT64_C(8) << 30);
    assert_true(tc_parse_size("0", &value) && value == 0);
    value = 7;
    static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "1x", "01", "1hh", "0x10", "1.5",
                                      "99999999999999999999", "721h"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(tc_parse_duration(bad[i], &value));
    assert_false(tc_parse_size("1025T", &value));
    assert_false(tc_parse_size("18446744073709551615G", &value));
    assert_int_equal(value, 7);
}

static void test_time(void **state)
{
    (void)state;
    char text[TC_TIME_TEXT_SIZE];
    int64_t seconds;
    static const struct {
        int64_t seconds;
        const char *text;
    } known[] = {{0, "1970-01-01T00:00:00Z"},           {951782400, "2000-02-29T00:00:00Z"},
                 {1770366258, "2026-02-06T08:24:18Z"},  {4102444799, "2099-12-31T23:59:59Z"},
                 {253402300799, "9999-12-31T23:59:59Z"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        tc_format_time(known[i].seconds, text);
        assert_string_equal(text, known[i].text);
        assert_true(tc_parse_time(known[i].text, &seconds) && seconds == known[i].seconds);
    }
    for (int64_t at = 0; at < INT64_C(253402300799); at += INT64_C(86399) * 97) {
        tc_format_time(at, text);
        assert_true(tc_parse_time(text, &seconds));
        assert_int_equal(seconds, at);
    }
    static const char *const bad[] = {"1969-12-31T23:59:59Z", "2026-02-29T00:00:00Z",
                                      "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z",
                                      "2026-01-32T00:00:00Z", "2026-01-01T24:00:00Z",
                                      "2026-01-01T00:60:00Z", "2026-01-01T00:00:60Z",
                                      "2026-01-01 00:00:00Z", "2026-01-01T00:00:00",
                                      "2026-01-01T00:00:00+00:00", ""};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(tc_parse_time(bad[i], &seconds));
}

static void test_base64(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"", ""},         {"f", "Zg=="},      {"fo", "Zm8="},
                                           {"foo", "Zm9v"},  {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        TC_AUTO_BUF struct tc_buf text = tc_buf_new(64), back = tc_buf_new(64);
        tc_base64_add(&text, span(pairs[i][0]));
        assert_true(tc_span_equal(tc_buf_span(&text), span(pairs[i][1])));
        assert_true(tc_base64_decode(span(pairs[i][1]), &back));
        assert_true(tc_span_equal(tc_buf_span(&back), span(pairs[i][0])));
        tc_buf_free(&back);
    }
    static const char *const bad[] = {"Zg", "Zg=", "Zh==", "Zm9=", "Z===", "Zg==Zg==", " Zg=",
                                      "Zm-v", "Zm_v", "Zg==\n", "===="};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        TC_AUTO_BUF struct tc_buf back = tc_buf_new(64);
        if (tc_base64_decode(span(bad[i]), &back)) fail_msg("\"%s\" was accepted", bad[i]);
    }
}

static void test_cursor(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {0, 0, 0, 2, 'a', 'b', 0, 0, 0, 9, 'c'};
    struct tc_cursor cursor = tc_cursor_of((struct tc_span){bytes, sizeof bytes});
    struct tc_span block;
    uint64_t wide;
    assert_false(tc_cursor_block(&cursor, 1, &block)); /* over the cap */
    assert_true(tc_cursor_block(&cursor, 2, &block));
    assert_true(tc_span_equal(block, span("ab")));
    assert_false(tc_cursor_block(&cursor, 100, &block)); /* over the end */
    assert_int_equal(tc_cursor_left(&cursor), 5);
    assert_false(tc_cursor_u64(&cursor, &wide));
    assert_int_equal(tc_cursor_left(&cursor), 5);
    assert_true(tc_cursor_take(&cursor, 5, &block));
    assert_true(tc_cursor_take(&cursor, 0, &block));
    assert_false(tc_cursor_take(&cursor, 1, &block));
    struct tc_cursor nothing = tc_cursor_of((struct tc_span){NULL, 0});
    assert_int_equal(tc_cursor_left(&nothing), 0);
}

static void test_buf(void **state)
{
    (void)state;
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(5);
    struct tc_error err = {0};
    tc_buf_add_text(&buf, "abc");
    tc_buf_add_u16(&buf, 0x4142);
    assert_true(tc_buf_ok(&buf) && tc_span_equal(tc_buf_span(&buf), span("abcAB")));
    tc_buf_add_u8(&buf, 'x');
    assert_false(tc_buf_ok(&buf));
    tc_buf_reset(&buf);
    tc_buf_add_format(&buf, "%d", 1234); /* needs its NUL too while it writes */
    assert_true(tc_buf_ok(&buf) && buf.size == 4);
    tc_buf_add_format(&buf, "%d", 1234);
    assert_false(tc_buf_ok(&buf));
    tc_buf_add_text(&buf, "");
    assert_int_equal(tc_buf_check(&buf, "it", &err), TC_LIMIT); /* sticky */
}

static void test_errors(void **state)
{
    (void)state;
    struct tc_error err = {0};
    char *letters = malloc(3 * TC_ERROR_MAX);
    assert_non_null(letters);
    memset(letters, 'x', 3 * TC_ERROR_MAX - 1);
    letters[3 * TC_ERROR_MAX - 1] = '\0';
    assert_int_equal(tc_fail(&err, TC_PEER, "%s", letters), TC_PEER);
    assert_int_equal(strlen(err.message), TC_ERROR_MAX - 1);
    assert_int_equal(tc_wrap(&err, "%s", letters), TC_PEER);
    assert_int_equal(tc_fail(&err, TC_LIMIT, "inner"), TC_LIMIT);
    assert_int_equal(tc_wrap(&err, "outer %d", 1), TC_LIMIT);
    assert_string_equal(err.message, "outer 1: inner");
    free(letters);
}

static void test_is_printable(void **state)
{
    (void)state;
    static const char *const good[] = {"", "plain", "a\\x1b", "\xc3\xa9", "\xf0\x9f\x98\x80"};
    static const char *const bad[] = {"\x1b[31m", "a\n", "\x7f", "\xc2\x9b", "\xe2\x80\xae",
                                      "\xff", "\xc3", "\xed\xa0\x80"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!tc_is_printable(tc_span_of_text(good[i]))) fail_msg("refused: %zu", i);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (tc_is_printable(tc_span_of_text(bad[i]))) fail_msg("taken: %zu", i);
}

static const char *last_words(const char *said, char *out, size_t out_size)
{
    uint8_t text[64];
    size_t size = strlen(said);
    memcpy(text, said, size);
    return tc_last_words(text, size, out, out_size);
}

static void test_last_words(void **state)
{
    char out[12];
    (void)state;
    assert_string_equal(last_words("", out, sizeof out), "");
    assert_string_equal(last_words("\r\n\n", out, sizeof out), "");
    assert_string_equal(last_words("one\r\ntwo\r\n\r\n", out, sizeof out), "one|two");
    assert_string_equal(last_words("elevenchars", out, sizeof out), "elevenchars");
    assert_string_equal(last_words("more than eleven", out, sizeof out), "than eleven");
    assert_string_equal(last_words("\033\033\033\033", out, sizeof out), "\\x1b\\x1b");
    assert_string_equal(last_words("a\303\251lines long", out, sizeof out), "lines long");
    assert_string_equal(last_words("much", out, 1), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hex),     cmocka_unit_test(test_utf8),   cmocka_unit_test(test_printable), cmocka_unit_test(test_printable_again),
        cmocka_unit_test(test_messages_are_safe),
        cmocka_unit_test(test_nearest), cmocka_unit_test(test_numbers), cmocka_unit_test(test_time),
        cmocka_unit_test(test_base64),  cmocka_unit_test(test_cursor), cmocka_unit_test(test_buf),
        cmocka_unit_test(test_is_printable),
        cmocka_unit_test(test_last_words),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
