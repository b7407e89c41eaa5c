/* A line is cut into private keys, which are hidden whole, and the rest, which
 * redact_words.c reads. Two things outlive a line: whether a key's block is open,
 * and, where an overlong line was cut, which kind of value was being hidden at the
 * cut. The time is linear in the size of the log. */
#include "core/redact.h"

#include <stdlib.h>

#include "core/redact_internal.h"

struct tc_redactor {
    struct tc_buf line;         /* an unfinished line */
    struct tc_redact_open open; /* at the cut before line */
    bool in_key;                /* a BEGIN was seen, no END yet */
    uint8_t key_prefix[64];     /* what stood before BEGIN on its line, as a log has it */
    size_t key_column;          /* its size; 0 when it is longer */
    unsigned key_lines;
};

/* More than any key has: a BEGIN alone must not hide the rest of a log. */
enum { KEY_LINES_MAX = 1024, KEY_LABEL_MAX = 64, KEY_LINE_LEAST = 40 };

static const char key_begin[] = "-----BEGIN ";
static const char key_end[] = "-----END ";

struct tc_redactor *tc_redactor_new(void)
{
    struct tc_redactor *redactor = calloc(1, sizeof *redactor);
    if (redactor) redactor->line = tc_buf_new(TC_REDACT_LINE_MAX);
    return redactor;
}

void tc_redactor_free(struct tc_redactor *redactor)
{
    if (!redactor) return;
    tc_buf_free(&redactor->line);
    free(redactor);
}

/* --- private keys --- */

static size_t find(struct tc_span text, const char *word)
{
    const uint8_t *found = text.size > 0 ? memmem(text.data, text.size, word, strlen(word)) : NULL;
    return found ? (size_t)(found - text.data) : text.size;
}

static bool is_label(uint8_t c)
{
    return is_upper(c) || is_digit(c) || c == ' ';
}

/* Where a private key begins, or the size of text. */
static size_t find_key(struct tc_span text)
{
    for (size_t i = 0; i < text.size; i += sizeof key_begin - 1) {
        i += find(from(text, i), key_begin);
        if (i == text.size) break;
        struct tc_span label = from(text, i + sizeof key_begin - 1);
        struct tc_span rest = label;
        if (label.size > KEY_LABEL_MAX) label.size = KEY_LABEL_MAX;
        label.size = run_of(label, is_label);
        if (starts_with(from(rest, label.size), "-----") &&
            find(label, "PRIVATE KEY") < label.size)
            return i;
    }
    return text.size;
}

static size_t key_end_size(struct tc_span text)
{
    size_t size = find(text, key_end);
    if (size == text.size) return 0;
    size += sizeof key_end - 1;
    size += run_of(from(text, size), is_label);
    return size + run_of(from(text, size), is_name); /* "-----" */
}

static bool is_base64(uint8_t c)
{
    return is_alnum(c) || c == '+' || c == '/' || c == '=';
}

static bool is_key_body(uint8_t c)
{
    /* With what a string in a program has around it. */
    return is_base64(c) || c == '\\' || is_quote(c) || c == ',' || c == ';' || c == '\r';
}

static bool is_key_header(struct tc_span text)
{
    static const char *const names[] = {"proc-type: ", "dek-info: ", "version: ", "comment: ", NULL};
    for (size_t i = 0; names[i]; i++)
        if (starts_like(text, names[i])) return true;
    return false;
}

/* The same text as before BEGIN, or with other digits, such as a time. */
static bool has_prefix(const struct tc_redactor *redactor, struct tc_span text)
{
    if (text.size < redactor->key_column) return false;
    for (size_t i = 0; i < redactor->key_column; i++) {
        uint8_t a = redactor->key_prefix[i], b = text.data[i];
        if (a != b && !(is_digit(a) && is_digit(b))) return false;
    }
    return true;
}

/* Could a line between BEGIN and END be a part of the key? It has no spaces inside;
 * behind a prefix that is not known, a long word at the end tells. */
static bool is_key_line(const struct tc_redactor *redactor, struct tc_span text)
{
    struct tc_span part = has_prefix(redactor, text) ? from(text, redactor->key_column) : text;
    part = from(part, run_of(part, is_space));
    while (part.size > 0 && is_space(part.data[part.size - 1]))
        part.size--;
    if (run_of(part, is_key_body) == part.size || is_key_header(part)) return true;
    size_t last = 0;
    while (last < part.size && is_key_body(part.data[part.size - 1 - last]))
        last++;
    return last >= KEY_LINE_LEAST;
}

static void start_key(struct tc_redactor *redactor, struct tc_span before)
{
    redactor->key_lines = 0;
    redactor->key_column = before.size <= sizeof redactor->key_prefix ? before.size : 0;
    if (redactor->key_column > 0) memcpy(redactor->key_prefix, before.data, before.size);
}

/* Hides what belongs to the key that is open and returns how much of text that was;
 * 0: text belongs to no key. */
static size_t take_key(struct tc_redactor *redactor, struct tc_span text, bool first,
                       struct tc_buf *out)
{
    size_t size = key_end_size(text);
    redactor->in_key = size == 0 && (first || is_key_line(redactor, text)) &&
                       redactor->key_lines++ < KEY_LINES_MAX;
    if (redactor->in_key) size = text.size;
    if (size > 0) tc_buf_add_text(out, TC_REDACT_HIDDEN);
    return size;
}

/* --- lines --- */

static void redact_piece(struct tc_redactor *redactor, struct tc_buf *out)
{
    struct tc_span line = tc_buf_span(&redactor->line);
    if (!tc_buf_ok(&redactor->line)) out->failed = true;
    struct tc_span rest = from(line, tc_redact_open_size(&redactor->open, line));
    if (rest.size > 0) redactor->open.kind = TC_OPEN_NONE;
    while (rest.size > 0) {
        if (redactor->in_key) {
            rest = from(rest, take_key(redactor, rest, false, out));
            if (rest.size == 0) break;
        }
        struct tc_span part = {rest.data, find_key(rest)};
        tc_redact_words(part, &redactor->open, out);
        rest = from(rest, part.size);
        if (rest.size == 0) break;
        redactor->open.kind = TC_OPEN_NONE;
        start_key(redactor, (struct tc_span){line.data, line.size - rest.size});
        rest = from(rest, take_key(redactor, rest, true, out));
    }
    tc_buf_reset(&redactor->line);
}

static void end_line(struct tc_redactor *redactor, struct tc_buf *out)
{
    redact_piece(redactor, out);
    redactor->open.kind = TC_OPEN_NONE;
}

void tc_redactor_add(struct tc_redactor *redactor, struct tc_span bytes, struct tc_buf *out)
{
    while (bytes.size > 0) {
        const uint8_t *end = memchr(bytes.data, '\n', bytes.size);
        size_t size = end ? (size_t)(end - bytes.data) : bytes.size;
        size_t room = TC_REDACT_LINE_MAX - redactor->line.size;
        if (size > room) size = room;
        tc_buf_add(&redactor->line, bytes.data, size);
        bytes = from(bytes, size);
        if (redactor->line.size == TC_REDACT_LINE_MAX) redact_piece(redactor, out);
        if (bytes.size > 0 && bytes.data[0] == '\n') {
            end_line(redactor, out);
            tc_buf_add_u8(out, '\n');
            bytes = from(bytes, 1);
        }
    }
}

void tc_redactor_flush(struct tc_redactor *redactor, struct tc_buf *out)
{
    end_line(redactor, out);
    redactor->in_key = false;
}
