/* Files and folders of a project, opened one name at a time without following a
 * link, and read in pieces. */
#include "source/tree.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

enum { PIECE = TC_WIRE_DATA_MAX };

tc_status tc_file_open(int folder, const char *name, const char *where, int *ret_fd,
                       uint64_t *ret_size, bool *ret_executable, struct tc_error *err)
{
    struct stat info;
    char shown[256];
    (void)tc_printable(tc_span_of_text(where), shown, sizeof shown);
    TC_AUTO_CLOSE int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open %s", shown);
    if (!S_ISREG(info.st_mode))
        return tc_fail(err, TC_USAGE, "%s is no regular file (any more)", shown);
    if ((uint64_t)info.st_size > TC_FILE_SIZE_MAX)
        return tc_fail(err, TC_LIMIT, "%s has %lld bytes, at most %llu can be sent", shown,
                       (long long)info.st_size, (unsigned long long)TC_FILE_SIZE_MAX);
    *ret_fd = TC_TAKE_FD(fd);
    *ret_size = (uint64_t)info.st_size;
    *ret_executable = (info.st_mode & S_IXUSR) != 0;
    return TC_OK;
}

/* What was announced is what has to come: neither less nor more. */
tc_status tc_file_send(int fd, uint64_t size, const char *where, struct tc_out *out,
                       struct tc_error *err)
{
    uint8_t piece[PIECE];
    char shown[256];
    uint64_t left = size;
    (void)tc_printable(tc_span_of_text(where), shown, sizeof shown);
    tc_hash_restart(out->sha256);
    for (;;) {
        ssize_t got = read(fd, piece, sizeof piece);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read %s", shown);
        if (got == 0 && left == 0) return TC_OK;
        if (got == 0 || (uint64_t)got > left)
            return tc_fail(err, TC_UNAVAILABLE,
                           "%s changed while it was read: %s than %llu bytes. Stop what writes to "
                           "it, or build from a clean checkout",
                           shown, got == 0 ? "shorter" : "longer", (unsigned long long)size);
        TC_TRY(tc_out_data(out, (struct tc_span){piece, (size_t)got}, err));
        left -= (uint64_t)got;
    }
}

tc_status tc_folder_open(int root, const char *path, int *ret_fd, struct tc_error *err)
{
    char shown[256], name[TC_NAME_MAX + 1];
    TC_AUTO_CLOSE int fd = fcntl(root, F_DUPFD_CLOEXEC, 0);
    const char *rest = path;
    while (fd >= 0 && *rest) {
        size_t size = strcspn(rest, "/");
        if (size > TC_NAME_MAX) return tc_fail(err, TC_LIMIT, "a name of more than 255 bytes");
        memcpy(name, rest, size);
        name[size] = '\0';
        int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int reason = errno;
        tc_close_ptr(&fd);
        errno = reason;
        fd = next;
        rest += size + (rest[size] == '/');
    }
    if (fd < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open the folder %s",
                             tc_printable(tc_span_of_text(path), shown, sizeof shown));
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}

tc_status tc_lfs_missing(struct tc_span path, const struct tc_git_lfs *lfs, const char *fix,
                         struct tc_error *err)
{
    char hex[TC_SHA256_HEX], shown[256];
    tc_hex((struct tc_span){lfs->oid.bytes, sizeof lfs->oid.bytes}, hex);
    return tc_fail(err, TC_UNAVAILABLE,
                   "%s is a git LFS pointer, and its object %s is not here: run git lfs fetch%s",
                   tc_printable(path, shown, sizeof shown), hex, fix);
}
