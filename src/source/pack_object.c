/* Bytes of git objects, in pieces.
 *
 * Memory: a loose blob is inflated and sent piece by piece. libgit2 can read a
 * packed one only whole, so that packing needs about the size of the largest
 * packed blob (and, for a delta, of its base). Everything else is small. */
#include "source/pack_internal.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

enum { PIECE = TC_WIRE_DATA_MAX, STREAM_FROM = 1 << 20 };

TC_PRINTF(3, 0)
static void put_text(char *out, size_t size, const char *format, va_list arguments)
{
    (void)vsnprintf(out, size, format, arguments);
}

tc_status tc_git_fail(struct tc_error *err, tc_status status, const char *format, ...)
{
    const git_error *last = git_error_last();
    char text[TC_ERROR_MAX / 2], said[TC_ERROR_MAX / 2];
    va_list arguments;
    va_start(arguments, format);
    put_text(text, sizeof text, format, arguments);
    va_end(arguments);
    const char *message = last && last->message ? last->message : "no reason given";
    return tc_fail(err, status, "%s: %s", text,
                   tc_printable(tc_span_of_text(message), said, sizeof said));
}

static tc_status no_object(const struct tc_sha1 *id, const char *where, struct tc_error *err)
{
    char hex[TC_SHA1_HEX], shown[256];
    tc_hex((struct tc_span){id->bytes, sizeof id->bytes}, hex);
    return tc_git_fail(err, TC_UNAVAILABLE,
                       "cannot read git object %s (%s); in a partial clone, fetch everything with "
                       "git fetch --refetch --no-filter",
                       hex, tc_printable(tc_span_of_text(where), shown, sizeof shown));
}

static git_oid oid_of(const struct tc_sha1 *id)
{
    git_oid oid = {{0}};
    memcpy(oid.id, id->bytes, sizeof id->bytes);
    return oid;
}

static tc_status read_header(git_odb *odb, const struct tc_sha1 *id, git_object_t kind,
                             const char *where, size_t *ret_size, struct tc_error *err)
{
    const git_oid oid = oid_of(id);
    git_object_t seen;
    char shown[256];
    if (git_odb_read_header(ret_size, &seen, odb, &oid) != 0) return no_object(id, where, err);
    if (seen == kind) return TC_OK;
    return tc_fail(err, TC_MALFORMED, "%s is a git %s, expected a %s",
                   tc_printable(tc_span_of_text(where), shown, sizeof shown),
                   git_object_type2string(seen), git_object_type2string(kind));
}

/* git_odb_read checks the id, with collision detection. */
static tc_status read_object(git_odb *odb, const struct tc_sha1 *id, const char *where,
                             git_odb_object **ret_object, struct tc_error *err)
{
    const git_oid oid = oid_of(id);
    return git_odb_read(ret_object, odb, &oid) == 0 ? TC_OK : no_object(id, where, err);
}

tc_status tc_object_read(git_odb *odb, const struct tc_sha1 *id, git_object_t kind, size_t max,
                         const char *where, git_odb_object **ret_object, struct tc_error *err)
{
    size_t size = 0;
    char shown[256];
    TC_TRY(read_header(odb, id, kind, where, &size, err));
    if (size > max)
        return tc_fail(err, TC_LIMIT, "%s: a git %s of %zu bytes, at most %zu are accepted",
                       tc_printable(tc_span_of_text(where), shown, sizeof shown),
                       git_object_type2string(kind), size, max);
    return read_object(odb, id, where, ret_object, err);
}

struct tc_span tc_object_bytes(const git_odb_object *object)
{
    /* The accessors of libgit2 take no const, and change nothing. */
    git_odb_object *plain = (git_odb_object *)(uintptr_t)object;
    return (struct tc_span){git_odb_object_data(plain), git_odb_object_size(plain)};
}

static tc_status send_stream(git_odb_stream *stream, uint64_t size, const struct tc_sha1 *id,
                             const char *where, struct tc_out *out, struct tc_error *err)
{
    struct tc_sha1 seen;
    char shown[256];
    uint8_t piece[PIECE];
    for (uint64_t left = size; left > 0;) {
        size_t wanted = left < sizeof piece ? (size_t)left : sizeof piece;
        int got = git_odb_stream_read(stream, (char *)piece, wanted);
        if (got <= 0) return no_object(id, where, err);
        TC_TRY(tc_out_data(out, (struct tc_span){piece, (size_t)got}, err));
        left -= (uint64_t)got;
    }
    TC_TRY(tc_hash_finish(out->sha1, seen.bytes, sizeof seen.bytes, err));
    if (memcmp(seen.bytes, id->bytes, sizeof seen.bytes) == 0) return TC_OK;
    return tc_fail(err, TC_MALFORMED, "%s: its git object is damaged, see git fsck",
                   tc_printable(tc_span_of_text(where), shown, sizeof shown));
}

tc_status tc_object_send_blob(git_odb *odb, const struct tc_sha1 *id, const char *where,
                              struct tc_out *out, uint64_t *ret_size, git_odb_object **ret_small,
                              struct tc_error *err)
{
    size_t size = 0, streamed;
    git_object_t kind;
    git_odb_stream *stream = NULL;
    const git_oid oid = oid_of(id);
    TC_TRY(read_header(odb, id, GIT_OBJECT_BLOB, where, &size, err));
    tc_hash_restart(out->sha256);
    tc_git_hash_start(out->sha1, TC_GIT_BLOB, size);
    if (size >= STREAM_FROM &&
        git_odb_open_rstream(&stream, &streamed, &kind, odb, &oid) == 0) {
        tc_status status = tc_out_object(out, TC_OBJECT_BLOB, size, err);
        if (status == TC_OK) status = send_stream(stream, size, id, where, out, err);
        git_odb_stream_free(stream);
        TC_TRY(status);
    } else {
        TC_AUTO_OBJECT git_odb_object *object = NULL;
        TC_TRY(read_object(odb, id, where, &object, err));
        TC_TRY(tc_out_whole(out, TC_OBJECT_BLOB, tc_object_bytes(object), err));
        if (size <= TC_GIT_LFS_POINTER_MAX) *ret_small = TC_TAKE(object);
    }
    *ret_size = size;
    return TC_OK;
}
