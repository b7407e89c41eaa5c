/* One request's attempts at upstream.
 *
 * What upstream breaks off is tried again where that changes nothing for the server: GET,
 * HEAD and OPTIONS whose body is kept, and anything of which no byte was sent. A body that
 * had begun goes on where it ended: by a range with a strong ETag, or by asking for the
 * whole anew, whose first bytes must have the digest of those that were delivered, and whose
 * head must be the one that the build has. Either way the build gets one response, and it
 * is one that upstream gave. */
#include "worker/recorder_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum {
    INFORMATION_MAX = 16,  /* responses with 1xx before the real one */
    TOTAL_DIGITS_MAX = 16, /* of 2^53 - 1 */
    STATUS_BAD_GATEWAY = 502,
    PAUSE_MS = 250,  /* before the second attempt; doubled each time */
    GRACE_PART = 12, /* a build may leave for its own reasons within stall_ms / 12 */
};

struct
try {
    struct tc_upstream *upstream;
    bool sent;     /* something of the request may have reached the server */
    bool answered; /* something of a response came */
    bool ranged;   /* asked for the rest alone */
    bool fatal;    /* trying again would bring the same */
};

/* --- the request --- */

static void add_credential(const struct tc_rec_ask *ask, struct tc_buf *extra)
{
    const struct tc_recorder_config *config = ask->recorder->config;
    if (!ask->target.tls) return;
    for (size_t i = 0; i < config->credentials_count; i++) {
        const struct tc_credential *credential = &config->credentials[i];
        if (strcmp(credential->host, ask->target.host) == 0)
            tc_buf_add_format(extra, "%s: %s\r\n", credential->name, credential->value);
    }
}

static bool may_range(const struct tc_rec_ask *ask)
{
    struct tc_span ignored;
    return ask->head_passed && ask->delivered > 0 && ask->etag && ask->status == 200 &&
           tc_span_equal(ask->head.method, tc_span_of_text("GET")) &&
           !tc_http_field_find(&ask->head, "range", &ignored);
}

static tc_status send_request(struct tc_rec_ask *ask, struct try *attempt, struct tc_error *err)
{
    struct tc_buf extra TC_AUTO_BUF = tc_buf_new(TC_HTTP_HEAD_MAX);
    struct tc_buf buf TC_AUTO_BUF = tc_buf_new((size_t)3 * TC_HTTP_HEAD_MAX);
    char host[TC_HOST_NAME_MAX + 8];
    const struct tc_rec_target *target = &ask->target;
    struct tc_rec_stream *stream = &attempt->upstream->stream;
    bool plain_port = target->port == (target->tls ? 443 : 80);
    int size = plain_port ? snprintf(host, sizeof host, "%s", target->host)
                          : snprintf(host, sizeof host, "%s:%u", target->host, target->port);
    add_credential(ask, &extra);
    attempt->ranged = may_range(ask);
    if (attempt->ranged)
        tc_buf_add_format(&extra, "Range: bytes=%" PRIu64 "-\r\nIf-Range: %s\r\n", ask->delivered,
                          ask->etag);
    tc_http_request_write(&ask->head, (struct tc_span){(uint8_t *)host, (size_t)size},
                          tc_buf_span(&extra), false, &buf);
    TC_TRY(tc_buf_check(&extra, "a request's added fields", err));
    TC_TRY(tc_buf_check(&buf, "a request's head", err));
    attempt->sent = true;
    TC_TRY(tc_rec_stream_put(stream, tc_buf_span(&buf), err));
    if (ask->body_whole || ask->head.framing != TC_HTTP_CHUNKED) {
        TC_TRY(tc_rec_stream_put(stream, tc_buf_span(&ask->body), err));
    } else {
        char line[TC_HTTP_CHUNK_HEAD_SIZE];
        size_t line_size = tc_http_chunk_head(ask->body.size, line);
        TC_TRY(tc_rec_stream_put(stream, (struct tc_span){(uint8_t *)line, line_size}, err));
        TC_TRY(tc_rec_stream_put(stream, tc_buf_span(&ask->body), err));
        TC_TRY(tc_rec_stream_put(stream, tc_span_of_text("\r\n"), err));
    }
    TC_TRY(tc_rec_stream_flush(stream, err));
    if (ask->body_whole) return TC_OK;
    ask->body_begun = true;
    return tc_rec_ask_pump(ask, attempt->upstream, err);
}

/* --- the response's head --- */

static tc_status read_head(struct tc_rec_ask *ask, struct try *attempt, struct tc_http_head *head,
                           size_t *ret_size, struct tc_error *err)
{
    struct tc_rec_stream *stream = &attempt->upstream->stream;
    for (int i = 0; i < INFORMATION_MAX; i++) {
        size_t size = 0;
        if (tc_rec_stream_have(stream).size == 0) TC_TRY(tc_rec_stream_fill(stream, err));
        attempt->answered = attempt->answered || tc_rec_stream_have(stream).size > 0;
        stream->deadline = tc_clock_ms() + ask->recorder->stall_ms;
        TC_TRY(tc_rec_stream_head(stream, &size, err));
        stream->deadline = 0;
        if (size == 0) return tc_fail(err, TC_PEER, "upstream hung up without a response");
        struct tc_span bytes = {tc_rec_stream_have(stream).data, size};
        TC_TRY(tc_http_response_parse(bytes, ask->head.method, head, err));
        if (head->status >= 200) {
            *ret_size = size;
            return TC_OK;
        }
        tc_rec_stream_used(stream, size);
    }
    return tc_fail(err, TC_MALFORMED, "upstream sent more than %d responses of 1xx",
                   INFORMATION_MAX);
}

/* The number behind the last '/', which says where the whole ends when nothing else did. */
static bool read_total(struct tc_span text, uint64_t *ret_total)
{
    uint64_t total = 0, digit = 1;
    size_t at = text.size;
    for (; at > 0 && text.data[at - 1] >= '0' && text.data[at - 1] <= '9'; at--, digit *= 10) {
        if (text.size - at == TOTAL_DIGITS_MAX) return false;
        total += digit * (uint64_t)(text.data[at - 1] - '0');
    }
    *ret_total = total;
    return at > 0 && text.data[at - 1] == '/' && total > 0;
}

/* "bytes FIRST-LAST/TOTAL", to the end. */
static bool is_range(struct tc_span text, uint64_t first, uint64_t total)
{
    struct tc_buf wanted TC_AUTO_BUF = tc_buf_new(256);
    tc_buf_add_format(&wanted, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, first, total - 1, total);
    return tc_buf_ok(&wanted) && tc_span_equal(text, tc_buf_span(&wanted));
}

static bool same_etag(const struct tc_rec_ask *ask, const struct tc_http_head *head)
{
    struct tc_span etag;
    if (!ask->etag) return true;
    return tc_http_field_find(head, "etag", &etag) &&
           tc_span_equal(etag, tc_span_of_text(ask->etag));
}

/* Is this the head that the build has? With the same strong validator it is the same
 * thing, and what is said of the body must be the same; without one, all of it must. */
static tc_status check_head(const struct tc_rec_ask *ask, const struct tc_http_head *head,
                            struct tc_error *err)
{
    struct tc_rec_seal seal;
    bool length =
        !ask->has_length || head->framing != TC_HTTP_LENGTH || head->length == ask->length;
    TC_TRY(tc_rec_seal_head(head, &seal, err));
    const struct tc_sha256 *now = ask->etag ? &seal.content : &seal.all;
    const struct tc_sha256 *then = ask->etag ? &ask->seal.content : &ask->seal.all;
    if (head->status == ask->status && length && same_etag(ask, head) &&
        memcmp(now->bytes, then->bytes, sizeof now->bytes) == 0)
        return TC_OK;
    return tc_fail(err, TC_PEER,
                   "upstream broke off, and answered the next attempt otherwise (status %u)",
                   head->status);
}

/* May this response go on with the one whose head the build has? */
static tc_status check_again(struct tc_rec_ask *ask, const struct try *attempt,
                             const struct tc_http_head *head, struct tc_error *err)
{
    struct tc_span range;
    uint64_t total = ask->length;
    if (attempt->ranged && head->status == 206) {
        if (!same_etag(ask, head) || !tc_http_field_find(head, "content-range", &range) ||
            (!ask->has_length && !read_total(range, &total)) ||
            !is_range(range, ask->delivered, total))
            return tc_fail(err, TC_PEER, "upstream resumed with another range than was asked for");
        ask->has_length = true;
        ask->length = total;
        ask->skip = 0;
        return TC_OK;
    }
    TC_TRY(check_head(ask, head, err));
    ask->skip = ask->delivered;
    tc_hash_free(ask->skip_hash);
    ask->skip_hash = tc_hash_new(TC_HASH_SHA256);
    return ask->skip_hash ? TC_OK : tc_fail(err, TC_SYSTEM, "out of memory for a request");
}

/* --- its body --- */

/* Too little in too long a time is a stall as well. Only what upstream was waited for
 * counts: a build that reads slowly is no fault of upstream's. */
struct pace {
    int64_t since; /* of what was waited in sum */
    uint64_t bytes;
};

static tc_status check_pace(const struct tc_rec_ask *ask, struct pace *pace, size_t size,
                            struct tc_error *err)
{
    int64_t now = ask->wait.waited_ms;
    pace->bytes += size;
    if (pace->bytes >= TC_REC_DRIP) {
        *pace = (struct pace){.since = now};
    } else if (now - pace->since > ask->recorder->stall_ms) {
        return tc_fail(err, TC_PEER, "upstream stalled: %" PRIu64 " bytes in %" PRId64 " ms",
                       pace->bytes, now - pace->since);
    }
    return TC_OK;
}

static tc_status pass_body(struct tc_rec_ask *ask, struct tc_rec_stream *stream,
                           const struct tc_http_head *head, struct tc_error *err)
{
    struct tc_http_body body;
    struct pace pace = {.since = ask->wait.waited_ms};
    tc_http_body_begin(head, &body);
    while (!body.done) {
        size_t used = 0;
        struct tc_span data = {NULL, 0}, have = tc_rec_stream_have(stream);
        if (have.size == 0) {
            if (ask->build) TC_TRY(tc_rec_stream_flush(ask->build, err));
            TC_TRY(tc_rec_stream_fill(stream, err));
            have = tc_rec_stream_have(stream);
            if (have.size == 0) return tc_http_body_end(&body, err);
            TC_TRY(check_pace(ask, &pace, have.size, err));
        }
        TC_TRY(tc_http_body_take(&body, have, &used, &data, err));
        TC_TRY(tc_rec_body_data(ask, data, err));
        tc_rec_stream_used(stream, used);
    }
    return TC_OK;
}

/* --- attempts --- */

static tc_status copy_proof(struct tc_rec_ask *ask, const struct tc_upstream *upstream,
                            struct tc_error *err)
{
    struct tc_exchange *record = &ask->record;
    free(record->address);
    free(record->tls);
    free(record->ca);
    record->tls = record->ca = NULL;
    record->address = strdup(upstream->address);
    record->has_certificate = upstream->tls;
    if (upstream->tls) {
        record->tls = strdup(upstream->proof.tls);
        record->certificate = upstream->proof.certificate;
        record->anchor = upstream->proof.anchor;
        if (upstream->proof.ca) record->ca = strdup(upstream->proof.ca);
    }
    if (!record->address || (upstream->tls && !record->tls) ||
        (upstream->tls && upstream->proof.ca && !record->ca))
        return tc_fail(err, TC_SYSTEM, "out of memory for a request");
    return TC_OK;
}

static tc_status attempt_once(struct tc_rec_ask *ask, struct try *attempt, struct tc_error *err)
{
    TC_AUTO_FREE struct tc_http_head *head = malloc(sizeof *head);
    struct tc_rec_stream *stream = &attempt->upstream->stream;
    size_t size = 0;
    if (!head) return tc_fail(err, TC_SYSTEM, "out of memory for a request");
    TC_TRY(copy_proof(ask, attempt->upstream, err));
    TC_TRY(send_request(ask, attempt, err));
    TC_TRY(read_head(ask, attempt, head, &size, err));
    if (ask->head_passed)
        TC_TRY(check_again(ask, attempt, head, err));
    else
        TC_TRY(tc_rec_body_head(ask, head, err));
    tc_rec_stream_used(stream, size); /* and with it the fields' bytes */
    TC_TRY(pass_body(ask, stream, head, err));
    TC_TRY(tc_rec_body_end(ask, err));
    if (!head->close && (ask->body_whole || ask->rest.done)) {
        tc_upstream_give(ask->recorder, attempt->upstream);
        attempt->upstream = NULL;
    }
    return TC_OK;
}

static bool is_harmless(const struct tc_rec_ask *ask)
{
    static const char *const methods[] = {"GET", "HEAD", "OPTIONS"};
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (tc_span_equal(ask->head.method, tc_span_of_text(methods[i]))) return true;
    return false;
}

static bool may_try_again(const struct tc_rec_ask *ask, const struct try *attempt)
{
    if (attempt->fatal || ask->body_begun || ask->own) return false;
    return !attempt->sent || is_harmless(ask);
}

/* Waits before the next attempt; false when the build or the recorder ends. */
static bool wait_before_next(struct tc_rec_ask *ask, unsigned attempts)
{
    int64_t stall = ask->recorder->stall_ms;
    int most = stall / 8 < INT32_MAX / 8 ? (int)(stall / 8) : INT32_MAX / 8;
    int pause_ms = PAUSE_MS << attempts;
    if (pause_ms > most) pause_ms = most;
    struct pollfd polled[2] = {{.fd = ask->recorder->stop_fd, .events = POLLIN},
                               {.fd = ask->wait.watch_fd, .events = POLLRDHUP}};
    int ready = poll(polled, 2, pause_ms);
    ask->wait.waited_ms += pause_ms;
    if (ready > 0 && !polled[0].revents) ask->wait.hung_up = true;
    return ready <= 0;
}

static bool build_left(const struct tc_rec_ask *ask)
{
    return ask->wait.hung_up || (ask->build && ask->build->failed);
}

static bool fail_for_good(struct tc_rec_ask *ask, struct tc_error *err)
{
    (void)tc_wrap(err, "%s %s", ask->record.method, ask->record.url);
    err->status = TC_PEER;
    tc_rec_ask_note(ask, TC_EXCHANGE_FAILED, err);
    tc_recorder_break(ask->recorder, err);
    if (ask->build && !ask->head_passed && !build_left(ask))
        tc_rec_answer(ask->build, ask->head.method, STATUS_BAD_GATEWAY, err->message);
    return false;
}

/* The build hung up. That is its own affair while it had something to read and had not
 * been kept waiting for long: else the host could make it give up, and so choose what a
 * command that goes on without the download comes to. */
static bool leave(struct tc_rec_ask *ask, struct tc_error *err)
{
    bool waited = ask->wait.waited_ms > ask->recorder->stall_ms / GRACE_PART;
    bool nothing = ask->wait.hung_up && !ask->head_passed;
    if (waited || nothing) {
        struct tc_error reason = {0};
        (void)tc_fail(&reason, TC_PEER,
                      "the build hung up after upstream had kept it waiting for %" PRId64
                      " ms: a command has to read its downloads to their end",
                      ask->wait.waited_ms);
        return fail_for_good(ask, &reason);
    }
    (void)tc_fail(err, TC_PEER, "the build hung up");
    tc_rec_ask_note(ask, TC_EXCHANGE_CUT, err);
    return false;
}

static tc_status try_one(struct tc_rec_ask *ask, struct try *attempt, bool fresh,
                         struct tc_error *err)
{
    *attempt = (struct try){0};
    ask->record.attempts++;
    TC_TRY(
        tc_upstream_take(ask->recorder, &ask->target, fresh, &ask->wait, &attempt->upstream, err));
    tc_status status = attempt_once(ask, attempt, err);
    /* Bytes that break the grammar or a rule are what upstream says, not how it fails. */
    if (status == TC_MALFORMED || status == TC_REFUSED || status == TC_LIMIT || status == TC_SYSTEM)
        attempt->fatal = true;
    return status;
}

static tc_status make_attempts(struct tc_rec_ask *ask, struct tc_error *err)
{
    bool fresh = !is_harmless(ask) || ask->own;
    for (unsigned counted = 0;;) {
        struct try attempt = {0};
        tc_status status = try_one(ask, &attempt, fresh, err);
        /* The server may have closed what was kept for long: that is nobody's failure. */
        bool stale = attempt.upstream && attempt.upstream->reused && !attempt.answered;
        tc_upstream_free(attempt.upstream);
        if (status == TC_OK || status == TC_INTERRUPTED || build_left(ask)) return status;
        if (!may_try_again(ask, &attempt)) return status;
        fresh = true;
        if (stale) continue;
        counted++;
        if (counted >= TC_RECORDER_ATTEMPTS)
            return tc_wrap(err, "%u attempts failed, the last one", counted);
        if (!wait_before_next(ask, counted - 1)) return status;
    }
}

bool tc_rec_run(struct tc_rec_ask *ask)
{
    struct tc_error err = {0};
    tc_status status =
        ask->recorder->config->replay ? tc_rec_replay(ask, &err) : make_attempts(ask, &err);
    if (status == TC_OK) {
        tc_rec_ask_note(ask, TC_EXCHANGE_OK, NULL);
        return !ask->close && (ask->own || ask->rest.done);
    }
    if (status == TC_INTERRUPTED) return false;
    if (build_left(ask)) return leave(ask, &err);
    return fail_for_good(ask, &err);
}
