#include "os/readfile.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

static tc_status read_all(int fd, const char *what, struct tc_buf *content, struct tc_error *err)
{
    uint8_t piece[16384];
    ssize_t got;
    while ((got = read(fd, piece, sizeof piece)) != 0) {
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read %s", what);
        tc_buf_add(content, piece, (size_t)got);
        if (!tc_buf_ok(content))
            return tc_fail(err, TC_USAGE, "%s is larger than %zu bytes", what, content->max);
    }
    return TC_OK;
}

/* Whoever can write it says what is in it. */
static tc_status check_owner(const struct stat *info, const char *what, struct tc_error *err)
{
    if (info->st_uid != geteuid() && info->st_uid != 0)
        return tc_fail(err, TC_UNAVAILABLE, "%s belongs to user %u; it must be yours or root's", what,
                       (unsigned)info->st_uid);
    if (info->st_mode & (S_IWGRP | S_IWOTH))
        return tc_fail(err, TC_UNAVAILABLE, "others can write to %s: chmod go-w it", what);
    return TC_OK;
}

static tc_status read_open(int fd, bool is_own, const char *what, struct tc_buf *ret_content,
                           struct tc_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read %s", what);
    if (!S_ISREG(info.st_mode)) return tc_fail(err, TC_USAGE, "%s is no regular file", what);
    if (is_own) TC_TRY(check_owner(&info, what, err));
    TC_AUTO_BUF struct tc_buf content = tc_buf_new(ret_content->max);
    TC_TRY(read_all(fd, what, &content, err));
    tc_buf_free(ret_content);
    *ret_content = content;
    content = tc_buf_new(0);
    return TC_OK;
}

static int open_it(int folder_fd, const char *name, bool follow)
{
    return openat(folder_fd, name,
                  O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (follow ? 0 : O_NOFOLLOW));
}

static tc_status cannot_open(const char *what, bool follow, struct tc_error *err)
{
    if (errno == ELOOP && !follow)
        return tc_fail(err, TC_USAGE, "%s is a symlink, which is not followed there", what);
    return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open %s", what);
}

tc_status tc_readfile_at(int folder_fd, const char *name, bool follow, const char *what,
                         struct tc_buf *ret_content, struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = open_it(folder_fd, name, follow);
    if (fd < 0) return cannot_open(what, follow, err);
    return read_open(fd, false, what, ret_content, err);
}

tc_status tc_readfile_if_there(int folder_fd, const char *name, const char *what, bool *ret_found,
                               struct tc_buf *ret_content, struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = open_it(folder_fd, name, false);
    if (fd < 0 && errno == ENOENT) {
        *ret_found = false;
        return TC_OK;
    }
    if (fd < 0) return cannot_open(what, false, err);
    TC_TRY(read_open(fd, true, what, ret_content, err));
    *ret_found = true;
    return TC_OK;
}
