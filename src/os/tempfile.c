#include "os/tempfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "os/tempname.h"

enum { NAME_TRIES = 16, SHOWN_SIZE = 400 };

static const char *last_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* A path of the user's, as it may go into a message. */
static const char *show(const char *path, char shown[SHOWN_SIZE])
{
    return tc_printable(tc_span_of_text(path), shown, SHOWN_SIZE);
}

static tc_status open_folder(const char *path, int *ret_fd, struct tc_error *err)
{
    size_t size = (size_t)(last_name(path) - path);
    TC_AUTO_FREE char *folder = size > 0 ? strndup(path, size) : strdup(".");
    if (!folder) return tc_fail(err, TC_SYSTEM, "out of memory");
    int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        int reason = errno;
        char shown[SHOWN_SIZE], shown_folder[SHOWN_SIZE];
        return tc_fail_errno(err, TC_USAGE, reason, "cannot write %s: its folder %s",
                             show(path, shown), show(folder, shown_folder));
    }
    *ret_fd = fd;
    return TC_OK;
}

/* Not every file system has O_TMPFILE (NFS, some FUSE): a hidden name then. */
static int open_named(struct tc_tempfile *file)
{
    for (int i = 0; i < NAME_TRIES; i++) {
        free(file->temporary);
        file->temporary = tc_tempname_new(last_name(file->path));
        if (!file->temporary) return -1;
        int fd =
            openat(file->folder_fd, file->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd >= 0 || errno != EEXIST) return fd;
    }
    return -1;
}

tc_status tc_tempfile_open(const char *path, struct tc_tempfile *ret_file, struct tc_error *err)
{
    TC_AUTO_TEMPFILE struct tc_tempfile file = TC_TEMPFILE_NONE;
    const char *name = last_name(path);
    char shown[SHOWN_SIZE];
    (void)show(path, shown);
    if (!*name || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return tc_fail(err, TC_USAGE, "\"%s\" names no file: expected a file's path", shown);
    TC_TRY(open_folder(path, &file.folder_fd, err));
    struct stat info;
    if (fstatat(file.folder_fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(info.st_mode))
        return tc_fail(err, TC_USAGE, "%s exists and is %s: name another file or take it away",
                       shown, S_ISLNK(info.st_mode) ? "a symlink" : "no regular file");
    file.path = strdup(path);
    if (!file.path) return tc_fail(err, TC_SYSTEM, "out of memory");
    file.fd = openat(file.folder_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0644);
    if (file.fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL))
        file.fd = open_named(&file);
    if (file.fd < 0) return tc_fail_errno(err, TC_USAGE, errno, "cannot write %s", shown);
    *ret_file = file;
    file = TC_TEMPFILE_NONE;
    return TC_OK;
}

/* Beside the final name, and on the disk: what is left is a rename. */
static tc_status finish(struct tc_tempfile *file, struct tc_error *err)
{
    char shown[SHOWN_SIZE];
    (void)show(file->path, shown);
    if (!file->temporary) {
        /* linkat cannot replace: link beside, then rename over. The empty-path
         * form needs a capability, /proc does not. */
        char proc[64];
        (void)snprintf(proc, sizeof proc, "/proc/self/fd/%d", file->fd);
        TC_AUTO_FREE char *temporary = tc_tempname_new(last_name(file->path));
        if (!temporary) return tc_fail(err, TC_SYSTEM, "out of memory");
        if (linkat(AT_FDCWD, proc, file->folder_fd, temporary, AT_SYMLINK_FOLLOW) != 0)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot name %s", shown);
        file->temporary = TC_TAKE(temporary);
    }
    if (fsync(file->fd) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot finish %s", shown);
    return TC_OK;
}

static tc_status give_name(struct tc_tempfile *file, struct tc_error *err)
{
    char shown[SHOWN_SIZE];
    if (renameat(file->folder_fd, file->temporary, file->folder_fd, last_name(file->path)) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot finish %s", show(file->path, shown));
    free(TC_TAKE(file->temporary));
    return TC_OK;
}

tc_status tc_tempfile_commit(struct tc_tempfile *file, struct tc_error *err)
{
    TC_TRY(finish(file, err));
    TC_TRY(give_name(file, err));
    tc_tempfile_drop(file);
    return TC_OK;
}

/* A second name of what stands at the final one, owned; NULL: nothing does. Where the file
 * system has no second names, it is moved there, and the final one is free for a moment:
 * what would be lost with it is worth more. */
static tc_status keep_old(const struct tc_tempfile *file, char **ret_old, struct tc_error *err)
{
    const char *name = last_name(file->path);
    struct stat info;
    char shown[SHOWN_SIZE];
    TC_AUTO_FREE char *old = tc_tempname_new(name);
    if (!old) return tc_fail(err, TC_SYSTEM, "out of memory");
    if (linkat(file->folder_fd, name, file->folder_fd, old, 0) != 0) {
        if (errno == ENOENT) return TC_OK;
        int reason = errno;
        bool is_there = fstatat(file->folder_fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0;
        if (is_there && S_ISDIR(info.st_mode)) reason = EISDIR;
        if (!is_there || S_ISDIR(info.st_mode) ||
            renameat(file->folder_fd, name, file->folder_fd, old) != 0)
            return tc_fail_errno(err, TC_SYSTEM, reason, "cannot keep what stands at %s",
                                 show(file->path, shown));
    }
    *ret_old = TC_TAKE(old);
    return TC_OK;
}

/* Takes back the name, if it was given, which the old file gets again. What cannot get it
 * stays under its other one, and is told. */
static void restore(const struct tc_tempfile *file, const char *old, bool named,
                    struct tc_error *err)
{
    const char *name = last_name(file->path);
    char shown[SHOWN_SIZE], beside[SHOWN_SIZE];
    if (!old) {
        if (named) (void)unlinkat(file->folder_fd, name, 0);
    } else if (renameat(file->folder_fd, old, file->folder_fd, name) != 0) {
        (void)tc_wrap(err, "what stood at %s is now beside it, as %s", show(file->path, shown),
                      show(old, beside));
    } else {
        (void)unlinkat(file->folder_fd, old, 0); /* of two names of one file rename leaves both */
    }
}

static tc_status replace_all(struct tc_tempfile *files, size_t count, char **old,
                             struct tc_error *err)
{
    tc_status status = TC_OK;
    size_t named = 0;
    for (size_t i = 0; status == TC_OK && i < count; i++)
        if (files[i].fd >= 0) status = finish(&files[i], err);
    if (status != TC_OK) return status;
    while (status == TC_OK && named < count) {
        if (files[named].fd >= 0) status = keep_old(&files[named], &old[named], err);
        if (status == TC_OK && files[named].fd >= 0) status = give_name(&files[named], err);
        if (status == TC_OK) named++;
    }
    for (size_t i = 0; status != TC_OK && i < count; i++)
        if (files[i].fd >= 0) restore(&files[i], old[i], i < named, err);
    return status;
}

tc_status tc_tempfile_commit_all(struct tc_tempfile *files, size_t count, struct tc_error *err)
{
    char **old = calloc(count > 0 ? count : 1, sizeof *old);
    if (!old) return tc_fail(err, TC_SYSTEM, "out of memory");
    tc_status status = replace_all(files, count, old, err);
    for (size_t i = 0; i < count; i++) {
        if (status == TC_OK && old[i]) (void)unlinkat(files[i].folder_fd, old[i], 0);
        free(old[i]);
        if (status == TC_OK) tc_tempfile_drop(&files[i]);
    }
    free(old);
    return status;
}

void tc_tempfile_drop(struct tc_tempfile *file)
{
    if (file->temporary) (void)unlinkat(file->folder_fd, file->temporary, 0);
    tc_close_ptr(&file->fd);
    tc_close_ptr(&file->folder_fd);
    free(file->path);
    free(file->temporary);
    *file = TC_TEMPFILE_NONE;
}
