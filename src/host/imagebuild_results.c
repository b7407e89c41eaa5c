/* What rooms have made gets out of them here, and into the cache and out of it.
 *
 * A work folder is its room's to fill: links, FIFOs and files of any size may lie where
 * a result is expected. So a result is opened beneath that folder and copied, never
 * renamed: who has kept another name for it, in the room, does not write to the copy.
 *
 * A file of the cache has its SHA-256 beside it, as sha256sum writes it, and counts as
 * not there when it is another's. That tells damage and half a file; it is no defence
 * against who can write to the cache. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "host/imagebuild_internal.h"
#include "os/beneath.h"
#include "os/files.h"
#include "os/readfile.h"
#include "os/tempfile.h"

tc_status tc_making_open(const char *folder, const char *name, int *ret_fd, uint64_t *ret_size,
                         struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = -1;
    uint64_t size = 0;
    struct tc_error why = {0};
    if (tc_open_beneath(folder, name, &fd, &size, &why) != TC_OK)
        return tc_fail(err, TC_BUILD, "the builder has not made %s as a regular file: %s", name,
                       why.message);
    if (size == 0) return tc_fail(err, TC_BUILD, "the builder has made an empty file of %s", name);
    *ret_size = size;
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}

/* To its end, not to a size that was right once; to_fd may be -1. */
static tc_status copy_and_hash(const struct tc_making *making, int fd, const char *name,
                               uint64_t max, int to_fd, struct tc_sha256 *ret_digest,
                               struct tc_error *err)
{
    enum { PIECE = 1 << 18 };
    struct tc_hash *hash TC_AUTO_HASH = tc_hash_new(TC_HASH_SHA256);
    TC_AUTO_FREE uint8_t *piece = malloc(PIECE);
    if (!hash || !piece) return tc_fail(err, TC_SYSTEM, "out of memory");
    for (uint64_t size = 0;;) {
        ssize_t got = read(fd, piece, PIECE);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read %s", name);
        if (got == 0) return tc_hash_finish(hash, ret_digest->bytes, TC_SHA256_SIZE, err);
        size += (uint64_t)got;
        if (size > max)
            return tc_fail(err, TC_BUILD, "the builder has made %s larger than %llu bytes", name,
                           (unsigned long long)max);
        tc_hash_add(hash, piece, (size_t)got);
        if (to_fd >= 0)
            TC_TRY(tc_write_all(to_fd, (struct tc_span){piece, (size_t)got}, name, err));
        TC_TRY(tc_making_check_interrupt(making, err));
    }
}

tc_status tc_making_take(const struct tc_making *making, const char *folder, const char *name,
                         uint64_t max, const char *to, struct tc_sha256 *ret_digest,
                         struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = -1;
    TC_AUTO_TEMPFILE struct tc_tempfile file = TC_TEMPFILE_NONE;
    struct tc_sha256 digest;
    uint64_t size = 0;
    TC_TRY(tc_making_open(folder, name, &fd, &size, err));
    if (size > max)
        return tc_fail(err, TC_BUILD,
                       "the builder has made %s of %llu bytes; expected at most %llu", name,
                       (unsigned long long)size, (unsigned long long)max);
    TC_TRY(tc_tempfile_open(to, &file, err));
    TC_TRY(copy_and_hash(making, fd, name, max, file.fd, &digest, err));
    /* Whatever the umask: rooms read some of these, as nobody. */
    if (fchmod(file.fd, 0644) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot set the mode of %s", to);
    TC_TRY(tc_tempfile_commit(&file, err));
    if (ret_digest) *ret_digest = digest;
    return TC_OK;
}

/* --- the cache --- */

/* "HEX  NAME\n"; owned. */
static tc_status sum_line(const struct tc_sha256 *digest, const char *path, char **ret_line,
                          struct tc_error *err)
{
    char hex[TC_SHA256_HEX];
    const char *slash = strrchr(path, '/');
    tc_hex((struct tc_span){digest->bytes, sizeof digest->bytes}, hex);
    return asprintf(ret_line, "%s  %s\n", hex, slash ? slash + 1 : path) < 0
               ? tc_fail(err, TC_SYSTEM, "out of memory")
               : TC_OK;
}

tc_status tc_making_keep(const struct tc_making *making, const char *folder, const char *name,
                         uint64_t max, const char *cached, struct tc_error *err)
{
    TC_AUTO_FREE char *line = NULL, *sum = NULL;
    TC_AUTO_TEMPFILE struct tc_tempfile file = TC_TEMPFILE_NONE;
    struct tc_sha256 digest;
    if (asprintf(&sum, "%s.sha256", cached) < 0) return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_TRY(tc_making_take(making, folder, name, max, cached, &digest, err));
    TC_TRY(sum_line(&digest, cached, &line, err));
    TC_TRY(tc_tempfile_open(sum, &file, err));
    TC_TRY(tc_write_all(file.fd, tc_span_of_text(line), sum, err));
    return tc_tempfile_commit(&file, err);
}

tc_status tc_making_cached(const struct tc_making *making, const char *cached, const char *place,
                           bool *ret_found, struct tc_error *err)
{
    enum { SUM_MAX = 512 };
    TC_AUTO_FREE char *line = NULL, *sum = NULL;
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(SUM_MAX);
    struct tc_sha256 digest;
    struct tc_error why = {0};
    if (asprintf(&sum, "%s.sha256", cached) < 0) return tc_fail(err, TC_SYSTEM, "out of memory");
    *ret_found = false;
    /* The name that is looked at is the run's own: another run may replace the cache's. */
    if (link(cached, place) != 0)
        return errno == ENOENT
                   ? TC_OK
                   : tc_fail_errno(err, TC_SYSTEM, errno, "cannot link %s to %s", cached, place);
    TC_AUTO_CLOSE int fd = open(place, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot open %s", cached);
    TC_TRY(copy_and_hash(making, fd, cached, UINT64_MAX, -1, &digest, err));
    TC_TRY(sum_line(&digest, cached, &line, err));
    *ret_found = tc_readfile_at(AT_FDCWD, sum, false, sum, &text, &why) == TC_OK &&
                 tc_span_equal(tc_buf_span(&text), tc_span_of_text(line));
    if (*ret_found) return TC_OK;
    tc_making_say(making, "%s is not what was put there, and is made anew", cached);
    return unlink(place) == 0 ? TC_OK
                              : tc_fail_errno(err, TC_SYSTEM, errno, "cannot remove %s", place);
}
