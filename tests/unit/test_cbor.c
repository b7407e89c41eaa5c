#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/cbor.h"

/* A literal with bytes in it, without its NUL. */
#define BYTES(literal) ((struct tc_span){(const uint8_t *)(literal), sizeof(literal) - 1})

static tc_status skip_all(struct tc_span bytes)
{
    struct tc_error err = {0};
    struct tc_cursor cursor = tc_cursor_of(bytes);
    tc_status status = tc_cbor_skip(&cursor, "item", &err);
    return status == TC_OK ? tc_cbor_end(&cursor, "item", &err) : status;
}

static void test_accepted(void **state)
{
    (void)state;
    const struct tc_span list[] = {
        BYTES("\x00"), BYTES("\x17"), BYTES("\x18\x18"), BYTES("\x18\xff"), BYTES("\x19\x01\x00"),
        BYTES("\x19\xff\xff"), BYTES("\x1a\x00\x01\x00\x00"), BYTES("\x1a\xff\xff\xff\xff"),
        BYTES("\x1b\x00\x00\x00\x01\x00\x00\x00\x00"), BYTES("\x20"),
        BYTES("\x3b\xff\xff\xff\xff\xff\xff\xff\xff"), BYTES("\x40"), BYTES("\x41\x00"),
        BYTES("\x60"), BYTES("\x62\xc3\xa4"), BYTES("\x80"), BYTES("\x82\x01\x02"), BYTES("\xa0"),
        BYTES("\xa1\x01\x02"), BYTES("\xf4"), BYTES("\xf5"), BYTES("\xf6"),
        BYTES("\x81\x81\x81\x81\x81\x81\x81\x81\x01"),
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        assert_int_equal(skip_all(list[i]), TC_OK);
}

static void test_refused(void **state)
{
    (void)state;
    const struct tc_span list[] = {
        BYTES(""),
        /* not shortest */
        BYTES("\x18\x17"), BYTES("\x19\x00\xff"), BYTES("\x1a\x00\x00\xff\xff"),
        BYTES("\x1b\x00\x00\x00\x00\xff\xff\xff\xff"), BYTES("\x38\x00"), BYTES("\x58\x00"),
        BYTES("\x78\x01\x41"), BYTES("\x98\x00"), BYTES("\xb8\x00"),
        /* cut */
        BYTES("\x18"), BYTES("\x19\x01"), BYTES("\x1a\x01\x01\x01"), BYTES("\x41"),
        BYTES("\x42\x41"), BYTES("\x81"), BYTES("\xa1\x01"), BYTES("\x82\x01"),
        /* lengths that no memory holds */
        BYTES("\x5b\xff\xff\xff\xff\xff\xff\xff\xff"),
        BYTES("\x9b\xff\xff\xff\xff\xff\xff\xff\xff"),
        BYTES("\xbb\x80\x00\x00\x00\x00\x00\x00\x01\x00"),
        BYTES("\xbb\xff\xff\xff\xff\xff\xff\xff\xff"),
        /* indefinite, reserved, tags, floats, simple values, break */
        BYTES("\x5f\xff"), BYTES("\x7f\xff"), BYTES("\x9f\xff"), BYTES("\xbf\xff"), BYTES("\x1f"),
        BYTES("\x1c"), BYTES("\x5d"), BYTES("\xfc"), BYTES("\xc0\x00"), BYTES("\xd2\x80"),
        BYTES("\xd8\x3d\x00"), BYTES("\xf9\x00\x00"), BYTES("\xfa\x00\x00\x00\x00"),
        BYTES("\xfb\x00\x00\x00\x00\x00\x00\x00\x00"), BYTES("\xf7"), BYTES("\xe0"), BYTES("\xf3"),
        BYTES("\xf8\x20"), BYTES("\xf8\x16"), BYTES("\xff"),
        /* text */
        BYTES("\x61\xff"), BYTES("\x62\xc0\x80"), BYTES("\x61\x00"), BYTES("\x63\xed\xa0\x80"),
        /* trailing, deep */
        BYTES("\x00\x00"), BYTES("\x81\x81\x81\x81\x81\x81\x81\x81\x81\x01"),
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (skip_all(list[i]) != TC_MALFORMED) fail_msg("refused[%zu] is not refused", i);
}

/* A typed reader that fails leaves cursor and output alone. */
static void test_failure_changes_nothing(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct tc_span span = BYTES("untouched"), before = span;
    uint64_t value = 7;
    int64_t integer = 7;
    size_t count = 7;
    bool yes = true;
    struct tc_cursor cursor = tc_cursor_of(BYTES("\x44" "abc")), start = cursor;
    assert_int_equal(tc_cbor_bytes(&cursor, "x", 10, &span, &err), TC_MALFORMED);
    assert_int_equal(tc_cbor_bytes(&cursor, "x", 3, &span, &err), TC_MALFORMED);
    assert_int_equal(tc_cbor_text(&cursor, "x", 10, &span, &err), TC_MALFORMED);
    assert_int_equal(tc_cbor_unsigned(&cursor, "x", 10, &value, &err), TC_MALFORMED);
    assert_int_equal(tc_cbor_integer(&cursor, "x", &integer, &err), TC_MALFORMED);
    assert_int_equal(tc_cbor_array(&cursor, "x", 10, &count, &err), TC_MALFORMED);
    assert_int_equal(tc_cbor_bool(&cursor, "x", &yes, &err), TC_MALFORMED);
    assert_int_equal(tc_cbor_bytes_or_null(&cursor, "x", 10, &yes, &span, &err), TC_MALFORMED);
    assert_int_equal(tc_cbor_skip(&cursor, "x", &err), TC_MALFORMED);
    assert_true(tc_span_equal(span, before));
    assert_true(value == 7 && integer == 7 && count == 7 && yes);
    assert_ptr_equal(cursor.next, start.next);
}

static void test_limits(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct tc_cursor cursor = tc_cursor_of(BYTES("\x18\x20\x83"));
    uint64_t value = 0;
    size_t count = 0;
    int64_t integer = 0;
    assert_int_equal(tc_cbor_unsigned(&cursor, "x", 31, &value, &err), TC_MALFORMED);
    assert_int_equal(tc_cbor_unsigned(&cursor, "x", 32, &value, &err), TC_OK);
    assert_int_equal(tc_cbor_array(&cursor, "x", 2, &count, &err), TC_MALFORMED);
    assert_int_equal(tc_cbor_array(&cursor, "x", 3, &count, &err), TC_OK);
    cursor = tc_cursor_of(BYTES("\x3b\x7f\xff\xff\xff\xff\xff\xff\xff"));
    assert_int_equal(tc_cbor_integer(&cursor, "x", &integer, &err), TC_OK);
    assert_true(integer == INT64_MIN);
    cursor = tc_cursor_of(BYTES("\x3b\x80\x00\x00\x00\x00\x00\x00\x00"));
    assert_int_equal(tc_cbor_integer(&cursor, "x", &integer, &err), TC_MALFORMED);
    cursor = tc_cursor_of(BYTES("\xf6"));
    bool yes = false;
    assert_int_equal(tc_cbor_bool(&cursor, "x", &yes, &err), TC_MALFORMED);
    struct tc_span text = {NULL, 0};
    cursor = tc_cursor_of(BYTES("\x62\xc3\xa4\x62\xc3\x28"));
    assert_int_equal(tc_cbor_text(&cursor, "x", 2, &text, &err), TC_OK);
    assert_int_equal(tc_cbor_text(&cursor, "x", 2, &text, &err), TC_MALFORMED);
}

static tc_status read_pairs(struct tc_span bytes, size_t max, enum tc_cbor_length length,
                            size_t *ret_pairs)
{
    static const char *const names[] = {"a", "b", "c", NULL};
    struct tc_error err = {0};
    struct tc_cursor cursor = tc_cursor_of(bytes);
    struct tc_cbor_map map;
    uint32_t seen = 0;
    size_t pairs = 0;
    TC_TRY(tc_cbor_map(&cursor, "map", max, length, &map, &err));
    for (bool more = false;; pairs++) {
        size_t index = 9;
        uint64_t value = 0;
        TC_TRY(tc_cbor_map_next(&cursor, &map, &more, &err));
        if (!more) break;
        TC_TRY(tc_cbor_key(&cursor, "map", names, &seen, &index, &err));
        TC_TRY(tc_cbor_unsigned(&cursor, "value", 9, &value, &err));
        assert_int_equal(index, value);
    }
    *ret_pairs = pairs;
    return tc_cbor_end(&cursor, "map", &err);
}

static void test_maps(void **state)
{
    (void)state;
    size_t pairs = 9;
    assert_int_equal(read_pairs(BYTES("\xa0"), 3, TC_CBOR_DEFINITE, &pairs), TC_OK);
    assert_int_equal(pairs, 0);
    assert_int_equal(read_pairs(BYTES("\xa2\x61" "b\x01\x61" "a\x00"), 2, TC_CBOR_DEFINITE, &pairs),
                     TC_OK);
    assert_int_equal(pairs, 2);
    assert_int_equal(
        read_pairs(BYTES("\xbf\x61" "c\x02\x61" "a\x00\xff"), 2, TC_CBOR_MAY_BE_INDEFINITE, &pairs),
        TC_OK);
    assert_int_equal(pairs, 2);
    const struct tc_span refused[] = {
        BYTES("\xa2\x61" "a\x00\x61" "a\x00"),         /* twice */
        BYTES("\xbf\x61" "a\x00\x61" "a\x00\xff"),     /* twice */
        BYTES("\xa1\x61" "d\x03"),                     /* unknown */
        BYTES("\xa1\x62" "a\0\x00"),                   /* NUL behind a known name */
        BYTES("\xa1\x41" "a\x00"),                     /* a key of bytes */
        BYTES("\xa3\x61" "a\x00\x61" "b\x01\x61" "c\x02"), /* more than the cap */
        BYTES("\xbf\x61" "a\x00\x61" "b\x01\x61" "c\x02\xff"),
        BYTES("\xbf\x61" "a\x00"), /* never closed */
        BYTES("\xbf\x61" "a\xff"), /* closed in the middle of a pair */
        BYTES("\xa1\x61" "a"),
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (read_pairs(refused[i], 2, TC_CBOR_MAY_BE_INDEFINITE, &pairs) != TC_MALFORMED)
            fail_msg("map %zu is not refused", i);
    assert_int_equal(read_pairs(BYTES("\xbf\xff"), 2, TC_CBOR_DEFINITE, &pairs), TC_MALFORMED);
}

static void test_writer(void **state)
{
    (void)state;
    struct tc_buf buf TC_AUTO_BUF = tc_buf_new(1000);
    tc_cbor_add_array(&buf, 9);
    tc_cbor_add_unsigned(&buf, 23);
    tc_cbor_add_unsigned(&buf, 24);
    tc_cbor_add_unsigned(&buf, 256);
    tc_cbor_add_unsigned(&buf, 65536);
    tc_cbor_add_unsigned(&buf, UINT64_C(1) << 32);
    tc_cbor_add_integer(&buf, -35);
    tc_cbor_add_map(&buf, 1);
    tc_cbor_add_name(&buf, "k");
    tc_cbor_add_bool(&buf, false);
    tc_cbor_add_bytes(&buf, BYTES("xy"));
    tc_cbor_add_null(&buf);
    struct tc_span expected =
        BYTES("\x89\x17\x18\x18\x19\x01\x00\x1a\x00\x01\x00\x00\x1b\x00\x00\x00\x01\x00\x00\x00\x00"
              "\x38\x22\xa1\x61k\xf4\x42xy\xf6");
    assert_true(tc_span_equal(tc_buf_span(&buf), expected));
    assert_int_equal(skip_all(tc_buf_span(&buf)), TC_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accepted), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_failure_changes_nothing), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_maps), cmocka_unit_test(test_writer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
