/* What the readers of the lock files (pins_cargo.c, pins_npm.c, pins_text.c) share with
 * their store (pins.c). */
#ifndef TC_CORE_PINS_INTERNAL_H
#define TC_CORE_PINS_INTERNAL_H

#include "core/pins.h"

/* One digest of the file that is being read. TC_LIMIT when there are TC_PINS_MAX. */
tc_status tc_pins_put(struct tc_pins *pins, enum tc_pin_kind kind, const uint8_t *digest,
                      struct tc_error *err) TC_MUST_USE;

/* A file on the way through its lines. */
struct tc_pin_text {
    struct tc_pins *pins;
    const char *name;    /* for messages: printable */
    struct tc_span left; /* behind the line */
    struct tc_span line; /* without LF and a CR before it */
    size_t number;       /* of the line, from 1 */
};
bool tc_pin_text_next(struct tc_pin_text *text);
/* "NAME:LINE: expected WHAT, seen 'LINE'". */
tc_status tc_pin_text_fail(const struct tc_pin_text *text, const char *expected,
                           struct tc_error *err);
/* The next word of a line, between spaces and tabs; false: there is none. */
bool tc_pin_word(struct tc_span *line, struct tc_span *ret_word);
bool tc_pin_begins(struct tc_span text, const char *with);
/* Lower or upper case hex of exactly size bytes. */
bool tc_pin_unhex(struct tc_span text, uint8_t *out, size_t size) TC_MUST_USE;
/* Standard base64 of exactly size bytes. */
bool tc_pin_base64(struct tc_span text, uint8_t *out, size_t size) TC_MUST_USE;

/* One for each kind of file. name is printable. */
tc_status tc_pins_read_cargo(struct tc_pins *pins, const char *name, struct tc_span content,
                             struct tc_error *err) TC_MUST_USE;
tc_status tc_pins_read_npm(struct tc_pins *pins, const char *name, struct tc_span content,
                           struct tc_error *err) TC_MUST_USE;
tc_status tc_pins_read_go(struct tc_pins *pins, const char *name, struct tc_span content,
                          struct tc_error *err) TC_MUST_USE;
tc_status tc_pins_read_requirements(struct tc_pins *pins, const char *name, struct tc_span content,
                                    struct tc_error *err) TC_MUST_USE;

#endif
