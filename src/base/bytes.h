/* Bounded bytes: a read cursor that cannot run past its end, and a growing
 * buffer that cannot grow past its cap. All hostile bytes are reached through
 * the cursor. Neither allocates by a claimed length. */
#ifndef TC_BASE_BYTES_H
#define TC_BASE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* A borrowed run of bytes; whoever holds the memory outlives it. */
struct tc_span {
    const uint8_t *data; /* may be NULL when size is 0 */
    size_t size;
};

bool tc_span_equal(struct tc_span a, struct tc_span b);
/* Span over the characters of a string, without its NUL. */
struct tc_span tc_span_of_text(const char *text);

/* An owned NUL-terminated copy; the caller has made sure that no byte is NUL.
 * NULL: no memory. */
char *tc_span_to_text(struct tc_span span) TC_MUST_USE;

struct tc_cursor {
    const uint8_t *next;
    const uint8_t *end;
};

struct tc_cursor tc_cursor_of(struct tc_span span);
size_t tc_cursor_left(const struct tc_cursor *cursor);

/* Each returns false, and leaves cursor and output as they were, when fewer
 * bytes are left than asked for. Integers are big-endian. */
bool tc_cursor_u8(struct tc_cursor *cursor, uint8_t *ret_value) TC_MUST_USE;
bool tc_cursor_u16(struct tc_cursor *cursor, uint16_t *ret_value) TC_MUST_USE;
bool tc_cursor_u32(struct tc_cursor *cursor, uint32_t *ret_value) TC_MUST_USE;
bool tc_cursor_u64(struct tc_cursor *cursor, uint64_t *ret_value) TC_MUST_USE;
bool tc_cursor_take(struct tc_cursor *cursor, size_t size, struct tc_span *ret_span) TC_MUST_USE;
/* A u32 length and that many bytes; false also when the length exceeds max. */
bool tc_cursor_block(struct tc_cursor *cursor, size_t max, struct tc_span *ret_span) TC_MUST_USE;

/* Growing buffer. A failure (cap reached, no memory) is sticky: further
 * appends do nothing, and tc_buf_ok says so once at the end. */
struct tc_buf {
    uint8_t *data;
    size_t size;
    size_t allocated;
    size_t max; /* never grows past this many bytes */
    bool failed;
};

#define TC_AUTO_BUF TC_CLEANUP(tc_buf_free)

struct tc_buf tc_buf_new(size_t max);
void tc_buf_free(struct tc_buf *buf);  /* accepts NULL and a zeroed buffer */
void tc_buf_reset(struct tc_buf *buf); /* empties it, keeps memory and cap */
bool tc_buf_ok(const struct tc_buf *buf) TC_MUST_USE;
/* TC_LIMIT "<what> is larger than N bytes" when the buffer failed. */
tc_status tc_buf_check(const struct tc_buf *buf, const char *what, struct tc_error *err) TC_MUST_USE;
struct tc_span tc_buf_span(const struct tc_buf *buf);

void tc_buf_add(struct tc_buf *buf, const void *data, size_t size);
void tc_buf_add_span(struct tc_buf *buf, struct tc_span span);
void tc_buf_add_text(struct tc_buf *buf, const char *text);
void tc_buf_add_format(struct tc_buf *buf, const char *format, ...) TC_PRINTF(2, 3);
void tc_buf_add_u8(struct tc_buf *buf, uint8_t value);
void tc_buf_add_u16(struct tc_buf *buf, uint16_t value); /* big-endian, as the next two */
void tc_buf_add_u32(struct tc_buf *buf, uint32_t value);
void tc_buf_add_u64(struct tc_buf *buf, uint64_t value);
void tc_buf_add_block(struct tc_buf *buf, struct tc_span span); /* u32 length, bytes */
/* Returns the contents as an owned NUL-terminated string and empties the
 * buffer; NULL when the buffer failed. */
char *tc_buf_take_text(struct tc_buf *buf) TC_MUST_USE;

#endif
