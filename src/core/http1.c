/* Heads, read. Goal: where two programs could read the same bytes as two messages, or as
 * one with other borders, there is no message at all.
 *
 * Three passes, each over what the one before has judged:
 *   bytes    tc_http_head_size: lines end in CR LF and hold no control character; finds
 *            the empty line. It runs on what has arrived so far;
 *   grammar  the first line and the fields, into the model;
 *   meaning  Host, framing, Connection, Expect: what the fields say together.
 * The parsers run the first pass again: they trust no caller to have done so. */
#include "core/http1.h"

#include <string.h>

#include "base/text.h"
#include "core/http1_internal.h"

enum {
    SHOWN_SIZE = 64,
    LENGTH_DIGITS_MAX = 16, /* of 2^53 - 1 */
    PORT_DIGITS_MAX = 5,
};

struct parser {
    const char *what; /* "request" or "response", for messages */
    struct tc_http_head *head;
    struct tc_error *err;
};

/* --- bytes --- */

tc_status tc_http_head_size(struct tc_span bytes, size_t *scanned, size_t *ret_size,
                            struct tc_error *err)
{
    const uint8_t *data = bytes.data;
    size_t end = bytes.size < TC_HTTP_HEAD_MAX ? bytes.size : TC_HTTP_HEAD_MAX;
    for (size_t i = *scanned; i < end; i++) {
        bool after_cr = i > 0 && data[i - 1] == '\r';
        if (data[i] == '\n') {
            if (!after_cr)
                return tc_fail(err, TC_MALFORMED, "an HTTP head has LF without CR at byte %zu", i);
            /* data[i - 2] is the last of the line before, or of an empty line at the start. */
            if (i == 1)
                return tc_fail(err, TC_MALFORMED,
                               "an HTTP head begins with an empty line; expected its first line");
            if (data[i - 2] == '\n') {
                *scanned = *ret_size = i + 1;
                return TC_OK;
            }
        } else if (after_cr) {
            return tc_fail(err, TC_MALFORMED, "an HTTP head has CR without LF at byte %zu", i - 1);
        } else if (data[i] != '\r' && !tc_http_is_text_byte(data[i])) {
            return tc_fail(
                err, TC_MALFORMED,
                "an HTTP head has the control character 0x%02x at byte %zu; expected text "
                "and lines that end in CR LF",
                data[i], i);
        }
    }
    *scanned = end > *scanned ? end : *scanned;
    if (end == TC_HTTP_HEAD_MAX)
        return tc_fail(err, TC_LIMIT, "an HTTP head is larger than %d bytes", TC_HTTP_HEAD_MAX);
    *ret_size = 0;
    return TC_OK;
}

static tc_status check_bytes(const struct parser *parser, struct tc_span bytes)
{
    size_t scanned = 0, size = 0;
    TC_TRY(tc_http_head_size(bytes, &scanned, &size, parser->err));
    if (size == 0 || size != bytes.size)
        return tc_fail(parser->err, TC_MALFORMED,
                       "the head of a %s is %zu bytes and ends at %zu; expected one head",
                       parser->what, bytes.size, size);
    return TC_OK;
}

/* Of bytes that were checked; without its CR LF. */
static struct tc_span next_line(struct tc_cursor *cursor)
{
    struct tc_span line = {0}, end;
    const uint8_t *cr = memchr(cursor->next, '\r', tc_cursor_left(cursor));
    size_t size = cr ? (size_t)(cr - cursor->next) : 0;
    if (!tc_cursor_take(cursor, size, &line) || !tc_cursor_take(cursor, 2, &end))
        cursor->next = cursor->end;
    return line;
}

/* --- grammar --- */

/* Cuts off the word before the first space, and the space. false: there is none. */
static bool next_word(struct tc_span *rest, struct tc_span *ret_word)
{
    const uint8_t *space = rest->size > 0 ? memchr(rest->data, ' ', rest->size) : NULL;
    if (!space) return false;
    size_t size = (size_t)(space - rest->data);
    *ret_word = (struct tc_span){rest->data, size};
    *rest = (struct tc_span){space + 1, rest->size - size - 1};
    return true;
}

static tc_status read_version(const struct parser *parser, struct tc_span version)
{
    char shown[SHOWN_SIZE];
    parser->head->http10 = tc_span_equal(version, tc_span_of_text("HTTP/1.0"));
    if (parser->head->http10 || tc_span_equal(version, tc_span_of_text("HTTP/1.1"))) return TC_OK;
    return tc_fail(parser->err, TC_MALFORMED,
                   "the version of a %s is \"%s\"; expected HTTP/1.1 or HTTP/1.0", parser->what,
                   tc_printable(version, shown, sizeof shown));
}

static tc_status read_method(const struct parser *parser, struct tc_span method)
{
    char shown[SHOWN_SIZE];
    if (!tc_http_is_token(method) || method.size > TC_HTTP_METHOD_MAX)
        return tc_fail(parser->err, TC_MALFORMED,
                       "the method of a request is \"%s\"; expected a token of at most %d bytes",
                       tc_printable(method, shown, sizeof shown), TC_HTTP_METHOD_MAX);
    if (tc_http_is_word(method, "connect"))
        return tc_fail(parser->err, TC_MALFORMED,
                       "a request asks for a tunnel (CONNECT); this is no proxy: connect to the "
                       "server itself");
    if (tc_http_is_word(method, "trace"))
        return tc_fail(parser->err, TC_MALFORMED,
                       "a request asks for its own echo (TRACE), which could hold a credential");
    /* Whether a body follows the answer would depend on who reads the method. */
    if (tc_http_is_word(method, "head") && !tc_span_equal(method, tc_span_of_text("HEAD")))
        return tc_fail(parser->err, TC_MALFORMED,
                       "the method of a request is \"%s\"; expected \"HEAD\" in capitals",
                       tc_printable(method, shown, sizeof shown));
    parser->head->method = method;
    return TC_OK;
}

static tc_status read_target(const struct parser *parser, struct tc_span target)
{
    char shown[SHOWN_SIZE];
    bool star = tc_span_equal(target, tc_span_of_text("*")) &&
                tc_span_equal(parser->head->method, tc_span_of_text("OPTIONS"));
    if (target.size > TC_HTTP_TARGET_MAX)
        return tc_fail(parser->err, TC_MALFORMED,
                       "the target of a request is %zu bytes; expected at most %d", target.size,
                       TC_HTTP_TARGET_MAX);
    if (!star && (target.size == 0 || target.data[0] != '/'))
        return tc_fail(parser->err, TC_MALFORMED,
                       "the target of a request is \"%s\"; expected a path that begins with \"/\"",
                       tc_printable(target, shown, sizeof shown));
    for (size_t i = 0; i < target.size; i++)
        if (target.data[i] <= ' ' || target.data[i] >= 0x7f || target.data[i] == '#')
            return tc_fail(parser->err, TC_MALFORMED,
                           "the target of a request holds byte 0x%02x; expected visible ASCII "
                           "without \"#\"",
                           target.data[i]);
    parser->head->target = target;
    return TC_OK;
}

static tc_status read_request_line(const struct parser *parser, struct tc_span line)
{
    struct tc_span method, target;
    if (!next_word(&line, &method) || !next_word(&line, &target))
        return tc_fail(parser->err, TC_MALFORMED,
                       "the first line of a request has too few words; expected method, target and "
                       "version");
    TC_TRY(read_method(parser, method));
    TC_TRY(read_target(parser, target));
    return read_version(parser, line);
}

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

/* The space behind the status is left out by some servers that give no reason. */
static tc_status read_status_line(const struct parser *parser, struct tc_span line)
{
    struct tc_span version;
    char shown[SHOWN_SIZE];
    if (!next_word(&line, &version))
        return tc_fail(parser->err, TC_MALFORMED,
                       "a response begins with \"%s\"; expected version, status and reason",
                       tc_printable(line, shown, sizeof shown));
    TC_TRY(read_version(parser, version));
    bool digits = line.size >= 3 && is_digit(line.data[0]) && is_digit(line.data[1]) &&
                  is_digit(line.data[2]) && (line.size == 3 || line.data[3] == ' ');
    unsigned status =
        digits ? (line.data[0] - '0') * 100U + (line.data[1] - '0') * 10U + (line.data[2] - '0')
               : 0;
    if (status < 100 || status > 599)
        return tc_fail(parser->err, TC_MALFORMED,
                       "the status of a response is \"%s\"; expected three digits, 100 to 599",
                       tc_printable(line, shown, sizeof shown));
    parser->head->status = status;
    if (line.size > 4) parser->head->reason = (struct tc_span){line.data + 4, line.size - 4};
    return TC_OK;
}

static tc_status read_field(const struct parser *parser, struct tc_span line)
{
    char shown[SHOWN_SIZE];
    struct tc_http_head *head = parser->head;
    if (line.data[0] == ' ' || line.data[0] == '\t')
        return tc_fail(parser->err, TC_MALFORMED,
                       "a line of a %s begins with white space; folded fields are refused: send "
                       "each field on one line",
                       parser->what);
    const uint8_t *colon = memchr(line.data, ':', line.size);
    struct tc_span name = {line.data, colon ? (size_t)(colon - line.data) : 0};
    if (!tc_http_is_token(name))
        return tc_fail(parser->err, TC_MALFORMED,
                       "a field of a %s is \"%s\"; expected a name that is a token, \":\" right "
                       "behind it, and a value",
                       parser->what, tc_printable(line, shown, sizeof shown));
    if (head->fields_count == TC_HTTP_FIELDS_MAX)
        return tc_fail(parser->err, TC_MALFORMED, "a %s has more than %d fields", parser->what,
                       TC_HTTP_FIELDS_MAX);
    struct tc_span value = {colon + 1, line.size - name.size - 1};
    head->fields[head->fields_count++] = (struct tc_http_field){name, tc_http_trim(value)};
    return TC_OK;
}

static tc_status read_lines(const struct parser *parser, struct tc_span bytes,
                            tc_status (*read_first)(const struct parser *, struct tc_span))
{
    TC_TRY(check_bytes(parser, bytes));
    struct tc_cursor cursor = tc_cursor_of(bytes);
    TC_TRY(read_first(parser, next_line(&cursor)));
    for (struct tc_span line; (line = next_line(&cursor)).size > 0;)
        TC_TRY(read_field(parser, line));
    return TC_OK;
}

/* --- meaning --- */

/* How many fields have the name; the last one's value. */
static size_t count_fields(const struct tc_http_head *head, const char *name,
                           struct tc_span *ret_value)
{
    size_t count = 0;
    for (size_t i = 0; i < head->fields_count; i++) {
        if (!tc_http_is_word(head->fields[i].name, name)) continue;
        *ret_value = head->fields[i].value;
        count++;
    }
    return count;
}

bool tc_http_field_find(const struct tc_http_head *head, const char *name,
                        struct tc_span *ret_value)
{
    const struct tc_http_field *found = NULL;
    for (size_t i = 0; i < head->fields_count; i++) {
        if (!tc_http_same_name(head->fields[i].name, tc_span_of_text(name))) continue;
        if (found) return false;
        found = &head->fields[i];
    }
    if (!found) return false;
    *ret_value = found->value;
    return true;
}

/* Decimal without sign or leading zero, at most max; false otherwise. */
static bool read_number(struct tc_span text, size_t digits_max, uint64_t max, uint64_t *ret_number)
{
    uint64_t number = 0;
    if (text.size == 0 || text.size > digits_max || (text.size > 1 && text.data[0] == '0'))
        return false;
    for (size_t i = 0; i < text.size; i++) {
        if (!is_digit(text.data[i])) return false;
        number = number * 10 + (uint64_t)(text.data[i] - '0');
    }
    if (number > max) return false;
    *ret_number = number;
    return true;
}

/* The two fields that say where a message ends; each is checked even where the other, the
 * method or the status makes it count for nothing. */
static tc_status read_framing(const struct parser *parser)
{
    char shown[SHOWN_SIZE];
    struct tc_http_head *head = parser->head;
    struct tc_span coding = {0}, length = {0};
    size_t codings = count_fields(head, "transfer-encoding", &coding);
    size_t lengths = count_fields(head, "content-length", &length);
    if (codings > 0 && lengths > 0)
        return tc_fail(parser->err, TC_MALFORMED,
                       "a %s has Transfer-Encoding and Content-Length; expected one of them",
                       parser->what);
    if (codings > 1 || lengths > 1)
        return tc_fail(parser->err, TC_MALFORMED, "a %s has %s more than once", parser->what,
                       codings > 1 ? "Transfer-Encoding" : "Content-Length");
    if (codings == 1) {
        if (!tc_http_is_word(coding, "chunked"))
            return tc_fail(parser->err, TC_MALFORMED,
                           "the Transfer-Encoding of a %s is \"%s\"; expected \"chunked\"",
                           parser->what, tc_printable(coding, shown, sizeof shown));
        if (head->http10)
            return tc_fail(parser->err, TC_MALFORMED,
                           "a %s of HTTP/1.0 has Transfer-Encoding, which came with HTTP/1.1",
                           parser->what);
        head->framing = TC_HTTP_CHUNKED;
    }
    if (lengths == 1) {
        if (!read_number(length, LENGTH_DIGITS_MAX, TC_HTTP_LENGTH_MAX, &head->length))
            return tc_fail(
                parser->err, TC_MALFORMED,
                "the Content-Length of a %s is \"%s\"; expected one decimal number up to "
                "2^53 - 1",
                parser->what, tc_printable(length, shown, sizeof shown));
        head->framing = TC_HTTP_LENGTH;
    }
    return TC_OK;
}

static tc_status read_connection(const struct parser *parser)
{
    struct tc_http_head *head = parser->head;
    size_t options = 0;
    head->close = head->http10;
    for (size_t i = 0; i < head->fields_count; i++) {
        if (!tc_http_is_word(head->fields[i].name, "connection")) continue;
        struct tc_span list = head->fields[i].value, option;
        while (tc_http_list_next(&list, &option)) {
            if (option.size == 0) continue;
            if (!tc_http_is_token(option) || ++options > TC_HTTP_OPTIONS_MAX)
                return tc_fail(parser->err, TC_MALFORMED,
                               "the Connection of a %s is no list of at most %d tokens",
                               parser->what, TC_HTTP_OPTIONS_MAX);
            if (tc_http_is_word(option, "close")) head->close = true;
        }
    }
    return TC_OK;
}

/* Names and addresses; whether it is the right one is the caller's to say. */
static bool is_host(struct tc_span host)
{
    bool literal = host.size > 2 && host.data[0] == '[' && host.data[host.size - 1] == ']';
    for (size_t i = literal; i + literal < host.size; i++) {
        uint8_t c = tc_http_lower(host.data[i]);
        bool fits = is_digit(c) || c == '.' ||
                    (literal ? (c >= 'a' && c <= 'f') || c == ':'
                             : (c >= 'a' && c <= 'z') || c == '-' || c == '_');
        if (!fits) return false;
    }
    return host.size > 0;
}

static tc_status read_host(const struct parser *parser)
{
    char shown[SHOWN_SIZE];
    struct tc_http_head *head = parser->head;
    struct tc_span value = {0};
    size_t count = count_fields(head, "host", &value);
    if (count != 1)
        return tc_fail(parser->err, TC_MALFORMED, "a request has %zu fields Host; expected one",
                       count);
    uint64_t port = 0;
    size_t size = value.size;
    while (size > 0 && is_digit(value.data[size - 1]))
        size--;
    bool has_port = size > 0 && value.data[size - 1] == ':';
    head->host = (struct tc_span){value.data, has_port ? size - 1 : value.size};
    if (has_port && (!read_number((struct tc_span){value.data + size, value.size - size},
                                  PORT_DIGITS_MAX, UINT16_MAX, &port) ||
                     port == 0))
        head->host.size = 0;
    head->port = (unsigned)port;
    if (is_host(head->host)) return TC_OK;
    return tc_fail(parser->err, TC_MALFORMED,
                   "the Host of a request is \"%s\"; expected a name or an address, and a port at "
                   "most",
                   tc_printable(value, shown, sizeof shown));
}

static tc_status read_expect(const struct parser *parser)
{
    char shown[SHOWN_SIZE];
    struct tc_span value = {0};
    size_t count = count_fields(parser->head, "expect", &value);
    if (count == 0) return TC_OK;
    if (count > 1 || !tc_http_is_word(value, "100-continue"))
        return tc_fail(parser->err, TC_MALFORMED,
                       "the Expect of a request is \"%s\"; expected \"100-continue\"",
                       tc_printable(value, shown, sizeof shown));
    /* RFC 9110, 10.1.1: whoever speaks 1.0 does not wait. */
    parser->head->expect_continue = !parser->head->http10;
    return TC_OK;
}

tc_status tc_http_request_parse(struct tc_span head, struct tc_http_head *ret_head,
                                struct tc_error *err)
{
    struct tc_http_head result = {0};
    const struct parser parser = {"request", &result, err};
    TC_TRY(read_lines(&parser, head, read_request_line));
    TC_TRY(read_host(&parser));
    TC_TRY(read_framing(&parser));
    TC_TRY(read_connection(&parser));
    TC_TRY(read_expect(&parser));
    *ret_head = result;
    return TC_OK;
}

/* RFC 9112, 6.3: when there is no body whatever the fields say, when they say it, and when
 * the end of the connection does. */
static tc_status settle_response(const struct parser *parser, struct tc_span method)
{
    struct tc_http_head *head = parser->head;
    bool bare = head->status < 200 || head->status == 204;
    if (head->status == 101)
        return tc_fail(parser->err, TC_MALFORMED,
                       "a response switches to another protocol (101), which nobody asked for");
    /* Whoever believes the field would wait for a body here. */
    if (bare && (head->framing == TC_HTTP_CHUNKED || head->length > 0))
        return tc_fail(parser->err, TC_MALFORMED,
                       "a response of status %u announces a body, which it cannot have",
                       head->status);
    bool is_head = tc_span_equal(method, tc_span_of_text("HEAD"));
    bool without = bare || head->status == 304;
    head->has_length = is_head && !without && head->framing == TC_HTTP_LENGTH;
    if (without || is_head)
        head->framing = TC_HTTP_NO_BODY;
    else if (head->framing == TC_HTTP_NO_BODY)
        head->framing = TC_HTTP_UNTIL_CLOSE;
    if (head->framing != TC_HTTP_LENGTH && !head->has_length) head->length = 0;
    if (head->framing == TC_HTTP_UNTIL_CLOSE) head->close = true;
    return TC_OK;
}

tc_status tc_http_response_parse(struct tc_span head, struct tc_span method,
                                 struct tc_http_head *ret_head, struct tc_error *err)
{
    struct tc_http_head result = {0};
    const struct parser parser = {"response", &result, err};
    TC_TRY(read_lines(&parser, head, read_status_line));
    TC_TRY(read_framing(&parser));
    TC_TRY(read_connection(&parser));
    TC_TRY(settle_response(&parser, method));
    *ret_head = result;
    return TC_OK;
}
