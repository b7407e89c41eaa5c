#include "base/bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool tc_span_equal(struct tc_span a, struct tc_span b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

struct tc_span tc_span_of_text(const char *text)
{
    return (struct tc_span){(const uint8_t *)text, strlen(text)};
}

/* Not strndup: the bytes are no string, and checkers say so. */
char *tc_span_to_text(struct tc_span span)
{
    char *text = malloc(span.size + 1);
    if (!text) return NULL;
    if (span.size > 0) memcpy(text, span.data, span.size);
    text[span.size] = '\0';
    return text;
}

struct tc_cursor tc_cursor_of(struct tc_span span)
{
    /* NULL + 0 is undefined before C23's wording settled it; avoid it. */
    static const uint8_t nothing[1];
    const uint8_t *start = span.size == 0 ? nothing : span.data;
    return (struct tc_cursor){start, start + span.size};
}

size_t tc_cursor_left(const struct tc_cursor *cursor)
{
    return (size_t)(cursor->end - cursor->next);
}

bool tc_cursor_take(struct tc_cursor *cursor, size_t size, struct tc_span *ret_span)
{
    if (tc_cursor_left(cursor) < size) return false;
    *ret_span = (struct tc_span){cursor->next, size};
    cursor->next += size;
    return true;
}

static bool take_integer(struct tc_cursor *cursor, size_t size, uint64_t *ret_value)
{
    struct tc_span span;
    if (!tc_cursor_take(cursor, size, &span)) return false;
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++)
        value = value << 8 | span.data[i];
    *ret_value = value;
    return true;
}

bool tc_cursor_u8(struct tc_cursor *cursor, uint8_t *ret_value)
{
    uint64_t value;
    if (!take_integer(cursor, 1, &value)) return false;
    *ret_value = (uint8_t)value;
    return true;
}

bool tc_cursor_u16(struct tc_cursor *cursor, uint16_t *ret_value)
{
    uint64_t value;
    if (!take_integer(cursor, 2, &value)) return false;
    *ret_value = (uint16_t)value;
    return true;
}

bool tc_cursor_u32(struct tc_cursor *cursor, uint32_t *ret_value)
{
    uint64_t value;
    if (!take_integer(cursor, 4, &value)) return false;
    *ret_value = (uint32_t)value;
    return true;
}

bool tc_cursor_u64(struct tc_cursor *cursor, uint64_t *ret_value)
{
    return take_integer(cursor, 8, ret_value);
}

bool tc_cursor_block(struct tc_cursor *cursor, size_t max, struct tc_span *ret_span)
{
    struct tc_cursor trial = *cursor;
    uint32_t size;
    struct tc_span span;
    if (!tc_cursor_u32(&trial, &size) || size > max || !tc_cursor_take(&trial, size, &span))
        return false;
    *cursor = trial;
    *ret_span = span;
    return true;
}

struct tc_buf tc_buf_new(size_t max)
{
    return (struct tc_buf){.max = max};
}

void tc_buf_free(struct tc_buf *buf)
{
    if (!buf) return;
    free(buf->data);
    *buf = (struct tc_buf){.max = buf->max};
}

void tc_buf_reset(struct tc_buf *buf)
{
    buf->size = 0;
    buf->failed = false;
}

bool tc_buf_ok(const struct tc_buf *buf)
{
    return !buf->failed;
}

tc_status tc_buf_check(const struct tc_buf *buf, const char *what, struct tc_error *err)
{
    if (!buf->failed) return TC_OK;
    return tc_fail(err, TC_LIMIT, "%s is larger than %zu bytes, or memory ran out", what, buf->max);
}

struct tc_span tc_buf_span(const struct tc_buf *buf)
{
    return (struct tc_span){buf->data, buf->size};
}

/* Makes room for size more bytes; grows by doubling, never past max. */
static bool reserve(struct tc_buf *buf, size_t size)
{
    if (buf->failed) return false;
    if (size > buf->max - buf->size) {
        buf->failed = true;
        return false;
    }
    size_t needed = buf->size + size;
    if (needed <= buf->allocated) return true;
    size_t grown = buf->allocated ? buf->allocated : 64;
    while (grown < needed)
        grown = grown > buf->max / 2 ? buf->max : grown * 2;
    uint8_t *data = realloc(buf->data, grown);
    if (!data) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->allocated = grown;
    return true;
}

void tc_buf_add(struct tc_buf *buf, const void *data, size_t size)
{
    if (size == 0 || !reserve(buf, size)) return;
    memcpy(buf->data + buf->size, data, size);
    buf->size += size;
}

void tc_buf_add_span(struct tc_buf *buf, struct tc_span span)
{
    tc_buf_add(buf, span.data, span.size);
}

void tc_buf_add_text(struct tc_buf *buf, const char *text)
{
    tc_buf_add(buf, text, strlen(text));
}

void tc_buf_add_format(struct tc_buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    int size = vsnprintf(NULL, 0, format, args);
    va_end(args);
    /* vsnprintf writes a NUL after the text: reserve it, do not count it. */
    if (size < 0)
        buf->failed = true;
    else if (reserve(buf, (size_t)size + 1)) {
        (void)vsnprintf((char *)buf->data + buf->size, (size_t)size + 1, format, again);
        buf->size += (size_t)size;
    }
    va_end(again);
}

static void add_integer(struct tc_buf *buf, uint64_t value, size_t size)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(value >> (8 * (size - 1 - i)));
    tc_buf_add(buf, bytes, size);
}

void tc_buf_add_u8(struct tc_buf *buf, uint8_t value)
{
    add_integer(buf, value, 1);
}

void tc_buf_add_u16(struct tc_buf *buf, uint16_t value)
{
    add_integer(buf, value, 2);
}

void tc_buf_add_u32(struct tc_buf *buf, uint32_t value)
{
    add_integer(buf, value, 4);
}

void tc_buf_add_u64(struct tc_buf *buf, uint64_t value)
{
    add_integer(buf, value, 8);
}

void tc_buf_add_block(struct tc_buf *buf, struct tc_span span)
{
    if (span.size > UINT32_MAX) {
        buf->failed = true;
        return;
    }
    tc_buf_add_u32(buf, (uint32_t)span.size);
    tc_buf_add_span(buf, span);
}

char *tc_buf_take_text(struct tc_buf *buf)
{
    tc_buf_add_u8(buf, 0);
    if (buf->failed) return NULL;
    char *text = (char *)buf->data;
    *buf = (struct tc_buf){.max = buf->max};
    return text;
}
