/* Frames to the sink, and the source digest of what they carry. */
#include "source/tree.h"

tc_status tc_out_init(struct tc_out *out, const struct tc_pack_sink *sink, struct tc_error *err)
{
    *out = (struct tc_out){.sink = sink,
                           .manifest = tc_manifest_new(),
                           .sha1 = tc_hash_new(TC_HASH_SHA1),
                           .sha256 = tc_hash_new(TC_HASH_SHA256),
                           .record = tc_buf_new(TC_WIRE_PAYLOAD_MAX)};
    if (out->manifest && out->sha1 && out->sha256) return TC_OK;
    tc_out_done(out);
    return tc_fail(err, TC_SYSTEM, "out of memory for the source digest");
}

void tc_out_done(struct tc_out *out)
{
    tc_manifest_free(out->manifest);
    tc_hash_free(out->sha1);
    tc_hash_free(out->sha256);
    tc_buf_free(&out->record);
    *out = (struct tc_out){0};
}

tc_status tc_out_frame(struct tc_out *out, enum tc_wire_kind kind, struct tc_span payload,
                       struct tc_error *err)
{
    return out->sink->send ? out->sink->send(out->sink->context, kind, payload, err) : TC_OK;
}

tc_status tc_out_object(struct tc_out *out, enum tc_object_kind kind, uint64_t size,
                        struct tc_error *err)
{
    const struct tc_wire_object object = {kind, size};
    if (size > TC_FILE_SIZE_MAX)
        return tc_fail(err, TC_LIMIT, "a file of %llu bytes, at most %llu can be sent",
                       (unsigned long long)size, (unsigned long long)TC_FILE_SIZE_MAX);
    tc_buf_reset(&out->record);
    tc_wire_object_encode(&object, &out->record);
    TC_TRY(tc_buf_check(&out->record, "an object's frame", err));
    return tc_out_frame(out, TC_WIRE_OBJECT, tc_buf_span(&out->record), err);
}

tc_status tc_out_entry(struct tc_out *out, const struct tc_entry *entry, struct tc_error *err)
{
    tc_buf_reset(&out->record);
    tc_entry_encode(entry, &out->record);
    TC_TRY(tc_buf_check(&out->record, "an entry's frame", err));
    return tc_out_frame(out, TC_WIRE_ENTRY, tc_buf_span(&out->record), err);
}

tc_status tc_out_data(struct tc_out *out, struct tc_span bytes, struct tc_error *err)
{
    tc_hash_add(out->sha1, bytes.data, bytes.size);
    tc_hash_add(out->sha256, bytes.data, bytes.size);
    while (bytes.size > 0) {
        size_t size = bytes.size < TC_WIRE_DATA_MAX ? bytes.size : TC_WIRE_DATA_MAX;
        TC_TRY(tc_out_frame(out, TC_WIRE_DATA, (struct tc_span){bytes.data, size}, err));
        bytes.data += size;
        bytes.size -= size;
    }
    return TC_OK;
}

tc_status tc_out_whole(struct tc_out *out, enum tc_object_kind kind, struct tc_span bytes,
                       struct tc_error *err)
{
    TC_TRY(tc_out_object(out, kind, bytes.size, err));
    return tc_out_data(out, bytes, err);
}

tc_status tc_out_count(struct tc_out *out, const struct tc_entry *entry, struct tc_error *err)
{
    struct tc_sha256 content;
    if (entry->kind != TC_ENTRY_FILE) return tc_manifest_add(out->manifest, entry, NULL, err);
    TC_TRY(tc_hash_finish(out->sha256, content.bytes, sizeof content.bytes, err));
    return tc_manifest_add(out->manifest, entry, &content, err);
}
