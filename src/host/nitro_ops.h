/* What the nitro back end asks of the machine, as a table: the kernel's own here, a
 * double of the driver in the tests, so that all of the back end runs without the
 * hardware. Nothing but tests makes another table.
 *
 * Each function answers as the call that it is named for: -1, or NULL, with errno. The
 * driver's own numbers (NE_ERR_*, from 256 on) come as errno too. */
#ifndef TC_HOST_NITRO_OPS_H
#define TC_HOST_NITRO_OPS_H

#include <stddef.h>
#include <stdint.h>

#define TC_NITRO_PAGE_2M ((uint64_t)2 << 20)
#define TC_NITRO_PAGE_1G ((uint64_t)1 << 30)

struct tc_nitro_ops {
    const char *root; /* stands before every path below /sys, /etc and /dev that is looked at */
    void *context;
    int (*open_device)(void *context);
    int (*control)(void *context, int fd, unsigned long request, void *argument); /* ioctl */
    int (*close)(void *context, int fd); /* the device's, the enclave's */
    /* Room for private huge pages of that size, which no child gets; node -1: of any node. */
    void *(*map)(void *context, size_t size, uint64_t page, int node);
    /* Takes the pages of a part of that room, whole ones, on that node: zero, and there. Not
     * before this returns 0 may they be touched. */
    int (*populate)(void *context, void *memory, size_t size, int node);
    int (*unmap)(void *context, void *memory, size_t size);
    /* AF_VSOCK streams. accept also says who it is that connected. */
    int (*listen)(void *context, uint32_t port);
    int (*accept)(void *context, int fd, uint32_t *ret_cid);
    int (*connect)(void *context, uint32_t cid, uint32_t port);
};

extern const struct tc_nitro_ops tc_nitro_kernel;

#endif
