/* What tests expect of the heads that are read and written. */
#ifndef TC_TESTS_HTTP1_LAB_H
#define TC_TESTS_HTTP1_LAB_H

#include "core/http1.h"

void expect_text(struct tc_span seen, const char *wanted);

/* Refused with this in the message, and the output as it was: zeros. */
void expect_refusal(tc_status status, const struct tc_http_head *head, const struct tc_error *err,
                    const char *text, const char *why);

#endif
