/* A cache entry is named by what its bytes must be, so it never goes stale and any
 * lock may share it; one that is damaged is thrown away and fetched again. A mirror
 * that answers with other bytes is passed over like one that has none: the next place
 * may have the right ones, and no wrong ones get into the cache.
 *
 * A snapshot archive takes in a state of Debian some hours after the mirrors have it:
 * what was locked from a mirror at a moment may be in the archive only from a later
 * moment on. So it is asked twice, for the moment of locking and a day after. */
#include "host/packages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "host/fetch.h"
#include "os/files.h"
#include "os/tempfile.h"

enum { CHUNK = 1 << 16, REASONS_MAX = 700, DAY = 86400, PLACES_MAX = 3 };

static tc_status no_memory(struct tc_error *err)
{
    return tc_fail(err, TC_SYSTEM, "out of memory");
}

/* --- the cache's folder */

static tc_status make_folders(char *path, struct tc_error *err)
{
    for (char *slash = strchr(path + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash) *slash = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST) {
            char shown[400];
            return tc_fail_errno(
                err, TC_UNAVAILABLE, errno,
                "cannot make the folder %s; set XDG_CACHE_HOME to a place that can "
                "be written",
                tc_printable(tc_span_of_text(path), shown, sizeof shown));
        }
        if (!slash) return TC_OK;
        *slash = '/';
    }
}

tc_status tc_cache_folder(const char *name, char **ret_path, struct tc_error *err)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    TC_AUTO_FREE char *path = NULL;
    int size;
    /* The XDG rule: a path that is not absolute counts as not set. */
    if (cache && cache[0] == '/')
        size = asprintf(&path, "%s/tee-compile/%s", cache, name);
    else if (home && home[0] == '/')
        size = asprintf(&path, "%s/.cache/tee-compile/%s", home, name);
    else
        return tc_fail(err, TC_UNAVAILABLE,
                       "no place for the cache: set HOME or XDG_CACHE_HOME to an absolute path");
    if (size < 0) {
        path = NULL;
        return no_memory(err);
    }
    TC_TRY(make_folders(path, err));
    *ret_path = TC_TAKE(path);
    return TC_OK;
}

/* --- entries */

static tc_status entry_path(const char *folder, const struct tc_lock_package *package,
                            char **ret_path, struct tc_error *err)
{
    char hex[TC_SHA256_HEX], *path;
    tc_hex((struct tc_span){package->digest.bytes, sizeof package->digest.bytes}, hex);
    if (asprintf(&path, "%s/%s.deb", folder, hex) < 0) return no_memory(err);
    *ret_path = path;
    return TC_OK;
}

/* Hashes fd from where it is; copies what it hashes into out_fd unless that is -1. */
static tc_status hash_file(int fd, int out_fd, struct tc_sha256 *ret_digest, struct tc_error *err)
{
    TC_AUTO_HASH struct tc_hash *hash = tc_hash_new(TC_HASH_SHA256);
    uint8_t chunk[CHUNK];
    if (!hash) return no_memory(err);
    for (;;) {
        ssize_t size = read(fd, chunk, sizeof chunk);
        if (size < 0 && errno == EINTR) continue;
        if (size < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read a cached package");
        if (size == 0) break;
        tc_hash_add(hash, chunk, (size_t)size);
        if (out_fd < 0) continue;
        TC_TRY(tc_write_all(out_fd, (struct tc_span){chunk, (size_t)size}, "a package", err));
    }
    return tc_hash_finish(hash, ret_digest->bytes, sizeof ret_digest->bytes, err);
}

/* *ret_fd is -1 when the cache has no good copy; else its offset is at the start. */
static tc_status open_entry(const char *path, const struct tc_lock_package *package, int *ret_fd,
                            struct tc_error *err)
{
    struct stat info;
    struct tc_sha256 digest;
    *ret_fd = -1;
    TC_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 && errno != ENOENT && errno != ELOOP)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open the cached %s", path);
    if (fd < 0) return TC_OK;
    if (fstat(fd, &info) != 0) return tc_fail_errno(err, TC_SYSTEM, errno, "%s", path);
    if (!S_ISREG(info.st_mode) || (uint64_t)info.st_size != package->size) return TC_OK;
    TC_TRY(hash_file(fd, -1, &digest, err));
    if (memcmp(digest.bytes, package->digest.bytes, sizeof digest.bytes) != 0) return TC_OK;
    if (lseek(fd, 0, SEEK_SET) != 0) return tc_fail_errno(err, TC_SYSTEM, errno, "%s", path);
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}

/* --- fetching */

struct work {
    const struct tc_packages *packages;
    const struct tc_lock *lock;
    const struct tc_lock_package *package;
    uint64_t done, total;
};

static tc_status on_fetch(void *context, uint64_t done, uint64_t total, struct tc_error *err)
{
    const struct work *work = context;
    (void)total;
    if (!work->packages->on_progress) return TC_OK;
    return work->packages->on_progress(work->packages->context, work->package, work->done + done,
                                       work->total, err);
}

/* "+" is escaped, as apt does: some servers take it for a space. "~" needs none. */
static char *url_of(const char *base, const char *path)
{
    TC_AUTO_BUF struct tc_buf url = tc_buf_new(4096);
    tc_buf_add_format(&url, "%s/", base);
    for (; *path; path++)
        if (*path == '+')
            tc_buf_add_text(&url, "%2B");
        else
            tc_buf_add_u8(&url, (uint8_t)*path);
    return tc_buf_take_text(&url);
}

static char *snapshot_url(const struct work *work, int64_t when)
{
    char moment[TC_SNAPSHOT_TEXT_SIZE];
    TC_AUTO_FREE char *base = NULL;
    tc_snapshot_text(when, moment);
    if (asprintf(&base, "%s/%s/%s", work->packages->mirrors->snapshot,
                 tc_archive_name(work->package->archive), moment) < 0)
        base = NULL;
    return base ? url_of(base, work->package->path) : NULL;
}

/* From one place into the cache. */
static tc_status fetch_from(struct work *work, const char *url, const char *path,
                            struct tc_error *err)
{
    TC_AUTO_TEMPFILE struct tc_tempfile file = TC_TEMPFILE_NONE;
    const struct tc_lock_package *package = work->package;
    struct tc_fetch fetch = {.url = url,
                             .max_size = package->size,
                             .allow_http = true,
                             .expected = &package->digest,
                             .context = work,
                             .on_progress = on_fetch};
    uint64_t size;
    TC_TRY(tc_tempfile_open(path, &file, err));
    TC_TRY(tc_fetch_to(&fetch, file.fd, NULL, &size, err));
    if (size != package->size)
        return tc_fail(err, TC_REFUSED, "%s: expected %llu bytes, seen %llu", package->name,
                       (unsigned long long)package->size, (unsigned long long)size);
    return tc_tempfile_commit(&file, err);
}

/* Is it this machine's or the user's doing, and not that place's? */
static bool ends_the_search(tc_status status)
{
    return status == TC_SYSTEM || status == TC_INTERRUPTED;
}

static size_t places_of(const struct work *work, char *places[PLACES_MAX])
{
    const struct tc_mirrors *mirrors = work->packages->mirrors;
    const struct tc_lock_package *package = work->package;
    size_t count = 0;
    if (mirrors->archive[package->archive])
        places[count++] = url_of(mirrors->archive[package->archive], package->path);
    if (mirrors->snapshot) {
        places[count++] = snapshot_url(work, work->lock->snapshot);
        places[count++] = snapshot_url(work, work->lock->snapshot + DAY);
    }
    return count;
}

static tc_status nowhere(const struct work *work, const struct tc_buf *reasons,
                         struct tc_error *err)
{
    const struct tc_mirrors *mirrors = work->packages->mirrors;
    const struct tc_lock_package *package = work->package;
    return tc_fail(err, TC_UNAVAILABLE,
                   "the locked package %s %s is nowhere to be had: not in the cache%.*s%s%s; lock "
                   "the recipe anew (tee-compile image lock), or give a copy by --mirror or "
                   "--snapshot",
                   package->name, package->version, (int)reasons->size,
                   reasons->size > 0 ? (const char *)reasons->data : "",
                   mirrors->archive[package->archive] ? "" : "; no mirror is known",
                   mirrors->snapshot ? "" : "; no snapshot archive is named");
}

static tc_status try_places(struct work *work, const char *path, char *const *places, size_t count,
                            struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf reasons = tc_buf_new(REASONS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (!places[i]) return no_memory(err);
        tc_status status = fetch_from(work, places[i], path, err);
        if (status == TC_OK || ends_the_search(status)) return status;
        /* Cut where there is no room for all: the first place matters most. */
        size_t room = (REASONS_MAX - reasons.size) / (count - i);
        tc_buf_add_format(&reasons, "; %.*s", room > 2 ? (int)room - 2 : 0, err->message);
    }
    return nowhere(work, &reasons, err);
}

static tc_status fetch_one(struct work *work, const char *path, struct tc_error *err)
{
    char *places[PLACES_MAX] = {NULL};
    size_t count = places_of(work, places);
    tc_status status = on_fetch(work, 0, 0, err);
    if (status == TC_OK) status = try_places(work, path, places, count, err);
    for (size_t i = 0; i < count; i++)
        free(places[i]);
    return status;
}

/* Which are missing, and how many bytes these are; missing holds one flag a package. */
static tc_status find_missing(struct work *work, bool *missing, struct tc_error *err)
{
    for (size_t i = 0; i < work->lock->packages_count; i++) {
        const struct tc_lock_package *package = &work->lock->packages[i];
        TC_AUTO_FREE char *path = NULL;
        TC_AUTO_CLOSE int fd = -1;
        TC_TRY(entry_path(work->packages->cache, package, &path, err));
        TC_TRY(open_entry(path, package, &fd, err));
        missing[i] = fd < 0;
        if (!missing[i]) continue;
        /* A damaged entry, or a symlink in its place: it is in the way. */
        if (unlink(path) != 0 && errno != ENOENT)
            return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot take away the damaged %s",
                                 path);
        work->total += package->size;
    }
    return TC_OK;
}

tc_status tc_packages_fetch(const struct tc_packages *packages, const struct tc_lock *lock,
                            struct tc_error *err)
{
    struct work work = {.packages = packages, .lock = lock};
    TC_AUTO_FREE bool *missing = calloc(lock->packages_count + 1, sizeof *missing);
    if (!missing) return no_memory(err);
    TC_TRY(find_missing(&work, missing, err));
    for (size_t i = 0; i < lock->packages_count; i++) {
        TC_AUTO_FREE char *path = NULL;
        if (!missing[i]) continue;
        work.package = &lock->packages[i];
        TC_TRY(entry_path(packages->cache, work.package, &path, err));
        TC_TRY(fetch_one(&work, path, err));
        work.done += work.package->size;
    }
    return TC_OK;
}

/* --- placing */

static tc_status copy_entry(int fd, const struct tc_lock_package *package, const char *target,
                            struct tc_error *err)
{
    TC_AUTO_TEMPFILE struct tc_tempfile file = TC_TEMPFILE_NONE;
    struct tc_sha256 digest;
    TC_TRY(tc_tempfile_open(target, &file, err));
    TC_TRY(hash_file(fd, file.fd, &digest, err));
    if (memcmp(digest.bytes, package->digest.bytes, sizeof digest.bytes) != 0)
        return tc_fail(err, TC_REFUSED, "the cached package %s was changed while it was read",
                       package->name);
    return tc_tempfile_commit(&file, err);
}

static tc_status place_one(const char *cache, const struct tc_lock_package *package,
                           const char *folder, struct tc_error *err)
{
    TC_AUTO_FREE char *path = NULL, *target = NULL;
    TC_AUTO_CLOSE int fd = -1;
    char proc[64];
    TC_TRY(entry_path(cache, package, &path, err));
    TC_TRY(entry_path(folder, package, &target, err));
    TC_TRY(open_entry(path, package, &fd, err));
    if (fd < 0)
        return tc_fail(err, TC_UNAVAILABLE, "the package %s %s is not in the cache %s",
                       package->name, package->version, cache);
    /* The descriptor that was checked, not the name. */
    (void)snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
    if (linkat(AT_FDCWD, proc, AT_FDCWD, target, AT_SYMLINK_FOLLOW) == 0) return TC_OK;
    if (errno == EEXIST)
        return tc_fail(err, TC_USAGE, "%s is there already: expected an empty folder", target);
    return copy_entry(fd, package, target, err);
}

tc_status tc_packages_place(const struct tc_packages *packages, const struct tc_lock *lock,
                            const char *folder, struct tc_error *err)
{
    for (size_t i = 0; i < lock->packages_count; i++)
        TC_TRY(place_one(packages->cache, &lock->packages[i], folder, err));
    return TC_OK;
}
