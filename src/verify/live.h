/* A live bundle, verified, for the judgement of a replayed one: what its build was
 * answered over the network, as keys alone. Immutable once read. */
#ifndef TC_VERIFY_LIVE_H
#define TC_VERIFY_LIVE_H

#include "verify/verify.h"

enum { TC_LIVE_MAX = 1 << 20 }; /* answers of one bundle */

bool tc_live_has(const struct tc_live *live, const struct tc_sha256 *key);

#endif
