#include "host/cidports.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "os/vsock.h"

enum {
    TRIES = 32,
    /* Away from those that people give by hand, and from the hypervisor's own choices. */
    CID_FIRST = 4096,
    CID_COUNT = 61440,
};

/* errno says why not. */
static bool take_cid(const struct tc_cidports_calls *calls, uint32_t cid, const uint32_t *ports,
                     size_t count, int *fds)
{
    if (calls->claim && calls->claim(calls->context, cid) != 0) return false;
    for (size_t i = 0; i < count; i++) {
        fds[i] = calls->listen(calls->context, ports[i] + tc_vsock_port_shift(cid));
        if (fds[i] >= 0) continue;
        int seen = errno;
        while (i > 0)
            tc_close_ptr(&fds[--i]);
        errno = seen;
        return false;
    }
    return true;
}

tc_status tc_cidports_open(const struct tc_cidports_calls *calls, const uint32_t *ports,
                           size_t count, uint32_t *ret_cid, int *ret_fds, struct tc_error *err)
{
    for (size_t i = 0; i < TRIES; i++) {
        uint32_t random;
        if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot choose a CID");
        uint32_t cid = CID_FIRST + random % CID_COUNT;
        if (take_cid(calls, cid, ports, count, ret_fds)) {
            *ret_cid = cid;
            return TC_OK;
        }
        if (errno != EADDRINUSE)
            return tc_fail_errno(err, TC_UNAVAILABLE, errno,
                                 "cannot listen for the enclave (sudo modprobe vsock)");
    }
    return tc_fail(err, TC_UNAVAILABLE, "found no CID whose ports are free, of %d", TRIES);
}

int tc_cidports_accept(const struct tc_cidports_calls *calls, uint32_t cid, int *listener)
{
    uint32_t seen = 0;
    int fd = calls->accept(calls->context, *listener, &seen);
    if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
        tc_close_ptr(listener);
    if (fd >= 0 && seen != cid) tc_close_ptr(&fd);
    return fd;
}
