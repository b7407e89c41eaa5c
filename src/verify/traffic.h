/* What a transcript's lines come to, gathered while the bundle passes: the statement,
 * which has the same in short, stands behind them. Bounded memory. */
#ifndef TC_VERIFY_TRAFFIC_H
#define TC_VERIFY_TRAFFIC_H

#include "core/resolved.h"
#include "verify/verify.h"

struct tc_traffic_count { /* of things, and the first of them, printable */
    uint64_t count;
    char first[256];
};

struct tc_traffic {
    /* What the options compare with; borrowed, may be NULL. */
    const struct tc_live *live;
    const struct tc_policy *policy;

    struct tc_resolved *resolved; /* NULL once it is finished, or has failed */
    bool is_resolved;             /* network's lists and dependencies hold */
    struct tc_error error;        /* else why not */
    struct tc_part_network network;
    struct tc_dependency *dependencies;
    size_t dependencies_count;

    /* Whose trust anchor of the source verified a host: host and path of each exchange that
     * names one; sorted, no two alike, no digests. All of them once is_resolved. */
    struct tc_extra_ca *anchors;
    size_t anchors_count, anchors_room;

    struct tc_host_traffic *hosts; /* at most TC_TRAFFIC_HOSTS_MAX */
    size_t hosts_count;

    struct tc_traffic_count plain; /* answers without TLS whose digest no file of the source has */
    struct tc_traffic_count outside; /* answers of hosts that the policy does not name */
    struct tc_traffic_count unseen;  /* answers that the live bundle does not have */
    struct tc_traffic_count hidden;  /* that it has, for a URL with a hidden part, and no pin */
    struct tc_traffic_count failed;  /* exchanges after which nothing may be signed */
    uint64_t answers, archived;      /* of them, by an archive */
};

tc_status tc_traffic_begin(struct tc_traffic *traffic, const struct tc_verify_options *options,
                           struct tc_error *err) TC_MUST_USE; /* options may be NULL */
/* A tc_exchange_fn: context is the traffic. Fails only for want of memory. */
tc_status tc_traffic_add(void *context, const struct tc_exchange *exchange, struct tc_error *err);
/* Behind the last line: sorts hosts by bytes, the most first. */
void tc_traffic_finish(struct tc_traffic *traffic);
void tc_traffic_free(struct tc_traffic *traffic); /* accepts a zeroed one */

/* What two answers must have in common to be the same one: SHA-256 over method LF URL LF,
 * the digests of both bodies in hex with an LF each, status LF, and of each field
 * that the transcript keeps but date, server and via SIZE:NAME SIZE:VALUE LF, without the space.
 * Status and fields can be all that an answer says, as of a HEAD. */
tc_status tc_answer_key(const struct tc_exchange *exchange, struct tc_sha256 *ret_key,
                        struct tc_error *err) TC_MUST_USE;

#endif
