#include "core/jsonw.h"

#include <string.h>

#include "base/text.h"

struct tc_jsonw tc_jsonw_new(struct tc_buf *buf)
{
    return (struct tc_jsonw){.buf = buf};
}

/* The next character of well-formed UTF-8. */
static uint32_t next_point(const uint8_t **text)
{
    const uint8_t *p = *text;
    size_t more = p[0] < 0x80 ? 0 : p[0] < 0xe0 ? 1 : p[0] < 0xf0 ? 2 : 3;
    uint32_t point = more == 0 ? p[0] : p[0] & (0x3fU >> more);
    for (size_t i = 1; i <= more; i++)
        point = point << 6 | (p[i] & 0x3fU);
    *text = p + more + 1;
    return point;
}

static void add_unit(struct tc_buf *buf, uint32_t unit)
{
    uint8_t bytes[2] = {(uint8_t)(unit >> 8), (uint8_t)unit};
    char hex[5];
    tc_hex((struct tc_span){bytes, sizeof bytes}, hex);
    tc_buf_add_text(buf, "\\u");
    tc_buf_add_text(buf, hex);
}

static void add_point(struct tc_buf *buf, uint32_t point)
{
    if (point == '"' || point == '\\') {
        tc_buf_add_u8(buf, '\\');
        tc_buf_add_u8(buf, (uint8_t)point);
    } else if (point == '\n') {
        tc_buf_add_text(buf, "\\n");
    } else if (point == '\t') {
        tc_buf_add_text(buf, "\\t");
    } else if (point >= 0x20 && point < 0x7f) {
        tc_buf_add_u8(buf, (uint8_t)point);
    } else if (point < 0x10000) {
        add_unit(buf, point);
    } else {
        add_unit(buf, 0xd800 + ((point - 0x10000) >> 10));
        add_unit(buf, 0xdc00 + ((point - 0x10000) & 0x3ff));
    }
}

static void add_string(struct tc_buf *buf, const char *text)
{
    if (!tc_is_utf8(tc_span_of_text(text))) {
        buf->failed = true;
        return;
    }
    tc_buf_add_u8(buf, '"');
    const uint8_t *p = (const uint8_t *)text;
    while (*p)
        add_point(buf, next_point(&p));
    tc_buf_add_u8(buf, '"');
}

/* Comma and key; after it the value stands. */
static void start(struct tc_jsonw *w, const char *key)
{
    if (w->comma) tc_buf_add_u8(w->buf, ',');
    if (key) {
        add_string(w->buf, key);
        tc_buf_add_u8(w->buf, ':');
    }
    w->comma = true;
}

static void open_with(struct tc_jsonw *w, const char *key, char bracket)
{
    start(w, key);
    tc_buf_add_u8(w->buf, (uint8_t)bracket);
    w->comma = false;
}

static void close_with(struct tc_jsonw *w, char bracket)
{
    tc_buf_add_u8(w->buf, (uint8_t)bracket);
    w->comma = true;
}

void tc_jsonw_object(struct tc_jsonw *w, const char *key)
{
    open_with(w, key, '{');
}

void tc_jsonw_end_object(struct tc_jsonw *w)
{
    close_with(w, '}');
}

void tc_jsonw_array(struct tc_jsonw *w, const char *key)
{
    open_with(w, key, '[');
}

void tc_jsonw_end_array(struct tc_jsonw *w)
{
    close_with(w, ']');
}

void tc_jsonw_text(struct tc_jsonw *w, const char *key, const char *text)
{
    start(w, key);
    add_string(w->buf, text);
}

void tc_jsonw_hex(struct tc_jsonw *w, const char *key, const void *bytes, size_t size)
{
    start(w, key);
    tc_buf_add_u8(w->buf, '"');
    for (size_t i = 0; i < size; i++) {
        char digits[3];
        tc_hex((struct tc_span){(const uint8_t *)bytes + i, 1}, digits);
        tc_buf_add_text(w->buf, digits);
    }
    tc_buf_add_u8(w->buf, '"');
}

void tc_jsonw_base64(struct tc_jsonw *w, const char *key, struct tc_span bytes)
{
    start(w, key);
    tc_buf_add_u8(w->buf, '"');
    tc_base64_add(w->buf, bytes);
    tc_buf_add_u8(w->buf, '"');
}

void tc_jsonw_u64(struct tc_jsonw *w, const char *key, uint64_t value)
{
    start(w, key);
    tc_buf_add_format(w->buf, "%llu", (unsigned long long)value);
}

void tc_jsonw_bool(struct tc_jsonw *w, const char *key, bool value)
{
    start(w, key);
    tc_buf_add_text(w->buf, value ? "true" : "false");
}

void tc_jsonw_written(struct tc_jsonw *w, const char *key, struct tc_span value)
{
    start(w, key);
    tc_buf_add_span(w->buf, value);
}

void tc_jsonw_null(struct tc_jsonw *w, const char *key)
{
    start(w, key);
    tc_buf_add_text(w->buf, "null");
}
