/* --pcr N=HEX, of every command that has it. */
#ifndef TC_CMD_PCR_OPTION_H
#define TC_CMD_PCR_OPTION_H

#include "verify/verify.h"

/* Adds one "N=HEX": N from 0 to 31, 96 hex digits of either case. TC_USAGE, and
 * pcrs as they were, for anything else and for a PCR that was given before. */
tc_status tc_pcr_option_add(const char *text, struct tc_pcrs_asked *pcrs, struct tc_error *err)
    TC_MUST_USE;

#endif
