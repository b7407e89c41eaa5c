#include "host/vhost.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "os/vsock.h"
#include "os/vsock_listen.h"

static int open_device(void *context)
{
    (void)context;
    return open("/dev/vhost-vsock", O_RDWR | O_CLOEXEC);
}

/* The device answers for one CID at a time; the emulator sets the same once more. */
static int set_cid(void *context, int fd, uint32_t cid)
{
    uint64_t wide = cid;
    (void)context;
    return ioctl(fd, VHOST_VSOCK_SET_GUEST_CID, &wide);
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

const struct tc_vhost_ops tc_vhost_kernel = {
    .open = open_device, .claim = set_cid, .listen = listen_on, .accept = accept_from};

/* --- over a table ---
 *
 * A process of the machine accepts, whose stderr tells why it failed (machine_parts.h). */

struct opened {
    const struct tc_vhost_ops *ops;
    int device;
};

static int claim(void *context, uint32_t cid)
{
    const struct opened *opened = context;
    return opened->ops->claim(opened->ops->context, opened->device, cid);
}

static int listen_by(void *context, uint32_t port)
{
    const struct opened *opened = context;
    return opened->ops->listen(opened->ops->context, port);
}

static int accept_by(void *context, int fd, uint32_t *ret_cid)
{
    const struct opened *opened = context;
    return opened->ops->accept(opened->ops->context, fd, ret_cid);
}

static struct tc_cidports_calls calls_of(struct opened *opened)
{
    return (struct tc_cidports_calls){.context = opened,
                                      .listen = listen_by,
                                      .accept = accept_by,
                                      .claim = claim,
                                      .is_silent = true};
}

tc_status tc_vhost_open(const struct tc_vhost_ops *ops, const uint32_t *ports, size_t count,
                        int *ret_device, uint32_t *ret_cid, int *ret_listeners,
                        struct tc_error *err)
{
    TC_AUTO_CLOSE int device = ops->open(ops->context);
    if (device < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open /dev/vhost-vsock");
    struct opened opened = {ops, device};
    const struct tc_cidports_calls calls = calls_of(&opened);
    TC_TRY(tc_cidports_open(&calls, ports, count, ret_cid, ret_listeners, err));
    *ret_device = TC_TAKE_FD(device);
    return TC_OK;
}

tc_status tc_vhost_check(const struct tc_vhost_ops *ops, struct tc_error *err)
{
    static const uint32_t port = TC_VSOCK_PORT_SESSION;
    TC_AUTO_CLOSE int device = -1;
    TC_AUTO_CLOSE int listener = -1;
    uint32_t cid;
    return tc_vhost_open(ops, &port, 1, &device, &cid, &listener, err);
}

int tc_vhost_accept(const struct tc_vhost_ops *ops, uint32_t cid, int *listener)
{
    struct opened opened = {ops, -1};
    const struct tc_cidports_calls calls = calls_of(&opened);
    return tc_cidports_accept(&calls, cid, listener);
}
