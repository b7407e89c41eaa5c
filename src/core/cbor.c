/* A CBOR item starts with a head: three bits of major type, five bits of
 * additional information, and up to eight bytes of value. Everything here is
 * one function that reads a head as strictly as the profile in the header asks,
 * and thin typed readers over it. */
#include "core/cbor.h"

#include "base/text.h"

enum {
    INFO_U8 = 24,
    INFO_U64 = 27,
    INFO_INDEFINITE = 31,
    SIMPLE_FALSE = 20,
    SIMPLE_TRUE = 21,
    SIMPLE_NULL = 22,
    BREAK = 0xff,
};

struct head {
    enum tc_cbor_kind kind;
    uint64_t value;
    bool indefinite; /* kind is TC_CBOR_MAP */
};

static const char *kind_name(enum tc_cbor_kind kind)
{
    switch (kind) {
    case TC_CBOR_UNSIGNED: return "an unsigned integer";
    case TC_CBOR_NEGATIVE: return "a negative integer";
    case TC_CBOR_BYTES: return "a byte string";
    case TC_CBOR_TEXT: return "a text string";
    case TC_CBOR_ARRAY: return "an array";
    case TC_CBOR_MAP: return "a map";
    case TC_CBOR_TAG: return "a tag";
    case TC_CBOR_SIMPLE: return "a simple value";
    }
    return "nothing known";
}

/* The value behind a head whose additional information is 24 to 27; false when
 * the bytes end or a shorter head would have held it. */
static bool take_value(struct tc_cursor *cursor, unsigned info, uint64_t *ret_value)
{
    uint8_t v8 = 0;
    uint16_t v16 = 0;
    uint32_t v32 = 0;
    switch (info) {
    case 24: return tc_cursor_u8(cursor, &v8) && (*ret_value = v8) >= INFO_U8;
    case 25: return tc_cursor_u16(cursor, &v16) && (*ret_value = v16) > UINT8_MAX;
    case 26: return tc_cursor_u32(cursor, &v32) && (*ret_value = v32) > UINT16_MAX;
    default: return tc_cursor_u64(cursor, ret_value) && *ret_value > UINT32_MAX;
    }
}

static tc_status take_head(struct tc_cursor *cursor, const char *what, struct head *ret_head,
                           struct tc_error *err)
{
    struct tc_cursor trial = *cursor;
    uint8_t first = 0;
    if (!tc_cursor_u8(&trial, &first))
        return tc_fail(err, TC_MALFORMED, "%s: the CBOR ends where it should be", what);
    enum tc_cbor_kind kind = (enum tc_cbor_kind)(first >> 5);
    unsigned info = first & 31;
    struct head head = {.kind = kind, .value = info};
    if (kind == TC_CBOR_TAG)
        return tc_fail(err, TC_MALFORMED, "%s: a CBOR tag, which is not accepted here", what);
    if (kind == TC_CBOR_SIMPLE && info != SIMPLE_FALSE && info != SIMPLE_TRUE &&
        info != SIMPLE_NULL)
        return tc_fail(err, TC_MALFORMED,
                       "%s: CBOR byte 0x%02x (a float, undefined, break or simple value) is not "
                       "accepted",
                       what, first);
    if (info == INFO_INDEFINITE && kind == TC_CBOR_MAP) {
        head.indefinite = true;
    } else if (info > INFO_U64) {
        return tc_fail(err, TC_MALFORMED,
                       "%s: %s of indefinite or reserved length, which is not accepted", what,
                       kind_name(kind));
    } else if (info >= INFO_U8 && !take_value(&trial, info, &head.value)) {
        return tc_fail(err, TC_MALFORMED, "%s: a CBOR head that is cut or not in shortest form",
                       what);
    }
    *cursor = trial;
    *ret_head = head;
    return TC_OK;
}

static tc_status take_kind(struct tc_cursor *cursor, const char *what, enum tc_cbor_kind expected,
                           struct head *ret_head, struct tc_error *err)
{
    struct tc_cursor trial = *cursor;
    struct head head = {0};
    TC_TRY(take_head(&trial, what, &head, err));
    if (head.kind != expected)
        return tc_fail(err, TC_MALFORMED, "%s: expected %s, saw %s", what, kind_name(expected),
                       kind_name(head.kind));
    *cursor = trial;
    *ret_head = head;
    return TC_OK;
}

tc_status tc_cbor_unsigned(struct tc_cursor *cursor, const char *what, uint64_t max,
                           uint64_t *ret_value, struct tc_error *err)
{
    struct tc_cursor trial = *cursor;
    struct head head = {0};
    TC_TRY(take_kind(&trial, what, TC_CBOR_UNSIGNED, &head, err));
    if (head.value > max)
        return tc_fail(err, TC_MALFORMED, "%s: %llu is more than %llu", what,
                       (unsigned long long)head.value, (unsigned long long)max);
    *cursor = trial;
    *ret_value = head.value;
    return TC_OK;
}

tc_status tc_cbor_integer(struct tc_cursor *cursor, const char *what, int64_t *ret_value,
                          struct tc_error *err)
{
    bool negative = tc_cbor_next_is(cursor, TC_CBOR_NEGATIVE);
    struct tc_cursor trial = *cursor;
    struct head head = {0};
    TC_TRY(take_kind(&trial, what, negative ? TC_CBOR_NEGATIVE : TC_CBOR_UNSIGNED, &head, err));
    if (head.value > INT64_MAX)
        return tc_fail(err, TC_MALFORMED, "%s: an integer of more than 64 bits with sign", what);
    *cursor = trial;
    *ret_value = negative ? -1 - (int64_t)head.value : (int64_t)head.value;
    return TC_OK;
}

tc_status tc_cbor_bool(struct tc_cursor *cursor, const char *what, bool *ret_value,
                       struct tc_error *err)
{
    struct tc_cursor trial = *cursor;
    struct head head = {0};
    TC_TRY(take_kind(&trial, what, TC_CBOR_SIMPLE, &head, err));
    if (head.value == SIMPLE_NULL)
        return tc_fail(err, TC_MALFORMED, "%s: expected true or false, saw null", what);
    *cursor = trial;
    *ret_value = head.value == SIMPLE_TRUE;
    return TC_OK;
}

static tc_status take_string(struct tc_cursor *cursor, const char *what, enum tc_cbor_kind kind,
                             size_t max, struct tc_span *ret_span, struct tc_error *err)
{
    struct tc_cursor trial = *cursor;
    struct head head = {0};
    struct tc_span span = {NULL, 0};
    TC_TRY(take_kind(&trial, what, kind, &head, err));
    if (head.value > max)
        return tc_fail(err, TC_MALFORMED, "%s: %llu bytes; at most %zu are accepted", what,
                       (unsigned long long)head.value, max);
    if (!tc_cursor_take(&trial, (size_t)head.value, &span))
        return tc_fail(err, TC_MALFORMED, "%s: claims %llu bytes where %zu are left", what,
                       (unsigned long long)head.value, tc_cursor_left(&trial));
    if (kind == TC_CBOR_TEXT && !tc_is_utf8(span))
        return tc_fail(err, TC_MALFORMED, "%s: text that is not UTF-8 without NUL", what);
    *cursor = trial;
    *ret_span = span;
    return TC_OK;
}

tc_status tc_cbor_bytes(struct tc_cursor *cursor, const char *what, size_t max,
                        struct tc_span *ret_span, struct tc_error *err)
{
    return take_string(cursor, what, TC_CBOR_BYTES, max, ret_span, err);
}

tc_status tc_cbor_text(struct tc_cursor *cursor, const char *what, size_t max,
                       struct tc_span *ret_span, struct tc_error *err)
{
    return take_string(cursor, what, TC_CBOR_TEXT, max, ret_span, err);
}

tc_status tc_cbor_bytes_or_null(struct tc_cursor *cursor, const char *what, size_t max,
                                bool *ret_present, struct tc_span *ret_span, struct tc_error *err)
{
    static const uint8_t null_byte = TC_CBOR_SIMPLE << 5 | SIMPLE_NULL;
    if (tc_cursor_left(cursor) > 0 && *cursor->next == null_byte) {
        cursor->next++;
        *ret_present = false;
        *ret_span = (struct tc_span){NULL, 0};
        return TC_OK;
    }
    TC_TRY(tc_cbor_bytes(cursor, what, max, ret_span, err));
    *ret_present = true;
    return TC_OK;
}

tc_status tc_cbor_array(struct tc_cursor *cursor, const char *what, size_t max, size_t *ret_count,
                        struct tc_error *err)
{
    struct tc_cursor trial = *cursor;
    struct head head = {0};
    TC_TRY(take_kind(&trial, what, TC_CBOR_ARRAY, &head, err));
    if (head.value > max)
        return tc_fail(err, TC_MALFORMED, "%s: %llu items; at most %zu are accepted", what,
                       (unsigned long long)head.value, max);
    *cursor = trial;
    *ret_count = (size_t)head.value;
    return TC_OK;
}

tc_status tc_cbor_map(struct tc_cursor *cursor, const char *what, size_t max,
                      enum tc_cbor_length length, struct tc_cbor_map *ret_map, struct tc_error *err)
{
    struct tc_cursor trial = *cursor;
    struct head head = {0};
    TC_TRY(take_kind(&trial, what, TC_CBOR_MAP, &head, err));
    if (head.indefinite && length == TC_CBOR_DEFINITE)
        return tc_fail(err, TC_MALFORMED, "%s: a map of indefinite length, not accepted here",
                       what);
    if (!head.indefinite && head.value > max)
        return tc_fail(err, TC_MALFORMED, "%s: %llu entries; at most %zu are accepted", what,
                       (unsigned long long)head.value, max);
    *cursor = trial;
    *ret_map = (struct tc_cbor_map){
        .what = what,
        .left = head.indefinite ? max : (size_t)head.value,
        .indefinite = head.indefinite,
    };
    return TC_OK;
}

tc_status tc_cbor_map_next(struct tc_cursor *cursor, struct tc_cbor_map *map, bool *ret_more,
                           struct tc_error *err)
{
    bool ended = map->left == 0;
    if (map->indefinite) {
        if (tc_cursor_left(cursor) == 0)
            return tc_fail(err, TC_MALFORMED, "%s: the map is never closed", map->what);
        bool closed = *cursor->next == BREAK;
        if (ended && !closed)
            return tc_fail(err, TC_MALFORMED, "%s: more entries than are accepted", map->what);
        if (closed) cursor->next++;
        ended = closed;
    }
    if (!ended) map->left--;
    *ret_more = !ended;
    return TC_OK;
}

tc_status tc_cbor_key(struct tc_cursor *cursor, const char *what, const char *const *names,
                      uint32_t *seen, size_t *ret_index, struct tc_error *err)
{
    enum { KEY_MAX = 64 };
    struct tc_cursor trial = *cursor;
    struct tc_span key = {NULL, 0};
    char shown[KEY_MAX];
    TC_TRY(tc_cbor_text(&trial, what, KEY_MAX, &key, err));
    for (size_t i = 0; names[i]; i++) {
        if (!tc_span_equal(key, tc_span_of_text(names[i]))) continue;
        if (*seen >> i & 1) return tc_fail(err, TC_MALFORMED, "%s: key %s twice", what, names[i]);
        *seen |= UINT32_C(1) << i;
        *cursor = trial;
        *ret_index = i;
        return TC_OK;
    }
    return tc_fail(err, TC_MALFORMED, "%s: unknown key \"%s\"", what,
                   tc_printable(key, shown, sizeof shown));
}

/* Items that the head announces below it; strings are stepped over. */
static tc_status skip_one(struct tc_cursor *cursor, const char *what, uint64_t *ret_below,
                          struct tc_error *err)
{
    struct head head = {0};
    struct tc_span ignored = {NULL, 0};
    TC_TRY(take_head(cursor, what, &head, err));
    uint64_t left = tc_cursor_left(cursor);
    *ret_below = 0;
    switch (head.kind) {
    case TC_CBOR_UNSIGNED:
    case TC_CBOR_NEGATIVE:
    case TC_CBOR_SIMPLE:
    case TC_CBOR_TAG: return TC_OK; /* take_head lets no tag through */
    case TC_CBOR_BYTES:
    case TC_CBOR_TEXT:
        if (head.value > left || !tc_cursor_take(cursor, (size_t)head.value, &ignored))
            return tc_fail(err, TC_MALFORMED, "%s: a string longer than the CBOR", what);
        if (head.kind == TC_CBOR_TEXT && !tc_is_utf8(ignored))
            return tc_fail(err, TC_MALFORMED, "%s: text that is not UTF-8 without NUL", what);
        return TC_OK;
    case TC_CBOR_ARRAY:
    case TC_CBOR_MAP: break;
    }
    if (head.indefinite)
        return tc_fail(err, TC_MALFORMED, "%s: a map of indefinite length, not accepted here",
                       what);
    /* An item takes a byte at least, which also keeps 2 * value from wrapping. */
    uint64_t each = head.kind == TC_CBOR_MAP ? 2 : 1;
    if (head.value > left / each)
        return tc_fail(err, TC_MALFORMED, "%s: more items claimed than bytes are left", what);
    *ret_below = head.value * each;
    return TC_OK;
}

tc_status tc_cbor_skip(struct tc_cursor *cursor, const char *what, struct tc_error *err)
{
    /* left[d]: items still to come at depth d. A loop, not recursion: the
     * machine's stack is not for the input to use. */
    uint64_t left[TC_CBOR_DEPTH_MAX + 1] = {1};
    size_t depth = 0;
    struct tc_cursor trial = *cursor;
    for (;;) {
        while (left[depth] == 0) {
            if (depth == 0) {
                *cursor = trial;
                return TC_OK;
            }
            depth--;
        }
        left[depth]--;
        uint64_t below = 0;
        TC_TRY(skip_one(&trial, what, &below, err));
        if (below == 0) continue;
        if (depth == TC_CBOR_DEPTH_MAX)
            return tc_fail(err, TC_MALFORMED, "%s: CBOR nested deeper than %d", what,
                           TC_CBOR_DEPTH_MAX);
        left[++depth] = below;
    }
}

tc_status tc_cbor_end(const struct tc_cursor *cursor, const char *what, struct tc_error *err)
{
    size_t left = tc_cursor_left(cursor);
    if (left == 0) return TC_OK;
    return tc_fail(err, TC_MALFORMED, "%s: %zu bytes follow the end", what, left);
}

bool tc_cbor_next_is(const struct tc_cursor *cursor, enum tc_cbor_kind kind)
{
    return tc_cursor_left(cursor) > 0 && *cursor->next >> 5 == (int)kind;
}

static void add_head(struct tc_buf *buf, enum tc_cbor_kind kind, uint64_t value)
{
    uint8_t major = (uint8_t)(kind << 5);
    if (value < INFO_U8) {
        tc_buf_add_u8(buf, (uint8_t)(major | value));
    } else if (value <= UINT8_MAX) {
        tc_buf_add_u8(buf, major | 24);
        tc_buf_add_u8(buf, (uint8_t)value);
    } else if (value <= UINT16_MAX) {
        tc_buf_add_u8(buf, major | 25);
        tc_buf_add_u16(buf, (uint16_t)value);
    } else if (value <= UINT32_MAX) {
        tc_buf_add_u8(buf, major | 26);
        tc_buf_add_u32(buf, (uint32_t)value);
    } else {
        tc_buf_add_u8(buf, major | 27);
        tc_buf_add_u64(buf, value);
    }
}

void tc_cbor_add_unsigned(struct tc_buf *buf, uint64_t value)
{
    add_head(buf, TC_CBOR_UNSIGNED, value);
}

void tc_cbor_add_integer(struct tc_buf *buf, int64_t value)
{
    if (value < 0)
        add_head(buf, TC_CBOR_NEGATIVE, (uint64_t)(-1 - value));
    else
        add_head(buf, TC_CBOR_UNSIGNED, (uint64_t)value);
}

void tc_cbor_add_bool(struct tc_buf *buf, bool value)
{
    add_head(buf, TC_CBOR_SIMPLE, value ? SIMPLE_TRUE : SIMPLE_FALSE);
}

void tc_cbor_add_null(struct tc_buf *buf)
{
    add_head(buf, TC_CBOR_SIMPLE, SIMPLE_NULL);
}

void tc_cbor_add_bytes(struct tc_buf *buf, struct tc_span span)
{
    add_head(buf, TC_CBOR_BYTES, span.size);
    tc_buf_add_span(buf, span);
}

void tc_cbor_add_text(struct tc_buf *buf, struct tc_span text)
{
    add_head(buf, TC_CBOR_TEXT, text.size);
    tc_buf_add_span(buf, text);
}

void tc_cbor_add_name(struct tc_buf *buf, const char *name)
{
    tc_cbor_add_text(buf, tc_span_of_text(name));
}

void tc_cbor_add_array(struct tc_buf *buf, size_t count)
{
    add_head(buf, TC_CBOR_ARRAY, count);
}

void tc_cbor_add_map(struct tc_buf *buf, size_t pairs)
{
    add_head(buf, TC_CBOR_MAP, pairs);
}
