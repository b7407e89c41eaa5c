/* Heads, written from the model alone: what one side said about its own connection ends
 * here, and what is said about the other one is the writer's. */
#include "core/http1.h"

#include <inttypes.h>
#include <string.h>

#include "core/http1_internal.h"

/* Of one connection, or written anew. */
static const char *const left_out[] = {
    "connection",     "keep-alive", "te",   "trailer",        "upgrade",
    "http2-settings", "expect",     "host", "content-length", "transfer-encoding",
};
/* What a server says of its other ports, keys and schemes would outlive the record. */
static const char *const left_out_of_responses[] = {
    "alt-svc",
    "strict-transport-security",
    "public-key-pins",
    "public-key-pins-report-only",
};
static const char proxy_prefix[] = "proxy-";

static bool is_in(struct tc_span name, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (tc_http_is_word(name, words[i])) return true;
    return false;
}

/* Does one of the lines have this field name? */
static bool lines_name(struct tc_span lines, struct tc_span name)
{
    while (lines.size > 0) {
        const uint8_t *end = memchr(lines.data, '\n', lines.size);
        size_t size = end ? (size_t)(end - lines.data) + 1 : lines.size;
        if (size > name.size && lines.data[name.size] == ':' &&
            tc_http_same_name((struct tc_span){lines.data, name.size}, name))
            return true;
        lines.data += size;
        lines.size -= size;
    }
    return false;
}

static bool is_kept(const struct tc_http_head *head, struct tc_span name)
{
    size_t prefix = sizeof proxy_prefix - 1;
    if (name.size >= prefix && tc_http_is_word((struct tc_span){name.data, prefix}, proxy_prefix))
        return false;
    return !is_in(name, left_out, sizeof left_out / sizeof *left_out) &&
           !tc_http_is_connection_option(head, name);
}

static void add_field(const struct tc_http_field *field, struct tc_buf *buf)
{
    tc_buf_add_span(buf, field->name);
    tc_buf_add_text(buf, ": ");
    tc_buf_add_span(buf, field->value);
    tc_buf_add_text(buf, "\r\n");
}

static void add_end(const struct tc_http_head *head, bool close, struct tc_buf *buf)
{
    if (head->framing == TC_HTTP_LENGTH || head->has_length)
        tc_buf_add_format(buf, "Content-Length: %" PRIu64 "\r\n", head->length);
    if (head->framing == TC_HTTP_CHUNKED) tc_buf_add_text(buf, "Transfer-Encoding: chunked\r\n");
    if (close || head->framing == TC_HTTP_UNTIL_CLOSE)
        tc_buf_add_text(buf, "Connection: close\r\n");
    tc_buf_add_text(buf, "\r\n");
}

void tc_http_request_write(const struct tc_http_head *head, struct tc_span host,
                           struct tc_span extra, bool close, struct tc_buf *buf)
{
    tc_buf_add_span(buf, head->method);
    tc_buf_add_text(buf, " ");
    tc_buf_add_span(buf, head->target);
    tc_buf_add_text(buf, " HTTP/1.1\r\n");
    add_field(&(struct tc_http_field){tc_span_of_text("Host"), host}, buf);
    for (size_t i = 0; i < head->fields_count; i++)
        if (is_kept(head, head->fields[i].name) && !lines_name(extra, head->fields[i].name))
            add_field(&head->fields[i], buf);
    tc_buf_add_span(buf, extra);
    add_end(head, close, buf);
}

void tc_http_response_write(const struct tc_http_head *head, bool close, struct tc_buf *buf)
{
    tc_buf_add_format(buf, "HTTP/1.1 %03u ", head->status);
    tc_buf_add_span(buf, head->reason);
    tc_buf_add_text(buf, "\r\n");
    for (size_t i = 0; i < head->fields_count; i++)
        if (is_kept(head, head->fields[i].name) &&
            !is_in(head->fields[i].name, left_out_of_responses,
                   sizeof left_out_of_responses / sizeof *left_out_of_responses))
            add_field(&head->fields[i], buf);
    add_end(head, close, buf);
}
