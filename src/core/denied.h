/* The deny list: certificates and keys that no server may show, whatever anchor vouches
 * for them. It stands in for revocation, which is not asked for online. A text of lines:
 *
 *   # to the end of the line: for people      (an empty line is nothing)
 *   certificate HEX                           SHA-256 of the certificate, DER
 *   key HEX                                   SHA-256 of its SubjectPublicKeyInfo, DER
 *
 * HEX has 64 digits in lower case, one space stands before it, every line ends with LF.
 * A line that is there twice counts once. Anything else is no list, and whoever reads it
 * must not go on without one. */
#ifndef TC_CORE_DENIED_H
#define TC_CORE_DENIED_H

#include "core/digest.h"

#define TC_DENIED_PATH "etc/tee-compile/denied-certificates" /* in a toolchain's root */

enum {
    TC_DENIED_MAX = 4 << 20, /* bytes of the list */
    TC_DENIED_ENTRIES_MAX = 1 << 15,
    TC_DENIED_LINE_MAX = 512,
};

enum tc_denied_kind { TC_DENIED_CERTIFICATE, TC_DENIED_KEY };

struct tc_denied_entry {
    enum tc_denied_kind kind;
    struct tc_sha256 digest;
};

struct tc_denied {                /* zeroed: nothing is denied */
    struct tc_denied_entry *list; /* sorted, no two alike */
    size_t count;
    struct tc_sha256 digest; /* of the text */
};

/* TC_MALFORMED and TC_LIMIT name the line. */
tc_status tc_denied_read(struct tc_span text, struct tc_denied *ret_denied, struct tc_error *err)
    TC_MUST_USE;
void tc_denied_free(struct tc_denied *denied); /* accepts a zeroed one */
bool tc_denied_has(const struct tc_denied *denied, enum tc_denied_kind kind,
                   const struct tc_sha256 *digest);
/* "certificate" or "key". */
const char *tc_denied_word(enum tc_denied_kind kind);

#endif
