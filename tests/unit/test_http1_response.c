/* HTTP heads of responses: what is accepted and how it is written anew, and what is refused
 * because two programs could read it in two ways. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "http1_lab.h"

#define OK_LINE "HTTP/1.1 200 OK\r\n"

static struct tc_span span(const char *text)
{
    return tc_span_of_text(text);
}

static struct tc_http_head response_to(const char *method, const char *text)
{
    struct tc_error err = {0};
    struct tc_http_head head;
    if (tc_http_response_parse(span(text), span(method), &head, &err) != TC_OK)
        fail_msg("\"%s\" was refused: %s", text, err.message);
    return head;
}

static struct tc_http_head response(const char *text)
{
    return response_to("GET", text);
}

static void refuse_response(const char *text, const char *why)
{
    struct tc_error err = {0};
    struct tc_http_head head = {0};
    expect_refusal(tc_http_response_parse(span(text), span("GET"), &head, &err), &head, &err, text,
                   why);
}

static void test_response(void **state)
{
    (void)state;
    struct tc_http_head head =
        response("HTTP/1.1 404 Not Found \xe9\r\nContent-Length: 12\r\n\r\n");
    assert_int_equal(head.status, 404);
    expect_text(head.reason, "Not Found \xe9");
    assert_int_equal(head.framing, TC_HTTP_LENGTH);
    assert_int_equal(head.length, 12);
    assert_false(head.close);
    expect_text(response("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n").reason, "");
    expect_text(response("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n").reason, "");
    assert_int_equal(response(OK_LINE "Transfer-Encoding: chunked\r\n\r\n").framing,
                     TC_HTTP_CHUNKED);
    head = response(OK_LINE "\r\n");
    assert_int_equal(head.framing, TC_HTTP_UNTIL_CLOSE);
    assert_true(head.close);
    head = response("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n");
    assert_int_equal(head.framing, TC_HTTP_LENGTH);
    assert_true(head.close && head.http10);
}

static void test_response_without_body(void **state)
{
    (void)state;
    struct tc_http_head head = response_to("HEAD", OK_LINE "Content-Length: 12\r\n\r\n");
    assert_int_equal(head.framing, TC_HTTP_NO_BODY);
    assert_true(head.has_length);
    assert_int_equal(head.length, 12);
    head = response_to("HEAD", OK_LINE "Transfer-Encoding: chunked\r\n\r\n");
    assert_int_equal(head.framing, TC_HTTP_NO_BODY);
    assert_false(head.has_length);
    head = response_to("HEAD", OK_LINE "\r\n");
    assert_int_equal(head.framing, TC_HTTP_NO_BODY);
    assert_false(head.close);
    head = response_to("HEAD", "HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n\r\n");
    assert_false(head.has_length);
    head = response("HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n\r\n");
    assert_int_equal(head.framing, TC_HTTP_NO_BODY);
    assert_false(head.has_length);
    assert_int_equal(head.length, 0);
    assert_int_equal(response("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n").framing,
                     TC_HTTP_NO_BODY);
    assert_int_equal(response("HTTP/1.1 100 Continue\r\n\r\n").framing, TC_HTTP_NO_BODY);
    /* A method is written in capitals: this one is not HEAD, so a body follows. */
    assert_int_equal(response_to("head", OK_LINE "Content-Length: 12\r\n\r\n").framing,
                     TC_HTTP_LENGTH);
}

static void test_response_refused(void **state)
{
    (void)state;
    static const char *const lines[][2] = {
        {"HTTP/1.1", "begins with"},
        {"HTTP/1.1 ", "three digits"},
        {"HTTP/1.1  200 OK", "three digits"},
        {"HTTP/1.1 20 OK", "three digits"},
        {"HTTP/1.1 2000 OK", "three digits"},
        {"HTTP/1.1 200OK", "three digits"},
        {"HTTP/1.1 200\tOK", "three digits"},
        {"HTTP/1.1 099 X", "three digits"},
        {"HTTP/1.1 600 X", "three digits"},
        {"HTTP/1.1 +20 X", "three digits"},
        {"HTTP/2 200 OK", "version"},
        {"ICY 200 OK", "version"},
        {"http/1.1 200 OK", "version"},
        {" HTTP/1.1 200 OK", "version"},
        {"HTTP/1.1 101 Switching Protocols", "another protocol"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1", "more than once"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked", "one of them"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip", "expected \"chunked\""},
        {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked", "HTTP/1.0"},
        {"HTTP/1.1 304 X\r\nContent-Length: 1x", "decimal"},
        {"HTTP/1.1 204 X\r\nContent-Length: 1", "announces a body"},
        {"HTTP/1.1 204 X\r\nTransfer-Encoding: chunked", "announces a body"},
        {"HTTP/1.1 103 X\r\nTransfer-Encoding: chunked", "announces a body"},
        {"HTTP/1.1 200 OK\r\n folded", "folded"},
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char text[256];
        (void)snprintf(text, sizeof text, "%s\r\n\r\n", lines[i][0]);
        refuse_response(text, lines[i][1]);
    }
}

static void expect_response(const struct tc_http_head *head, bool close, const char *wanted)
{
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(4096);
    tc_http_response_write(head, close, &buf);
    expect_text(tc_buf_span(&buf), wanted);
}

static void test_response_write(void **state)
{
    (void)state;
    struct tc_http_head head = response(
        "HTTP/1.0 200 Fine\r\nServer: x\r\nAlt-Svc: h3\r\nStrict-Transport-Security: max-age=1\r\n"
        "Public-Key-Pins: x\r\nPublic-Key-Pins-Report-Only: x\r\nConnection: x-hop\r\nX-Hop: y\r\n"
        "Set-Cookie: a\r\nSet-Cookie: b\r\nContent-Encoding: gzip\r\nContent-Length: 7\r\n\r\n");
    expect_response(&head, false,
                    "HTTP/1.1 200 Fine\r\nServer: x\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"
                    "Content-Encoding: gzip\r\nContent-Length: 7\r\n\r\n");
    head = response("HTTP/1.1 299\r\nTransfer-Encoding: chunked\r\n\r\n");
    expect_response(&head, true,
                    "HTTP/1.1 299 \r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
    head = response(OK_LINE "\r\n");
    expect_response(&head, false, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    head.framing = TC_HTTP_CHUNKED; /* as the recorder does to keep the connection */
    expect_response(&head, false, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    head = response_to("HEAD", OK_LINE "Content-Length: 7\r\n\r\n");
    expect_response(&head, false, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
    head = response("HTTP/1.1 304 X\r\nETag: y\r\nContent-Length: 7\r\n\r\n");
    expect_response(&head, false, "HTTP/1.1 304 X\r\nETag: y\r\n\r\n");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_response),
        cmocka_unit_test(test_response_without_body),
        cmocka_unit_test(test_response_refused),
        cmocka_unit_test(test_response_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
