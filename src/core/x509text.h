/* What a certificate says of itself, for people: nothing here is checked, and a
 * chain is judged by x509chain.h alone. */
#ifndef TC_CORE_X509TEXT_H
#define TC_CORE_X509TEXT_H

#include "core/digest.h"

enum { TC_X509TEXT_NAME_MAX = 512, TC_X509TEXT_SERIAL_MAX = 128 };

struct tc_x509text {
    char subject[TC_X509TEXT_NAME_MAX]; /* RFC 2253, printable, cut when longer */
    char issuer[TC_X509TEXT_NAME_MAX];
    char serial[TC_X509TEXT_SERIAL_MAX]; /* hex, "-" in front of a negative one */
    int64_t from, until;                 /* seconds since the epoch */
    struct tc_sha256 fingerprint;        /* of the DER */
};

/* TC_MALFORMED when the bytes are no X.509 certificate or a date is none. */
tc_status tc_x509text_read(struct tc_span der, struct tc_x509text *ret_text, struct tc_error *err)
    TC_MUST_USE;

#endif
