/* One value has one spelling, so the reader needs no parser: it takes the parts
 * from where they must stand, writes them again, and compares all bytes. */
#include "core/userdata.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

enum { USERDATA_MAX = 512 }; /* the NSM's cap on user_data */

#define TYPE_PART "{\"type\":\"tee-compile/build/1\""

static void add_digest(struct tc_buf *buf, const char *key, const uint8_t *bytes, size_t size)
{
    char hex[TC_SHA256_HEX];
    tc_hex((struct tc_span){bytes, size}, hex);
    tc_buf_add_format(buf, ",\"%s\":\"%s\"", key, hex);
}

void tc_userdata_write(const struct tc_userdata *data, struct tc_buf *buf)
{
    tc_buf_add_text(buf, TYPE_PART);
    add_digest(buf, "statement", data->statement.bytes, sizeof data->statement.bytes);
    add_digest(buf, "input", data->input.bytes, sizeof data->input.bytes);
    add_digest(buf, "output", data->output.bytes, sizeof data->output.bytes);
    if (data->has_commit)
        add_digest(buf, "commit", data->commit.bytes, sizeof data->commit.bytes);
    tc_buf_add_text(buf, "}");
}

/* Skips `,"key":"` by its length and decodes the digits behind it. */
static bool take_digest(struct tc_cursor *cursor, const char *key, uint8_t *out, size_t size)
{
    struct tc_span frame, digits;
    char hex[TC_SHA256_HEX];
    if (!tc_cursor_take(cursor, strlen(key) + 5, &frame) ||
        !tc_cursor_take(cursor, 2 * size, &digits) || memchr(digits.data, 0, digits.size))
        return false;
    memcpy(hex, digits.data, digits.size);
    hex[digits.size] = '\0';
    return tc_unhex(hex, out, size) && tc_cursor_take(cursor, 1, &frame);
}

static tc_status malformed(struct tc_error *err)
{
    return tc_fail(err, TC_MALFORMED,
                   "user_data is not the exact form of \"tee-compile/build/1\" (statement, input, "
                   "output and perhaps commit)");
}

tc_status tc_userdata_read(struct tc_span bytes, struct tc_userdata *ret_data, struct tc_error *err)
{
    struct tc_userdata data = {0};
    struct tc_cursor cursor = tc_cursor_of(bytes);
    struct tc_span type;
    if (bytes.size > USERDATA_MAX || !tc_cursor_take(&cursor, strlen(TYPE_PART), &type))
        return malformed(err);
    if (!tc_span_equal(type, tc_span_of_text(TYPE_PART))) {
        char shown[64];
        tc_printable(type, shown, sizeof shown);
        return tc_fail(err, TC_MALFORMED,
                       "user_data begins with %s where %s was expected: not a report of this kind",
                       shown, TYPE_PART);
    }
    if (!take_digest(&cursor, "statement", data.statement.bytes, sizeof data.statement.bytes) ||
        !take_digest(&cursor, "input", data.input.bytes, sizeof data.input.bytes) ||
        !take_digest(&cursor, "output", data.output.bytes, sizeof data.output.bytes))
        return malformed(err);
    data.has_commit = tc_cursor_left(&cursor) > 1;
    if (data.has_commit &&
        !take_digest(&cursor, "commit", data.commit.bytes, sizeof data.commit.bytes))
        return malformed(err);

    TC_AUTO_BUF struct tc_buf again = tc_buf_new(USERDATA_MAX);
    tc_userdata_write(&data, &again);
    TC_TRY(tc_buf_check(&again, "user_data", err));
    if (!tc_span_equal(tc_buf_span(&again), bytes)) return malformed(err);
    *ret_data = data;
    return TC_OK;
}
