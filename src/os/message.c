#include "os/message.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int) * TC_MESSAGE_FDS_MAX)];
};

tc_status tc_message_send(int socket, const void *data, size_t size, const int *fds,
                          size_t fds_count, struct tc_error *err)
{
    union control control = {0};
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fds_count > TC_MESSAGE_FDS_MAX)
        return tc_fail(err, TC_USAGE, "more than %d descriptors in a message", TC_MESSAGE_FDS_MAX);
    if (fds_count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(sizeof(int) * fds_count);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int) * fds_count);
        memcpy(CMSG_DATA(header), fds, sizeof(int) * fds_count);
    }
    ssize_t sent;
    do
        /* Not blocking: a queue that is full has a reader that stopped reading,
         * and must not stop the writer too. */
        sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    if (sent != (ssize_t)size)
        return tc_fail_errno(err, TC_PEER, errno, "cannot send a message to a process of the worker");
    return TC_OK;
}

static void close_all(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        (void)close(fds[i]);
}

tc_status tc_message_receive(int socket, void *data, size_t size, int *ret_fds, size_t fds_count,
                             size_t *ret_count, struct tc_error *err)
{
    union control control = {0};
    struct iovec part = {.iov_base = data, .iov_len = size};
    struct msghdr message = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    ssize_t got;
    do
        got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got < 0) return tc_fail_errno(err, TC_PEER, errno, "cannot receive a message");
    if (got == 0) return tc_fail(err, TC_PEER, "a process of the worker has ended");

    int fds[TC_MESSAGE_FDS_MAX];
    size_t count = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        size_t bytes = header->cmsg_len - CMSG_LEN(0);
        count = bytes / sizeof(int);
        if (count > TC_MESSAGE_FDS_MAX) count = TC_MESSAGE_FDS_MAX;
        memcpy(fds, CMSG_DATA(header), count * sizeof(int));
    }
    bool exact = ret_count ? count <= fds_count : count == fds_count;
    if (got != (ssize_t)size || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) || !exact) {
        close_all(fds, count);
        return tc_fail(err, TC_MALFORMED, "a message of %zd bytes and %zu descriptors, expected %zu "
                                          "and %zu",
                       got, count, size, fds_count);
    }
    for (size_t i = 0; i < count; i++)
        ret_fds[i] = fds[i];
    if (ret_count) *ret_count = count;
    return TC_OK;
}
