#include "core/http1_internal.h"

#include <string.h>

bool tc_http_is_token_byte(uint8_t byte)
{
    if ((byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
        (byte >= '0' && byte <= '9'))
        return true;
    return byte != 0 && strchr("!#$%&'*+-.^_`|~", byte) != NULL;
}

bool tc_http_is_token(struct tc_span span)
{
    for (size_t i = 0; i < span.size; i++)
        if (!tc_http_is_token_byte(span.data[i])) return false;
    return span.size > 0;
}

bool tc_http_is_word(struct tc_span span, const char *word)
{
    size_t i = 0;
    while (i < span.size && word[i] != '\0' && tc_http_lower(span.data[i]) == (uint8_t)word[i])
        i++;
    return i == span.size && word[i] == '\0';
}

static bool is_blank(uint8_t byte)
{
    return byte == ' ' || byte == '\t';
}

struct tc_span tc_http_trim(struct tc_span span)
{
    while (span.size > 0 && is_blank(span.data[span.size - 1]))
        span.size--;
    while (span.size > 0 && is_blank(span.data[0])) {
        span.data++;
        span.size--;
    }
    return span;
}

bool tc_http_list_next(struct tc_span *list, struct tc_span *ret_element)
{
    if (list->size == 0) return false;
    const uint8_t *comma = memchr(list->data, ',', list->size);
    size_t size = comma ? (size_t)(comma - list->data) : list->size;
    *ret_element = tc_http_trim((struct tc_span){list->data, size});
    size_t taken = comma ? size + 1 : size;
    *list = (struct tc_span){list->data + taken, list->size - taken};
    return true;
}

bool tc_http_same_name(struct tc_span a, struct tc_span b)
{
    bool same = a.size == b.size;
    for (size_t i = 0; same && i < a.size; i++)
        same = tc_http_lower(a.data[i]) == tc_http_lower(b.data[i]);
    return same;
}

bool tc_http_is_connection_option(const struct tc_http_head *head, struct tc_span name)
{
    for (size_t i = 0; i < head->fields_count; i++) {
        if (!tc_http_is_word(head->fields[i].name, "connection")) continue;
        struct tc_span list = head->fields[i].value, option;
        while (tc_http_list_next(&list, &option))
            if (tc_http_same_name(option, name)) return true;
    }
    return false;
}
