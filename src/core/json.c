#include "core/json.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

struct tc_json_text {
    json_t *root;
};

void tc_json_free(struct tc_json_text *text)
{
    if (!text) return;
    json_decref(text->root);
    free(text);
}

void tc_json_free_ptr(struct tc_json_text **text)
{
    tc_json_free(*text);
    *text = NULL;
}

/* The library recurses up to 2048 levels and makes an object of a hundred bytes
 * out of three characters; this walk refuses both long before it gets there. It
 * counts brackets and commas outside strings and leaves all other errors to the
 * library. */
static tc_status check_shape(struct tc_span bytes, const char *name, size_t values_max,
                             struct tc_error *err)
{
    size_t depth = 0, values = 1;
    bool inside = false;
    for (size_t i = 0; i < bytes.size; i++) {
        uint8_t c = bytes.data[i];
        if (inside && c == '\\') {
            i++;
        } else if (c == '"') {
            inside = !inside;
        } else if (!inside && (c == '{' || c == '[')) {
            values++;
            if (++depth > TC_JSON_DEPTH_MAX)
                return tc_fail(err, TC_MALFORMED, "%s nests deeper than %d levels", name,
                               TC_JSON_DEPTH_MAX);
        } else if (!inside && (c == '}' || c == ']') && depth > 0) {
            depth--;
        } else if (!inside && c == ',') {
            values++;
        }
        if (values > values_max)
            return tc_fail(err, TC_MALFORMED, "%s has more than %zu values", name, values_max);
    }
    return TC_OK;
}

tc_status tc_json_parse_many(struct tc_span bytes, const char *name, size_t max, size_t values_max,
                             struct tc_json_text **ret_text, struct tc_error *err)
{
    if (bytes.size > max)
        return tc_fail(err, TC_MALFORMED, "%s has %zu bytes; at most %zu are allowed", name,
                       bytes.size, max);
    TC_TRY(check_shape(bytes, name, values_max, err));
    struct tc_json_text *text = calloc(1, sizeof *text);
    if (!text) return tc_fail(err, TC_SYSTEM, "out of memory for %s", name);
    json_error_t error = {0};
    const char *start = bytes.size > 0 ? (const char *)bytes.data : "";
    text->root = json_loadb(start, bytes.size, JSON_REJECT_DUPLICATES, &error);
    if (!text->root) {
        free(text);
        /* The library quotes the offending token: bytes from outside. */
        char shown[256];
        enum json_error_code code = json_error_code(&error);
        bool nul = code == json_error_null_character || code == json_error_null_byte_in_key;
        tc_printable(tc_span_of_text(nul ? "a string holds the character U+0000, which no string "
                                           "here may: take it out"
                                         : error.text),
                     shown, sizeof shown);
        return tc_fail(err, TC_MALFORMED, "%s:%d:%d: %s", name, error.line, error.column, shown);
    }
    *ret_text = text;
    return TC_OK;
}

tc_status tc_json_parse(struct tc_span bytes, const char *name, size_t max,
                        struct tc_json_text **ret_text, struct tc_error *err)
{
    return tc_json_parse_many(bytes, name, max, TC_JSON_VALUES_MAX, ret_text, err);
}

tc_status tc_json_parse_large(struct tc_span bytes, const char *name, size_t max,
                              struct tc_json_text **ret_text, struct tc_error *err)
{
    return tc_json_parse_many(bytes, name, max, TC_JSON_VALUES_LARGE, ret_text, err);
}

struct tc_json tc_json_top(const struct tc_json_text *text, const char *name)
{
    return (struct tc_json){.value = text->root, .key = name};
}

/* "predicate.subject[3].digest" of everything below the top. */
static void add_path(const struct tc_json *at, struct tc_buf *buf)
{
    if (!at->parent) return;
    add_path(at->parent, buf);
    if (!at->key) {
        tc_buf_add_format(buf, "[%zu]", at->index);
        return;
    }
    char shown[96];
    tc_printable(tc_span_of_text(at->key), shown, sizeof shown);
    tc_buf_add_format(buf, "%s%s", at->parent->parent ? "." : "", shown);
}

static const struct tc_json *top_of(const struct tc_json *at)
{
    while (at->parent)
        at = at->parent;
    return at;
}

tc_status tc_json_fail(const struct tc_json *at, struct tc_error *err, const char *format, ...)
{
    char message[TC_ERROR_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_JSON_PATH_MAX);
    add_path(at, &buf);
    TC_AUTO_FREE char *path = tc_buf_take_text(&buf);
    const char *name = top_of(at)->key;
    if (!path) return tc_fail(err, TC_MALFORMED, "%s: %s", name, message);
    return tc_fail(err, TC_MALFORMED, "%s: %s%s%s", name, path, *path ? ": " : "", message);
}

static const char *type_name(const struct tc_json *at)
{
    switch (json_typeof((json_t *)at->value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "a whole number";
    case JSON_REAL:
        return "a number with a fraction or exponent";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a truth value";
    case JSON_NULL:
        return "null";
    }
    return "something unknown";
}

static tc_status wrong_type(const struct tc_json *at, const char *expected, struct tc_error *err)
{
    return tc_json_fail(at, err, "must be %s, is %s", expected, type_name(at));
}

static bool is_known(const char *key, const char *const *known)
{
    for (; *known; known++)
        if (strcmp(key, *known) == 0) return true;
    return false;
}

tc_status tc_json_object(const struct tc_json *at, struct tc_error *err)
{
    return json_is_object((json_t *)at->value) ? TC_OK : wrong_type(at, "an object", err);
}

tc_status tc_json_check_keys(const struct tc_json *at, const char *const *known,
                             struct tc_error *err)
{
    TC_TRY(tc_json_object(at, err));
    void *iterator = NULL;
    struct tc_json member;
    while (tc_json_next(at, &iterator, &member)) {
        if (is_known(member.key, known)) continue;
        const char *nearest = tc_nearest_word(member.key, known);
        if (nearest)
            return tc_json_fail(&member, err, "unknown key; did you mean \"%s\"?", nearest);
        char list[512] = "";
        for (size_t i = 0, used = 0; known[i] && used < sizeof list; i++)
            used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "",
                                     known[i]);
        return tc_json_fail(&member, err, "unknown key; there are: %s", list);
    }
    return TC_OK;
}

bool tc_json_find(const struct tc_json *object, const char *key, struct tc_json *ret_value)
{
    json_t *value = json_object_get((json_t *)object->value, key);
    if (!value) return false;
    *ret_value = (struct tc_json){.value = value, .parent = object, .key = key};
    return true;
}

tc_status tc_json_get(const struct tc_json *object, const char *key, struct tc_json *ret_value,
                      struct tc_error *err)
{
    TC_TRY(tc_json_object(object, err));
    if (tc_json_find(object, key, ret_value)) return TC_OK;
    struct tc_json missing = {.parent = object, .key = key};
    return tc_json_fail(&missing, err, "is missing");
}

bool tc_json_next(const struct tc_json *object, void **iterator, struct tc_json *ret_member)
{
    json_t *value = object->value;
    *iterator = *iterator ? json_object_iter_next(value, *iterator) : json_object_iter(value);
    if (!*iterator) return false;
    *ret_member = (struct tc_json){.value = json_object_iter_value(*iterator),
                                   .parent = object,
                                   .key = json_object_iter_key(*iterator)};
    return true;
}

bool tc_json_is_text(const struct tc_json *at)
{
    return json_is_string((json_t *)at->value);
}

bool tc_json_is_array(const struct tc_json *at)
{
    return json_is_array((json_t *)at->value);
}

tc_status tc_json_string(const struct tc_json *at, size_t max, const char **ret_text,
                         struct tc_error *err)
{
    if (!tc_json_is_text(at)) return wrong_type(at, "a string", err);
    size_t size = json_string_length((json_t *)at->value);
    if (size > max)
        return tc_json_fail(at, err, "has %zu bytes; at most %zu are allowed", size, max);
    *ret_text = json_string_value((json_t *)at->value);
    return TC_OK;
}

tc_status tc_json_u64(const struct tc_json *at, uint64_t max, uint64_t *ret_value,
                      struct tc_error *err)
{
    if (!json_is_integer((json_t *)at->value)) return wrong_type(at, "a whole number", err);
    json_int_t value = json_integer_value((json_t *)at->value);
    if (value < 0 || (uint64_t)value > max)
        return tc_json_fail(at, err, "is %lld; must be from 0 to %llu", (long long)value,
                            (unsigned long long)max);
    *ret_value = (uint64_t)value;
    return TC_OK;
}

tc_status tc_json_bool(const struct tc_json *at, bool *ret_value, struct tc_error *err)
{
    if (!json_is_boolean((json_t *)at->value)) return wrong_type(at, "true or false", err);
    *ret_value = json_is_true((json_t *)at->value);
    return TC_OK;
}

tc_status tc_json_array(const struct tc_json *at, size_t max, size_t *ret_count,
                        struct tc_error *err)
{
    if (!tc_json_is_array(at)) return wrong_type(at, "a list", err);
    size_t count = json_array_size((json_t *)at->value);
    if (count > max)
        return tc_json_fail(at, err, "has %zu entries; at most %zu are allowed", count, max);
    *ret_count = count;
    return TC_OK;
}

struct tc_json tc_json_at(const struct tc_json *array, size_t index)
{
    return (struct tc_json){.value = json_array_get((json_t *)array->value, index),
                            .parent = array,
                            .index = index};
}

tc_status tc_json_copy(const struct tc_json *at, size_t max, char **ret_text, struct tc_error *err)
{
    const char *text;
    TC_TRY(tc_json_string(at, max, &text, err));
    char *copy = strdup(text);
    if (!copy) return tc_fail(err, TC_SYSTEM, "out of memory for a string");
    *ret_text = copy;
    return TC_OK;
}

tc_status tc_json_texts(const struct tc_json *at, size_t entries, size_t max,
                        tc_json_text_check *check, char ***list, size_t *count,
                        struct tc_error *err)
{
    size_t found;
    TC_TRY(tc_json_array(at, entries, &found, err));
    *list = calloc(found + 1, sizeof **list);
    if (!*list) return tc_fail(err, TC_SYSTEM, "out of memory for a list");
    for (size_t i = 0; i < found; i++) {
        struct tc_json entry = tc_json_at(at, i);
        TC_TRY(tc_json_copy(&entry, max, &(*list)[i], err));
        *count = i + 1;
        TC_TRY(check(&entry, (*list)[i], err));
        for (size_t j = 0; j < i; j++)
            if (strcmp((*list)[i], (*list)[j]) == 0)
                return tc_json_fail(&entry, err, "repeats entry %zu", j);
    }
    return TC_OK;
}

tc_status tc_json_hex(const struct tc_json *at, uint8_t *out, size_t size, struct tc_error *err)
{
    const char *text;
    TC_TRY(tc_json_string(at, 2 * size, &text, err));
    /* One spelling for one value: upper-case digits are refused. */
    if (strspn(text, "0123456789abcdef") != 2 * size || !tc_unhex(text, out, size))
        return tc_json_fail(at, err, "must be %zu lower-case hex digits", 2 * size);
    return TC_OK;
}
