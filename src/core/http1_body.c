/* Bodies. Data is never looked at: a run of it is handed on as it lies. Only the grammar
 * of chunks is read byte by byte, by a machine that may stop after any byte:
 *
 *   SIZE digits -> [EXTENSION] -> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE ...
 *                                    | size 0
 *                                    v
 *               TRAILER -> NAME -> VALUE -> VALUE_LF -> TRAILER ... -> LAST_LF -> done */
#include "core/http1.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/http1_internal.h"

enum state {
    SIZE_FIRST, /* at least one digit */
    SIZE,
    EXTENSION,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER, /* a name or the last line begins */
    NAME,
    VALUE,
    VALUE_LF,
    LAST_LF,
};

enum { SIZE_DIGITS_MAX = 16 };

/* As trailers they would be read by some and not by others. */
static const char *const forbidden[] = {"content-length", "transfer-encoding", "host"};
enum { FORBIDDEN_COUNT = sizeof forbidden / sizeof *forbidden };

void tc_http_body_begin(const struct tc_http_head *head, struct tc_http_body *ret_body)
{
    *ret_body = (struct tc_http_body){
        .framing = head->framing,
        .left = head->framing == TC_HTTP_LENGTH ? head->length : 0,
        .state = SIZE_FIRST,
        .done = head->framing == TC_HTTP_NO_BODY ||
                (head->framing == TC_HTTP_LENGTH && head->length == 0),
    };
}

static tc_status unexpected(uint8_t byte, const char *expected, struct tc_error *err)
{
    return tc_fail(err, TC_MALFORMED, "a chunked body has byte 0x%02x where %s is expected", byte,
                   expected);
}

static int digit_value(uint8_t byte)
{
    byte = tc_http_lower(byte);
    if (byte >= '0' && byte <= '9') return byte - '0';
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static tc_status take_size(struct tc_http_body *body, uint8_t byte, struct tc_error *err)
{
    int digit = digit_value(byte);
    if (digit >= 0) {
        body->left = body->left << 4 | (unsigned)digit;
        body->state = SIZE;
        if (body->line > SIZE_DIGITS_MAX || body->left > TC_HTTP_LENGTH_MAX)
            return tc_fail(err, TC_MALFORMED,
                           "a chunk's size has more than %d digits or is above 2^53 - 1",
                           SIZE_DIGITS_MAX);
        return TC_OK;
    }
    if (body->state == SIZE && (byte == ';' || byte == '\r')) {
        body->state = byte == ';' ? EXTENSION : SIZE_LF;
        return TC_OK;
    }
    return unexpected(
        byte, body->state == SIZE ? "a hexadecimal digit, \";\" or CR LF" : "a hexadecimal digit",
        err);
}

static void begin_line(struct tc_http_body *body, enum state state)
{
    body->state = state;
    body->line = 0;
}

/* A byte of a name that may still become a forbidden one, or its end. */
static tc_status take_name(struct tc_http_body *body, uint8_t byte, struct tc_error *err)
{
    if (body->name == 0) body->suspects = (1U << FORBIDDEN_COUNT) - 1;
    if (byte == ':' && body->name > 0) {
        for (unsigned i = 0; i < FORBIDDEN_COUNT; i++)
            if ((body->suspects & 1U << i) && forbidden[i][body->name] == '\0')
                return tc_fail(err, TC_MALFORMED, "a trailer says %s; that belongs in the head",
                               forbidden[i]);
        body->state = VALUE;
        body->name = 0;
        return TC_OK;
    }
    if (!tc_http_is_token_byte(byte))
        return unexpected(byte, "a trailer's name, \":\" right behind it, or the last CR LF", err);
    for (unsigned i = 0; i < FORBIDDEN_COUNT; i++)
        /* A suspect is as long as the name so far, so that its text has this byte or NUL. */
        if ((body->suspects & 1U << i) && (uint8_t)forbidden[i][body->name] != tc_http_lower(byte))
            body->suspects &= ~(1U << i);
    body->state = NAME;
    body->name++;
    return TC_OK;
}

/* One byte of the grammar; in DATA_CR and DATA_LF the end of a chunk. */
static tc_status take_byte(struct tc_http_body *body, uint8_t byte, struct tc_error *err)
{
    unsigned max = body->state >= TRAILER ? TC_HTTP_TRAILERS_MAX : TC_HTTP_CHUNK_LINE_MAX;
    if (++body->line > max)
        return tc_fail(err, TC_MALFORMED, "a chunked body has %s of more than %u bytes",
                       body->state >= TRAILER ? "trailers" : "a chunk's line", max);
    switch ((enum state)body->state) {
    case SIZE_FIRST:
    case SIZE: return take_size(body, byte, err);
    case EXTENSION:
    case VALUE:
        if (byte == '\r')
            body->state = body->state == VALUE ? VALUE_LF : SIZE_LF;
        else if (!tc_http_is_text_byte(byte))
            return unexpected(byte, "text or CR LF", err);
        return TC_OK;
    case SIZE_LF:
        if (byte != '\n') return unexpected(byte, "LF", err);
        begin_line(body, body->left > 0 ? DATA : TRAILER);
        return TC_OK;
    case DATA:
    case DATA_CR:
        if (byte != '\r') return unexpected(byte, "CR LF behind a chunk", err);
        body->state = DATA_LF;
        return TC_OK;
    case DATA_LF:
        if (byte != '\n') return unexpected(byte, "LF behind a chunk", err);
        begin_line(body, SIZE_FIRST);
        return TC_OK;
    case TRAILER:
        if (byte != '\r') return take_name(body, byte, err);
        body->state = LAST_LF;
        return TC_OK;
    case NAME: return take_name(body, byte, err);
    case VALUE_LF:
    case LAST_LF:
        if (byte != '\n') return unexpected(byte, "LF", err);
        body->done = body->state == LAST_LF;
        body->state = TRAILER;
        return TC_OK;
    }
    return tc_fail(err, TC_MALFORMED, "a chunked body is in no state");
}

/* The part of the bytes that is data and no more. */
static struct tc_span take_run(struct tc_http_body *body, struct tc_span bytes)
{
    size_t size = bytes.size < body->left ? bytes.size : (size_t)body->left;
    body->left -= size;
    return (struct tc_span){bytes.data, size};
}

static tc_status take_chunked(struct tc_http_body *body, struct tc_span bytes, size_t *ret_used,
                              struct tc_span *ret_data, struct tc_error *err)
{
    size_t used = 0;
    while (used < bytes.size && !body->done && body->state != DATA)
        TC_TRY(take_byte(body, bytes.data[used++], err));
    struct tc_span data = {0};
    if (body->state == DATA && used < bytes.size) {
        data = take_run(body, (struct tc_span){bytes.data + used, bytes.size - used});
        if (body->left == 0) body->state = DATA_CR;
    }
    *ret_used = used + data.size;
    *ret_data = data;
    return TC_OK;
}

tc_status tc_http_body_take(struct tc_http_body *body, struct tc_span bytes, size_t *ret_used,
                            struct tc_span *ret_data, struct tc_error *err)
{
    struct tc_span data = {0};
    if (!body->done && body->framing == TC_HTTP_CHUNKED)
        return take_chunked(body, bytes, ret_used, ret_data, err);
    if (!body->done && body->framing == TC_HTTP_LENGTH) {
        data = take_run(body, bytes);
        body->done = body->left == 0;
    } else if (!body->done) {
        data = bytes;
    }
    *ret_used = data.size;
    *ret_data = data;
    return TC_OK;
}

tc_status tc_http_body_end(struct tc_http_body *body, struct tc_error *err)
{
    if (body->framing == TC_HTTP_UNTIL_CLOSE) body->done = true;
    if (body->done) return TC_OK;
    if (body->framing == TC_HTTP_LENGTH)
        return tc_fail(err, TC_PEER, "the connection ended %" PRIu64 " bytes before the body's end",
                       body->left);
    return tc_fail(err, TC_PEER, "the connection ended within a chunked body");
}

size_t tc_http_chunk_head(uint64_t size, char out[TC_HTTP_CHUNK_HEAD_SIZE])
{
    return (size_t)snprintf(out, TC_HTTP_CHUNK_HEAD_SIZE, "%" PRIx64 "\r\n", size);
}
