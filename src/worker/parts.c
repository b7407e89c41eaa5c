#include "worker/parts.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

tc_status tc_ipc_write(struct tc_channel *channel, enum tc_ipc_kind kind, struct tc_span payload,
                       struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf header = tc_buf_new(8);
    tc_buf_add_u32(&header, (uint32_t)kind);
    tc_buf_add_u32(&header, (uint32_t)payload.size);
    TC_TRY(tc_buf_check(&header, "a message header", err));
    TC_TRY(tc_channel_write_bytes(channel, tc_buf_span(&header), err));
    return tc_channel_write_bytes(channel, payload, err);
}

tc_status tc_ipc_read(struct tc_channel *channel, enum tc_ipc_kind *ret_kind, struct tc_buf *buf,
                      struct tc_error *err)
{
    uint8_t header[8];
    uint32_t kind, size;
    TC_TRY(tc_channel_read_bytes(channel, header, sizeof header, err));
    struct tc_cursor cursor = tc_cursor_of((struct tc_span){header, sizeof header});
    if (!tc_cursor_u32(&cursor, &kind) || !tc_cursor_u32(&cursor, &size) || size > buf->max)
        return tc_fail(err, TC_LIMIT, "%s sent a message over the cap of %zu bytes", channel->peer,
                       buf->max);
    /* Piece by piece: memory grows with the bytes that came, not with the claim. */
    tc_buf_reset(buf);
    uint8_t piece[16384];
    while (size > 0) {
        size_t now = size < sizeof piece ? size : sizeof piece;
        TC_TRY(tc_channel_read_bytes(channel, piece, now, err));
        tc_buf_add(buf, piece, now);
        size -= (uint32_t)now;
    }
    TC_TRY(tc_buf_check(buf, "a message", err));
    *ret_kind = (enum tc_ipc_kind)kind;
    return TC_OK;
}

/* Optional text: a presence byte, then the block. */
static void put_text(struct tc_buf *buf, const char *text)
{
    tc_buf_add_u8(buf, text != NULL);
    if (text) tc_buf_add_block(buf, tc_span_of_text(text));
}

static void put_list(struct tc_buf *buf, char *const *list, size_t count)
{
    tc_buf_add_u32(buf, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        put_text(buf, list[i]);
}

/* A decoder that goes on after the first error and says so at the end. */
struct decoder {
    struct tc_cursor cursor;
    bool failed;
};

static uint64_t get_u64(struct decoder *decoder)
{
    uint64_t value = 0;
    if (!decoder->failed && !tc_cursor_u64(&decoder->cursor, &value)) decoder->failed = true;
    return value;
}

static bool get_flag(struct decoder *decoder)
{
    uint8_t value = 0;
    if (!decoder->failed && (!tc_cursor_u8(&decoder->cursor, &value) || value > 1))
        decoder->failed = true;
    return value == 1;
}

/* A byte in this range. */
static unsigned get_choice(struct decoder *decoder, unsigned least, unsigned most)
{
    uint8_t value = 0;
    if (!decoder->failed &&
        (!tc_cursor_u8(&decoder->cursor, &value) || value < least || value > most))
        decoder->failed = true;
    return value;
}

static void get_bytes(struct decoder *decoder, uint8_t *out, size_t size)
{
    struct tc_span span;
    if (decoder->failed || !tc_cursor_take(&decoder->cursor, size, &span)) {
        decoder->failed = true;
        return;
    }
    memcpy(out, span.data, size);
}

/* Owned; UTF-8 without NUL, so that it is a C string and fits JSON. */
static char *get_text(struct decoder *decoder)
{
    struct tc_span span;
    if (!get_flag(decoder)) return NULL;
    if (decoder->failed || !tc_cursor_block(&decoder->cursor, TC_IPC_PART_MAX, &span) ||
        !tc_is_utf8(span)) {
        decoder->failed = true;
        return NULL;
    }
    char *text = tc_span_to_text(span);
    if (!text) decoder->failed = true;
    return text;
}

static char *get_required(struct decoder *decoder)
{
    char *text = get_text(decoder);
    if (!text) decoder->failed = true;
    return text;
}

static char **get_list(struct decoder *decoder, size_t max, size_t *ret_count)
{
    uint32_t count = 0;
    if (decoder->failed || !tc_cursor_u32(&decoder->cursor, &count) || count > max) {
        decoder->failed = true;
        return NULL;
    }
    char **list = calloc(count + 1, sizeof *list);
    if (!list) {
        decoder->failed = true;
        return NULL;
    }
    for (uint32_t i = 0; i < count; i++)
        list[i] = get_required(decoder);
    *ret_count = count;
    return list;
}

static tc_status decoded(const struct decoder *decoder, const char *what, struct tc_error *err)
{
    if (!decoder->failed && tc_cursor_left(&decoder->cursor) == 0) return TC_OK;
    return tc_fail(err, TC_MALFORMED, "the %s that was sent to the monitor is malformed", what);
}

void tc_part_source_encode(const struct tc_part_source *part, struct tc_buf *buf)
{
    tc_buf_add_u8(buf, part->kind == TC_SOURCE_GIT);
    tc_buf_add(buf, part->digest.bytes, sizeof part->digest.bytes);
    tc_buf_add_u64(buf, part->files);
    tc_buf_add_u64(buf, part->bytes);
    tc_buf_add_u8(buf, part->has_commit);
    tc_buf_add(buf, part->commit.bytes, sizeof part->commit.bytes);
    tc_buf_add(buf, part->tree.bytes, sizeof part->tree.bytes);
    tc_buf_add_u64(buf, (uint64_t)part->epoch);
    put_text(buf, part->repository);
    put_text(buf, part->ref);
    put_text(buf, part->backend);
    put_list(buf, part->tags, part->tags_count);
}

tc_status tc_part_source_decode(struct tc_span bytes, struct tc_part_source *ret_part,
                                struct tc_error *err)
{
    struct decoder decoder = {.cursor = tc_cursor_of(bytes)};
    struct tc_part_source part = {0};
    part.kind = get_flag(&decoder) ? TC_SOURCE_GIT : TC_SOURCE_TREE;
    get_bytes(&decoder, part.digest.bytes, sizeof part.digest.bytes);
    part.files = get_u64(&decoder);
    part.bytes = get_u64(&decoder);
    part.has_commit = get_flag(&decoder);
    get_bytes(&decoder, part.commit.bytes, sizeof part.commit.bytes);
    get_bytes(&decoder, part.tree.bytes, sizeof part.tree.bytes);
    part.epoch = (int64_t)get_u64(&decoder);
    part.repository = get_text(&decoder);
    part.ref = get_text(&decoder);
    part.backend = get_text(&decoder);
    part.tags = get_list(&decoder, TC_TAGS_MAX, &part.tags_count);
    if (part.has_commit != (part.kind == TC_SOURCE_GIT)) decoder.failed = true;
    tc_status status = decoded(&decoder, "source part", err);
    if (status != TC_OK) {
        tc_part_source_free(&part);
        return status;
    }
    *ret_part = part;
    return TC_OK;
}

void tc_part_recipe_encode(const struct tc_part_recipe *part, struct tc_buf *buf)
{
    put_text(buf, part->build_file);
    tc_buf_add(buf, part->build_file_digest.bytes, sizeof part->build_file_digest.bytes);
    put_text(buf, part->language);
    put_text(buf, part->image);
    put_text(buf, part->command);
    put_text(buf, part->vendor);
    put_text(buf, part->folder);
    put_list(buf, part->environment, part->environment_count);
    put_list(buf, part->outputs, part->outputs_count);
    tc_buf_add_u64(buf, part->limits.timeout);
    tc_buf_add_u64(buf, part->limits.memory);
    tc_buf_add_u64(buf, part->limits.disk);
    tc_buf_add_u64(buf, part->limits.log);
    tc_buf_add_u64(buf, part->limits.processes);
    tc_buf_add_u8(buf, (uint8_t)part->network);
}

tc_status tc_part_recipe_decode(struct tc_span bytes, struct tc_part_recipe *ret_part,
                                struct tc_error *err)
{
    struct decoder decoder = {.cursor = tc_cursor_of(bytes)};
    struct tc_part_recipe part = {0};
    part.build_file = get_required(&decoder);
    get_bytes(&decoder, part.build_file_digest.bytes, sizeof part.build_file_digest.bytes);
    part.language = get_required(&decoder);
    part.image = get_text(&decoder);
    part.command = get_required(&decoder);
    part.vendor = get_text(&decoder);
    part.folder = get_required(&decoder);
    part.environment = get_list(&decoder, TC_ENVIRONMENT_MAX, &part.environment_count);
    part.outputs = get_list(&decoder, TC_BUILDSPEC_LIST_MAX, &part.outputs_count);
    part.limits.timeout = get_u64(&decoder);
    part.limits.memory = get_u64(&decoder);
    part.limits.disk = get_u64(&decoder);
    part.limits.log = get_u64(&decoder);
    part.limits.processes = get_u64(&decoder);
    part.network =
        (enum tc_network_mode)get_choice(&decoder, TC_NETWORK_OFFLINE, TC_NETWORK_PINNED);
    tc_status status = decoded(&decoder, "recipe part", err);
    if (status != TC_OK) {
        tc_part_recipe_free(&part);
        return status;
    }
    *ret_part = part;
    return TC_OK;
}

void tc_collected_encode(const struct tc_collected *collected, struct tc_buf *buf)
{
    put_text(buf, collected->name);
    put_text(buf, collected->command);
    put_text(buf, collected->output);
}

tc_status tc_collected_decode(struct tc_span bytes, struct tc_collected *ret_collected,
                              struct tc_error *err)
{
    struct decoder decoder = {.cursor = tc_cursor_of(bytes)};
    struct tc_collected collected = {.name = get_required(&decoder)};
    collected.command = get_required(&decoder);
    collected.output = get_required(&decoder);
    if (collected.output && strlen(collected.output) > TC_COLLECTED_MAX) decoder.failed = true;
    tc_status status = decoded(&decoder, "collected value", err);
    if (status != TC_OK) {
        free(collected.name);
        free(collected.command);
        free(collected.output);
        return status;
    }
    *ret_collected = collected;
    return TC_OK;
}

void tc_subject_encode(const struct tc_subject *subject, struct tc_buf *buf)
{
    put_text(buf, subject->path);
    tc_buf_add_u8(buf, subject->executable);
    tc_buf_add_u64(buf, subject->size);
    tc_buf_add(buf, subject->digest.bytes, sizeof subject->digest.bytes);
}

tc_status tc_subject_decode(struct tc_span bytes, struct tc_subject *ret_subject,
                            struct tc_error *err)
{
    struct decoder decoder = {.cursor = tc_cursor_of(bytes)};
    struct tc_subject subject = {.path = get_required(&decoder)};
    subject.executable = get_flag(&decoder);
    subject.size = get_u64(&decoder);
    get_bytes(&decoder, subject.digest.bytes, sizeof subject.digest.bytes);
    if (subject.path && !tc_path_is_safe(tc_span_of_text(subject.path))) decoder.failed = true;
    if (subject.size > TC_FILE_SIZE_MAX) decoder.failed = true;
    tc_status status = decoded(&decoder, "subject", err);
    if (status != TC_OK) {
        free(subject.path);
        return status;
    }
    *ret_subject = subject;
    return TC_OK;
}

void tc_part_log_encode(const struct tc_part_log *part, struct tc_buf *buf)
{
    tc_buf_add_u8(buf, part->present);
    tc_buf_add_u64(buf, part->size);
    tc_buf_add(buf, part->digest.bytes, sizeof part->digest.bytes);
}

tc_status tc_part_log_decode(struct tc_span bytes, struct tc_part_log *ret_part,
                             struct tc_error *err)
{
    struct decoder decoder = {.cursor = tc_cursor_of(bytes)};
    struct tc_part_log part = {.present = get_flag(&decoder)};
    part.size = get_u64(&decoder);
    get_bytes(&decoder, part.digest.bytes, sizeof part.digest.bytes);
    TC_TRY(decoded(&decoder, "log part", err));
    *ret_part = part;
    return TC_OK;
}

void tc_part_witness_encode(const struct tc_part_witness *part, struct tc_buf *buf)
{
    put_text(buf, part->repository);
    put_text(buf, part->ref);
    tc_buf_add(buf, part->commit.bytes, sizeof part->commit.bytes);
}

tc_status tc_part_witness_decode(struct tc_span bytes, struct tc_part_witness *ret_part,
                                 struct tc_error *err)
{
    struct decoder decoder = {.cursor = tc_cursor_of(bytes)};
    struct tc_part_witness part = {.repository = get_required(&decoder)};
    part.ref = get_required(&decoder);
    get_bytes(&decoder, part.commit.bytes, sizeof part.commit.bytes);
    tc_status status = decoded(&decoder, "witness part", err);
    if (status != TC_OK) {
        tc_part_witness_free(&part);
        return status;
    }
    *ret_part = part;
    return TC_OK;
}

void tc_part_network_encode(const struct tc_part_network *part, struct tc_buf *buf)
{
    tc_buf_add(buf, part->build_file.bytes, sizeof part->build_file.bytes);
    tc_buf_add_u8(buf, (uint8_t)part->hijack);
    tc_buf_add_u8(buf, part->replayed);
    tc_buf_add(buf, part->archive.bytes, sizeof part->archive.bytes);
    tc_buf_add_u32(buf, (uint32_t)part->ca_count);
    for (size_t i = 0; i < part->ca_count; i++) {
        put_text(buf, part->ca[i].host);
        put_text(buf, part->ca[i].path);
        tc_buf_add(buf, part->ca[i].digest.bytes, sizeof part->ca[i].digest.bytes);
    }
    put_list(buf, part->plain_http, part->plain_http_count);
    put_list(buf, part->opaque, part->opaque_count);
    tc_buf_add_u8(buf, part->has_denied);
    tc_buf_add_u64(buf, part->denied_count);
    tc_buf_add(buf, part->denied.bytes, sizeof part->denied.bytes);
}

static void get_ca(struct decoder *decoder, struct tc_part_network *part)
{
    uint32_t count = 0;
    if (decoder->failed || !tc_cursor_u32(&decoder->cursor, &count) ||
        count > TC_BUILDSPEC_LIST_MAX) {
        decoder->failed = true;
        return;
    }
    part->ca = calloc(count + 1, sizeof *part->ca);
    if (!part->ca) {
        decoder->failed = true;
        return;
    }
    part->ca_count = count;
    for (uint32_t i = 0; i < count; i++) {
        part->ca[i].host = get_required(decoder);
        part->ca[i].path = get_required(decoder);
        get_bytes(decoder, part->ca[i].digest.bytes, sizeof part->ca[i].digest.bytes);
    }
}

tc_status tc_part_network_decode(struct tc_span bytes, struct tc_part_network *ret_part,
                                 struct tc_error *err)
{
    struct decoder decoder = {.cursor = tc_cursor_of(bytes)};
    struct tc_part_network part = {0};
    get_bytes(&decoder, part.build_file.bytes, sizeof part.build_file.bytes);
    part.hijack = (enum tc_hijack)get_choice(&decoder, TC_HIJACK_NONE, TC_HIJACK_ANYIP);
    part.replayed = get_flag(&decoder);
    get_bytes(&decoder, part.archive.bytes, sizeof part.archive.bytes);
    get_ca(&decoder, &part);
    part.plain_http = get_list(&decoder, TC_UNAUTHENTICATED_MAX, &part.plain_http_count);
    part.opaque = get_list(&decoder, TC_UNAUTHENTICATED_MAX, &part.opaque_count);
    part.has_denied = get_flag(&decoder);
    part.denied_count = get_u64(&decoder);
    get_bytes(&decoder, part.denied.bytes, sizeof part.denied.bytes);
    tc_status status = decoded(&decoder, "network part", err);
    if (status != TC_OK) {
        tc_part_network_free(&part);
        return status;
    }
    *ret_part = part;
    return TC_OK;
}

void tc_dependency_encode(const struct tc_dependency *dependency, struct tc_buf *buf)
{
    put_text(buf, dependency->url);
    tc_buf_add(buf, dependency->digest.bytes, sizeof dependency->digest.bytes);
    tc_buf_add_u64(buf, dependency->size);
    tc_buf_add_u8(buf, dependency->from_archive);
    tc_buf_add_u8(buf, dependency->unauthenticated);
    put_text(buf, dependency->pinned_by);
}

tc_status tc_dependency_decode(struct tc_span bytes, struct tc_dependency *ret_dependency,
                               struct tc_error *err)
{
    struct decoder decoder = {.cursor = tc_cursor_of(bytes)};
    struct tc_dependency dependency = {.url = get_required(&decoder)};
    get_bytes(&decoder, dependency.digest.bytes, sizeof dependency.digest.bytes);
    dependency.size = get_u64(&decoder);
    dependency.from_archive = get_flag(&decoder);
    dependency.unauthenticated = get_flag(&decoder);
    dependency.pinned_by = get_text(&decoder);
    tc_status status = decoded(&decoder, "dependency", err);
    if (status != TC_OK) {
        free(dependency.url);
        free(dependency.pinned_by);
        return status;
    }
    *ret_dependency = dependency;
    return TC_OK;
}

void tc_part_transcript_encode(const struct tc_part_transcript *part, struct tc_buf *buf)
{
    tc_buf_add_u64(buf, part->count);
    tc_buf_add(buf, part->last.bytes, sizeof part->last.bytes);
    tc_buf_add(buf, part->digest.bytes, sizeof part->digest.bytes);
}

tc_status tc_part_transcript_decode(struct tc_span bytes, struct tc_part_transcript *ret_part,
                                    struct tc_error *err)
{
    struct decoder decoder = {.cursor = tc_cursor_of(bytes)};
    struct tc_part_transcript part = {.count = get_u64(&decoder)};
    get_bytes(&decoder, part.last.bytes, sizeof part.last.bytes);
    get_bytes(&decoder, part.digest.bytes, sizeof part.digest.bytes);
    TC_TRY(decoded(&decoder, "transcript part", err));
    *ret_part = part;
    return TC_OK;
}
