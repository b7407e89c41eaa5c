#include "os/beneath.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"

tc_status tc_open_beneath(const char *folder, const char *path, int *ret_fd, uint64_t *ret_size,
                          struct tc_error *err)
{
    struct open_how how = {.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC,
                           .resolve =
                               RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
    struct stat info;
    TC_AUTO_CLOSE int folder_fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (folder_fd < 0) return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open %s", folder);
    TC_AUTO_CLOSE int fd = (int)syscall(SYS_openat2, folder_fd, path, &how, sizeof how);
    if (fd < 0 && (errno == ELOOP || errno == EXDEV))
        return tc_fail(err, TC_USAGE, "there is a link on the way to %s, which is not followed",
                       path);
    if (fd < 0 || fstat(fd, &info) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open %s", path);
    if (!S_ISREG(info.st_mode)) return tc_fail(err, TC_USAGE, "%s is no regular file", path);
    *ret_size = (uint64_t)info.st_size;
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}
