#include "host/room_root.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Where the new root is put together: a folder that every machine has. Whatever
 * lies below it is opened before it is covered. */
#define NEW "/tmp"

#ifndef MOUNT_ATTR_RDONLY
#error "linux/mount.h of kernel 5.12 or newer is needed"
#endif

enum tree_kind { TREE_READ_ONLY, TREE_WRITABLE, TREE_DEVICE };

/* Where the machine has them merged into /usr they are symlinks, which are copied. */
static const char *const system_folders[] = {"/bin",   "/sbin",  "/lib",
                                             "/lib32", "/lib64", "/libx32"};
static const char *const devices[] = {"/dev/null",   "/dev/zero",    "/dev/full",
                                      "/dev/random", "/dev/urandom", "/dev/tty"};

/* Private: what is mounted inside must not appear on the machine. */
static tc_status clone_tree(struct tc_room_trees *trees, const char *source, const char *target,
                            enum tree_kind kind, struct tc_error *err)
{
    struct stat info;
    if (trees->count == TC_ROOM_TREES_MAX)
        return tc_fail(err, TC_LIMIT, "too many folders to bind");
    TC_AUTO_CLOSE int fd = (int)syscall(SYS_open_tree, AT_FDCWD, source,
                                        OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (fd < 0 || fstat(fd, &info) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot take %s into the room", source);
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_NOSUID, .propagation = MS_PRIVATE};
    if (kind == TREE_READ_ONLY) attributes.attr_set |= MOUNT_ATTR_RDONLY;
    if (kind != TREE_DEVICE) attributes.attr_set |= MOUNT_ATTR_NODEV;
    if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes,
                sizeof attributes) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot set how %s is mounted", source);
    trees->list[trees->count++] = (struct tc_room_tree){
        .source = source, .target = target, .folder = S_ISDIR(info.st_mode), .fd = TC_TAKE_FD(fd)};
    return TC_OK;
}

static bool is_symlink(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 && S_ISLNK(info.st_mode);
}

static tc_status clone_machine(struct tc_room_trees *trees, struct tc_error *err)
{
    TC_TRY(clone_tree(trees, "/usr", "/usr", TREE_READ_ONLY, err));
    TC_TRY(clone_tree(trees, "/etc", "/etc", TREE_READ_ONLY, err));
    for (size_t i = 0; i < sizeof system_folders / sizeof *system_folders; i++) {
        const char *path = system_folders[i];
        if (access(path, F_OK) == 0 && !is_symlink(path))
            TC_TRY(clone_tree(trees, path, path, TREE_READ_ONLY, err));
    }
    return TC_OK;
}

tc_status tc_room_trees_clone(const struct tc_room *room, struct tc_room_trees *trees,
                              struct tc_error *err)
{
    if (room->root)
        TC_TRY(clone_tree(trees, room->root, "", TREE_WRITABLE, err));
    else
        TC_TRY(clone_machine(trees, err));
    if (room->source) TC_TRY(clone_tree(trees, room->source, "/source", TREE_READ_ONLY, err));
    if (room->recipe) TC_TRY(clone_tree(trees, room->recipe, "/recipe", TREE_READ_ONLY, err));
    if (room->packages) TC_TRY(clone_tree(trees, room->packages, "/packages", TREE_READ_ONLY, err));
    TC_TRY(clone_tree(trees, room->work, "/work", TREE_WRITABLE, err));
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
        TC_TRY(clone_tree(trees, devices[i], devices[i], TREE_DEVICE, err));
    return TC_OK;
}

void tc_room_trees_close(struct tc_room_trees *trees)
{
    for (size_t i = 0; i < trees->count; i++)
        tc_close_ptr(&trees->list[i].fd);
    trees->count = 0;
}

static tc_status make_folder(const char *path, struct tc_error *err)
{
    if (mkdir(path, 0755) != 0 && errno != EEXIST)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make the room's %s", path);
    return TC_OK;
}

static tc_status mount_memory(const char *path, const char *options, struct tc_error *err)
{
    TC_TRY(make_folder(path, err));
    if (mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, options) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot mount the room's %s", path);
    return TC_OK;
}

static tc_status attach(const struct tc_room_tree *tree, struct tc_error *err)
{
    char target[PATH_MAX];
    (void)snprintf(target, sizeof target, NEW "%s", tree->target);
    if (tree->folder) {
        TC_TRY(make_folder(target, err));
    } else {
        TC_AUTO_CLOSE int fd = open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make the room's %s", target);
    }
    if (syscall(SYS_move_mount, tree->fd, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot put %s into the room", tree->source);
    return TC_OK;
}

static tc_status link_to(const char *target, const char *path, struct tc_error *err)
{
    if (symlink(target, path) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make the room's %s", path);
    return TC_OK;
}

/* What the machine's tools find instead of the rest of the machine. */
static tc_status furnish_machine(struct tc_error *err)
{
    static const char *const folders[] = {NEW "/root",    NEW "/mnt",     NEW "/run",
                                          NEW "/var",     NEW "/var/lib", NEW "/var/cache",
                                          NEW "/var/tmp", NEW "/var/log"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        TC_TRY(make_folder(folders[i], err));
    for (size_t i = 0; i < sizeof system_folders / sizeof *system_folders; i++) {
        char target[64], path[64];
        if (!is_symlink(system_folders[i])) continue;
        (void)snprintf(target, sizeof target, "usr%s", system_folders[i]);
        (void)snprintf(path, sizeof path, NEW "%s", system_folders[i]);
        TC_TRY(link_to(target, path, err));
    }
    return mount_memory(NEW "/tmp", "mode=1777,size=4g,nr_inodes=1m", err);
}

static tc_status furnish(struct tc_error *err)
{
    TC_TRY(make_folder(NEW "/sys", err));
    TC_TRY(mount_memory(NEW "/dev", "mode=0755,size=1m", err));
    TC_TRY(link_to("/proc/self/fd", NEW "/dev/fd", err));
    TC_TRY(link_to("/proc/self/fd/0", NEW "/dev/stdin", err));
    TC_TRY(link_to("/proc/self/fd/1", NEW "/dev/stdout", err));
    TC_TRY(link_to("/proc/self/fd/2", NEW "/dev/stderr", err));
    TC_TRY(mount_memory(NEW "/dev/shm", "mode=1777,size=256m,nr_inodes=64k", err));
    TC_TRY(make_folder(NEW "/proc", err));
    if (mount("proc", NEW "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)
        return tc_fail_errno(
            err, TC_UNAVAILABLE, errno,
            "cannot mount a new /proc (inside a container that covers parts of its "
            "/proc this is forbidden)");
    return TC_OK;
}

tc_status tc_room_root_enter(const struct tc_room *room, const struct tc_room_trees *trees,
                             struct tc_error *err)
{
    size_t next = 0;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot leave the machine's mounts alone");
    if (room->root)
        TC_TRY(attach(&trees->list[next++], err));
    else
        TC_TRY(mount_memory(NEW, "mode=0755,size=64m", err));
    TC_TRY(furnish(err));
    if (!room->root) TC_TRY(furnish_machine(err));
    for (; next < trees->count; next++)
        TC_TRY(attach(&trees->list[next], err));
    /* Both roots on one place, then the upper one away: no folder for the old root is
     * needed in a root that is somebody else's. */
    if (chdir(NEW) != 0 || syscall(SYS_pivot_root, ".", ".") != 0 ||
        umount2(".", MNT_DETACH) != 0 || chdir("/") != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot move into the room");
    return TC_OK;
}
