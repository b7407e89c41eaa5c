#include "host/local_root.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdbool.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "core/denied.h"
#include "os/files.h"

/* Where the new root is put together: a folder that every machine has. Whatever
 * lies below it is opened before it is covered. */
#define NEW "/tmp"
#define TOOLCHAIN NEW "/toolchain"
#define IMAGE_TEXT NEW "/image"

#ifndef MOUNT_ATTR_RDONLY
#error "linux/mount.h of kernel 5.12 or newer is needed"
#endif

/* A detached copy of a file or of a whole folder with what is mounted below. */
struct tree {
    const char *source;
    char *target; /* below NEW; owned */
    bool folder, writable;
    int fd;
};

enum { TREES_MAX = 192 };
struct trees {
    struct tree list[TREES_MAX];
    size_t count;
};

/* Device nodes keep their function only without MOUNT_ATTR_NODEV. */
static tc_status clone_tree(struct trees *trees, const char *source, const char *target, bool writable,
                            bool device, struct tc_error *err)
{
    struct stat info;
    if (trees->count == TREES_MAX) return tc_fail(err, TC_LIMIT, "too many folders to bind");
    TC_AUTO_CLOSE int fd = (int)syscall(SYS_open_tree, AT_FDCWD, source,
                                        OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
    if (fd < 0 || fstat(fd, &info) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "the worker cannot reach %s%s", source,
                             errno == EACCES
                                 ? " (every folder on the way must be open to others)"
                                 : "");
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_NOSUID};
    if (!writable) attributes.attr_set |= MOUNT_ATTR_RDONLY;
    if (!device) attributes.attr_set |= MOUNT_ATTR_NODEV;
    if (syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes,
                sizeof attributes) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make %s read-only", source);
    char *owned = strdup(target);
    if (!owned) return tc_fail(err, TC_SYSTEM, "out of memory");
    trees->list[trees->count++] = (struct tree){.source = source,
                                                .target = owned,
                                                .folder = S_ISDIR(info.st_mode),
                                                .writable = writable,
                                                .fd = TC_TAKE_FD(fd)};
    return TC_OK;
}

static bool has_image(const struct tc_local_root *root)
{
    return root->image_fd >= 0 || root->image_path;
}

/* The kernel's mount belongs to no namespace yet, and is moved as it is. */
static tc_status add_image(const struct tc_local_root *root, struct trees *trees,
                           struct tc_error *err)
{
    if (root->image_path)
        return clone_tree(trees, root->image_path, TOOLCHAIN, false, false, err);
    struct tree *tree = &trees->list[trees->count];
    *tree = (struct tree){.source = "the image's file system",
                          .target = strdup(TOOLCHAIN),
                          .folder = true,
                          .fd = fcntl(root->image_fd, F_DUPFD_CLOEXEC, 0)};
    trees->count++;
    if (!tree->target || tree->fd < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory or descriptors");
    return TC_OK;
}

static tc_status clone_at(struct trees *trees, const char *prefix, const char *source,
                          struct tc_error *err)
{
    char target[PATH_MAX];
    if (snprintf(target, sizeof target, "%s%s", prefix, source) >= (int)sizeof target)
        return tc_fail(err, TC_LIMIT, "%s is too long a path", source);
    return clone_tree(trees, source, target, false, false, err);
}

/* Of /etc only what compilers, linkers, interpreters and TLS read; no secret is
 * readable to others there, and nothing that names users or hosts. */
static tc_status clone_etc(struct trees *trees, glob_t *found, struct tc_error *err)
{
    static const char denied[] = "/" TC_DENIED_PATH;
    static const char *const patterns[] = {
        "/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
        "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/pki/tls/certs", "/etc/ca-certificates",
        "/etc/ca-certificates.conf", "/etc/debian_version", "/etc/dpkg", "/etc/perl",
        "/etc/python3*", "/etc/java-*", "/etc/maven", "/etc/gss", "/etc/magic", "/etc/mime.types",
        "/etc/protocols", "/etc/services", "/etc/gitattributes", "/etc/texmf", "/etc/emacs", denied,
        NULL};
    for (size_t i = 0; patterns[i]; i++)
        if (glob(patterns[i], i > 0 ? GLOB_APPEND : 0, NULL, found) == GLOB_NOSPACE)
            return tc_fail(err, TC_SYSTEM, "out of memory");
    for (size_t i = 0; i < found->gl_pathc; i++)
        /* A list that cannot be read is the worker's to refuse, and not to be left out. */
        if (access(found->gl_pathv[i], R_OK) == 0 || strcmp(found->gl_pathv[i], denied) == 0)
            TC_TRY(clone_at(trees, TOOLCHAIN, found->gl_pathv[i], err));
    return TC_OK;
}

static tc_status clone_devices(struct trees *trees, struct tc_error *err)
{
    static const char *const devices[] = {"/dev/null", "/dev/zero",    "/dev/full",
                                          "/dev/tty",  "/dev/urandom", "/dev/random"};
    for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
        char target[64];
        (void)snprintf(target, sizeof target, NEW "%s", devices[i]);
        /* Writable: the mount's flag would stop opening /dev/null for writing. */
        TC_TRY(clone_tree(trees, devices[i], target, true, true, err));
    }
    return TC_OK;
}

static tc_status clone_all(const struct tc_local_root *root, struct trees *trees, glob_t *etc,
                           struct tc_error *err)
{
    /* First: erofsfuse's folder is covered later, and with it what lies below. */
    if (has_image(root)) TC_TRY(add_image(root, trees, err));
    TC_TRY(clone_at(trees, NEW, "/usr", err));
    if (!has_image(root)) TC_TRY(clone_at(trees, TOOLCHAIN, "/usr", err));
    if (!has_image(root)) TC_TRY(clone_etc(trees, etc, err));
    TC_TRY(clone_devices(trees, err));
    for (const char *const *tool = root->host_tools; tool && *tool; tool++)
        TC_TRY(clone_at(trees, TOOLCHAIN, *tool, err));
    if (!root->pids_cgroup)
        return clone_tree(trees, root->memory_cgroup, NEW "/cgroup", true, false, err);
    TC_TRY(clone_tree(trees, root->memory_cgroup, NEW "/cgroup/memory", true, false, err));
    return clone_tree(trees, root->pids_cgroup, NEW "/cgroup/pids", true, false, err);
}

static tc_status make_folders(const char *path, struct tc_error *err)
{
    char part[PATH_MAX];
    for (const char *slash = path + sizeof NEW; *slash; slash++) {
        if (slash[1] != '/' && slash[1] != '\0') continue;
        size_t size = (size_t)(slash + 1 - path);
        if (size >= sizeof part) return tc_fail(err, TC_LIMIT, "%s is too long a path", path);
        memcpy(part, path, size);
        part[size] = '\0';
        if (mkdir(part, 0755) != 0 && errno != EEXIST)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make %s", part);
    }
    return TC_OK;
}

static tc_status attach(const struct tree *tree, struct tc_error *err)
{
    TC_AUTO_FREE char *folder = strdup(tree->target);
    if (!folder) return tc_fail(err, TC_SYSTEM, "out of memory");
    char *slash = strrchr(folder, '/');
    if (!tree->folder && slash) *slash = '\0';
    TC_TRY(make_folders(folder, err));
    if (!tree->folder) {
        TC_AUTO_CLOSE int fd = open(tree->target, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make %s", tree->target);
    }
    if (syscall(SYS_move_mount, tree->fd, "", AT_FDCWD, tree->target, MOVE_MOUNT_F_EMPTY_PATH) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot put %s into the worker's root",
                             tree->source);
    return TC_OK;
}

static tc_status write_text(const char *path, const char *text, struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    size_t size = strlen(text);
    if (fd < 0 || write(fd, text, size) != (ssize_t)size)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot write %s", path);
    return TC_OK;
}

/* Users, hosts and name service of the build's world: the same everywhere. */
static tc_status write_etc(struct tc_error *err)
{
    TC_TRY(make_folders(TOOLCHAIN "/etc", err));
    TC_TRY(write_text(TOOLCHAIN "/etc/passwd",
                      "root:x:0:0:root:/:/bin/bash\n"
                      "build:x:1000:1000:build:/home/build:/bin/bash\n"
                      "nobody:x:65534:65534:nobody:/:/bin/false\n",
                      err));
    TC_TRY(write_text(TOOLCHAIN "/etc/group", "root:x:0:\nbuild:x:1000:\nnogroup:x:65534:\n", err));
    TC_TRY(write_text(TOOLCHAIN "/etc/hosts", "127.0.0.1 localhost tee-compile\n::1 localhost\n",
                      err));
    /* For the worker to show its own resolver in its place. */
    TC_TRY(write_text(TOOLCHAIN "/etc/resolv.conf", "", err));
    return write_text(TOOLCHAIN "/etc/nsswitch.conf",
                      "passwd: files\ngroup: files\nhosts: files dns\n", err);
}

/* /bin and the like, where the machine has merged them into /usr. */
static tc_status link_merged(const char *prefix, struct tc_error *err)
{
    static const char *const names[] = {"bin", "sbin", "lib", "lib32", "lib64", "libx32"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char here[64], there[64], link[64];
        (void)snprintf(here, sizeof here, "/%s", names[i]);
        (void)snprintf(there, sizeof there, "usr/%s", names[i]);
        (void)snprintf(link, sizeof link, "%s/%s", prefix, names[i]);
        struct stat info;
        if (lstat(here, &info) != 0) continue;
        if (!S_ISLNK(info.st_mode))
            return tc_fail(err, TC_UNAVAILABLE,
                           "%s is a folder of its own: --image host needs a machine with merged /usr",
                           here);
        if (symlink(there, link) != 0)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make %s", link);
    }
    return TC_OK;
}

static tc_status make_read_only(const char *path, struct tc_error *err)
{
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID};
    if (syscall(SYS_mount_setattr, AT_FDCWD, path, 0, &attributes, sizeof attributes) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make %s read-only", path);
    return TC_OK;
}

/* The toolchain's root of --image host: what spawner.h wants to be in it. */
static tc_status make_toolchain(struct tc_error *err)
{
    static const char *const folders[] = {TOOLCHAIN "/build", TOOLCHAIN "/home/build",
                                          TOOLCHAIN "/tmp",   TOOLCHAIN "/proc",
                                          TOOLCHAIN "/dev",   TOOLCHAIN "/sys"};
    /* A mount of its own, so that it can be made read-only. */
    if (mount("tmpfs", TOOLCHAIN, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=16m") != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot mount the toolchain's root");
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        TC_TRY(make_folders(folders[i], err));
    TC_TRY(link_merged(TOOLCHAIN, err));
    return write_etc(err);
}

static tc_status write_image_text(struct tc_span text, struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = open(IMAGE_TEXT, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make %s", IMAGE_TEXT);
    return tc_write_all(fd, text, IMAGE_TEXT, err);
}

static tc_status assemble(const struct tc_local_root *root, const struct trees *trees,
                          struct tc_error *err)
{
    static const char *const folders[] = {
        TOOLCHAIN, NEW "/scratch", NEW "/proc", NEW "/old",
        NEW "/tmp"}; /* bwrap puts its root together on /tmp */
    if (mount("tmpfs", NEW, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=16m") != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot mount the worker's root");
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        TC_TRY(make_folders(folders[i], err));
    TC_TRY(link_merged(NEW, err));
    if (has_image(root))
        TC_TRY(write_image_text(root->image_text, err));
    else
        TC_TRY(make_toolchain(err));
    for (size_t i = 0; i < trees->count; i++)
        TC_TRY(attach(&trees->list[i], err));
    TC_TRY(make_read_only(TOOLCHAIN, err));
    if (mount("proc", NEW "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno,
                             "cannot mount a new /proc (inside a container that covers parts of its "
                             "/proc this is forbidden)");
    return TC_OK;
}

static tc_status move_in(struct tc_error *err)
{
    if (chdir(NEW) != 0 || syscall(SYS_pivot_root, ".", "old") != 0 || chdir("/") != 0 ||
        umount2("/old", MNT_DETACH) != 0 || rmdir("/old") != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot move into the worker's root");
    return make_read_only("/", err);
}

static void free_trees(struct trees *trees)
{
    for (size_t i = 0; i < trees->count; i++) {
        (void)close(trees->list[i].fd);
        free(trees->list[i].target);
    }
}

tc_status tc_local_root_enter(const struct tc_local_root *root, struct tc_error *err)
{
    TC_AUTO_FREE struct trees *trees = calloc(1, sizeof *trees);
    if (!trees) return tc_fail(err, TC_SYSTEM, "out of memory");
    (void)umask(022);
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot leave the machine's mounts alone");
    glob_t etc = {0};
    tc_status status = clone_all(root, trees, &etc, err);
    if (status == TC_OK) status = assemble(root, trees, err);
    if (status == TC_OK) status = move_in(err);
    free_trees(trees);
    globfree(&etc);
    return status;
}

/* --- in the client --- */

static bool is_at_or_below(const char *path, const char *folder)
{
    size_t size = strlen(folder);
    return strncmp(path, folder, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

/* A host tool shows at its own path. Where that would cover a part of the build's
 * world, or be covered by it, the user should hear about it. */
tc_status tc_local_root_check_tool(const char *tool, struct tc_error *err)
{
    static const char *const taken[] = {"/build", "/home/build", "/tmp", "/proc", "/dev", "/sys"};
    static const char *const above[] = {"/",    "/usr",  "/etc", "/home",
                                        "/bin", "/sbin", "/lib", "/lib64"};
    TC_AUTO_FREE char *real = realpath(tool, NULL);
    struct stat info;
    if (!real || stat(real, &info) != 0)
        return tc_fail_errno(err, TC_USAGE, errno, "cannot find the host tool %s", tool);
    if (!S_ISDIR(info.st_mode))
        return tc_fail(err, TC_USAGE, "the host tool %s is no folder: name the folder it is in", tool);
    if (strcmp(real, tool) != 0)
        return tc_fail(err, TC_USAGE,
                       "the host tool %s has to be named by its real and absolute path, which is %s",
                       tool, real);
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (is_at_or_below(tool, taken[i]))
            return tc_fail(
                err, TC_USAGE,
                "the host tool %s cannot be shown to the build, which has its own %s: move "
                "the tool, for example below /opt",
                tool, taken[i]);
    for (size_t i = 0; i < sizeof above / sizeof *above; i++)
        if (strcmp(tool, above[i]) == 0)
            return tc_fail(err, TC_USAGE, "%s is not a host tool: name the tool's own folder",
                           tool);
    return TC_OK;
}
