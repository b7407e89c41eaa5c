/* What the files of http1.h share: the classes of bytes, names and lists. */
#ifndef TC_CORE_HTTP1_INTERNAL_H
#define TC_CORE_HTTP1_INTERNAL_H

#include "core/http1.h"

bool tc_http_is_token_byte(uint8_t byte);
bool tc_http_is_token(struct tc_span span); /* and not empty */

/* What a value, a reason or a chunk's extension may hold: HTAB and all but controls. */
static inline bool tc_http_is_text_byte(uint8_t byte)
{
    return byte == '\t' || (byte >= ' ' && byte != 0x7f);
}

static inline uint8_t tc_http_lower(uint8_t byte)
{
    return byte >= 'A' && byte <= 'Z' ? (uint8_t)(byte + ('a' - 'A')) : byte;
}

/* Is it this word (in lower case), whatever its own case? */
bool tc_http_is_word(struct tc_span span, const char *word);
bool tc_http_same_name(struct tc_span a, struct tc_span b); /* whatever the case of either */

struct tc_span tc_http_trim(struct tc_span span);
/* The next element of a list with commas, white space around it cut off; may be empty.
 * false: the list is at its end. */
bool tc_http_list_next(struct tc_span *list, struct tc_span *ret_element);

/* Is the name an option of a field Connection? */
bool tc_http_is_connection_option(const struct tc_http_head *head, struct tc_span name);

#endif
