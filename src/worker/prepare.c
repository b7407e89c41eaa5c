/* One tmpfs holds all that the build may write, and one number limits it
 * together with the build's memory: the cgroup's. The tmpfs itself is larger than
 * any limit and counts no inodes, so that the build cannot meet ENOSPC, which a
 * probe could swallow: it meets the OOM killer, which the kernel counts
 * (docs/adr/0002-a-full-disk-is-an-oom-kill.md). Twice the limit would not do:
 * fallocate compares with the size before it allocates. Not size=0, which shows as
 * a full disk to programs that ask first. */
#include "worker/prepare.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "worker/spawner.h"

#define SCRATCH "/scratch"

/* The number after key at the start of a line. */
static bool read_number(const char *path, const char *key, uint64_t *ret_number)
{
    FILE *file = fopen(path, "re");
    if (!file) return false;
    char line[256];
    bool found = false;
    while (!found && fgets(line, sizeof line, file)) {
        if (strncmp(line, key, strlen(key)) != 0) continue;
        char *end;
        unsigned long long number = strtoull(line + strlen(key), &end, 10);
        found = end != line + strlen(key);
        if (found) *ret_number = number;
    }
    (void)fclose(file);
    return found;
}

static tc_status check_memory(const struct tc_limits *limits, struct tc_error *err)
{
    uint64_t kilobytes, overcommit;
    if (!read_number("/proc/meminfo", "MemAvailable:", &kilobytes) ||
        !read_number("/proc/sys/vm/overcommit_memory", "", &overcommit))
        return tc_fail(err, TC_UNAVAILABLE, "the kernel does not say how much memory is available");
    /* Strict accounting answers ENOMEM where the limit would have been an OOM
     * kill, and depends on what else runs on the machine. */
    if (overcommit == 2)
        return tc_fail(
            err, TC_UNAVAILABLE,
            "vm.overcommit_memory is 2, expected 0 or 1: the build could fail for want of "
            "memory without a trace; set it to 0");
    uint64_t needed = limits->memory + limits->disk, there = kilobytes * 1024;
    char wanted[16], memory[16], disk[16], seen[16];
    if (there >= needed) return TC_OK;
    return tc_fail(err, TC_UNAVAILABLE,
                   "the build may use %s (limits.memory %s and limits.disk %s), but only %s of "
                   "memory are available: give the worker more or lower the limits in build.json",
                   tc_human_size(needed, wanted), tc_human_size(limits->memory, memory),
                   tc_human_size(limits->disk, disk), tc_human_size(there, seen));
}

/* A fork that anything but the build's own cgroup refuses is not counted anywhere:
 * a probe could swallow it. What the platform gives must exceed what build.json
 * asks for. */
static tc_status check_processes(const struct tc_limits *limits, struct tc_error *err)
{
    uint64_t needed = limits->processes + TC_SANDBOX_TASKS, threads, pids;
    struct rlimit own;
    if (getrlimit(RLIMIT_NPROC, &own) != 0 ||
        !read_number("/proc/sys/kernel/threads-max", "", &threads) ||
        !read_number("/proc/sys/kernel/pid_max", "", &pids))
        return tc_fail(err, TC_UNAVAILABLE, "the kernel does not say how many processes may run");
    const struct {
        const char *name;
        uint64_t value;
    } there[] = {{"RLIMIT_NPROC (ulimit -Hu)", own.rlim_max},
                 {"kernel.threads-max", threads},
                 {"kernel.pid_max", pids}};
    for (size_t i = 0; i < sizeof there / sizeof *there; i++)
        if (there[i].value < needed)
            return tc_fail(err, TC_UNAVAILABLE,
                           "the build may have %llu processes (limits.processes), but %s of the "
                           "worker is %llu, expected at least %llu: raise it or lower "
                           "limits.processes in build.json",
                           (unsigned long long)limits->processes, there[i].name,
                           (unsigned long long)there[i].value, (unsigned long long)needed);
    return TC_OK;
}

static tc_status make_folder(const char *path, mode_t mode, struct tc_error *err)
{
    if (mkdir(path, mode) != 0 || chmod(path, mode) != 0 ||
        chown(path, TC_UID_BUILD, TC_UID_BUILD) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make %s", path);
    return TC_OK;
}

static tc_status make_scratch(int *ret_build_folder, struct tc_error *err)
{
    static const char options[] = "size=4096t,nr_inodes=0,mode=0755"; /* limits end at 2048t */
    if (mount("scratch", SCRATCH, "tmpfs", MS_NOSUID | MS_NODEV, options) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot mount the scratch file system (%s)",
                             options);
    TC_TRY(make_folder(SCRATCH "/build", 0755, err));
    TC_TRY(make_folder(SCRATCH "/home", 0755, err));
    TC_TRY(make_folder(SCRATCH "/tmp", 01777, err));
    TC_TRY(make_folder(SCRATCH "/shm", 01777, err));
    int folder = open(SCRATCH "/build", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    if (folder < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot open the build folder");
    *ret_build_folder = folder;
    return TC_OK;
}

tc_status tc_prepare(const struct tc_cgroup *cgroup, const struct tc_limits *limits,
                     int *ret_build_folder, struct tc_error *err)
{
    TC_TRY(check_memory(limits, err));
    TC_TRY(check_processes(limits, err));
    uint64_t needed = limits->memory + limits->disk;
    TC_TRY(tc_cgroup_limit(cgroup, needed, limits->processes + TC_SANDBOX_TASKS, err));
    return make_scratch(ret_build_folder, err);
}
