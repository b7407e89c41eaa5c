/* What the exchanges of a transcript come to in the statement: the bodies that the build
 * was given and the hosts that nobody vouched for. The recorder makes it while it writes,
 * the verifier from the lines that it reads, and both must come to the same. Pure. */
#ifndef TC_CORE_RESOLVED_H
#define TC_CORE_RESOLVED_H

#include "core/statement.h"
#include "core/transcript.h"

struct tc_resolved;
struct tc_resolved *tc_resolved_new(void) TC_MUST_USE; /* NULL: no memory */
void tc_resolved_free(struct tc_resolved *resolved);   /* accepts NULL */

/* TC_LIMIT past TC_DEPENDENCIES_MAX different bodies or TC_UNAUTHENTICATED_MAX hosts. */
tc_status tc_resolved_add(struct tc_resolved *resolved, const struct tc_exchange *exchange,
                          struct tc_error *err) TC_MUST_USE;

/* Sorted, none twice. Hands everything over: dependencies to the caller, the lists of
 * hosts into plain_http and opaque of the network, which had none. */
tc_status tc_resolved_finish(struct tc_resolved *resolved, struct tc_part_network *network,
                             struct tc_dependency **ret_list, size_t *ret_count,
                             struct tc_error *err) TC_MUST_USE;

#endif
