/* A vsock device in user space (vhost-user): what a virtual machine needs to reach
 * its host where the kernel has no vhost-vsock.
 *
 * The guest connects, the host never does. Its parent answers under CID 3, as a
 * Nitro enclave's, and under CID 2, as any other machine's. Each connection becomes
 * a stream socket of the host; half-close passes both ways, packets have any size
 * up to what the guest was told it may have under way, and a port that nobody
 * listens on is refused at once.
 *
 * Neither guest nor front end is believed. Either can end the device by breaking
 * its protocol, and the machine with it; neither can reach memory of this process,
 * make it hold more than TC_VSOCKDEV_STREAMS_MAX * TC_VSOCKDEV_BUFFER bytes, or let
 * one connection stop another. */
#ifndef TC_HOST_VSOCKDEV_H
#define TC_HOST_VSOCKDEV_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum {
    /* The recorder's, nearly all: one to upstream and one to the archive for each of its 256
     * connections, and 64 that idle. */
    TC_VSOCKDEV_STREAMS_MAX = 640,
    TC_VSOCKDEV_BUFFER = 256 * 1024, /* from the guest, not yet taken by the host; each */
};

struct tc_vsockdev_config {
    uint64_t guest_cid;
    /* The guest connects to port: gives a connected stream socket, which the device
     * then owns. Any failure is a refusal. Must not wait. */
    tc_status (*connect)(void *context, uint32_t port, int *ret_fd, struct tc_error *err);
    void *context;
};

/* Serves one front end on fd, a connected unix socket (borrowed), until it hangs
 * up: TC_OK. TC_MALFORMED, TC_REFUSED: it broke the protocol or asked for what is
 * not given; TC_PEER: it vanished within a message, or the guest's driver broke a
 * queue. All connections end with it. */
tc_status tc_vsockdev_serve(int fd, const struct tc_vsockdev_config *config, struct tc_error *err)
    TC_MUST_USE;

/* A connect() of that kind: port N is the unix socket PREFIX_N; context is PREFIX,
 * a const char *. */
tc_status tc_vsockdev_connect_path(void *prefix, uint32_t port, int *ret_fd, struct tc_error *err)
    TC_MUST_USE;

#endif
