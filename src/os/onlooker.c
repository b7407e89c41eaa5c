#include "os/onlooker.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

struct tc_onlooker tc_onlooker_open(int fd)
{
    struct tc_onlooker onlooker = {.fd = fd};
    struct stat info;
    char path[32];
    if (fstat(fd, &info) != 0) return onlooker;
    onlooker.is_sent = S_ISSOCK(info.st_mode);
    if (!S_ISCHR(info.st_mode) && !S_ISFIFO(info.st_mode)) return onlooker;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (own >= 0) {
        onlooker.fd = own;
        onlooker.is_own = true;
    } else { /* another user's terminal, say: what is ready takes this much at least */
        onlooker.most = S_ISFIFO(info.st_mode) ? PIPE_BUF : 1;
    }
    return onlooker;
}

void tc_onlooker_close(struct tc_onlooker *onlooker)
{
    if (onlooker->is_own) (void)close(onlooker->fd);
    *onlooker = TC_ONLOOKER_NONE;
}

ssize_t tc_onlooker_write(const struct tc_onlooker *onlooker, struct tc_span text)
{
    if (onlooker->is_sent)
        return send(onlooker->fd, text.data, text.size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (onlooker->most > 0) {
        struct pollfd ready = {.fd = onlooker->fd, .events = POLLOUT};
        if (text.size > onlooker->most) text.size = onlooker->most;
        if (poll(&ready, 1, 0) <= 0) {
            errno = EAGAIN;
            return -1;
        }
    }
    return write(onlooker->fd, text.data, text.size);
}

void tc_onlooker_say(int fd, struct tc_span text)
{
    struct tc_onlooker onlooker = tc_onlooker_open(fd);
    while (text.size > 0) {
        ssize_t taken = tc_onlooker_write(&onlooker, text);
        if (taken < 0 && errno == EINTR) continue;
        if (taken <= 0) break;
        text.data += taken;
        text.size -= (size_t)taken;
    }
    tc_onlooker_close(&onlooker);
}
