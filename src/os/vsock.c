#include "os/vsock.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>
/* Wants struct sockaddr, which it does not include. */
#include <linux/vm_sockets.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { PIECE_OF_HOST = 28 * 1024, PORTS_OF_ONE = 8 };

uint32_t tc_vsock_port_shift(uint32_t cid)
{
    return cid > TC_VSOCK_CID_FIRST ? PORTS_OF_ONE * (cid - TC_VSOCK_CID_FIRST) : 0;
}

tc_status tc_vsock_local_cid(uint32_t *ret_cid, struct tc_error *err)
{
    unsigned cid = 0;
    TC_AUTO_CLOSE int fd = open("/dev/vsock", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot ask for the machine's CID");
    *ret_cid = cid;
    return TC_OK;
}

size_t tc_vsock_piece(enum tc_parent parent)
{
    return parent == TC_PARENT_HOST ? PIECE_OF_HOST : 0;
}

tc_status tc_vsock_connect(enum tc_parent parent, uint32_t port, unsigned timeout_ms, int *ret_fd,
                           struct tc_error *err)
{
    struct timeval timeout = {.tv_sec = timeout_ms / 1000,
                              .tv_usec = (suseconds_t)(timeout_ms % 1000) * 1000};
    struct sockaddr_vm address = {
        .svm_family = AF_VSOCK, .svm_port = port, .svm_cid = (unsigned)parent};
    TC_AUTO_CLOSE int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return tc_fail_errno(err, TC_UNAVAILABLE, errno, "the kernel has no vsock");
    if (setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &timeout, sizeof timeout) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot limit the time of a vsock connection");
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        return tc_fail_errno(err, TC_PEER, errno, "nobody answers on vsock port %u of CID %d", port,
                             (int)parent);
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}

tc_status tc_vsock_connect_out(uint32_t port, int *ret_fd, enum tc_parent *ret_parent,
                               struct tc_error *err)
{
    static const struct {
        enum tc_parent parent;
        unsigned timeout_ms;
    } tries[] = {{TC_PARENT_NITRO, 400}, {TC_PARENT_HOST, 3000}, {TC_PARENT_NITRO, 5000}};
    tc_status status = TC_OK;
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
        status = tc_vsock_connect(tries[i].parent, port, tries[i].timeout_ms, ret_fd, err);
        if (status == TC_OK) *ret_parent = tries[i].parent;
        if (status != TC_PEER) break;
    }
    return status;
}
