/* The network that the worker asks the host for: each stream is one question
 * (core/egress.h), answered in a thread of its own. The host dials names and copies
 * bytes; it reads none of them. A name that leads to this machine itself, to its link or
 * to its cloud's services (loopback, 169.254.0.0/16, the machine's own addresses and more,
 * docs/formats.md) is refused: what the build may reach is the network, not its host. */
#ifndef TC_HOST_EGRESS_H
#define TC_HOST_EGRESS_H

#include "host/proxy.h"

enum { TC_EGRESS_STREAMS_MAX = 1024 }; /* at a time; more are refused */

struct tc_archive;
struct tc_archive_writer;

struct tc_egress_config {
    struct tc_proxy proxy; /* zeroed: names are dialled from here. Taken */
    /* Borrowed until tc_egress_stop has returned; NULL: none. With an archive to replay
     * nothing is dialled. */
    struct tc_archive_writer *archive;
    const struct tc_archive *replay;
};

struct tc_egress;

/* Starts no thread yet. */
tc_status tc_egress_new(struct tc_egress_config *config, struct tc_egress **ret_egress,
                        struct tc_error *err) TC_MUST_USE;

/* Serves one stream, a connected stream socket of AF_UNIX or AF_VSOCK; takes fd. Never waits. */
void tc_egress_take(struct tc_egress *egress, int fd);

/* Takes every stream that is sent over dialler_fd (SOCK_SEQPACKET; messages of one byte,
 * with one end of a socket pair), in a thread, until the other side hangs up. A message of
 * another form is dropped, and so is a stream for which this process has no descriptor
 * left: its asker is hung up on, the others are served. Takes dialler_fd. Once more only for
 * another worker, when the one before has gone: waits until its thread has seen that. */
tc_status tc_egress_follow(struct tc_egress *egress, int dialler_fd, struct tc_error *err)
    TC_MUST_USE;

/* Ends every stream and frees; a thread that still waits for the resolver ends by
 * itself. Accepts NULL. */
void tc_egress_stop(struct tc_egress *egress);

#endif
