#include "os/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

static int write_file(int folder, const char *name, const char *text)
{
    TC_AUTO_CLOSE int fd = openat(folder, name, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return errno;
    size_t size = strlen(text);
    ssize_t written = write(fd, text, size);
    return written == (ssize_t)size ? 0 : written < 0 ? errno : EIO;
}

static tc_status write_number(int folder, const char *name, uint64_t value, struct tc_error *err)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    int reason = write_file(folder, name, text);
    if (reason == 0) return TC_OK;
    return tc_fail_errno(err, TC_UNAVAILABLE, reason, "cannot set the limit %s to %s", name, text);
}

/* The whole of a small file; NUL-terminated. Returns its size or -1. */
static ssize_t read_file(int folder, const char *name, char *out, size_t out_size)
{
    TC_AUTO_CLOSE int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return -1;
    size_t used = 0;
    while (used < out_size - 1) {
        ssize_t got = read(fd, out + used, out_size - 1 - used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        if (got == 0) break;
        used += (size_t)got;
    }
    out[used] = '\0';
    return (ssize_t)used;
}

static tc_status make_child(int parent, const char *folder, const char *name, int *ret_fd,
                            struct tc_error *err)
{
    char path[64];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return tc_fail(err, TC_USAGE, "the name of a control group is too long");
    if (mkdirat(parent, path, 0755) != 0 && errno != EEXIST)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot make the control group %s", path);
    int fd = openat(parent, path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open the control group %s", path);
    *ret_fd = fd;
    return TC_OK;
}

tc_status tc_cgroup_make(const char *delegated, const char *name, struct tc_cgroup *ret_group,
                         struct tc_error *err)
{
    TC_AUTO_CLOSE int parent = open(delegated, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    if (parent < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno,
                             "no control group was given to the worker (%s): a build never runs "
                             "without limits",
                             delegated);
    struct tc_cgroup group = TC_CGROUP_NONE;
    group.v2 = faccessat(parent, "cgroup.controllers", F_OK, 0) == 0;
    if (group.v2) {
        int reason = write_file(parent, "cgroup.subtree_control", "+memory +pids");
        if (reason != 0)
            return tc_fail_errno(err, TC_UNAVAILABLE, reason,
                                 "cannot hand the memory and pids controllers to the build");
        TC_TRY(make_child(parent, ".", name, &group.memory_fd, err));
        group.pids_fd = fcntl(group.memory_fd, F_DUPFD_CLOEXEC, 0);
        if (group.pids_fd < 0) {
            reason = errno;
            tc_cgroup_close(&group);
            return tc_fail_errno(err, TC_SYSTEM, reason, "cannot keep the control group open");
        }
    } else {
        TC_TRY(make_child(parent, "memory", name, &group.memory_fd, err));
        tc_status status = make_child(parent, "pids", name, &group.pids_fd, err);
        if (status != TC_OK) {
            tc_cgroup_close(&group);
            return status;
        }
    }
    *ret_group = group;
    return TC_OK;
}

void tc_cgroup_close(struct tc_cgroup *group)
{
    tc_close_ptr(&group->memory_fd);
    tc_close_ptr(&group->pids_fd);
}

tc_status tc_cgroup_limit(const struct tc_cgroup *group, uint64_t memory, uint64_t tasks,
                          struct tc_error *err)
{
    if (group->v2) {
        TC_TRY(write_number(group->memory_fd, "memory.max", memory, err));
        /* Absent where the kernel has no swap accounting, hence no swap for us to forbid. */
        if (faccessat(group->memory_fd, "memory.swap.max", F_OK, 0) == 0)
            TC_TRY(write_number(group->memory_fd, "memory.swap.max", 0, err));
        /* One victim is all victims: no half-killed build goes on. */
        TC_TRY(write_number(group->memory_fd, "memory.oom.group", 1, err));
    } else {
        TC_TRY(write_number(group->memory_fd, "memory.limit_in_bytes", memory, err));
        if (faccessat(group->memory_fd, "memory.memsw.limit_in_bytes", F_OK, 0) == 0)
            TC_TRY(write_number(group->memory_fd, "memory.memsw.limit_in_bytes", memory, err));
        TC_TRY(write_number(group->memory_fd, "memory.swappiness", 0, err));
    }
    return write_number(group->pids_fd, "pids.max", tasks, err);
}

tc_status tc_cgroup_join(const struct tc_cgroup *group, struct tc_error *err)
{
    /* "0" is the writer. Version 1 checks the writer's uid against the moved
     * process: it has to move itself while it still is what it was. */
    int reason = write_file(group->memory_fd, "cgroup.procs", "0");
    if (reason == 0 && !group->v2) reason = write_file(group->pids_fd, "cgroup.procs", "0");
    if (reason == 0) return TC_OK;
    return tc_fail_errno(err, TC_SYSTEM, reason, "cannot join the build's control group");
}

/* The number behind "name " at the start of a line. */
static bool find_number(const char *text, const char *name, uint64_t *ret_value)
{
    size_t size = strlen(name);
    for (const char *line = text; line && *line; line = strchr(line, '\n')) {
        if (*line == '\n') line++;
        if (strncmp(line, name, size) != 0 || line[size] != ' ') continue;
        char *end;
        errno = 0;
        unsigned long long value = strtoull(line + size + 1, &end, 10);
        if (errno != 0 || (*end != '\n' && *end != '\0')) return false;
        *ret_value = value;
        return true;
    }
    return false;
}

tc_status tc_cgroup_events_read(const struct tc_cgroup *group, struct tc_cgroup_events *ret_events,
                                struct tc_error *err)
{
    char memory[4096], pids[1024];
    uint64_t killed = 0, refused = 0, no_fork = 0;
    const char *file = group->v2 ? "memory.events" : "memory.oom_control";
    if (read_file(group->memory_fd, file, memory, sizeof memory) < 0 ||
        !find_number(memory, "oom_kill", &killed) ||
        (group->v2 && !find_number(memory, "oom", &refused)) ||
        read_file(group->pids_fd, "pids.events", pids, sizeof pids) < 0 ||
        !find_number(pids, "max", &no_fork))
        return tc_fail(err, TC_SYSTEM,
                       "the kernel does not say whether a limit of the build was reached");
    *ret_events = (struct tc_cgroup_events){killed + refused, no_fork};
    return TC_OK;
}

tc_status tc_cgroup_tasks(const struct tc_cgroup *group, uint64_t *ret_tasks, struct tc_error *err)
{
    /* Not cgroup.procs, which leaves out processes that have begun to exit and
     * still hold their files. The pids controller lets go when one is reaped. */
    char text[32], *end = text;
    unsigned long long tasks = 0;
    ssize_t size = read_file(group->pids_fd, "pids.current", text, sizeof text);
    errno = 0;
    if (size > 0) tasks = strtoull(text, &end, 10);
    if (size <= 0 || end == text || *end != '\n' || errno != 0)
        return tc_fail(err, TC_SYSTEM, "the kernel does not say how many processes the build has");
    *ret_tasks = tasks;
    return TC_OK;
}
