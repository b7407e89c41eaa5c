/* The six kinds of children that stages forks. Each gets the descriptors that
 * are named here and no other, and gives up its privileges before it reads a
 * byte. All results are pids, for the caller to reap. */
#ifndef TC_WORKER_CHILDREN_H
#define TC_WORKER_CHILDREN_H

#include <stdbool.h>
#include <sys/types.h>

#include "os/cgroup.h"
#include "worker/stages.h"

/* Monitor, recorder and session, and the caller's ends of their sockets. Takes over the
 * descriptors of config: they live on in one child each. On failure what was
 * started stands in ret_children all the same, to be ended. */
struct tc_children {
    pid_t monitor, recorder, session;
    int session_fd;  /* requests */
    int verdict_fd;  /* to the monitor */
    int listener_fd; /* to the recorder */
};
tc_status tc_children_start(const struct tc_stages_config *config, struct tc_children *ret_children,
                            struct tc_error *err) TC_MUST_USE;

/* The unpacker or the collector, in the build's cgroup and under its uid. */
tc_status tc_child_helper(const struct tc_cgroup *cgroup, int (*main)(int fd, int root_fd), int fd,
                          int root_fd, pid_t *ret_pid, struct tc_error *err) TC_MUST_USE;

struct tc_child_command {
    int command_fd; /* sandbox.h */
    int log_fd;
    int status_fd; /* bwrap's --json-status-fd */
    bool network;  /* the caller's network namespace, not an empty one */
};
tc_status tc_child_command(const struct tc_cgroup *cgroup, const struct tc_child_command *command,
                           pid_t *ret_pid, struct tc_error *err) TC_MUST_USE;

/* Becomes the build's uid and sends SIGKILL to everything that this uid may
 * signal. */
tc_status tc_child_killer(pid_t *ret_pid, struct tc_error *err) TC_MUST_USE;

#endif
