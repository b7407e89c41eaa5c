/* The deny list: what is one, what is found in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "core/denied.h"

#define ONE "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define TWO "f123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct tc_sha256 digest(const char *hex)
{
    struct tc_sha256 result;
    assert_true(tc_unhex(hex, result.bytes, sizeof result.bytes));
    return result;
}

static void test_entries(void **state)
{
    (void)state;
    static const char text[] = "# why\n\nkey " TWO "\ncertificate " ONE "\nkey " TWO "\n#\n";
    const struct tc_sha256 one = digest(ONE), two = digest(TWO);
    struct tc_sha256 whole;
    struct tc_error err = {0};
    struct tc_denied denied;
    assert_int_equal(tc_denied_read(tc_span_of_text(text), &denied, &err), TC_OK);
    assert_int_equal(denied.count, 2);
    assert_true(tc_denied_has(&denied, TC_DENIED_CERTIFICATE, &one));
    assert_true(tc_denied_has(&denied, TC_DENIED_KEY, &two));
    assert_false(tc_denied_has(&denied, TC_DENIED_KEY, &one));
    assert_false(tc_denied_has(&denied, TC_DENIED_CERTIFICATE, &two));
    assert_int_equal(tc_sha256_of(tc_span_of_text(text), &whole, &err), TC_OK);
    assert_memory_equal(denied.digest.bytes, whole.bytes, sizeof whole.bytes);
    tc_denied_free(&denied);
    assert_false(tc_denied_has(&denied, TC_DENIED_CERTIFICATE, &one));
}

static void test_empty(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "\n", "# nothing yet\n\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct tc_error err = {0};
        struct tc_denied denied;
        assert_int_equal(tc_denied_read(tc_span_of_text(texts[i]), &denied, &err), TC_OK);
        assert_int_equal(denied.count, 0);
        tc_denied_free(&denied);
    }
}

static void test_malformed(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "key " ONE,
        "key " ONE "\r\n",
        "key  " ONE "\n",
        " key " ONE "\n",
        "key " ONE " \n",
        "key\t" ONE "\n",
        "Key " ONE "\n",
        ONE "\n",
        "key\n",
        "key \n",
        "keys " ONE "\n",
        "key " ONE "0\n",
        "certificate 0\n",
        "key " ONE "\nx\n",
        "# \x01\n",
        "# \xff\n",
        "key 0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef\n",
        "key g123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct tc_error err = {0};
        struct tc_denied denied;
        if (tc_denied_read(tc_span_of_text(texts[i]), &denied, &err) != TC_MALFORMED)
            fail_msg("\"%s\" is a list", texts[i]);
        assert_non_null(strstr(err.message, "line "));
    }
}

static void test_limits(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct tc_denied denied;
    struct tc_buf text = tc_buf_new((size_t)2 * TC_DENIED_MAX);
    for (unsigned i = 0; i < TC_DENIED_ENTRIES_MAX; i++)
        tc_buf_add_format(&text, "key %064x\n", TC_DENIED_ENTRIES_MAX - i);
    assert_int_equal(tc_denied_read(tc_buf_span(&text), &denied, &err), TC_OK);
    assert_int_equal(denied.count, TC_DENIED_ENTRIES_MAX);
    tc_denied_free(&denied);
    tc_buf_add_text(&text, "key " ONE "\n");
    assert_int_equal(tc_denied_read(tc_buf_span(&text), &denied, &err), TC_LIMIT);
    tc_buf_reset(&text);
    for (unsigned i = 0; i < TC_DENIED_LINE_MAX; i++)
        tc_buf_add_text(&text, "#");
    tc_buf_add_text(&text, "\n");
    assert_int_equal(tc_denied_read(tc_buf_span(&text), &denied, &err), TC_OK);
    tc_denied_free(&denied);
    text.size--;
    tc_buf_add_text(&text, "#\n");
    assert_int_equal(tc_denied_read(tc_buf_span(&text), &denied, &err), TC_LIMIT);
    tc_buf_reset(&text);
    while (text.size <= TC_DENIED_MAX)
        tc_buf_add_text(&text, "################\n");
    assert_int_equal(tc_denied_read(tc_buf_span(&text), &denied, &err), TC_LIMIT);
    tc_buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
