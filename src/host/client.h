/* The host's side of a session: sends the source, shows the log, writes what
 * comes back as a bundle. Trusts the worker no more than the worker trusts it:
 * each frame is checked, what comes is held to the limits that the worker has to keep, in
 * bytes and in time, and the caller verifies the finished bundle before anybody hears of
 * success. */
#ifndef TC_HOST_CLIENT_H
#define TC_HOST_CLIENT_H

#include "core/buildspec.h"
#include "core/credential.h"
#include "core/wire.h"

struct tc_client_config {
    int fd;           /* stream to the worker; borrowed */
    int interrupt_fd; /* readable: stop with TC_INTERRUPTED; -1: none */
    /* What the worker may send and how long it may take: tc_client_bound. The time is for all
     * commands together, and once more for the hashing and signing of their outputs. */
    uint64_t log_max, outputs_max; /* bytes */
    int64_t build_max_ms;
    struct tc_wire_hello hello;
    const struct tc_wire_credential *credentials; /* at most TC_CREDENTIALS_MAX */
    size_t credentials_count;
    struct tc_span build_file;
    void *context; /* for the callbacks */
    /* Sends the source up to and with SOURCE_END through send. */
    tc_status (*send_source)(void *context, void *sink,
                             tc_status (*send)(void *sink, enum tc_wire_kind kind,
                                               struct tc_span payload, struct tc_error *err),
                             struct tc_error *err);
    /* Appends what goes into the bundle as the document to buf. NULL: what the worker sent. */
    tc_status (*sign)(void *context, struct tc_span document, struct tc_buf *buf,
                      struct tc_error *err);
    void (*on_phase)(void *context, enum tc_phase phase);
    void (*on_log)(void *context, struct tc_span bytes);
    int log_fd;      /* gets the log; read back into the bundle */
    int bundle_fd;   /* gets the bundle with outputs; -1: not wanted */
    int detached_fd; /* gets the bundle without outputs; -1: not wanted */
};

/* By the limits that the worker has to keep, and a margin. */
void tc_client_bound(const struct tc_limits *limits, struct tc_client_config *config);

/* Runs the session to its end. TC_PEER: the worker hung up, or goes beyond a bound. On failure the
 * descriptors hold rubbish, but for log_fd, which holds the log so far. A FAIL of the worker
 * becomes the error. */
tc_status tc_client_run(const struct tc_client_config *config, struct tc_error *err) TC_MUST_USE;

#endif
