/* Little-endian integers on the cursor and the buffer of base/bytes.h, whose own
 * are big-endian as all formats of this project; devices are the other way round. */
#ifndef TC_CORE_LITTLE_H
#define TC_CORE_LITTLE_H

#include "base/bytes.h"

/* false, and everything as it was, when fewer bytes are left. */
static inline bool tc_little_take(struct tc_cursor *cursor, size_t size, uint64_t *ret_value)
{
    struct tc_span bytes;
    uint64_t value = 0;
    if (!tc_cursor_take(cursor, size, &bytes)) return false;
    for (size_t i = size; i > 0; i--)
        value = value << 8 | bytes.data[i - 1];
    *ret_value = value;
    return true;
}

static inline bool tc_little_u16(struct tc_cursor *cursor, uint16_t *ret_value)
{
    uint64_t value = 0;
    if (!tc_little_take(cursor, sizeof *ret_value, &value)) return false;
    *ret_value = (uint16_t)value;
    return true;
}

static inline bool tc_little_u32(struct tc_cursor *cursor, uint32_t *ret_value)
{
    uint64_t value = 0;
    if (!tc_little_take(cursor, sizeof *ret_value, &value)) return false;
    *ret_value = (uint32_t)value;
    return true;
}

static inline bool tc_little_u64(struct tc_cursor *cursor, uint64_t *ret_value)
{
    return tc_little_take(cursor, sizeof *ret_value, ret_value);
}

static inline void tc_little_add(struct tc_buf *buf, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        tc_buf_add_u8(buf, (uint8_t)(value >> 8 * i));
}

static inline void tc_little_add_u16(struct tc_buf *buf, uint16_t value)
{
    tc_little_add(buf, value, sizeof value);
}

static inline void tc_little_add_u32(struct tc_buf *buf, uint32_t value)
{
    tc_little_add(buf, value, sizeof value);
}

static inline void tc_little_add_u64(struct tc_buf *buf, uint64_t value)
{
    tc_little_add(buf, value, sizeof value);
}

#endif
