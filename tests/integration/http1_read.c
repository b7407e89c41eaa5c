/* Says how the project reads HTTP, for check_http1.py. On standard input: any number of
 * kind:u8 size:u32 bytes (kind 'Q': requests; 'R', 'H': responses to GET, to HEAD), the
 * bytes being all that one side of a connection sent. On standard output one line each:
 * the messages, each followed by a blank, as
 *
 *   FIRST,SECOND,WRITTEN,BODY,STATE[,NAME=VALUE]...
 *
 * all in hex but for STATE: "whole", "open" (more would have to follow) or "refused".
 * WRITTEN is the head as it is written anew, for the host example.org. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/http1.h"

enum { INPUT_MAX = 1 << 20 };

static void print_hex(struct tc_span span)
{
    TC_AUTO_FREE char *text = malloc(2 * span.size + 1);
    if (!text) abort();
    tc_hex(span, text);
    (void)fputs(text, stdout);
}

static tc_status parse(int kind, struct tc_span bytes, struct tc_http_head *head,
                       struct tc_error *err)
{
    if (kind == 'Q') return tc_http_request_parse(bytes, head, err);
    return tc_http_response_parse(bytes, tc_span_of_text(kind == 'H' ? "HEAD" : "GET"), head, err);
}

static void print_head(const struct tc_http_head *head)
{
    if (head->status == 0) {
        print_hex(head->method);
        (void)putchar(',');
        print_hex(head->target);
        return;
    }
    (void)printf("%u,", head->status);
    print_hex(head->reason);
}

static void print_written(const struct tc_http_head *head)
{
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(2 * TC_HTTP_HEAD_MAX);
    if (head->status == 0)
        tc_http_request_write(head, tc_span_of_text("example.org"),
                              tc_span_of_text("X-Extra: yes\r\n"), false, &buf);
    else
        tc_http_response_write(head, false, &buf);
    if (!tc_buf_ok(&buf)) abort();
    print_hex(tc_buf_span(&buf));
}

/* Returns whether the body came to its end. */
static bool print_body(const struct tc_http_head *head, struct tc_span *bytes)
{
    struct tc_error err = {0};
    struct tc_http_body body;
    tc_status status = TC_OK;
    tc_http_body_begin(head, &body);
    while (status == TC_OK && !body.done && bytes->size > 0) {
        size_t used = 0;
        struct tc_span data = {0};
        status = tc_http_body_take(&body, *bytes, &used, &data, &err);
        if (status != TC_OK) break;
        print_hex(data);
        *bytes = (struct tc_span){bytes->data + used, bytes->size - used};
    }
    bool whole = status == TC_OK && tc_http_body_end(&body, &err) == TC_OK;
    (void)printf(",%s", status != TC_OK ? "refused" : whole ? "whole" : "open");
    return whole;
}

static void read_all(int kind, struct tc_span bytes)
{
    bool whole = true;
    while (whole) {
        struct tc_error err = {0};
        struct tc_http_head head;
        size_t scanned = 0, size = 0;
        if (tc_http_head_size(bytes, &scanned, &size, &err) != TC_OK || size == 0 ||
            parse(kind, (struct tc_span){bytes.data, size}, &head, &err) != TC_OK)
            break;
        bytes = (struct tc_span){bytes.data + size, bytes.size - size};
        print_head(&head);
        (void)putchar(',');
        print_written(&head);
        (void)putchar(',');
        whole = print_body(&head, &bytes);
        for (size_t i = 0; i < head.fields_count; i++) {
            (void)putchar(',');
            print_hex(head.fields[i].name);
            (void)putchar('=');
            print_hex(head.fields[i].value);
        }
        (void)putchar(' ');
    }
    (void)putchar('\n');
}

int main(void)
{
    uint8_t start[5];
    while (fread(start, 1, sizeof start, stdin) == sizeof start) {
        size_t size =
            (size_t)start[1] << 24 | (size_t)start[2] << 16 | (size_t)start[3] << 8 | start[4];
        TC_AUTO_FREE uint8_t *bytes = size <= INPUT_MAX ? malloc(size ? size : 1) : NULL;
        if (!bytes || fread(bytes, 1, size, stdin) != size) return 1;
        read_all(start[0], (struct tc_span){bytes, size});
    }
    return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
