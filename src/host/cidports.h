/* The ports of one guest of several that share a host: those of os/vsock.h, shifted by its
 * CID, which is chosen at random. A stream counts only when it comes from that CID; any
 * other is closed unread. */
#ifndef TC_HOST_CIDPORTS_H
#define TC_HOST_CIDPORTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* -1 with errno, as os/vsock_listen.h, or as a test has it. */
struct tc_cidports_calls {
    void *context;
    int (*listen)(void *context, uint32_t port);
    int (*accept)(void *context, int fd, uint32_t *ret_cid);
    /* Takes the CID itself, so that no other guest gets it; EADDRINUSE: one has it. NULL: it
     * is taken when the guest starts. */
    int (*claim)(void *context, uint32_t cid);
    /* Of a shortage that lasts, too: stderr is not the user's, and what is on it counts as a
     * failure. */
    bool is_silent;
};

/* Chooses a CID and listens for it on each of these ports, before it can connect. */
tc_status tc_cidports_open(const struct tc_cidports_calls *calls, const uint32_t *ports,
                           size_t count, uint32_t *ret_cid, int *ret_fds, struct tc_error *err)
    TC_MUST_USE;

/* A stream of this CID's; -1: nobody's, or of somebody else. Where descriptors or memory are
 * short it waits a second for them; then it says so on stderr, as far as that is read, and the
 * stream stays in the queue: whoever waits for the listener comes back, and does not turn
 * round in circles. A listener that is broken closes. */
int tc_cidports_accept(const struct tc_cidports_calls *calls, uint32_t cid, int *listener);

#endif
