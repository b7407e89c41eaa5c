#include "http1_lab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

void expect_text(struct tc_span seen, const char *wanted)
{
    if (!tc_span_equal(seen, tc_span_of_text(wanted)))
        fail_msg("\"%.*s\", expected \"%s\"", (int)seen.size, (const char *)seen.data, wanted);
}

void expect_refusal(tc_status status, const struct tc_http_head *head, const struct tc_error *err,
                    const char *text, const char *why)
{
    static const struct tc_http_head untouched;
    if (status == TC_OK) fail_msg("\"%s\" was accepted", text);
    assert_int_equal(status, TC_MALFORMED);
    if (!strstr(err->message, why))
        fail_msg("\"%s\" was refused with \"%s\", expected \"%s\"", text, err->message, why);
    assert_memory_equal(head, &untouched, sizeof untouched);
}
