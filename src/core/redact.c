#include "core/redact.h"

#include <stdlib.h>
#include <string.h>

struct tc_redactor {
    struct tc_buf line; /* an unfinished line */
};

static const char hidden[] = "[redacted]";

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

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

static bool is_name(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
}

static bool ends_value(uint8_t c)
{
    return c <= ' ' || c == '"' || c == '\'' || c == '&' || c == ';' || c == '<' || c == '>' ||
           c == '`';
}

static bool starts_with(struct tc_span text, const char *word)
{
    size_t size = strlen(word);
    if (text.size < size) return false;
    for (size_t i = 0; i < size; i++)
        if (lower(text.data[i]) != (uint8_t)word[i]) return false;
    return true;
}

static bool contains(struct tc_span text, const char *word)
{
    for (; text.size > 0; text.data++, text.size--)
        if (starts_with(text, word)) return true;
    return false;
}

/* --- the rules: each returns how many bytes from the start of text to hide --- */

static bool names_a_secret(struct tc_span name)
{
    static const char *const words[] = {"token", "secret", "password", "passwd", "api_key", "apikey",
                                        "api-key", "signature", NULL};
    for (size_t i = 0; words[i]; i++)
        if (contains(name, words[i])) return true;
    return false;
}

/* The rest of the line behind these header names. */
static bool names_a_header(struct tc_span name)
{
    static const char *const words[] = {"authorization", "proxy-authorization", "cookie",
                                        "set-cookie", NULL};
    for (size_t i = 0; words[i]; i++)
        if (name.size == strlen(words[i]) && starts_with(name, words[i])) return true;
    return false;
}

static size_t token_size(struct tc_span text)
{
    size_t size = 0;
    while (size < text.size && (is_name(text.data[size]) || text.data[size] == '/' ||
                                text.data[size] == '+' || text.data[size] == '='))
        size++;
    return size;
}

/* A word that begins like a well-known kind of token and is long enough. */
static size_t known_token(struct tc_span text)
{
    static const struct {
        const char *start;
        size_t least;
    } kinds[] = {{"ghp_", 20},   {"gho_", 20},   {"ghs_", 20},   {"ghu_", 20}, {"github_pat_", 30},
                 {"glpat-", 20}, {"npm_", 20},   {"xoxb-", 20},  {"xoxa-", 20}, {"xoxp-", 20},
                 {"akia", 20}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (starts_with(text, kinds[i].start)) {
            size_t size = token_size(text);
            if (size >= kinds[i].least) return size;
        }
    return 0;
}

/* "user:password" of scheme://user:password@host; text starts behind "://". */
static size_t user_info(struct tc_span text)
{
    for (size_t i = 0; i < text.size && i < 512; i++) {
        uint8_t c = text.data[i];
        if (c == '@') return i;
        if (c == '/' || ends_value(c)) return 0;
    }
    return 0;
}

static size_t value_size(struct tc_span text)
{
    size_t size = 0;
    while (size < text.size && !ends_value(text.data[size]))
        size++;
    return size;
}

/* --- one line --- */

struct scan {
    struct tc_span rest;
    struct tc_buf *out;
};

static void keep(struct scan *scan, size_t size)
{
    tc_buf_add(scan->out, scan->rest.data, size);
    scan->rest.data += size;
    scan->rest.size -= size;
}

static void hide(struct scan *scan, size_t size)
{
    tc_buf_add_text(scan->out, hidden);
    scan->rest.data += size;
    scan->rest.size -= size;
}

/* rest starts with '=' or ':' behind a name. */
static void after_name(struct scan *scan, struct tc_span name)
{
    uint8_t mark = scan->rest.data[0];
    keep(scan, 1);
    if (mark == ':' && names_a_header(name)) {
        while (scan->rest.size > 0 && scan->rest.data[0] == ' ')
            keep(scan, 1);
        if (scan->rest.size > 0) hide(scan, scan->rest.size);
        return;
    }
    if (!names_a_secret(name)) return;
    if (mark == ':' && (scan->rest.size == 0 || scan->rest.data[0] != ' ')) return;
    while (scan->rest.size > 0 && (scan->rest.data[0] == ' ' || scan->rest.data[0] == '"' ||
                                   scan->rest.data[0] == '\''))
        keep(scan, 1);
    size_t size = value_size(scan->rest);
    if (size > 0) hide(scan, size);
}

static size_t name_size(struct tc_span text)
{
    size_t size = 0;
    while (size < text.size && is_name(text.data[size]))
        size++;
    return size;
}

/* Word by word: a word is a run of name characters; every rule starts at one or
 * at "://". */
static void redact_line(struct tc_span line, struct tc_buf *out)
{
    struct scan scan = {.rest = line, .out = out};
    while (scan.rest.size > 0) {
        size_t token = known_token(scan.rest);
        struct tc_span name = {scan.rest.data, name_size(scan.rest)};
        if (token > 0) {
            hide(&scan, token);
        } else if (starts_with(scan.rest, "://")) {
            keep(&scan, 3);
            size_t size = user_info(scan.rest);
            if (size > 0) hide(&scan, size);
        } else if (name.size == 0) {
            keep(&scan, 1);
        } else {
            keep(&scan, name.size);
            bool marked = scan.rest.size > 0 &&
                          (scan.rest.data[0] == '=' || scan.rest.data[0] == ':');
            if (marked && !starts_with(scan.rest, "://")) after_name(&scan, name);
        }
    }
}

void tc_redactor_add(struct tc_redactor *redactor, struct tc_span bytes, struct tc_buf *out)
{
    while (bytes.size > 0) {
        const uint8_t *end = memchr(bytes.data, '\n', bytes.size);
        size_t size = end ? (size_t)(end - bytes.data) : bytes.size;
        size_t room = TC_REDACT_LINE_MAX - redactor->line.size;
        if (size > room) size = room;
        tc_buf_add(&redactor->line, bytes.data, size);
        bytes.data += size;
        bytes.size -= size;
        bool whole = bytes.size > 0 && bytes.data[0] == '\n';
        if (whole || redactor->line.size == TC_REDACT_LINE_MAX) tc_redactor_flush(redactor, out);
        if (whole) {
            tc_buf_add_u8(out, '\n');
            bytes.data++;
            bytes.size--;
        }
    }
}

void tc_redactor_flush(struct tc_redactor *redactor, struct tc_buf *out)
{
    if (!tc_buf_ok(&redactor->line)) out->failed = true;
    redact_line(tc_buf_span(&redactor->line), out);
    tc_buf_reset(&redactor->line);
}
