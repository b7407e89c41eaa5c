/* PID 1 of the worker. Serves the session's requests in the order that
 * spawner.h fixes, and reaps: whatever the build left running becomes its child
 * when the sandbox's own PID 1 dies, so that "every process of the build is
 * dead" is a fact that the kernel states and not a guess.
 *
 *   START -> PREPARE -> UNPACK -> UNPACKED -> COMMAND* -> COLLECT -> end
 *
 * A step that fails is answered, so that the session can tell the host, and is
 * the last: `broken` refuses every further one. A request out of order is no
 * failure but an attack, and ends the worker at once.
 *
 * No polling and no sleeps: one poll over the session's socket and a signalfd. */
#include "worker/stages.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "os/cgroup.h"
#include "os/clock.h"
#include "os/message.h"
#include "worker/children.h"
#include "worker/collect.h"
#include "worker/prepare.h"
#include "worker/privilege.h"
#include "worker/requests.h"
#include "worker/sandbox.h"
#include "worker/spawner.h"
#include "worker/stages_internal.h"
#include "worker/unpack.h"

/* --- before anything of the host or the build is read --- */

#define CAPABILITY(name) (UINT64_C(1) << (name))

/* What the requests need: to end processes, to change uids of children, to open
 * the log pipe to the build. Mounting is over after PREPARE. */
static const uint64_t serving_capabilities = CAPABILITY(CAP_KILL) | CAPABILITY(CAP_SETUID) |
                                             CAPABILITY(CAP_SETGID) | CAPABILITY(CAP_SETPCAP) |
                                             CAPABILITY(CAP_FOWNER);

static tc_status catch_children(struct stages *stages, struct tc_error *err)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_SETMASK, &set, NULL) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot block signals");
    stages->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (stages->signal_fd < 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for children");
    return TC_OK;
}

/* --- answers --- */

static tc_status answer(struct stages *stages, struct tc_reply *reply, struct tc_error *err)
{
    if (stages->session_fd < 0) return TC_OK; /* it hung up, and will not hear */
    return tc_message_send(stages->session_fd, reply, sizeof *reply, NULL, 0, err);
}

static tc_status answer_status(struct stages *stages, enum tc_request_kind kind,
                               const struct tc_error *result, struct tc_error *err)
{
    struct tc_reply reply = {.kind = kind, .status = result->status};
    if (result->status != TC_OK) {
        stages->broken = true;
        (void)snprintf(reply.text, sizeof reply.text, "%s", result->message);
    }
    return answer(stages, &reply, err);
}

static tc_status tell_monitor(struct stages *stages, uint32_t kind, bool clean, int64_t started,
                              int64_t finished, struct tc_error *err)
{
    struct tc_verdict_message message = {kind, clean, started, finished};
    if (!clean) stages->broken = true;
    /* A monitor that is gone signs nothing: the session finds that out itself. */
    if (stages->monitor == 0) return TC_OK;
    return tc_message_send(stages->monitor_fd, &message, sizeof message, NULL, 0, err);
}

/* --- how things ended --- */

/* Every process that could have written is dead: what is there is all. */
static bool command_has_run(struct stages *stages)
{
    uint8_t text[4096];
    ssize_t got = read(stages->status_fd, text, sizeof text);
    tc_close_ptr(&stages->status_fd);
    return got > 0 && tc_sandbox_has_run((struct tc_span){text, (size_t)got});
}

static tc_status classify(struct stages *stages, enum tc_run_end *ret_end, struct tc_error *err)
{
    bool exhausted;
    bool has_run = command_has_run(stages);
    TC_TRY(tc_stages_find_exhaustion(stages, &exhausted, ret_end, err));
    if (exhausted) return TC_OK;
    *ret_end = stages->killed                        ? TC_RUN_KILLED
               : stages->timed_out                   ? TC_RUN_TIMEOUT
               : WIFSIGNALED(stages->command_status) ? TC_RUN_SIGNALED
               : has_run                             ? TC_RUN_EXITED
                                                     : TC_RUN_NOT_STARTED;
    return TC_OK;
}

/* The command's own process is dead; its status is only one of the things that
 * say how the command ended. */
static tc_status end_command(struct stages *stages, struct tc_error *err)
{
    TC_TRY(tc_stages_kill_build(stages, err));
    int64_t spent = tc_clock_ms() - stages->command_started_ms;
    stages->time_left_ms = spent < stages->time_left_ms ? stages->time_left_ms - spent : 0;
    enum tc_run_end end;
    TC_TRY(classify(stages, &end, err));
    int status = stages->command_status;
    struct tc_reply reply = {.kind = TC_REQUEST_COMMAND,
                             .end = end,
                             .code = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status),
                             .started = stages->started,
                             .finished = (int64_t)time(NULL)};
    bool clean = end == TC_RUN_EXITED && reply.code == 0;
    stages->progress = READY;
    TC_TRY(tell_monitor(stages, TC_VERDICT_COMMAND, clean, reply.started, reply.finished, err));
    return answer(stages, &reply, err);
}

/* When both the question and the end of the unpacker are there. */
static tc_status end_unpacking(struct stages *stages, struct tc_error *err)
{
    struct tc_error result = {0};
    enum tc_run_end end;
    bool exhausted;
    TC_TRY(tc_stages_kill_build(stages, err));
    TC_TRY(tc_stages_find_exhaustion(stages, &exhausted, &end, err));
    if (exhausted)
        (void)tc_fail(&result, TC_LIMIT,
                      "the source does not fit into limits.disk and limits.memory: raise them in "
                      "build.json");
    else if (!WIFEXITED(stages->helper_status) || WEXITSTATUS(stages->helper_status) != 0)
        (void)tc_fail(&result, TC_SYSTEM, "the unpacker failed");
    stages->progress = READY;
    TC_TRY(tell_monitor(stages, TC_VERDICT_UNPACKED, result.status == TC_OK, 0, 0, err));
    return answer_status(stages, TC_REQUEST_UNPACKED, &result, err);
}

/* KILL may cross the command's own end: then there is nothing to kill. */
static tc_status kill_command(struct stages *stages)
{
    if (stages->progress == RUNNING) {
        stages->killed = true;
        tc_stages_kill(stages->command);
    }
    return TC_OK;
}

/* Acts on the ends that note_end has written down. */
static tc_status take_ends(struct stages *stages, struct tc_error *err)
{
    if (stages->progress == RUNNING && stages->command == 0) TC_TRY(end_command(stages, err));
    if (stages->progress == UNPACKING && stages->helper == 0 && stages->unpacked_asked)
        TC_TRY(end_unpacking(stages, err));
    /* Nothing that still runs can be signed for. */
    return stages->broken ? kill_command(stages) : TC_OK;
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
        tc_stages_note_end(stages, pid, status);
    }
    return take_ends(stages, err);
}

/* --- requests --- */

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
    if (request->hijacked > 1 || request->ports_count > TC_NETNS_PORTS_MAX)
        return tc_fail(err, TC_MALFORMED, "the session sent a network that nobody knows");
    stages->time_left_ms = (int64_t)limits.timeout * 1000;
    TC_TRY(tc_cgroup_events_read(&stages->cgroup, &stages->before, err));
    TC_TRY(tc_prepare(&stages->cgroup, &limits, &stages->build_folder, err));
    if (request->hijacked) {
        enum tc_hijack hijack;
        TC_TRY(tc_netns_enter(request->ports, request->ports_count, stages->listener_fd, &hijack,
                              err));
        stages->hijacked = true;
    }
    tc_close_ptr(&stages->listener_fd);
    return tc_privilege_keep(serving_capabilities, err);
}

static tc_status start_command(struct stages *stages, int command_fd, int log_fd,
                               struct tc_error *err)
{
    int status[2];
    /* A program that opens /dev/stderr opens the pipe anew. It may write there,
     * not read: the log is the session's. */
    if (fchmod(log_fd, 0622) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot open the log to the build");
    if (pipe2(status, O_CLOEXEC | O_NONBLOCK) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make a pipe");
    TC_AUTO_CLOSE int read_end = status[0];
    TC_AUTO_CLOSE int write_end = status[1];
    struct tc_child_command command = {command_fd, log_fd, write_end, stages->hijacked};
    stages->timed_out = stages->killed = false;
    stages->started = (int64_t)time(NULL);
    stages->command_started_ms = tc_clock_ms();
    stages->deadline_ms = stages->command_started_ms + stages->time_left_ms;
    TC_TRY(tc_child_command(&stages->cgroup, &command, &stages->command, err));
    stages->status_fd = TC_TAKE_FD(read_end);
    stages->progress = RUNNING;
    return TC_OK;
}

/* The steps that are answered at once. Returns what serve must answer with. */
static tc_status step(struct stages *stages, enum tc_request_kind kind,
                      const struct tc_request *request, const int *fds, struct tc_error *err)
{
    if (stages->broken)
        return tc_fail(
            err, TC_REFUSED,
            "an earlier step failed or a process of the worker ended: nothing more is done");
    if (kind == TC_REQUEST_PREPARE) {
        stages->progress = PREPARED;
        return prepare(stages, request, err);
    }
    if (kind == TC_REQUEST_UNPACK) {
        stages->progress = UNPACKING;
        return tc_child_helper(&stages->cgroup, tc_unpack_main, fds[0], stages->build_folder,
                               &stages->helper, err);
    }
    if (kind == TC_REQUEST_COMMAND) return start_command(stages, fds[0], fds[1], err);
    stages->progress = COLLECTING;
    TC_TRY(tc_stages_kill_build(stages, err));
    return tc_child_helper(&stages->cgroup, tc_collect_main, fds[0], stages->build_folder,
                           &stages->helper, err);
}

static bool is_in_order(const struct stages *stages, enum tc_request_kind kind, size_t fds_count)
{
    enum progress at = stages->progress;
    switch (kind) {
    case TC_REQUEST_PREPARE: return at == AT_START && fds_count == 0;
    case TC_REQUEST_UNPACK: return at == PREPARED && fds_count == 1;
    case TC_REQUEST_UNPACKED: return at == UNPACKING && fds_count == 0 && !stages->unpacked_asked;
    case TC_REQUEST_COMMAND: return at == READY && fds_count == 2;
    case TC_REQUEST_KILL: return fds_count == 0;
    case TC_REQUEST_COLLECT: return at == READY && fds_count == 1;
    }
    return false;
}

static tc_status serve(struct stages *stages, const struct tc_request *request, const int *fds,
                       size_t fds_count, struct tc_error *err)
{
    enum tc_request_kind kind = (enum tc_request_kind)request->kind;
    if (!is_in_order(stages, kind, fds_count))
        return tc_fail(err, TC_REFUSED, "the session asked for step %u out of its order",
                       request->kind);
    if (kind == TC_REQUEST_KILL) return kill_command(stages);
    if (kind == TC_REQUEST_UNPACKED) {
        stages->unpacked_asked = true;
        return take_ends(stages, err);
    }
    struct tc_error result = {0};
    (void)!step(stages, kind, request, fds, &result);
    return answer_status(stages, kind, &result, err);
}

static tc_status take_request(struct stages *stages, struct tc_error *err)
{
    struct tc_request request;
    int fds[TC_MESSAGE_FDS_MAX] = {-1, -1};
    size_t count = 0;
    tc_status status = tc_message_receive(stages->session_fd, &request, sizeof request, fds,
                                          TC_MESSAGE_FDS_MAX, &count, err);
    /* A hang-up: the end of the session as a child comes next, and says more. */
    if (status == TC_PEER) tc_close_ptr(&stages->session_fd);
    if (status != TC_OK) return status == TC_PEER ? TC_OK : status;
    status = serve(stages, &request, fds, count, err);
    for (size_t i = 0; i < count; i++)
        (void)close(fds[i]);
    return status;
}

static int poll_timeout(const struct stages *stages)
{
    if (stages->progress != RUNNING || stages->timed_out) return -1;
    int64_t left = stages->deadline_ms - tc_clock_ms();
    return left <= 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
}

static void check_deadline(struct stages *stages)
{
    if (stages->progress != RUNNING || stages->timed_out || tc_clock_ms() < stages->deadline_ms) return;
    stages->timed_out = true;
    tc_stages_kill(stages->command);
}

/* Until the session has ended. */
static tc_status loop(struct stages *stages, struct tc_error *err)
{
    while (stages->session > 0) {
        struct pollfd fds[2] = {{.fd = stages->signal_fd, .events = POLLIN},
                                {.fd = stages->session_fd, .events = POLLIN}};
        if (poll(fds, 2, poll_timeout(stages)) < 0) {
            if (errno == EINTR) continue;
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait");
        }
        check_deadline(stages);
        if (fds[1].revents) TC_TRY(take_request(stages, err));
        if (fds[0].revents) TC_TRY(reap(stages, err));
    }
    return TC_OK;
}

/* Ends everything. The monitor ends by itself when it has signed, or when it
 * hears that the session is gone. */
static tc_status finish(struct stages *stages, tc_status status, struct tc_error *err)
{
    struct tc_error ignored = {0};
    pid_t pid;
    int code;
    tc_stages_kill(stages->session);
    if (status != TC_OK || !stages->session_good) {
        tc_stages_kill(stages->monitor);
        tc_stages_kill(stages->recorder);
    }
    while ((stages->session > 0 || stages->monitor > 0 || stages->recorder > 0) &&
           tc_stages_reap_one(stages, &pid, &code, &ignored) == TC_OK) {
    }
    tc_status killed = tc_stages_kill_build(stages, &ignored);
    if (status != TC_OK) return status;
    if (!stages->session_good) return tc_fail(err, TC_PEER, "the session ended in failure");
    if (!stages->monitor_good || stages->broken)
        return tc_fail(err, TC_REFUSED, "the session ended well, but nothing was signed");
    if (killed != TC_OK) *err = ignored;
    return killed;
}

int tc_stages_run(const struct tc_stages_config *config)
{
    struct tc_error err = {0};
    struct stages stages = {.cgroup = TC_CGROUP_NONE,
                            .build_folder = -1,
                            .signal_fd = -1,
                            .status_fd = -1,
                            .listener_fd = -1};
    tc_status status = tc_cgroup_make("/cgroup", "build", &stages.cgroup, &err);
    if (status == TC_OK && access("/toolchain/bin/bash", X_OK) != 0)
        status = tc_fail_errno(&err, TC_UNAVAILABLE, errno, "the toolchain has no /bin/bash");
    if (status == TC_OK)
        status = tc_privilege_keep(serving_capabilities | CAPABILITY(CAP_SYS_ADMIN) |
                                       CAPABILITY(CAP_CHOWN) | CAPABILITY(CAP_NET_ADMIN) |
                                       CAPABILITY(CAP_NET_BIND_SERVICE),
                                   &err);
    if (status == TC_OK) status = catch_children(&stages, &err);
    struct tc_children children = {.session_fd = -1, .verdict_fd = -1, .listener_fd = -1};
    if (status == TC_OK) status = tc_children_start(config, &children, &err);
    stages.session = children.session;
    stages.monitor = children.monitor;
    stages.recorder = children.recorder;
    stages.session_fd = children.session_fd;
    stages.monitor_fd = children.verdict_fd;
    stages.listener_fd = children.listener_fd;
    if (status == TC_OK) status = loop(&stages, &err);
    if (finish(&stages, status, &err) == TC_OK) return EXIT_SUCCESS;
    (void)dprintf(STDERR_FILENO, "tee-compile-worker: %s\n", err.message);
    return EXIT_FAILURE;
}
