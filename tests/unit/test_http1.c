/* HTTP heads, requests above all: what is accepted and how it is written anew, and what is
 * refused because two programs could read it in two ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "http1_lab.h"

#define GET "GET / HTTP/1.1\r\nHost: example.org\r\n"

static struct tc_span span(const char *text)
{
    return tc_span_of_text(text);
}

static struct tc_http_head request(const char *text)
{
    struct tc_error err = {0};
    struct tc_http_head head;
    if (tc_http_request_parse(span(text), &head, &err) != TC_OK)
        fail_msg("\"%s\" was refused: %s", text, err.message);
    return head;
}

static void refuse_request(const char *text, const char *why)
{
    struct tc_error err = {0};
    struct tc_http_head head = {0};
    expect_refusal(tc_http_request_parse(span(text), &head, &err), &head, &err, text, why);
}

/* --- requests --- */

static void test_request(void **state)
{
    (void)state;
    struct tc_http_head head =
        request("PUT /a/b?c=d%20e HTTP/1.1\r\nHost: Example.org:8080\r\naccept:*/*\r\n"
                "X-Empty: \t \r\nX-Two: \ta  b\t\r\nX-Obs: \xe9\r\nContent-Length: 5\r\n\r\n");
    expect_text(head.method, "PUT");
    expect_text(head.target, "/a/b?c=d%20e");
    expect_text(head.host, "Example.org");
    assert_int_equal(head.port, 8080);
    assert_int_equal(head.fields_count, 6);
    expect_text(head.fields[1].name, "accept");
    expect_text(head.fields[1].value, "*/*");
    expect_text(head.fields[2].value, "");
    expect_text(head.fields[3].value, "a  b");
    expect_text(head.fields[4].value, "\xe9");
    assert_int_equal(head.framing, TC_HTTP_LENGTH);
    assert_int_equal(head.length, 5);
    assert_false(head.close || head.expect_continue || head.http10 || head.has_length);

    head = request(GET "\r\n");
    assert_int_equal(head.framing, TC_HTTP_NO_BODY);
    assert_int_equal(head.port, 0);
    head = request("OPTIONS * HTTP/1.1\r\nHost: example.org\r\n\r\n");
    expect_text(head.target, "*");
    head = request("GET //x HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n");
    expect_text(head.target, "//x");
    expect_text(head.host, "[2001:db8::1]");
    assert_int_equal(head.port, 443);
    head = request("GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n");
    expect_text(head.host, "192.0.2.1");
}

static void test_request_meaning(void **state)
{
    (void)state;
    assert_int_equal(request(GET "Transfer-Encoding: chunked\r\n\r\n").framing, TC_HTTP_CHUNKED);
    assert_int_equal(request(GET "transfer-encoding:Chunked\r\n\r\n").framing, TC_HTTP_CHUNKED);
    assert_int_equal(request(GET "Content-Length: 0\r\n\r\n").framing, TC_HTTP_LENGTH);
    assert_int_equal(request(GET "Content-Length: 9007199254740991\r\n\r\n").length,
                     TC_HTTP_LENGTH_MAX);
    assert_true(request(GET "Connection: close\r\n\r\n").close);
    assert_true(request(GET "Connection: TE, , CLOSE\r\n\r\n").close);
    assert_true(request(GET "Connection: TE\r\nConnection: close\r\n\r\n").close);
    assert_false(request(GET "Connection: closed, keep-alive\r\n\r\n").close);
    assert_true(request(GET "Expect: 100-Continue\r\n\r\n").expect_continue);
    struct tc_http_head head = request(
        "GET / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nConnection: keep-alive\r\n\r\n");
    assert_true(head.http10 && head.close);
    assert_false(head.expect_continue);
}

static void test_request_line(void **state)
{
    (void)state;
    static const char *const lines[][2] = {
        {"GET  / HTTP/1.1", "path that begins"},
        {"GET / HTTP/1.1 ", "version"},
        {" GET / HTTP/1.1", "method"},
        {"GET /", "too few words"},
        {"GET", "too few words"},
        {"GET\t/\tHTTP/1.1", "too few words"},
        {"GET / HTTP/2.0", "version"},
        {"GET / HTTP/1.2", "version"},
        {"GET / http/1.1", "version"},
        {"GET / HTTP/01.1", "version"},
        {"GET / x HTTP/1.1", "version"},
        {"G@T / HTTP/1.1", "method"},
        {"GET\xc3\xa9 / HTTP/1.1", "method"},
        {"CONNECT example.org:443 HTTP/1.1", "tunnel"},
        {"CONNECT / HTTP/1.1", "tunnel"},
        {"connect / HTTP/1.1", "tunnel"},
        {"TRACE / HTTP/1.1", "echo"},
        {"Trace / HTTP/1.1", "echo"},
        {"head / HTTP/1.1", "in capitals"},
        {"GET http://example.org/ HTTP/1.1", "path that begins"},
        {"GET example.org HTTP/1.1", "path that begins"},
        {"GET * HTTP/1.1", "path that begins"},
        {"OPTIONS *x HTTP/1.1", "path that begins"},
        {"GET /a#b HTTP/1.1", "visible ASCII"},
        {"GET /\xc3\xa9 HTTP/1.1", "visible ASCII"},
        {"GET /a\tb HTTP/1.1", "visible ASCII"},
        {"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1", "at most 32"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char text[256];
        (void)snprintf(text, sizeof text, "%s\r\nHost: example.org\r\n\r\n", lines[i][0]);
        refuse_request(text, lines[i][1]);
    }
}

static void test_smuggling(void **state)
{
    (void)state;
    static const char *const fields[][2] = {
        /* two framings, or one that some do not see */
        {"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "one of them"},
        {"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", "one of them"},
        {"Content-Length: 5\r\nContent-Length: 5\r\n", "more than once"},
        {"Content-Length: 5\r\ncontent-length: 6\r\n", "more than once"},
        {"Content-Length: 5, 5\r\n", "decimal"},
        {"Content-Length: +5\r\n", "decimal"},
        {"Content-Length: -5\r\n", "decimal"},
        {"Content-Length: 0x5\r\n", "decimal"},
        {"Content-Length: 05\r\n", "decimal"},
        {"Content-Length: 5 5\r\n", "decimal"},
        {"Content-Length: 5.0\r\n", "decimal"},
        {"Content-Length:\r\n", "decimal"},
        {"Content-Length: 9007199254740992\r\n", "decimal"},
        {"Content-Length: 18446744073709551621\r\n", "decimal"},
        {"Content-Length: \xc2\xb2\r\n", "decimal"},
        {"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "more than once"},
        {"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "more than once"},
        {"Transfer-Encoding: gzip, chunked\r\n", "expected \"chunked\""},
        {"Transfer-Encoding: chunked, chunked\r\n", "expected \"chunked\""},
        {"Transfer-Encoding: chunked, identity\r\n", "expected \"chunked\""},
        {"Transfer-Encoding: identity\r\n", "expected \"chunked\""},
        {"Transfer-Encoding: xchunked\r\n", "expected \"chunked\""},
        {"Transfer-Encoding: chunkedx\r\n", "expected \"chunked\""},
        {"Transfer-Encoding: \"chunked\"\r\n", "expected \"chunked\""},
        {"Transfer-Encoding: chunked;q=1\r\n", "expected \"chunked\""},
        {"Transfer-Encoding: ,chunked\r\n", "expected \"chunked\""},
        {"Transfer-Encoding:\r\n", "expected \"chunked\""},
        {"Transfer-Encoding: \013chunked\r\n", "control character"},
        {"Transfer-Encoding : chunked\r\n", "a token"},
        {"Transfer-Encoding\t: chunked\r\n", "a token"},
        {" Transfer-Encoding: chunked\r\n", "folded"},
        {"Transfer-Encoding\xa0: chunked\r\n", "a token"},
        {"X: y\r\n Transfer-Encoding: chunked\r\n", "folded"},
        {"X: y\r\n\tz\r\n", "folded"},
        {"Transfer-Encoding:\r\n chunked\r\n", "folded"},
        /* lines that end in another way */
        {"X: y\nTransfer-Encoding: chunked\r\n", "LF without CR"},
        {"X: y\rTransfer-Encoding: chunked\r\n", "CR without LF"},
        {"X: y\r\r\n", "CR without LF"},
        {"X: y\n\n", "LF without CR"},
        {"X: \x01\r\n", "control character"},
        {"X: \x7f\r\n", "control character"},
        {"X: \x0c\r\n", "control character"},
        /* names */
        {": y\r\n", "a token"},
        {"X\r\n", "a token"},
        {"X y: z\r\n", "a token"},
        {"X(: z\r\n", "a token"},
        {"X\xc3\xa9: z\r\n", "a token"},
        /* Host */
        {"Host: example.org\r\n", "2 fields Host"},
        {"host: other.example.org\r\n", "2 fields Host"},
        /* Connection, Expect */
        {"Connection: a b\r\n", "list of"},
        {"Connection: close;x\r\n", "list of"},
        {"Connection: a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a\r\n",
         "list of"},
        {"Expect: 200-ok\r\n", "Expect"},
        {"Expect: 100-continue\r\nExpect: 100-continue\r\n", "Expect"},
        /* a second message */
        {"\r\nGET / HTTP/1.1\r\nHost: example.org\r\n", "expected one head"},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        char text[512];
        (void)snprintf(text, sizeof text, GET "%s\r\n", fields[i][0]);
        refuse_request(text, fields[i][1]);
    }
    refuse_request("\r\n" GET "\r\n", "empty line");
    refuse_request(GET, "expected one head");
    refuse_request("", "expected one head");
    refuse_request("\n" GET "\r\n", "LF without CR");
    refuse_request("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.0");
    static const char with_nul[] = "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n";
    struct tc_error err = {0};
    struct tc_http_head head = {0};
    assert_int_equal(
        tc_http_request_parse((struct tc_span){(const uint8_t *)with_nul, sizeof with_nul - 1},
                              &head, &err),
        TC_MALFORMED);
    assert_non_null(strstr(err.message, "control character 0x00"));
}

static void test_host(void **state)
{
    (void)state;
    static const char *const hosts[] = {
        "",         " ",       ":80",     "a:",     "a:0",    "a:65536",   "a:080", "a:1:2",
        "a b",      "a,b",     "a/b",     "u@a",    "a:x",    "a\xc3\xa9", "[",     "[]",
        "[::1",     "::1]",    "[::1]x",  "[g::1]", "[::1]:", "a%41",      "a?b",   "http://a",
        "a:123456", "[::1%1]", "[::1]:0", "a\\b",   "a;b",    "a#",        "::1",   "a:+1",
    };
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        char text[128];
        (void)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", hosts[i]);
        refuse_request(text, "Host");
    }
    refuse_request("GET / HTTP/1.1\r\n\r\n", "0 fields Host");
    refuse_request("GET / HTTP/1.0\r\n\r\n", "0 fields Host");
}

static void test_caps(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct tc_http_head head;
    for (size_t extra = 0; extra < 2; extra++) {
        TC_AUTO_BUF struct tc_buf text = tc_buf_new(TC_HTTP_HEAD_MAX);
        tc_buf_add_text(&text, GET);
        for (size_t i = 1; i < TC_HTTP_FIELDS_MAX + extra; i++)
            tc_buf_add_text(&text, "a:b\r\n");
        tc_buf_add_text(&text, "\r\n");
        assert_int_equal(tc_http_request_parse(tc_buf_span(&text), &head, &err),
                         extra ? TC_MALFORMED : TC_OK);

        tc_buf_reset(&text);
        tc_buf_add_text(&text, "GET /");
        for (size_t i = 1; i < TC_HTTP_TARGET_MAX + extra; i++)
            tc_buf_add_u8(&text, 'x');
        tc_buf_add_text(&text, " HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_int_equal(tc_http_request_parse(tc_buf_span(&text), &head, &err),
                         extra ? TC_MALFORMED : TC_OK);

        TC_AUTO_BUF struct tc_buf large = tc_buf_new(TC_HTTP_HEAD_MAX + 1);
        tc_buf_add_text(&large, GET "a: ");
        while (large.size < TC_HTTP_HEAD_MAX + extra - 4)
            tc_buf_add_u8(&large, 'x');
        tc_buf_add_text(&large, "\r\n\r\n");
        size_t scanned = 0, size = 0;
        assert_int_equal(tc_http_head_size(tc_buf_span(&large), &scanned, &size, &err),
                         extra ? TC_LIMIT : TC_OK);
        if (!extra) assert_int_equal(size, TC_HTTP_HEAD_MAX);
        assert_int_equal(tc_http_request_parse(tc_buf_span(&large), &head, &err),
                         extra ? TC_LIMIT : TC_OK);
    }
}

/* --- cuts --- */

/* Bytes that come one at a time, or all at once with the next message behind them. */
static void test_head_size(void **state)
{
    (void)state;
    static const char text[] = GET "Content-Length: 4\r\n\r\n"
                                   "\r\nbody";
    const size_t wanted = sizeof GET - 1 + 21;
    struct tc_error err = {0};
    for (size_t piece = 1; piece < sizeof text; piece++) {
        size_t scanned = 0, size = 0, at = 0;
        while (size == 0) {
            /* A copy of its own size, so that a sanitizer sees the byte after it. */
            at = at + piece < sizeof text - 1 ? at + piece : sizeof text - 1;
            TC_AUTO_FREE uint8_t *copy = malloc(at);
            assert_non_null(copy);
            memcpy(copy, text, at);
            assert_int_equal(tc_http_head_size((struct tc_span){copy, at}, &scanned, &size, &err),
                             TC_OK);
            assert_int_equal(size != 0, at >= wanted);
            assert_int_equal(scanned, at < wanted ? at : wanted);
        }
        assert_int_equal(size, wanted);
    }
}

/* As soon as the bytes are wrong, wherever the pieces end. */
static void test_head_size_refuses(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t good;
    } cases[] = {
        {"\x16\x03\x01", 0}, {"\r\n", 1},     {"\n", 0},      {"GET /\n", 5},  {"GET /\r\r\n", 6},
        {"GET /\rx", 6},     {"A\r\nB\n", 4}, {"A\r\n\n", 3}, {"A\r\n\rB", 4}, {"A\x7f", 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tc_error err = {0};
        size_t scanned = 0, size = 7;
        for (size_t end = 0; end <= cases[i].good; end++) {
            size = 7;
            assert_int_equal(
                tc_http_head_size((struct tc_span){(const uint8_t *)cases[i].text, end}, &scanned,
                                  &size, &err),
                TC_OK);
            assert_int_equal(size, 0);
        }
        size_t whole = 0;
        struct tc_span bad = {(const uint8_t *)cases[i].text, cases[i].good + 1};
        assert_int_equal(tc_http_head_size(bad, &scanned, &size, &err), TC_MALFORMED);
        assert_int_equal(tc_http_head_size(bad, &whole, &size, &err), TC_MALFORMED);
    }
}

/* No head that was cut parses, whatever byte it was cut at. */
static void test_cut_heads(void **state)
{
    (void)state;
    static const char *const heads[] = {
        GET "Accept: */*\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nServer: x\r\n\r\n",
    };
    for (size_t i = 0; i < 2; i++) {
        for (size_t size = 0; size < strlen(heads[i]); size++) {
            TC_AUTO_FREE uint8_t *copy = malloc(size + 1);
            struct tc_error err = {0};
            struct tc_http_head head;
            assert_non_null(copy);
            memcpy(copy, heads[i], size);
            struct tc_span cut = {copy, size};
            assert_int_equal(tc_http_request_parse(cut, &head, &err), TC_MALFORMED);
            assert_int_equal(tc_http_response_parse(cut, span("GET"), &head, &err), TC_MALFORMED);
        }
    }
}

/* --- fields and writing --- */

static void test_find(void **state)
{
    (void)state;
    struct tc_http_head head = request(GET "ETag: \"x\"\r\nVary: a\r\nvary: b\r\nX:\r\n\r\n");
    struct tc_span value = {0};
    assert_true(tc_http_field_find(&head, "etag", &value));
    expect_text(value, "\"x\"");
    assert_true(tc_http_field_find(&head, "EtAg", &value));
    assert_true(tc_http_field_find(&head, "x", &value));
    assert_int_equal(value.size, 0);
    value = span("as it was");
    assert_false(tc_http_field_find(&head, "Vary", &value));
    assert_false(tc_http_field_find(&head, "eta", &value));
    assert_false(tc_http_field_find(&head, "etags", &value));
    expect_text(value, "as it was");
}

static void expect_request(const char *text, const char *extra, bool close, const char *wanted)
{
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(4096);
    struct tc_http_head head = request(text);
    tc_http_request_write(&head, span("example.org:81"), span(extra), close, &buf);
    expect_text(tc_buf_span(&buf), wanted);
    /* What was written reads as what was meant. */
    TC_AUTO_FREE char *again = tc_buf_take_text(&buf);
    assert_non_null(again);
    struct tc_http_head second = request(again);
    assert_int_equal(second.framing, head.framing);
    assert_int_equal(second.length, head.length);
    assert_int_equal(second.close, close);
}

static void test_request_write(void **state)
{
    (void)state;
    expect_request("GET /a?b HTTP/1.0\r\nhost: Example.org\r\nX-a:  b \r\nx-A: c\r\n\r\n", "",
                   false, "GET /a?b HTTP/1.1\r\nHost: example.org:81\r\nX-a: b\r\nx-A: c\r\n\r\n");
    expect_request(
        GET "Connection: close, x-hop\r\nX-Hop: 1\r\nX-Hops: 2\r\nKeep-Alive: 3\r\n"
            "Proxy-Connection: 4\r\nProxy-Authorization: 5\r\nproxy-: 5\r\nTE: trailers\r\n"
            "Trailer: x\r\nUpgrade: h2c\r\nHTTP2-Settings: 6\r\nExpect: 100-continue\r\n"
            "Proxy: 7\r\nTransfer-Encoding: CHUNKED\r\nAlt-Svc: 8\r\n\r\n",
        "", true,
        "GET / HTTP/1.1\r\nHost: example.org:81\r\nX-Hops: 2\r\nProxy: 7\r\nAlt-Svc: 8\r\n"
        "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
    expect_request(GET "authorization: a\r\nAuthorizations: b\r\nAuthor: e\r\nRange: "
                       "c\r\nContent-Length: 0\r\n\r\n",
                   "Authorization: d\r\nRange: bytes=5-\r\n", false,
                   "GET / HTTP/1.1\r\nHost: example.org:81\r\nAuthorizations: b\r\nAuthor: e\r\n"
                   "Authorization: d\r\nRange: bytes=5-\r\nContent-Length: 0\r\n\r\n");
    expect_request("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "", false,
                   "OPTIONS * HTTP/1.1\r\nHost: example.org:81\r\n\r\n");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request),       cmocka_unit_test(test_request_meaning),
        cmocka_unit_test(test_request_line),  cmocka_unit_test(test_smuggling),
        cmocka_unit_test(test_host),          cmocka_unit_test(test_caps),
        cmocka_unit_test(test_head_size),     cmocka_unit_test(test_head_size_refuses),
        cmocka_unit_test(test_cut_heads),     cmocka_unit_test(test_find),
        cmocka_unit_test(test_request_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
