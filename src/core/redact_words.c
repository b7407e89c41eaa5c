/* Reads word by word: a word is a run of name characters, and every rule starts at
 * a word or at "://". A rule looks ahead only as far as it then hides or skips, or
 * once over what the next steps pass, so that the time is linear. */
#include "core/redact_internal.h"

static bool ends_value(uint8_t c)
{
    return c <= ' ' || is_quote(c) || c == '&' || c == ';' || c == '<' || c == '>' || c == '`';
}

/* The byte there, 0 behind the end. */
static uint8_t at(struct tc_span text, size_t i)
{
    return i < text.size ? text.data[i] : 0;
}

static bool is_like(struct tc_span text, const char *word)
{
    return text.size == strlen(word) && starts_like(text, word);
}

/* --- names --- */

/* Does a word of a name end there: API_TOKEN, apiToken2, tokens; not tokenizer. */
static bool ends_word(struct tc_span name, size_t end)
{
    if (lower(at(name, end)) == 's') end++;
    uint8_t next = at(name, end);
    return !(is_lower(next) || is_upper(next)) ||
           (is_upper(next) && is_lower(name.data[end - 1]));
}

static bool has_word(struct tc_span name, const char *word)
{
    for (size_t i = 0; i < name.size; i++)
        if (starts_like(from(name, i), word) && ends_word(name, i + strlen(word))) return true;
    return false;
}

/* PASSWORD_FILE and --token-url say where a secret is, not what it is. */
static bool names_a_place(struct tc_span name)
{
    static const char *const ends[] = {"file", "path", "url", "stdin", "type", "endpoint", NULL};
    for (size_t i = 0; ends[i]; i++) {
        size_t size = strlen(ends[i]);
        if (name.size <= size) continue;
        uint8_t before = name.data[name.size - size - 1];
        if ((before == '_' || before == '-') && is_like(from(name, name.size - size), ends[i]))
            return true;
    }
    return false;
}

bool tc_redact_names_a_secret(struct tc_span name)
{
    static const char *const words[] = {
        "token",   "secret",     "password",   "passwd",     "passphrase",  "api_key",
        "apikey",  "api-key",    "access_key", "accesskey",  "access-key",  "private_key",
        "privatekey", "private-key", "signature", "credential", NULL};
    /* Of a dotted name the last part counts: token.c is a file. */
    for (size_t i = name.size; i > 0; i--)
        if (name.data[i - 1] == '.') {
            name = from(name, i);
            break;
        }
    for (size_t i = 0; words[i]; i++)
        if (has_word(name, words[i])) return !names_a_place(name);
    return false;
}

static bool names_a_header(struct tc_span name)
{
    static const char *const words[] = {"authorization", "proxy-authorization", "cookie",
                                        "set-cookie", NULL};
    for (size_t i = 0; words[i]; i++)
        if (is_like(name, words[i])) return true;
    return false;
}

/* --- tokens that are known by their looks: how many bytes of them to hide --- */

static bool is_word(uint8_t c)
{
    return is_alnum(c) || c == '_';
}

static bool is_url64(uint8_t c)
{
    return is_alnum(c) || c == '_' || c == '-';
}

static bool is_key_id(uint8_t c)
{
    return is_upper(c) || is_digit(c);
}

static size_t prefixed_token(struct tc_span text)
{
    static const struct {
        const char *start;
        tc_is_fn *is;
        size_t least, most; /* bytes behind the start */
        bool upper;         /* one at least is an upper-case letter */
    } kinds[] = {
        {"ghp_", is_word, 16, SIZE_MAX, false},  {"gho_", is_word, 16, SIZE_MAX, false},
        {"ghs_", is_word, 16, SIZE_MAX, false},  {"ghu_", is_word, 16, SIZE_MAX, false},
        {"ghr_", is_word, 16, SIZE_MAX, false},  {"github_pat_", is_word, 19, SIZE_MAX, false},
        {"glpat-", is_url64, 14, SIZE_MAX, false}, {"npm_", is_alnum, 20, SIZE_MAX, false},
        {"pypi-", is_url64, 20, SIZE_MAX, true}, {"xoxb-", is_url64, 15, SIZE_MAX, false},
        {"xoxa-", is_url64, 15, SIZE_MAX, false}, {"xoxp-", is_url64, 15, SIZE_MAX, false},
        {"AKIA", is_key_id, 16, 16, false},      {"ASIA", is_key_id, 16, 16, false},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!starts_with(text, kinds[i].start)) continue;
        struct tc_span rest = from(text, strlen(kinds[i].start));
        size_t size = run_of(rest, kinds[i].is);
        bool upper = false;
        for (size_t j = 0; j < size; j++)
            upper = upper || is_upper(rest.data[j]);
        if (size >= kinds[i].least && size <= kinds[i].most && (upper || !kinds[i].upper))
            return strlen(kinds[i].start) + size;
    }
    return 0;
}

/* eyJ is how base64 begins for '{"'; three parts at least, five when encrypted. */
static size_t json_web_token(struct tc_span text)
{
    if (!starts_with(text, "eyJ")) return 0;
    size_t size = run_of(text, is_url64);
    if (size < 8) return 0;
    unsigned parts = 1;
    while (at(text, size) == '.' && is_url64(at(text, size + 1))) {
        size++;
        size += run_of(from(text, size), is_url64);
        parts++;
    }
    return parts >= 3 ? size : 0;
}

size_t tc_redact_token_size(struct tc_span text)
{
    size_t size = prefixed_token(text);
    return size > 0 ? size : json_web_token(text);
}

/* --- one line, or what of it is no key --- */

static const struct tc_redact_open open_none = {TC_OPEN_NONE, 0};
static const struct tc_redact_open open_line = {TC_OPEN_LINE, 0};
static const struct tc_redact_open open_word = {TC_OPEN_WORD, 0};

struct scan {
    struct tc_redact_open *open;
    struct tc_span rest;
    struct tc_buf *out;
    uint8_t before; /* the byte before rest, 0 at the start */
    bool curl;      /* the word was seen */
};

static void skip(struct scan *scan, size_t size)
{
    if (size > 0) scan->before = scan->rest.data[size - 1];
    scan->rest = from(scan->rest, size);
}

static void keep(struct scan *scan, size_t size)
{
    tc_buf_add(scan->out, scan->rest.data, size);
    skip(scan, size);
}

/* Nothing is nothing to hide. open: what goes on if this is all of the rest. */
static void hide(struct scan *scan, size_t size, struct tc_redact_open open)
{
    if (size == 0) return;
    if (size == scan->rest.size) *scan->open = open;
    tc_buf_add_text(scan->out, TC_REDACT_HIDDEN);
    skip(scan, size);
}

/* Up to the quote that closes; a backslash takes the next byte along, unless the
 * opening quote was itself escaped: then the closing one is, and the backslash
 * before it ends the value. */
static size_t quoted_size(struct tc_span text, uint8_t quote, bool escaped)
{
    size_t size = 0;
    while (size < text.size && text.data[size] != quote) {
        bool mark = text.data[size] == '\\';
        if (mark && escaped && at(text, size + 1) == quote) break;
        size += mark && size + 1 < text.size ? 2 : 1;
    }
    return size;
}

static size_t value_size(struct tc_span text, bool in_json)
{
    size_t size = 0;
    while (size < text.size && !ends_value(text.data[size])) {
        uint8_t c = text.data[size];
        if (in_json && (c == ',' || c == '}' || c == ']')) break;
        size++;
    }
    return size;
}

/* "Bearer abc": the scheme and what follows are one value. */
static size_t scheme_size(struct tc_span text)
{
    static const char *const schemes[] = {"bearer ", "basic ", "token ", NULL};
    for (size_t i = 0; schemes[i]; i++)
        if (starts_like(text, schemes[i])) {
            size_t size = strlen(schemes[i]);
            return size + run_of(from(text, size), is_space);
        }
    return 0;
}

static void hide_value(struct scan *scan, bool in_json)
{
    keep(scan, run_of(scan->rest, is_space));
    bool escaped = at(scan->rest, 0) == '\\' && is_quote(at(scan->rest, 1));
    if (escaped) keep(scan, 1);
    uint8_t quote = at(scan->rest, 0);
    if (is_quote(quote)) {
        keep(scan, 1);
        hide(scan, quoted_size(scan->rest, quote, escaped),
             (struct tc_redact_open){TC_OPEN_QUOTE, quote});
        return;
    }
    size_t scheme = scheme_size(scan->rest);
    hide(scan, scheme + value_size(from(scan->rest, scheme), in_json), open_word);
}

/* "NAME": and any spaces, in JSON; rest stands behind the name. False: it is no key.
 * list: ["Authorization", "Bearer abc"] is meant too. */
static bool after_key(struct scan *scan, bool list)
{
    size_t i = at(scan->rest, 0) == '\\';
    if (!is_quote(at(scan->rest, i))) return false;
    i++;
    i += run_of(from(scan->rest, i), is_space);
    uint8_t mark = at(scan->rest, i);
    if (mark != ':' && mark != '=' && !(mark == ',' && list)) return false;
    keep(scan, i + 1);
    hide_value(scan, true);
    return true;
}

static void after_name(struct scan *scan, bool header)
{
    size_t spaces = run_of(scan->rest, is_space);
    struct tc_span rest = from(scan->rest, spaces);
    uint8_t next = at(rest, 1);
    if (at(rest, 0) == '=' && next != '=' && next != '>' && next != '~') {
        keep(scan, spaces + 1);
        hide_value(scan, false);
    } else if (header && at(scan->rest, 0) == ':') {
        keep(scan, 1 + run_of(from(scan->rest, 1), is_space));
        hide(scan, scan->rest.size, open_line);
    } else if (at(scan->rest, 0) == ':' && (is_space(next) || is_quote(next))) {
        keep(scan, 1);
        hide_value(scan, false);
    }
}

/* --password x: a value, unless the next word is an option too. */
static void after_flag(struct scan *scan)
{
    size_t spaces = run_of(scan->rest, is_space);
    if (spaces == 0 || at(scan->rest, spaces) == '-' || at(scan->rest, spaces) == '=') return;
    hide_value(scan, false);
}

/* user:password, as curl takes it; not a uid:gid, a C++ name or a URL. */
static bool is_user_pair(struct tc_span text)
{
    size_t size = value_size(text, false), colon = 0;
    bool digits = true;
    for (size_t i = 0; i < size; i++) {
        uint8_t c = text.data[i];
        if (colon == 0 && c == '/') return false;
        if (colon == 0 && c == ':') colon = i;
        digits = digits && (is_digit(c) || c == ':');
    }
    uint8_t next = at(text, colon + 1);
    return colon > 0 && colon + 1 < size && next != ':' && next != '/' && !digits;
}

static bool hide_user(struct scan *scan, struct tc_span name)
{
    bool apart = is_like(name, "-u") || is_like(name, "--user") || is_like(name, "--proxy-user");
    if (apart && (is_space(at(scan->rest, 0)) || at(scan->rest, 0) == '=')) {
        size_t start = run_of(scan->rest, is_space);
        if (start == 0) start = 1;
        size_t quote = is_quote(at(scan->rest, start));
        if (!is_user_pair(from(scan->rest, start + quote))) return false;
        keep(scan, start);
        hide_value(scan, false);
        return true;
    }
    return false;
}

/* -uuser:password: only where curl was named, since MSVC and others have -u...: too. */
static size_t joined_user(const struct scan *scan, struct tc_span name)
{
    if (!scan->curl || name.size < 3 || !starts_with(name, "-u")) return 0;
    return is_user_pair(from(scan->rest, 2)) ? 2 : 0;
}

/* "user:password" of scheme://user:password@host, up to the last '@': a password
 * may hold some. rest stands behind "://". */
static size_t user_info(struct tc_span text)
{
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c <= ' ' || c == '/' || is_quote(c) || c == '<' || c == '>' || c == '`') break;
        if (c == '@') size = i;
    }
    return size;
}

static void redact_word(struct scan *scan)
{
    struct tc_span name = {scan->rest.data, run_of(scan->rest, is_name)};
    bool starts = scan->before <= ' ' || is_quote(scan->before);
    size_t joined = starts ? joined_user(scan, name) : 0;
    if (joined > 0) {
        keep(scan, joined);
        hide_value(scan, false);
        return;
    }
    bool flag = name.data[0] == '-' && at(name, 1) != 0;
    bool quoted = is_quote(scan->before);
    scan->curl = scan->curl || is_like(name, "curl");
    keep(scan, name.size);
    if (starts_with(scan->rest, "://")) return;
    if (starts && flag && hide_user(scan, name)) return;
    bool header = names_a_header(name);
    if (is_like(name, "bearer") && is_space(at(scan->rest, 0))) {
        size_t spaces = run_of(scan->rest, is_space);
        size_t size = value_size(from(scan->rest, spaces), true);
        if (size < 16) return;
        keep(scan, spaces);
        hide(scan, size, open_word);
    } else if (header || tc_redact_names_a_secret(name)) {
        if (quoted && after_key(scan, header || flag)) return;
        size_t left = scan->rest.size;
        after_name(scan, header);
        if (flag && scan->rest.size == left) after_flag(scan);
    }
}

static void redact_step(struct scan *scan)
{
    size_t token = tc_redact_token_size(scan->rest);
    if (token > 0) {
        hide(scan, token, open_word);
    } else if (starts_with(scan->rest, "://")) {
        keep(scan, 3);
        hide(scan, user_info(scan->rest), open_none);
    } else if (!is_name(scan->rest.data[0])) {
        keep(scan, 1);
    } else {
        redact_word(scan);
    }
}

void tc_redact_words(struct tc_span part, struct tc_redact_open *open, struct tc_buf *out)
{
    struct scan scan = {.open = open, .rest = part, .out = out};
    *open = open_none;
    while (scan.rest.size > 0)
        redact_step(&scan);
}

size_t tc_redact_open_size(const struct tc_redact_open *open, struct tc_span text)
{
    switch (open->kind) {
    case TC_OPEN_NONE: break;
    case TC_OPEN_LINE: return text.size;
    case TC_OPEN_WORD: return value_size(text, false);
    case TC_OPEN_QUOTE: return quoted_size(text, open->quote, false);
    }
    return 0;
}
