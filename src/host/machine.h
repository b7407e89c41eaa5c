/* An enclave's machine without the hardware: QEMU's nitro-enclave machine with an
 * image, and what its guest needs of a host. No back end yet: it boots images in
 * tests and in bench/.
 *
 * Five processes, each of which dies with the caller, however that ends: the
 * emulator, the vsock device, the page server, the heartbeat's echo, and the one
 * that keeps the console. They are joined by socket pairs: no socket has a name,
 * so none has to be removed, and nobody else can connect to one. */
#ifndef TC_HOST_MACHINE_H
#define TC_HOST_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum {
    TC_MACHINE_PORTS_MAX = 3, /* of the caller's own */
    TC_MACHINE_CONSOLE_MAX = 4 << 20,
};

struct tc_egress;

/* The guest's first connection to port is handed this stream socket's other end;
 * a second one is refused. With `many`, fd is of SOCK_SEQPACKET, and each connection is
 * one end of a new socket pair, whose other end is sent there beside one byte: what
 * tc_egress_follow (egress.h) takes, and how the machine hands its guest's to the egress. */
struct tc_machine_port {
    uint32_t port;
    int fd; /* the guest's end; borrowed, and needed no more once the machine runs */
    bool many;
};

struct tc_machine_config {
    const char *emulator; /* qemu-system-x86_64 with the nitro-enclave machine */
    const char *firmware; /* folder of its firmware; NULL: its own */
    const char *image;    /* of the enclave, an EIF */
    const char *pages;    /* file with the toolchain's blocks; NULL: none is served */
    uint64_t memory;      /* bytes */
    /* File that gets what the guest's console and the emulator say, replaced if it
     * is there; what goes beyond TC_MACHINE_CONSOLE_MAX bytes is dropped. */
    const char *console;
    /* Serves the network that the guest asks for, from the start on (tc_egress_follow);
     * borrowed, and stopped by the caller: after the machine, or before it, when the guest
     * is to lose its network. NULL: whoever asks is refused. */
    struct tc_egress *egress;
    const struct tc_machine_port *ports;
    size_t ports_count;
};

struct tc_machine;

/* Starts it. ret_fd is the stream to the session, owned by the machine: it gives
 * an end of file when the machine ends. Errors of the emulator are in the console. */
tc_status tc_machine_start(const struct tc_machine_config *config, struct tc_machine **ret_machine,
                           int *ret_fd, struct tc_error *err) TC_MUST_USE;

/* Hangs up the session, which is what a guest that is done waits for, and waits
 * until the machine has ended by itself; patience_ms -1: for ever. TC_PEER: it
 * runs still, or the emulator failed. */
tc_status tc_machine_wait(struct tc_machine *machine, int patience_ms, struct tc_error *err)
    TC_MUST_USE;

/* Ends what still runs, waits for all of it and frees; accepts NULL. Says in err
 * what went wrong in device or page server, if anything did: TC_PEER. */
tc_status tc_machine_stop(struct tc_machine *machine, struct tc_error *err) TC_MUST_USE;

#endif
