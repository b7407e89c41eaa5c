/* HTTP bodies: the same data, the same end and the same refusal wherever the pieces end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/http1.h"

struct outcome {
    tc_status status; /* of the first call that failed */
    size_t taken;     /* bytes of the body */
    bool done;
    struct tc_buf data;
    struct tc_error err;
};

/* One piece, in memory of its own size, so that a sanitizer sees the byte after it. */
static void feed(struct tc_http_body *body, struct tc_span piece, struct outcome *outcome)
{
    TC_AUTO_FREE uint8_t *copy = malloc(piece.size ? piece.size : 1);
    assert_non_null(copy);
    if (piece.size > 0) memcpy(copy, piece.data, piece.size);
    struct tc_span rest = {copy, piece.size};
    while (outcome->status == TC_OK && !body->done && rest.size > 0) {
        size_t used = 0;
        struct tc_span data = {0};
        outcome->status = tc_http_body_take(body, rest, &used, &data, &outcome->err);
        if (outcome->status != TC_OK) break;
        assert_true(used > 0 && used <= rest.size);
        /* Data lies within what was taken. */
        assert_true(data.size == 0 ||
                    (data.data >= rest.data && data.data + data.size <= rest.data + used));
        tc_buf_add_span(&outcome->data, data);
        outcome->taken += used;
        rest = (struct tc_span){rest.data + used, rest.size - used};
    }
}

static struct tc_http_head framed(enum tc_http_framing framing, uint64_t length)
{
    return (struct tc_http_head){.framing = framing, .length = length};
}

/* Three pieces, cut at a and b. */
static struct outcome decode(struct tc_http_head head, struct tc_span bytes, size_t a, size_t b)
{
    struct outcome outcome = {.data = tc_buf_new(1 << 20)};
    struct tc_http_body body;
    tc_http_body_begin(&head, &body);
    feed(&body, (struct tc_span){bytes.data, a}, &outcome);
    feed(&body, (struct tc_span){bytes.data + a, b - a}, &outcome);
    feed(&body, (struct tc_span){bytes.data + b, bytes.size - b}, &outcome);
    outcome.done = body.done;
    assert_true(tc_buf_ok(&outcome.data));
    return outcome;
}

/* At every two cuts: this data, and behind it `behind` bytes that are left alone. */
static void expect(struct tc_http_head head, const char *text, const char *wanted, size_t behind)
{
    struct tc_span bytes = tc_span_of_text(text);
    for (size_t b = 0; b <= bytes.size; b++) {
        for (size_t a = 0; a <= b; a++) {
            struct outcome outcome = decode(head, bytes, a, b);
            TC_AUTO_BUF struct tc_buf data = outcome.data;
            if (outcome.status != TC_OK || !outcome.done ||
                !tc_span_equal(tc_buf_span(&data), tc_span_of_text(wanted)))
                fail_msg("\"%s\" cut at %zu and %zu became \"%.*s\" (%s), expected \"%s\"", text, a,
                         b, (int)data.size, (const char *)data.data, outcome.err.message, wanted);
            assert_int_equal(outcome.taken, bytes.size - behind);
        }
    }
}

static void expect_refusal(const char *text, const char *why)
{
    struct tc_span bytes = tc_span_of_text(text);
    for (size_t b = 0; b <= bytes.size; b++) {
        for (size_t a = 0; a <= b; a++) {
            struct outcome outcome = decode(framed(TC_HTTP_CHUNKED, 0), bytes, a, b);
            tc_buf_free(&outcome.data);
            if (outcome.status != TC_MALFORMED || !strstr(outcome.err.message, why))
                fail_msg("\"%s\" cut at %zu and %zu: \"%s\", expected \"%s\"", text, a, b,
                         outcome.err.message, why);
        }
    }
}

static void test_length(void **state)
{
    (void)state;
    expect(framed(TC_HTTP_LENGTH, 5), "hello", "hello", 0);
    expect(framed(TC_HTTP_LENGTH, 5), "helloGET", "hello", 3);
    expect(framed(TC_HTTP_LENGTH, 0), "GET", "", 3);
    expect(framed(TC_HTTP_NO_BODY, 7), "GET", "", 3);
}

static void test_chunked(void **state)
{
    (void)state;
    struct tc_http_head head = framed(TC_HTTP_CHUNKED, 0);
    expect(head, "0\r\n\r\n", "", 0);
    expect(head, "5\r\nhello\r\n0\r\n\r\nGET", "hello", 3);
    expect(head, "2\r\nhe\r\n3\r\nllo\r\n000\r\n\r\n", "hello", 0);
    expect(head, "A\r\n0123456789\r\n0\r\n\r\n", "0123456789", 0);
    expect(head, "0000000000000001\r\na\r\n0\r\n\r\n", "a", 0);
    expect(head, "5;a=b;c=\"d\"\r\nhello\r\n0;x\r\n\r\n", "hello", 0);
    expect(head, "5\r\n\r\n0\r\n\r\n0\r\n\r\n", "\r\n0\r\n", 0);
    expect(head, "1\r\na\r\n0\r\nX-Sum: 1\r\nY:\r\n\r\n0", "a", 1);
    expect(head, "0\r\nContent-Lengths: 1\r\nHos: x\r\n\r\n", "", 0);
}

static void test_chunked_refused(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"\r\n", "hexadecimal digit"},
        {" 5\r\n", "hexadecimal digit"},
        {"5 \r\n", "hexadecimal digit"},
        {"5 ;a\r\n", "hexadecimal digit"},
        {"5\t\r\n", "hexadecimal digit"},
        {"+5\r\n", "hexadecimal digit"},
        {"-1\r\n", "hexadecimal digit"},
        {"0x5\r\n", "hexadecimal digit"},
        {"5h\r\n", "hexadecimal digit"},
        {"5_0\r\n", "hexadecimal digit"},
        {";a\r\n", "hexadecimal digit"},
        {"G\r\n", "hexadecimal digit"},
        {"\xc2\xb2\r\n", "hexadecimal digit"},
        {"5\nhello\r\n", "hexadecimal digit"},
        {"5\rhello", "where LF"},
        {"5\r\r\nhello", "where LF"},
        {"5;a\nhello\r\n", "text or CR LF"},
        {"5;\x01\r\n", "text or CR LF"},
        {"5;a\rb\r\n", "where LF"},
        {"5\r\nhello0\r\n", "behind a chunk"},
        {"5\r\nhello\n", "CR LF behind a chunk"},
        {"5\r\nhello\rx", "LF behind a chunk"},
        {"5\r\nhello\r\r\n", "LF behind a chunk"},
        {"00000000000000001\r\n", "16 digits"},
        {"20000000000000\r\n", "2^53"},
        {"FFFFFFFFFFFFFFFF\r\n", "2^53"},
        {"10000000000000005\r\n", "2^53"},
        {"0\r\n\n", "trailer's name"},
        {"0\n\r\n", "hexadecimal digit"},
        {"0\r\n\rx", "where LF"},
        {"0\r\n: x\r\n\r\n", "trailer's name"},
        {"0\r\nX : y\r\n\r\n", "trailer's name"},
        {"0\r\nX\r\n\r\n", "trailer's name"},
        {"0\r\n X: y\r\n\r\n", "trailer's name"},
        {"0\r\nX: y\r\n z\r\n\r\n", "trailer's name"},
        {"0\r\nX: y\n\r\n", "text or CR LF"},
        {"0\r\nX: y\rz", "where LF"},
        {"0\r\nX: \x7f\r\n", "text or CR LF"},
        {"0\r\nContent-Length: 5\r\n\r\n", "belongs in the head"},
        {"0\r\nX: y\r\ncontent-LENGTH:5\r\n\r\n", "belongs in the head"},
        {"0\r\nTransfer-Encoding: chunked\r\n\r\n", "belongs in the head"},
        {"0\r\nhost: x\r\n\r\n", "belongs in the head"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        expect_refusal(cases[i][0], cases[i][1]);
    static const char nul[] = "1;\0\r\n";
    struct outcome outcome = decode(framed(TC_HTTP_CHUNKED, 0),
                                    (struct tc_span){(const uint8_t *)nul, sizeof nul - 1}, 0, 0);
    tc_buf_free(&outcome.data);
    assert_int_equal(outcome.status, TC_MALFORMED);
}

static void test_chunked_caps(void **state)
{
    (void)state;
    for (size_t extra = 0; extra < 2; extra++) {
        TC_AUTO_BUF struct tc_buf text = tc_buf_new(1 << 16);
        tc_buf_add_text(&text, "0;");
        while (text.size < TC_HTTP_CHUNK_LINE_MAX + extra - 2)
            tc_buf_add_u8(&text, 'x');
        tc_buf_add_text(&text, "\r\n\r\n");
        struct outcome outcome = decode(framed(TC_HTTP_CHUNKED, 0), tc_buf_span(&text), 0, 0);
        tc_buf_free(&outcome.data);
        assert_int_equal(outcome.status, extra ? TC_MALFORMED : TC_OK);
        assert_int_equal(outcome.done, !extra);

        tc_buf_reset(&text);
        tc_buf_add_text(&text, "0\r\nx:");
        while (text.size < 3 + TC_HTTP_TRAILERS_MAX + extra - 4)
            tc_buf_add_u8(&text, 'y');
        tc_buf_add_text(&text, "\r\n\r\n");
        outcome = decode(framed(TC_HTTP_CHUNKED, 0), tc_buf_span(&text), 0, 0);
        tc_buf_free(&outcome.data);
        assert_int_equal(outcome.status, extra ? TC_MALFORMED : TC_OK);
        assert_int_equal(outcome.done, !extra);
    }
}

/* A stream that ends early, at each byte: never a body. */
static void test_end(void **state)
{
    (void)state;
    static const char text[] = "5;x\r\nhello\r\n0\r\nA: b\r\n\r\n";
    struct tc_error err = {0};
    for (size_t size = 0; size < sizeof text; size++) {
        struct outcome outcome = {.data = tc_buf_new(100)};
        struct tc_http_head head = framed(TC_HTTP_CHUNKED, 0);
        struct tc_http_body body;
        tc_http_body_begin(&head, &body);
        feed(&body, (struct tc_span){(const uint8_t *)text, size}, &outcome);
        tc_buf_free(&outcome.data);
        assert_int_equal(outcome.status, TC_OK);
        assert_int_equal(tc_http_body_end(&body, &err), size == sizeof text - 1 ? TC_OK : TC_PEER);
    }
    for (size_t size = 0; size <= 5; size++) {
        struct outcome outcome = {.data = tc_buf_new(100)};
        struct tc_http_head head = framed(TC_HTTP_LENGTH, 5);
        struct tc_http_body body;
        tc_http_body_begin(&head, &body);
        feed(&body, (struct tc_span){(const uint8_t *)text, size}, &outcome);
        tc_buf_free(&outcome.data);
        assert_int_equal(tc_http_body_end(&body, &err), size == 5 ? TC_OK : TC_PEER);
    }
    struct tc_http_head head = framed(TC_HTTP_NO_BODY, 0);
    struct tc_http_body body;
    tc_http_body_begin(&head, &body);
    assert_int_equal(tc_http_body_end(&body, &err), TC_OK);
}

static void test_until_close(void **state)
{
    (void)state;
    struct outcome outcome = {.data = tc_buf_new(100)};
    struct tc_http_head head = framed(TC_HTTP_UNTIL_CLOSE, 0);
    struct tc_http_body body;
    tc_http_body_begin(&head, &body);
    feed(&body, tc_span_of_text("hel"), &outcome);
    feed(&body, tc_span_of_text("lo"), &outcome);
    assert_false(body.done);
    assert_int_equal(tc_http_body_end(&body, &outcome.err), TC_OK);
    assert_true(body.done);
    assert_true(tc_span_equal(tc_buf_span(&outcome.data), tc_span_of_text("hello")));
    tc_buf_free(&outcome.data);
    size_t used = 7;
    struct tc_span data;
    assert_int_equal(tc_http_body_take(&body, tc_span_of_text("x"), &used, &data, &outcome.err),
                     TC_OK);
    assert_int_equal(used, 0);
    assert_int_equal(data.size, 0);
}

/* A run of data is one span of the bytes that came, whatever its size. */
static void test_runs(void **state)
{
    (void)state;
    enum { SIZE = 1 << 16 };
    TC_AUTO_FREE uint8_t *bytes = calloc(1, SIZE);
    assert_non_null(bytes);
    struct tc_error err = {0};
    struct tc_http_head head = framed(TC_HTTP_CHUNKED, 0);
    struct tc_http_body body;
    size_t used;
    struct tc_span data;
    tc_http_body_begin(&head, &body);
    memcpy(bytes, "1fffff\r\n", 8);
    assert_int_equal(tc_http_body_take(&body, (struct tc_span){bytes, SIZE}, &used, &data, &err),
                     TC_OK);
    assert_int_equal(used, SIZE);
    assert_ptr_equal(data.data, bytes + 8);
    assert_int_equal(data.size, SIZE - 8);
    assert_int_equal(body.left, 0x1fffff - (SIZE - 8));
}

static void test_chunk_head(void **state)
{
    (void)state;
    char out[TC_HTTP_CHUNK_HEAD_SIZE];
    assert_int_equal(tc_http_chunk_head(1, out), 3);
    assert_memory_equal(out, "1\r\n", 3);
    assert_int_equal(tc_http_chunk_head(65535, out), 6);
    assert_memory_equal(out, "ffff\r\n", 6);
    assert_int_equal(tc_http_chunk_head(UINT64_MAX, out), 18);
    assert_memory_equal(out, "ffffffffffffffff\r\n", 18);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_chunked),
        cmocka_unit_test(test_chunked_refused),
        cmocka_unit_test(test_chunked_caps),
        cmocka_unit_test(test_end),
        cmocka_unit_test(test_until_close),
        cmocka_unit_test(test_runs),
        cmocka_unit_test(test_chunk_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
