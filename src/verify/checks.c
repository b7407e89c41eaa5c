#include "verify/checks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* A copy that is safe on a terminal. Messages are so already and pass as they
 * are: escaping them again would double their backslashes. */
static char *safe_copy(const char *text)
{
    char *copy = malloc(TC_ERROR_MAX);
    if (!copy) return NULL;
    if (tc_is_printable(tc_span_of_text(text)) && strlen(text) < TC_ERROR_MAX)
        memcpy(copy, text, strlen(text) + 1);
    else
        tc_printable(tc_span_of_text(text), copy, TC_ERROR_MAX);
    return copy;
}

tc_status tc_checks_begin(struct tc_verdict *verdict, struct tc_error *err)
{
    verdict->checks = calloc(TC_CHECKS_MAX, sizeof *verdict->checks);
    return verdict->checks ? TC_OK : tc_fail(err, TC_SYSTEM, "out of memory for the checks");
}

bool tc_checks_add(struct tc_verdict *verdict, const char *name, enum tc_check_result result,
                   const char *expected, const char *seen)
{
    if (verdict->checks_count == TC_CHECKS_MAX) return false;
    struct tc_check *check = &verdict->checks[verdict->checks_count++];
    *check = (struct tc_check){name, result, safe_copy(expected), safe_copy(seen)};
    if (!check->expected || !check->seen) return false;
    bool counts = result == TC_CHECK_FAIL || (result == TC_CHECK_NOT_JUDGED && !verdict->reason[0]);
    if (!counts || (verdict->reason[0] && !verdict->reason_is_weak)) return true;
    verdict->reason_is_weak = result == TC_CHECK_NOT_JUDGED;
    char text[2 * TC_ERROR_MAX + 64];
    (void)snprintf(text, sizeof text, "%s: expected %s; saw %s", name, check->expected,
                   check->seen);
    size_t size = strlen(text) < TC_ERROR_MAX ? strlen(text) : TC_ERROR_MAX - 1;
    /* Not in the middle of a character. */
    while (size > 0 && ((unsigned char)text[size] & 0xc0) == 0x80)
        size--;
    memcpy(verdict->reason, text, size);
    verdict->reason[size] = '\0';
    return true;
}

bool tc_checks_warn(struct tc_verdict *verdict, const char *text)
{
    if (verdict->warnings_count == TC_WARNINGS_MAX) return true;
    char *copy = safe_copy(text);
    if (copy) verdict->warnings[verdict->warnings_count++] = copy;
    return copy != NULL;
}

enum tc_verdict_kind tc_checks_conclude(const struct tc_verdict *verdict)
{
    bool debug = false, open = false;
    for (size_t i = 0; i < verdict->checks_count; i++) {
        if (verdict->checks[i].result == TC_CHECK_FAIL) return TC_VERDICT_REFUSED;
        open = open || verdict->checks[i].result == TC_CHECK_NOT_JUDGED;
        if (strcmp(verdict->checks[i].name, "debug") == 0)
            debug = verdict->checks[i].result != TC_CHECK_PASS;
    }
    if (open) return TC_VERDICT_UNDECIDED;
    return verdict->hardware && !debug && !verdict->weak_live ? TC_VERDICT_AUTHENTIC
                                                              : TC_VERDICT_DEVELOPMENT;
}

#define ROW(suffix, ten)                                                                           \
    "pcr" ten "0" suffix, "pcr" ten "1" suffix, "pcr" ten "2" suffix, "pcr" ten "3" suffix,        \
        "pcr" ten "4" suffix, "pcr" ten "5" suffix, "pcr" ten "6" suffix, "pcr" ten "7" suffix,    \
        "pcr" ten "8" suffix, "pcr" ten "9" suffix
#define TABLE(suffix)                                                                              \
    ROW(suffix, ""), ROW(suffix, "1"), ROW(suffix, "2"), "pcr30" suffix, "pcr31" suffix

const char *tc_checks_pcr_name(unsigned index)
{
    static const char *const names[TC_NITRODOC_PCRS] = {TABLE("")};
    return names[index];
}

const char *tc_checks_pcr_asked_name(unsigned index)
{
    static const char *const names[TC_NITRODOC_PCRS] = {TABLE("-asked")};
    return names[index];
}
