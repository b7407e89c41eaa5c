/* The five kinds of children that stages forks. Each gets the descriptors that
 * are named here and no other, and gives up its privileges before it reads a
 * byte. All results are pids, for the caller to reap. */
#ifndef TC_WORKER_CHILDREN_H
#define TC_WORKER_CHILDREN_H

#include <sys/types.h>

#include "os/cgroup.h"
#include "worker/stages.h"

tc_status tc_child_monitor(const struct tc_monitor_config *config, pid_t *ret_pid,
                           struct tc_error *err) TC_MUST_USE;
tc_status tc_child_session(const struct tc_session_config *config, pid_t *ret_pid,
                           struct tc_error *err) TC_MUST_USE;

/* The unpacker or the collector, in the build's cgroup and under its uid. */
tc_status tc_child_helper(const struct tc_cgroup *cgroup, int (*main)(int fd, int root_fd), int fd,
                          int root_fd, pid_t *ret_pid, struct tc_error *err) TC_MUST_USE;

struct tc_child_command {
    int command_fd; /* sandbox.h */
    int log_fd;
    int status_fd; /* bwrap's --json-status-fd */
};
tc_status tc_child_command(const struct tc_cgroup *cgroup, const struct tc_child_command *command,
                           pid_t *ret_pid, struct tc_error *err) TC_MUST_USE;

/* Becomes the build's uid and sends SIGKILL to everything that this uid may
 * signal. */
tc_status tc_child_killer(pid_t *ret_pid, struct tc_error *err) TC_MUST_USE;

#endif
