/* Platform configuration registers, as the Nitro hardware computes them. */
#ifndef TC_CORE_PCR_H
#define TC_CORE_PCR_H

#include "core/digest.h"

/* new = SHA-384(old || data): what the NSM's ExtendPCR does. */
tc_status tc_pcr_extend(struct tc_sha384 *pcr, struct tc_span data, struct tc_error *err)
    TC_MUST_USE;

/* PCR0, 1 and 2 of the local back end when the toolchain is the machine's own
 * (`--image host`): SHA-384 of the text "tee-compile: the toolchain of this
 * build is the host's own and was not measured\n". Never zero. */
tc_status tc_pcr_unmeasured(struct tc_sha384 *ret_pcr, struct tc_error *err) TC_MUST_USE;

/* Where the binding of statement.h is extended and locked before the build. */
enum { TC_PCR_BINDING = 16 };

#endif
