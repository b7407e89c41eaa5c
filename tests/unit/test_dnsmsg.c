/* The DNS of a build: which messages are questions, and what the answers are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/dnsmsg.h"

/* 12 bytes of header: id 0x1234, recursion desired, one question; then the question. */
#define HEADER "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
#define HEADER_EDNS "\x12\x34\x01\x20\x00\x01\x00\x00\x00\x00\x00\x01"
#define NAME "\x07" "ExAmple\x03" "orG\x00"
#define TYPE_A "\x00\x01\x00\x01"
#define OPT "\x00\x00\x29\x10\x00\x00\x00\x80\x00\x00\x03" "abc"

/* The bytes of a literal without its last NUL. */
#define BYTES(literal) ((struct tc_span){(const uint8_t *)(literal), sizeof(literal) - 1})

static const uint8_t address[] = {198, 18, 0, 7};

static struct tc_dns_query parse(struct tc_span message)
{
    struct tc_error err = {0};
    struct tc_dns_query query;
    if (tc_dns_query_parse(message, &query, &err) != TC_OK) fail_msg("%s", err.message);
    return query;
}

static void refuse(struct tc_span message, const char *why)
{
    struct tc_error err = {0};
    struct tc_dns_query query = {.id = 7};
    assert_int_equal(tc_dns_query_parse(message, &query, &err), TC_MALFORMED);
    if (!strstr(err.message, why)) fail_msg("\"%s\", expected \"%s\"", err.message, why);
    assert_int_equal(query.id, 7);
}

static void test_query(void **state)
{
    (void)state;
    struct tc_dns_query query = parse(BYTES(HEADER NAME TYPE_A));
    assert_int_equal(query.id, 0x1234);
    assert_int_equal(query.type, TC_DNS_TYPE_A);
    assert_string_equal(query.name, "example.org");
    assert_false(query.edns);
    assert_true(tc_span_equal(query.question, BYTES(NAME TYPE_A)));
    query = parse(BYTES(HEADER_EDNS NAME "\x00\x1c\x00\x01" OPT));
    assert_int_equal(query.type, 28);
    assert_true(query.edns);
}

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(parse(BYTES(HEADER "\x00" TYPE_A)).name, "");
    assert_string_equal(parse(BYTES(HEADER "\x09localhost\x00" TYPE_A)).name, "localhost");
    assert_string_equal(parse(BYTES(HEADER "\x0b" "example.org\x00" TYPE_A)).name, "");
    assert_string_equal(parse(BYTES(HEADER "\x03" "a b\x03org\x00" TYPE_A)).name, "");
    assert_string_equal(parse(BYTES(HEADER "\x03" "a\x00" "b\x03org\x00" TYPE_A)).name, "");
    assert_string_equal(parse(BYTES(HEADER "\x01*\x03org\x00" TYPE_A)).name, "");
    assert_string_equal(parse(BYTES(HEADER "\x03" "192\x01" "0\x01" "2\x01" "1\x00" TYPE_A)).name, "");

    /* The longest: 4 labels, 255 bytes on the wire, 253 as text; one more is too long. */
    for (size_t extra = 0; extra < 2; extra++) {
        TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_DNS_QUERY_MAX);
        tc_buf_add_span(&buf, BYTES(HEADER));
        for (size_t i = 0; i < 4; i++) {
            size_t size = i < 3 ? 63 : 61 + extra;
            tc_buf_add_u8(&buf, (uint8_t)size);
            for (size_t k = 0; k < size; k++)
                tc_buf_add_u8(&buf, 'x');
        }
        tc_buf_add_span(&buf, BYTES("\x00" TYPE_A));
        if (extra)
            refuse(tc_buf_span(&buf), "too long");
        else
            assert_int_equal(strlen(parse(tc_buf_span(&buf)).name), TC_HOST_NAME_MAX);
    }
}

static void test_refused(void **state)
{
    (void)state;
    /* flags: a response, another opcode, truncated, the reserved bit, a return code */
    refuse(BYTES("\x12\x34\x81\x00\x00\x01\x00\x00\x00\x00\x00\x00" NAME TYPE_A), "flags");
    refuse(BYTES("\x12\x34\x29\x00\x00\x01\x00\x00\x00\x00\x00\x00" NAME TYPE_A), "flags");
    refuse(BYTES("\x12\x34\x03\x00\x00\x01\x00\x00\x00\x00\x00\x00" NAME TYPE_A), "flags");
    refuse(BYTES("\x12\x34\x01\x40\x00\x01\x00\x00\x00\x00\x00\x00" NAME TYPE_A), "flags");
    refuse(BYTES("\x12\x34\x01\x03\x00\x01\x00\x00\x00\x00\x00\x00" NAME TYPE_A), "flags");
    /* counts */
    refuse(BYTES("\x12\x34\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00"), "0 questions");
    refuse(BYTES("\x12\x34\x01\x00\x00\x02\x00\x00\x00\x00\x00\x00" NAME TYPE_A NAME TYPE_A),
           "2 questions");
    refuse(BYTES("\x12\x34\x01\x00\x00\x01\x00\x01\x00\x00\x00\x00" NAME TYPE_A), "records");
    refuse(BYTES("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x01\x00\x00" NAME TYPE_A), "records");
    refuse(BYTES("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x02" NAME TYPE_A OPT OPT), "records");
    /* names: a pointer, an unknown kind of label */
    refuse(BYTES(HEADER "\xc0\x0c" TYPE_A), "compressed");
    refuse(BYTES(HEADER "\x01" "a\xc0\x0c" TYPE_A), "compressed");
    refuse(BYTES(HEADER "\x40" "a\x00" TYPE_A), "compressed");
    refuse(BYTES(HEADER "\x40"
                        "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\x00" TYPE_A),
           "compressed");
    refuse(BYTES(HEADER NAME "\x00\x01\x00\x03"), "class");
    refuse(BYTES(HEADER NAME "\x00\x01\x00\xff"), "class");
    /* behind the question */
    refuse(BYTES(HEADER NAME TYPE_A "x"), "behind");
    refuse(BYTES(HEADER_EDNS NAME TYPE_A OPT "x"), "behind");
    refuse(BYTES(HEADER_EDNS NAME TYPE_A "\x00\x00\x29\x10\x00\x00\x01\x00\x00\x00\x00"), "behind");
    refuse(BYTES(HEADER_EDNS NAME TYPE_A "\x00\x00\x01\x10\x00\x00\x00\x00\x00\x00\x00"), "behind");
    refuse(BYTES(HEADER_EDNS NAME TYPE_A "\x01" "a\x00\x00\x29\x10\x00\x00\x00\x00\x00\x00\x00"),
           "behind");
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_DNS_QUERY_MAX + 1);
    tc_buf_add_span(&buf, BYTES(HEADER_EDNS NAME TYPE_A "\x00\x00\x29\x10\x00\x00\x00\x00\x00"));
    size_t padding = TC_DNS_QUERY_MAX - buf.size - 2;
    tc_buf_add_u16(&buf, (uint16_t)padding);
    while (padding-- > 0)
        tc_buf_add_u8(&buf, 0);
    assert_true(parse(tc_buf_span(&buf)).edns);
    tc_buf_add_u8(&buf, 0);
    refuse(tc_buf_span(&buf), "at most");
}

/* A message cut at any byte is none. */
static void test_cuts(void **state)
{
    (void)state;
    static const char text[] = HEADER_EDNS NAME TYPE_A OPT;
    for (size_t size = 0; size < sizeof text - 1; size++) {
        TC_AUTO_FREE uint8_t *copy = malloc(size + 1);
        assert_non_null(copy);
        memcpy(copy, text, size);
        struct tc_error err = {0};
        struct tc_dns_query query;
        assert_int_equal(tc_dns_query_parse((struct tc_span){copy, size}, &query, &err),
                         TC_MALFORMED);
    }
}

static void expect(struct tc_span message, const uint8_t *given, struct tc_span wanted)
{
    struct tc_dns_query query = parse(message);
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_DNS_ANSWER_MAX);
    tc_dns_answer_write(&query, given, &buf);
    assert_true(tc_buf_ok(&buf));
    assert_int_equal(buf.size, wanted.size);
    assert_memory_equal(buf.data, wanted.data, wanted.size);
}

static void test_answers(void **state)
{
    (void)state;
    expect(BYTES(HEADER NAME TYPE_A), address,
           BYTES("\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" NAME TYPE_A
                 "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x01\x00\x04\xc6\x12\x00\x07"));
    expect(BYTES(HEADER NAME TYPE_A), NULL,
           BYTES("\x12\x34\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00" NAME TYPE_A));
    /* AAAA, HTTPS: there is nothing. */
    expect(BYTES(HEADER NAME "\x00\x1c\x00\x01"), address,
           BYTES("\x12\x34\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00" NAME "\x00\x1c\x00\x01"));
    expect(BYTES(HEADER NAME "\x00\x41\x00\x01"), address,
           BYTES("\x12\x34\x81\x80\x00\x01\x00\x00\x00\x00\x00\x00" NAME "\x00\x41\x00\x01"));
    /* No name of a host: no such name, whatever address is given. */
    expect(BYTES(HEADER "\x01*\x00" TYPE_A), address,
           BYTES("\x12\x34\x81\x83\x00\x01\x00\x00\x00\x00\x00\x00" "\x01*\x00" TYPE_A));
    expect(BYTES("\x12\x34\x00\x10\x00\x01\x00\x00\x00\x00\x00\x01" NAME TYPE_A OPT), address,
           BYTES("\x12\x34\x80\x90\x00\x01\x00\x01\x00\x00\x00\x01" NAME TYPE_A
                 "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x01\x00\x04\xc6\x12\x00\x07"
                 "\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_query), cmocka_unit_test(test_names),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
