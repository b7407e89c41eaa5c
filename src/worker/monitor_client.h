/* The session's side of the monitor: sends the parts, asks to bind, asks to
 * sign; and the recorder's: says what the network did. What may be sent when stands in
 * monitor.c. */
#ifndef TC_WORKER_MONITOR_CLIENT_H
#define TC_WORKER_MONITOR_CLIENT_H

#include "worker/parts.h"

/* Sends source, recipe and nonce and returns when PCR16 holds their binding and
 * is locked. */
tc_status tc_monitor_bind(struct tc_channel *monitor, const struct tc_part_source *source,
                          const struct tc_part_recipe *recipe, struct tc_span nonce,
                          struct tc_error *err) TC_MUST_USE;

tc_status tc_monitor_collected(struct tc_channel *monitor, const struct tc_collected *collected,
                               struct tc_error *err) TC_MUST_USE;

/* What the monitor signed. */
struct tc_signed {
    struct tc_buf statement, envelope, document;
};
void tc_signed_free(struct tc_signed *signed_parts);

/* Sends subjects and log (of statement) and takes what was signed. */
tc_status tc_monitor_finish(struct tc_channel *monitor, const struct tc_statement *statement,
                            struct tc_signed *ret_signed, struct tc_error *err) TC_MUST_USE;

/* The recorder's, over its own socket. The ref that it read itself: once, at any time
 * before the next. */
tc_status tc_monitor_witness(struct tc_channel *monitor, const struct tc_part_witness *witness,
                             struct tc_error *err) TC_MUST_USE;
/* Closes the books: the network with its lists of hosts, the dependencies in order, the
 * transcript. Nothing is answered. */
tc_status tc_monitor_network(struct tc_channel *monitor, const struct tc_part_network *network,
                             const struct tc_dependency *dependencies, size_t count,
                             const struct tc_part_transcript *transcript, struct tc_error *err)
    TC_MUST_USE;

#endif
