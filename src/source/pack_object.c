/* Bytes of git objects and of files, in pieces.
 *
 * Memory: a loose blob is inflated and sent piece by piece. libgit2 can read a
 * packed one only whole, so that packing needs about the size of the largest
 * packed blob (and, for a delta, of its base). Everything else is small. */
#include "source/pack_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* --- files --- */

tc_status tc_file_open(int folder, const char *name, const char *where, int *ret_fd,
                       uint64_t *ret_size, bool *ret_executable, struct tc_error *err)
{
    struct stat info;
    char shown[256];
    (void)tc_printable(tc_span_of_text(where), shown, sizeof shown);
    TC_AUTO_CLOSE int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open %s", shown);
    if (!S_ISREG(info.st_mode))
        return tc_fail(err, TC_USAGE, "%s is no regular file (any more)", shown);
    if ((uint64_t)info.st_size > TC_FILE_SIZE_MAX)
        return tc_fail(err, TC_LIMIT, "%s has %lld bytes, at most %llu can be sent", shown,
                       (long long)info.st_size, (unsigned long long)TC_FILE_SIZE_MAX);
    *ret_fd = TC_TAKE_FD(fd);
    *ret_size = (uint64_t)info.st_size;
    *ret_executable = (info.st_mode & S_IXUSR) != 0;
    return TC_OK;
}

/* What was announced is what has to come: neither less nor more. */
tc_status tc_file_send(int fd, uint64_t size, const char *where, struct tc_out *out,
                       struct tc_error *err)
{
    uint8_t piece[PIECE];
    char shown[256];
    uint64_t left = size;
    (void)tc_printable(tc_span_of_text(where), shown, sizeof shown);
    tc_hash_restart(out->sha256);
    for (;;) {
        ssize_t got = read(fd, piece, sizeof piece);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read %s", shown);
        if (got == 0 && left == 0) return TC_OK;
        if (got == 0 || (uint64_t)got > left)
            return tc_fail(err, TC_UNAVAILABLE,
                           "%s changed while it was read: %s than %llu bytes. Stop what writes to "
                           "it, or build from a clean checkout",
                           shown, got == 0 ? "shorter" : "longer", (unsigned long long)size);
        TC_TRY(tc_out_data(out, (struct tc_span){piece, (size_t)got}, err));
        left -= (uint64_t)got;
    }
}

tc_status tc_folder_open(int root, const char *path, int *ret_fd, struct tc_error *err)
{
    char shown[256], name[TC_NAME_MAX + 1];
    TC_AUTO_CLOSE int fd = fcntl(root, F_DUPFD_CLOEXEC, 0);
    const char *rest = path;
    while (fd >= 0 && *rest) {
        size_t size = strcspn(rest, "/");
        if (size > TC_NAME_MAX) return tc_fail(err, TC_LIMIT, "a name of more than 255 bytes");
        memcpy(name, rest, size);
        name[size] = '\0';
        int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int reason = errno;
        tc_close_ptr(&fd);
        errno = reason;
        fd = next;
        rest += size + (rest[size] == '/');
    }
    if (fd < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open the folder %s",
                             tc_printable(tc_span_of_text(path), shown, sizeof shown));
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}
