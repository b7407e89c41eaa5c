/* One request of the build: read, judged by the grammar and by build.json, and only then
 * asked. A refusal is an answer with a text and a line in the transcript.
 *
 * Its body is kept up to a cap, so that the request can be made again; what is above the
 * cap goes to upstream as it comes, and such a request has one attempt. */
#include "worker/recorder_internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/text.h"

enum { STATUS_MALFORMED = 400, STATUS_DENIED = 403 };

static tc_status no_memory(struct tc_error *err)
{
    return tc_fail(err, TC_SYSTEM, "out of memory for a request");
}

/* --- answers of our own --- */

void tc_rec_answer(struct tc_rec_stream *build, struct tc_span method, unsigned status,
                   const char *text)
{
    struct tc_buf buf TC_AUTO_BUF = tc_buf_new(TC_HTTP_HEAD_MAX);
    struct tc_error ignored = {0};
    bool head = tc_span_equal(method, tc_span_of_text("HEAD"));
    const char *reason = status == STATUS_MALFORMED ? "Bad Request"
                         : status == STATUS_DENIED  ? "Forbidden"
                                                    : "Bad Gateway";
    tc_buf_add_format(&buf,
                      "HTTP/1.1 %u %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
                      "Content-Length: %zu\r\nConnection: close\r\n\r\n",
                      status, reason, strlen(text) + strlen("tee-compile: \n"));
    if (!head) tc_buf_add_format(&buf, "tee-compile: %s\n", text);
    if (!tc_buf_ok(&buf) || build->failed) return;
    build->deadline = tc_clock_ms() + build->recorder->stall_ms;
    /* Who does not listen is told nothing. */
    if (tc_rec_stream_put(build, tc_buf_span(&buf), &ignored) == TC_OK)
        tc_rec_stream_end(build, true);
}

/* --- the record --- */

tc_status tc_rec_ask_request(const struct tc_rec_ask *ask, struct tc_sha256 *ret_digest,
                             struct tc_error *err)
{
    struct tc_hash *copy TC_AUTO_HASH = tc_hash_copy(ask->request_hash);
    if (!copy) return tc_fail(err, TC_SYSTEM, "out of memory for a request");
    return tc_hash_finish(copy, ret_digest->bytes, sizeof ret_digest->bytes, err);
}

tc_status tc_rec_ask_response(const struct tc_rec_ask *ask, struct tc_sha256 *ret_digest,
                              struct tc_error *err)
{
    struct tc_hash *copy TC_AUTO_HASH = tc_hash_copy(ask->hash);
    if (!copy) return tc_fail(err, TC_SYSTEM, "out of memory for a response");
    return tc_hash_finish(copy, ret_digest->bytes, sizeof ret_digest->bytes, err);
}

void tc_rec_ask_note(struct tc_rec_ask *ask, enum tc_exchange_outcome outcome,
                     const struct tc_error *reason)
{
    struct tc_exchange *record = &ask->record;
    struct tc_error problem = {0};
    record->outcome = outcome;
    if (outcome != TC_EXCHANGE_OK) {
        free(record->pinned_by);
        record->pinned_by = NULL;
    }
    if (reason && !record->reason) record->reason = strdup(reason->message);
    record->request_size = ask->request_size;
    record->response_size = ask->delivered;
    if ((ask->request_hash &&
         tc_rec_ask_request(ask, &record->request_digest, &problem) != TC_OK) ||
        (ask->hash && tc_rec_ask_response(ask, &record->response_digest, &problem) != TC_OK) ||
        tc_rec_book_add(&ask->recorder->book, record, &problem) != TC_OK)
        tc_recorder_break(ask->recorder, &problem);
}

/* --- reading it --- */

static bool is_default_port(const struct tc_rec_target *target)
{
    return target->port == (target->tls ? 443 : 80);
}

static tc_status add_url(struct tc_rec_ask *ask, struct tc_error *err)
{
    struct tc_buf url TC_AUTO_BUF = tc_buf_new((size_t)2 * TC_HTTP_TARGET_MAX);
    struct tc_buf redacted TC_AUTO_BUF = tc_buf_new((size_t)4 * TC_HTTP_TARGET_MAX);
    tc_buf_add_format(&url, "%s://%s", ask->target.tls ? "https" : "http", ask->target.host);
    if (!is_default_port(&ask->target)) tc_buf_add_format(&url, ":%u", (unsigned)ask->target.port);
    tc_buf_add_span(&url, ask->head.target);
    TC_TRY(tc_buf_check(&url, "a URL", err));
    TC_TRY(tc_url_redact(tc_buf_span(&url), &redacted, err));
    ask->url = tc_buf_take_text(&url);
    ask->record.url = tc_buf_take_text(&redacted);
    ask->record.method = tc_span_to_text(ask->head.method);
    return ask->url && ask->record.url && ask->record.method ? TC_OK : no_memory(err);
}

static tc_status begin(struct tc_rec_ask *ask, struct tc_span head, struct tc_error *err)
{
    struct tc_exchange *record = &ask->record;
    record->time = (int64_t)time(NULL);
    record->scheme = strdup(ask->target.tls ? "https" : "http");
    record->host = strdup(ask->target.host);
    record->port = ask->target.port;
    ask->request_hash = tc_hash_new(TC_HASH_SHA256);
    ask->hash = tc_hash_new(TC_HASH_SHA256);
    ask->head_bytes = tc_buf_new(TC_HTTP_HEAD_MAX);
    ask->body = tc_buf_new(TC_REC_BODY_KEPT + TC_REC_IN_SIZE);
    ask->wait = (struct tc_rec_wait){.watch_fd = ask->build ? ask->build->fd : -1};
    tc_buf_add_span(&ask->head_bytes, head);
    if (!tc_buf_ok(&ask->head_bytes) || !record->scheme || !record->host || !ask->request_hash ||
        !ask->hash)
        return no_memory(err);
    TC_TRY(tc_http_request_parse(tc_buf_span(&ask->head_bytes), &ask->head, err));
    tc_http_body_begin(&ask->head, &ask->rest);
    return add_url(ask, err);
}

static void ask_done(struct tc_rec_ask *ask)
{
    tc_exchange_free(&ask->record);
    tc_buf_free(&ask->head_bytes);
    tc_buf_free(&ask->body);
    tc_hash_free(ask->request_hash);
    tc_hash_free(ask->hash);
    tc_hash_free(ask->skip_hash);
    tc_rec_pins_done(ask);
    tc_rec_stream_close(&ask->store);
    free(ask->etag);
    free(ask->url);
}

/* --- the rules --- */

static bool is_host(const struct tc_rec_ask *ask)
{
    struct tc_span said = ask->head.host;
    size_t size = strlen(ask->target.host);
    return said.size == size && strncasecmp((const char *)said.data, ask->target.host, size) == 0;
}

static tc_status check_place(const struct tc_rec_ask *ask, struct tc_error *err)
{
    const struct tc_rec_target *target = &ask->target;
    char said[TC_HOST_NAME_MAX + 1];
    if (!is_host(ask))
        return tc_fail(err, TC_REFUSED,
                       "a request says Host: %s on a connection to %s: they must be the same",
                       tc_printable(ask->head.host, said, sizeof said), target->host);
    unsigned port = ask->head.port ? ask->head.port : target->tls ? 443U : 80U;
    if (port != target->port)
        return tc_fail(err, TC_REFUSED,
                       "a request says port %u (Host) on a connection to %s:%u: they must be the "
                       "same",
                       port, target->host, (unsigned)target->port);
    return TC_OK;
}

static tc_status check_rules(const struct tc_rec_ask *ask, struct tc_error *err)
{
    const struct tc_network *network = ask->recorder->config->network;
    enum tc_scheme scheme = ask->target.tls ? TC_SCHEME_HTTPS : TC_SCHEME_HTTP;
    struct tc_span host = tc_span_of_text(ask->target.host);
    TC_TRY(check_place(ask, err));
    TC_TRY(tc_network_check(network, scheme, host, ask->target.port, err));
    if (network->mode == TC_NETWORK_PINNED && !tc_network_pin(network, tc_span_of_text(ask->url)))
        return tc_fail(
            err, TC_REFUSED,
            "%s: not in network.pinned of build.json: add it with the sha256 of its body",
            ask->record.url);
    return TC_OK;
}

/* --- its body --- */

static tc_status send_data(const struct tc_rec_ask *ask, struct tc_upstream *upstream,
                           struct tc_span data, struct tc_error *err)
{
    char head[TC_HTTP_CHUNK_HEAD_SIZE];
    if (data.size == 0) return TC_OK;
    if (ask->head.framing != TC_HTTP_CHUNKED)
        return tc_rec_stream_put(&upstream->stream, data, err);
    struct tc_span line = {(const uint8_t *)head, tc_http_chunk_head(data.size, head)};
    TC_TRY(tc_rec_stream_put(&upstream->stream, line, err));
    TC_TRY(tc_rec_stream_put(&upstream->stream, data, err));
    return tc_rec_stream_put(&upstream->stream, tc_span_of_text("\r\n"), err);
}

tc_status tc_rec_ask_pump(struct tc_rec_ask *ask, struct tc_upstream *upstream,
                          struct tc_error *err)
{
    struct tc_rec_stream *build = ask->build;
    while (!ask->rest.done) {
        size_t used = 0;
        struct tc_span data = {NULL, 0}, have = tc_rec_stream_have(build);
        if (have.size == 0) {
            if (upstream) TC_TRY(tc_rec_stream_flush(&upstream->stream, err));
            /* An answer before the end: what is left is of no interest. */
            if (upstream && tc_rec_stream_poke(&upstream->stream)) break;
            if (!upstream && ask->body.size >= TC_REC_BODY_KEPT) return TC_OK;
            TC_TRY(tc_rec_stream_fill(build, err));
            have = tc_rec_stream_have(build);
            if (have.size == 0) {
                build->failed = true;
                return tc_fail(err, TC_PEER, "the build hung up within its request");
            }
        }
        TC_TRY(tc_http_body_take(&ask->rest, have, &used, &data, err));
        tc_hash_add(ask->request_hash, data.data, data.size);
        ask->request_size += data.size;
        if (upstream)
            TC_TRY(send_data(ask, upstream, data, err));
        else
            tc_buf_add_span(&ask->body, data);
        tc_rec_stream_used(build, used);
    }
    if (upstream && ask->rest.done && ask->head.framing == TC_HTTP_CHUNKED)
        TC_TRY(tc_rec_stream_put(&upstream->stream, tc_span_of_text("0\r\n\r\n"), err));
    if (!upstream) ask->body_whole = true;
    return upstream ? tc_rec_stream_flush(&upstream->stream, err)
                    : tc_buf_check(&ask->body, "a request's body", err);
}

static tc_status read_body(struct tc_rec_ask *ask, struct tc_error *err)
{
    struct tc_span go_on = tc_span_of_text("HTTP/1.1 100 Continue\r\n\r\n");
    if (ask->head.expect_continue && !ask->rest.done) {
        TC_TRY(tc_rec_stream_put(ask->build, go_on, err));
        TC_TRY(tc_rec_stream_flush(ask->build, err));
    }
    TC_TRY(tc_rec_ask_pump(ask, NULL, err));
    /* An archive is asked by the digest of the whole. */
    while (ask->recorder->config->replay && !ask->body_whole) {
        tc_buf_reset(&ask->body);
        TC_TRY(tc_rec_ask_pump(ask, NULL, err));
    }
    if (ask->body_whole && ask->head.framing == TC_HTTP_CHUNKED) {
        ask->head.framing = TC_HTTP_LENGTH;
        ask->head.length = ask->body.size;
    }
    return TC_OK;
}

/* --- all of it --- */

static bool deny(struct tc_rec_ask *ask, const struct tc_error *reason)
{
    struct tc_span method = ask->record.method ? ask->head.method : (struct tc_span){NULL, 0};
    if (reason->status == TC_INTERRUPTED) return false;
    tc_rec_ask_note(ask, TC_EXCHANGE_DENIED, reason);
    if (ask->build)
        tc_rec_answer(ask->build, method,
                      reason->status == TC_REFUSED ? STATUS_DENIED : STATUS_MALFORMED,
                      reason->message);
    return false;
}

static bool serve(struct tc_rec_ask *ask, size_t head_size)
{
    struct tc_error err = {0};
    struct tc_span head = tc_rec_stream_have(ask->build);
    head.size = head_size;
    tc_status status = begin(ask, head, &err);
    tc_rec_stream_used(ask->build, head_size);
    if (status == TC_OK) status = check_rules(ask, &err);
    if (status == TC_OK) status = read_body(ask, &err);
    if (status != TC_OK) return deny(ask, &err);
    return tc_rec_run(ask);
}

bool tc_rec_ask_serve(struct tc_recorder *recorder, const struct tc_rec_target *target,
                      struct tc_rec_stream *build, size_t head_size)
{
    struct tc_rec_ask *ask = calloc(1, sizeof *ask);
    if (!ask) {
        struct tc_error err = {0};
        (void)no_memory(&err);
        tc_recorder_break(recorder, &err);
        return false;
    }
    ask->recorder = recorder;
    ask->target = *target;
    ask->build = build;
    bool go_on = serve(ask, head_size);
    ask_done(ask);
    free(ask);
    return go_on;
}

/* The worker's own question: no build waits, no rule of build.json stands against it. */
tc_status tc_rec_ask_own(struct tc_recorder *recorder, const struct tc_rec_target *target,
                         struct tc_span head, struct tc_buf *buf, struct tc_error *err)
{
    struct tc_rec_ask *ask = calloc(1, sizeof *ask);
    if (!ask) return no_memory(err);
    ask->recorder = recorder;
    ask->target = *target;
    ask->own = buf;
    tc_status status = begin(ask, head, err);
    if (status == TC_OK) {
        ask->body_whole = true;
        (void)tc_rec_run(ask);
        if (ask->record.outcome != TC_EXCHANGE_OK)
            status =
                tc_fail(err, TC_PEER, "%s", ask->record.reason ? ask->record.reason : "failed");
        else if (ask->status != 200)
            status = tc_fail(err, TC_REFUSED, "%s was answered with status %u; expected 200",
                             ask->record.url, ask->status);
        else
            status = tc_buf_check(buf, "the answer", err);
    }
    ask_done(ask);
    free(ask);
    return status;
}
