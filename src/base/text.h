/* Text: hex, printable escapes, UTF-8, nearest word, durations, sizes, dates.
 * Pure: no locale, no clock, no environment. */
#ifndef TC_BASE_TEXT_H
#define TC_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bytes.h"

/* Lower-case hex of span into out, which holds 2 * size + 1 bytes. */
void tc_hex(struct tc_span span, char *out);
/* Decodes exactly size bytes from 2 * size hex digits of either case; false,
 * and out untouched, when text has another length or another character. */
bool tc_unhex(const char *text, uint8_t *out, size_t size) TC_MUST_USE;

/* True for well-formed UTF-8 (Unicode 15, table 3-7: no surrogates, no
 * overlongs) without NUL. */
bool tc_is_utf8(struct tc_span span);

/* Copies text so that it is safe on a terminal and on one line: control
 * characters (C0, C1, DEL, bidi controls) and malformed UTF-8 become \xNN.
 * Cuts at out_size - 1 bytes, ending in "..." when cut. Returns out. */
char *tc_printable(struct tc_span text, char *out, size_t out_size);

/* True when tc_printable would change nothing but backslashes: for messages, whose
 * foreign parts are escaped already. */
bool tc_is_printable(struct tc_span text);
/* The same for text that may have been through it: a backslash stays as it is. */
char *tc_printable_again(struct tc_span text, char *out, size_t out_size);

/* Appends text of several lines made safe for a terminal: newline and tab pass,
 * the rest as in tc_printable. */
void tc_printable_lines(struct tc_span text, struct tc_buf *buf);

/* Leaves out the carriage returns of a serial console, in place; the size that is left. */
size_t tc_drop_returns(uint8_t *text, size_t size);

/* What a program said last, for a message: as tc_printable on one line, with | for the end of
 * a line, and as much of the end as out holds. Changes text. Returns out. */
char *tc_last_words(uint8_t *text, size_t size, char *out, size_t out_size);

/* The entry of words (ended by NULL) nearest to word by edit distance, or
 * NULL when none is within a third of its length plus one. */
const char *tc_nearest_word(const char *word, const char *const *words);

/* "90", "90s", "15m", "2h" -> seconds; whole numbers, at most 30 days. */
bool tc_parse_duration(const char *text, uint64_t *ret_seconds) TC_MUST_USE;
/* "512M", "8G", "4096", "64K", "1T": powers of 1024, at most 2^50 bytes. */
bool tc_parse_size(const char *text, uint64_t *ret_bytes) TC_MUST_USE;

enum { TC_TIME_TEXT_SIZE = 21 }; /* "2026-01-02T03:04:05Z" and NUL */

/* RFC 3339 UTC with whole seconds; seconds since the epoch, years 1970-9999. */
void tc_format_time(int64_t seconds, char out[TC_TIME_TEXT_SIZE]);
bool tc_parse_time(const char *text, int64_t *ret_seconds) TC_MUST_USE;

/* Standard base64 (RFC 4648 section 4) with padding. Decoding is strict: no
 * white space, no missing padding, unused bits zero. */
void tc_base64_add(struct tc_buf *buf, struct tc_span span);
bool tc_base64_decode(struct tc_span text, struct tc_buf *buf) TC_MUST_USE;

/* Number of bytes as people read it: "512 B", "1.5 MiB". Returns out. */
char *tc_human_size(uint64_t bytes, char out[16]);

#endif
