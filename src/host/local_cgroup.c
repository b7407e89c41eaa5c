#include "host/local_cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

#define TOP "/sys/fs/cgroup"
#define NAME "tee-compile."

static bool writable_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode) && access(path, W_OK | X_OK) == 0;
}

static bool write_text(const char *folder, const char *file, const char *text)
{
    TC_AUTO_FREE char *path = NULL;
    if (asprintf(&path, "%s/%s", folder, file) < 0) return false;
    TC_AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    size_t size = strlen(text);
    return fd >= 0 && write(fd, text, size) == (ssize_t)size;
}

static bool has_words(const char *folder, const char *file, const char *one, const char *two)
{
    TC_AUTO_FREE char *path = NULL;
    if (asprintf(&path, "%s/%s", folder, file) < 0) return false;
    TC_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    char text[512];
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (got < 0) return false;
    text[got] = '\0';
    bool found_one = false, found_two = false;
    char *state = NULL;
    for (char *word = strtok_r(text, " \n", &state); word; word = strtok_r(NULL, " \n", &state)) {
        found_one = found_one || strcmp(word, one) == 0;
        found_two = found_two || strcmp(word, two) == 0;
    }
    return found_one && found_two;
}

/* Removes a worker's folder and the leaves that the worker made in it. Fails,
 * and does nothing, where processes live. */
static bool remove_folder(const char *path)
{
    static const char *const leaves[] = {"build", "worker"};
    for (size_t i = 0; i < sizeof leaves / sizeof *leaves; i++) {
        TC_AUTO_FREE char *leaf = NULL;
        if (asprintf(&leaf, "%s/%s", path, leaves[i]) >= 0) (void)rmdir(leaf);
    }
    return rmdir(path) == 0 || errno == ENOENT;
}

/* A process leaves its group a moment after its parent hears of its end (the
 * scheduler has to switch away from it first, kernel 6.18), and no version 1 file
 * says when: the one place where waiting means trying again. */
static void remove_when_empty(const char *path)
{
    enum { TRIES = 100, PAUSE_MS = 10 };
    for (int i = 0; i < TRIES && !remove_folder(path); i++)
        (void)poll(NULL, 0, PAUSE_MS);
}

/* Folders of clients that were killed before they could tidy up: their name
 * holds the client's pid. */
static void sweep(const char *parent)
{
    DIR *folder = opendir(parent);
    if (!folder) return;
    const struct dirent *entry;
    while ((entry = readdir(folder))) {
        char *end;
        if (strncmp(entry->d_name, NAME, strlen(NAME)) != 0) continue;
        long pid = strtol(entry->d_name + strlen(NAME), &end, 10);
        if ((*end && *end != '.') || pid <= 1 || kill((pid_t)pid, 0) == 0 || errno != ESRCH) continue;
        TC_AUTO_FREE char *path = NULL;
        if (asprintf(&path, "%s/%s", parent, entry->d_name) >= 0) (void)!remove_folder(path);
    }
    (void)closedir(folder);
}

static tc_status make_folder(const char *parent, char **ret_path, struct tc_error *err)
{
    char *path;
    sweep(parent);
    /* More than one worker of one client gets a folder each. */
    for (unsigned i = 0; i < 1000; i++) {
        int size = i == 0 ? asprintf(&path, "%s/" NAME "%d", parent, (int)getpid())
                          : asprintf(&path, "%s/" NAME "%d.%u", parent, (int)getpid(), i);
        if (size < 0) return tc_fail(err, TC_SYSTEM, "out of memory");
        if (mkdir(path, 0755) == 0) {
            *ret_path = path;
            return TC_OK;
        }
        int reason = errno;
        if (reason != EEXIST) {
            (void)tc_fail_errno(err, TC_UNAVAILABLE, reason, "cannot make the control group %s", path);
            free(path);
            return err->status;
        }
        free(path);
    }
    return tc_fail(err, TC_UNAVAILABLE, "too many control groups in %s", parent);
}

/* The version 2 group of this process; owned, NULL without one. */
static char *own_group(void)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (!file) return NULL;
    char line[4096], *path = NULL;
    while (!path && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "0::/", 4) == 0 && asprintf(&path, TOP "%s", line + 3) < 0) path = NULL;
    }
    (void)fclose(file);
    return path;
}

static tc_status make_v2_as_root(struct tc_local_cgroup *cgroup, struct tc_error *err)
{
    if (!has_words(TOP, "cgroup.subtree_control", "memory", "pids"))
        (void)!write_text(TOP, "cgroup.subtree_control", "+memory +pids");
    cgroup->v2 = true;
    return make_folder(TOP, &cgroup->memory, err);
}

/* In a delegated group (systemd's Delegate=yes) this process is the one that
 * stands in the way: version 2 hands controllers down only from groups without
 * processes of their own. */
static tc_status make_v2_delegated(const char *group, struct tc_local_cgroup *cgroup,
                                   struct tc_error *err)
{
    TC_AUTO_FREE char *own = NULL;
    if (asprintf(&own, "%s/client", group) < 0) return tc_fail(err, TC_SYSTEM, "out of memory");
    if ((mkdir(own, 0755) != 0 && errno != EEXIST) || !write_text(own, "cgroup.procs", "0") ||
        !write_text(group, "cgroup.subtree_control", "+memory +pids"))
        return tc_fail_errno(err, TC_UNAVAILABLE, errno,
                             "cannot hand controllers down in the delegated group %s", group);
    cgroup->v2 = true;
    return make_folder(group, &cgroup->memory, err);
}

static tc_status make_v1(const char *below, struct tc_local_cgroup *cgroup, struct tc_error *err)
{
    TC_AUTO_FREE char *memory = NULL, *pids = NULL;
    if (asprintf(&memory, TOP "/memory%s", below) < 0 || asprintf(&pids, TOP "/pids%s", below) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_TRY(make_folder(memory, &cgroup->memory, err));
    return make_folder(pids, &cgroup->pids, err);
}

static tc_status no_place(struct tc_error *err)
{
    if (has_words(TOP, "cgroup.controllers", "memory", "pids"))
        return tc_fail(err, TC_UNAVAILABLE,
                       "this user may not limit memory and processes, and a build never runs without "
                       "limits. Run it as: systemd-run --user --scope -p Delegate=yes tee-compile ...");
    return tc_fail(err, TC_UNAVAILABLE,
                   "this user may not limit memory and processes, and a build never runs without "
                   "limits. Run as root, once: for c in memory pids; do mkdir -p " TOP
                   "/$c/tee-compile && chown %u " TOP "/$c/tee-compile{,/cgroup.procs}; done",
                   (unsigned)geteuid());
}

static tc_status choose(struct tc_local_cgroup *cgroup, struct tc_error *err)
{
    bool v2 = has_words(TOP, "cgroup.controllers", "memory", "pids");
    if (geteuid() == 0) {
        if (v2) return make_v2_as_root(cgroup, err);
        if (writable_folder(TOP "/memory") && writable_folder(TOP "/pids"))
            return make_v1("", cgroup, err);
    } else {
        TC_AUTO_FREE char *own = v2 ? own_group() : NULL;
        if (own && writable_folder(own) && has_words(own, "cgroup.controllers", "memory", "pids"))
            return make_v2_delegated(own, cgroup, err);
        if (writable_folder(TOP "/memory/tee-compile") && writable_folder(TOP "/pids/tee-compile"))
            return make_v1("/tee-compile", cgroup, err);
    }
    return no_place(err);
}

tc_status tc_local_cgroup_make(struct tc_local_cgroup *ret_cgroup, struct tc_error *err)
{
    struct tc_local_cgroup cgroup = {0};
    tc_status status = choose(&cgroup, err);
    if (status != TC_OK) {
        tc_local_cgroup_remove(&cgroup);
        return status;
    }
    *ret_cgroup = cgroup;
    return TC_OK;
}

static tc_status give_folder(const char *folder, uid_t owner, struct tc_error *err)
{
    /* What a delegatee needs (Documentation/admin-guide/cgroup-v2, "Model of
     * Delegation"); files that a version does not have are passed over. */
    static const char *const files[] = {"", "/cgroup.procs", "/cgroup.threads",
                                        "/cgroup.subtree_control", "/tasks"};
    if (owner == geteuid()) return TC_OK;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        TC_AUTO_FREE char *path = NULL;
        if (asprintf(&path, "%s%s", folder, files[i]) < 0)
            return tc_fail(err, TC_SYSTEM, "out of memory");
        if (chown(path, owner, owner) != 0 && errno != ENOENT)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot hand over %s", path);
    }
    return TC_OK;
}

tc_status tc_local_cgroup_give(const struct tc_local_cgroup *cgroup, uid_t owner, pid_t pid,
                               struct tc_error *err)
{
    const char *const folders[] = {cgroup->memory, cgroup->pids};
    char text[16];
    (void)snprintf(text, sizeof text, "%d", (int)pid);
    for (size_t i = 0; i < 2 && folders[i]; i++) {
        if (!write_text(folders[i], "cgroup.procs", text))
            return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot move the worker into %s",
                                 folders[i]);
        TC_TRY(give_folder(folders[i], owner, err));
    }
    return TC_OK;
}

void tc_local_cgroup_remove(struct tc_local_cgroup *cgroup)
{
    if (cgroup->memory) remove_when_empty(cgroup->memory);
    if (cgroup->pids) remove_when_empty(cgroup->pids);
    free(cgroup->memory);
    free(cgroup->pids);
    *cgroup = (struct tc_local_cgroup){0};
}
