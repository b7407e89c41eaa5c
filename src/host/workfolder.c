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
#include <ftw.h>
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
enum { TRIES = 16, WALK_FDS = 64 };

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

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)place;
    (void)(kind == FTW_DP ? rmdir(path) : unlink(path));
    return 0;
}

/* The machine's root may remove everything, and in a room it would be nobody. */
static void remove_tree(const char *path)
{
    static const char *const command[] = {"find", "/work", "-mindepth", "1", "-delete", NULL};
    struct tc_error ignored = {0};
    if (geteuid() == 0) {
        (void)nftw(path, remove_one, WALK_FDS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
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
