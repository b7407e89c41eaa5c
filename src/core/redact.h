/* Redaction of the build's log by rule, line by line, before a byte of it is
 * shown, sent or hashed: values of Authorization, Proxy-Authorization, Cookie
 * and Set-Cookie headers, user info in URLs, values of query parameters and of
 * NAME=value words whose name says token, secret, password, passwd, api_key or
 * signature, and words that begin like well-known tokens (ghp_, gho_, ghs_,
 * github_pat_, glpat-, npm_, AKIA + 16, xox[bap]-). Each becomes "[redacted]".
 * It is a net for accidents, no promise. Pure and streaming: lines of any
 * length, memory of one line up to TC_REDACT_LINE_MAX, longer ones in pieces. */
#ifndef TC_CORE_REDACT_H
#define TC_CORE_REDACT_H

#include "base/bytes.h"

enum { TC_REDACT_LINE_MAX = 16384 };

struct tc_redactor;
struct tc_redactor *tc_redactor_new(void) TC_MUST_USE; /* NULL: no memory */
void tc_redactor_free(struct tc_redactor *redactor);
/* Appends to out what is ready (complete lines). */
void tc_redactor_add(struct tc_redactor *redactor, struct tc_span bytes, struct tc_buf *out);
/* Appends the rest. */
void tc_redactor_flush(struct tc_redactor *redactor, struct tc_buf *out);

#endif
