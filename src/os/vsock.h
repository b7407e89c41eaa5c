/* Streams to the parent of an enclave. */
#ifndef TC_OS_VSOCK_H
#define TC_OS_VSOCK_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum {
    /* An enclave has one session. Shifted by tc_vsock_port_shift. */
    TC_VSOCK_PORT_SESSION = 7301,
    TC_VSOCK_PORT_PAGES = 7302,
    TC_VSOCK_PORT_EGRESS = 7303,
    TC_VSOCK_PORT_ATTESTER = 7304, /* where there is no NSM */
    /* Not 9000, where nitro-cli listens while it starts an enclave: it takes the first byte
     * that comes there for that enclave's, whosever it is. */
    TC_VSOCK_PORT_HEARTBEAT = 7305,
    /* The first CID that a guest can have; its ports are those above as they are. */
    TC_VSOCK_CID_FIRST = 4,
};

/* What is added to the ports above for the guest of that CID: the ports of a host are
 * one space for all its guests, and so each has its own. */
uint32_t tc_vsock_port_shift(uint32_t cid);

/* This machine's own CID. */
tc_status tc_vsock_local_cid(uint32_t *ret_cid, struct tc_error *err) TC_MUST_USE;

/* Which parent answers differs by platform. */
enum tc_parent {
    TC_PARENT_NITRO = 3, /* a Nitro enclave's parent instance */
    TC_PARENT_HOST = 2,  /* the host of any other virtual machine */
};

/* Most bytes of one write to this parent; 0: no cap. The vhost-user daemon that
 * serves TC_PARENT_HOST in user space never takes a packet of 64 KiB. */
size_t tc_vsock_piece(enum tc_parent parent);

/* Connects to one parent; ret_fd is owned, blocking and closed on exec. */
tc_status tc_vsock_connect(enum tc_parent parent, uint32_t port, unsigned timeout_ms, int *ret_fd,
                           struct tc_error *err) TC_MUST_USE;

/* Connects to whichever parent answers: Nitro's first and only for a moment,
 * since other platforms drop what is sent there; then the host; then Nitro's with
 * patience. */
tc_status tc_vsock_connect_out(uint32_t port, int *ret_fd, enum tc_parent *ret_parent,
                               struct tc_error *err) TC_MUST_USE;

#endif
