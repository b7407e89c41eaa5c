/* What src/core/redact*.c share: the reader of words and its characters.
 *
 *   redact.c        lines, private keys, what goes on from one piece to the next
 *   redact_words.c  names and their values, tokens, URLs
 *   urlredact.c     the URLs of the transcript, by the same words */
#ifndef TC_CORE_REDACT_INTERNAL_H
#define TC_CORE_REDACT_INTERNAL_H

#include <string.h>

#include "base/bytes.h"

/* The value that went on to the end of what was read. */
struct tc_redact_open {
    enum { TC_OPEN_NONE, TC_OPEN_LINE, TC_OPEN_WORD, TC_OPEN_QUOTE } kind;
    uint8_t quote; /* that ends it */
};

#define TC_REDACT_HIDDEN "[redacted]"

/* Appends part with everything hidden that is no private key; sets open anew. */
void tc_redact_words(struct tc_span part, struct tc_redact_open *open, struct tc_buf *out);
/* How much of text goes on with the open value. */
size_t tc_redact_open_size(const struct tc_redact_open *open, struct tc_span text);

/* Does the name say that its value is a secret? */
bool tc_redact_names_a_secret(struct tc_span name);
/* The size of the well-known token that text begins with; 0: none. */
size_t tc_redact_token_size(struct tc_span text);

typedef bool tc_is_fn(uint8_t c);

static inline bool is_lower(uint8_t c)
{
    return c >= 'a' && c <= 'z';
}

static inline bool is_upper(uint8_t c)
{
    return c >= 'A' && c <= 'Z';
}

static inline bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static inline bool is_alnum(uint8_t c)
{
    return is_lower(c) || is_upper(c) || is_digit(c);
}

static inline bool is_name(uint8_t c)
{
    return is_alnum(c) || c == '_' || c == '-' || c == '.';
}

static inline bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t';
}

static inline bool is_quote(uint8_t c)
{
    return c == '"' || c == '\'';
}

static inline uint8_t lower(uint8_t c)
{
    return is_upper(c) ? (uint8_t)(c + ('a' - 'A')) : c;
}

static inline struct tc_span from(struct tc_span text, size_t i)
{
    return (struct tc_span){text.data + i, text.size - i};
}

static inline size_t run_of(struct tc_span text, tc_is_fn *is)
{
    size_t size = 0;
    while (size < text.size && is(text.data[size]))
        size++;
    return size;
}

static inline bool starts_with(struct tc_span text, const char *word)
{
    size_t size = strlen(word);
    return text.size >= size && memcmp(text.data, word, size) == 0;
}

/* word is in lower case. */
static inline bool starts_like(struct tc_span text, const char *word)
{
    for (; *word; word++, text = from(text, 1))
        if (text.size == 0 || lower(text.data[0]) != (uint8_t)*word) return false;
    return true;
}

#endif
