#include "cmd/extract.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/entry.h"

struct tc_extract {
    char *target;       /* as the user gave it, without slashes at its end */
    const char *name;   /* the last name in target */
    int parent;         /* the folder that target is in */
    char temporary[48]; /* in parent; "" before there is one */
    bool named;         /* it has its name */
    bool replaced;      /* with it an empty folder, of this mode */
    mode_t mode;
    int root; /* the temporary folder */
    int file; /* of the output at hand; -1 between outputs */
    size_t files;
};

enum { FOLDER_FLAGS = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

/* Removes what lies at name in folder; errors leave it there, which is all that
 * can be done about them. Depth is bounded by TC_PATH_DEPTH_MAX. */
static void remove_tree(int folder, const char *name)
{
    int fd = openat(folder, name, FOLDER_FLAGS);
    DIR *entries = fd >= 0 ? fdopendir(fd) : NULL;
    if (entries) {
        struct dirent *entry;
        while ((entry = readdir(entries)) != NULL) {
            if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
            if (unlinkat(fd, entry->d_name, 0) != 0) remove_tree(fd, entry->d_name);
        }
        (void)closedir(entries);
    } else if (fd >= 0) {
        (void)close(fd);
    }
    (void)unlinkat(folder, name, AT_REMOVEDIR);
}

static tc_status check_target(const struct tc_extract *extract, struct tc_error *err)
{
    int fd = openat(extract->parent, extract->name, FOLDER_FLAGS);
    if (fd < 0 && errno == ENOENT) return TC_OK;
    if (fd < 0)
        return tc_fail_errno(err, TC_USAGE, errno,
                             "%s exists and is not an empty folder; name one that does not exist",
                             extract->target);
    DIR *entries = fdopendir(fd);
    if (!entries) {
        (void)close(fd);
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot look into %s", extract->target);
    }
    bool empty = true;
    struct dirent *entry;
    while (empty && (entry = readdir(entries)) != NULL)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    (void)closedir(entries);
    if (empty) return TC_OK;
    return tc_fail(err, TC_USAGE, "%s is not empty; name a folder that does not exist",
                   extract->target);
}

static tc_status open_parent(struct tc_extract *extract, struct tc_error *err)
{
    size_t size = strlen(extract->target);
    while (size > 1 && extract->target[size - 1] == '/')
        extract->target[--size] = '\0';
    char *slash = strrchr(extract->target, '/');
    extract->name = slash ? slash + 1 : extract->target;
    if (!*extract->name || strcmp(extract->name, ".") == 0 || strcmp(extract->name, "..") == 0)
        return tc_fail(err, TC_USAGE, "\"%s\" does not name a folder that can be made",
                       extract->target);
    TC_AUTO_FREE char *parent =
        slash ? strndup(extract->target, (size_t)(slash - extract->target) + 1) : strdup(".");
    if (!parent) return tc_fail(err, TC_SYSTEM, "out of memory for a path");
    extract->parent = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (extract->parent < 0)
        return tc_fail_errno(err, TC_USAGE, errno, "cannot open the folder %s", parent);
    return TC_OK;
}

static tc_status make_temporary(struct tc_extract *extract, struct tc_error *err)
{
    uint8_t random[8];
    char hex[2 * sizeof random + 1];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot get random bytes");
    tc_hex((struct tc_span){random, sizeof random}, hex);
    char name[sizeof extract->temporary];
    (void)snprintf(name, sizeof name, ".tee-compile-%s", hex);
    if (mkdirat(extract->parent, name, 0700) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make a folder beside %s",
                             extract->target);
    memcpy(extract->temporary, name, sizeof name);
    extract->root = openat(extract->parent, name, FOLDER_FLAGS);
    if (extract->root < 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot open the folder beside %s",
                             extract->target);
    return TC_OK;
}

tc_status tc_extract_open(const char *folder, struct tc_extract **ret_extract, struct tc_error *err)
{
    struct tc_extract *extract = calloc(1, sizeof *extract);
    if (!extract) return tc_fail(err, TC_SYSTEM, "out of memory for the extraction");
    extract->parent = extract->root = extract->file = -1;
    extract->target = strdup(folder);
    tc_status status =
        extract->target ? TC_OK : tc_fail(err, TC_SYSTEM, "out of memory for a path");
    if (status == TC_OK) status = open_parent(extract, err);
    if (status == TC_OK) status = check_target(extract, err);
    if (status == TC_OK && faccessat(extract->parent, ".", W_OK | X_OK, AT_EACCESS) != 0)
        status = tc_fail_errno(err, TC_USAGE, errno, "cannot write %s: the folder it would be in",
                               folder);
    if (status != TC_OK) {
        tc_extract_free(extract);
        return status;
    }
    *ret_extract = extract;
    return TC_OK;
}

static tc_status failed_at(const char *path, const char *what, struct tc_error *err)
{
    int errnum = errno;
    char shown[256];
    return tc_fail_errno(err, TC_SYSTEM, errnum, "cannot %s the output %s", what,
                         tc_printable(tc_span_of_text(path), shown, sizeof shown));
}

tc_status tc_extract_begin(void *context, const char *path, bool executable, struct tc_error *err)
{
    struct tc_extract *extract = context;
    /* The statement's reader has checked it; this function does not rely on it. */
    if (!tc_path_is_safe(tc_span_of_text(path)))
        return tc_fail(err, TC_REFUSED, "an output's path leaves the folder");
    if (extract->root < 0) TC_TRY(make_temporary(extract, err));
    TC_AUTO_CLOSE int folder = fcntl(extract->root, F_DUPFD_CLOEXEC, 0);
    if (folder < 0) return failed_at(path, "create", err);
    const char *slash;
    const char *rest = path;
    for (; (slash = strchr(rest, '/')) != NULL; rest = slash + 1) {
        char name[TC_NAME_MAX + 1];
        memcpy(name, rest, (size_t)(slash - rest));
        name[slash - rest] = '\0';
        if (mkdirat(folder, name, 0755) != 0 && errno != EEXIST)
            return failed_at(path, "create", err);
        int next = openat(folder, name, FOLDER_FLAGS);
        if (next < 0) return failed_at(path, "create", err);
        (void)close(folder);
        folder = next;
    }
    extract->file = openat(folder, rest, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                           executable ? 0755 : 0644);
    if (extract->file < 0) return failed_at(path, "create", err);
    extract->files++;
    return TC_OK;
}

tc_status tc_extract_data(void *context, struct tc_span bytes, struct tc_error *err)
{
    struct tc_extract *extract = context;
    while (bytes.size > 0) {
        ssize_t written = write(extract->file, bytes.data, bytes.size);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot write an output below %s",
                                 extract->target);
        bytes.data += written;
        bytes.size -= (size_t)written;
    }
    return TC_OK;
}

tc_status tc_extract_end(void *context, struct tc_error *err)
{
    struct tc_extract *extract = context;
    /* close reports what a network file system could not write. */
    if (close(TC_TAKE_FD(extract->file)) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot write an output below %s",
                             extract->target);
    return TC_OK;
}

tc_status tc_extract_commit(struct tc_extract *extract, struct tc_error *err)
{
    if (extract->files == 0)
        return tc_fail(err, TC_UNAVAILABLE, "the bundle is detached: it has no outputs to extract");
    if (fchmod(extract->root, 0755) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot open %s for reading", extract->target);
    struct stat info;
    extract->replaced = fstatat(extract->parent, extract->name, &info, AT_SYMLINK_NOFOLLOW) == 0;
    extract->mode = extract->replaced ? info.st_mode & 07777 : 0;
    /* Replaces nothing but an empty folder: the kernel refuses all else. */
    if (renameat(extract->parent, extract->temporary, extract->parent, extract->name) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot give the outputs the name %s",
                             extract->target);
    extract->named = true;
    return TC_OK;
}

void tc_extract_revoke(struct tc_extract *extract)
{
    if (!extract->named ||
        renameat(extract->parent, extract->name, extract->parent, extract->temporary) != 0)
        return;
    extract->named = false;
    if (extract->replaced && mkdirat(extract->parent, extract->name, 0700) == 0)
        (void)!fchmodat(extract->parent, extract->name, extract->mode, 0);
}

void tc_extract_free(struct tc_extract *extract)
{
    if (!extract) return;
    tc_close_ptr(&extract->file);
    tc_close_ptr(&extract->root);
    if (extract->temporary[0] && !extract->named) remove_tree(extract->parent, extract->temporary);
    tc_close_ptr(&extract->parent);
    free(extract->target);
    free(extract);
}
