/* Streams to the host. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "worker/recorder_main.h"

enum { PATIENCE_MS = 30 * 1000 };

/* A host that does not take descriptors off its socket has stopped serving. */
static tc_status send_end(int dialler, int fd, struct tc_error *err)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control = {0};
    char byte = 0;
    struct iovec part = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    for (;;) {
        if (sendmsg(dialler, &message, MSG_NOSIGNAL | MSG_DONTWAIT) == 1) return TC_OK;
        if (errno == EINTR) continue;
        struct pollfd ready = {.fd = dialler, .events = POLLOUT};
        if (errno != EAGAIN && errno != ETOOMANYREFS)
            return tc_fail_errno(err, TC_PEER, errno, "the host serves no streams");
        int count = poll(&ready, 1, PATIENCE_MS);
        if (count == 0 || (count < 0 && errno != EINTR))
            return tc_fail(err, TC_PEER, "the host takes no streams");
    }
}

static tc_status open_pair(int dialler, int *ret_fd, struct tc_error *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make a stream to the host");
    TC_AUTO_CLOSE int ours = ends[0];
    TC_AUTO_CLOSE int theirs = ends[1];
    TC_TRY(send_end(dialler, theirs, err));
    *ret_fd = TC_TAKE_FD(ours);
    return TC_OK;
}

tc_status tc_dialler_open(void *context, int *ret_fd, struct tc_error *err)
{
    const struct tc_dialler *dialler = context;
    TC_AUTO_CLOSE int fd = -1;
    if (dialler->dialler_fd >= 0) return open_pair(dialler->dialler_fd, ret_fd, err);
    TC_TRY(tc_vsock_connect(dialler->parent, TC_VSOCK_PORT_EGRESS + dialler->port_shift,
                            PATIENCE_MS, &fd, err));
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot prepare a stream to the host");
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}
