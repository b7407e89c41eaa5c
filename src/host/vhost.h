/* The kernel's own vsock device for virtual machines (vhost-vsock), where it offers one to
 * this user: a guest with a CID of its own, and what listens for it. As a table, so that the
 * tests run all of it where there is none; nothing but tests makes another. */
#ifndef TC_HOST_VHOST_H
#define TC_HOST_VHOST_H

#include "host/cidports.h"

/* Each answers as the call that it is named for: -1 with errno. */
struct tc_vhost_ops {
    void *context;
    int (*open)(void *context);                        /* /dev/vhost-vsock */
    int (*claim)(void *context, int fd, uint32_t cid); /* VHOST_VSOCK_SET_GUEST_CID */
    int (*listen)(void *context, uint32_t port);
    int (*accept)(void *context, int fd, uint32_t *ret_cid);
};

extern const struct tc_vhost_ops tc_vhost_kernel;

/* Opens the device, takes a CID for it and listens there, before any guest has that CID. The
 * device is the emulator's to keep: as long as it is open, nobody else has the CID, and when
 * it closes, the kernel resets the streams that are left. TC_UNAVAILABLE says what is missing
 * for this user. */
tc_status tc_vhost_open(const struct tc_vhost_ops *ops, const uint32_t *ports, size_t count,
                        int *ret_device, uint32_t *ret_cid, int *ret_listeners,
                        struct tc_error *err) TC_MUST_USE;

/* Whether that would work now. */
tc_status tc_vhost_check(const struct tc_vhost_ops *ops, struct tc_error *err) TC_MUST_USE;

/* tc_cidports_accept, by this table, and without a word: for a process of a machine, of which
 * each is a complaint (machine_parts.h). */
int tc_vhost_accept(const struct tc_vhost_ops *ops, uint32_t cid, int *listener);

#endif
