/* The list that every verdict ends in, of bundles and of bare documents alike. */
#ifndef TC_VERIFY_CHECKS_H
#define TC_VERIFY_CHECKS_H

#include "verify/verify.h"

/* More than any verdict has: some 30 checks and one for each PCR asked. */
enum { TC_CHECKS_MAX = 96 };

/* TC_SYSTEM: no memory. */
tc_status tc_checks_begin(struct tc_verdict *verdict, struct tc_error *err) TC_MUST_USE;

/* Adds a check; the first that fails gives the verdict its reason. name must
 * outlive the verdict; texts are copied, and escaped where they are not
 * printable. False: no memory, and the verdict must not be given to anybody. */
bool tc_checks_add(struct tc_verdict *verdict, const char *name, enum tc_check_result result,
                   const char *expected, const char *seen) TC_MUST_USE;

/* Adds a warning, which refuses nothing; the text as above. More than
 * TC_WARNINGS_MAX are not kept. False: no memory. */
bool tc_checks_warn(struct tc_verdict *verdict, const char *text) TC_MUST_USE;

/* What the checks add up to when the evidence could be read at all. */
enum tc_verdict_kind tc_checks_conclude(const struct tc_verdict *verdict);

/* "pcr7" and "pcr7-asked", for as long as the program runs. index < 32. */
const char *tc_checks_pcr_name(unsigned index);
const char *tc_checks_pcr_asked_name(unsigned index);

#endif
