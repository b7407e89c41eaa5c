#include "worker/collect_find.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/outmatch.h"
#include "worker/spawner.h"

struct search {
    int root;
    const char *pattern; /* for messages */
    struct tc_found *found;
    size_t matches;
};

void tc_found_free(struct tc_found *found)
{
    for (size_t i = 0; i < found->count; i++)
        free(found->paths[i]);
    free(found->paths);
    *found = (struct tc_found){0};
}

static tc_status refuse(const char *path, const char *why, struct tc_error *err)
{
    char shown[512];
    return tc_fail(err, TC_REFUSED, "output %s %s",
                   tc_printable(tc_span_of_text(path), shown, sizeof shown), why);
}

static tc_status refuse_errno(const char *path, struct tc_error *err)
{
    int reason = errno;
    char shown[512];
    if (reason == EXDEV || reason == ELOOP) return refuse(path, "is a symlink that leaves the source tree", err);
    if (reason == ENOENT) return refuse(path, "is a symlink to nothing", err);
    return tc_fail_errno(err, TC_REFUSED, reason, "output %s cannot be read",
                         tc_printable(tc_span_of_text(path), shown, sizeof shown));
}

/* Never out of the root, not by "..", not by an absolute link, not by /proc's
 * magic ones. */
static int open_beneath(int root, const char *path, int flags)
{
    struct open_how how = {.flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
                           .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    return (int)syscall(SYS_openat2, root, path, &how, sizeof how);
}

/* An absolute link into the build folder stays inside, though openat2 cannot know
 * that: the folder's own name is taken off and the rest tried once. */
static int follow_absolute(int root, const char *path, int flags)
{
    char target[TC_PATH_MAX + 1];
    static const char own[] = TC_BUILD_FOLDER "/";
    TC_AUTO_CLOSE int link = open_beneath(root, path, O_PATH | O_NOFOLLOW);
    ssize_t size = link < 0 ? -1 : readlinkat(link, "", target, sizeof target - 1);
    if (size <= 0) {
        errno = EXDEV;
        return -1;
    }
    target[size] = '\0';
    if (strncmp(target, own, sizeof own - 1) != 0) {
        errno = EXDEV;
        return -1;
    }
    return open_beneath(root, target + sizeof own - 1, flags);
}

static int open_following(int root, const char *path, int flags)
{
    int fd = open_beneath(root, path, flags);
    return fd < 0 && errno == EXDEV ? follow_absolute(root, path, flags) : fd;
}

tc_status tc_open_output(int root_fd, const char *path, int *ret_fd, struct tc_error *err)
{
    struct stat info;
    /* Non-blocking: what was a file may be a FIFO, whose open would wait. */
    TC_AUTO_CLOSE int fd = open_following(root_fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) return refuse_errno(path, err);
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        return refuse(path, "is no regular file", err);
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}

static tc_status add(struct search *search, const char *path, struct tc_error *err)
{
    struct tc_found *found = search->found;
    search->matches++;
    if (!tc_output_name_is_good(tc_span_of_text(path)))
        return refuse(path, "has a name that is not UTF-8, too long, or holds control characters",
                      err);
    if (found->count >= TC_SUBJECTS_MAX)
        return tc_fail(err, TC_LIMIT,
                       "output.files match more than %d files: pack them into an archive in input.cmd",
                       TC_SUBJECTS_MAX);
    if (found->count == found->room) {
        size_t room = found->room ? 2 * found->room : 64;
        char **grown = reallocarray(found->paths, room, sizeof *grown);
        if (!grown) return tc_fail(err, TC_SYSTEM, "out of memory");
        found->paths = grown;
        found->room = room;
    }
    found->paths[found->count] = strdup(path);
    if (!found->paths[found->count]) return tc_fail(err, TC_SYSTEM, "out of memory");
    found->count++;
    return TC_OK;
}

static char *join(const char *folder, const char *name)
{
    char *path;
    if (asprintf(&path, "%s%s%s", folder, *folder ? "/" : "", name) < 0) return NULL;
    return path;
}

/* Calls back for each name of a folder, in no order. */
static tc_status each_name(struct search *search, const char *folder,
                           tc_status (*call)(struct search *search, const char *folder,
                                             const char *name, const void *extra,
                                             struct tc_error *err),
                           const void *extra, struct tc_error *err)
{
    int fd = open_following(search->root, *folder ? folder : ".", O_RDONLY | O_DIRECTORY);
    DIR *listing = fd < 0 ? NULL : fdopendir(fd);
    if (!listing) {
        tc_status status = refuse_errno(folder, err);
        tc_close_ptr(&fd);
        return status;
    }
    tc_status status = TC_OK;
    const struct dirent *entry;
    while (status == TC_OK && (entry = readdir(listing)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            status = call(search, folder, entry->d_name, extra, err);
    (void)closedir(listing);
    return status;
}

static tc_status take(struct search *search, const char *path, struct tc_error *err);

static tc_status take_name(struct search *search, const char *folder, const char *name,
                           const void *extra, struct tc_error *err)
{
    (void)extra;
    TC_AUTO_FREE char *path = join(folder, name);
    if (!path) return tc_fail(err, TC_SYSTEM, "out of memory");
    /* Ends recursion too: a safe path has a bounded depth. */
    if (!tc_path_is_safe(tc_span_of_text(path)))
        return refuse(path, "lies too deep or has too long a path", err);
    return take(search, path, err);
}

/* What a link names has to be a file inside: folders would have to be walked
 * under a second name, and could form circles. */
static tc_status take_symlink(struct search *search, const char *path, struct tc_error *err)
{
    struct stat info;
    TC_AUTO_CLOSE int fd = open_following(search->root, path, O_PATH);
    if (fd < 0 || fstat(fd, &info) != 0) return refuse_errno(path, err);
    if (S_ISDIR(info.st_mode))
        return refuse(path, "is a symlink to a folder: name the folder itself", err);
    if (!S_ISREG(info.st_mode)) return refuse(path, "is a symlink to something that is no file", err);
    return add(search, path, err);
}

/* One path that a pattern names, or that lies in a folder which one names. */
static tc_status take(struct search *search, const char *path, struct tc_error *err)
{
    struct stat info;
    TC_AUTO_CLOSE int fd = open_beneath(search->root, path, O_PATH | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &info) != 0) return refuse_errno(path, err);
    if (S_ISREG(info.st_mode)) return add(search, path, err);
    if (S_ISLNK(info.st_mode)) return take_symlink(search, path, err);
    if (S_ISDIR(info.st_mode)) return each_name(search, path, take_name, NULL, err);
    return refuse(path, "is a device, FIFO or socket", err);
}

static tc_status expand(struct search *search, const char *folder, const char *rest,
                        struct tc_error *err);

struct level {
    const char *name; /* the pattern of this level */
    const char *rest; /* what follows it, or NULL */
};

static tc_status expand_name(struct search *search, const char *folder, const char *name,
                             const void *extra, struct tc_error *err)
{
    const struct level *level = extra;
    if (!tc_outmatch_name(level->name, name)) return TC_OK;
    TC_AUTO_FREE char *path = join(folder, name);
    if (!path) return tc_fail(err, TC_SYSTEM, "out of memory");
    if (!level->rest) return take(search, path, err);
    struct stat info;
    TC_AUTO_CLOSE int fd = open_following(search->root, path, O_PATH);
    if (fd < 0 || fstat(fd, &info) != 0 || !S_ISDIR(info.st_mode)) return TC_OK;
    return expand(search, path, level->rest, err);
}

/* rest: the pattern below folder. A pattern has at most TC_PATH_DEPTH_MAX names. */
static tc_status expand(struct search *search, const char *folder, const char *rest,
                        struct tc_error *err)
{
    const char *slash = strchr(rest, '/');
    TC_AUTO_FREE char *name = slash ? strndup(rest, (size_t)(slash - rest)) : strdup(rest);
    if (!name) return tc_fail(err, TC_SYSTEM, "out of memory");
    if (!tc_outmatch_is_plain(name)) {
        struct level level = {name, slash ? slash + 1 : NULL};
        return each_name(search, folder, expand_name, &level, err);
    }
    TC_AUTO_FREE char *path = join(folder, name);
    if (!path) return tc_fail(err, TC_SYSTEM, "out of memory");
    struct stat info;
    TC_AUTO_CLOSE int fd = open_beneath(search->root, path, O_PATH | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &info) != 0) return errno == ENOENT ? TC_OK : refuse_errno(path, err);
    return slash ? expand(search, path, slash + 1, err) : take(search, path, err);
}

tc_status tc_find_outputs(int root_fd, const char *pattern, struct tc_found *found,
                          struct tc_error *err)
{
    struct search search = {.root = root_fd, .pattern = pattern, .found = found};
    char shown[512];
    TC_TRY(tc_outmatch_check(pattern, err));
    TC_TRY(expand(&search, "", pattern, err));
    if (search.matches == 0)
        return tc_fail(err, TC_REFUSED,
                       "output.files names \"%s\", but the build left no file that matches (empty "
                       "folders are no outputs)",
                       tc_printable(tc_span_of_text(pattern), shown, sizeof shown));
    return TC_OK;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void tc_found_sort(struct tc_found *found)
{
    if (found->count == 0) return;
    qsort(found->paths, found->count, sizeof *found->paths, by_text);
    size_t kept = 1;
    for (size_t i = 1; i < found->count; i++) {
        if (strcmp(found->paths[i], found->paths[kept - 1]) == 0)
            free(found->paths[i]);
        else
            found->paths[kept++] = found->paths[i];
    }
    found->count = kept;
}
