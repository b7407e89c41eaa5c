/* Cargo.lock, in the part of TOML that cargo writes:
 *
 *   file   = (line LF)*
 *   line   = [table | entry] [# comment]
 *   table  = "[" name "]" | "[[" name "]]"
 *   entry  = key = value                     key: bare, or a string
 *   value  = string | number | true | false | "[" string, ... "]"     over several lines
 *   string = " characters and escapes "      on one line
 *
 * Anything else is refused, the rest of TOML too: cargo would read it, and a person has
 * changed the file by hand. The digests, all SHA-256 of a crate's file:
 *
 *   [[package]]          since version 2
 *   checksum = "HEX"
 *   [metadata]           version 1
 *   "checksum NAME VERSION (SOURCE)" = "HEX" or "<none>"
 */
#include "core/pins_internal.h"

#include <string.h>

enum table { TABLE_OTHER, TABLE_PACKAGE, TABLE_METADATA };

struct reader {
    struct tc_pin_text text;
    enum table table;
    bool has_checksum; /* this package has had its own */
    bool in_list;      /* a list goes on in the next line */
    bool needs_comma;  /* behind a list's string */
};

static void skip_spaces(struct tc_span *line)
{
    while (line->size > 0 && (*line->data == ' ' || *line->data == '\t')) {
        line->data++;
        line->size--;
    }
}

static bool take(struct tc_span *line, char c)
{
    if (line->size == 0 || *line->data != (uint8_t)c) return false;
    line->data++;
    line->size--;
    return true;
}

/* Nothing more but a comment. */
static bool at_end(struct tc_span *line)
{
    skip_spaces(line);
    return line->size == 0 || *line->data == '#';
}

/* Characters of a bare key, and with dots of a table's name. */
static bool take_name(struct tc_span *line, bool dots, struct tc_span *ret_name)
{
    size_t size = 0;
    for (; size < line->size; size++) {
        uint8_t c = line->data[size];
        bool good = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '_' || c == '-' || (dots && c == '.');
        if (!good) break;
    }
    if (size == 0) return false;
    *ret_name = (struct tc_span){line->data, size};
    line->data += size;
    line->size -= size;
    return true;
}

/* What stands between the quotes, escapes as they are: a digest has none. */
static bool take_string(struct tc_span *line, struct tc_span *ret_text)
{
    struct tc_span left = *line;
    if (!take(&left, '"')) return false;
    const uint8_t *begin = left.data;
    while (left.size > 0 && *left.data != '"') {
        bool escape = *left.data == '\\';
        if ((*left.data < ' ' && *left.data != '\t') || *left.data == 0x7f) return false;
        left.data++;
        left.size--;
        if (!escape) continue;
        if (left.size == 0 || !memchr("btnfr\"\\uU", *left.data, strlen("btnfr\"\\uU")))
            return false;
        left.data++;
        left.size--;
    }
    *ret_text = (struct tc_span){begin, (size_t)(left.data - begin)};
    if (!take(&left, '"')) return false;
    *line = left;
    return true;
}

static bool is(struct tc_span text, const char *word)
{
    return text.size == strlen(word) && tc_pin_begins(text, word);
}

/* A number without sign, or a truth value. */
static bool take_plain(struct tc_span *line)
{
    struct tc_span value;
    if (!take_name(line, false, &value)) return false;
    for (size_t i = 0; i < value.size; i++)
        if (value.data[i] < '0' || value.data[i] > '9')
            return is(value, "true") || is(value, "false");
    return value.size == 1 || *value.data != '0';
}

static tc_status read_table(struct reader *reader, struct tc_span line, struct tc_error *err)
{
    struct tc_span name;
    bool good = take(&line, '['), array = take(&line, '[');
    skip_spaces(&line);
    good = good && take_name(&line, true, &name);
    skip_spaces(&line);
    good = good && take(&line, ']') && (!array || take(&line, ']')) && at_end(&line);
    if (!good) return tc_pin_text_fail(&reader->text, "[table] or [[table]]", err);
    reader->table = array && is(name, "package")     ? TABLE_PACKAGE
                    : !array && is(name, "metadata") ? TABLE_METADATA
                                                     : TABLE_OTHER;
    reader->has_checksum = false;
    return TC_OK;
}

/* From behind the bracket, or from the beginning of a further line. */
static tc_status read_list(struct reader *reader, struct tc_span line, struct tc_error *err)
{
    struct tc_span text;
    reader->in_list = true;
    while (!at_end(&line)) {
        if (take(&line, ']')) {
            reader->in_list = false;
            if (at_end(&line)) return TC_OK;
            break;
        }
        if (reader->needs_comma ? !take(&line, ',') : !take_string(&line, &text))
            return tc_pin_text_fail(&reader->text, "a list of strings", err);
        reader->needs_comma = !reader->needs_comma;
    }
    return reader->in_list ? TC_OK : tc_pin_text_fail(&reader->text, "nothing behind ']'", err);
}

/* Is this entry one that has a digest? */
static bool is_checksum(const struct reader *reader, struct tc_span key)
{
    switch (reader->table) {
    case TABLE_PACKAGE: return is(key, "checksum");
    case TABLE_METADATA: return tc_pin_begins(key, "checksum ");
    case TABLE_OTHER: break;
    }
    return false;
}

static tc_status put_checksum(struct reader *reader, struct tc_span value, struct tc_error *err)
{
    uint8_t digest[TC_SHA256_SIZE];
    if (reader->table == TABLE_METADATA && is(value, "<none>")) return TC_OK;
    if (reader->table == TABLE_PACKAGE && reader->has_checksum)
        return tc_pin_text_fail(&reader->text, "one checksum a package", err);
    reader->has_checksum = true;
    if (!tc_pin_unhex(value, digest, sizeof digest))
        return tc_pin_text_fail(&reader->text, "a checksum of 64 hex digits", err);
    return tc_pins_put(reader->text.pins, TC_PIN_SHA256, digest, err);
}

static tc_status read_entry(struct reader *reader, struct tc_span line, struct tc_error *err)
{
    struct tc_span key, value;
    bool good = line.size > 0 && *line.data == '"' ? take_string(&line, &key)
                                                   : take_name(&line, false, &key);
    skip_spaces(&line);
    good = good && take(&line, '=');
    skip_spaces(&line);
    if (!good) return tc_pin_text_fail(&reader->text, "KEY = VALUE, [table] or # comment", err);
    bool checksum = is_checksum(reader, key);
    if (!checksum && take(&line, '[')) {
        reader->needs_comma = false;
        return read_list(reader, line, err);
    }
    bool text = take_string(&line, &value);
    if (!text && (checksum || !take_plain(&line)))
        return tc_pin_text_fail(&reader->text,
                                checksum ? "a string" : "a string, a number or a list", err);
    if (!at_end(&line)) return tc_pin_text_fail(&reader->text, "nothing behind the value", err);
    return checksum ? put_checksum(reader, value, err) : TC_OK;
}

tc_status tc_pins_read_cargo(struct tc_pins *pins, const char *name, struct tc_span content,
                             struct tc_error *err)
{
    struct reader reader = {.text = {.pins = pins, .name = name, .left = content}};
    while (tc_pin_text_next(&reader.text)) {
        struct tc_span line = reader.text.line;
        if (reader.in_list)
            TC_TRY(read_list(&reader, line, err));
        else if (at_end(&line))
            continue;
        else if (*line.data == '[')
            TC_TRY(read_table(&reader, line, err));
        else
            TC_TRY(read_entry(&reader, line, err));
    }
    if (reader.in_list) return tc_pin_text_fail(&reader.text, "the end of a list", err);
    return TC_OK;
}
