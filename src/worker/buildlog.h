/* The build's log on its way out: redacted, hashed, counted against limits.log
 * and sent to the host as it comes. */
#ifndef TC_WORKER_BUILDLOG_H
#define TC_WORKER_BUILDLOG_H

#include "core/redact.h"
#include "core/statement.h"
#include "os/channel.h"

struct tc_buildlog {
    struct tc_channel *host; /* borrowed */
    struct tc_redactor *redactor;
    struct tc_hash *hash;
    struct tc_buf ready; /* redacted, not yet sent */
    uint64_t raw;        /* bytes that commands wrote */
    uint64_t size;       /* bytes sent */
    uint64_t limit;
    struct tc_buf *capture; /* also gets the redacted bytes, up to its max; NULL: none */
};

tc_status tc_buildlog_init(struct tc_buildlog *log, struct tc_channel *host, uint64_t limit,
                           struct tc_error *err) TC_MUST_USE;
void tc_buildlog_done(struct tc_buildlog *log); /* accepts a zeroed one */

/* TC_LIMIT when the limit is passed: what fits is sent all the same, for whoever
 * looks for the reason. */
tc_status tc_buildlog_add(struct tc_buildlog *log, struct tc_span bytes, struct tc_error *err)
    TC_MUST_USE;
/* Sends an unfinished last line; at the end of each command. */
tc_status tc_buildlog_flush(struct tc_buildlog *log, struct tc_error *err) TC_MUST_USE;
tc_status tc_buildlog_finish(struct tc_buildlog *log, struct tc_part_log *ret_part,
                             struct tc_error *err) TC_MUST_USE;

#endif
