/* What stages.c (requests) and stages_end.c (ends of processes) share. */
#ifndef TC_WORKER_STAGES_INTERNAL_H
#define TC_WORKER_STAGES_INTERNAL_H

#include <stdbool.h>
#include <sys/types.h>

#include "os/cgroup.h"
#include "worker/spawner.h"

enum progress { AT_START, PREPARED, UNPACKING, READY, RUNNING, COLLECTING };

struct stages {
    struct tc_cgroup cgroup;
    int build_folder; /* /scratch/build */
    int session_fd, monitor_fd, listener_fd, signal_fd;
    pid_t session, monitor, recorder; /* 0: ended */
    bool session_good, monitor_good;
    bool hijacked; /* this process is in the build's network namespace */
    enum progress progress;
    bool broken;
    pid_t helper; /* unpacker or collector; 0: ended */
    int helper_status;
    bool unpacked_asked;
    pid_t command; /* bwrap of the running command; 0: ended */
    int command_status;
    int status_fd; /* what bwrap says about the running command */
    bool timed_out, killed;
    int64_t deadline_ms;  /* of the running command, monotonic */
    int64_t time_left_ms; /* of limits.timeout, for all commands */
    int64_t command_started_ms, started;
    struct tc_cgroup_events before; /* as the cgroup was made: what grows is the build's */
};

/* Writes down that a child has ended, whichever it was. */
void tc_stages_note_end(struct stages *stages, pid_t pid, int status);

/* Blocks until one child has ended. */
tc_status tc_stages_reap_one(struct stages *stages, pid_t *ret_pid, int *ret_status,
                             struct tc_error *err) TC_MUST_USE;

void tc_stages_kill(pid_t pid); /* 0: there is nobody */

/* Kills and reaps until nothing of the build is left. */
tc_status tc_stages_kill_build(struct stages *stages, struct tc_error *err) TC_MUST_USE;

/* Did the build run into a limit of the cgroup, now or before? */
tc_status tc_stages_find_exhaustion(struct stages *stages, bool *ret_found,
                                    enum tc_run_end *ret_end, struct tc_error *err) TC_MUST_USE;

#endif
