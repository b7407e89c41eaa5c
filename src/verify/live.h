/* A live bundle, verified, for the judgement of a replayed one: what its build was
 * answered over the network, as keys alone, whom it trusted there, and what it came to
 * itself. Immutable once read. */
#ifndef TC_VERIFY_LIVE_H
#define TC_VERIFY_LIVE_H

#include "verify/verify.h"

enum { TC_LIVE_MAX = 1 << 20 }; /* answers of one bundle */

struct tc_live *tc_live_new(void) TC_MUST_USE; /* NULL: no memory; judges nothing yet */
/* context is the tc_live; keeps what was answered whole. TC_LIMIT beyond TC_LIVE_MAX. */
tc_status tc_live_add(void *context, const struct tc_exchange *exchange, struct tc_error *err)
    TC_MUST_USE;

bool tc_live_has(const struct tc_live *live, const struct tc_sha256 *key);

/* What the live bundle itself came to: TC_VERDICT_AUTHENTIC or TC_VERDICT_DEVELOPMENT. */
enum tc_verdict_kind tc_live_kind(const struct tc_live *live);
/* Its image was measured; false: it was good by --allow-unmeasured alone. */
bool tc_live_is_measured(const struct tc_live *live);

/* The host of a trust anchor that the live build's source brought and the other one's does
 * not bring for it; NULL: there is none. */
const char *tc_live_other_ca(const struct tc_live *live, const struct tc_part_network *network);

#endif
