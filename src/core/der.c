#include "core/der.h"

enum {
    CONSTRUCTED = 0x20,
    CLASS_MASK = 0xc0,
    CLASS_UNIVERSAL = 0x00,
    CLASS_CONTEXT = 0x80,
    NUMBER_MASK = 0x1f,

    TAG_BOOLEAN = 0x01,
    TAG_INTEGER = 0x02,
    TAG_BIT_STRING = 0x03,
    TAG_OCTET_STRING = 0x04,
    TAG_NULL = 0x05,
    TAG_OBJECT_ID = 0x06,
    TAG_UTF8 = 0x0c,
    TAG_PRINTABLE = 0x13,
    TAG_IA5 = 0x16,
    TAG_UTC_TIME = 0x17,
    TAG_GENERALIZED_TIME = 0x18,
    TAG_SEQUENCE = 0x30,
    TAG_SET = 0x31,
};

/* Definite and in as few bytes as will do; four bytes are more than any
 * certificate here may have. */
static bool take_length(struct tc_cursor *cursor, size_t *ret_length)
{
    uint8_t first = 0;
    if (!tc_cursor_u8(cursor, &first)) return false;
    if (first < 0x80) {
        *ret_length = first;
        return true;
    }
    size_t count = first & 0x7f;
    struct tc_span bytes = {NULL, 0};
    if (count == 0 || count > 4 || !tc_cursor_take(cursor, count, &bytes)) return false;
    size_t length = 0;
    for (size_t i = 0; i < count; i++)
        length = length << 8 | bytes.data[i];
    *ret_length = length;
    return bytes.data[0] != 0 && length >= 0x80;
}

static bool integer_is_shortest(struct tc_span body)
{
    if (body.size < 2) return body.size == 1;
    bool padded_plus = body.data[0] == 0 && body.data[1] < 0x80;
    bool padded_minus = body.data[0] == 0xff && body.data[1] >= 0x80;
    return !padded_plus && !padded_minus;
}

static bool bit_string_is_padded_with_zero(struct tc_span body)
{
    if (body.size == 0 || body.data[0] > 7) return false;
    unsigned unused = body.data[0];
    if (body.size == 1) return unused == 0;
    return (body.data[body.size - 1] & ((1U << unused) - 1)) == 0;
}

static bool object_id_is_shortest(struct tc_span body)
{
    bool starts = true;
    for (size_t i = 0; i < body.size; i++) {
        if (starts && body.data[i] == 0x80) return false;
        starts = body.data[i] < 0x80;
    }
    return body.size > 0 && starts;
}

/* YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ: no fraction, no zone (RFC 5280 4.1.2.5). */
static bool is_time(struct tc_span body, size_t digits)
{
    if (body.size != digits + 1 || body.data[digits] != 'Z') return false;
    for (size_t i = 0; i < digits; i++)
        if (body.data[i] < '0' || body.data[i] > '9') return false;
    return true;
}

static bool body_is_good(uint8_t tag, struct tc_span body)
{
    switch (tag) {
    case TAG_BOOLEAN: return body.size == 1 && body.data[0] == 0xff;
    case TAG_INTEGER: return integer_is_shortest(body);
    case TAG_BIT_STRING: return bit_string_is_padded_with_zero(body);
    case TAG_NULL: return body.size == 0;
    case TAG_OBJECT_ID: return object_id_is_shortest(body);
    case TAG_UTC_TIME: return is_time(body, 12);
    case TAG_GENERALIZED_TIME: return is_time(body, 14);
    case TAG_OCTET_STRING:
    case TAG_UTF8:
    case TAG_PRINTABLE:
    case TAG_IA5:
    case TAG_SEQUENCE: return true;
    case TAG_SET: return body.size > 0;
    default: return (tag & CLASS_MASK) == CLASS_CONTEXT && (tag & NUMBER_MASK) != NUMBER_MASK;
    }
}

static tc_status take_element(struct tc_cursor *cursor, const char *what, uint8_t *ret_tag,
                              struct tc_span *ret_body, struct tc_error *err)
{
    uint8_t tag = 0;
    size_t length = 0;
    struct tc_span body = {NULL, 0};
    if (!tc_cursor_u8(cursor, &tag) || !take_length(cursor, &length))
        return tc_fail(err, TC_MALFORMED,
                       "%s: not DER: a length that is cut, indefinite or not the shortest", what);
    if (!tc_cursor_take(cursor, length, &body))
        return tc_fail(err, TC_MALFORMED,
                       "%s: not DER: an element claims %zu bytes where %zu are left", what, length,
                       tc_cursor_left(cursor));
    if (!body_is_good(tag, body))
        return tc_fail(err, TC_MALFORMED,
                       "%s: not DER as certificates have it: element 0x%02x of %zu bytes", what,
                       tag, length);
    *ret_tag = tag;
    *ret_body = body;
    return TC_OK;
}

struct level {
    struct tc_cursor rest; /* of the element that is open at this depth */
    bool single;           /* one element inside, no more */
};

tc_status tc_der_check(struct tc_span bytes, const char *what, struct tc_error *err)
{
    /* A loop with a bounded stack, so that nesting cannot use up the machine's.
     * The bytes themselves are level 0. */
    struct level levels[TC_DER_DEPTH_MAX + 1];
    size_t depth = 0;
    levels[0] = (struct level){tc_cursor_of(bytes), true};
    if (bytes.size == 0) return tc_fail(err, TC_MALFORMED, "%s: no DER, no bytes at all", what);
    for (;;) {
        struct level *level = &levels[depth];
        uint8_t tag = 0;
        struct tc_span body = {NULL, 0};
        if (tc_cursor_left(&level->rest) == 0) {
            if (depth == 0) return TC_OK;
            depth--;
            continue;
        }
        TC_TRY(take_element(&level->rest, what, &tag, &body, err));
        if (level->single && tc_cursor_left(&level->rest) > 0)
            return tc_fail(err, TC_MALFORMED, "%s: %zu bytes follow the %s", what,
                           tc_cursor_left(&level->rest),
                           depth == 0 ? "DER" : "one element of a set");
        if (!(tag & CONSTRUCTED)) continue;
        if (depth == TC_DER_DEPTH_MAX)
            return tc_fail(err, TC_MALFORMED, "%s: DER nested deeper than %d", what,
                           TC_DER_DEPTH_MAX);
        levels[++depth] = (struct level){tc_cursor_of(body), tag == TAG_SET};
    }
}
