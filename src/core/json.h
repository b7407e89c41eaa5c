/* Reading JSON: the one place that calls the JSON library to read. Duplicate
 * keys, trailing bytes, NUL in strings, malformed UTF-8 and deep nesting are
 * refused for every caller; the typed getters below name the path of whatever
 * is missing or wrong ("build.json: limits.timeout: ..."). Pure. */
#ifndef TC_CORE_JSON_H
#define TC_CORE_JSON_H

#include "base/bytes.h"

enum {
    TC_JSON_DEPTH_MAX = 32,       /* objects and arrays inside one another */
    TC_JSON_VALUES_MAX = 100000, /* values in one text: one of 3 bytes takes some hundred in memory */
    TC_JSON_VALUES_LARGE = 400000, /* of tc_json_parse_large */
    TC_JSON_PATH_MAX = 256, /* bytes of a path in a message; longer ones are cut */
};

/* A parsed text. Owns all values. */
struct tc_json_text;
#define TC_AUTO_JSON TC_CLEANUP(tc_json_free_ptr)

/* One value and the way to it. Borrows from the text, its parent and its key,
 * all of which outlive it. */
struct tc_json {
    void *value;
    const struct tc_json *parent; /* NULL: the top */
    const char *key;              /* in its parent; the text's name for the top; NULL in an array */
    size_t index;                 /* in its parent when that is an array */
};

/* name is how messages call the text. At most max bytes. Syntax errors say
 * "name:line:column: ...". */
tc_status tc_json_parse(struct tc_span bytes, const char *name, size_t max,
                        struct tc_json_text **ret_text, struct tc_error *err) TC_MUST_USE;
/* The same with another cap than TC_JSON_VALUES_MAX, for the few large formats. */
tc_status tc_json_parse_many(struct tc_span bytes, const char *name, size_t max, size_t values_max,
                             struct tc_json_text **ret_text, struct tc_error *err) TC_MUST_USE;

/* The same with up to TC_JSON_VALUES_LARGE values, for files that other programs write. */
tc_status tc_json_parse_large(struct tc_span bytes, const char *name, size_t max,
                              struct tc_json_text **ret_text, struct tc_error *err) TC_MUST_USE;
void tc_json_free(struct tc_json_text *text); /* accepts NULL */
void tc_json_free_ptr(struct tc_json_text **text);
struct tc_json tc_json_top(const struct tc_json_text *text, const char *name);

/* TC_MALFORMED with the value's path in front of the message. */
tc_status tc_json_fail(const struct tc_json *at, struct tc_error *err, const char *format, ...)
    TC_PRINTF(3, 4);

/* `at` is an object that has no key but the known ones (ended by NULL). */
tc_status tc_json_check_keys(const struct tc_json *at, const char *const *known,
                             struct tc_error *err) TC_MUST_USE;

/* `at` is an object, whatever its keys. */
tc_status tc_json_object(const struct tc_json *at, struct tc_error *err) TC_MUST_USE;

/* A member of an object: false, or an error, when it is not there (or `object`
 * is no object). */
bool tc_json_find(const struct tc_json *object, const char *key, struct tc_json *ret_value);
tc_status tc_json_get(const struct tc_json *object, const char *key, struct tc_json *ret_value,
                      struct tc_error *err) TC_MUST_USE;

/* Members in the order of the text. Start with an iterator of NULL; false at
 * the end. The member's parent is `object`. */
bool tc_json_next(const struct tc_json *object, void **iterator, struct tc_json *ret_member);

/* Typed values. Strings are UTF-8 without NUL and borrowed. */
bool tc_json_is_text(const struct tc_json *at);
bool tc_json_is_array(const struct tc_json *at);
tc_status tc_json_string(const struct tc_json *at, size_t max, const char **ret_text,
                         struct tc_error *err) TC_MUST_USE;
tc_status tc_json_u64(const struct tc_json *at, uint64_t max, uint64_t *ret_value,
                      struct tc_error *err) TC_MUST_USE; /* max below 2^63 */
tc_status tc_json_bool(const struct tc_json *at, bool *ret_value, struct tc_error *err) TC_MUST_USE;
tc_status tc_json_array(const struct tc_json *at, size_t max, size_t *ret_count,
                        struct tc_error *err) TC_MUST_USE;
struct tc_json tc_json_at(const struct tc_json *array, size_t index);

/* An owned copy of a string member. */
tc_status tc_json_copy(const struct tc_json *at, size_t max, char **ret_text, struct tc_error *err)
    TC_MUST_USE;
/* What a text of a list must be; says what is wrong with it. */
typedef tc_status tc_json_text_check(const struct tc_json *at, const char *text,
                                     struct tc_error *err);
/* A list of at most `entries` strings of at most max bytes, each of them good and no two
 * alike. *list and *count are right at every moment, also where it fails: their owner
 * frees them. */
tc_status tc_json_texts(const struct tc_json *at, size_t entries, size_t max,
                        tc_json_text_check *check, char ***list, size_t *count,
                        struct tc_error *err) TC_MUST_USE;
/* Lower-case hex of exactly size bytes. */
tc_status tc_json_hex(const struct tc_json *at, uint8_t *out, size_t size, struct tc_error *err)
    TC_MUST_USE;

#endif
