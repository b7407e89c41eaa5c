/* The lines of the transcript: what is written is read back equal, every other spelling
 * is refused; URLs are redacted by rule; exchanges come to one list of dependencies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "assert_ok.h"
#include "base/cleanup.h"
#include "core/resolved.h"

#define HEX32(c) c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c c
#define START "{\"sequence\":1,\"time\":\"2026-01-02T03:04:05Z\","
#define TLS                                                                                        \
    "\"tls\":{\"version\":\"TLSv1.3\",\"certificate\":\"" HEX32("cc") "\",\"anchor\":\"" HEX32(    \
        "aa") "\"},"
#define BODY(name, byte, size) "\"" name "\":{\"sha256\":\"" HEX32(byte) "\",\"size\":" size "}"
#define WHOLE                                                                                      \
    START "\"outcome\":\"ok\",\"scheme\":\"https\",\"host\":\"a.example.org\",\"port\":443,"       \
          "\"address\":\"192.0.2.1\"," TLS                                                         \
          "\"method\":\"GET\",\"url\":\"https://a.example.org/b\"," BODY(                          \
              "request", "00",                                                                     \
              "0") ",\"status\":200,\"fields\":[[\"content-type\",\"text/plain\"],"                \
                   "[\"etag\",\"\\\"\\u00b5\\\"\"]]," BODY(                                        \
                       "response", "bb", "5") ",\"attempts\":1,\"pinnedBy\":\"Cargo.lock\"}\n"

/* Expects TC_OK and the same bytes again, or a refusal whose message has the text. */
static void check_line(const char *line, const char *message)
{
    struct tc_error err = {0};
    struct tc_exchange exchange = {0};
    TC_AUTO_BUF struct tc_buf again = tc_buf_new(TC_TRANSCRIPT_LINE_MAX);
    tc_status status = tc_exchange_read(tc_span_of_text(line), &exchange, &err);
    if (message) {
        if (status != TC_MALFORMED || !strstr(err.message, message))
            fail_msg("%s: \"%s\" lacks \"%s\"", line, err.message, message);
        return;
    }
    if (status != TC_OK) fail_msg("%s: %s", line, err.message);
    assert_ok(tc_exchange_write(&exchange, &again, &err));
    assert_true(tc_span_equal(tc_buf_span(&again), tc_span_of_text(line)));
    tc_exchange_free(&exchange);
}

/* What was delivered in part was delivered too. */
static const char cut_without_certificate[] =
    START "\"outcome\":\"cut\",\"scheme\":\"https\",\"host\":\"a.example.org\",\"port\":443,"
          "\"method\":\"GET\",\"url\":\"https://a.example.org/\"," BODY(
              "request", "00", "0") ",\"status\":200," BODY("response", "bb", "5") "}\n";

static void test_lines(void **state)
{
    (void)state;
    static const char *const good[] = {
        WHOLE,
        START
        "\"outcome\":\"denied\",\"host\":\"a.example.org\",\"reason\":\"not in network.allow\"}\n",
        START "\"outcome\":\"failed\",\"scheme\":\"https\",\"host\":\"a.example.org\",\"port\":443,"
              "\"attempts\":4,\"reason\":\"the host could not dial it\"}\n",
        START
        "\"outcome\":\"cut\",\"scheme\":\"http\",\"host\":\"a.example.org\",\"port\":80,"
        "\"method\":\"GET\",\"url\":\"http://a.example.org/\"," BODY("request", "00", "0") "}\n",
        START "\"outcome\":\"opaque\",\"scheme\":\"opaque\",\"host\":\"a.example.org\",\"port\":22,"
              "\"address\":\"2001:db8::1\",\"request\":{\"size\":7},\"response\":{\"size\":0},"
              "\"attempts\":1}\n",
        START "\"outcome\":\"ok\",\"scheme\":\"https\",\"host\":\"a.example.org\",\"port\":443,"
              "\"method\":\"HEAD\",\"url\":\"https://a.example.org/\"," BODY(
                  "request", "00", "0") ",\"status\":404," BODY("response", "bb",
                                                                "0") ",\"origin\":\"archive\"}\n",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        check_line(good[i], NULL);
    check_line(cut_without_certificate, "without a certificate");
}

/* A hole, one line twice, or an order of one's own. */
static void test_numbers(void **state)
{
    (void)state;
    static const char line[] = WHOLE;
    static const struct {
        const char *numbers;
        bool good;
    } cases[] = {{"123", true}, {"2", false}, {"13", false}, {"11", false}, {"132", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tc_error err = {0};
        tc_status status = TC_OK;
        struct tc_transcript_reader *reader = tc_transcript_reader_new();
        assert_non_null(reader);
        assert_ok(tc_transcript_reader_add(reader, tc_span_of_text(TC_TRANSCRIPT_HEADER), &err));
        for (const char *number = cases[i].numbers; *number && status == TC_OK; number++) {
            char text[sizeof line];
            memcpy(text, line, sizeof line);
            *strchr(text, '1') = *number; /* of the sequence, which is first */
            status = tc_transcript_reader_add(reader, tc_span_of_text(text), &err);
        }
        assert_int_equal(status, cases[i].good ? TC_OK : TC_MALFORMED);
        tc_transcript_reader_free(reader);
    }
}

/* WHOLE with the first `from` replaced. */
static void check_changed(const char *from, const char *to, const char *message)
{
    static const char whole[] = WHOLE;
    const char *found = strstr(whole, from);
    if (!found) fail_msg("no %s", from);
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_TRANSCRIPT_LINE_MAX);
    tc_buf_add(&buf, whole, (size_t)(found - whole));
    tc_buf_add_text(&buf, to);
    tc_buf_add_text(&buf, found + strlen(from));
    TC_AUTO_FREE char *text = tc_buf_take_text(&buf);
    check_line(text, message);
}

static void test_other_lines(void **state)
{
    (void)state;
    static const char *const changes[][3] = {
        {"{\"sequence\":1", "{ \"sequence\":1", "not spelled"},
        {"\"sequence\":1,", "", "has no number"},
        {"\"sequence\":1", "\"sequence\":0", "has no number"},
        {"\"sequence\":1", "\"sequence\":1.0", "must be a whole number"},
        {"\"sequence\":1", "\"sequence\":9007199254740993", "must be from"},
        {"\"host\":", "\"more\":1,\"host\":", "not spelled"},
        {"\"host\":\"a.example.org\",\"port\":443", "\"port\":443,\"host\":\"a.example.org\"",
         "not spelled"},
        {"\"host\":\"a.example.org\"", "\"host\":\"a\\u001b[2J\"", "has no host"},
        {"\"host\":\"a.example.org\",", "", "has no host"},
        {"\"outcome\":\"ok\"", "\"outcome\":\"fine\"", "has no outcome"},
        {"\"outcome\":\"ok\"", "\"outcome\":\"denied\"", "no reason"},
        {"\"outcome\":\"ok\"", "\"outcome\":\"opaque\"", "has HTTP"},
        {"\"scheme\":\"https\"", "\"scheme\":\"ftp\"", "has no scheme"},
        {"\"scheme\":\"https\"", "\"scheme\":\"http\"", "TLS without https"},
        {"\"scheme\":\"https\"", "\"scheme\":\"opaque\"", "TLS without https"},
        {"\"port\":443", "\"port\":65536", "must be from"},
        {"\"port\":443", "\"port\":0", "has no port"},
        {TLS, "", "without a certificate"},
        {"https://a.example.org/b", "https://b.example.org/b", "of another scheme, host or port"},
        {"https://a.example.org/b", "https://a.example.org.b/", "of another scheme, host or port"},
        {"https://a.example.org/b", "https://a.example.or/b", "of another scheme, host or port"},
        {"https://a.example.org/b", "http://a.example.org/b", "of another scheme, host or port"},
        {"https://a.example.org/b", "https://a.example.org:443/b",
         "of another scheme, host or port"},
        {"https://a.example.org/b", "https://a.example.org:x@b.org/",
         "of another scheme, host or port"},
        {"\"port\":443", "\"port\":8443", "of another scheme, host or port"},
        {"https://a.example.org/b", "https:/", "of another scheme, host or port"},
        {"\"anchor\":\"aa", "\"anchor\":\"AA", "lower-case"},
        {"\"anchor\":\"" HEX32("aa") "\"", "\"ca\":\"../x\"", "outside the source"},
        {"\"method\":\"GET\",", "", "method without URL"},
        {"\"method\":\"GET\"", "\"method\":\"G T\"", "printable ASCII"},
        {"\"status\":200,", "", "without a status"},
        {"\"status\":200", "\"status\":99", "status that is none"},
        {"[\"content-type\",\"text/plain\"]", "[\"content-type\"]", "a name and a value"},
        {"\"content-type\"", "\"content type\"", "field that is not text"},
        {"\\u00b5", "\xc2\xb5", "not spelled"},
        {"\"size\":5", "\"size\":05", "the line:1"},
        {"\"attempts\":1", "\"attempts\":0", "not spelled"},
        {"\"attempts\":1,", "\"attempts\":1,\"origin\":\"archive\",",
         "from the archive and from upstream"},
        {"\"pinnedBy\":\"Cargo.lock\"", "\"pinnedBy\":\"/Cargo.lock\"", "no file of the source"},
        {"\"pinnedBy\":\"Cargo.lock\"", "\"reason\":\"none\"", "with a reason"},
        {"}\n", "}", "not spelled"},
    };
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++)
        check_changed(changes[i][0], changes[i][1], changes[i][2]);
}

static void test_long_line(void **state)
{
    (void)state;
    struct tc_error err = {0};
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_TRANSCRIPT_LINE_MAX);
    char *reason = calloc(1, TC_TRANSCRIPT_LINE_MAX + 1);
    assert_non_null(reason);
    memset(reason, 'r', TC_TRANSCRIPT_LINE_MAX);
    struct tc_exchange exchange = {
        .sequence = 1, .outcome = TC_EXCHANGE_DENIED, .host = strdup("a"), .reason = reason};
    assert_int_equal(tc_exchange_write(&exchange, &buf, &err), TC_LIMIT);
    assert_int_equal(buf.size, 0);
    tc_exchange_free(&exchange);
}

static void test_fields(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct tc_exchange exchange = {0};
    static const char *const fields[][3] = {
        {"ETag", "\"x\"", "\"x\""},
        {"Set-Cookie", "a=b", NULL},
        {"X-Amz-Security-Token", "a", NULL},
        {"Location", "https://u:p@b.example.org/x?sig=1&n=2",
         "https://b.example.org/x?sig=[redacted]&n=2"},
        {"location", "/\xff", "[unreadable]"},
        {"Content-Type", "a\x1b", "a\\x1b"},
    };
    size_t kept = 0;
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        assert_ok(tc_exchange_keep_field(&exchange, tc_span_of_text(fields[i][0]),
                                         tc_span_of_text(fields[i][1]), &err));
        if (!fields[i][2]) continue;
        assert_int_equal(exchange.fields_count, ++kept);
        assert_string_equal(exchange.fields[kept - 1].value, fields[i][2]);
    }
    assert_string_equal(exchange.fields[0].name, "etag");
    for (size_t i = 0; i < TC_EXCHANGE_FIELDS_MAX; i++)
        assert_ok(
            tc_exchange_keep_field(&exchange, tc_span_of_text("via"), tc_span_of_text("x"), &err));
    assert_int_equal(exchange.fields_count, TC_EXCHANGE_FIELDS_MAX);
    tc_exchange_free(&exchange);
}

static void test_redaction(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"https://a.example.org/b?c=d", "https://a.example.org/b?c=d"},
        {"https://user:pass@a.example.org:8443/b", "https://a.example.org:8443/b"},
        {"https://a@b@a.example.org", "https://a.example.org"},
        {"https://a.example.org/?q=x@y", "https://a.example.org/?q=x@y"},
        {"https://a.example.org/b?access_token=abc&page=2",
         "https://a.example.org/b?access_token=[redacted]&page=2"},
        {"https://a.example.org/b?page=2;Signature=a/b?c",
         "https://a.example.org/b?page=2;Signature=[redacted]?c"},
        {"https://a.example.org/?X-Amz-Credential=AK&X-Amz-Signature=00&X-Amz-Date=1",
         "https://a.example.org/"
         "?X-Amz-Credential=[redacted]&X-Amz-Signature=[redacted]&X-Amz-Date=1"},
        {"https://a.example.org/?%74oken=x&sig=y&SIG=z",
         "https://a.example.org/?%74oken=[redacted]&sig=[redacted]&SIG=[redacted]"},
        {"https://a.example.org/?token=", "https://a.example.org/?token="},
        {"https://a.example.org/?tokenizer=x&token_url=y",
         "https://a.example.org/?tokenizer=x&token_url=y"},
        {"https://a.example.org/token/x", "https://a.example.org/token/x"},
        {"/b?key=x", "/b?key=[redacted]"},
        {"//user:pass@a.example.org/b", "//a.example.org/b"},
        {"//a@b@a.example.org?sig=x", "//a.example.org?sig=[redacted]"},
        {"///user@a.example.org", "///user@a.example.org"},
        {"/a//user@b", "/a//user@b"},
        {"https://a.example.org/t/ghp_0123456789abcdefghij/x",
         "https://a.example.org/t/[redacted]/x"},
        {"https://a.example.org/x=eyJhbGciOiJIUzI1NiJ9.e30.abcd",
         "https://a.example.org/x=[redacted]"},
        {"https://a.example.org/npm_modules/pypi-x", "https://a.example.org/npm_modules/pypi-x"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tc_error err = {0};
        TC_AUTO_BUF struct tc_buf buf = tc_buf_new(4096);
        assert_ok(tc_url_redact(tc_span_of_text(cases[i][0]), &buf, &err));
        TC_AUTO_FREE char *text = tc_buf_take_text(&buf);
        assert_string_equal(text, cases[i][1]);
    }
    struct tc_error err = {0};
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(4096);
    assert_int_equal(tc_url_redact(tc_span_of_text("https://a/\x7f"), &buf, &err), TC_MALFORMED);
    assert_int_equal(tc_url_redact(tc_span_of_text("https://a/ b"), &buf, &err), TC_MALFORMED);
}

static void add(struct tc_resolved *resolved, const char *scheme, const char *url, uint8_t digest,
                const char *pinned_by, enum tc_exchange_outcome outcome)
{
    struct tc_error err = {0};
    struct tc_exchange exchange = {.outcome = outcome,
                                   .scheme = (char *)(uintptr_t)scheme,
                                   .host = (char *)(uintptr_t) "a.example.org",
                                   .port = 22,
                                   .url = (char *)(uintptr_t)url,
                                   .status = 200,
                                   .response_size = 5,
                                   .pinned_by = (char *)(uintptr_t)pinned_by};
    memset(exchange.response_digest.bytes, digest, TC_SHA256_SIZE);
    assert_ok(tc_resolved_add(resolved, &exchange, &err));
}

static void test_resolved(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct tc_resolved *resolved = tc_resolved_new();
    struct tc_part_network network = {0};
    struct tc_dependency *list;
    size_t count;
    assert_non_null(resolved);
    add(resolved, "https", "https://a.example.org/b", 2, NULL, TC_EXCHANGE_OK);
    add(resolved, "https", "https://a.example.org/b", 1, NULL, TC_EXCHANGE_CUT);
    add(resolved, "http", "http://a.example.org/z", 3, NULL, TC_EXCHANGE_OK);
    add(resolved, "https", "https://a.example.org/never", 3, NULL, TC_EXCHANGE_FAILED);
    for (size_t i = 0; i < 3 * TC_DEPENDENCIES_MAX; i++)
        add(resolved, "https", "https://a.example.org/b", 2, i == 7 ? "Cargo.lock" : NULL,
            TC_EXCHANGE_OK);
    add(resolved, "opaque", NULL, 0, NULL, TC_EXCHANGE_OPAQUE);
    add(resolved, "opaque", NULL, 0, NULL, TC_EXCHANGE_OPAQUE);
    assert_ok(tc_resolved_finish(resolved, &network, &list, &count, &err));
    tc_resolved_free(resolved);
    assert_int_equal(count, 3);
    assert_string_equal(list[0].url, "http://a.example.org/z");
    assert_true(list[0].unauthenticated);
    assert_int_equal(list[1].digest.bytes[0], 1);
    assert_int_equal(list[2].digest.bytes[0], 2);
    assert_string_equal(list[2].pinned_by, "Cargo.lock");
    assert_int_equal(network.plain_http_count, 1);
    assert_int_equal(network.opaque_count, 1);
    assert_string_equal(network.opaque[0], "a.example.org:22");
    tc_dependencies_free(list, count);
    tc_part_network_free(&network);
}

static void test_too_many(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct tc_resolved *resolved = tc_resolved_new();
    struct tc_part_network network = {0};
    struct tc_dependency *list;
    size_t count;
    assert_non_null(resolved);
    for (unsigned i = 0; i <= TC_DEPENDENCIES_MAX; i++) {
        char url[64];
        (void)snprintf(url, sizeof url, "https://a.example.org/%u", i);
        add(resolved, "https", url, 1, NULL, TC_EXCHANGE_OK);
    }
    assert_int_equal(tc_resolved_finish(resolved, &network, &list, &count, &err), TC_LIMIT);
    tc_resolved_free(resolved);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),       cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_other_lines), cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_fields),      cmocka_unit_test(test_redaction),
        cmocka_unit_test(test_resolved),    cmocka_unit_test(test_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
