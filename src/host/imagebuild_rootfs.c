/* Somebody's own root file system in place of a lock's packages.
 *
 * It gets into the room as one file, since a room's uid 0 is nobody here and could not
 * read a folder of root's: an archive as it is, a folder as a tar file that the
 * machine's tar writes with the rights of whoever runs this. What is in it is looked
 * at in the room alone (images/builder/rootfs), but for what tar would leave out
 * without a word: sockets, and what is mounted in the folder.
 *
 * How a folder comes to be a tar file must not show in the recipe's digest, which
 * therefore has the toolchain's root hash in place of a recipe's files. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/imagetext.h"
#include "core/verity.h"
#include "host/imagebuild_internal.h"
#include "os/files.h"
#include "os/process.h"
#include "os/readfile.h"

enum {
    DEPTH_MAX = 128,
    ENTRIES_MAX = 1 << 24,
    PATH_ROOM = (DEPTH_MAX + 2) * 256, /* behind the given folder's */
};

/* --- what tar would leave out */

struct look {
    const struct tc_making *making;
    dev_t device;
    unsigned entries, depth;
    struct tc_buf path; /* of what is looked at; the text ends with its size */
};

static void close_dir(DIR **folder)
{
    if (*folder) (void)closedir(*folder);
}

static tc_status refuse(const struct look *look, const char *why, struct tc_error *err)
{
    char shown[400];
    return tc_fail(err, TC_USAGE, "%s %s",
                   tc_printable(tc_buf_span(&look->path), shown, sizeof shown), why);
}

static tc_status look_into(struct look *look, int fd, struct tc_error *err);

/* Whether a running system mounts over it, and where devices are: as become_tar has it. */
static bool is_left_out(const struct look *look, const char *name)
{
    return look->depth == 0 &&
           (strcmp(name, "dev") == 0 || strcmp(name, "proc") == 0 || strcmp(name, "sys") == 0);
}

static tc_status look_at(struct look *look, int folder_fd, const char *name, struct tc_error *err)
{
    struct stat info;
    TC_TRY(tc_making_check_interrupt(look->making, err));
    if (look->entries++ == ENTRIES_MAX) return refuse(look, "is one file too many", err);
    if (fstatat(folder_fd, name, &info, AT_SYMLINK_NOFOLLOW) != 0)
        return refuse(look, "cannot be looked at: nobody may write to the folder meanwhile", err);
    if (S_ISSOCK(info.st_mode))
        return refuse(look, "is a socket, which an image does not carry: remove it", err);
    if (!S_ISDIR(info.st_mode) || is_left_out(look, name)) return TC_OK;
    if (info.st_dev != look->device)
        return refuse(look,
                      "is another file system, of which an image would have an empty folder: "
                      "unmount it, or bring a tar file that has what is meant",
                      err);
    if (look->depth == DEPTH_MAX) return refuse(look, "lies too deep", err);
    TC_AUTO_CLOSE int fd = openat(folder_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return refuse(look, "cannot be opened: it must be readable", err);
    look->depth++;
    TC_TRY(look_into(look, TC_TAKE_FD(fd), err));
    look->depth--;
    return TC_OK;
}

/* Takes fd. */
static tc_status look_into(struct look *look, int fd, struct tc_error *err)
{
    DIR *folder TC_CLEANUP(close_dir) = fdopendir(fd);
    const struct dirent *entry;
    const size_t size = look->path.size;
    if (!folder) {
        (void)close(fd);
        return tc_fail(err, TC_SYSTEM, "out of memory for a folder's names");
    }
    for (errno = 0; (entry = readdir(folder)); errno = 0) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        tc_buf_add_format(&look->path, "/%s", entry->d_name);
        TC_TRY(tc_buf_check(&look->path, "a path", err));
        TC_TRY(look_at(look, dirfd(folder), entry->d_name, err));
        look->path.size = size;
    }
    return errno == 0 ? TC_OK : refuse(look, "cannot be listed", err);
}

static tc_status look_for_omissions(const struct tc_making *making, struct tc_error *err)
{
    const char *path = making->wanted->rootfs;
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(PATH_ROOM + strlen(path));
    struct stat info;
    TC_AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot read %s", path);
    tc_buf_add_text(&text, path);
    struct look look = {.making = making, .device = info.st_dev, .path = text};
    tc_status status = look_into(&look, TC_TAKE_FD(fd), err);
    text = look.path;
    return status;
}

/* --- bringing it */

_Noreturn static void become_tar(const char *folder, int out_fd, int log_fd, pid_t parent)
{
    /* Those of is_left_out. */
    const char *const arguments[] = {"tar",
                                     "--create",
                                     "--directory",
                                     folder,
                                     "--one-file-system",
                                     "--numeric-owner",
                                     "--sort=name",
                                     "--anchored",
                                     "--wildcards",
                                     "--exclude=./dev/*",
                                     "--exclude=./proc/*",
                                     "--exclude=./sys/*",
                                     ".",
                                     NULL};
    struct tc_error err = {0};
    (void)setsid(); /* the terminal's signals are the caller's to heed, or to ignore */
    if (tc_process_reset_signals(&err) != TC_OK || tc_process_die_with(parent, &err) != TC_OK ||
        tc_process_keep(&log_fd, 1, out_fd, &err) != TC_OK ||
        dup2(TC_PROCESS_FIRST_FD, STDERR_FILENO) < 0 || close(TC_PROCESS_FIRST_FD) != 0)
        _exit(126);
    (void)execvp(arguments[0], (char *const *)(uintptr_t)arguments);
    _exit(127);
}

/* 0: it ended; 1: stop; -1: cannot tell. */
static int wait_for(int pid_fd, int interrupt_fd)
{
    struct pollfd fds[2] = {{.fd = pid_fd, .events = POLLIN},
                            {.fd = interrupt_fd, .events = POLLIN}};
    for (;;) {
        int ready = poll(fds, 2, -1);
        if (ready < 0 && errno != EINTR) return -1;
        if (ready > 0 && fds[1].revents) return 1;
        if (ready > 0 && fds[0].revents) return 0;
    }
}

static tc_status pack_folder(const struct tc_making *making, int out_fd, struct tc_error *err)
{
    const char *folder = making->wanted->rootfs;
    TC_TRY(look_for_omissions(making, err));
    pid_t self = getpid(), pid = fork();
    if (pid < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot start tar");
    if (pid == 0) become_tar(folder, out_fd, making->log_fd, self);
    TC_AUTO_CLOSE int pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    int which = pid_fd < 0 ? -1 : wait_for(pid_fd, making->wanted->interrupt_fd);
    int state = 0;
    if (which != 0) (void)kill(pid, SIGKILL);
    while (waitpid(pid, &state, 0) < 0)
        if (errno != EINTR) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for tar");
    if (which > 0) return tc_fail(err, TC_INTERRUPTED, "interrupted");
    if (which < 0) return tc_fail(err, TC_SYSTEM, "cannot watch tar");
    if (WIFEXITED(state) && WEXITSTATUS(state) == 127)
        return tc_fail(err, TC_UNAVAILABLE, "tar is missing: apt-get install tar");
    if (!WIFEXITED(state) || WEXITSTATUS(state) != 0)
        return tc_fail(err, TC_BUILD,
                       "%s could not be read whole by tar: it must be readable and nobody may "
                       "write to it meanwhile",
                       folder);
    return TC_OK;
}

static tc_status copy_archive(const struct tc_making *making, int out_fd, const char *what,
                              struct tc_error *err)
{
    uint8_t piece[1 << 16];
    const char *path = making->wanted->rootfs;
    TC_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot read %s", path);
    for (;;) {
        ssize_t got = read(fd, piece, sizeof piece);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot read %s", path);
        if (got == 0) return TC_OK;
        TC_TRY(tc_write_all(out_fd, (struct tc_span){piece, (size_t)got}, what, err));
        TC_TRY(tc_making_check_interrupt(making, err));
    }
}

/* A recipe would name the image; here its file does. */
static tc_status take_name(struct tc_making *making, struct tc_error *err)
{
    TC_AUTO_FREE char *stem = NULL;
    TC_TRY(tc_making_stem(making->wanted->output, &stem, err));
    const char *slash = strrchr(stem, '/');
    making->recipe.name = strdup(slash ? slash + 1 : stem);
    if (!making->recipe.name) return tc_fail(err, TC_SYSTEM, "out of memory");
    if (!tc_image_text_name_is_good(making->recipe.name))
        return tc_fail(
            err, TC_USAGE,
            "\"%s\" of the output is no image's name: expected 1 to 64 of a-z 0-9 - . and "
            ".eif behind them, a letter first, and not \"host\"",
            making->recipe.name);
    return TC_OK;
}

tc_status tc_making_bring_rootfs(struct tc_making *making, struct tc_error *err)
{
    struct stat info;
    TC_AUTO_FREE char *path = NULL;
    const char *rootfs = making->wanted->rootfs;
    TC_TRY(take_name(making, err));
    if (stat(rootfs, &info) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot read the root file system %s",
                             rootfs);
    if (!S_ISDIR(info.st_mode) && !S_ISREG(info.st_mode))
        return tc_fail(err, TC_USAGE, "%s is neither a folder nor a file", rootfs);
    TC_TRY(tc_workfolder_add(&making->folder, "packages", -1, &making->packages, err));
    if (asprintf(&path, "%s/rootfs", making->packages) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot write %s", path);
    tc_making_say(making, "%s: reading %s", making->recipe.name, rootfs);
    return S_ISDIR(info.st_mode) ? pack_folder(making, fd, err)
                                 : copy_archive(making, fd, path, err);
}

tc_status tc_making_name_rootfs(struct tc_making *making, struct tc_error *err)
{
    TC_AUTO_FREE char *path = NULL;
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(TC_VERITY_TEXT_MAX);
    struct tc_sha256 digest;
    if (asprintf(&path, "%s/root.verity", making->results) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_TRY(tc_readfile_at(AT_FDCWD, path, false, path, &text, err));
    TC_TRY(tc_sha256_of(tc_buf_span(&text), &digest, err));
    return tc_staging_add(&making->staging, "rootfs/root.verity", &digest, err);
}
