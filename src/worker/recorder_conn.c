/* One connection of the build, from its first byte to its last: opaque, TLS or HTTP; then
 * request after request. Whoever is none of these is refused.
 *
 * A connection that has nothing to ask holds one of the recorder's places. It gives it up
 * when another one waits for one (room_fd), and after HEAD_STALLS times stall_ms in any case.
 *
 * A build that does not come to the end of a handshake or a head may have been starved by the
 * host, which must not choose what the build gets to see: that is a failure, not a refusal. */
#include "worker/recorder_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sys/socket.h>

#include "base/cleanup.h"

enum {
    BUILD_STALLS = 15,    /* a build may take so many times stall_ms to read or to write */
    HEAD_STALLS = 5,      /* the same for all of a handshake or a head, and for silence before */
    SILENT_PART = 30,     /* stall_ms / 30 without a first byte, then others may have the place */
    IDLE_PART = 300,      /* the same between requests */
    TLS_HANDSHAKE = 0x16, /* the first byte of a connection of TLS */
    STATUS_MALFORMED = 400,
};

/* --- a line about a connection that never got to a request --- */

static void note(const struct tc_rec_conn *conn, enum tc_exchange_outcome outcome,
                 const char *scheme, const char *reason)
{
    struct tc_error problem = {0};
    struct tc_exchange record = {.time = (int64_t)time(NULL),
                                 .outcome = outcome,
                                 .scheme = scheme ? strdup(scheme) : NULL,
                                 .host = strdup(conn->name[0] ? conn->name : conn->address),
                                 .port = conn->port,
                                 .reason = strdup(reason)};
    if (tc_rec_book_add(&conn->recorder->book, &record, &problem) != TC_OK)
        tc_recorder_break(conn->recorder, &problem);
    tc_exchange_free(&record);
    if (outcome == TC_EXCHANGE_FAILED) {
        (void)tc_fail(&problem, TC_PEER, "%s:%u: %s", conn->name, (unsigned)conn->port, reason);
        tc_recorder_break(conn->recorder, &problem);
    }
}

/* It ended before it said anything. Nobody kept it waiting, unless all places were taken. */
static void note_silence(const struct tc_rec_conn *conn, bool hung_up)
{
    if (conn->late)
        note(conn, TC_EXCHANGE_FAILED, "https",
             hung_up ? "the build hung up after it had waited for one of the recorder's connections"
                     : "the build said nothing after it had waited for one of the recorder's "
                       "connections");
}

static void limit_time(const struct tc_rec_conn *conn, struct tc_rec_stream *build)
{
    build->deadline = tc_clock_ms() + conn->recorder->stall_ms * HEAD_STALLS;
}

/* --- waiting for what the build says --- */

static bool give_place(const struct tc_rec_conn *conn)
{
    uint64_t one;
    if (tc_recorder_is_finishing(conn->recorder)) return true;
    return read(conn->recorder->room_fd, &one, sizeof one) == (ssize_t)sizeof one;
}

/* Until there is something to read; false: the connection is to end. */
static bool await_request(const struct tc_rec_conn *conn, const struct tc_rec_stream *build,
                          bool first)
{
    int64_t since = tc_clock_ms(), stall = conn->recorder->stall_ms;
    int64_t until = since + stall * HEAD_STALLS;
    int64_t keep = since + stall / (first ? SILENT_PART : IDLE_PART);
    if (tc_rec_stream_have(build).size > 0 || (build->ssl && SSL_has_pending(build->ssl)))
        return true;
    for (;;) {
        int64_t now = tc_clock_ms(), end = now < keep ? keep : until;
        struct pollfd polled[3] = {
            {.fd = build->fd, .events = POLLIN},
            {.fd = conn->recorder->stop_fd, .events = POLLIN},
            {.fd = now < keep ? -1 : conn->recorder->room_fd, .events = POLLIN}};
        int left = end - now > INT32_MAX ? INT32_MAX : end > now ? (int)(end - now) : 0;
        int ready = poll(polled, 3, left);
        if (ready < 0 && errno != EINTR) return false;
        if (ready < 0) continue;
        if (polled[1].revents) return false;
        if (polled[0].revents) return true;
        if (polled[2].revents && give_place(conn)) return false;
        if (ready == 0 && now >= keep) return false;
    }
}

/* --- requests --- */

static void refuse_head(const struct tc_rec_conn *conn, struct tc_rec_stream *build,
                        const struct tc_error *err)
{
    note(conn, TC_EXCHANGE_DENIED, build->ssl ? "https" : "http", err->message);
    tc_rec_answer(build, (struct tc_span){NULL, 0}, STATUS_MALFORMED, err->message);
}

static void serve_requests(const struct tc_rec_conn *conn, struct tc_rec_stream *build)
{
    struct tc_rec_target target = {conn->name, conn->port, build->ssl != NULL};
    struct tc_error err = {0};
    for (bool first = true; await_request(conn, build, first); first = false) {
        size_t size = 0;
        limit_time(conn, build);
        tc_status status = tc_rec_stream_head(build, &size, &err);
        build->deadline = 0;
        if (status == TC_MALFORMED || status == TC_LIMIT) {
            refuse_head(conn, build, &err);
            return;
        }
        if (build->stalled)
            note(conn, TC_EXCHANGE_FAILED, build->ssl ? "https" : "http", err.message);
        if (status != TC_OK || size == 0) return;
        if (!tc_rec_ask_serve(conn->recorder, &target, build, size)) return;
    }
}

static void serve_tls(const struct tc_rec_conn *conn, struct tc_rec_stream *build)
{
    struct tc_rec_said said = {.name = conn->name};
    struct tc_error err = {0};
    SSL *ssl = NULL;
    if (tc_rec_ca_server(conn->recorder->ca, &said, &ssl, &err) != TC_OK) {
        tc_recorder_break(conn->recorder, &err);
        return;
    }
    limit_time(conn, build);
    tc_status status = tc_rec_stream_tls(build, ssl, true, &err);
    build->deadline = 0;
    if (status == TC_OK) {
        serve_requests(conn, build);
        return;
    }
    if (status == TC_INTERRUPTED) return;
    if (build->stalled) {
        note(conn, TC_EXCHANGE_FAILED, "https", err.message);
        return;
    }
    if (conn->late) {
        note_silence(conn, true);
        return;
    }
    if (said.other[0])
        (void)tc_fail(&err, TC_REFUSED,
                      "TLS for %s (SNI) on a connection to %s: they must be the same", said.other,
                      conn->name);
    note(conn, TC_EXCHANGE_DENIED, "https", err.message);
}

/* --- what kind it is --- */

static const char *foreign_kind(const uint8_t *bytes, size_t size)
{
    if (size >= 4 && memcmp(bytes, "SSH-", 4) == 0) return "ssh";
    if (size >= 8 && memcmp(bytes + 4, "git-", 4) == 0) return "the git protocol (git://)";
    if (size >= 4 && memcmp(bytes, "PRI ", 4) == 0) return "HTTP/2";
    if (bytes[0] < 'A' || bytes[0] > 'Z') return "neither HTTP nor TLS";
    return NULL;
}

static void refuse_kind(const struct tc_rec_conn *conn, const char *what)
{
    struct tc_error err = {0};
    (void)tc_fail(
        &err, TC_REFUSED,
        "%s:%u: %s, and only HTTP/1.1 with or without TLS is recorded: use https, or list "
        "\"%s:%u\" in network.opaque of build.json",
        conn->name, (unsigned)conn->port, what, conn->name, (unsigned)conn->port);
    note(conn, TC_EXCHANGE_DENIED, NULL, err.message);
}

static void serve_kind(const struct tc_rec_conn *conn, struct tc_rec_stream *build)
{
    uint8_t bytes[8];
    if (!await_request(conn, build, true)) {
        note_silence(conn, false);
        return;
    }
    ssize_t got = recv(build->fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
    const char *foreign = got > 0 ? foreign_kind(bytes, (size_t)got) : NULL;
    if (got <= 0)
        note_silence(conn, true);
    else if (bytes[0] == TLS_HANDSHAKE)
        serve_tls(conn, build);
    else if (foreign)
        refuse_kind(conn, foreign);
    else
        serve_requests(conn, build);
}

static void serve(struct tc_rec_conn *conn, struct tc_rec_stream *build)
{
    struct tc_error err = {0};
    const struct tc_network *network = conn->recorder->config->network;
    if (conn->name[0] == '\0') {
        bool v6 = strchr(conn->address, ':') != NULL;
        (void)tc_fail(&err, TC_REFUSED,
                      "%s%s%s:%u: an address that no name stands for: ask for it by name",
                      v6 ? "[" : "", conn->address, v6 ? "]" : "", (unsigned)conn->port);
        note(conn, TC_EXCHANGE_DENIED, NULL, err.message);
        return;
    }
    if (tc_network_check(network, TC_SCHEME_OPAQUE, tc_span_of_text(conn->name), conn->port,
                         &err) == TC_OK)
        tc_rec_opaque(conn, build);
    else
        serve_kind(conn, build);
}

void tc_rec_conn_serve(struct tc_rec_conn *conn)
{
    struct tc_rec_stream build;
    struct tc_error err = {0};
    if (tc_rec_stream_open(conn->recorder, conn->fd, "the build", &build, &err) != TC_OK) {
        tc_recorder_break(conn->recorder, &err);
        return;
    }
    build.idle_ms = conn->recorder->stall_ms * BUILD_STALLS;
    serve(conn, &build);
    if (!build.eof) tc_rec_stream_end(&build, false);
    tc_rec_stream_close(&build);
}
