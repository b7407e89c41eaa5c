/* Redaction of the build's log by rule, line by line, before a byte of it is
 * shown, sent or hashed. Hidden are, as "[redacted]" each:
 *   - the values of Authorization, Proxy-Authorization, Cookie and Set-Cookie;
 *   - the values of names that say token, secret, password, passwd, passphrase,
 *     api_key, access_key, private_key, credential or signature: NAME=value,
 *     NAME: value, "NAME": "value", ?NAME=value, --NAME value;
 *   - user:password behind -u and --user, and in URLs;
 *   - what looks like a well-known token: gh[posur]_, github_pat_, glpat-, npm_,
 *     pypi-, xox[bap]-, AKIA and ASIA + 16, JSON web tokens, "Bearer x";
 *   - private keys from BEGIN to END, line by line.
 * Names of files, compilers' options, digests and ids stay as they are.
 *
 * It is a net for accidents, no promise. Pure and streaming: lines of any
 * length, memory of one line up to TC_REDACT_LINE_MAX, longer ones in pieces;
 * a value that is hidden stays hidden across the cut. Linear in time. */
#ifndef TC_CORE_REDACT_H
#define TC_CORE_REDACT_H

#include "base/bytes.h"

enum { TC_REDACT_LINE_MAX = 16384 };

struct tc_redactor;
struct tc_redactor *tc_redactor_new(void) TC_MUST_USE; /* NULL: no memory */
void tc_redactor_free(struct tc_redactor *redactor);
/* Appends to out what is ready (complete lines). */
void tc_redactor_add(struct tc_redactor *redactor, struct tc_span bytes, struct tc_buf *out);
/* Appends the rest, an unfinished line: what was written so far has ended. */
void tc_redactor_flush(struct tc_redactor *redactor, struct tc_buf *out);

#endif
