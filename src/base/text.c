#include "base/text.h"

#include <stdio.h>
#include <string.h>

static const char hex_digits[] = "0123456789abcdef";

void tc_hex(struct tc_span span, char *out)
{
    for (size_t i = 0; i < span.size; i++) {
        *out++ = hex_digits[span.data[i] >> 4];
        *out++ = hex_digits[span.data[i] & 15];
    }
    *out = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool tc_unhex(const char *text, uint8_t *out, size_t size)
{
    if (strlen(text) != 2 * size) return false;
    for (size_t i = 0; i < 2 * size; i++)
        if (hex_value(text[i]) < 0) return false;
    for (size_t i = 0; i < size; i++)
        out[i] = (uint8_t)(hex_value(text[2 * i]) << 4 | hex_value(text[2 * i + 1]));
    return true;
}

/* Length of the well-formed UTF-8 character at the start, or 0; its code
 * point through ret_point. */
static size_t utf8_character(struct tc_span span, uint32_t *ret_point)
{
    const uint8_t *p = span.data;
    if (span.size == 0) return 0;
    if (p[0] < 0x80) {
        *ret_point = p[0];
        return 1;
    }
    size_t size = p[0] >= 0xc2 && p[0] <= 0xdf   ? 2
                  : p[0] >= 0xe0 && p[0] <= 0xef ? 3
                  : p[0] >= 0xf0 && p[0] <= 0xf4 ? 4
                                                 : 0;
    if (size == 0 || span.size < size) return 0;
    uint32_t point = p[0] & (0xffU >> (size + 1));
    for (size_t i = 1; i < size; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        point = point << 6 | (p[i] & 0x3fU);
    }
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (point < least[size] || point > 0x10ffff || (point >= 0xd800 && point <= 0xdfff)) return 0;
    *ret_point = point;
    return size;
}

bool tc_is_utf8(struct tc_span span)
{
    while (span.size > 0) {
        uint32_t point;
        size_t size = utf8_character(span, &point);
        if (size == 0 || point == 0) return false;
        span.data += size;
        span.size -= size;
    }
    return true;
}

/* C0, DEL, C1, line and paragraph separators, and the bidi controls that can
 * make a terminal show another text than the bytes say. */
static bool is_control(uint32_t point)
{
    return point < 0x20 || (point >= 0x7f && point <= 0x9f) || point == 0x61c ||
           (point >= 0x200b && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) ||
           (point >= 0x2066 && point <= 0x2069) || point == 0xfeff;
}

/* The next character of a text: how many bytes it takes and how many it needs
 * when printed; plain when it stands for itself. */
static size_t next_printed(struct tc_span text, bool again, size_t *ret_needed, bool *ret_plain)
{
    uint32_t point = 0;
    size_t size = utf8_character(text, &point);
    *ret_plain = size > 0 && !is_control(point) && (again || point != '\\');
    size_t taken = size > 0 ? size : 1;
    *ret_needed = *ret_plain ? taken : 4 * taken;
    return taken;
}

bool tc_is_printable(struct tc_span text)
{
    while (text.size > 0) {
        uint32_t point;
        size_t size = utf8_character(text, &point);
        if (size == 0 || is_control(point)) return false;
        text.data += size;
        text.size -= size;
    }
    return true;
}

static bool fits(struct tc_span text, bool again, size_t room)
{
    while (text.size > 0) {
        size_t needed;
        bool plain;
        size_t taken = next_printed(text, again, &needed, &plain);
        if (needed > room) return false;
        room -= needed;
        text.data += taken;
        text.size -= taken;
    }
    return true;
}

static char *print(struct tc_span text, bool again, char *out, size_t out_size)
{
    static const char cut[] = "...";
    if (out_size == 0) return out;
    size_t used = 0, room = out_size - 1;
    bool whole = fits(text, again, room);
    if (!whole) room = room < sizeof cut - 1 ? 0 : room - (sizeof cut - 1);
    while (text.size > 0) {
        size_t needed;
        bool plain;
        size_t taken = next_printed(text, again, &needed, &plain);
        if (used + needed > room) break;
        for (size_t i = 0; i < taken; i++) {
            if (plain) {
                out[used++] = (char)text.data[i];
            } else {
                out[used++] = '\\';
                out[used++] = 'x';
                out[used++] = hex_digits[text.data[i] >> 4];
                out[used++] = hex_digits[text.data[i] & 15];
            }
        }
        text.data += taken;
        text.size -= taken;
    }
    if (!whole && out_size > sizeof cut) {
        memcpy(out + used, cut, sizeof cut - 1);
        used += sizeof cut - 1;
    }
    out[used] = '\0';
    return out;
}

char *tc_printable(struct tc_span text, char *out, size_t out_size)
{
    return print(text, false, out, out_size);
}

char *tc_printable_again(struct tc_span text, char *out, size_t out_size)
{
    return print(text, true, out, out_size);
}

void tc_printable_lines(struct tc_span text, struct tc_buf *buf)
{
    enum { PIECE = 1024 };
    while (text.size > 0) {
        size_t size = 0;
        while (size < text.size && text.data[size] != '\n' && text.data[size] != '\t')
            size++;
        /* A long line goes in pieces that end between two characters. */
        if (size > PIECE) {
            size = PIECE;
            for (int i = 0; i < 3 && (text.data[size] & 0xc0) == 0x80; i++)
                size--;
        }
        if (size > 0) {
            char printed[4 * PIECE + 1];
            tc_buf_add_text(buf, tc_printable((struct tc_span){text.data, size}, printed,
                                              sizeof printed));
        } else {
            size = 1;
            tc_buf_add_u8(buf, *text.data);
        }
        text.data += size;
        text.size -= size;
    }
}

size_t tc_drop_returns(uint8_t *text, size_t size)
{
    size_t left = 0;
    for (size_t i = 0; i < size; i++)
        if (text[i] != '\r') text[left++] = text[i];
    return left;
}

char *tc_last_words(uint8_t *text, size_t size, char *out, size_t out_size)
{
    size = tc_drop_returns(text, size);
    while (size > 0 && text[size - 1] == '\n')
        size--;
    for (size_t i = 0; i < size; i++)
        if (text[i] == '\n') text[i] = '|';
    /* A byte has a character at least, and not half of one first. */
    size_t start = size < out_size ? 0 : size - out_size + 1;
    while (start < size && ((start > 0 && (text[start] & 0xc0) == 0x80) ||
                            !fits((struct tc_span){text + start, size - start}, false, out_size - 1)))
        start++;
    return tc_printable((struct tc_span){text + start, size - start}, out, out_size);
}

enum { WORD_MAX = 64 };

static size_t edit_distance(const char *a, const char *b)
{
    size_t a_size = strlen(a), b_size = strlen(b);
    if (a_size > WORD_MAX || b_size > WORD_MAX) return WORD_MAX;
    size_t row[WORD_MAX + 1];
    for (size_t j = 0; j <= b_size; j++)
        row[j] = j;
    for (size_t i = 1; i <= a_size; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_size; j++) {
            size_t change = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            size_t least = row[j] < row[j - 1] ? row[j] : row[j - 1];
            row[j] = change < least + 1 ? change : least + 1;
        }
    }
    return row[b_size];
}

const char *tc_nearest_word(const char *word, const char *const *words)
{
    const char *best = NULL;
    size_t best_distance = strlen(word) / 3 + 2;
    for (; *words; words++) {
        size_t distance = edit_distance(word, *words);
        if (distance < best_distance) {
            best_distance = distance;
            best = *words;
        }
    }
    return best;
}

/* Digits with no sign and no leading zero except "0" itself. */
static bool parse_digits(const char **text, uint64_t max, uint64_t *ret_value)
{
    const char *p = *text;
    if (*p < '0' || *p > '9' || (p[0] == '0' && p[1] >= '0' && p[1] <= '9')) return false;
    uint64_t value = 0;
    for (; *p >= '0' && *p <= '9'; p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (value > (max - digit) / 10) return false;
        value = value * 10 + digit;
    }
    *text = p;
    *ret_value = value;
    return true;
}

/* A number and one optional unit out of units, whose factors stand beside. */
static bool parse_with_unit(const char *text, const char *units, const uint64_t *factors,
                            uint64_t max, uint64_t *ret_value)
{
    uint64_t value;
    if (!parse_digits(&text, max, &value)) return false;
    uint64_t factor = 1;
    if (*text) {
        const char *unit = strchr(units, *text);
        if (!unit || text[1]) return false;
        factor = factors[unit - units];
    }
    if (value > max / factor) return false;
    *ret_value = value * factor;
    return true;
}

bool tc_parse_duration(const char *text, uint64_t *ret_seconds)
{
    static const uint64_t factors[] = {1, 60, 3600};
    return parse_with_unit(text, "smh", factors, 30ULL * 24 * 3600, ret_seconds);
}

bool tc_parse_size(const char *text, uint64_t *ret_bytes)
{
    static const uint64_t factors[] = {1ULL << 10, 1ULL << 20, 1ULL << 30, 1ULL << 40};
    return parse_with_unit(text, "KMGT", factors, 1ULL << 50, ret_bytes);
}

/* Days since 1970-01-01 of a Gregorian date (proleptic; years from 1970). */
static int64_t days_of_date(int64_t year, int64_t month, int64_t day)
{
    if (month <= 2) {
        year--;
        month += 12;
    }
    return 365 * year + year / 4 - year / 100 + year / 400 + (153 * (month - 3) + 2) / 5 + day -
           719469;
}

void tc_format_time(int64_t seconds, char out[TC_TIME_TEXT_SIZE])
{
    int64_t last = days_of_date(9999, 12, 31) * 86400 + 86399;
    if (seconds < 0) seconds = 0;
    if (seconds > last) seconds = last;
    int64_t days = seconds / 86400, rest = seconds % 86400;
    int64_t year = 1970 + days / 366;
    while (days_of_date(year + 1, 1, 1) <= days)
        year++;
    int64_t month = 1;
    while (month < 12 && days_of_date(year, month + 1, 1) <= days)
        month++;
    int64_t day = days - days_of_date(year, month, 1) + 1;
    (void)snprintf(out, TC_TIME_TEXT_SIZE, "%04u-%02u-%02uT%02u:%02u:%02uZ",
                   (unsigned)year % 10000U, (unsigned)month % 100U, (unsigned)day % 100U,
                   (unsigned)(rest / 3600) % 100U, (unsigned)(rest / 60 % 60),
                   (unsigned)(rest % 60));
}

static bool fixed_digits(const char *text, size_t count, int64_t *ret_value)
{
    int64_t value = 0;
    for (size_t i = 0; i < count; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        value = value * 10 + (text[i] - '0');
    }
    *ret_value = value;
    return true;
}

bool tc_parse_time(const char *text, int64_t *ret_seconds)
{
    int64_t year, month, day, hour, minute, second;
    if (strlen(text) != TC_TIME_TEXT_SIZE - 1 || text[4] != '-' || text[7] != '-' ||
        text[10] != 'T' || text[13] != ':' || text[16] != ':' || text[19] != 'Z' ||
        !fixed_digits(text, 4, &year) || !fixed_digits(text + 5, 2, &month) ||
        !fixed_digits(text + 8, 2, &day) || !fixed_digits(text + 11, 2, &hour) ||
        !fixed_digits(text + 14, 2, &minute) || !fixed_digits(text + 17, 2, &second))
        return false;
    if (year < 1970 || month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 ||
        second > 59)
        return false;
    int64_t start = days_of_date(year, month, 1);
    int64_t next = month == 12 ? days_of_date(year + 1, 1, 1) : days_of_date(year, month + 1, 1);
    if (day > next - start) return false;
    *ret_seconds = (start + day - 1) * 86400 + hour * 3600 + minute * 60 + second;
    return true;
}

static const char base64_digits[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void tc_base64_add(struct tc_buf *buf, struct tc_span span)
{
    const uint8_t *p = span.data;
    for (size_t left = span.size; left > 0;) {
        size_t taken = left < 3 ? left : 3;
        uint32_t group = (uint32_t)p[0] << 16 | (taken > 1 ? (uint32_t)p[1] << 8 : 0) |
                         (taken > 2 ? p[2] : 0);
        char out[4] = {base64_digits[group >> 18], base64_digits[group >> 12 & 63],
                       taken > 1 ? base64_digits[group >> 6 & 63] : '=',
                       taken > 2 ? base64_digits[group & 63] : '='};
        tc_buf_add(buf, out, 4);
        p += taken;
        left -= taken;
    }
}

static int base64_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+') return 62;
    if (c == '/') return 63;
    return -1;
}

bool tc_base64_decode(struct tc_span text, struct tc_buf *buf)
{
    if (text.size % 4 != 0) return false;
    for (size_t i = 0; i < text.size; i += 4) {
        const uint8_t *p = text.data + i;
        bool last = i + 4 == text.size;
        size_t padding = last && p[3] == '=' ? (p[2] == '=' ? 2 : 1) : 0;
        uint32_t group = 0;
        for (size_t j = 0; j < 4; j++) {
            int value = j >= 4 - padding ? 0 : base64_value(p[j]);
            if (value < 0) return false;
            group = group << 6 | (uint32_t)value;
        }
        /* Bits that no byte takes must be zero: one text for one value. */
        if ((padding == 1 && (group & 0xff)) || (padding == 2 && (group & 0xffff))) return false;
        uint8_t out[3] = {(uint8_t)(group >> 16), (uint8_t)(group >> 8), (uint8_t)group};
        tc_buf_add(buf, out, 3 - padding);
    }
    return tc_buf_ok(buf);
}

char *tc_human_size(uint64_t bytes, char out[16])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    uint64_t tenths = 0;
    uint64_t whole = bytes;
    while (whole >= 1024) {
        tenths = whole % 1024 * 10 / 1024;
        whole /= 1024;
        unit++;
    }
    if (unit == 0)
        (void)snprintf(out, 16, "%u B", (unsigned)whole);
    else
        (void)snprintf(out, 16, "%u.%u %s", (unsigned)whole, (unsigned)tenths, units[unit]);
    return out;
}
