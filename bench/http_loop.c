/* http_loop: what reading HTTP costs inside a process, one figure a line, "NAME VALUE": bodies
 * in megabytes a second of processor time, beside a copy and SHA-256 of the same bytes; heads
 * in nanoseconds for one that is read and written anew. Figures, not a test. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "core/digest.h"
#include "core/http1.h"

enum {
    TOTAL = 256 << 20, /* bytes of a body, each time */
    READ_SIZE = 65536, /* as they come from a connection */
    HEADS = 200000,
};

static int64_t now(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

static void print_rate(const char *name, size_t chunk, size_t size, int64_t took)
{
    (void)printf("%s%zu %" PRId64 "\n", name, chunk, (int64_t)size * 1000 / (took > 0 ? took : 1));
}

/* A part of a chunked body, whole chunks and about READ_SIZE bytes of it; read again and again. */
static struct tc_buf make_piece(size_t chunk)
{
    struct tc_buf buf = tc_buf_new(2 * READ_SIZE);
    static const uint8_t data[READ_SIZE];
    char head[TC_HTTP_CHUNK_HEAD_SIZE];
    do {
        tc_buf_add(&buf, head, tc_http_chunk_head(chunk, head));
        tc_buf_add(&buf, data, chunk);
        tc_buf_add_text(&buf, "\r\n");
    } while (buf.size + chunk + sizeof head < READ_SIZE);
    if (!tc_buf_ok(&buf)) abort();
    return buf;
}

/* With a hash, the data goes into it too, as in the recorder. */
static void time_body(const char *name, enum tc_http_framing framing, size_t chunk,
                      struct tc_hash *hash)
{
    TC_AUTO_BUF struct tc_buf piece = make_piece(chunk);
    struct tc_error err = {0};
    struct tc_http_head head = {.framing = framing, .length = TC_HTTP_LENGTH_MAX};
    struct tc_http_body body;
    size_t total = 0;
    tc_http_body_begin(&head, &body);
    int64_t start = now();
    for (size_t round = 0; round < TOTAL / READ_SIZE; round++) {
        struct tc_span rest = tc_buf_span(&piece);
        while (rest.size > 0) {
            size_t used = 0;
            struct tc_span data = {0};
            if (tc_http_body_take(&body, rest, &used, &data, &err) != TC_OK) abort();
            if (hash) tc_hash_add(hash, data.data, data.size);
            total += data.size;
            rest = (struct tc_span){rest.data + used, rest.size - used};
        }
    }
    print_rate(name, chunk, total, now() - start);
}

static void time_copy_and_hash(struct tc_hash *hash)
{
    static uint8_t from[READ_SIZE], to[READ_SIZE];
    int64_t start = now();
    for (size_t round = 0; round < TOTAL / READ_SIZE; round++) {
        from[round % READ_SIZE] = (uint8_t)round;
        memcpy(to, from, READ_SIZE);
        __asm__ volatile("" ::"r"(to) : "memory");
    }
    print_rate("copy-", READ_SIZE, TOTAL, now() - start);
    start = now();
    for (size_t round = 0; round < TOTAL / READ_SIZE; round++)
        tc_hash_add(hash, from, READ_SIZE);
    print_rate("sha256-", READ_SIZE, TOTAL, now() - start);
}

static void time_heads(void)
{
    static const char request[] =
        "GET /packages/example-1.0.0.tar.gz HTTP/1.1\r\nHost: example.org\r\n"
        "User-Agent: example/1.0 (linux)\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\n"
        "Connection: keep-alive\r\nAuthorization: Basic eDp5\r\n\r\n";
    static const char response[] =
        "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nServer: example\r\n"
        "Content-Type: application/octet-stream\r\nContent-Length: 12345\r\nETag: "
        "\"0123456789abcdef\"\r\n"
        "Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\nCache-Control: public, "
        "max-age=31536000\r\n"
        "Accept-Ranges: bytes\r\nVary: Accept-Encoding\r\nX-Served-By: cache-1\r\n\r\n";
    TC_AUTO_BUF struct tc_buf out = tc_buf_new(TC_HTTP_HEAD_MAX);
    struct tc_error err = {0};
    struct tc_http_head head;
    int64_t start = now();
    for (int i = 0; i < HEADS; i++) {
        tc_buf_reset(&out);
        if (tc_http_request_parse(tc_span_of_text(request), &head, &err) != TC_OK) abort();
        tc_http_request_write(&head, head.host, (struct tc_span){0}, false, &out);
    }
    (void)printf("request %" PRId64 "\n", (now() - start) / HEADS);
    start = now();
    for (int i = 0; i < HEADS; i++) {
        tc_buf_reset(&out);
        if (tc_http_response_parse(tc_span_of_text(response), tc_span_of_text("GET"), &head,
                                   &err) != TC_OK)
            abort();
        tc_http_response_write(&head, false, &out);
    }
    (void)printf("response %" PRId64 "\n", (now() - start) / HEADS);
}

int main(void)
{
    static const size_t chunks[] = {16, 256, 4096, 32768};
    TC_AUTO_HASH struct tc_hash *hash = tc_hash_new(TC_HASH_SHA256);
    if (!hash) return 1;
    time_copy_and_hash(hash);
    time_body("length-", TC_HTTP_LENGTH, READ_SIZE, NULL);
    time_body("length-hashed-", TC_HTTP_LENGTH, READ_SIZE, hash);
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        time_body("chunked-", TC_HTTP_CHUNKED, chunks[i], NULL);
        time_body("chunked-hashed-", TC_HTTP_CHUNKED, chunks[i], hash);
    }
    time_heads();
    return 0;
}
