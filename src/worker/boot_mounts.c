/* From the kernel's initramfs to the world of spawner.h.
 *
 *   initramfs  /usr (bwrap and its libraries)  /toolchain/root.erofs   covered, kept
 *   new root   tmpfs, read-only: /usr bound from there, /toolchain, /cgroup, /dev
 *              with the six harmless devices, the image's text, and empty folders
 *
 * pivot_root refuses to leave an initramfs, and after a bare chroot bwrap's own
 * pivot_root would fail: so the new root is moved over / and then entered. What
 * was mounted for the time of the boot, above all the /dev that shows the NSM, is
 * gone by then. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/cleanup.h"
#include "worker/boot.h"
#include "worker/spawner.h"

#define NEW "/root"

static tc_status make_folder(const char *path, struct tc_error *err)
{
    if (mkdir(path, 0755) != 0 && errno != EEXIST)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make %s", path);
    return TC_OK;
}

static tc_status mount_on(const char *type, const char *target, unsigned long flags,
                          const char *options, struct tc_error *err)
{
    TC_TRY(make_folder(target, err));
    if (mount(type, target, type, flags, options) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot mount %s on %s", type, target);
    return TC_OK;
}

tc_status tc_boot_mount_kernel(struct tc_error *err)
{
    TC_TRY(mount_on("devtmpfs", "/dev", MS_NOSUID | MS_NOEXEC, "mode=0755", err));
    TC_TRY(mount_on("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, err));
    return mount_on("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, err);
}

static tc_status write_setting(const char *path, const char *value, struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    size_t size = strlen(value);
    if (fd < 0 || write(fd, value, size) != (ssize_t)size)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot set %s to %s", path, value);
    return TC_OK;
}

/* By default these follow from the size of the memory, which is the host's to
 * choose: fixed, so that it cannot shape the build with them. */
tc_status tc_boot_set_kernel(struct tc_error *err)
{
    static const struct {
        const char *path, *value;
    } settings[] = {
        {"/proc/sys/vm/overcommit_memory", "1"},
        /* Memory that runs out beyond the build's own limit ends the enclave: the
         * kernel would choose a victim, and a probe could swallow that. */
        {"/proc/sys/vm/panic_on_oom", "1"},
        {"/proc/sys/kernel/panic_on_oops", "1"},
        {"/proc/sys/kernel/threads-max", "1048576"},
        {"/proc/sys/kernel/pid_max", "4194304"},
        {"/proc/sys/user/max_user_namespaces", "65536"},
        {"/proc/sys/kernel/dmesg_restrict", "1"},
        {"/proc/sys/kernel/kptr_restrict", "2"},
        {"/proc/sys/fs/suid_dumpable", "0"},
    };
    static const struct {
        __rlimit_resource_t resource;
        struct rlimit limit;
    } limits[] = {
        {RLIMIT_NOFILE, {1024, 65536}},
        {RLIMIT_SIGPENDING, {65536, 65536}},
        {RLIMIT_NPROC, {RLIM_INFINITY, RLIM_INFINITY}},
        {RLIMIT_CORE, {0, 0}},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        TC_TRY(write_setting(settings[i].path, settings[i].value, err));
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        if (setrlimit(limits[i].resource, &limits[i].limit) != 0)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot set a limit of processes");
    return TC_OK;
}

static tc_status make_devices(struct tc_error *err)
{
    static const struct {
        const char *path;
        unsigned major, minor;
    } devices[] = {{NEW "/dev/null", 1, 3},   {NEW "/dev/zero", 1, 5},    {NEW "/dev/full", 1, 7},
                   {NEW "/dev/random", 1, 8}, {NEW "/dev/urandom", 1, 9}, {NEW "/dev/tty", 5, 0}};
    TC_TRY(mount_on("tmpfs", NEW "/dev", MS_NOSUID | MS_NOEXEC, "mode=0755,size=64k", err));
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
        if (mknod(devices[i].path, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)) != 0 ||
            chmod(devices[i].path, 0666) != 0)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make %s", devices[i].path);
    return TC_OK;
}

static tc_status make_read_only(const char *path, unsigned long further, struct tc_error *err)
{
    if (mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | further, NULL) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make %s read-only", path);
    return TC_OK;
}

/* The worker's own programs. */
static tc_status bind_usr(struct tc_error *err)
{
    static const char *const merged[] = {"bin", "sbin", "lib", "lib64"};
    TC_TRY(make_folder(NEW "/usr", err));
    if (mount("/usr", NEW "/usr", NULL, MS_BIND, NULL) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot show the worker its programs");
    TC_TRY(make_read_only(NEW "/usr", MS_NODEV, err));
    for (size_t i = 0; i < sizeof merged / sizeof *merged; i++) {
        char target[16], link[32];
        (void)snprintf(target, sizeof target, "usr/%s", merged[i]);
        (void)snprintf(link, sizeof link, NEW "/%s", merged[i]);
        if (symlink(target, link) != 0)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make %s", link);
    }
    return TC_OK;
}

static tc_status move_in(struct tc_error *err)
{
    static const char *const passing[] = {"/dev", "/sys", "/proc"};
    for (size_t i = 0; i < sizeof passing / sizeof *passing; i++)
        if (umount2(passing[i], MNT_DETACH) != 0)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot leave %s behind", passing[i]);
    if (chdir(NEW) != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 ||
        chdir("/") != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot move into the worker's root");
    return TC_OK;
}

/* Where the monitor reads it. */
static tc_status write_text(struct tc_span text, struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = open(NEW TC_WORKER_IMAGE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    if (fd < 0 || write(fd, text.data, text.size) != (ssize_t)text.size)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot write " TC_WORKER_IMAGE);
    return TC_OK;
}

tc_status tc_boot_enter_root(struct tc_span text, uint32_t port_shift, struct tc_error *err)
{
    static const char *const empty[] = {NEW "/scratch", NEW "/tmp", NEW "/proc", NEW "/toolchain"};
    (void)umask(022);
    TC_TRY(mount_on("tmpfs", NEW, MS_NOSUID | MS_NODEV, "mode=0755,size=2m", err));
    for (size_t i = 0; i < sizeof empty / sizeof *empty; i++)
        TC_TRY(make_folder(empty[i], err));
    TC_TRY(write_text(text, err));
    TC_TRY(bind_usr(err));
    TC_TRY(make_devices(err));
    TC_TRY(mount_on("cgroup2", NEW "/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL, err));
    TC_TRY(tc_boot_mount_toolchain(NEW "/toolchain", port_shift, err));
    TC_TRY(make_read_only(NEW, MS_NODEV, err));
    return move_in(err);
}
