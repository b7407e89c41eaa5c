#include "worker/dotgit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "os/files.h"

enum { COMPRESSED_PIECE = 16384, INDEX_MAX = 1 << 30 };

struct line {
    char *path;
    struct tc_sha1 id;
    uint32_t mode, size;
};

struct tc_dotgit {
    int folder; /* .git */
    int64_t epoch;
    struct tc_hash *sha1;
    z_stream deflate;
    bool deflating;
    int object; /* the file being written */
    uint64_t left; /* bytes that the object still lacks */
    struct line *lines;
    size_t lines_count, lines_room;
};

static tc_status write_file(struct tc_dotgit *git, const char *path, struct tc_span bytes,
                            struct tc_error *err)
{
    TC_AUTO_CLOSE int fd =
        openat(git->folder, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot write .git/%s", path);
    return tc_write_all(fd, bytes, "a file of .git", err);
}

static tc_status make_folder(struct tc_dotgit *git, const char *path, struct tc_error *err)
{
    if (mkdirat(git->folder, path, 0755) == 0 || errno == EEXIST) return TC_OK;
    return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make .git/%s", path);
}

/* minimal and no ctime: of a file only mtime (whole seconds) and size are compared
 * with the index, and both are known before anybody looks. */
static const char config[] = "[core]\n"
                             "\trepositoryformatversion = 0\n"
                             "\tfilemode = true\n"
                             "\tbare = false\n"
                             "\tlogallrefupdates = false\n"
                             "\tcheckStat = minimal\n"
                             "\ttrustctime = false\n";

tc_status tc_dotgit_new(int root_fd, int64_t epoch, struct tc_dotgit **ret_git, struct tc_error *err)
{
    static const char *const folders[] = {"objects", "objects/info", "objects/pack",
                                          "refs",    "refs/heads",   "refs/tags"};
    struct tc_dotgit *git = calloc(1, sizeof *git);
    if (!git) return tc_fail(err, TC_SYSTEM, "out of memory");
    git->folder = git->object = -1;
    git->epoch = epoch;
    git->sha1 = tc_hash_new(TC_HASH_SHA1);
    tc_status status = TC_OK;
    if (!git->sha1) status = tc_fail(err, TC_SYSTEM, "out of memory");
    if (status == TC_OK && (mkdirat(root_fd, ".git", 0755) != 0 ||
                            (git->folder = openat(root_fd, ".git", O_DIRECTORY | O_RDONLY |
                                                                       O_NOFOLLOW | O_CLOEXEC)) < 0))
        status = tc_fail_errno(err, TC_SYSTEM, errno, "cannot make .git");
    for (size_t i = 0; status == TC_OK && i < sizeof folders / sizeof *folders; i++)
        status = make_folder(git, folders[i], err);
    if (status == TC_OK) status = write_file(git, "config", tc_span_of_text(config), err);
    if (status != TC_OK) {
        tc_dotgit_free(git);
        return status;
    }
    *ret_git = git;
    return TC_OK;
}

void tc_dotgit_free(struct tc_dotgit *git)
{
    if (!git) return;
    if (git->deflating) (void)deflateEnd(&git->deflate);
    tc_hash_free(git->sha1);
    tc_close_ptr(&git->folder);
    tc_close_ptr(&git->object);
    for (size_t i = 0; i < git->lines_count; i++)
        free(git->lines[i].path);
    free(git->lines);
    free(git);
}

/* --- loose objects --- */

static tc_status compress_piece(struct tc_dotgit *git, struct tc_span bytes, int flush,
                                struct tc_error *err)
{
    uint8_t out[COMPRESSED_PIECE];
    git->deflate.next_in = (uint8_t *)(uintptr_t)bytes.data;
    git->deflate.avail_in = (unsigned)bytes.size;
    do {
        git->deflate.next_out = out;
        git->deflate.avail_out = sizeof out;
        int result = deflate(&git->deflate, flush);
        if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
            return tc_fail(err, TC_SYSTEM, "cannot compress a git object");
        struct tc_span ready = {out, sizeof out - git->deflate.avail_out};
        TC_TRY(tc_write_all(git->object, ready, "a git object", err));
    } while (git->deflate.avail_out == 0);
    return TC_OK;
}

tc_status tc_dotgit_begin(struct tc_dotgit *git, enum tc_git_kind kind, uint64_t size,
                          struct tc_error *err)
{
    static const char *const names[] = {"commit", "tree", "blob", "tag"};
    char header[40];
    int length = snprintf(header, sizeof header, "%s %llu", names[kind], (unsigned long long)size);
    git->object = openat(git->folder, "objects/new",
                         O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444);
    if (git->object < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot write a git object");
    git->deflate = (z_stream){0};
    /* Speed over size: the folder lives as long as the build. */
    if (deflateInit(&git->deflate, Z_BEST_SPEED) != Z_OK)
        return tc_fail(err, TC_SYSTEM, "cannot compress a git object");
    git->deflating = true;
    git->left = size;
    tc_git_hash_start(git->sha1, kind, size);
    return compress_piece(git, (struct tc_span){(const uint8_t *)header, (size_t)length + 1},
                          Z_NO_FLUSH, err);
}

tc_status tc_dotgit_add(struct tc_dotgit *git, struct tc_span bytes, struct tc_error *err)
{
    if (bytes.size > git->left) return tc_fail(err, TC_MALFORMED, "a git object longer than its size");
    git->left -= bytes.size;
    tc_hash_add(git->sha1, bytes.data, bytes.size);
    return compress_piece(git, bytes, Z_NO_FLUSH, err);
}

tc_status tc_dotgit_end(struct tc_dotgit *git, struct tc_sha1 *ret_id, struct tc_error *err)
{
    struct tc_sha1 id;
    char hex[TC_SHA1_HEX], path[64];
    if (git->left != 0) return tc_fail(err, TC_MALFORMED, "a git object shorter than its size");
    TC_TRY(compress_piece(git, (struct tc_span){NULL, 0}, Z_FINISH, err));
    (void)deflateEnd(&git->deflate);
    git->deflating = false;
    tc_close_ptr(&git->object);
    TC_TRY(tc_hash_finish(git->sha1, id.bytes, sizeof id.bytes, err));
    tc_hex((struct tc_span){id.bytes, sizeof id.bytes}, hex);
    (void)snprintf(path, sizeof path, "objects/%.2s", hex);
    TC_TRY(make_folder(git, path, err));
    (void)snprintf(path, sizeof path, "objects/%.2s/%s", hex, hex + 2);
    if (renameat(git->folder, "objects/new", git->folder, path) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot name a git object");
    *ret_id = id;
    return TC_OK;
}

/* --- index --- */

tc_status tc_dotgit_index(struct tc_dotgit *git, const struct tc_entry *entry,
                          const struct tc_sha1 *id, uint64_t size, struct tc_error *err)
{
    if (git->lines_count == git->lines_room) {
        size_t room = git->lines_room ? 2 * git->lines_room : 256;
        struct line *grown = reallocarray(git->lines, room, sizeof *grown);
        if (!grown) return tc_fail(err, TC_SYSTEM, "out of memory for the git index");
        git->lines = grown;
        git->lines_room = room;
    }
    struct line *line = &git->lines[git->lines_count];
    line->path = tc_span_to_text(entry->path);
    if (!line->path) return tc_fail(err, TC_SYSTEM, "out of memory for the git index");
    git->lines_count++;
    line->id = *id;
    line->size = (uint32_t)size; /* the index keeps 32 bits of it */
    line->mode = entry->kind == TC_ENTRY_SYMLINK     ? 0120000
                 : entry->kind == TC_ENTRY_SUBMODULE ? 0160000
                 : entry->executable                 ? 0100755
                                                     : 0100644;
    return TC_OK;
}

/* The index sorts plain names; the stream sorts a submodule as "name/". */
static int by_path(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    return strcmp(x->path, y->path);
}

/* Documentation/gitformat-index.txt, version 2. */
static void write_line(struct tc_buf *buf, const struct line *line, uint32_t epoch)
{
    size_t start = buf->size, length = strlen(line->path);
    tc_buf_add_u32(buf, 0); /* ctime: not compared */
    tc_buf_add_u32(buf, 0);
    tc_buf_add_u32(buf, epoch);
    tc_buf_add_u32(buf, 0);
    tc_buf_add_u32(buf, 0); /* dev, ino: not compared */
    tc_buf_add_u32(buf, 0);
    tc_buf_add_u32(buf, line->mode);
    tc_buf_add_u32(buf, 0); /* uid, gid: not compared */
    tc_buf_add_u32(buf, 0);
    tc_buf_add_u32(buf, line->size);
    tc_buf_add(buf, line->id.bytes, sizeof line->id.bytes);
    tc_buf_add_u16(buf, (uint16_t)(length < 0xfff ? length : 0xfff));
    tc_buf_add_text(buf, line->path);
    do
        tc_buf_add_u8(buf, 0);
    while (buf->failed ? false : (buf->size - start) % 8 != 0);
}

static tc_status write_index(struct tc_dotgit *git, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(INDEX_MAX);
    TC_AUTO_HASH struct tc_hash *sha1 = tc_hash_new(TC_HASH_SHA1);
    struct tc_sha1 sum;
    if (!sha1) return tc_fail(err, TC_SYSTEM, "out of memory");
    if (git->lines_count > 0) qsort(git->lines, git->lines_count, sizeof *git->lines, by_path);
    tc_buf_add_text(&buf, "DIRC");
    tc_buf_add_u32(&buf, 2);
    tc_buf_add_u32(&buf, (uint32_t)git->lines_count);
    for (size_t i = 0; i < git->lines_count; i++)
        write_line(&buf, &git->lines[i], (uint32_t)git->epoch);
    tc_hash_add(sha1, buf.data, buf.size);
    TC_TRY(tc_hash_finish(sha1, sum.bytes, sizeof sum.bytes, err));
    tc_buf_add(&buf, sum.bytes, sizeof sum.bytes);
    TC_TRY(tc_buf_check(&buf, "the git index", err));
    return write_file(git, "index", tc_buf_span(&buf), err);
}

/* --- refs --- */

tc_status tc_dotgit_tag(struct tc_dotgit *git, struct tc_span name, const struct tc_sha1 *id,
                        struct tc_error *err)
{
    char path[TC_NAME_MAX + 16], text[TC_SHA1_HEX + 1];
    (void)snprintf(path, sizeof path, "refs/tags/%.*s", (int)name.size, (const char *)name.data);
    for (char *slash = strchr(path + sizeof "refs/tags", '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        TC_TRY(make_folder(git, path, err));
        *slash = '/';
    }
    tc_hex((struct tc_span){id->bytes, sizeof id->bytes}, text);
    text[TC_SHA1_HEX - 1] = '\n';
    return write_file(git, path, (struct tc_span){(const uint8_t *)text, TC_SHA1_HEX}, err);
}

tc_status tc_dotgit_finish(struct tc_dotgit *git, const struct tc_sha1 *commit, struct tc_error *err)
{
    char text[TC_SHA1_HEX + 1];
    tc_hex((struct tc_span){commit->bytes, sizeof commit->bytes}, text);
    text[TC_SHA1_HEX - 1] = '\n';
    struct tc_span line = {(const uint8_t *)text, TC_SHA1_HEX};
    TC_TRY(write_file(git, "HEAD", line, err));
    TC_TRY(write_file(git, "shallow", line, err));
    return write_index(git, err);
}

tc_status tc_dotgit_age(struct tc_dotgit *git, struct tc_error *err)
{
    const struct timespec times[2] = {{.tv_sec = git->epoch + 1}, {.tv_sec = git->epoch + 1}};
    if (utimensat(git->folder, "index", times, AT_SYMLINK_NOFOLLOW) == 0) return TC_OK;
    return tc_fail_errno(err, TC_SYSTEM, errno, "cannot set the time of the git index");
}
