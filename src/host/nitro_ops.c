#include "host/nitro_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/mman.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
/* Wants struct sockaddr, which it does not include. */
#include <linux/vm_sockets.h>
#include <unistd.h>

#include "os/vsock_listen.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; headers of Debian 11 lack it */
#endif

enum { CONNECT_PATIENCE_S = 2, NODES_MAX = 8 * sizeof(unsigned long) };

static int open_device(void *context)
{
    (void)context;
    return open("/dev/nitro_enclaves", O_RDWR | O_CLOEXEC);
}

static int control(void *context, int fd, unsigned long request, void *argument)
{
    (void)context;
    return ioctl(fd, request, argument);
}

static int close_fd(void *context, int fd)
{
    (void)context;
    return close(fd);
}

static int bind_to_node(int node)
{
    unsigned long mask;
    if (node < 0 || node >= NODES_MAX) return 0;
    mask = 1UL << node;
    return (int)syscall(SYS_set_mempolicy, MPOL_BIND, &mask, NODES_MAX + 1UL);
}

static void unbind(int node)
{
    int saved = errno;
    if (node >= 0) (void)syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0UL);
    errno = saved;
}

/* The reservation that mmap makes is of any node, and a page that is missing later is
 * a SIGBUS: so the policy stands whenever pages are counted or taken, and all of them are
 * taken by populate, where a failure is an answer. */
static void *map(void *context, size_t size, uint64_t page, int node)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
                (page == TC_NITRO_PAGE_1G ? MAP_HUGE_1GB : MAP_HUGE_2MB);
    (void)context;
    if (bind_to_node(node) != 0) return NULL;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
    unbind(node);
    if (memory == MAP_FAILED) return NULL;
    if (madvise(memory, size, MADV_DONTFORK) == 0) return memory;
    int saved = errno;
    (void)munmap(memory, size);
    errno = saved;
    return NULL;
}

/* A signal that was handled in between leaves some of it to do. */
static int populate(void *context, void *memory, size_t size, int node)
{
    int result;
    (void)context;
    if (bind_to_node(node) != 0) return -1;
    do
        result = madvise(memory, size, MADV_POPULATE_WRITE);
    while (result != 0 && errno == EINTR);
    unbind(node);
    return result;
}

static int unmap(void *context, void *memory, size_t size)
{
    (void)context;
    return munmap(memory, size);
}

static int listen_on(void *context, uint32_t port)
{
    (void)context;
    return tc_vsock_listen(port);
}

static int accept_from(void *context, int fd, uint32_t *ret_cid)
{
    (void)context;
    return tc_vsock_accept(fd, ret_cid);
}

static int connect_to(void *context, uint32_t cid, uint32_t port)
{
    const struct timeval patience = {.tv_sec = CONNECT_PATIENCE_S};
    struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_port = port, .svm_cid = cid};
    int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)context;
    if (fd < 0) return -1;
    if (setsockopt(fd, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, &patience, sizeof patience) == 0 &&
        connect(fd, (const struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return -1;
}

const struct tc_nitro_ops tc_nitro_kernel = {
    .root = "",
    .open_device = open_device,
    .control = control,
    .close = close_fd,
    .map = map,
    .populate = populate,
    .unmap = unmap,
    .listen = listen_on,
    .accept = accept_from,
    .connect = connect_to,
};
