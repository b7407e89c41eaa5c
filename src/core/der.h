/* Is this the one DER encoding (X.690 section 10 and 11) of what it says? A
 * library's parser also takes BER, and what two parsers read differently can be
 * shown to one person and checked by another. Only the types that certificates
 * use; structure only, no meaning. */
#ifndef TC_CORE_DER_H
#define TC_CORE_DER_H

#include "base/bytes.h"

enum { TC_DER_DEPTH_MAX = 16 };

/* Exactly one element that fills bytes, with everything inside it: definite
 * shortest lengths, shortest integers and object ids, zero padding bits, times
 * in RFC 5280's form. Stricter than DER in two places, for certificates: a
 * BOOLEAN is TRUE (there each has DEFAULT FALSE, which DER leaves out) and a SET
 * holds one element (so its order needs no rule). Laxer where the schema decides,
 * which is not known here: trailing zeros of named bits, which of the two forms a
 * time has, what characters a string may hold. */
tc_status tc_der_check(struct tc_span bytes, const char *what, struct tc_error *err) TC_MUST_USE;

#endif
