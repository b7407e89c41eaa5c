/* PID 1 of the worker. Serves the session's requests in the order that
 * spawner.h fixes, and reaps: whatever the build left running becomes its child
 * when the sandbox's own PID 1 dies, so that "every process of the build is
 * dead" is a fact that waitpid states and not a guess.
 *
 *   START -> PREPARE -> UNPACK -> UNPACKED -> COMMAND* -> COLLECT -> end
 *
 * No polling and no sleeps: one poll over the session's socket and a signalfd. */
#include "worker/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "os/cgroup.h"
#include "os/message.h"
#include "worker/collect.h"
#include "worker/privilege.h"
#include "worker/requests.h"
#include "worker/sandbox.h"
#include "worker/spawner.h"
#include "worker/unpack.h"

enum {
    SANDBOX_TASKS = 3, /* bwrap, its PID 1, and one in between */
    BUILD_FILES_MAX = 65536,
    /* Where a child puts the descriptors that it keeps: above every other, so
     * that no dup2 takes the place of one that is still wanted. */
    KEPT_FD = 100,
};

enum progress { AT_START, PREPARED, UNPACKING, READY, RUNNING, COLLECTING, OVER };

struct stages {
    struct tc_cgroup cgroup;
    int build_folder; /* /scratch/build */
    int session_fd, monitor_fd, signal_fd;
    pid_t session, monitor;
    enum progress progress;
    pid_t helper;   /* unpacker or collector */
    bool helper_ended;
    int helper_status;
    bool unpacked_asked;
    pid_t command;  /* bwrap of the running command */
    bool timed_out, killed;
    int64_t deadline_ms;  /* of the running command, monotonic */
    int64_t time_left_ms; /* of limits.timeout, for all commands */
    int64_t command_started_ms, started;
    struct tc_cgroup_events before;
};

static int64_t now_ms(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- before anything of the host or the build is read --- */

static tc_status make_folder(const char *path, uid_t owner, mode_t mode, struct tc_error *err)
{
    if (mkdir(path, mode) != 0 || chmod(path, mode) != 0 || chown(path, owner, owner) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make %s", path);
    return TC_OK;
}

static tc_status make_scratch(struct stages *stages, struct tc_error *err)
{
    /* No limit of its own in bytes or inodes: the cgroup's is the one that
     * counts, and it cannot be hidden from us (docs/adr/0002). */
    if (mount("scratch", "/scratch", "tmpfs", MS_NOSUID | MS_NODEV, "size=0,nr_inodes=0,mode=0755") !=
        0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot mount the scratch file system");
    TC_TRY(make_folder("/scratch/build", TC_UID_BUILD, 0755, err));
    TC_TRY(make_folder("/scratch/home", TC_UID_BUILD, 0755, err));
    TC_TRY(make_folder("/scratch/tmp", TC_UID_BUILD, 01777, err));
    TC_TRY(make_folder("/scratch/shm", TC_UID_BUILD, 01777, err));
    stages->build_folder = open("/scratch/build", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
    if (stages->build_folder < 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot open the build folder");
    return TC_OK;
}

static tc_status block_signals(struct stages *stages, struct tc_error *err)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_SETMASK, &set, NULL) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot block signals");
    stages->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (stages->signal_fd < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for children");
    return TC_OK;
}

static void unblock_signals(void)
{
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

/* Which process a fork is to become: everything that it may keep is named. */
static tc_status fork_monitor(struct stages *stages, int nsm_fd, int session_end, int stages_end,
                              struct tc_error *err)
{
    pid_t pid = fork();
    if (pid < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot start the monitor");
    if (pid > 0) {
        stages->monitor = pid;
        return TC_OK;
    }
    unblock_signals();
    int keep[4] = {dup2(nsm_fd, KEPT_FD), dup2(session_end, KEPT_FD + 1),
                   dup2(stages_end, KEPT_FD + 2), -1};
    struct tc_error ignored = {0};
    if (keep[0] < 0 || keep[1] < 0 || keep[2] < 0) _exit(EXIT_FAILURE);
    tc_close_other_fds(keep);
    if (tc_privilege_drop(TC_UID_MONITOR, &ignored) != TC_OK ||
        tc_filter_self(TC_FILTER_MONITOR, &ignored) != TC_OK)
        _exit(EXIT_FAILURE);
    struct tc_monitor_config config = {keep[0], keep[1], keep[2]};
    _exit(tc_monitor_main(&config));
}

static tc_status fork_session(struct stages *stages, const struct tc_stages_config *given,
                              int spawner_end, int monitor_end, struct tc_error *err)
{
    pid_t pid = fork();
    if (pid < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot start the session");
    if (pid > 0) {
        stages->session = pid;
        return TC_OK;
    }
    unblock_signals();
    int keep[4] = {dup2(given->host_fd, KEPT_FD), dup2(spawner_end, KEPT_FD + 1),
                   dup2(monitor_end, KEPT_FD + 2), -1};
    struct tc_error ignored = {0};
    if (keep[0] < 0 || keep[1] < 0 || keep[2] < 0) _exit(EXIT_FAILURE);
    tc_close_other_fds(keep);
    if (tc_privilege_drop(TC_UID_SESSION, &ignored) != TC_OK ||
        tc_filter_self(TC_FILTER_SESSION, &ignored) != TC_OK)
        _exit(EXIT_FAILURE);
    struct tc_session_config config = {keep[0], keep[1], keep[2], given->host_tools};
    _exit(tc_session_main(&config));
}

static tc_status start_processes(struct stages *stages, const struct tc_stages_config *config,
                                 struct tc_error *err)
{
    int spawner[2], monitor[2], verdicts[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, spawner) != 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, monitor) != 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, verdicts) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make the worker's sockets");
    TC_TRY(fork_monitor(stages, config->nsm_fd, monitor[1], verdicts[1], err));
    TC_TRY(fork_session(stages, config, spawner[1], monitor[0], err));
    stages->session_fd = spawner[0];
    stages->monitor_fd = verdicts[0];
    (void)close(spawner[1]);
    (void)close(monitor[0]);
    (void)close(monitor[1]);
    (void)close(verdicts[1]);
    (void)close(config->host_fd);
    (void)close(config->nsm_fd);
    return TC_OK;
}

/* --- answers --- */

static tc_status answer(struct stages *stages, struct tc_reply *reply, struct tc_error *err)
{
    return tc_message_send(stages->session_fd, reply, sizeof *reply, NULL, 0, err);
}

/* ok or the failure in `result`, as the answer to a request. */
static tc_status answer_status(struct stages *stages, enum tc_request_kind kind,
                               const struct tc_error *result, struct tc_error *err)
{
    struct tc_reply reply = {.kind = kind, .status = result->status};
    if (result->status != TC_OK)
        (void)snprintf(reply.text, sizeof reply.text, "%s", result->message);
    return answer(stages, &reply, err);
}

static tc_status tell_monitor(struct stages *stages, uint32_t kind, bool clean, int64_t started,
                              int64_t finished, struct tc_error *err)
{
    struct tc_verdict_message message = {kind, clean, started, finished};
    return tc_message_send(stages->monitor_fd, &message, sizeof message, NULL, 0, err);
}

/* --- PREPARE --- */

static uint64_t available_memory(void)
{
    static const char name[] = "MemAvailable:";
    FILE *file = fopen("/proc/meminfo", "re");
    if (!file) return 0;
    char line[128];
    uint64_t kilobytes = 0;
    while (kilobytes == 0 && fgets(line, sizeof line, file))
        if (strncmp(line, name, sizeof name - 1) == 0)
            kilobytes = strtoull(line + sizeof name - 1, NULL, 10);
    (void)fclose(file);
    return kilobytes * 1024;
}

static tc_status prepare(struct stages *stages, const struct tc_request *request,
                         struct tc_error *err)
{
    struct tc_limits limits = {.timeout = request->timeout,
                               .memory = request->memory,
                               .disk = request->disk,
                               .log = TC_LIMIT_LOG_DEFAULT, /* the session's business */
                               .processes = request->processes};
    if (!tc_limits_are_valid(&limits))
        return tc_fail(err, TC_MALFORMED, "the session sent limits out of range");
    uint64_t needed = limits.memory + limits.disk, there = available_memory();
    char wanted[16], memory[16], disk[16], seen[16];
    if (there < needed)
        return tc_fail(err, TC_UNAVAILABLE,
                       "the build may use %s (limits.memory %s and limits.disk %s), but only %s of "
                       "memory are available: give the worker more or lower the limits",
                       tc_human_size(needed, wanted), tc_human_size(limits.memory, memory),
                       tc_human_size(limits.disk, disk), tc_human_size(there, seen));
    TC_TRY(tc_cgroup_limit(&stages->cgroup, needed, limits.processes + SANDBOX_TASKS, err));
    stages->time_left_ms = (int64_t)limits.timeout * 1000;
    return tc_cgroup_events_read(&stages->cgroup, &stages->before, err);
}

/* --- children under the build's uid --- */

/* The calls that every such child makes between fork and its own work. */
static tc_status become_build(struct stages *stages, struct tc_error *err)
{
    static const struct rlimit files = {BUILD_FILES_MAX, BUILD_FILES_MAX};
    unblock_signals();
    TC_TRY(tc_cgroup_join(&stages->cgroup, err));
    (void)umask(022);
    (void)setsid();
    (void)setrlimit(RLIMIT_NOFILE, &files);
    /* stages may have been told to survive an OOM; the build is not. */
    return tc_privilege_drop(TC_UID_BUILD, err);
}

static tc_status start_helper(struct stages *stages, int stream, int (*main)(int fd, int root_fd),
                              struct tc_error *err)
{
    pid_t pid = fork();
    if (pid < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot start a helper");
    if (pid > 0) {
        stages->helper = pid;
        stages->helper_ended = false;
        return TC_OK;
    }
    struct tc_error ignored = {0};
    int keep[3] = {dup2(stream, KEPT_FD), dup2(stages->build_folder, KEPT_FD + 1), -1};
    if (keep[0] < 0 || keep[1] < 0 || become_build(stages, &ignored) != TC_OK)
        _exit(EXIT_FAILURE);
    tc_close_other_fds(keep);
    if (tc_filter_build_self(&ignored) != TC_OK) _exit(EXIT_FAILURE);
    _exit(main(keep[0], keep[1]));
}

_Noreturn static void run_command(struct stages *stages, int command_fd, int log_fd)
{
    struct tc_error err = {0};
    int filter = -1;
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (nothing < 0 || dup2(nothing, STDIN_FILENO) < 0 || dup2(log_fd, STDOUT_FILENO) < 0 ||
        dup2(log_fd, STDERR_FILENO) < 0)
        _exit(TC_SANDBOX_NOT_STARTED);
    if (tc_filter_build_fd(&filter, &err) != TC_OK || become_build(stages, &err) != TC_OK) {
        (void)dprintf(STDERR_FILENO, "tee-compile: %s\n", err.message);
        _exit(TC_SANDBOX_NOT_STARTED);
    }
    /* bwrap itself must be able to write the id maps in /proc/self. */
    (void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
    (void)signal(SIGPIPE, SIG_DFL);
    int keep[3] = {dup2(command_fd, KEPT_FD), dup2(filter, KEPT_FD + 1), -1};
    if (keep[0] < 0 || keep[1] < 0) _exit(TC_SANDBOX_NOT_STARTED);
    tc_close_other_fds(keep);
    tc_sandbox_exec(keep[0], keep[1]);
}

static tc_status start_command(struct stages *stages, int command_fd, int log_fd,
                               struct tc_error *err)
{
    TC_TRY(tc_cgroup_events_read(&stages->cgroup, &stages->before, err));
    pid_t pid = fork();
    if (pid < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot start the command");
    if (pid == 0) run_command(stages, command_fd, log_fd);
    stages->command = pid;
    stages->timed_out = stages->killed = false;
    stages->started = (int64_t)time(NULL);
    stages->command_started_ms = now_ms(CLOCK_MONOTONIC);
    stages->deadline_ms = stages->command_started_ms + stages->time_left_ms;
    return TC_OK;
}

/* --- reaping --- */

/* Notes the end of one of our three kinds of children. TC_PEER when session or
 * monitor are gone: then everything is over. */
static tc_status note_end(struct stages *stages, pid_t pid, int status, struct tc_error *err)
{
    if (pid == stages->helper) {
        stages->helper_ended = true;
        stages->helper_status = status;
        stages->helper = 0;
    } else if (pid == stages->session) {
        stages->session = 0;
        bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        return tc_fail(err, TC_PEER, good ? "done" : "the session failed");
    } else if (pid == stages->monitor) {
        stages->monitor = 0;
        /* The session says why; it ends next. */
    }
    return TC_OK;
}

/* Kills and reaps until nothing of the build is left. Each round waits for a
 * child: what is listed and not our child has an ancestor below us that is
 * being killed too, and its orphans come to us. */
static tc_status kill_build(struct stages *stages, struct tc_error *err)
{
    for (;;) {
        size_t count;
        TC_TRY(tc_cgroup_kill(&stages->cgroup, &count, err));
        if (count == 0) return TC_OK;
        int status;
        pid_t pid = waitpid(-1, &status, 0);
        if (pid < 0 && errno != EINTR)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for the build to die");
        if (pid > 0) TC_TRY(note_end(stages, pid, status, err));
    }
}

static bool counted(const struct stages *stages, const struct tc_cgroup_events *now,
                    enum tc_run_end *ret_end)
{
    if (now->oom != stages->before.oom) {
        *ret_end = TC_RUN_OUT_OF_MEMORY;
        return true;
    }
    if (now->no_fork != stages->before.no_fork) {
        *ret_end = TC_RUN_OUT_OF_PROCESSES;
        return true;
    }
    return false;
}

/* The command's own process is dead; its status is only one of the things that
 * say how the command ended. */
static tc_status end_command(struct stages *stages, int status, struct tc_error *err)
{
    TC_TRY(kill_build(stages, err));
    int64_t spent = now_ms(CLOCK_MONOTONIC) - stages->command_started_ms;
    stages->time_left_ms = spent < stages->time_left_ms ? stages->time_left_ms - spent : 0;
    struct tc_cgroup_events now;
    TC_TRY(tc_cgroup_events_read(&stages->cgroup, &now, err));
    struct tc_reply reply = {.kind = TC_REQUEST_COMMAND,
                             .started = stages->started,
                             .finished = (int64_t)time(NULL)};
    enum tc_run_end end = WIFEXITED(status) ? TC_RUN_EXITED : TC_RUN_SIGNALED;
    reply.code = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
    if (!counted(stages, &now, &end)) {
        if (stages->timed_out) end = TC_RUN_TIMEOUT;
        else if (stages->killed) end = TC_RUN_KILLED;
    }
    reply.end = end;
    bool clean = end == TC_RUN_EXITED && reply.code == 0;
    stages->command = 0;
    stages->progress = READY;
    TC_TRY(tell_monitor(stages, TC_VERDICT_COMMAND, clean, reply.started, reply.finished, err));
    return answer(stages, &reply, err);
}

/* UNPACKED is answered when both the question and the end of the unpacker are
 * there. */
static tc_status end_unpacking(struct stages *stages, struct tc_error *err)
{
    struct tc_error result = {0};
    struct tc_cgroup_events now;
    enum tc_run_end end;
    TC_TRY(tc_cgroup_events_read(&stages->cgroup, &now, err));
    if (counted(stages, &now, &end))
        (void)tc_fail(&result, TC_LIMIT,
                      "the source does not fit into limits.disk and limits.memory: raise them");
    else if (!WIFEXITED(stages->helper_status) || WEXITSTATUS(stages->helper_status) != 0)
        (void)tc_fail(&result, TC_SYSTEM, "the unpacker failed");
    TC_TRY(tell_monitor(stages, TC_VERDICT_UNPACKED, result.status == TC_OK, 0, 0, err));
    stages->progress = READY;
    return answer_status(stages, TC_REQUEST_UNPACKED, &result, err);
}

static tc_status reap(struct stages *stages, struct tc_error *err)
{
    struct signalfd_siginfo info;
    while (read(stages->signal_fd, &info, sizeof info) > 0) {
    }
    for (;;) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid <= 0) break;
        if (stages->progress == RUNNING && pid == stages->command)
            TC_TRY(end_command(stages, status, err));
        else
            TC_TRY(note_end(stages, pid, status, err));
    }
    if (stages->progress == UNPACKING && stages->helper_ended && stages->unpacked_asked)
        return end_unpacking(stages, err);
    return TC_OK;
}

/* --- requests --- */

static tc_status out_of_order(const struct tc_request *request, struct tc_error *err)
{
    return tc_fail(err, TC_REFUSED, "the session asked for step %u out of its order", request->kind);
}

static tc_status serve(struct stages *stages, const struct tc_request *request, const int *fds,
                       size_t fds_count, struct tc_error *err)
{
    struct tc_error result = {0};
    enum tc_request_kind kind = (enum tc_request_kind)request->kind;
    if (kind == TC_REQUEST_PREPARE && stages->progress == AT_START && fds_count == 0) {
        stages->progress = PREPARED;
        (void)!prepare(stages, request, &result);
    } else if (kind == TC_REQUEST_UNPACK && stages->progress == PREPARED && fds_count == 1) {
        stages->progress = UNPACKING;
        (void)!start_helper(stages, fds[0], tc_unpack_main, &result);
    } else if (kind == TC_REQUEST_UNPACKED && stages->progress == UNPACKING && fds_count == 0 &&
               !stages->unpacked_asked) {
        stages->unpacked_asked = true;
        return stages->helper_ended ? end_unpacking(stages, err) : TC_OK;
    } else if (kind == TC_REQUEST_COMMAND && stages->progress == READY && fds_count == 2) {
        stages->progress = RUNNING;
        (void)!start_command(stages, fds[0], fds[1], &result);
    } else if (kind == TC_REQUEST_KILL && fds_count == 0) {
        /* May cross the command's own end: then there is nothing to kill. */
        if (stages->progress == RUNNING) {
            stages->killed = true;
            (void)kill(stages->command, SIGKILL);
        }
        return TC_OK;
    } else if (kind == TC_REQUEST_COLLECT && stages->progress == READY && fds_count == 1) {
        stages->progress = COLLECTING;
        TC_TRY(kill_build(stages, err));
        (void)!start_helper(stages, fds[0], tc_collect_main, &result);
    } else {
        return out_of_order(request, err);
    }
    /* A step that failed is the end. The session has been told why, and is left
     * alone to tell the host before it ends too. */
    if (result.status != TC_OK) stages->progress = OVER;
    return answer_status(stages, kind, &result, err);
}

static tc_status take_request(struct stages *stages, struct tc_error *err)
{
    struct tc_request request;
    int fds[TC_MESSAGE_FDS_MAX] = {-1, -1};
    size_t count = 0;
    TC_TRY(tc_message_receive(stages->session_fd, &request, sizeof request, fds, TC_MESSAGE_FDS_MAX,
                              &count, err));
    tc_status status = serve(stages, &request, fds, count, err);
    for (size_t i = 0; i < count; i++)
        (void)close(fds[i]);
    return status;
}

static int poll_timeout(const struct stages *stages)
{
    if (stages->progress != RUNNING || stages->timed_out) return -1;
    int64_t left = stages->deadline_ms - now_ms(CLOCK_MONOTONIC);
    return left <= 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
}

static tc_status loop(struct stages *stages, struct tc_error *err)
{
    for (;;) {
        struct pollfd fds[2] = {{.fd = stages->signal_fd, .events = POLLIN},
                                {.fd = stages->session_fd, .events = POLLIN}};
        int ready = poll(fds, 2, poll_timeout(stages));
        if (ready < 0 && errno != EINTR)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait");
        if (ready == 0 && stages->progress == RUNNING &&
            now_ms(CLOCK_MONOTONIC) >= stages->deadline_ms) {
            stages->timed_out = true;
            (void)kill(stages->command, SIGKILL);
        }
        if (ready <= 0) continue;
        /* A hang-up of the session is its end as a child too, whose exit status
         * says more: it is reaped before its socket is asked again. */
        if (fds[1].revents & (POLLHUP | POLLERR)) tc_close_ptr(&stages->session_fd);
        else if (fds[1].revents & POLLIN) TC_TRY(take_request(stages, err));
        if (fds[0].revents) TC_TRY(reap(stages, err));
    }
}

/* Ends everything; true when the session ended well by itself. */
static bool finish(struct stages *stages, const struct tc_error *reason)
{
    struct tc_error ignored = {0};
    bool good = reason->status == TC_PEER && strcmp(reason->message, "done") == 0;
    if (stages->session > 0) (void)kill(stages->session, SIGKILL);
    if (stages->monitor > 0) (void)kill(stages->monitor, SIGKILL);
    (void)!kill_build(stages, &ignored);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {
    }
    return good;
}

int tc_stages_run(const struct tc_stages_config *config)
{
    struct tc_error err = {0};
    struct stages stages = {.cgroup = TC_CGROUP_NONE,
                            .build_folder = -1,
                            .session_fd = -1,
                            .monitor_fd = -1,
                            .signal_fd = -1};
    tc_status status = tc_cgroup_make("/cgroup", "build", &stages.cgroup, &err);
    if (status == TC_OK) status = make_scratch(&stages, &err);
    if (status == TC_OK) status = block_signals(&stages, &err);
    if (status == TC_OK) status = start_processes(&stages, config, &err);
    if (status == TC_OK) status = loop(&stages, &err);
    bool good = finish(&stages, &err);
    if (!good) (void)dprintf(STDERR_FILENO, "tee-compile-worker: %s\n", err.message);
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
