#include "host/local_image.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <linux/loop.h>
#include <linux/mount.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/erofs.h"
#include "os/files.h"
#include "os/process.h"

enum { LOOP_TRIES = 64, PIECE = 1 << 16 };

void tc_local_image_done(struct tc_local_image *mounted)
{
    tc_close_ptr(&mounted->mount_fd);
    tc_close_ptr(&mounted->file_fd);
    free(mounted->fuse);
    mounted->fuse = NULL;
}

/* --- by the kernel --- */

static tc_status fail_loop(int reason, struct tc_error *err)
{
    return tc_fail_errno(err, TC_UNAVAILABLE, reason,
                         "cannot mount the image: no loop devices (/dev/loop-control; modprobe "
                         "loop, or give the container its devices)");
}

/* A free device may be taken by somebody else between asking and configuring.
 * Autoclear: it frees itself when its last user, a descriptor or a mount, is gone. */
static tc_status make_loop(const struct tc_imagefile *image, char path[32], int *ret_fd,
                           struct tc_error *err)
{
    TC_AUTO_CLOSE int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0) return fail_loop(errno, err);
    struct loop_config config = {
        .fd = (unsigned)image->root_fd,
        .info = {.lo_offset = image->root_offset,
                 .lo_sizelimit = image->root_size,
                 .lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR},
    };
    for (int i = 0; i < LOOP_TRIES; i++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        if (number < 0)
            return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot get a free loop device");
        (void)snprintf(path, 32, "/dev/loop%d", number);
        TC_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0) return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open %s", path);
        if (ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
            *ret_fd = TC_TAKE_FD(fd);
            return TC_OK;
        }
        if (errno != EBUSY)
            return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot set up %s", path);
    }
    return tc_fail(err, TC_UNAVAILABLE, "every free loop device was taken by somebody else");
}

static tc_status fail_mount(int reason, struct tc_error *err)
{
    return tc_fail_errno(
        err, TC_UNAVAILABLE, reason,
        "this kernel does not mount the image's file system: it is no EROFS, or has "
        "features that the kernel lacks (dmesg)");
}

static tc_status mount_kernel(const struct tc_imagefile *image, int *ret_fd, struct tc_error *err)
{
    char device[32];
    TC_AUTO_CLOSE int loop = -1; /* open until the mount holds it */
    TC_AUTO_CLOSE int context = (int)syscall(SYS_fsopen, "erofs", FSOPEN_CLOEXEC);
    if (context < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno,
                             "this kernel cannot mount the image's file system, EROFS (modprobe "
                             "erofs)");
    TC_TRY(make_loop(image, device, &loop, err));
    if (syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "source", device, 0) != 0 ||
        syscall(SYS_fsconfig, context, FSCONFIG_SET_FLAG, "ro", NULL, 0) != 0 ||
        syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) != 0)
        return fail_mount(errno, err);
    int fd = (int)syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC,
                          MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    if (fd < 0) return fail_mount(errno, err);
    *ret_fd = fd;
    return TC_OK;
}

/* --- by erofsfuse --- */

static char *find_program(const char *name)
{
    const char *path = getenv("PATH");
    TC_AUTO_FREE char *folders = strdup(path ? path : "/usr/local/bin:/usr/bin:/bin");
    char *state = NULL, *found;
    if (!folders) return NULL;
    for (const char *folder = strtok_r(folders, ":", &state); folder;
         folder = strtok_r(NULL, ":", &state)) {
        if (folder[0] != '/' || asprintf(&found, "%s/%s", folder, name) < 0) continue;
        if (access(found, X_OK) == 0) return found;
        free(found);
    }
    return NULL;
}

/* A self-contained image has its file system in the middle of the EIF: erofsfuse
 * wants a file. One without a name, gone with the last descriptor. */
static tc_status copy_out(const struct tc_imagefile *image, int *ret_fd, struct tc_error *err)
{
    uint8_t piece[PIECE];
    TC_AUTO_CLOSE int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno,
                             "cannot copy the image's file system to /var/tmp");
    for (uint64_t at = 0; at < image->root_size;) {
        uint64_t left = image->root_size - at;
        ssize_t got = pread(image->root_fd, piece, left < PIECE ? (size_t)left : PIECE,
                            (off_t)(image->root_offset + at));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return tc_fail(err, TC_SYSTEM, "cannot read the image's file system");
        TC_TRY(tc_write_all(fd, (struct tc_span){piece, (size_t)got},
                            "a copy of the image's file system in /var/tmp", err));
        at += (uint64_t)got;
    }
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}

static tc_status find_fuse(char **ret_fuse, struct tc_error *err)
{
    TC_AUTO_FREE char *fuse = find_program("erofsfuse");
    if (!fuse)
        return tc_fail(err, TC_UNAVAILABLE,
                       "an ordinary user needs erofsfuse 1.6 or newer to use an image, and there "
                       "is none: apt-get "
                       "install erofsfuse (Debian 13; Debian 12 has no package of it), or build as "
                       "root");
    if (access("/dev/fuse", R_OK | W_OK) != 0)
        return tc_fail_errno(
            err, TC_UNAVAILABLE, errno,
            "an ordinary user needs /dev/fuse to use an image (modprobe fuse; chmod "
            "666 /dev/fuse), or build as root");
    *ret_fuse = TC_TAKE(fuse);
    return TC_OK;
}

tc_status tc_local_image_look(struct tc_error *err)
{
    TC_AUTO_FREE char *fuse = NULL;
    if (geteuid() != 0) return find_fuse(&fuse, err);
    return access("/dev/loop-control", R_OK | W_OK) == 0 ? TC_OK : fail_loop(errno, err);
}

static tc_status prepare_fuse(const struct tc_imagefile *image, struct tc_local_image *mounted,
                              struct tc_error *err)
{
    TC_TRY(find_fuse(&mounted->fuse, err));
    if (image->root_offset > 0) return copy_out(image, &mounted->file_fd, err);
    mounted->file_fd = fcntl(image->root_fd, F_DUPFD_CLOEXEC, 0);
    if (mounted->file_fd < 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot keep the image's file system open");
    return TC_OK;
}

static tc_status check_head(const struct tc_imagefile *image, struct tc_error *err)
{
    uint8_t head[TC_EROFS_HEAD];
    ssize_t got;
    do
        got = pread(image->root_fd, head, sizeof head, (off_t)image->root_offset);
    while (got < 0 && errno == EINTR);
    if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read the image's file system");
    return tc_erofs_check((struct tc_span){head, (size_t)got}, image->root_size, err);
}

tc_status tc_local_image_prepare(const struct tc_imagefile *image,
                                 struct tc_local_image *ret_mounted, struct tc_error *err)
{
    TC_TRY(check_head(image, err));
    struct tc_local_image mounted = TC_LOCAL_IMAGE_NONE;
    tc_status status = geteuid() == 0 ? mount_kernel(image, &mounted.mount_fd, err)
                                      : prepare_fuse(image, &mounted, err);
    if (status == TC_OK)
        *ret_mounted = mounted;
    else
        tc_local_image_done(&mounted);
    return status;
}

/* allow_other: every uid of the worker's namespaces, and nobody outside of them,
 * since the kernel asks for the mount's own user namespace. default_permissions:
 * the kernel judges modes, as it does for its own EROFS. */
_Noreturn static void run_fuse(const struct tc_local_image *mounted, int out_fd, pid_t parent)
{
    static char file[] = "/proc/self/fd/3", at[] = TC_LOCAL_IMAGE_FUSE_AT, name[] = "erofsfuse",
                foreground[] = "-f", option[] = "-o",
                options[] = "ro,nosuid,nodev,allow_other,default_permissions";
    static char *const arguments[] = {name, foreground, option, options, file, at, NULL};
    static char *const no_environment[] = {NULL};
    struct tc_error err = {0};
    /* Without new privileges it cannot fall back to a set-uid helper, whose mount would
     * be seen from outside. */
    if (tc_process_reset_signals(&err) == TC_OK &&
        tc_process_keep(&mounted->file_fd, 1, out_fd, &err) == TC_OK &&
        tc_process_die_with(parent, &err) == TC_OK && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
        (void)execve(mounted->fuse, arguments, no_environment);
    (void)dprintf(STDERR_FILENO, "erofsfuse: %s\n", *err.message ? err.message : strerror(errno));
    _exit(EXIT_FAILURE);
}

/* The end of what it said, if that went to a file. */
static const char *last_words(int fd, char *out, size_t size)
{
    uint8_t text[300];
    off_t end = lseek(fd, 0, SEEK_END);
    off_t from = end > (off_t)sizeof text ? end - (off_t)sizeof text : 0;
    ssize_t got = end > 0 ? pread(fd, text, sizeof text, from) : 0;
    while (got > 0 && text[got - 1] == '\n')
        got--;
    return got > 0 ? tc_printable((struct tc_span){text, (size_t)got}, out, size)
                   : "it said nothing";
}

/* No signal says that a mount has appeared; the table of mounts can be polled. */
static tc_status await_mount(int table, dev_t covered, int pidfd, int out_fd, struct tc_error *err)
{
    for (;;) {
        struct stat info;
        char said[TC_ERROR_MAX / 2];
        struct pollfd fds[] = {{.fd = table, .events = POLLPRI}, {.fd = pidfd, .events = POLLIN}};
        bool seen = stat(TC_LOCAL_IMAGE_FUSE_AT, &info) == 0;
        if (seen && info.st_dev != covered) return TC_OK;
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for erofsfuse");
        if (!seen || fds[1].revents != 0)
            return tc_fail(err, TC_UNAVAILABLE, "erofsfuse could not serve the image: %s",
                           last_words(out_fd, said, sizeof said));
    }
}

tc_status tc_local_image_serve(const struct tc_local_image *mounted, int out_fd, pid_t *ret_pid,
                               struct tc_error *err)
{
    struct stat covered;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot leave the machine's mounts alone");
    /* libfuse 2 wants an empty folder. */
    if (mount("tmpfs", TC_LOCAL_IMAGE_FUSE_AT, "tmpfs", MS_NOSUID | MS_NODEV,
              "mode=0755,size=64k") != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make a place for the image");
    TC_AUTO_CLOSE int table = open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC);
    if (table < 0 || stat(TC_LOCAL_IMAGE_FUSE_AT, &covered) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot watch the table of mounts");
    pid_t parent = getpid(), pid = fork();
    if (pid < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot start erofsfuse");
    if (pid == 0) run_fuse(mounted, out_fd, parent);
    TC_AUTO_CLOSE int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    tc_status status = pidfd < 0
                           ? tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot watch erofsfuse")
                           : await_mount(table, covered.st_dev, pidfd, out_fd, err);
    if (status != TC_OK) {
        (void)kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
        }
        return status;
    }
    *ret_pid = pid;
    return TC_OK;
}
