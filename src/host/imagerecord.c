#include "host/imagerecord.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "os/files.h"
#include "os/tempfile.h"

enum {
    TEXT_MAX = 256,
    SETTLED_S = 2, /* more than the coarsest clock of a file system */
};

static bool locate(const char *folder, const struct tc_sha256 *root, char out[PATH_MAX])
{
    char hex[TC_SHA256_HEX];
    tc_hex((struct tc_span){root->bytes, sizeof root->bytes}, hex);
    int size = snprintf(out, PATH_MAX, "%s/%s", folder, hex);
    return size > 0 && size < PATH_MAX;
}

/* With the root hash, so that a record counts under no other name. */
static size_t describe(const struct tc_sha256 *root, const struct stat *info, char out[TEXT_MAX])
{
    char hex[TC_SHA256_HEX];
    tc_hex((struct tc_span){root->bytes, sizeof root->bytes}, hex);
    int size =
        snprintf(out, TEXT_MAX, "%s %llu %llu %llu %lld.%09ld %lld.%09ld\n", hex,
                 (unsigned long long)info->st_dev, (unsigned long long)info->st_ino,
                 (unsigned long long)info->st_size, (long long)info->st_mtim.tv_sec,
                 info->st_mtim.tv_nsec, (long long)info->st_ctim.tv_sec, info->st_ctim.tv_nsec);
    return size > 0 && size < TEXT_MAX ? (size_t)size : 0;
}

/* Nobody but this user and root may have written it, or be able to. */
static bool is_ours(const struct stat *info)
{
    return S_ISREG(info->st_mode) && (info->st_uid == geteuid() || info->st_uid == 0) &&
           (info->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

bool tc_imagerecord_holds(const char *folder, const struct tc_sha256 *root, int fd)
{
    char path[PATH_MAX], now[TEXT_MAX], seen[TEXT_MAX];
    struct stat info, record;
    if (fstat(fd, &info) != 0 || !locate(folder, root, path)) return false;
    TC_AUTO_CLOSE int kept = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (kept < 0 || fstat(kept, &record) != 0 || !is_ours(&record)) return false;
    ssize_t got;
    do
        got = read(kept, seen, sizeof seen);
    while (got < 0 && errno == EINTR);
    size_t size = describe(root, &info, now);
    return size > 0 && got == (ssize_t)size && memcmp(now, seen, size) == 0;
}

void tc_imagerecord_keep(const char *folder, const struct tc_sha256 *root, int fd,
                         const struct stat *before, time_t now)
{
    struct tc_error ignored = {0};
    char path[PATH_MAX], then[TEXT_MAX], text[TEXT_MAX];
    struct stat info;
    TC_AUTO_TEMPFILE struct tc_tempfile file = TC_TEMPFILE_NONE;
    if (fstat(fd, &info) != 0 || !locate(folder, root, path)) return;
    size_t size = describe(root, before, then);
    if (size == 0 || describe(root, &info, text) != size || memcmp(then, text, size) != 0) return;
    if (now - info.st_ctim.tv_sec <= SETTLED_S) return;
    if (tc_tempfile_open(path, &file, &ignored) == TC_OK && fchmod(file.fd, 0600) == 0 &&
        tc_write_all(file.fd, (struct tc_span){(const uint8_t *)text, size}, "a record",
                     &ignored) == TC_OK)
        (void)!tc_tempfile_commit(&file, &ignored);
}
