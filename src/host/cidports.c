#include "host/cidports.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "os/onlooker.h"
#include "os/vsock.h"

enum {
    TRIES = 32,
    /* Away from those that people give by hand, and from the hypervisor's own choices. */
    CID_FIRST = 4096,
    CID_COUNT = 61440,
    /* Of a shortage, before it is told. */
    PAUSE_MS = 50,
    PAUSES = 20,
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

/* Of descriptors or memory: the stream stays in the queue until there are some again. */
static bool is_shortage(int seen)
{
    return seen == EMFILE || seen == ENFILE || seen == ENOMEM || seen == ENOBUFS;
}

/* Whoever takes streams has more to do than to wait for a reader of stderr. */
static void tell_shortage(int seen)
{
    char line[256];
    (void)snprintf(line, sizeof line,
                   "tee-compile: a stream of the enclave's waits and cannot be taken: %s (more "
                   "descriptors: ulimit -n, fs.file-max)\n",
                   strerror(seen));
    tc_onlooker_say(STDERR_FILENO, tc_span_of_text(line));
}

/* The listener stays readable all the time, so whoever polls it would be back at once. */
static int accept_patiently(const struct tc_cidports_calls *calls, int listener, uint32_t *ret_cid)
{
    for (int i = 0;; i++) {
        int fd = calls->accept(calls->context, listener, ret_cid);
        if (fd >= 0 || !is_shortage(errno)) return fd;
        int seen = errno;
        if (i == PAUSES) {
            if (!calls->is_silent) tell_shortage(seen);
            errno = seen;
            return -1;
        }
        (void)poll(NULL, 0, PAUSE_MS);
    }
}

int tc_cidports_accept(const struct tc_cidports_calls *calls, uint32_t cid, int *listener)
{
    uint32_t seen = 0;
    int fd = accept_patiently(calls, *listener, &seen);
    if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED && !is_shortage(errno))
        tc_close_ptr(listener);
    if (fd >= 0 && seen != cid) tc_close_ptr(&fd);
    return fd;
}
