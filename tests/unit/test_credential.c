/* Credentials: what may be one, the frame and the file's line; and what HELLO says of the
 * network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/credential.h"
#include "core/wire.h"

static struct tc_wire_credential make(const char *host, const char *name, const char *value)
{
    return (struct tc_wire_credential){tc_span_of_text(host), tc_span_of_text(name),
                                       tc_span_of_text(value)};
}

static void test_check(void **state)
{
    (void)state;
    static const char *const good[][3] = {
        {"registry.example", "Authorization", "Bearer abc.def"},
        {"a", "x-api-key", "~!"},
        {"a.b-c_d.example", "Cookie", "a=b; c=d"},
    };
    static const char *const bad[][3] = {
        {"", "A", "secretsecret"},
        {"Registry.example", "A", "secretsecret"},
        {"*.example", "A", "secretsecret"},
        {"127.0.0.1", "A", "secretsecret"},
        {"a", "", "secretsecret"},
        {"a", "A b", "secretsecret"},
        {"a", "A:", "secretsecret"},
        {"a", "A\r\nB", "secretsecret"},
        {"a", "hOST", "secretsecret"},
        {"a", "Content-Length", "secretsecret"},
        {"a", "Transfer-Encoding", "secretsecret"},
        {"a", "Connection", "secretsecret"},
        {"a", "TE", "secretsecret"},
        {"a", "Range", "secretsecret"},
        {"a", "Expect", "secretsecret"},
        {"a", "Proxy-Authorization", "secretsecret"},
        {"a", "A", ""},
        {"a", "A", " secretsecret"},
        {"a", "A", "secretsecret "},
        {"a", "A", "secretsecret  secretsecret"},
        {"a", "A", "secretsecret\r\nHost: b"},
        {"a", "A", "secretsecret\n"},
        {"a", "A", "secretsecret\x7f"},
        {"a", "A", "secretsecret\xc3\xa4"},
    };
    struct tc_error err = {0};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct tc_wire_credential one = make(good[i][0], good[i][1], good[i][2]);
        if (tc_wire_credential_check(&one, &err) != TC_OK) fail_msg("%zu: %s", i, err.message);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct tc_wire_credential one = make(bad[i][0], bad[i][1], bad[i][2]);
        if (tc_wire_credential_check(&one, &err) != TC_REFUSED) fail_msg("%zu is taken", i);
        assert_null(strstr(err.message, "secretsecret"));
    }
}

static void test_frame(void **state)
{
    (void)state;
    static char value[TC_CREDENTIAL_VALUE_MAX + 2], host[TC_HOST_NAME_MAX + 1];
    char name[TC_CREDENTIAL_NAME_MAX + 1];
    struct tc_error err = {0};
    struct tc_wire_credential seen;
    memset(value, 'v', TC_CREDENTIAL_VALUE_MAX);
    memset(name, 'n', TC_CREDENTIAL_NAME_MAX);
    name[TC_CREDENTIAL_NAME_MAX] = '\0';
    for (size_t i = 0; i < TC_HOST_NAME_MAX; i++)
        host[i] = i % 2 ? '.' : 'h';
    struct tc_wire_credential largest = make(host, name, value);
    struct tc_buf buf = tc_buf_new(TC_CREDENTIAL_MAX), other = tc_buf_new(2 * TC_CREDENTIAL_MAX);
    tc_wire_credential_encode(&largest, &buf);
    assert_true(tc_buf_ok(&buf));
    assert_int_equal(buf.size, TC_CREDENTIAL_MAX);
    assert_int_equal(tc_wire_credential_decode(tc_buf_span(&buf), &seen, &err), TC_OK);
    assert_true(tc_span_equal(seen.value, largest.value) &&
                tc_span_equal(seen.name, largest.name) && tc_span_equal(seen.host, largest.host));

    value[TC_CREDENTIAL_VALUE_MAX] = 'v';
    struct tc_wire_credential larger = make("a", "b", value);
    tc_wire_credential_encode(&larger, &other);
    assert_int_equal(tc_wire_credential_decode(tc_buf_span(&other), &seen, &err), TC_MALFORMED);

    struct tc_wire_credential one = make("a.example", "Authorization", "Basic YTpi");
    tc_buf_reset(&buf);
    tc_wire_credential_encode(&one, &buf);
    for (size_t size = 0; size < buf.size; size++)
        assert_int_equal(tc_wire_credential_decode((struct tc_span){buf.data, size}, &seen, &err),
                         TC_MALFORMED);
    tc_buf_add_u8(&buf, 0);
    assert_int_equal(tc_wire_credential_decode(tc_buf_span(&buf), &seen, &err), TC_MALFORMED);
    tc_buf_free(&buf);
    tc_buf_free(&other);
}

static void test_line(void **state)
{
    (void)state;
    static const char *const good[] = {"A: b c", "A: b c\n", "A: b c\r\n", "A:b c", "A:   b c \t"};
    static const char *const bad[] = {"", "\n", "A b", "A: b c\nB: d", "A: b c\n\n"};
    struct tc_error err = {0};
    struct tc_span name, value;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(
            tc_wire_credential_read_line(tc_span_of_text(good[i]), &name, &value, &err), TC_OK);
        assert_true(tc_span_equal(name, tc_span_of_text("A")));
        assert_true(tc_span_equal(value, tc_span_of_text("b c")));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (tc_wire_credential_read_line(tc_span_of_text(bad[i]), &name, &value, &err) !=
            TC_MALFORMED)
            fail_msg("\"%s\" is read", bad[i]);
}

static void test_hello(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct tc_wire_hello seen, hello = {.source = TC_SOURCE_TREE,
                                        .replay = true,
                                        .replayed = {{1, 2, 3}},
                                        .build_file = tc_span_of_text("build.json"),
                                        .backend = tc_span_of_text("qemu")};
    struct tc_buf buf = tc_buf_new(4096);
    tc_wire_hello_encode(&hello, &buf);
    assert_int_equal(tc_wire_hello_decode(tc_buf_span(&buf), &seen, &err), TC_OK);
    assert_true(seen.replay && !seen.archive);
    assert_true(tc_span_equal(seen.backend, hello.backend));
    assert_memory_equal(&seen.replayed, &hello.replayed, sizeof seen.replayed);
    for (size_t size = 0; size < buf.size; size++)
        assert_int_equal(tc_wire_hello_decode((struct tc_span){buf.data, size}, &seen, &err),
                         TC_MALFORMED);

    static const char *const bad[] = {"Qemu", "qe mu", "qemu\n", "nitro-enclaves-of"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct tc_wire_hello other = hello;
        other.backend = tc_span_of_text(bad[i]);
        tc_buf_reset(&buf);
        tc_wire_hello_encode(&other, &buf);
        assert_int_equal(tc_wire_hello_decode(tc_buf_span(&buf), &seen, &err), TC_MALFORMED);
    }

    hello.archive = true;
    tc_buf_reset(&buf);
    tc_wire_hello_encode(&hello, &buf);
    assert_int_equal(tc_wire_hello_decode(tc_buf_span(&buf), &seen, &err), TC_MALFORMED);
    hello.replay = false;
    tc_buf_reset(&buf);
    tc_wire_hello_encode(&hello, &buf);
    assert_int_equal(tc_wire_hello_decode(tc_buf_span(&buf), &seen, &err), TC_MALFORMED);
    hello.replayed = (struct tc_sha256){{0}};
    tc_buf_reset(&buf);
    tc_wire_hello_encode(&hello, &buf);
    assert_int_equal(tc_wire_hello_decode(tc_buf_span(&buf), &seen, &err), TC_OK);
    assert_true(seen.archive && !seen.replay);
    tc_buf_free(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_frame),
        cmocka_unit_test(test_line),
        cmocka_unit_test(test_hello),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
