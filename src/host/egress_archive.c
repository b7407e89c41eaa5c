/* STORE and REPLAY: frames into the archive and out of it. */
#include <string.h>

#include "core/egress.h"
#include "host/archive.h"
#include "host/egress_internal.h"

static tc_status read_frame(struct tc_channel *stream, struct tc_egress_header *ret_header,
                            struct tc_error *err)
{
    uint8_t bytes[TC_EGRESS_HEADER_SIZE];
    TC_TRY(tc_channel_read_bytes(stream, bytes, sizeof bytes, err));
    TC_TRY(tc_egress_header_decode(bytes, ret_header, err));
    return tc_channel_read_bytes(stream, stream->payload, ret_header->size, err);
}

static tc_status write_frame(struct tc_channel *stream, uint8_t kind, size_t size,
                             struct tc_error *err)
{
    uint8_t bytes[TC_EGRESS_HEADER_SIZE];
    const struct tc_egress_header header = {kind, (uint16_t)size};
    tc_egress_header_encode(&header, bytes);
    TC_TRY(tc_channel_write_bytes(stream, (struct tc_span){bytes, sizeof bytes}, err));
    return tc_channel_write_bytes(stream, (struct tc_span){stream->payload, size}, err);
}

static tc_status take_body(struct tc_channel *stream, struct tc_archive_store *store,
                           struct tc_error *err)
{
    for (;;) {
        struct tc_egress_header header;
        TC_TRY(read_frame(stream, &header, err));
        if (header.kind == TC_EGRESS_END && header.size == 0)
            return tc_archive_store_finish(store, err);
        if (header.kind != TC_EGRESS_DATA || header.size == 0)
            return tc_fail(err, TC_MALFORMED,
                           "a response has a frame of kind %u with %u bytes in it",
                           (unsigned)header.kind, (unsigned)header.size);
        const struct tc_span data = {stream->payload, header.size};
        TC_TRY(tc_archive_store_add(store, data, err));
    }
}

tc_status tc_egress_store(struct tc_channel *stream, struct tc_archive_writer *writer,
                          struct tc_error *err)
{
    struct tc_egress_header header;
    struct tc_archive_store *store;
    TC_TRY(read_frame(stream, &header, err));
    if (header.kind != TC_EGRESS_HEAD)
        return tc_fail(err, TC_MALFORMED, "a response begins with a frame of kind %u, expected %d",
                       (unsigned)header.kind, TC_EGRESS_HEAD);
    TC_TRY(tc_archive_store_begin(writer, (struct tc_span){stream->payload, header.size}, &store,
                                  err));
    tc_status status = take_body(stream, store, err);
    tc_archive_store_free(store);
    return status;
}

static tc_status give(struct tc_channel *stream, const struct tc_archive *archive, uint8_t kind,
                      struct tc_archive_part part, struct tc_error *err)
{
    while (part.size > 0) {
        size_t size = part.size < TC_EGRESS_PAYLOAD_MAX ? (size_t)part.size : TC_EGRESS_PAYLOAD_MAX;
        TC_TRY(tc_archive_read(archive, &part, stream->payload, size, err));
        TC_TRY(write_frame(stream, kind, size, err));
    }
    return TC_OK;
}

tc_status tc_egress_find(const struct tc_archive *archive, struct tc_span payload,
                         struct tc_egress_found *ret_found, struct tc_error *err)
{
    static const struct tc_sha256 none = {{0}};
    struct tc_egress_found found = {.has_line = true};
    struct tc_sha256 line;
    if (payload.size != sizeof line.bytes)
        return tc_fail(err, TC_MALFORMED, "a request of the archive is %zu bytes; expected %d",
                       payload.size, TC_SHA256_SIZE);
    memcpy(line.bytes, payload.data, payload.size);
    if (memcmp(&line, &none, sizeof none) == 0)
        found = (struct tc_egress_found){.data = tc_archive_index_part(archive)};
    else if (!tc_archive_find(archive, &line, &found.line, &found.data))
        return tc_fail(err, TC_UNAVAILABLE, "the archive has no such response");
    *ret_found = found;
    return TC_OK;
}

tc_status tc_egress_replay(struct tc_channel *stream, const struct tc_archive *archive,
                           const struct tc_egress_found *found, struct tc_error *err)
{
    if (found->has_line) TC_TRY(give(stream, archive, TC_EGRESS_HEAD, found->line, err));
    TC_TRY(give(stream, archive, TC_EGRESS_DATA, found->data, err));
    return write_frame(stream, TC_EGRESS_END, 0, err);
}
