/* Each work folder carries a lock of the kernel's on the folder itself, held as long
 * as its run and everything that it started lives. Who can take the lock of a folder
 * that has its name still is alone with it, and may remove it.
 *
 * What a room wrote belongs to ids that an ordinary user is not: such files are
 * removed in a room. */
#include "host/workfolder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "host/room.h"

static const char prefix[] = "run.";
enum { TRIES = 16 };

/* Open and locked; -1: somebody has it, or it is no such folder. */
static int take(const char *path)
{
    struct stat by_fd, by_name;
    TC_AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0) return -1;
    if (fstat(fd, &by_fd) != 0 || lstat(path, &by_name) != 0 || by_fd.st_ino != by_name.st_ino)
        return -1;
    return TC_TAKE_FD(fd);
}

/* A name in the top folder that nothing has. */
static bool move_up(int folder_fd, const char *name, int top_fd, unsigned long *next)
{
    for (int i = 0; i < TRIES; i++) {
        char up[64];
        (void)snprintf(up, sizeof up, ".removed-%lu", (*next)++);
        if (renameat2(folder_fd, name, top_fd, up, RENAME_NOREPLACE) == 0) return true;
        if (errno != EEXIST) return false;
    }
    return false;
}

static bool is_name(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* Empties a folder of the top one, whose own folders come up to the top. */
static bool flatten(int top_fd, const char *name, unsigned long *next)
{
    bool changed = false;
    int fd = openat(top_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    if (!folder) {
        if (fd >= 0) (void)close(fd);
        return false;
    }
    for (const struct dirent *entry; (entry = readdir(folder));)
        if (is_name(entry))
            changed |= unlinkat(dirfd(folder), entry->d_name, 0) == 0 ||
                       move_up(dirfd(folder), entry->d_name, top_fd, next);
    (void)closedir(folder);
    return changed;
}

/* One look at the top folder: did it become less? */
static bool remove_some(int top_fd, unsigned long *next)
{
    bool changed = false;
    int fd = openat(top_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *top = fd >= 0 ? fdopendir(fd) : NULL;
    if (!top) {
        if (fd >= 0) (void)close(fd);
        return false;
    }
    for (const struct dirent *entry; (entry = readdir(top));) {
        if (!is_name(entry)) continue;
        changed |= unlinkat(top_fd, entry->d_name, 0) == 0 || flatten(top_fd, entry->d_name, next);
        changed |= unlinkat(top_fd, entry->d_name, AT_REMOVEDIR) == 0;
    }
    (void)closedir(top);
    return changed;
}

/* No path is ever longer than two names: how deep a room nested its folders, beyond
 * PATH_MAX or the count of descriptors, does not matter. */
static void remove_by_names(const char *path)
{
    unsigned long next = 0;
    TC_AUTO_CLOSE int top_fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (top_fd < 0) return;
    while (remove_some(top_fd, &next)) {
    }
    (void)rmdir(path);
}

/* The machine's root may remove everything, and in a room it would be nobody. */
static void remove_tree(const char *path)
{
    static const char *const command[] = {"find", "/work", "-mindepth", "1", "-delete", NULL};
    struct tc_error ignored = {0};
    if (geteuid() == 0) {
        remove_by_names(path);
        return;
    }
    TC_AUTO_CLOSE int log = open("/dev/null", O_WRONLY | O_CLOEXEC);
    struct tc_room room = {.work = path, .jobs = 1, .log_fd = log, .interrupt_fd = -1};
    (void)!tc_room_run(&room, command, &ignored);
    (void)rmdir(path);
}

static void remove_stale(const char *parent)
{
    DIR *folder = opendir(parent);
    if (!folder) return;
    for (const struct dirent *entry; (entry = readdir(folder));) {
        TC_AUTO_FREE char *path = NULL;
        if (strncmp(entry->d_name, prefix, sizeof prefix - 1) != 0 ||
            asprintf(&path, "%s/%s", parent, entry->d_name) < 0)
            continue;
        TC_AUTO_CLOSE int fd = take(path);
        if (fd >= 0) remove_tree(path);
    }
    (void)closedir(folder);
}

tc_status tc_workfolder_make(const char *parent, struct tc_workfolder *ret_folder,
                             struct tc_error *err)
{
    remove_stale(parent);
    /* Between its making and its lock another run may take a folder for a stale one. */
    for (int i = 0; i < TRIES; i++) {
        TC_AUTO_FREE char *path = NULL;
        if (asprintf(&path, "%s/%sXXXXXX", parent, prefix) < 0)
            return tc_fail(err, TC_SYSTEM, "out of memory");
        if (!mkdtemp(path))
            return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot make a folder in %s", parent);
        int fd = take(path);
        if (fd < 0) continue;
        *ret_folder = (struct tc_workfolder){.path = TC_TAKE(path), .fd = fd};
        return TC_OK;
    }
    return tc_fail(err, TC_UNAVAILABLE,
                   "cannot keep a folder in %s to work in: other runs take it away", parent);
}

tc_status tc_workfolder_add(const struct tc_workfolder *folder, const char *name, long owner,
                            char **ret_path, struct tc_error *err)
{
    TC_AUTO_FREE char *path = NULL;
    if (asprintf(&path, "%s/%s", folder->path, name) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    if (mkdir(path, 0755) != 0 || chmod(path, 0755) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make %s", path);
    if (owner >= 0 && chown(path, (uid_t)owner, geteuid() == 0 ? (gid_t)owner : (gid_t)-1) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot give %s away", path);
    *ret_path = TC_TAKE(path);
    return TC_OK;
}

void tc_workfolder_remove(struct tc_workfolder *folder)
{
    if (folder->path) remove_tree(folder->path);
    tc_close_ptr(&folder->fd);
    free(TC_TAKE(folder->path));
}
