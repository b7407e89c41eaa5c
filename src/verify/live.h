/* A live bundle, verified, for the judgement of a replayed one: what its build was
 * answered over the network, as keys alone, and whom it trusted there. Immutable once read. */
#ifndef TC_VERIFY_LIVE_H
#define TC_VERIFY_LIVE_H

#include "verify/verify.h"

enum { TC_LIVE_MAX = 1 << 20 }; /* answers of one bundle */

bool tc_live_has(const struct tc_live *live, const struct tc_sha256 *key);

/* The host of a trust anchor that the live build's source brought and the other one's does
 * not bring for it; NULL: there is none. */
const char *tc_live_other_ca(const struct tc_live *live, const struct tc_part_network *network);

#endif
