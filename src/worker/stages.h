/* Stages: PID 1 of the worker and the only privileged process (see spawner.h
 * for the table). Starts monitor and session, then serves the session. */
#ifndef TC_WORKER_STAGES_H
#define TC_WORKER_STAGES_H

#include <stddef.h>

#include "os/vsock.h"

struct tc_stages_config {
    int host_fd; /* stream socket to the host */
    int nsm_fd;  /* /dev/nsm, or a socket to the development attester */
    /* How the recorder's streams to the host open: descriptors sent over this
     * SOCK_SEQPACKET; -1: by vsock, to parent. */
    int dialler_fd;
    enum tc_parent parent;
    uint32_t port_shift; /* of the host's ports (os/vsock.h) */
    size_t host_piece;   /* most bytes of one write to the host; 0: no cap */
    /* Folders that the local launcher added to the toolchain (--host-tool);
     * their bin/ goes to the front of PATH. NULL-terminated. */
    const char *const *host_tools;
};

/* Runs one session and returns the worker's exit status: 0 when a document was
 * signed and everything sent, 1 otherwise. Reads no byte of the host itself.
 *  1. makes the scratch tmpfs, the cgroup for the build, checks /toolchain;
 *  2. forks the monitor (keeps nsm_fd and the image's text; uid 2; no capabilities;
 *     not dumpable; seccomp), the recorder (keeps dialler_fd and the toolchain's trust
 *     anchors; uid 3; likewise), then the session (keeps host_fd; uid 1; likewise);
 *  3. closes these descriptors in itself and serves the session's requests
 *     until it ends; then kills everything that is left. */
int tc_stages_run(const struct tc_stages_config *config);

/* What stages runs in the three children. All return an exit status. */
struct tc_session_config {
    int host_fd, spawner_fd, monitor_fd;
    int recorder_fd; /* recording.h */
    const char *const *host_tools;
    size_t host_piece;
};
int tc_session_main(const struct tc_session_config *config);

struct tc_recorder_process_config {
    int session_fd; /* recording.h */
    int stages_fd;  /* the listeners come over it (netns.h) */
    int monitor_fd;
    int dialler_fd; /* -1: vsock */
    int bundle_fd;  /* trust anchors of the toolchain; -1: it has none */
    int denied_fd;  /* its list of denied certificates; -1: it has none */
    enum tc_parent parent;
    uint32_t port_shift;
    size_t piece; /* most bytes of one write to the host; 0: no cap */
};
int tc_recorder_main(const struct tc_recorder_process_config *config);

struct tc_monitor_config {
    int nsm_fd, session_fd, stages_fd;
    int image_fd;    /* what the image says of itself; -1: nothing */
    int recorder_fd; /* stream socket to the recorder alone; -1: none, offline builds only */
};
int tc_monitor_main(const struct tc_monitor_config *config);

#endif
