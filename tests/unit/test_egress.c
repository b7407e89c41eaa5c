/* What the recorder asks of the host: headers, names, keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/egress.h"

static void test_header(void **state)
{
    (void)state;
    struct tc_error err = {0};
    uint8_t bytes[TC_EGRESS_HEADER_SIZE];
    tc_egress_header_encode(&(struct tc_egress_header){TC_EGRESS_DATA, 0x1234}, bytes);
    assert_memory_equal(bytes, "\x11\x00\x12\x34", sizeof bytes);
    struct tc_egress_header header = {0};
    assert_int_equal(tc_egress_header_decode(bytes, &header, &err), TC_OK);
    assert_int_equal(header.kind, TC_EGRESS_DATA);
    assert_int_equal(header.size, 0x1234);
    bytes[1] = 1;
    bytes[0] = 9;
    assert_int_equal(tc_egress_header_decode(bytes, &header, &err), TC_MALFORMED);
    assert_int_equal(header.kind, TC_EGRESS_DATA);
}

static void test_names(void **state)
{
    (void)state;
    static const char label[] = "abcdefghijklmnopqrstuvwxyz0123456789-abcdefghijklmnopqrstuvwxyz";
    static const char *const good[] = {
        "localhost",        "example.org",       "a",          "a.b.c.d.e", "xn--bcher-kva.example",
        "_srv.example.org", "r3---sn-x.example", "10.example", "1a",        "0xg",
        "127.0.0.x1",       "a_b.example",       label,
    };
    static const char *const bad[] = {
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "Example.org",
        "a b",
        "a/b",
        "a:1",
        "192.0.2.1",
        "10",
        "1.2",
        "a.1",
        "0x7f000001",
        "0x",
        "a.0x1f",
        "017",
        "[::1]",
        "::1",
        "-a.org",
        "a-.org",
        "a.-b",
        "-",
        "b\xc3\xbcrg.example",
        "a%41",
        "a@b",
        "*.example.org",
        "a\nb",
        "abcdefghijklmnopqrstuvwxyz0123456789-abcdefghijklmnopqrstuvwxyzz",
    };
    assert_int_equal(strlen(label), 63);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!tc_host_name_is_good(tc_span_of_text(good[i]))) fail_msg("\"%s\" is good", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (tc_host_name_is_good(tc_span_of_text(bad[i]))) fail_msg("\"%s\" is bad", bad[i]);
    assert_false(tc_host_name_is_good((struct tc_span){(const uint8_t *)"a\0b", 3}));

    char name[TC_HOST_NAME_MAX + 2];
    for (size_t i = 0; i <= TC_HOST_NAME_MAX; i++)
        name[i] = i % 2 ? '.' : 'a';
    assert_true(tc_host_name_is_good((struct tc_span){(uint8_t *)name, TC_HOST_NAME_MAX}));
    name[TC_HOST_NAME_MAX] = 'a';
    assert_false(tc_host_name_is_good((struct tc_span){(uint8_t *)name, TC_HOST_NAME_MAX + 1}));
}

static void test_dial(void **state)
{
    (void)state;
    struct tc_error err = {0};
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(1024);
    tc_egress_dial_encode(&(struct tc_egress_dial){443, tc_span_of_text("example.org")}, &buf);
    assert_int_equal(buf.size, 13);
    assert_memory_equal(buf.data,
                        "\x01\xbb"
                        "example.org",
                        13);
    struct tc_egress_dial dial = {0};
    assert_int_equal(tc_egress_dial_decode(tc_buf_span(&buf), &dial, &err), TC_OK);
    assert_int_equal(dial.port, 443);
    assert_true(tc_span_equal(dial.name, tc_span_of_text("example.org")));

    static const struct {
        const char *bytes;
        size_t size;
    } bad[] = {
        {"", 0},
        {"\x01", 1},
        {"\x01\xbb", 2},
        {"\x00\x00"
         "a",
         3},
        {"\x01\xbb"
         "A",
         3},
        {"\x01\xbb"
         "192.0.2.1",
         11},
        {"\x01\xbb"
         "a\0",
         4},
        {"\x01\xbb"
         "a b",
         5},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(
            tc_egress_dial_decode((struct tc_span){(const uint8_t *)bad[i].bytes, bad[i].size},
                                  &dial, &err),
            TC_MALFORMED);
    assert_int_equal(dial.port, 443);
}

/* The value is from `printf 'GET\nhttps://example.org/a\n%s\n' HEX | sha256sum`, HEX being
 * the digest of nothing. */
static void test_key(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct tc_sha256 nothing, key, other;
    char hex[TC_SHA256_HEX];
    struct tc_span get = tc_span_of_text("GET"), url = tc_span_of_text("https://example.org/a");
    assert_int_equal(tc_sha256_of((struct tc_span){0}, &nothing, &err), TC_OK);
    assert_int_equal(tc_exchange_key(get, url, &nothing, &key, &err), TC_OK);
    tc_hex((struct tc_span){key.bytes, sizeof key.bytes}, hex);
    assert_string_equal(hex, "f7a6df243b61e662fed8c3711b42ee25b21a28e5cdb199a3198103b379bbd757");
    assert_int_equal(tc_exchange_key(get, url, &key, &other, &err), TC_OK);
    assert_memory_not_equal(&key, &other, sizeof key);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_dial),
        cmocka_unit_test(test_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
