/* The ends of the worker's processes: who it was, and that nobody is left. */
#include "worker/stages_internal.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "worker/children.h"

void tc_stages_note_end(struct stages *stages, pid_t pid, int status)
{
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (pid == stages->command) {
        stages->command = 0;
        stages->command_status = status;
    } else if (pid == stages->helper) {
        stages->helper = 0;
        stages->helper_status = status;
    } else if (pid == stages->session) {
        stages->session = 0;
        stages->session_good = good;
    } else if (pid == stages->monitor) {
        stages->monitor = 0;
        stages->monitor_good = good;
        if (!good) stages->broken = true;
    } else if (pid == stages->recorder) {
        stages->recorder = 0;
        if (!good) stages->broken = true;
    }
}

/* Blocks until one child has ended. */
tc_status tc_stages_reap_one(struct stages *stages, pid_t *ret_pid, int *ret_status,
                             struct tc_error *err)
{
    int status;
    pid_t pid;
    do
        pid = waitpid(-1, &status, 0);
    while (pid < 0 && errno == EINTR);
    if (pid < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for a child");
    tc_stages_note_end(stages, pid, status);
    *ret_pid = pid;
    *ret_status = status;
    return TC_OK;
}

void tc_stages_kill(pid_t pid)
{
    if (pid > 0) (void)kill(pid, SIGKILL);
}

/* Kills and reaps until nothing of the build is left.
 *
 * First what stages itself started, which may not have changed its uid yet; then,
 * from a process of the build's uid, everything of that uid. kill(-1) is one walk
 * under the lock that fork takes: no process can slip through by forking, as it
 * can while somebody reads a list of pids. All of them end up as children of
 * stages: bwrap asked to die with its parent, the sandbox's PID 1 takes its
 * namespace along, and orphans are PID 1's. */
tc_status tc_stages_kill_build(struct stages *stages, struct tc_error *err)
{
    pid_t killer, pid;
    int status;
    tc_stages_kill(stages->command);
    tc_stages_kill(stages->helper);
    while (stages->command > 0 || stages->helper > 0)
        TC_TRY(tc_stages_reap_one(stages, &pid, &status, err));
    TC_TRY(tc_child_killer(&killer, err));
    do
        TC_TRY(tc_stages_reap_one(stages, &pid, &status, err));
    while (pid != killer);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != EXIT_SUCCESS)
        return tc_fail(err, TC_SYSTEM, "the build's processes could not be killed");
    for (;;) {
        uint64_t tasks;
        TC_TRY(tc_cgroup_tasks(&stages->cgroup, &tasks, err));
        if (tasks == 0) return TC_OK;
        TC_TRY(tc_stages_reap_one(stages, &pid, &status, err));
    }
}

/* Did the build run into a limit of the cgroup, now or before? The kernel's
 * counters decide, not what the build makes of it. */
tc_status tc_stages_find_exhaustion(struct stages *stages, bool *ret_found,
                                    enum tc_run_end *ret_end, struct tc_error *err)
{
    struct tc_cgroup_events now;
    TC_TRY(tc_cgroup_events_read(&stages->cgroup, &now, err));
    *ret_found = true;
    if (now.oom != stages->before.oom)
        *ret_end = TC_RUN_OUT_OF_MEMORY;
    else if (now.no_fork != stages->before.no_fork)
        *ret_end = TC_RUN_OUT_OF_PROCESSES;
    else
        *ret_found = false;
    return TC_OK;
}
