#include "host/staging.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "host/room.h"
#include "os/files.h"
#include "os/readfile.h"

enum { FILES_MAX = 4096, DEPTH_MAX = 16, FILE_MAX = 16 << 20, SHOWN = 300 };

void tc_staging_free(struct tc_staging *staging)
{
    for (size_t i = 0; i < staging->count; i++)
        free(staging->files[i].path);
    free(TC_TAKE(staging->files));
    staging->count = 0;
}

tc_status tc_staging_add(struct tc_staging *staging, const char *name,
                         const struct tc_sha256 *digest, struct tc_error *err)
{
    struct tc_span span = tc_span_of_text(name);
    char shown[SHOWN];
    /* One line a file, whatever it is called. */
    if (!tc_is_printable(span) || strchr(name, '\\'))
        return tc_fail(err, TC_USAGE, "a recipe cannot have a file of the name %s: rename it",
                       tc_printable(span, shown, sizeof shown));
    if (staging->count == FILES_MAX)
        return tc_fail(err, TC_LIMIT, "a recipe has more than %d files", FILES_MAX);
    struct tc_staged *files =
        reallocarray(staging->files, staging->count + 1, sizeof *staging->files);
    if (!files) return tc_fail(err, TC_SYSTEM, "out of memory");
    staging->files = files;
    files += staging->count;
    *files = (struct tc_staged){strdup(name), *digest};
    if (!files->path) return tc_fail(err, TC_SYSTEM, "out of memory");
    staging->count++;
    return TC_OK;
}

static tc_status set_time(int fd, const char *path, struct tc_error *err)
{
    static const struct timespec times[2] = {{.tv_sec = TC_ROOM_EPOCH}, {.tv_sec = TC_ROOM_EPOCH}};
    if (futimens(fd, times) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot set the time of %s", path);
    return TC_OK;
}

/* What is hashed is what is written, not what a second look would find. */
static tc_status copy_file(struct tc_staging *staging, const char *from, const char *to,
                           const char *name, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf content = tc_buf_new(FILE_MAX);
    struct tc_sha256 digest;
    TC_TRY(tc_readfile_at(AT_FDCWD, from, false, from, &content, err));
    TC_TRY(tc_sha256_of(tc_buf_span(&content), &digest, err));
    bool script = content.size >= 2 && memcmp(content.data, "#!", 2) == 0;
    TC_AUTO_CLOSE int fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot write %s", to);
    TC_TRY(tc_write_all(fd, tc_buf_span(&content), to, err));
    if (fchmod(fd, script ? 0755 : 0644) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot set the mode of %s", to);
    TC_TRY(set_time(fd, to, err));
    return tc_staging_add(staging, name, &digest, err);
}

static tc_status copy_any(struct tc_staging *staging, const char *from, const char *to,
                          const char *name, unsigned depth, struct tc_error *err);

static tc_status copy_entry(struct tc_staging *staging, const char *from, const char *to,
                            const char *name, const char *entry, unsigned depth,
                            struct tc_error *err)
{
    TC_AUTO_FREE char *sub_from = NULL, *sub_to = NULL, *sub_name = NULL;
    if (asprintf(&sub_from, "%s/%s", from, entry) < 0 ||
        asprintf(&sub_to, "%s/%s", to, entry) < 0 || asprintf(&sub_name, "%s/%s", name, entry) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    return copy_any(staging, sub_from, sub_to, sub_name, depth + 1, err);
}

static bool is_left_out(const char *name)
{
    static const char text[] = ".md";
    size_t size = strlen(name);
    return *name == '.' ||
           (size >= sizeof text && strcmp(name + size - (sizeof text - 1), text) == 0);
}

static tc_status copy_folder(struct tc_staging *staging, const char *from, const char *to,
                             const char *name, unsigned depth, struct tc_error *err)
{
    size_t before = staging->count;
    if (depth == DEPTH_MAX)
        return tc_fail(err, TC_LIMIT, "%s has more than %d folders inside one another", from,
                       DEPTH_MAX);
    if (mkdir(to, 0755) != 0 || chmod(to, 0755) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make %s", to);
    DIR *folder = opendir(from);
    if (!folder)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot read the folder %s", from);
    tc_status status = TC_OK;
    for (const struct dirent *entry; status == TC_OK && (entry = readdir(folder));)
        if (!is_left_out(entry->d_name))
            status = copy_entry(staging, from, to, name, entry->d_name, depth, err);
    (void)closedir(folder);
    TC_TRY(status);
    if (staging->count == before && depth > 0)
        return rmdir(to) == 0 ? TC_OK
                              : tc_fail_errno(err, TC_SYSTEM, errno, "cannot remove %s", to);
    TC_AUTO_CLOSE int fd = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return set_time(fd, to, err);
}

static tc_status copy_any(struct tc_staging *staging, const char *from, const char *to,
                          const char *name, unsigned depth, struct tc_error *err)
{
    struct stat info;
    if (lstat(from, &info) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot read %s", from);
    if (S_ISREG(info.st_mode)) return copy_file(staging, from, to, name, err);
    if (S_ISDIR(info.st_mode)) return copy_folder(staging, from, to, name, depth, err);
    return tc_fail(err, TC_USAGE, "%s is neither a file nor a folder: a recipe has nothing else",
                   from);
}

tc_status tc_staging_copy(struct tc_staging *staging, const char *from, const char *to,
                          const char *name, struct tc_error *err)
{
    return copy_any(staging, from, to, name, 0, err);
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct tc_staged *)a)->path, ((const struct tc_staged *)b)->path);
}

static bool is_at_or_below(const char *path, const char *folder)
{
    size_t size = strlen(folder);
    return strncmp(path, folder, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

static bool is_wanted(const char *path, const char *const *paths)
{
    if (!paths) return true;
    for (; *paths; paths++)
        if (is_at_or_below(path, *paths)) return true;
    return false;
}

static tc_status check_paths(const struct tc_staging *staging, const char *const *paths,
                             struct tc_error *err)
{
    for (; paths && *paths; paths++) {
        size_t i = 0;
        while (i < staging->count && !is_at_or_below(staging->files[i].path, *paths))
            i++;
        if (i == staging->count) return tc_fail(err, TC_USAGE, "%s is missing", *paths);
    }
    return TC_OK;
}

/* The folders on the way to to/name. */
static tc_status make_way(const char *to, const char *name, struct tc_error *err)
{
    TC_AUTO_FREE char *path = NULL;
    if (asprintf(&path, "%s/%s", to, name) < 0) return tc_fail(err, TC_SYSTEM, "out of memory");
    for (char *slash = path + strlen(to) + 1; (slash = strchr(slash, '/')); *slash++ = '/') {
        *slash = '\0';
        if ((mkdir(path, 0755) != 0 && errno != EEXIST) || chmod(path, 0755) != 0)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make %s", path);
    }
    return TC_OK;
}

tc_status tc_staging_select(struct tc_staging *staging, const char *from, const char *to,
                            const char *const *paths, struct tc_error *err)
{
    TC_AUTO_STAGING struct tc_staging copies = {0};
    TC_TRY(check_paths(staging, paths, err));
    for (size_t i = 0; i < staging->count; i++) {
        TC_AUTO_FREE char *file = NULL, *copy = NULL;
        const char *name = staging->files[i].path;
        if (!is_wanted(name, paths)) continue;
        if (asprintf(&file, "%s/%s", from, name) < 0 || asprintf(&copy, "%s/%s", to, name) < 0)
            return tc_fail(err, TC_SYSTEM, "out of memory");
        TC_TRY(make_way(to, name, err));
        TC_TRY(copy_file(&copies, file, copy, name, err));
        if (memcmp(copies.files[copies.count - 1].digest.bytes, staging->files[i].digest.bytes,
                   TC_SHA256_SIZE) != 0)
            return tc_fail(err, TC_SYSTEM, "%s has changed since it was copied", file);
    }
    return TC_OK;
}

tc_status tc_staging_digest(struct tc_staging *staging, const char *const *paths,
                            struct tc_sha256 *ret_digest, struct tc_error *err)
{
    struct tc_hash *hash TC_AUTO_HASH = tc_hash_new(TC_HASH_SHA256);
    char hex[TC_SHA256_HEX];
    if (!hash) return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_TRY(check_paths(staging, paths, err));
    if (staging->count > 0) qsort(staging->files, staging->count, sizeof *staging->files, by_path);
    for (size_t i = 0; i < staging->count; i++) {
        const struct tc_staged *file = &staging->files[i];
        if (!is_wanted(file->path, paths)) continue;
        tc_hex((struct tc_span){file->digest.bytes, sizeof file->digest.bytes}, hex);
        tc_hash_add(hash, hex, sizeof hex - 1);
        tc_hash_add(hash, "  ", 2);
        tc_hash_add(hash, file->path, strlen(file->path));
        tc_hash_add(hash, "\n", 1);
    }
    return tc_hash_finish(hash, ret_digest->bytes, sizeof ret_digest->bytes, err);
}
