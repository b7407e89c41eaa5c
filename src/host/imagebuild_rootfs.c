/* Somebody's own root file system in place of a lock's packages.
 *
 * It gets into the room as one file, since a room's uid 0 is nobody here and could not
 * read a folder of root's: an archive as it is, a folder as a tar file that the
 * machine's tar writes with the rights of whoever runs this. What is in it is looked
 * at in the room alone (images/builder/rootfs).
 *
 * How a folder comes to be a tar file must not show in the recipe's digest, which
 * therefore has the toolchain's root hash in place of a recipe's files. */
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
#include "core/imagetext.h"
#include "core/verity.h"
#include "host/imagebuild_internal.h"
#include "os/files.h"
#include "os/process.h"
#include "os/readfile.h"

_Noreturn static void become_tar(const char *folder, int out_fd, int log_fd, pid_t parent)
{
    /* What a running system mounts over, and where devices are. */
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
