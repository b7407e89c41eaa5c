/* Connections to upstream: asked of the host by name, verified here, kept for the next
 * request to the same place. All builds' connections share them: nothing of HTTP belongs
 * to one connection, and what the host vouches for (credentials) is added to requests. */
#include "worker/recorder_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

tc_status tc_rec_ask_host(const struct tc_recorder *recorder, unsigned kind, struct tc_span payload,
                          struct tc_rec_wait *wait, struct tc_rec_stream *ret_stream, char *text,
                          size_t size, struct tc_error *err)
{
    const struct tc_egress_link *link = &recorder->config->link;
    uint8_t header[TC_EGRESS_HEADER_SIZE], answer[TC_EGRESS_TEXT_MAX];
    struct tc_egress_header head = {.kind = (uint8_t)kind, .size = (uint16_t)payload.size};
    struct tc_error ignored = {0};
    int fd = -1;
    int64_t since = tc_clock_ms();
    tc_status opened = link->open(link->context, &fd, err);
    if (wait) wait->waited_ms += tc_clock_ms() - since;
    if (opened != TC_OK) return tc_wrap(err, "the host gave no stream");
    TC_TRY(tc_rec_stream_open(recorder, fd, "the host", ret_stream, err));
    ret_stream->piece = link->piece;
    ret_stream->wait = wait;
    ret_stream->deadline = tc_clock_ms() + recorder->stall_ms;
    tc_egress_header_encode(&head, header);
    TC_TRY(tc_rec_stream_put(ret_stream, (struct tc_span){header, sizeof header}, err));
    TC_TRY(tc_rec_stream_put(ret_stream, payload, err));
    TC_TRY(tc_rec_stream_flush(ret_stream, err));
    TC_TRY(tc_rec_stream_read(ret_stream, header, sizeof header, err));
    if (tc_egress_header_decode(header, &head, &ignored) != TC_OK || head.size > sizeof answer)
        return tc_fail(err, TC_PEER, "the host's answer is none: %s",
                       ignored.message[0] ? ignored.message : "it is too long");
    TC_TRY(tc_rec_stream_read(ret_stream, answer, head.size, err));
    if (head.kind != 0) {
        char why[2 * TC_EGRESS_TEXT_MAX];
        return tc_fail(err, TC_PEER, "the host says: %s",
                       tc_printable((struct tc_span){answer, head.size}, why, sizeof why));
    }
    if (size > 0) (void)tc_printable((struct tc_span){answer, head.size}, text, size);
    ret_stream->deadline = 0;
    return TC_OK;
}

/* --- the pool --- */

void tc_upstream_free(struct tc_upstream *upstream)
{
    if (!upstream) return;
    tc_rec_stream_close(&upstream->stream);
    free(upstream);
}

static bool matches(const struct tc_upstream *upstream, const struct tc_rec_target *target)
{
    return upstream->port == target->port && upstream->tls == target->tls &&
           strcmp(upstream->host, target->host) == 0;
}

/* The newest match; those that are too old go on the way. */
static struct tc_upstream *find_idle(struct tc_rec_pool *pool, const struct tc_rec_target *target)
{
    int64_t now = tc_clock_ms();
    struct tc_upstream *found = NULL, **link = &pool->first;
    while (*link) {
        struct tc_upstream *upstream = *link;
        bool old = now - upstream->idle_since > TC_REC_IDLE_MS;
        if (!old && (found || !matches(upstream, target))) {
            link = &upstream->next;
            continue;
        }
        *link = upstream->next;
        pool->count--;
        if (old)
            tc_upstream_free(upstream);
        else
            found = upstream;
    }
    return found;
}

/* A server that has said something unasked, or that has left, is of no use. Some of it may
 * have been read already, below TLS. */
static bool is_quiet(const struct tc_upstream *upstream)
{
    if (upstream->stream.ssl && SSL_has_pending(upstream->stream.ssl)) return false;
    struct pollfd polled = {.fd = upstream->stream.fd, .events = POLLIN | POLLRDHUP};
    return poll(&polled, 1, 0) == 0;
}

static struct tc_upstream *take_idle(struct tc_rec_pool *pool, const struct tc_rec_target *target)
{
    for (;;) {
        (void)pthread_mutex_lock(&pool->lock);
        struct tc_upstream *found = find_idle(pool, target);
        (void)pthread_mutex_unlock(&pool->lock);
        if (!found || is_quiet(found)) return found;
        tc_upstream_free(found);
    }
}

/* Only one whose last response ended where it said, with nothing behind it. */
void tc_upstream_give(struct tc_recorder *recorder, struct tc_upstream *upstream)
{
    struct tc_rec_pool *pool = &recorder->pool;
    upstream->stream.wait = NULL;
    upstream->idle_since = tc_clock_ms();
    bool good = tc_rec_stream_have(&upstream->stream).size == 0 && !upstream->stream.failed &&
                !upstream->stream.ended && is_quiet(upstream);
    (void)pthread_mutex_lock(&pool->lock);
    good = good && pool->count < TC_REC_IDLE_MAX;
    if (good) {
        upstream->next = pool->first;
        pool->first = upstream;
        pool->count++;
    }
    (void)pthread_mutex_unlock(&pool->lock);
    if (!good) tc_upstream_free(upstream);
}

void tc_rec_pool_empty(struct tc_rec_pool *pool)
{
    while (pool->first) {
        struct tc_upstream *upstream = pool->first;
        pool->first = upstream->next;
        tc_upstream_free(upstream);
    }
    pool->count = 0;
}

/* --- a new one --- */

static tc_status shake_hands(struct tc_recorder *recorder, struct tc_upstream *upstream,
                             struct tc_error *err)
{
    SSL *ssl = NULL;
    TC_TRY(tc_rec_trust_client(recorder->trust, upstream->host, &ssl, err));
    upstream->stream.deadline = tc_clock_ms() + recorder->stall_ms;
    TC_TRY(tc_rec_stream_tls(&upstream->stream, ssl, false, err));
    upstream->stream.deadline = 0;
    return tc_rec_trust_proof(recorder->trust, upstream->host, ssl, &upstream->proof, err);
}

static tc_status dial(struct tc_recorder *recorder, struct tc_upstream *upstream,
                      struct tc_rec_wait *wait, struct tc_error *err)
{
    struct tc_buf payload TC_AUTO_BUF = tc_buf_new(TC_EGRESS_PAYLOAD_MAX);
    struct tc_egress_dial dial = {upstream->port, tc_span_of_text(upstream->host)};
    tc_egress_dial_encode(&dial, &payload);
    TC_TRY(tc_buf_check(&payload, "a question to the host", err));
    TC_TRY(tc_rec_ask_host(recorder, TC_EGRESS_DIAL, tc_buf_span(&payload), wait, &upstream->stream,
                           upstream->address, sizeof upstream->address, err));
    upstream->stream.who = "upstream";
    return upstream->tls ? shake_hands(recorder, upstream, err) : TC_OK;
}

tc_status tc_upstream_take(struct tc_recorder *recorder, const struct tc_rec_target *target,
                           bool fresh, struct tc_rec_wait *wait, struct tc_upstream **ret_upstream,
                           struct tc_error *err)
{
    struct tc_upstream *upstream = fresh ? NULL : take_idle(&recorder->pool, target);
    if (upstream) {
        upstream->reused = true;
        upstream->stream.wait = wait;
        *ret_upstream = upstream;
        return TC_OK;
    }
    upstream = calloc(1, sizeof *upstream);
    if (!upstream) return tc_fail(err, TC_SYSTEM, "out of memory for a connection");
    upstream->port = target->port;
    upstream->tls = target->tls;
    memcpy(upstream->host, target->host, strlen(target->host) + 1);
    tc_status status = dial(recorder, upstream, wait, err);
    if (status != TC_OK) {
        tc_upstream_free(upstream);
        return tc_wrap(err, "%s:%u", target->host, (unsigned)target->port);
    }
    *ret_upstream = upstream;
    return TC_OK;
}
