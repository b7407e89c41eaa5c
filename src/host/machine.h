/* An enclave's machine without the hardware: QEMU with an image, and what its guest
 * needs of a host. What the qemu back end (backend_qemu.c) starts.
 *
 * Five processes, each of which dies with the caller, however that ends: the
 * emulator, the vsock device, the page server, the heartbeat's echo, and the one
 * that keeps the console. They are joined by socket pairs: no socket has a name,
 * so none has to be removed, and nobody else can connect to one. Where the kernel's
 * vsock device is used, what listens for the guest is in the place of ours: others may
 * knock there, and only this guest's streams are taken. */
#ifndef TC_HOST_MACHINE_H
#define TC_HOST_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum {
    TC_MACHINE_PORTS_MAX = 3, /* of the caller's own */
    TC_MACHINE_CONSOLE_MAX = 4 << 20,
    TC_MACHINE_CONSOLE_TAIL = 64 << 10,
};

struct tc_egress;
struct tc_vhost_ops;

enum tc_machine_kind {
    /* QEMU's own imitation of an enclave, in few builds of it: reads the image and
     * measures it, and has an NSM that signs nothing. */
    TC_MACHINE_NITRO,
    /* In every QEMU for this processor: starts a kernel that is given to it. No NSM. */
    TC_MACHINE_MICROVM,
};

/* Where the guest's streams to a port go: fd is of SOCK_SEQPACKET, and each stream that the
 * guest opens is sent there, as a message of one byte with a connected stream socket of
 * AF_UNIX or AF_VSOCK beside it. What tc_egress_follow (egress.h) takes, and how the machine
 * hands its guest's to the egress. Without `many` the first one alone; a second is refused. */
struct tc_machine_port {
    uint32_t port;
    int fd; /* the guest's end; borrowed, and needed no more once the machine runs */
    bool many;
};

/* The emulator's own filter of system calls: whoever breaks out of the guest starts no
 * program, takes no other ids and changes no limits. Not every build of it has one. */
#define TC_MACHINE_SANDBOX "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"

struct tc_machine_config {
    const char *emulator; /* path of qemu-system-x86_64 */
    bool has_sandbox;     /* it takes TC_MACHINE_SANDBOX */
    const char *firmware; /* folder of its firmware; NULL: its own */
    enum tc_machine_kind kind;
    bool kvm;        /* else the processor is emulated */
    unsigned cpus;   /* 1 or more */
    uint64_t memory; /* bytes */
    /* Regular files, borrowed and needed no more once the machine runs: an EIF; or, of
     * a microvm, its kernel, all its ramdisks one behind the other, and the text. */
    int image_fd, kernel_fd, ramdisk_fd;
    const char *cmdline;
    int pages_fd; /* with the toolchain's blocks; -1: none are served */
    /* Gets what the guest's console and the emulator say. Of what goes beyond
     * TC_MACHINE_CONSOLE_MAX bytes the last ones are kept. */
    int console_fd;
    /* stderr gets it too, made safe for a terminal, as far as whoever reads there keeps up:
     * the guest does not wait for them. */
    bool echo;
    /* Serves the network that the guest asks for, from the start on (tc_egress_follow);
     * borrowed, and stopped by the caller: after the machine, or before it, when the guest
     * is to lose its network. NULL: whoever asks is refused. */
    struct tc_egress *egress;
    /* Of a microvm: the kernel's vsock device, where it offers one to this user (vhost.h),
     * and else our own. NULL: our own, which is all that TC_MACHINE_NITRO can use. */
    const struct tc_vhost_ops *vhost;
    const struct tc_machine_port *ports;
    size_t ports_count;
};

struct tc_machine;

/* Starts it. Errors of the emulator are in the console. */
tc_status tc_machine_start(const struct tc_machine_config *config, struct tc_machine **ret_machine,
                           struct tc_error *err) TC_MUST_USE;

/* Waits until the guest has connected to its session. ret_fd is the stream to it, owned
 * by the machine: it gives an end of file, or a reset, when the machine ends. TC_PEER: the emulator
 * has ended, or patience_ms (-1: for ever) are over; TC_INTERRUPTED: interrupt_fd (-1:
 * none) is readable. Once. */
tc_status tc_machine_await(struct tc_machine *machine, int patience_ms, int interrupt_fd,
                           int *ret_fd, struct tc_error *err) TC_MUST_USE;

/* Hangs up the session, which is what a guest that is done waits for, and waits
 * until the machine has ended by itself; patience_ms -1: for ever. TC_PEER: it
 * runs still, or the emulator failed; TC_INTERRUPTED: it runs still, and interrupt_fd
 * (-1: none) is readable. */
tc_status tc_machine_wait(struct tc_machine *machine, int patience_ms, int interrupt_fd,
                          struct tc_error *err) TC_MUST_USE;

/* Ends what still runs, waits for all of it and frees; accepts NULL. Says in err
 * what went wrong in device or page server, if anything did: TC_PEER. */
tc_status tc_machine_stop(struct tc_machine *machine, struct tc_error *err) TC_MUST_USE;

#endif
