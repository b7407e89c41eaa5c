/* Opening reads the headers, one after the other, and skips the bodies:
 *
 *   header -> name, size -> the header that such a member has -> equal, or refused
 *
 * then the lines, each of which must have its body. What is kept of a body are 56 bytes,
 * of a line 64. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/archive.h"
#include "core/bundle.h"
#include "host/archive.h"
#include "host/archive_internal.h"

enum {
    HEADER_MAX = 3 * TC_BUNDLE_BLOCK, /* with the records of a size over 8 GiB */
    SIZE_AT = 124,
    TYPE_AT = 156,
    NAME_FIELD = 100,
    PIECE = 64 * 1024,
};

struct body {
    struct tc_sha256 digest;
    struct tc_archive_part part;
    bool is_named; /* by a line */
};

struct line {
    struct tc_sha256 digest;
    struct tc_archive_part part;
    size_t body;
};

struct tc_archive {
    int fd;
    uint64_t size;
    struct body *bodies; /* sorted */
    size_t bodies_count, bodies_room;
    struct line *lines; /* sorted */
    size_t lines_count, lines_room;
    struct tc_archive_part index;
    struct tc_sha256 digest;
};

static tc_status no_archive(const char *why, struct tc_error *err)
{
    return tc_fail(err, TC_MALFORMED,
                   "%s: it was not made by build --archive, or was changed since", why);
}

static tc_status read_at(const struct tc_archive *archive, uint64_t offset, void *out, size_t size,
                         struct tc_error *err)
{
    for (uint8_t *at = out; size > 0;) {
        ssize_t got = pread(archive->fd, at, size, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read it");
        if (got == 0) return no_archive("it ends too early", err);
        at += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return TC_OK;
}

/* Room for one more of a growing list; false: no memory. */
static bool make_room(void **list, size_t count, size_t *room, size_t size)
{
    if (count < *room) return true;
    size_t more = *room > 0 ? 2 * *room : 64;
    void *grown = reallocarray(*list, more, size);
    if (!grown) return false;
    *list = grown;
    *room = more;
    return true;
}

static int compare(const void *one, const void *other)
{
    return memcmp(one, other, sizeof(struct tc_sha256)); /* both begin with it */
}

/* --- members --- */

/* Only as good a guess as the comparison with the exact header needs. */
static uint64_t guess_size(const uint8_t *block, const uint8_t *records)
{
    uint64_t size = 0;
    if (!records) {
        for (size_t i = SIZE_AT; i < SIZE_AT + 11; i++)
            size = size << 3 | (uint64_t)(block[i] & 7);
        return size;
    }
    const uint8_t *digits = memchr(records, '=', TC_BUNDLE_BLOCK);
    for (size_t i = 1; digits && i < 17 && digits[i] >= '0' && digits[i] <= '9'; i++)
        size = size * 10 + (uint64_t)(digits[i] - '0');
    return size;
}

struct member {
    char name[NAME_FIELD + 1];
    uint64_t header, size;
};

static tc_status read_header(const struct tc_archive *archive, uint64_t offset,
                             struct member *ret_member, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf exact = tc_buf_new(TC_BUNDLE_HEADER_MAX);
    uint8_t header[HEADER_MAX];
    struct member member = {.header = TC_BUNDLE_BLOCK};
    TC_TRY(read_at(archive, offset, header, TC_BUNDLE_BLOCK, err));
    bool has_records = header[TYPE_AT] == 'x';
    if (has_records) {
        member.header = HEADER_MAX;
        TC_TRY(read_at(archive, offset, header, HEADER_MAX, err));
    }
    const uint8_t *block = header + member.header - TC_BUNDLE_BLOCK;
    memcpy(member.name, block, NAME_FIELD);
    member.size = guess_size(block, has_records ? header + TC_BUNDLE_BLOCK : NULL);
    const struct tc_bundle_member wanted = {tc_span_of_text(member.name), false, member.size};
    struct tc_error ignored = {0};
    if (tc_bundle_write_header(&wanted, &exact, &ignored) != TC_OK ||
        !tc_span_equal(tc_buf_span(&exact), (struct tc_span){header, (size_t)member.header}))
        return no_archive("a header is not in the form that an archive has", err);
    /* It is exact: the size is at most 1 TiB, and nothing below overflows. */
    if (member.header + member.size + tc_bundle_padding(member.size) > archive->size - offset)
        return no_archive("it ends too early", err);
    *ret_member = member;
    return TC_OK;
}

static tc_status check_zeros(const struct tc_archive *archive, uint64_t offset, size_t size,
                             struct tc_error *err)
{
    uint8_t bytes[TC_BUNDLE_END_SIZE];
    TC_TRY(read_at(archive, offset, bytes, size, err));
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0) return no_archive("its padding or its end is not zero", err);
    return TC_OK;
}

static tc_status add_body(struct tc_archive *archive, const struct member *member, uint64_t offset,
                          struct tc_error *err)
{
    static const size_t prefix = sizeof TC_ARCHIVE_BODIES - 1;
    struct body body = {.part = {offset + member->header, member->size}};
    char name[TC_ARCHIVE_BODY_NAME_SIZE];
    if (strncmp(member->name, TC_ARCHIVE_BODIES, prefix) != 0 ||
        !tc_unhex(member->name + prefix, body.digest.bytes, sizeof body.digest.bytes))
        return no_archive("a member is neither a body nor the index", err);
    tc_archive_body_name(&body.digest, name);
    if (strcmp(name, member->name) != 0)
        return no_archive("a body's name is not in lower case", err);
    if (archive->bodies_count == TC_ARCHIVED_MAX)
        return tc_fail(err, TC_LIMIT, "it has more than %d bodies", TC_ARCHIVED_MAX);
    void *list = archive->bodies;
    if (!make_room(&list, archive->bodies_count, &archive->bodies_room, sizeof body))
        return tc_fail(err, TC_SYSTEM, "out of memory");
    archive->bodies = list;
    archive->bodies[archive->bodies_count++] = body;
    return TC_OK;
}

/* All members; the last one is the index, and behind it is the end. */
static tc_status read_members(struct tc_archive *archive, struct tc_error *err)
{
    for (uint64_t offset = 0;;) {
        struct member member;
        TC_TRY(read_header(archive, offset, &member, err));
        size_t padding = tc_bundle_padding(member.size);
        uint64_t end = offset + member.header + member.size;
        TC_TRY(check_zeros(archive, end, padding, err));
        end += padding;
        if (strcmp(member.name, TC_ARCHIVE_INDEX_NAME) == 0) {
            archive->index = (struct tc_archive_part){offset + member.header, member.size};
            if (archive->size - end != TC_BUNDLE_END_SIZE)
                return no_archive("behind its index is more or less than its end", err);
            return check_zeros(archive, end, TC_BUNDLE_END_SIZE, err);
        }
        TC_TRY(add_body(archive, &member, offset, err));
        offset = end;
    }
}

static tc_status sort_bodies(struct tc_archive *archive, struct tc_error *err)
{
    if (archive->bodies_count == 0) return TC_OK;
    qsort(archive->bodies, archive->bodies_count, sizeof *archive->bodies, compare);
    for (size_t i = 1; i < archive->bodies_count; i++)
        if (compare(&archive->bodies[i - 1], &archive->bodies[i]) == 0)
            return no_archive("it has a body twice", err);
    return TC_OK;
}

/* --- lines --- */

static tc_status add_line(struct tc_archive *archive, struct tc_span text, uint64_t offset,
                          struct tc_error *err)
{
    struct tc_archived archived;
    struct line line = {.part = {offset, text.size}};
    TC_TRY(tc_archived_read(text, &archived, err));
    struct tc_sha256 digest = archived.digest;
    uint64_t size = archived.size;
    tc_archived_free(&archived);
    struct body *body = archive->bodies_count == 0
                            ? NULL
                            : bsearch(&digest, archive->bodies, archive->bodies_count,
                                      sizeof *archive->bodies, compare);
    if (!body || body->part.size != size) return no_archive("a line is without its body", err);
    body->is_named = true;
    line.body = (size_t)(body - archive->bodies);
    TC_TRY(tc_sha256_of(text, &line.digest, err));
    if (archive->lines_count == TC_ARCHIVED_MAX)
        return tc_fail(err, TC_LIMIT, "it has more than %d lines", TC_ARCHIVED_MAX);
    void *list = archive->lines;
    if (!make_room(&list, archive->lines_count, &archive->lines_room, sizeof line))
        return tc_fail(err, TC_SYSTEM, "out of memory");
    archive->lines = list;
    archive->lines[archive->lines_count++] = line;
    return TC_OK;
}

static tc_status take_lines(struct tc_archive *archive, struct tc_hash *hash, struct tc_buf *text,
                            struct tc_error *err)
{
    struct tc_archive_part rest = archive->index;
    uint8_t bytes[PIECE / 8];
    uint64_t start = rest.offset;
    while (rest.size > 0) {
        size_t size = rest.size < sizeof bytes ? (size_t)rest.size : sizeof bytes;
        TC_TRY(tc_archive_read(archive, &rest, bytes, size, err));
        tc_hash_add(hash, bytes, size);
        for (struct tc_span left = {bytes, size}; left.size > 0;) {
            const uint8_t *feed = memchr(left.data, '\n', left.size);
            size_t taken = feed ? (size_t)(feed - left.data) + 1 : left.size;
            tc_buf_add(text, left.data, taken);
            TC_TRY(tc_buf_check(text, "a line of archive.jsonl", err));
            left.data += taken;
            left.size -= taken;
            if (!feed) continue;
            TC_TRY(add_line(archive, tc_buf_span(text), start, err));
            start += text->size;
            tc_buf_reset(text);
        }
    }
    if (text->size > 0) return no_archive("archive.jsonl ends within a line", err);
    return tc_hash_finish(hash, archive->digest.bytes, sizeof archive->digest.bytes, err);
}

static tc_status read_lines(struct tc_archive *archive, struct tc_error *err)
{
    TC_AUTO_HASH struct tc_hash *hash = tc_hash_new(TC_HASH_SHA256);
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(TC_ARCHIVED_LINE_MAX);
    if (!hash) return tc_fail(err, TC_SYSTEM, "out of memory");
    if (archive->index.size > TC_ARCHIVE_INDEX_MAX)
        return tc_fail(err, TC_LIMIT, "its index is larger than %d bytes", TC_ARCHIVE_INDEX_MAX);
    TC_TRY(take_lines(archive, hash, &text, err));
    for (size_t i = 0; i < archive->bodies_count; i++)
        if (!archive->bodies[i].is_named) return no_archive("a body is without a line", err);
    if (archive->lines_count > 0)
        qsort(archive->lines, archive->lines_count, sizeof *archive->lines, compare);
    return TC_OK;
}

/* --- the archive --- */

static tc_status open_file(struct tc_archive *archive, const char *path, struct tc_error *err)
{
    struct stat info;
    archive->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (archive->fd < 0) return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open it");
    if (fstat(archive->fd, &info) != 0 || !S_ISREG(info.st_mode))
        return tc_fail(err, TC_USAGE, "it is no regular file");
    archive->size = (uint64_t)info.st_size;
    TC_TRY(read_members(archive, err));
    TC_TRY(sort_bodies(archive, err));
    return read_lines(archive, err);
}

tc_status tc_archive_open(const char *path, struct tc_archive **ret_archive, struct tc_error *err)
{
    char shown[256];
    struct tc_archive *archive = calloc(1, sizeof *archive);
    if (!archive) return tc_fail(err, TC_SYSTEM, "out of memory");
    if (open_file(archive, path, err) != TC_OK) {
        tc_archive_close(archive);
        return tc_wrap(err, "the archive %s",
                       tc_printable(tc_span_of_text(path), shown, sizeof shown));
    }
    *ret_archive = archive;
    return TC_OK;
}

void tc_archive_close(struct tc_archive *archive)
{
    if (!archive) return;
    tc_close_ptr(&archive->fd);
    free(archive->bodies);
    free(archive->lines);
    free(archive);
}

const struct tc_sha256 *tc_archive_digest(const struct tc_archive *archive)
{
    return &archive->digest;
}

size_t tc_archive_responses(const struct tc_archive *archive)
{
    return archive->lines_count;
}

struct tc_archive_part tc_archive_index_part(const struct tc_archive *archive)
{
    return archive->index;
}

bool tc_archive_find(const struct tc_archive *archive, const struct tc_sha256 *digest,
                     struct tc_archive_part *ret_line, struct tc_archive_part *ret_body)
{
    if (archive->lines_count == 0) return false;
    const struct line *line =
        bsearch(digest, archive->lines, archive->lines_count, sizeof *archive->lines, compare);
    if (!line) return false;
    *ret_line = line->part;
    *ret_body = archive->bodies[line->body].part;
    return true;
}

tc_status tc_archive_read(const struct tc_archive *archive, struct tc_archive_part *part,
                          uint8_t *out, size_t size, struct tc_error *err)
{
    if (size > part->size) return tc_fail(err, TC_USAGE, "beyond the end of a part");
    TC_TRY(read_at(archive, part->offset, out, size, err));
    part->offset += size;
    part->size -= size;
    return TC_OK;
}
