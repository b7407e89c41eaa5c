/* The unpacker: writes the tree that the session has checked, as the build's uid,
 * before any command runs. Folders are opened name by name without following
 * links, everything is created exclusively, so that two entries can never meet
 * in one place; modes do not depend on a umask; everything gets one mtime. */
#include "worker/unpack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "os/files.h"
#include "worker/dotgit.h"

enum { SESSION_PATIENCE_MS = 600 * 1000 };

struct unpacker {
    struct tc_channel session;
    int root;
    int64_t epoch;
    struct tc_dotgit *git;  /* NULL: no .git is wanted */
    struct tc_sha1 commit;
    bool have_commit;
    struct tc_buf parent;   /* path of parent_fd, "" for the root */
    int parent_fd;          /* folder of the last entry; -1: none yet */
    struct tc_buf submodule; /* path of the submodule that entries lie in */
    bool have_pointer;      /* an LFS pointer was stored for the next entry */
    struct tc_sha1 pointer;
};

static tc_status cannot(const char *what, struct tc_span path, struct tc_error *err)
{
    int reason = errno;
    char shown[256];
    return tc_fail_errno(err, reason == ENOSPC || reason == ENOMEM ? TC_LIMIT : TC_REFUSED, reason,
                         "cannot make the %s %s", what, tc_printable(path, shown, sizeof shown));
}

/* Opens a name in a folder, making it if it is not there. */
static int enter(int folder, const char *name)
{
    int flags = O_DIRECTORY | O_RDONLY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(folder, name, flags);
    if (fd >= 0 || errno != ENOENT) return fd;
    if (mkdirat(folder, name, 0755) != 0) return -1;
    fd = openat(folder, name, flags);
    if (fd >= 0 && fchmod(fd, 0755) != 0) tc_close_ptr(&fd);
    return fd;
}

/* Makes parent_fd the folder of path, name by name from the root. */
static tc_status go_to(struct unpacker *unpacker, struct tc_span folder, struct tc_error *err)
{
    if (unpacker->parent_fd >= 0 && tc_span_equal(folder, tc_buf_span(&unpacker->parent)))
        return TC_OK;
    TC_AUTO_CLOSE int fd = fcntl(unpacker->root, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return cannot("folder", folder, err);
    for (struct tc_span rest = folder; rest.size > 0;) {
        char name[TC_NAME_MAX + 1];
        const uint8_t *slash = memchr(rest.data, '/', rest.size);
        size_t size = slash ? (size_t)(slash - rest.data) : rest.size;
        memcpy(name, rest.data, size);
        name[size] = '\0';
        int next = enter(fd, name);
        if (next < 0) return cannot("folder", folder, err);
        tc_close_ptr(&fd);
        fd = next;
        size_t taken = slash ? size + 1 : size;
        rest.data += taken;
        rest.size -= taken;
    }
    tc_close_ptr(&unpacker->parent_fd);
    unpacker->parent_fd = TC_TAKE_FD(fd);
    tc_buf_reset(&unpacker->parent);
    tc_buf_add_span(&unpacker->parent, folder);
    return tc_buf_check(&unpacker->parent, "a path", err);
}

/* Splits a checked path; name is NUL-terminated. */
static struct tc_span split(struct tc_span path, char name[TC_NAME_MAX + 1])
{
    size_t start = path.size;
    while (start > 0 && path.data[start - 1] != '/')
        start--;
    memcpy(name, path.data + start, path.size - start);
    name[path.size - start] = '\0';
    return (struct tc_span){path.data, start > 0 ? start - 1 : 0};
}

static bool is_inside_submodule(const struct unpacker *unpacker, struct tc_span path)
{
    struct tc_span outer = tc_buf_span(&unpacker->submodule);
    return outer.size > 0 && path.size > outer.size &&
           memcmp(path.data, outer.data, outer.size) == 0 && path.data[outer.size] == '/';
}

static tc_status set_time(struct unpacker *unpacker, int folder, const char *name,
                          struct tc_error *err)
{
    const struct timespec times[2] = {{.tv_sec = unpacker->epoch}, {.tv_sec = unpacker->epoch}};
    if (utimensat(folder, name, times, AT_SYMLINK_NOFOLLOW) == 0) return TC_OK;
    return tc_fail_errno(err, TC_SYSTEM, errno, "cannot set a file's time");
}

/* --- entries --- */

/* A file's bytes from the session into fd and, for .git, into a blob. */
static tc_status copy_bytes(struct unpacker *unpacker, int fd, uint64_t size, bool as_blob,
                            struct tc_error *err)
{
    while (size > 0) {
        struct tc_span bytes;
        TC_TRY(tc_channel_expect(&unpacker->session, TC_WIRE_DATA, &bytes, err));
        if (bytes.size > size) return tc_fail(err, TC_MALFORMED, "a file longer than its size");
        TC_TRY(tc_write_all(fd, bytes, "a file of the source", err));
        if (as_blob) TC_TRY(tc_dotgit_add(unpacker->git, bytes, err));
        size -= bytes.size;
    }
    return TC_OK;
}

static tc_status write_file(struct unpacker *unpacker, const struct tc_entry *entry, const char *name,
                            bool in_git, struct tc_error *err)
{
    mode_t mode = entry->executable ? 0755 : 0644;
    TC_AUTO_CLOSE int fd = openat(unpacker->parent_fd, name,
                                  O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0 || fchmod(fd, mode) != 0) return cannot("file", entry->path, err);
    bool as_blob = in_git && !unpacker->have_pointer;
    struct tc_sha1 id = unpacker->pointer;
    unpacker->have_pointer = false;
    if (as_blob) TC_TRY(tc_dotgit_begin(unpacker->git, TC_GIT_BLOB, entry->size, err));
    TC_TRY(copy_bytes(unpacker, fd, entry->size, as_blob, err));
    if (as_blob) TC_TRY(tc_dotgit_end(unpacker->git, &id, err));
    return in_git ? tc_dotgit_index(unpacker->git, entry, &id, entry->size, err) : TC_OK;
}

static tc_status write_symlink(struct unpacker *unpacker, const struct tc_entry *entry,
                               const char *name, bool in_git, struct tc_error *err)
{
    TC_AUTO_FREE char *target = tc_span_to_text(entry->target);
    if (!target) return tc_fail(err, TC_SYSTEM, "out of memory");
    if (symlinkat(target, unpacker->parent_fd, name) != 0)
        return cannot("symlink", entry->path, err);
    if (!in_git) return TC_OK;
    struct tc_sha1 id;
    TC_TRY(tc_dotgit_begin(unpacker->git, TC_GIT_BLOB, entry->target.size, err));
    TC_TRY(tc_dotgit_add(unpacker->git, entry->target, err));
    TC_TRY(tc_dotgit_end(unpacker->git, &id, err));
    return tc_dotgit_index(unpacker->git, entry, &id, entry->target.size, err);
}

static tc_status write_folder(struct unpacker *unpacker, const struct tc_entry *entry,
                              const char *name, bool in_git, struct tc_error *err)
{
    if (mkdirat(unpacker->parent_fd, name, 0755) != 0 ||
        fchmodat(unpacker->parent_fd, name, 0755, 0) != 0)
        return cannot("folder", entry->path, err);
    if (entry->kind != TC_ENTRY_SUBMODULE) return TC_OK;
    if (!is_inside_submodule(unpacker, entry->path)) {
        tc_buf_reset(&unpacker->submodule);
        tc_buf_add_span(&unpacker->submodule, entry->path);
        TC_TRY(tc_buf_check(&unpacker->submodule, "a path", err));
    }
    return in_git ? tc_dotgit_index(unpacker->git, entry, &entry->commit, 0, err) : TC_OK;
}

static tc_status write_entry(struct unpacker *unpacker, struct tc_span payload, struct tc_error *err)
{
    /* The record borrows from the frame, which a file's bytes overwrite. */
    TC_AUTO_BUF struct tc_buf copy = tc_buf_new(TC_ENTRY_MAX);
    struct tc_entry entry;
    char name[TC_NAME_MAX + 1];
    tc_buf_add_span(&copy, payload);
    TC_TRY(tc_buf_check(&copy, "a tree record", err));
    TC_TRY(tc_entry_decode(tc_buf_span(&copy), &entry, err));
    TC_TRY(go_to(unpacker, split(entry.path, name), err));
    bool in_git = unpacker->git && !is_inside_submodule(unpacker, entry.path);
    switch (entry.kind) {
    case TC_ENTRY_FILE: return write_file(unpacker, &entry, name, in_git, err);
    case TC_ENTRY_SYMLINK: return write_symlink(unpacker, &entry, name, in_git, err);
    case TC_ENTRY_FOLDER:
    case TC_ENTRY_SUBMODULE: return write_folder(unpacker, &entry, name, in_git, err);
    }
    return tc_fail(err, TC_SYSTEM, "an entry of no kind");
}

/* --- .git --- */

static tc_status write_object(struct unpacker *unpacker, struct tc_span payload, struct tc_error *err)
{
    static const enum tc_git_kind kinds[] = {[TC_OBJECT_COMMIT] = TC_GIT_COMMIT,
                                             [TC_OBJECT_TREE] = TC_GIT_TREE,
                                             [TC_OBJECT_BLOB] = TC_GIT_BLOB,
                                             [TC_OBJECT_TAG] = TC_GIT_TAG};
    struct tc_wire_object object;
    struct tc_sha1 id;
    TC_TRY(tc_wire_object_decode(payload, &object, err));
    if (!unpacker->git || object.kind == TC_OBJECT_LFS)
        return tc_fail(err, TC_MALFORMED, "a git object that nobody asked for");
    TC_TRY(tc_dotgit_begin(unpacker->git, kinds[object.kind], object.size, err));
    for (uint64_t left = object.size; left > 0;) {
        struct tc_span bytes;
        TC_TRY(tc_channel_expect(&unpacker->session, TC_WIRE_DATA, &bytes, err));
        TC_TRY(tc_dotgit_add(unpacker->git, bytes, err)); /* refuses more than size */
        left -= bytes.size;
    }
    TC_TRY(tc_dotgit_end(unpacker->git, &id, err));
    if (object.kind == TC_OBJECT_COMMIT && !unpacker->have_commit) {
        unpacker->commit = id;
        unpacker->have_commit = true;
    }
    if (object.kind == TC_OBJECT_BLOB) {
        unpacker->pointer = id;
        unpacker->have_pointer = true;
    }
    return TC_OK;
}

static tc_status write_tag(struct unpacker *unpacker, struct tc_span payload, struct tc_error *err)
{
    struct tc_wire_tag tag;
    TC_TRY(tc_wire_tag_decode(payload, &tag, err));
    if (!unpacker->git) return tc_fail(err, TC_MALFORMED, "a tag that nobody asked for");
    return tc_dotgit_tag(unpacker->git, tag.name, &tag.id, err);
}

/* --- one mtime for everything --- */

static tc_status set_times_below(struct unpacker *unpacker, int folder, struct tc_error *err)
{
    DIR *listing = fdopendir(folder);
    if (!listing) {
        (void)close(folder);
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot list a folder");
    }
    tc_status status = TC_OK;
    const struct dirent *entry;
    while (status == TC_OK && (entry = readdir(listing))) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
        int child = entry->d_type == DT_DIR
                        ? openat(folder, name, O_DIRECTORY | O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
                        : -1;
        if (entry->d_type == DT_DIR && child < 0)
            status = tc_fail_errno(err, TC_SYSTEM, errno, "cannot open a folder");
        /* Depth is that of the source's paths, at most TC_PATH_DEPTH_MAX, or of .git. */
        if (child >= 0) status = set_times_below(unpacker, child, err);
        if (status == TC_OK) status = set_time(unpacker, folder, name, err);
    }
    (void)closedir(listing);
    return status;
}

static tc_status set_times(struct unpacker *unpacker, struct tc_error *err)
{
    int folder = openat(unpacker->root, ".", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    if (folder < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot open the build folder");
    TC_TRY(set_times_below(unpacker, folder, err));
    const struct timespec times[2] = {{.tv_sec = unpacker->epoch}, {.tv_sec = unpacker->epoch}};
    if (futimens(unpacker->root, times) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot set the build folder's time");
    return TC_OK;
}

/* --- main --- */

static tc_status read_settings(struct unpacker *unpacker, struct tc_error *err)
{
    uint8_t bytes[9], git_folder;
    uint64_t epoch;
    TC_TRY(tc_channel_read_bytes(&unpacker->session, bytes, sizeof bytes, err));
    struct tc_cursor cursor = tc_cursor_of((struct tc_span){bytes, sizeof bytes});
    if (!tc_cursor_u8(&cursor, &git_folder) || git_folder > 1 || !tc_cursor_u64(&cursor, &epoch) ||
        epoch > INT64_MAX)
        return tc_fail(err, TC_MALFORMED, "settings out of range");
    unpacker->epoch = (int64_t)epoch;
    return git_folder ? tc_dotgit_new(unpacker->root, unpacker->epoch, &unpacker->git, err) : TC_OK;
}

static tc_status unpack(struct unpacker *unpacker, struct tc_error *err)
{
    TC_TRY(read_settings(unpacker, err));
    for (;;) {
        enum tc_wire_kind kind;
        struct tc_span payload;
        TC_TRY(tc_channel_read(&unpacker->session, &kind, &payload, err));
        if (kind == TC_WIRE_ENTRY)
            TC_TRY(write_entry(unpacker, payload, err));
        else if (kind == TC_WIRE_OBJECT)
            TC_TRY(write_object(unpacker, payload, err));
        else if (kind == TC_WIRE_TAG)
            TC_TRY(write_tag(unpacker, payload, err));
        else if (kind == TC_WIRE_SOURCE_END)
            break;
        else
            return tc_fail(err, TC_MALFORMED, "frame kind %d inside the source", (int)kind);
    }
    if (!unpacker->git) return set_times(unpacker, err);
    TC_TRY(tc_dotgit_finish(unpacker->git, &unpacker->commit, err));
    TC_TRY(set_times(unpacker, err));
    return tc_dotgit_age(unpacker->git, err);
}

int tc_unpack_main(int fd, int root_fd)
{
    struct tc_error err = {0};
    struct unpacker unpacker = {.root = root_fd,
                                .parent = tc_buf_new(TC_PATH_MAX),
                                .parent_fd = -1,
                                .submodule = tc_buf_new(TC_PATH_MAX)};
    if (tc_channel_init(&unpacker.session, fd, SESSION_PATIENCE_MS, "the session", &err) != TC_OK)
        return EXIT_FAILURE;
    tc_status status = unpack(&unpacker, &err);
    struct tc_error ignored = {0};
    if (status == TC_OK) {
        status = tc_channel_write(&unpacker.session, TC_WIRE_DONE, (struct tc_span){0}, &ignored);
    } else {
        TC_AUTO_BUF struct tc_buf failure = tc_buf_new(2 * TC_ERROR_MAX);
        tc_wire_fail_encode(&err, &failure);
        (void)!tc_channel_write(&unpacker.session, TC_WIRE_FAIL, tc_buf_span(&failure), &ignored);
    }
    tc_dotgit_free(unpacker.git);
    tc_channel_done(&unpacker.session);
    tc_buf_free(&unpacker.parent);
    tc_buf_free(&unpacker.submodule);
    tc_close_ptr(&unpacker.parent_fd);
    return status == TC_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
