/* STORE and REPLAY: the archive is the host's, and so is every byte that comes back from
 * it. A replay begins by asking for the index, whose digest goes into the statement; from
 * then on each line and each body must be one that the index knows. What the archive does
 * not have is the host's choice as well: a build that asks for it is not signed, since no
 * live build would have met a refusal there. */
#include "worker/recorder_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum { FRAME_DATA = 32 << 10 };

static void free_archived(struct tc_archived *archived)
{
    tc_archived_free(archived);
}

/* --- frames --- */

static tc_status put_frame(struct tc_rec_stream *stream, unsigned kind, struct tc_span payload,
                           struct tc_error *err)
{
    uint8_t header[TC_EGRESS_HEADER_SIZE];
    struct tc_egress_header head = {.kind = (uint8_t)kind, .size = (uint16_t)payload.size};
    tc_egress_header_encode(&head, header);
    TC_TRY(tc_rec_stream_put(stream, (struct tc_span){header, sizeof header}, err));
    return tc_rec_stream_put(stream, payload, err);
}

static tc_status get_header(struct tc_rec_stream *stream, struct tc_egress_header *ret_head,
                            struct tc_error *err)
{
    uint8_t header[TC_EGRESS_HEADER_SIZE];
    struct tc_error ignored = {0};
    TC_TRY(tc_rec_stream_read(stream, header, sizeof header, err));
    if (tc_egress_header_decode(header, ret_head, &ignored) != TC_OK)
        return tc_fail(err, TC_PEER, "the archive's host sent no frame: %s", ignored.message);
    return TC_OK;
}

/* --- STORE --- */

static tc_status store_failed(struct tc_error *err)
{
    (void)tc_wrap(err, "the archive could not be written");
    return err->status = TC_SYSTEM; /* nothing of upstream's: trying again would not help */
}

static tc_status write_line(const struct tc_rec_ask *ask, const struct tc_http_head *head,
                            struct tc_buf *line, struct tc_error *err)
{
    struct tc_archived archived TC_CLEANUP(free_archived) = {
        .method = strdup(ask->record.method),
        .url = strdup(ask->record.url),
        .status = head->status,
    };
    if (!archived.method || !archived.url)
        return tc_fail(err, TC_SYSTEM, "out of memory for an archive's line");
    TC_TRY(tc_rec_ask_request(ask, &archived.request, err));
    TC_TRY(tc_archived_keep(&archived, head, err));
    TC_TRY(tc_sha256_of((struct tc_span){NULL, 0}, &archived.digest, err));
    return tc_archived_write(&archived, line, err);
}

tc_status tc_rec_store_begin(struct tc_rec_ask *ask, const struct tc_http_head *head,
                             struct tc_error *err)
{
    struct tc_buf line TC_AUTO_BUF = tc_buf_new(TC_ARCHIVED_LINE_MAX);
    TC_TRY(write_line(ask, head, &line, err));
    if (tc_rec_ask_host(ask->recorder, TC_EGRESS_STORE, (struct tc_span){NULL, 0}, &ask->wait,
                        &ask->store, NULL, 0, err) != TC_OK ||
        put_frame(&ask->store, TC_EGRESS_HEAD, tc_buf_span(&line), err) != TC_OK)
        return store_failed(err);
    ask->storing = true;
    return TC_OK;
}

tc_status tc_rec_store_data(struct tc_rec_ask *ask, struct tc_span data, struct tc_error *err)
{
    while (data.size > 0) {
        size_t size = data.size < FRAME_DATA ? data.size : FRAME_DATA;
        if (put_frame(&ask->store, TC_EGRESS_DATA, (struct tc_span){data.data, size}, err) != TC_OK)
            return store_failed(err);
        data.data += size;
        data.size -= size;
    }
    return TC_OK;
}

static tc_status end_store(struct tc_rec_stream *store, struct tc_error *err)
{
    struct tc_egress_header head;
    TC_TRY(put_frame(store, TC_EGRESS_END, (struct tc_span){NULL, 0}, err));
    TC_TRY(tc_rec_stream_flush(store, err));
    TC_TRY(get_header(store, &head, err));
    if (head.kind != 0) return tc_fail(err, TC_PEER, "the host did not keep a response");
    return TC_OK;
}

tc_status tc_rec_store_end(struct tc_rec_ask *ask, struct tc_error *err)
{
    if (end_store(&ask->store, err) != TC_OK) return store_failed(err);
    ask->storing = false;
    tc_rec_stream_close(&ask->store);
    return TC_OK;
}

/* --- the index of a replay --- */

static tc_status take_index(struct tc_rec_stream *stream, struct tc_archive_index *index,
                            struct tc_error *err)
{
    TC_AUTO_FREE uint8_t *piece = malloc(TC_EGRESS_PAYLOAD_MAX);
    struct tc_egress_header head;
    if (!piece) return tc_fail(err, TC_SYSTEM, "out of memory for an archive's index");
    for (;;) {
        TC_TRY(get_header(stream, &head, err));
        if (head.kind == TC_EGRESS_END && head.size == 0) return TC_OK;
        if (head.kind != TC_EGRESS_DATA || head.size == 0)
            return tc_fail(err, TC_PEER, "the archive's index does not come in frames of data");
        TC_TRY(tc_rec_stream_read(stream, piece, head.size, err));
        TC_TRY(tc_archive_index_add(index, (struct tc_span){piece, head.size}, err));
    }
}

tc_status tc_rec_index_load(struct tc_recorder *recorder, struct tc_error *err)
{
    static const uint8_t all[TC_SHA256_SIZE];
    struct tc_rec_stream stream = {.fd = -1};
    recorder->index = tc_archive_index_new();
    if (!recorder->index) return tc_fail(err, TC_SYSTEM, "out of memory for an archive's index");
    tc_status status = tc_rec_ask_host(
        recorder, TC_EGRESS_REPLAY, (struct tc_span){all, sizeof all}, NULL, &stream, NULL, 0, err);
    if (status == TC_OK) status = take_index(&stream, recorder->index, err);
    tc_rec_stream_close(&stream);
    if (status == TC_OK)
        status = tc_archive_index_finish(recorder->index, &recorder->archive_digest, err);
    if (status != TC_OK) return tc_wrap(err, "the archive to replay");
    recorder->served =
        calloc(tc_archive_index_count(recorder->index) + 1, sizeof *recorder->served);
    return recorder->served ? TC_OK
                            : tc_fail(err, TC_SYSTEM, "out of memory for an archive's index");
}

/* Which line answers: the first time the first one, the last one for ever after. */
static tc_status choose_line(struct tc_rec_ask *ask, struct tc_sha256 *ret_line,
                             struct tc_error *err)
{
    struct tc_recorder *recorder = ask->recorder;
    struct tc_sha256 request, key;
    size_t first = 0;
    TC_TRY(tc_rec_ask_request(ask, &request, err));
    TC_TRY(tc_exchange_key(tc_span_of_text(ask->record.method), tc_span_of_text(ask->record.url),
                           &request, &key, err));
    size_t count = tc_archive_index_find(recorder->index, &key, &first);
    if (count == 0)
        return tc_fail(err, TC_PEER,
                       "not in the archive that is replayed, which has what a live build read to "
                       "its end: build live with --archive to record it");
    (void)pthread_mutex_lock(&recorder->lock);
    size_t nth = recorder->served[first];
    if (nth + 1 < count) recorder->served[first]++;
    (void)pthread_mutex_unlock(&recorder->lock);
    *ret_line = *tc_archive_index_line(recorder->index, first + nth);
    return TC_OK;
}

/* --- REPLAY --- */

static tc_status read_line(struct tc_rec_stream *stream, const struct tc_sha256 *wanted,
                           struct tc_archived *ret_archived, struct tc_error *err)
{
    TC_AUTO_FREE uint8_t *line = malloc(TC_EGRESS_PAYLOAD_MAX);
    struct tc_egress_header head;
    struct tc_sha256 digest;
    if (!line) return tc_fail(err, TC_SYSTEM, "out of memory for an archive's line");
    TC_TRY(get_header(stream, &head, err));
    if (head.kind != TC_EGRESS_HEAD) return tc_fail(err, TC_PEER, "the archive brought no line");
    TC_TRY(tc_rec_stream_read(stream, line, head.size, err));
    TC_TRY(tc_sha256_of((struct tc_span){line, head.size}, &digest, err));
    if (memcmp(digest.bytes, wanted->bytes, sizeof digest.bytes) != 0)
        return tc_fail(err, TC_PEER, "the archive brought another line than its index has");
    return tc_archived_read((struct tc_span){line, head.size}, ret_archived, err);
}

/* A head as upstream would send it, so that there is one way to read one. */
static tc_status make_head(const struct tc_archived *archived, struct tc_buf *text,
                           struct tc_span method, struct tc_http_head *ret_head,
                           struct tc_error *err)
{
    tc_buf_add_format(text, "HTTP/1.1 %u \r\n", archived->status);
    for (size_t i = 0; i < archived->fields_count; i++)
        tc_buf_add_format(text, "%s: %s\r\n", archived->fields[i].name, archived->fields[i].value);
    tc_buf_add_text(text, "\r\n");
    TC_TRY(tc_buf_check(text, "an archived head", err));
    TC_TRY(tc_http_response_parse(tc_buf_span(text), method, ret_head, err));
    /* Content-Length and Transfer-Encoding among the fields said how it came then. */
    if (ret_head->framing == TC_HTTP_NO_BODY) {
        if (archived->size > 0)
            return tc_fail(err, TC_PEER, "the archive has a body where none can be");
        return TC_OK;
    }
    ret_head->framing = TC_HTTP_LENGTH;
    ret_head->length = archived->size;
    ret_head->close = false;
    return TC_OK;
}

static bool take_text(struct tc_span *text, const char *word)
{
    size_t size = strlen(word);
    if (text->size < size || memcmp(text->data, word, size) != 0) return false;
    *text = (struct tc_span){text->data + size, text->size - size};
    return true;
}

static bool take_number(struct tc_span *text, uint64_t *ret_value)
{
    enum { DIGITS_MAX = 18 };
    uint64_t value = 0;
    size_t size = 0;
    for (; size < text->size && text->data[size] >= '0' && text->data[size] <= '9'; size++)
        value = value * 10 + (uint64_t)(text->data[size] - '0');
    if (size == 0 || size > DIGITS_MAX) return false;
    *text = (struct tc_span){text->data + size, text->size - size};
    *ret_value = value;
    return true;
}

/* Is the part that came, "bytes FIRST-LAST/TOTAL", the one that was asked for, "bytes=FIRST-",
 * "bytes=FIRST-LAST" or "bytes=-SIZE"? What is of another form nobody can compare. */
static bool is_part(struct tc_span asked, struct tc_span came)
{
    uint64_t first, last, total, wanted, limit;
    if (!take_text(&came, "bytes ") || !take_number(&came, &first) || !take_text(&came, "-") ||
        !take_number(&came, &last) || last < first || !take_text(&asked, "bytes="))
        return true;
    if (take_text(&asked, "-")) {
        if (!take_number(&asked, &wanted) || asked.size > 0 || !take_text(&came, "/") ||
            !take_number(&came, &total))
            return true;
        return last + 1 == total && (last - first + 1 == wanted || (first == 0 && last < wanted));
    }
    if (!take_number(&asked, &wanted) || !take_text(&asked, "-")) return true;
    if (asked.size == 0) return first == wanted;
    if (!take_number(&asked, &limit) || asked.size > 0) return true;
    return first == wanted && last <= limit;
}

/* The key of an exchange knows nothing of Range: the archive's next line for it may be of
 * another part than this request wants, which not every program looks at. */
static tc_status check_part(const struct tc_rec_ask *ask, const struct tc_http_head *head,
                            struct tc_error *err)
{
    struct tc_span asked, came;
    if (head->status != 206) return TC_OK;
    if (!tc_http_field_find(&ask->head, "range", &asked))
        return tc_fail(err, TC_PEER,
                       "the archive has a part of it next, and the whole is asked for: the build "
                       "asks otherwise than when it was recorded");
    if (!tc_http_field_find(head, "content-range", &came) || is_part(asked, came)) return TC_OK;
    return tc_fail(err, TC_PEER,
                   "the archive has another part of it next than is asked for: the build asks "
                   "otherwise than when it was recorded");
}

static tc_status pass_frames(struct tc_rec_ask *ask, struct tc_rec_stream *stream,
                             struct tc_error *err)
{
    TC_AUTO_FREE uint8_t *piece = malloc(TC_EGRESS_PAYLOAD_MAX);
    struct tc_egress_header head;
    if (!piece) return tc_fail(err, TC_SYSTEM, "out of memory for a response");
    for (;;) {
        if (ask->build && tc_rec_stream_have(stream).size == 0)
            TC_TRY(tc_rec_stream_flush(ask->build, err));
        TC_TRY(get_header(stream, &head, err));
        if (head.kind == TC_EGRESS_END && head.size == 0) return TC_OK;
        if (head.kind != TC_EGRESS_DATA || head.size == 0 ||
            (ask->has_length && head.size > ask->length - ask->delivered))
            return tc_fail(err, TC_PEER, "the archive brought more than its index says");
        TC_TRY(tc_rec_stream_read(stream, piece, head.size, err));
        TC_TRY(tc_rec_body_data(ask, (struct tc_span){piece, head.size}, err));
    }
}

static tc_status check_body(const struct tc_rec_ask *ask, const struct tc_archived *archived,
                            struct tc_error *err)
{
    struct tc_sha256 digest;
    TC_TRY(tc_rec_ask_response(ask, &digest, err));
    if (ask->delivered != archived->size ||
        memcmp(digest.bytes, archived->digest.bytes, sizeof digest.bytes) != 0)
        return tc_fail(err, TC_PEER, "the archive brought other bytes than its index says");
    return TC_OK;
}

static tc_status replay(struct tc_rec_ask *ask, struct tc_rec_stream *stream,
                        const struct tc_sha256 *line, struct tc_error *err)
{
    struct tc_archived archived TC_CLEANUP(free_archived) = {0};
    struct tc_buf text TC_AUTO_BUF = tc_buf_new(TC_HTTP_HEAD_MAX);
    TC_AUTO_FREE struct tc_http_head *head = malloc(sizeof *head);
    if (!head) return tc_fail(err, TC_SYSTEM, "out of memory for a response");
    struct tc_span payload = {line->bytes, sizeof line->bytes};
    TC_TRY(tc_rec_ask_host(ask->recorder, TC_EGRESS_REPLAY, payload, &ask->wait, stream, NULL, 0,
                           err));
    TC_TRY(read_line(stream, line, &archived, err));
    TC_TRY(make_head(&archived, &text, ask->head.method, head, err));
    TC_TRY(check_part(ask, head, err));
    TC_TRY(tc_rec_body_head(ask, head, err));
    TC_TRY(pass_frames(ask, stream, err));
    TC_TRY(check_body(ask, &archived, err));
    return tc_rec_body_end(ask, err);
}

tc_status tc_rec_replay(struct tc_rec_ask *ask, struct tc_error *err)
{
    struct tc_rec_stream stream = {.fd = -1};
    struct tc_sha256 line;
    ask->record.from_archive = true;
    TC_TRY(choose_line(ask, &line, err));
    tc_status status = replay(ask, &stream, &line, err);
    tc_rec_stream_close(&stream);
    return status;
}
