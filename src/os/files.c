#include "os/files.h"

#include <errno.h>
#include <unistd.h>

tc_status tc_write_all(int fd, struct tc_span span, const char *what, struct tc_error *err)
{
    while (span.size > 0) {
        ssize_t written = write(fd, span.data, span.size);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot write %s", what);
        span.data += written;
        span.size -= (size_t)written;
    }
    return TC_OK;
}
