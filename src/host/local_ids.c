#include "host/local_ids.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

/* systemd's table of uids (UIDS-GIDS) leaves 0x70000000 to 0x7ffdffff unused. */
static const uid_t root_range = 0x70000000;

/* First range of at least size ids of a user in /etc/subuid or /etc/subgid:
 * lines name:first:count, the name being a login name or a number. */
static bool find_range(const char *path, const char *name, unsigned long size,
                       unsigned long *ret_first)
{
    FILE *file = fopen(path, "re");
    if (!file) return false;
    char line[512], number[24];
    (void)snprintf(number, sizeof number, "%u", (unsigned)getuid());
    bool found = false;
    while (!found && fgets(line, sizeof line, file)) {
        char *state = NULL, *end;
        const char *who = strtok_r(line, ":\n", &state);
        const char *first = strtok_r(NULL, ":\n", &state);
        const char *count = strtok_r(NULL, ":\n", &state);
        if (!who || !first || !count || (strcmp(who, name) != 0 && strcmp(who, number) != 0))
            continue;
        unsigned long from = strtoul(first, &end, 10);
        if (*end) continue;
        unsigned long many = strtoul(count, &end, 10);
        if (*end || many < size || from == 0) continue;
        *ret_first = from;
        found = true;
    }
    (void)fclose(file);
    return found;
}

tc_status tc_local_ids_find(struct tc_local_ids *ret_ids, struct tc_error *err)
{
    struct tc_local_ids ids = {.root = geteuid() == 0};
    if (ids.root) {
        ids.inner_root = root_range;
        *ret_ids = ids;
        return TC_OK;
    }
    ids.inner_root = geteuid();
    const struct passwd *user = getpwuid(getuid());
    if (access("/usr/bin/newuidmap", X_OK) != 0 || access("/usr/bin/newgidmap", X_OK) != 0)
        return tc_fail(err, TC_UNAVAILABLE,
                       "newuidmap and newgidmap are missing: apt-get install uidmap");
    if (!user)
        return tc_fail(err, TC_UNAVAILABLE,
                       "uid %d has no entry in /etc/passwd, and so no subordinate ids: run this as "
                       "a user who has one, or as root",
                       (int)getuid());
    const char *name = user->pw_name;
    if (!find_range("/etc/subuid", name, TC_INNER_IDS - 1, &ids.subuid) ||
        !find_range("/etc/subgid", name, TC_INNER_IDS - 1, &ids.subgid))
        return tc_fail(
            err, TC_UNAVAILABLE,
            "user %s has no range of %d subordinate ids, which keep the build's uid apart "
            "from the worker's. Run as root, once: usermod --add-subuids 1000000-1065535 "
            "--add-subgids 1000000-1065535 %s",
            name, TC_INNER_IDS - 1, name);
    *ret_ids = ids;
    return TC_OK;
}

static tc_status write_map(pid_t pid, const char *file, const char *map, struct tc_error *err)
{
    char path[64];
    size_t size = strlen(map);
    (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
    TC_AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, map, size) != (ssize_t)size)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot write the map of ids %s", path);
    return TC_OK;
}

tc_status tc_local_ids_map_same(pid_t pid, struct tc_error *err)
{
    /* In two, as a user's map has it (run_mapper): none of a line's ids may be in
     * another line of the map above. */
    char map[64];
    (void)snprintf(map, sizeof map, "0 0 1\n1 1 %d\n", TC_INNER_IDS - 1);
    TC_TRY(write_map(pid, "uid_map", map, err));
    return write_map(pid, "gid_map", map, err);
}

/* newuidmap and newgidmap are the machine's way to let a user use its ranges. */
static tc_status run_mapper(const char *program, pid_t pid, unsigned long own, unsigned long first,
                            struct tc_error *err)
{
    char target[16], inner[16], range[24], count[16];
    (void)snprintf(target, sizeof target, "%d", (int)pid);
    (void)snprintf(inner, sizeof inner, "%lu", own);
    (void)snprintf(range, sizeof range, "%lu", first);
    (void)snprintf(count, sizeof count, "%d", TC_INNER_IDS - 1);
    pid_t child = fork();
    if (child < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot start %s", program);
    if (child == 0) {
        (void)execl(program, program, target, "0", inner, "1", "1", range, count, (char *)NULL);
        _exit(127);
    }
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for %s", program);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return TC_OK;
    return tc_fail(err, TC_UNAVAILABLE, "%s refused to map this user's subordinate ids", program);
}

tc_status tc_local_ids_map(const struct tc_local_ids *ids, pid_t pid, struct tc_error *err)
{
    if (ids->root) {
        char map[64];
        (void)snprintf(map, sizeof map, "0 %lu %d\n", (unsigned long)root_range, TC_INNER_IDS);
        TC_TRY(write_map(pid, "uid_map", map, err));
        return write_map(pid, "gid_map", map, err);
    }
    TC_TRY(run_mapper("/usr/bin/newuidmap", pid, getuid(), ids->subuid, err));
    return run_mapper("/usr/bin/newgidmap", pid, getgid(), ids->subgid, err);
}
