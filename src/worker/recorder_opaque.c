/* What build.json lists as opaque: bytes go through unread, their numbers are written
 * down. The verifier treats all of it as chosen by whoever ran the build. */
#include "worker/recorder_internal.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include <sys/socket.h>

#include "base/cleanup.h"

/* One direction. Bytes that were read are in `from`; what was sent is counted. */
struct flow {
    struct tc_rec_stream *from, *to;
    uint64_t bytes;
    bool done;
};

static tc_status pass_on(struct flow *flow, struct tc_error *err)
{
    struct tc_span have = tc_rec_stream_have(flow->from);
    TC_TRY(tc_rec_stream_put(flow->to, have, err));
    TC_TRY(tc_rec_stream_flush(flow->to, err));
    flow->bytes += have.size;
    tc_rec_stream_used(flow->from, have.size);
    if (flow->from->ended) {
        flow->done = true;
        (void)shutdown(flow->to->fd, SHUT_WR);
    }
    return TC_OK;
}

static tc_status move(struct flow *flow, struct tc_error *err)
{
    TC_TRY(tc_rec_stream_fill(flow->from, err));
    return pass_on(flow, err);
}

/* Either may be silent for as long as it likes: only the end of the build, or of the
 * recorder, ends this. A writer that is not read from holds up the other direction too. */
static tc_status relay(struct flow flows[2], int stop_fd, struct tc_error *err)
{
    TC_TRY(pass_on(&flows[1], err)); /* came with the host's answer */
    while (!flows[0].done || !flows[1].done) {
        struct pollfd polled[3] = {{.fd = stop_fd, .events = POLLIN}};
        for (int i = 0; i < 2; i++)
            polled[i + 1] =
                (struct pollfd){.fd = flows[i].done ? -1 : flows[i].from->fd, .events = POLLIN};
        if (poll(polled, 3, -1) < 0 && errno != EINTR)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for a connection");
        if (polled[0].revents)
            return tc_fail(err, TC_INTERRUPTED, "the recorder ends its connections");
        for (int i = 0; i < 2; i++)
            if (polled[i + 1].revents) TC_TRY(move(&flows[i], err));
    }
    return TC_OK;
}

static void write_down(struct tc_rec_conn *conn, const struct flow flows[2], const char *address,
                       tc_status status, const struct tc_error *err)
{
    struct tc_exchange record = {.time = (int64_t)time(NULL),
                                 .outcome =
                                     status == TC_OK ? TC_EXCHANGE_OPAQUE : TC_EXCHANGE_FAILED,
                                 .scheme = strdup("opaque"),
                                 .host = strdup(conn->name),
                                 .port = conn->port,
                                 .address = address[0] ? strdup(address) : NULL,
                                 .attempts = 1,
                                 .request_size = flows[0].bytes,
                                 .response_size = flows[1].bytes,
                                 .reason = status == TC_OK ? NULL : strdup(err->message)};
    struct tc_error problem = {0};
    if (tc_rec_book_add(&conn->recorder->book, &record, &problem) != TC_OK)
        tc_recorder_break(conn->recorder, &problem);
    tc_exchange_free(&record);
    if (status != TC_OK) tc_recorder_break(conn->recorder, err);
}

void tc_rec_opaque(struct tc_rec_conn *conn, struct tc_rec_stream *build)
{
    struct tc_error err = {0};
    struct tc_rec_target target = {conn->name, conn->port, false};
    struct tc_rec_wait wait = {.watch_fd = build->fd};
    struct tc_upstream *upstream = NULL;
    struct flow flows[2] = {{.from = build}, {.to = build}};
    tc_status status = tc_upstream_take(conn->recorder, &target, true, &wait, &upstream, &err);
    if (status == TC_OK) {
        upstream->stream.wait = NULL;
        flows[0].to = flows[1].from = &upstream->stream;
        status = relay(flows, conn->recorder->stop_fd, &err);
        /* The build may leave when it likes: nobody could say what it still waited for. */
        if (status == TC_PEER && build->failed) status = TC_OK;
    }
    write_down(conn, flows, upstream ? upstream->address : "", status, &err);
    tc_upstream_free(upstream);
}
