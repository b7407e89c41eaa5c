/* The session's receiving side: what git and plain sources share, and plain
 * sources. Every entry is checked, counted in the manifest and handed on as it
 * comes; nothing of a file stays in memory but one frame. */
#include "worker/source_in.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "worker/spawner.h"

void tc_source_received_free(struct tc_source_received *received)
{
    tc_buf_free(&received->build_file);
    for (size_t i = 0; i < received->tags_count; i++)
        free(received->tags[i]);
    for (size_t i = 0; i < received->omitted_count; i++)
        free(received->omitted[i]);
    free(received->tags);
    free(received->omitted);
    *received = (struct tc_source_received){0};
}

tc_status tc_receiver_count(struct tc_receiver *receiver, const struct tc_entry *entry,
                            const struct tc_sha256 *content, struct tc_error *err)
{
    return tc_manifest_add(receiver->manifest, entry, content, err);
}

/* The unpacker ends at its first error, so that a write to it fails later and says
 * less than the FAIL that waits in the socket. */
static tc_status ask_why(struct tc_receiver *receiver, tc_status status, struct tc_error *err)
{
    struct tc_span nothing;
    struct tc_error why = {0};
    if (status != TC_PEER) return status;
    tc_status reason = tc_channel_expect(receiver->unpacker, TC_WIRE_DONE, &nothing, &why);
    if (reason != TC_OK && reason != TC_PEER) *err = why;
    return err->status;
}

tc_status tc_receiver_forward(struct tc_receiver *receiver, enum tc_wire_kind kind,
                              struct tc_span payload, struct tc_error *err)
{
    tc_status status = tc_channel_write(receiver->unpacker, kind, payload, err);
    return status == TC_OK ? TC_OK : ask_why(receiver, status, err);
}

tc_status tc_receiver_forward_data(struct tc_receiver *receiver, struct tc_span bytes,
                                   struct tc_error *err)
{
    tc_status status = tc_channel_write_data(receiver->unpacker, bytes, err);
    return status == TC_OK ? TC_OK : ask_why(receiver, status, err);
}

tc_status tc_receiver_forward_entry(struct tc_receiver *receiver, const struct tc_entry *entry,
                                    struct tc_error *err)
{
    tc_buf_reset(&receiver->scratch);
    tc_entry_encode(entry, &receiver->scratch);
    TC_TRY(tc_buf_check(&receiver->scratch, "a tree record", err));
    return tc_receiver_forward(receiver, TC_WIRE_ENTRY, tc_buf_span(&receiver->scratch), err);
}

static bool is_build_file(const struct tc_receiver *receiver, const struct tc_entry *entry)
{
    return tc_span_equal(entry->path, receiver->hello->build_file);
}

tc_status tc_receiver_begin_file(struct tc_receiver *receiver, const struct tc_entry *entry,
                                 struct tc_error *err)
{
    tc_hash_restart(receiver->sha256);
    receiver->have_build_file = is_build_file(receiver, entry);
    if (receiver->have_build_file && entry->size > TC_BUILDSPEC_SIZE_MAX)
        return tc_fail(err, TC_LIMIT, "the build file has %llu bytes, at most %d are accepted",
                       (unsigned long long)entry->size, TC_BUILDSPEC_SIZE_MAX);
    receiver->tapped = false;
    if (!receiver->tap) return TC_OK;
    TC_TRY(receiver->tap->wants(receiver->tap->context, entry->path, entry->size, &receiver->tapped,
                                err));
    tc_buf_free(&receiver->tapped_bytes);
    receiver->tapped_bytes = tc_buf_new(receiver->tapped ? (size_t)entry->size : 0);
    return TC_OK;
}

tc_status tc_receiver_pass(struct tc_receiver *receiver, struct tc_span bytes, struct tc_error *err)
{
    tc_hash_add(receiver->sha256, bytes.data, bytes.size);
    if (receiver->have_build_file) tc_buf_add_span(&receiver->result->build_file, bytes);
    if (receiver->tapped) tc_buf_add_span(&receiver->tapped_bytes, bytes);
    return tc_receiver_forward_data(receiver, bytes, err);
}

tc_status tc_receiver_stream(struct tc_receiver *receiver, uint64_t size, bool with_sha1,
                             struct tc_error *err)
{
    while (size > 0) {
        struct tc_span bytes;
        TC_TRY(tc_channel_expect(receiver->host, TC_WIRE_DATA, &bytes, err));
        if (bytes.size > size)
            return tc_fail(err, TC_MALFORMED, "the host sent more bytes than it announced");
        if (with_sha1) tc_hash_add(receiver->sha1, bytes.data, bytes.size);
        TC_TRY(tc_receiver_pass(receiver, bytes, err));
        size -= bytes.size;
    }
    return TC_OK;
}

tc_status tc_receiver_digest_file(struct tc_receiver *receiver, const struct tc_entry *entry,
                                  struct tc_sha256 *ret_content, struct tc_error *err)
{
    receiver->have_build_file = false;
    TC_TRY(tc_hash_finish(receiver->sha256, ret_content->bytes, sizeof ret_content->bytes, err));
    if (!receiver->tapped) return TC_OK;
    receiver->tapped = false;
    TC_TRY(tc_buf_check(&receiver->tapped_bytes, "a file of the source", err));
    return receiver->tap->take(receiver->tap->context, entry->path,
                               tc_buf_span(&receiver->tapped_bytes), err);
}

tc_status tc_receiver_end_file(struct tc_receiver *receiver, const struct tc_entry *entry,
                               struct tc_error *err)
{
    struct tc_sha256 content;
    TC_TRY(tc_receiver_digest_file(receiver, entry, &content, err));
    return tc_receiver_count(receiver, entry, &content, err);
}

tc_status tc_receiver_start_unpacker(struct tc_receiver *receiver, int64_t epoch,
                                     struct tc_error *err)
{
    receiver->result->epoch = epoch;
    tc_buf_reset(&receiver->scratch);
    tc_buf_add_u8(&receiver->scratch, receiver->hello->git_folder);
    tc_buf_add_u64(&receiver->scratch, (uint64_t)epoch);
    TC_TRY(tc_buf_check(&receiver->scratch, "the unpacker's settings", err));
    tc_status status =
        tc_channel_write_bytes(receiver->unpacker, tc_buf_span(&receiver->scratch), err);
    return status == TC_OK ? TC_OK : ask_why(receiver, status, err);
}

/* --- plain sources --- */

/* The record borrows from the frame, which the next read overwrites: the path
 * and the target are copied first. */
static tc_status receive_entry(struct tc_receiver *receiver, struct tc_span payload,
                               struct tc_error *err)
{
    struct tc_entry entry;
    char shown[256];
    tc_buf_reset(&receiver->path);
    tc_buf_add_span(&receiver->path, payload);
    TC_TRY(tc_buf_check(&receiver->path, "a tree record", err));
    TC_TRY(tc_entry_decode(tc_buf_span(&receiver->path), &entry, err));
    if (tc_path_has_dotgit(entry.path))
        return tc_fail(err, TC_MALFORMED, "the source holds git's own folder: %s",
                       tc_printable(entry.path, shown, sizeof shown));
    if (entry.kind == TC_ENTRY_SUBMODULE)
        return tc_fail(err, TC_MALFORMED, "a submodule in a source without commit: %s",
                       tc_printable(entry.path, shown, sizeof shown));
    TC_TRY(tc_receiver_forward_entry(receiver, &entry, err));
    if (entry.kind != TC_ENTRY_FILE) return tc_receiver_count(receiver, &entry, NULL, err);
    TC_TRY(tc_receiver_begin_file(receiver, &entry, err));
    TC_TRY(tc_receiver_stream(receiver, entry.size, false, err));
    return tc_receiver_end_file(receiver, &entry, err);
}

static tc_status receive_plain(struct tc_receiver *receiver, struct tc_error *err)
{
    TC_TRY(tc_receiver_start_unpacker(receiver, TC_BUILD_EPOCH_DEFAULT, err));
    for (;;) {
        enum tc_wire_kind kind;
        struct tc_span payload;
        TC_TRY(tc_channel_read(receiver->host, &kind, &payload, err));
        if (kind == TC_WIRE_SOURCE_END) return TC_OK;
        if (kind != TC_WIRE_ENTRY)
            return tc_fail(err, TC_MALFORMED, "the host sent frame kind %d inside the source",
                           (int)kind);
        TC_TRY(receive_entry(receiver, payload, err));
    }
}

/* --- both --- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static tc_status finish(struct tc_receiver *receiver, struct tc_error *err)
{
    struct tc_source_received *result = receiver->result;
    struct tc_span nothing;
    TC_TRY(tc_receiver_forward(receiver, TC_WIRE_SOURCE_END, (struct tc_span){0}, err));
    TC_TRY(tc_channel_expect(receiver->unpacker, TC_WIRE_DONE, &nothing, err));
    TC_TRY(tc_manifest_finish(receiver->manifest, &result->summary, err));
    TC_TRY(tc_buf_check(&result->build_file, "the build file", err));
    if (result->build_file.size == 0)
        return tc_fail(err, TC_REFUSED, "the source holds no build file, or an empty one");
    if (result->omitted_count > 0)
        qsort(result->omitted, result->omitted_count, sizeof *result->omitted, by_text);
    return TC_OK;
}

static tc_status receive(struct tc_receiver *receiver, struct tc_error *err)
{
    if (!receiver->manifest || !receiver->sha1 || !receiver->sha256)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_TRY(receiver->hello->source == TC_SOURCE_GIT ? tc_receive_git(receiver, err)
                                                    : receive_plain(receiver, err));
    return finish(receiver, err);
}

static void receiver_done(struct tc_receiver *receiver)
{
    tc_manifest_free(receiver->manifest);
    tc_hash_free(receiver->sha1);
    tc_hash_free(receiver->sha256);
    tc_buf_free(&receiver->path);
    tc_buf_free(&receiver->scratch);
    tc_buf_free(&receiver->tapped_bytes);
}

tc_status tc_source_receive(struct tc_channel *host, struct tc_channel *unpacker,
                            const struct tc_wire_hello *hello, const struct tc_source_tap *tap,
                            struct tc_source_received *ret_received, struct tc_error *err)
{
    struct tc_source_received result = {.build_file = tc_buf_new(TC_BUILDSPEC_SIZE_MAX)};
    struct tc_receiver receiver = {.host = host,
                                   .unpacker = unpacker,
                                   .hello = hello,
                                   .tap = tap,
                                   .result = &result,
                                   .manifest = tc_manifest_new(),
                                   .sha1 = tc_hash_new(TC_HASH_SHA1),
                                   .sha256 = tc_hash_new(TC_HASH_SHA256),
                                   .path = tc_buf_new(TC_ENTRY_MAX),
                                   .scratch = tc_buf_new(TC_WIRE_PAYLOAD_MAX)};
    tc_status status = receive(&receiver, err);
    receiver_done(&receiver);
    if (status != TC_OK) {
        tc_source_received_free(&result);
        return status;
    }
    *ret_received = result;
    return TC_OK;
}
