/* One side of a connection: heads and bodies, one behind the other. Whatever is accepted
 * reads the same wherever its pieces end, and is written as a head that reads as the same
 * message and cannot be taken for another. */
#include "core/http1.h"
#include "fuzz.h"

#include <string.h>

#include "base/cleanup.h"

enum { MESSAGES_MAX = 8 };

typedef tc_status parse_fn(struct tc_span head, struct tc_http_head *ret_head,
                           struct tc_error *err);

static tc_status parse_request(struct tc_span head, struct tc_http_head *ret_head,
                               struct tc_error *err)
{
    return tc_http_request_parse(head, ret_head, err);
}

static tc_status parse_response(struct tc_span head, struct tc_http_head *ret_head,
                                struct tc_error *err)
{
    return tc_http_response_parse(head, tc_span_of_text("GET"), ret_head, err);
}

static tc_status parse_head_response(struct tc_span head, struct tc_http_head *ret_head,
                                     struct tc_error *err)
{
    return tc_http_response_parse(head, tc_span_of_text("HEAD"), ret_head, err);
}

/* Byte by byte: the same size, or the same refusal, at the earliest byte. */
static void check_head_size(struct tc_span bytes, tc_status status, size_t size)
{
    struct tc_error err = {0};
    size_t scanned = 0, seen = 0;
    tc_status step = TC_OK;
    for (size_t end = 0; end <= bytes.size && step == TC_OK && seen == 0; end++)
        step = tc_http_head_size((struct tc_span){bytes.data, end}, &scanned, &seen, &err);
    FUZZ_CHECK(step == status && (status != TC_OK || seen == size));
}

/* Nothing in the model could end a line or a field's name early. */
static void check_model(const struct tc_http_head *head)
{
    FUZZ_CHECK(head->fields_count <= TC_HTTP_FIELDS_MAX);
    for (size_t i = 0; i < head->fields_count; i++) {
        struct tc_span name = head->fields[i].name, value = head->fields[i].value;
        FUZZ_CHECK(name.size > 0 && !memchr(name.data, ':', name.size));
        for (size_t k = 0; k < name.size; k++)
            FUZZ_CHECK(name.data[k] > ' ' && name.data[k] < 0x7f);
        for (size_t k = 0; k < value.size; k++)
            FUZZ_CHECK(value.data[k] >= ' ' ? value.data[k] != 0x7f : value.data[k] == '\t');
    }
    FUZZ_CHECK(head->length <= TC_HTTP_LENGTH_MAX);
    FUZZ_CHECK(!head->http10 || (head->close && head->framing != TC_HTTP_CHUNKED));
    FUZZ_CHECK(head->framing != TC_HTTP_UNTIL_CLOSE || (head->status != 0 && head->close));
}

static void check_written(const struct tc_http_head *head, parse_fn *parse)
{
    struct tc_buf buf = tc_buf_new(2 * TC_HTTP_HEAD_MAX);
    if (head->status != 0)
        tc_http_response_write(head, false, &buf);
    else
        tc_http_request_write(head, head->host, tc_span_of_text("X-Extra: 1\r\n"), false, &buf);
    struct tc_error err = {0};
    struct tc_http_head again;
    FUZZ_CHECK(tc_buf_ok(&buf));
    /* A space behind each colon can make the written head larger than one may be. */
    if (buf.size <= TC_HTTP_HEAD_MAX && head->fields_count < TC_HTTP_FIELDS_MAX - 4) {
        FUZZ_CHECK(parse(tc_buf_span(&buf), &again, &err) == TC_OK);
        FUZZ_CHECK(again.framing == head->framing && again.length == head->length);
        FUZZ_CHECK(tc_span_equal(again.method, head->method));
        FUZZ_CHECK(tc_span_equal(again.target, head->target));
        FUZZ_CHECK(tc_span_equal(again.reason, head->reason) && again.status == head->status);
        FUZZ_CHECK(again.close == (head->framing == TC_HTTP_UNTIL_CLOSE));
        FUZZ_CHECK(!again.http10 && !again.expect_continue);
    }
    tc_buf_free(&buf);
}

/* Decodes in pieces of this size; returns how far it came. */
static size_t decode(const struct tc_http_head *head, struct tc_span bytes, size_t piece,
                     struct tc_buf *data, struct tc_http_body *body, tc_status *ret_status)
{
    struct tc_error err = {0};
    size_t at = 0;
    *ret_status = TC_OK;
    tc_http_body_begin(head, body);
    while (!body->done && at < bytes.size) {
        size_t left = bytes.size - at, used = 0;
        struct tc_span run = {0}, next = {bytes.data + at, left < piece ? left : piece};
        *ret_status = tc_http_body_take(body, next, &used, &run, &err);
        if (*ret_status != TC_OK) break;
        FUZZ_CHECK(used > 0 && used <= next.size);
        FUZZ_CHECK(run.size == 0 ||
                   (run.data >= next.data && run.data + run.size <= next.data + used));
        tc_buf_add_span(data, run);
        at += used;
    }
    return at;
}

static size_t check_body(const struct tc_http_head *head, struct tc_span bytes, bool *ret_done)
{
    static const size_t pieces[] = {1, 7, SIZE_MAX};
    struct tc_buf first = tc_buf_new(bytes.size + 1);
    struct tc_http_body body, first_body;
    tc_status first_status, status;
    struct tc_error err = {0};
    size_t size = decode(head, bytes, SIZE_MAX - 1, &first, &first_body, &first_status);
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct tc_buf data = tc_buf_new(bytes.size + 1);
        size_t seen = decode(head, bytes, pieces[i], &data, &body, &status);
        FUZZ_CHECK(status == first_status);
        if (status == TC_OK) {
            FUZZ_CHECK(seen == size && body.done == first_body.done);
            FUZZ_CHECK(tc_span_equal(tc_buf_span(&data), tc_buf_span(&first)));
        }
        tc_buf_free(&data);
    }
    tc_buf_free(&first);
    bool ended = first_status == TC_OK && tc_http_body_end(&first_body, &err) == TC_OK;
    FUZZ_CHECK(!ended || first_body.done);
    *ret_done = ended;
    return size;
}

static void check_stream(struct tc_span bytes, parse_fn *parse)
{
    for (int i = 0; i < MESSAGES_MAX; i++) {
        struct tc_error err = {0};
        size_t scanned = 0, size = 0;
        tc_status status = tc_http_head_size(bytes, &scanned, &size, &err);
        check_head_size(bytes, status, size);
        if (status != TC_OK || size == 0) return;
        struct tc_http_head head;
        if (parse((struct tc_span){bytes.data, size}, &head, &err) != TC_OK) return;
        check_model(&head);
        check_written(&head, parse);
        bytes = (struct tc_span){bytes.data + size, bytes.size - size};
        bool done = false;
        size = check_body(&head, bytes, &done);
        if (!done) return;
        bytes = (struct tc_span){bytes.data + size, bytes.size - size};
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_span bytes = {data, size};
    check_stream(bytes, parse_request);
    check_stream(bytes, parse_response);
    check_stream(bytes, parse_head_response);
    /* The grammar of chunks alone. */
    struct tc_http_head head = {.framing = TC_HTTP_CHUNKED};
    bool done = false;
    (void)check_body(&head, bytes, &done);
    return 0;
}
