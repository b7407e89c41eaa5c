/* The processes of a machine (machine.h), each after its fork: gives up what it
 * inherited, does its one thing, exits. Never returns. */
#ifndef TC_HOST_MACHINE_PARTS_H
#define TC_HOST_MACHINE_PARTS_H

#include <sys/types.h>

#include "host/machine.h"

enum {
    /* The session's, the pages', the heartbeat's, the egress's. */
    TC_MACHINE_OWN_PORTS = 4,
    TC_MACHINE_ALL_PORTS = TC_MACHINE_OWN_PORTS + TC_MACHINE_PORTS_MAX,
    TC_MACHINE_CID = 4, /* the guest's; any but the parent's */
};

struct tc_machine_part {
    pid_t parent;
    int complaints_fd; /* gets a line when it fails */
};

/* The emulator's end of the vsock device. */
struct tc_machine_vsock {
    int fd;       /* of our device, a socket; or the kernel's device itself */
    uint32_t cid; /* the kernel's: the guest's CID; 0: ours */
};

/* Ours. */
_Noreturn void tc_machine_run_device(const struct tc_machine_part *part, int front_fd,
                                     const struct tc_machine_port *ports, size_t count);
/* In its place where the guest has the kernel's: a listener for each of the ports, or -1. */
_Noreturn void tc_machine_run_listener(const struct tc_machine_part *part,
                                       const struct tc_vhost_ops *ops, uint32_t cid,
                                       const int *listeners, const struct tc_machine_port *ports,
                                       size_t count);
/* Dialler: where the guest's stream comes as a message (struct tc_machine_port). */
_Noreturn void tc_machine_run_pages(const struct tc_machine_part *part, int dialler, int file_fd);
_Noreturn void tc_machine_run_heartbeat(const struct tc_machine_part *part, int dialler);
/* Until the last writer to the pipe has gone. echo_fd: -1 when nobody looks on. */
_Noreturn void tc_machine_run_console(const struct tc_machine_part *part, int pipe_fd, int log_fd,
                                      int echo_fd);
_Noreturn void tc_machine_run_emulator(const struct tc_machine_part *part,
                                       const struct tc_machine_config *config,
                                       const struct tc_machine_vsock *vsock, int console_fd);

#endif
