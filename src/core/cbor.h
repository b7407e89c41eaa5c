/* CBOR (RFC 8949), the strict part of it that the NSM and COSE need.
 *
 * Reader: typed, on the bounded cursor. The caller says what it expects next;
 * anything else is TC_MALFORMED. Refused everywhere: heads that are not in
 * shortest form, strings and arrays of indefinite length, tags, floats,
 * undefined, simple values other than false, true and null, text that is not
 * UTF-8. A map of indefinite length is accepted only where the caller allows
 * it. There is no tree and no allocation: strings are spans of the input, and a
 * count only bounds a loop that stops at the end of the bytes.
 *
 * (A timestamp in milliseconds takes eight bytes since February 1970, so the
 * eight-byte head that real NSM documents carry there is the shortest one.)
 *
 * On failure cursor and outputs are as they were. `what` names the field for
 * messages.
 *
 * Writer: shortest heads, definite lengths, appended to a tc_buf. */
#ifndef TC_CORE_CBOR_H
#define TC_CORE_CBOR_H

#include "base/bytes.h"

/* The major types, by number. */
enum tc_cbor_kind {
    TC_CBOR_UNSIGNED = 0,
    TC_CBOR_NEGATIVE = 1,
    TC_CBOR_BYTES = 2,
    TC_CBOR_TEXT = 3,
    TC_CBOR_ARRAY = 4,
    TC_CBOR_MAP = 5,
    TC_CBOR_TAG = 6,
    TC_CBOR_SIMPLE = 7,
};

/* How deep tc_cbor_skip follows; typed reading nests only as the caller does. */
enum { TC_CBOR_DEPTH_MAX = 8 };

tc_status tc_cbor_unsigned(struct tc_cursor *cursor, const char *what, uint64_t max,
                           uint64_t *ret_value, struct tc_error *err) TC_MUST_USE;
/* Either sign, within int64_t. */
tc_status tc_cbor_integer(struct tc_cursor *cursor, const char *what, int64_t *ret_value,
                          struct tc_error *err) TC_MUST_USE;
tc_status tc_cbor_bool(struct tc_cursor *cursor, const char *what, bool *ret_value,
                       struct tc_error *err) TC_MUST_USE;
tc_status tc_cbor_bytes(struct tc_cursor *cursor, const char *what, size_t max,
                        struct tc_span *ret_span, struct tc_error *err) TC_MUST_USE;
tc_status tc_cbor_text(struct tc_cursor *cursor, const char *what, size_t max,
                       struct tc_span *ret_span, struct tc_error *err) TC_MUST_USE;
/* A byte string, or null: then *ret_present is false and the span empty. */
tc_status tc_cbor_bytes_or_null(struct tc_cursor *cursor, const char *what, size_t max,
                                bool *ret_present, struct tc_span *ret_span, struct tc_error *err)
    TC_MUST_USE;
tc_status tc_cbor_array(struct tc_cursor *cursor, const char *what, size_t max, size_t *ret_count,
                        struct tc_error *err) TC_MUST_USE;

/* while (more) { key; value; }:
 *   TC_TRY(tc_cbor_map(cursor, what, 9, TC_CBOR_DEFINITE, &map, err));
 *   for (;;) { TC_TRY(tc_cbor_map_next(cursor, &map, &more, err)); if (!more) break; ... } */
enum tc_cbor_length { TC_CBOR_DEFINITE, TC_CBOR_MAY_BE_INDEFINITE };
struct tc_cbor_map {
    const char *what;
    size_t left; /* pairs to come; for an indefinite map the cap on them */
    bool indefinite;
};
tc_status tc_cbor_map(struct tc_cursor *cursor, const char *what, size_t max,
                      enum tc_cbor_length length, struct tc_cbor_map *ret_map, struct tc_error *err)
    TC_MUST_USE;
tc_status tc_cbor_map_next(struct tc_cursor *cursor, struct tc_cbor_map *map, bool *ret_more,
                           struct tc_error *err) TC_MUST_USE;

/* A text key out of names (at most 32, NULL-terminated): its index. Unknown
 * names are refused, and so is a name whose bit in *seen is set already. */
tc_status tc_cbor_key(struct tc_cursor *cursor, const char *what, const char *const *names,
                      uint32_t *seen, size_t *ret_index, struct tc_error *err) TC_MUST_USE;

/* One item of any accepted kind, with all that it holds. Keys are not compared. */
tc_status tc_cbor_skip(struct tc_cursor *cursor, const char *what, struct tc_error *err)
    TC_MUST_USE;
/* Nothing may follow. */
tc_status tc_cbor_end(const struct tc_cursor *cursor, const char *what, struct tc_error *err)
    TC_MUST_USE;
/* Looks at the next byte alone; false at the end. */
bool tc_cbor_next_is(const struct tc_cursor *cursor, enum tc_cbor_kind kind);

void tc_cbor_add_unsigned(struct tc_buf *buf, uint64_t value);
void tc_cbor_add_integer(struct tc_buf *buf, int64_t value);
void tc_cbor_add_bool(struct tc_buf *buf, bool value);
void tc_cbor_add_null(struct tc_buf *buf);
void tc_cbor_add_bytes(struct tc_buf *buf, struct tc_span span);
void tc_cbor_add_text(struct tc_buf *buf, struct tc_span text);
void tc_cbor_add_name(struct tc_buf *buf, const char *name); /* text, of a C string */
void tc_cbor_add_array(struct tc_buf *buf, size_t count);    /* head; items follow */
void tc_cbor_add_map(struct tc_buf *buf, size_t pairs);      /* head; pairs follow */

#endif
