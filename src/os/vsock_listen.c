#include "os/vsock_listen.h"

#include <errno.h>
#include <sys/socket.h>
/* Wants struct sockaddr, which it does not include. */
#include <linux/vm_sockets.h>
#include <unistd.h>

enum { BACKLOG = 128 };

int tc_vsock_listen(uint32_t port)
{
    struct sockaddr_vm address = {
        .svm_family = AF_VSOCK, .svm_port = port, .svm_cid = VMADDR_CID_ANY};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    if (bind(fd, (const struct sockaddr *)&address, sizeof address) == 0 &&
        listen(fd, BACKLOG) == 0)
        return fd;
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return -1;
}

int tc_vsock_accept(int fd, uint32_t *ret_cid)
{
    struct sockaddr_vm peer = {0};
    socklen_t size = sizeof peer;
    int stream = accept4(fd, (struct sockaddr *)&peer, &size, SOCK_CLOEXEC);
    if (stream >= 0) *ret_cid = peer.svm_cid;
    return stream;
}
