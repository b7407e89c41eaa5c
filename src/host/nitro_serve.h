/* What an enclave finds on its parent: the ports of os/vsock.h, shifted by its CID, so
 * that each of several enclaves has its own. A stream counts only when it comes from the
 * CID of this enclave; any other is closed unread.
 *
 * One thread takes what connects, watches the enclave and copies the console; the page
 * server has another. */
#ifndef TC_HOST_NITRO_SERVE_H
#define TC_HOST_NITRO_SERVE_H

#include "host/backend.h"
#include "host/nitro_ops.h"

struct tc_nitro_ports {
    uint32_t cid; /* free here: nobody else listens on its ports */
    int session_fd, pages_fd, egress_fd, heartbeat_fd;
};
#define TC_NITRO_PORTS_NONE                                                                        \
    (struct tc_nitro_ports)                                                                        \
    {                                                                                              \
        .session_fd = -1, .pages_fd = -1, .egress_fd = -1, .heartbeat_fd = -1                      \
    }

/* Chooses a CID at random and listens for it, before it can connect. */
tc_status tc_nitro_ports_open(const struct tc_nitro_ops *ops, struct tc_nitro_ports *ret_ports,
                              struct tc_error *err) TC_MUST_USE;
void tc_nitro_ports_close(struct tc_nitro_ports *ports);

struct tc_nitro_server;
struct tc_nitro_server_config {
    const struct tc_nitro_ops *ops;
    struct tc_nitro_ports *ports; /* taken: each is closed as soon as nobody has to come there */
    int enclave_fd;               /* borrowed until the server has stopped, as all below */
    int console_fd;               /* copied to stderr; -1: none */
    int root_fd;                  /* file with the toolchain's pages; -1: none is served */
    struct tc_egress *egress;     /* NULL: nobody answers for the network */
};

tc_status tc_nitro_server_start(const struct tc_nitro_server_config *config,
                                struct tc_nitro_server **ret_server, struct tc_error *err)
    TC_MUST_USE;

/* Waits for the session's stream, at most patience_ms, whoever else connects; ret_fd is the
 * server's, which hangs it up when the enclave ends. TC_PEER: it ended, or nobody came. */
tc_status tc_nitro_server_session(struct tc_nitro_server *server, int patience_ms, int interrupt_fd,
                                  int *ret_fd, struct tc_error *err) TC_MUST_USE;

/* Why the page server gave up, if it did: a reason why an enclave ended. NULL: it did not. */
const char *tc_nitro_server_problem(struct tc_nitro_server *server);

/* Hangs up, ends the threads and frees. Accepts NULL. */
void tc_nitro_server_stop(struct tc_nitro_server *server);

#endif
