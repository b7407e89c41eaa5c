/* The forms in which documents are passed on: what is taken, and that nothing
 * else is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "core/armor.h"

static const char bytes[] = "\x84\x44\xa1\x01\xfb\xff\xfe\x00";
static const struct tc_span document = {(const uint8_t *)bytes, sizeof bytes - 1};

static tc_status decode(struct tc_span input, enum tc_armor form)
{
    struct tc_buf out;
    struct tc_error err = {0};
    enum tc_armor seen = TC_ARMOR_RAW;
    tc_status status = tc_armor_decode(input, &out, &seen, &err);
    if (status == TC_OK) {
        assert_true(tc_span_equal(tc_buf_span(&out), document));
        assert_int_equal(seen, form);
    } else {
        assert_true(err.message[0] != '\0');
    }
    tc_buf_free(&out);
    return status;
}

static void test_taken(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum tc_armor form;
    } cases[] = {
        {"8444a101fbfffe00", TC_ARMOR_HEX},
        {"8444A101FBFFFE00\n", TC_ARMOR_HEX},
        {" \t84 44 a1 01\r\nfb ff fe 0\n0", TC_ARMOR_HEX},
        {"hEShAfv//gA=", TC_ARMOR_BASE64},
        {"hEShAfv//gA", TC_ARMOR_BASE64},
        {"hEShAfv__gA=", TC_ARMOR_BASE64},
        {"hEShAfv__gA", TC_ARMOR_BASE64},
        {"\nhESh\r\nAfv/\n/gA\n=\n", TC_ARMOR_BASE64},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (decode(tc_span_of_text(cases[i].text), cases[i].form) != TC_OK)
            fail_msg("%s is refused", cases[i].text);
    assert_int_equal(decode(document, TC_ARMOR_RAW), TC_OK);
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",
        " \n",
        "8",
        "8444a101fbfffe0",    /* odd */
        "8444a101fbfffe0g",   /* no digit */
        "0x8444a101fbfffe00", /* another notation */
        "8544a101fbfffe00",   /* not an array of four */
        "hEShAfv/_gA=",       /* both alphabets */
        "hEShAfv//gA==",      /* too much padding */
        "hEShAfv//g=A",       /* padding inside */
        "hEShAfv//gB=",       /* bits left over */
        "hEShAfv//",          /* a digit too many */
        "hEShAfv//gA=hESh",   /* two texts */
        "hEShAfv/*gA=",
        "gESh",               /* 0x80 */
        "-----BEGIN",
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (decode(tc_span_of_text(cases[i]), TC_ARMOR_RAW) == TC_OK)
            fail_msg("\"%s\" is taken", cases[i]);
    static const char tagged[] = "\xd2\x84\x44";
    static const char nul[] = "8444\0a1";
    assert_int_equal(decode((struct tc_span){(const uint8_t *)tagged, 3}, TC_ARMOR_RAW),
                     TC_MALFORMED);
    assert_int_equal(decode((struct tc_span){(const uint8_t *)nul, 7}, TC_ARMOR_RAW),
                     TC_MALFORMED);
    /* White space before a raw document is part of no form. */
    assert_int_equal(decode((struct tc_span){(const uint8_t *)"\n\x84", 2}, TC_ARMOR_RAW),
                     TC_MALFORMED);
}

/* A document of the largest size in each form, and of one byte more. */
static void test_sizes(void **state)
{
    (void)state;
    for (size_t size = TC_NITRODOC_MAX; size <= TC_NITRODOC_MAX + 1; size++) {
        uint8_t *raw = calloc(1, size);
        char *hex = malloc(2 * size + 1);
        struct tc_buf base64 = tc_buf_new(2 * size);
        assert_non_null(raw);
        assert_non_null(hex);
        raw[0] = 0x84;
        raw[size - 1] = 1;
        tc_hex((struct tc_span){raw, size}, hex);
        tc_base64_add(&base64, (struct tc_span){raw, size});
        const struct tc_span inputs[] = {{raw, size}, tc_span_of_text(hex), tc_buf_span(&base64)};
        for (size_t i = 0; i < 3; i++) {
            struct tc_buf out;
            struct tc_error err = {0};
            enum tc_armor form;
            tc_status status = tc_armor_decode(inputs[i], &out, &form, &err);
            assert_int_equal(status, size > TC_NITRODOC_MAX ? TC_LIMIT : TC_OK);
            if (status == TC_OK) {
                assert_int_equal(form, i);
                assert_true(tc_span_equal(tc_buf_span(&out), inputs[0]));
            }
            tc_buf_free(&out);
        }
        tc_buf_free(&base64);
        free(hex);
        free(raw);
    }
    char *spaces = malloc(TC_ARMOR_MAX + 1);
    assert_non_null(spaces);
    memset(spaces, ' ', TC_ARMOR_MAX + 1);
    assert_int_equal(decode((struct tc_span){(uint8_t *)spaces, TC_ARMOR_MAX + 1}, TC_ARMOR_RAW),
                     TC_LIMIT);
    free(spaces);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_taken),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
