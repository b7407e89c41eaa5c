/* Attestation documents as people pass them on: raw, in hex or in base64.
 *
 * A document is a CBOR array of four, so its first byte is 0x84, in hex "84", in
 * base64 "h" and more. The three differ in their first character (after white
 * space for the texts), which decides alone: no input has two readings, and
 * nothing is tried until something fits.
 *
 *   raw     the bytes, exactly
 *   hex     digits of either case, white space (space, tab, CR, LF) anywhere
 *   base64  RFC 4648 section 4 or 5 (not both in one text), padded or not,
 *           unused bits zero, white space anywhere */
#ifndef TC_CORE_ARMOR_H
#define TC_CORE_ARMOR_H

#include "core/nitrodoc.h"

/* The longest input that is looked at: hex of a document with white space. */
enum { TC_ARMOR_MAX = 4 * TC_NITRODOC_MAX };

enum tc_armor { TC_ARMOR_RAW, TC_ARMOR_HEX, TC_ARMOR_BASE64 };

/* Appends the document's bytes, at most TC_NITRODOC_MAX, to ret_document, which
 * is to be freed even on failure. TC_MALFORMED with what was expected and seen;
 * TC_LIMIT when it is too large. */
tc_status tc_armor_decode(struct tc_span input, struct tc_buf *ret_document,
                          enum tc_armor *ret_form, struct tc_error *err) TC_MUST_USE;

/* "raw", "hex", "base64". */
const char *tc_armor_name(enum tc_armor form);

#endif
