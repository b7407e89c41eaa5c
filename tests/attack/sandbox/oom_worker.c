/* For a worker whose platform lets its processes withdraw from the OOM killer, on
 * machines where nobody may do so: the file that tells takes what is written. */
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

int __real_open64(const char *path, int flags, mode_t mode);
int __wrap_open64(const char *path, int flags, ...);

int __wrap_open64(const char *path, int flags, ...)
{
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list args;
        va_start(args, flags);
        mode = va_arg(args, mode_t);
        va_end(args);
    }
    if (strcmp(path, "/proc/self/oom_score_adj") != 0) return __real_open64(path, flags, mode);
    int fd = memfd_create("oom_score_adj", MFD_CLOEXEC);
    if (fd < 0 || write(fd, "0\n", 2) != 2 || lseek(fd, 0, SEEK_SET) != 0) _exit(1);
    return fd;
}
