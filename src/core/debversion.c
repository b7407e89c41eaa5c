/* [EPOCH:]UPSTREAM[-REVISION]: up to the first colon, from the last hyphen. Epochs are
 * numbers; the rest is read as runs of other characters and of digits by turns. Digits
 * go by their value, however long; other characters by a table in which "~" is
 * before the end, letters before everything else. */
#include "core/debversion.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct piece {
    const char *at, *end;
};

struct version {
    struct piece epoch, upstream, revision;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Of what is no digit; the end, and a digit, which ends a run, are 0. */
static int rank(const struct piece *piece)
{
    if (piece->at == piece->end || is_digit(*piece->at)) return 0;
    char c = *piece->at;
    if (c == '~') return -1;
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return (unsigned char)c;
    return (unsigned char)c + 256;
}

static struct piece take_number(struct piece *piece)
{
    while (piece->at < piece->end && *piece->at == '0')
        piece->at++;
    struct piece number = {piece->at, piece->at};
    while (piece->at < piece->end && is_digit(*piece->at))
        piece->at++;
    number.end = piece->at;
    return number;
}

static int compare_numbers(struct piece *left, struct piece *right)
{
    struct piece a = take_number(left), b = take_number(right);
    size_t a_size = (size_t)(a.end - a.at), b_size = (size_t)(b.end - b.at);
    if (a_size != b_size) return a_size < b_size ? -1 : 1;
    return a_size == 0 ? 0 : memcmp(a.at, b.at, a_size);
}

static int compare_pieces(struct piece left, struct piece right)
{
    while (left.at < left.end || right.at < right.end) {
        for (;;) {
            int a = rank(&left), b = rank(&right);
            if (a != b) return a < b ? -1 : 1;
            if (a == 0) break;
            left.at++;
            right.at++;
        }
        int order = compare_numbers(&left, &right);
        if (order != 0) return order;
    }
    return 0;
}

static struct version split(const char *text)
{
    const char *end = text + strlen(text), *colon = strchr(text, ':');
    struct version version = {.epoch = {text, colon ? colon : text}};
    const char *rest = colon ? colon + 1 : text, *hyphen = strrchr(rest, '-');
    version.upstream = (struct piece){rest, hyphen ? hyphen : end};
    version.revision = (struct piece){hyphen ? hyphen + 1 : end, end};
    return version;
}

int tc_debversion_compare(const char *left, const char *right)
{
    struct version a = split(left), b = split(right);
    int order = compare_pieces(a.epoch, b.epoch);
    if (order == 0) order = compare_pieces(a.upstream, b.upstream);
    return order != 0 ? order : compare_pieces(a.revision, b.revision);
}
