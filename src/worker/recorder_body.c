/* A response on its way to the build: hashed as it passes, in the build's own framing. */
#include "worker/recorder_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"

/* A validator that says "the same bytes": quoted, and not W/. */
static bool is_strong(struct tc_span etag)
{
    return etag.size >= 2 && etag.data[0] == '"' && etag.data[etag.size - 1] == '"';
}

static bool is_in(struct tc_span name, const char *const *words)
{
    for (; *words; words++)
        if (name.size == strlen(*words) &&
            strncasecmp((const char *)name.data, *words, name.size) == 0)
            return true;
    return false;
}

static bool is_about_content(struct tc_span name)
{
    static const char *const names[] = {"last-modified", "location", "repr-digest", NULL};
    static const char prefix[] = "content-";
    size_t size = sizeof prefix - 1;
    return is_in(name, names) ||
           (name.size > size && strncasecmp((const char *)name.data, prefix, size) == 0);
}

tc_status tc_rec_seal_head(const struct tc_http_head *head, struct tc_rec_seal *ret_seal,
                           struct tc_error *err)
{
    static const char *const passing[] = {"age",        "connection", "content-length",    "date",
                                          "keep-alive", "trailer",    "transfer-encoding", NULL};
    struct tc_buf all TC_AUTO_BUF = tc_buf_new((size_t)2 * TC_HTTP_HEAD_MAX);
    struct tc_buf content TC_AUTO_BUF = tc_buf_new((size_t)2 * TC_HTTP_HEAD_MAX);
    for (size_t i = 0; i < head->fields_count; i++) {
        const struct tc_http_field *field = &head->fields[i];
        if (is_in(field->name, passing)) continue;
        tc_buf_add_block(&all, field->name);
        tc_buf_add_block(&all, field->value);
        if (!is_about_content(field->name)) continue;
        tc_buf_add_block(&content, field->name);
        tc_buf_add_block(&content, field->value);
    }
    TC_TRY(tc_buf_check(&all, "a response's head", err));
    TC_TRY(tc_buf_check(&content, "a response's head", err));
    TC_TRY(tc_sha256_of(tc_buf_span(&all), &ret_seal->all, err));
    return tc_sha256_of(tc_buf_span(&content), &ret_seal->content, err);
}

/* What the build gets, which may know no chunks; and never a body whose end is an end of
 * the connection, when it can be told. */
static void choose_framing(struct tc_rec_ask *ask, struct tc_http_head *head)
{
    if (head->framing == TC_HTTP_CHUNKED || head->framing == TC_HTTP_UNTIL_CLOSE)
        head->framing = ask->head.http10 ? TC_HTTP_UNTIL_CLOSE : TC_HTTP_CHUNKED;
    ask->chunked = head->framing == TC_HTTP_CHUNKED;
    ask->close = ask->head.close || head->framing == TC_HTTP_UNTIL_CLOSE;
}

static tc_status keep_model(struct tc_rec_ask *ask, const struct tc_http_head *head,
                            struct tc_error *err)
{
    struct tc_span etag;
    ask->status = ask->record.status = head->status;
    ask->bodiless = head->framing == TC_HTTP_NO_BODY;
    ask->has_length = head->framing == TC_HTTP_LENGTH;
    ask->length = head->length;
    TC_TRY(tc_rec_seal_head(head, &ask->seal, err));
    if (tc_http_field_find(head, "etag", &etag) && is_strong(etag)) {
        ask->etag = tc_span_to_text(etag);
        if (!ask->etag) return tc_fail(err, TC_SYSTEM, "out of memory for a response");
    }
    for (size_t i = 0; i < head->fields_count; i++)
        TC_TRY(
            tc_exchange_keep_field(&ask->record, head->fields[i].name, head->fields[i].value, err));
    return TC_OK;
}

/* Who has everything may go: the build is not kept waiting for what we still check. */
static void end_watch(struct tc_rec_ask *ask)
{
    if (ask->bodiless || (ask->has_length && ask->delivered == ask->length))
        ask->wait.watch_fd = -1;
}

tc_status tc_rec_body_head(struct tc_rec_ask *ask, struct tc_http_head *head, struct tc_error *err)
{
    struct tc_buf buf TC_AUTO_BUF = tc_buf_new((size_t)2 * TC_HTTP_HEAD_MAX);
    enum tc_http_framing framing = head->framing;
    TC_TRY(keep_model(ask, head, err));
    TC_TRY(tc_rec_pins_begin(ask, err));
    choose_framing(ask, head);
    if (ask->recorder->config->archive) TC_TRY(tc_rec_store_begin(ask, head, err));
    ask->head_passed = true;
    end_watch(ask);
    if (ask->build) tc_http_response_write(head, ask->close, &buf);
    head->framing = framing; /* the body comes as it comes */
    if (!ask->build) return TC_OK;
    TC_TRY(tc_buf_check(&buf, "a response's head", err));
    return tc_rec_stream_put(ask->build, tc_buf_span(&buf), err);
}

/* Of an attempt that began anew: the first bytes were delivered before, and must be those. */
static tc_status check_prefix(struct tc_rec_ask *ask, struct tc_span *data, struct tc_error *err)
{
    struct tc_sha256 before, now;
    size_t size = data->size < ask->skip ? data->size : (size_t)ask->skip;
    tc_hash_add(ask->skip_hash, data->data, size);
    ask->skip -= size;
    data->data += size;
    data->size -= size;
    if (ask->skip > 0) return TC_OK;
    TC_TRY(tc_rec_ask_response(ask, &before, err));
    TC_TRY(tc_hash_finish(ask->skip_hash, now.bytes, sizeof now.bytes, err));
    if (memcmp(before.bytes, now.bytes, sizeof now.bytes) != 0)
        return tc_fail(err, TC_REFUSED,
                       "upstream broke off, and the next attempt brought other bytes");
    return TC_OK;
}

tc_status tc_rec_body_data(struct tc_rec_ask *ask, struct tc_span data, struct tc_error *err)
{
    char line[TC_HTTP_CHUNK_HEAD_SIZE];
    if (ask->skip > 0) TC_TRY(check_prefix(ask, &data, err));
    if (data.size == 0) return TC_OK;
    tc_hash_add(ask->hash, data.data, data.size);
    TC_TRY(tc_rec_pins_add(ask, data, err));
    if (ask->storing) TC_TRY(tc_rec_store_data(ask, data, err));
    if (ask->own) tc_buf_add_span(ask->own, data);
    if (ask->build && ask->chunked) {
        struct tc_span head = {(uint8_t *)line, tc_http_chunk_head(data.size, line)};
        TC_TRY(tc_rec_stream_put(ask->build, head, err));
    }
    ask->delivered += data.size;
    end_watch(ask);
    if (ask->build) TC_TRY(tc_rec_stream_put(ask->build, data, err));
    if (ask->build && ask->chunked)
        TC_TRY(tc_rec_stream_put(ask->build, tc_span_of_text("\r\n"), err));
    return TC_OK;
}

/* --- what the whole has to be --- */

/* Was none asked for? Whoever has the body already may ask whether it is still that one. */
static bool wants_no_body(const struct tc_rec_ask *ask)
{
    static const char *const conditions[] = {"if-none-match", "if-modified-since"};
    struct tc_span ignored;
    if (tc_span_equal(ask->head.method, tc_span_of_text("HEAD"))) return true;
    for (size_t i = 0; ask->status == 304 && i < sizeof conditions / sizeof *conditions; i++)
        if (tc_http_field_find(&ask->head, conditions[i], &ignored)) return true;
    return false;
}

/* A body is looked at even where it is empty: an empty one can be listed too. */
static tc_status check_pinned(const struct tc_rec_ask *ask, const struct tc_sha256 *digest,
                              struct tc_error *err)
{
    const struct tc_network *network = ask->recorder->config->network;
    if (network->mode != TC_NETWORK_PINNED || ask->own || wants_no_body(ask)) return TC_OK;
    const struct tc_sha256 *pin = tc_network_pin(network, tc_span_of_text(ask->url));
    if (pin && memcmp(pin->bytes, digest->bytes, sizeof digest->bytes) == 0) return TC_OK;
    return tc_fail(err, TC_REFUSED,
                   "the body (status %u) is not the one that network.pinned of build.json lists",
                   ask->status);
}

tc_status tc_rec_body_end(struct tc_rec_ask *ask, struct tc_error *err)
{
    struct tc_sha256 digest;
    if (ask->skip > 0 || (ask->has_length && ask->delivered != ask->length))
        return tc_fail(err, TC_PEER, "upstream ended a body before its end");
    TC_TRY(tc_rec_ask_response(ask, &digest, err));
    TC_TRY(check_pinned(ask, &digest, err));
    TC_TRY(tc_rec_pins_end(ask, &digest, err));
    if (ask->storing) TC_TRY(tc_rec_store_end(ask, err));
    if (!ask->build) return TC_OK;
    if (ask->chunked) TC_TRY(tc_rec_stream_put(ask->build, tc_span_of_text("0\r\n\r\n"), err));
    return tc_rec_stream_flush(ask->build, err);
}
