#include "worker/children.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "core/denied.h"
#include "os/beneath.h"
#include "os/process.h"
#include "worker/privilege.h"
#include "worker/sandbox.h"
#include "worker/spawner.h"

/* Where tc_process_keep puts them. */
enum { FIRST = TC_PROCESS_FIRST_FD, SECOND, THIRD, FOURTH, FIFTH };

enum { RECORDER_FILES = 4096 };

static tc_status fork_child(const char *what, pid_t *ret_pid, struct tc_error *err)
{
    pid_t pid = fork();
    if (pid < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot start %s", what);
    *ret_pid = pid;
    return TC_OK;
}

_Noreturn static void give_up(const char *what, const struct tc_error *err)
{
    (void)dprintf(STDERR_FILENO, "tee-compile: %s could not be started: %s\n", what, err->message);
    _exit(TC_SANDBOX_NOT_STARTED);
}

/* Monitor, recorder and session: their own uid, their own descriptors, their filter. */
static tc_status confine(const int *fds, size_t fds_count, uid_t uid, enum tc_filter_kind filter,
                         struct tc_error *err)
{
    TC_TRY(tc_process_reset_signals(err));
    TC_TRY(tc_process_keep(fds, fds_count, -1, err));
    TC_TRY(tc_privilege_drop(uid, err));
    return tc_filter_self(filter, err);
}

static tc_status start_monitor(const struct tc_monitor_config *config, pid_t *ret_pid,
                               struct tc_error *err)
{
    pid_t pid = -1;
    TC_TRY(fork_child("the monitor", &pid, err));
    if (pid > 0) {
        *ret_pid = pid;
        return TC_OK;
    }
    const int fds[5] = {config->nsm_fd, config->session_fd, config->stages_fd, config->recorder_fd,
                        config->image_fd};
    bool text = config->image_fd >= 0;
    if (confine(fds, text ? 5 : 4, TC_UID_MONITOR, TC_FILTER_MONITOR, err) != TC_OK)
        give_up("the monitor", err);
    const struct tc_monitor_config kept = {.nsm_fd = FIRST,
                                           .session_fd = SECOND,
                                           .stages_fd = THIRD,
                                           .recorder_fd = FOURTH,
                                           .image_fd = text ? FIFTH : -1};
    _exit(tc_monitor_main(&kept));
}

/* A descriptor that is not there keeps no place. */
static int place(int fds[6], size_t *count, int fd)
{
    if (fd < 0) return -1;
    fds[*count] = fd;
    return TC_PROCESS_FIRST_FD + (int)(*count)++;
}

/* Two descriptors a connection, and more for what is kept open to servers. */
static tc_status widen_files(struct tc_error *err)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read RLIMIT_NOFILE");
    files.rlim_cur = files.rlim_max < RECORDER_FILES ? files.rlim_max : RECORDER_FILES;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot set RLIMIT_NOFILE");
    return TC_OK;
}

static tc_status start_recorder(const struct tc_recorder_process_config *config, pid_t *ret_pid,
                                struct tc_error *err)
{
    pid_t pid = -1;
    TC_TRY(fork_child("the recorder", &pid, err));
    if (pid > 0) {
        *ret_pid = pid;
        return TC_OK;
    }
    int fds[6];
    size_t count = 0;
    struct tc_recorder_process_config kept = *config;
    kept.session_fd = place(fds, &count, config->session_fd);
    kept.stages_fd = place(fds, &count, config->stages_fd);
    kept.monitor_fd = place(fds, &count, config->monitor_fd);
    kept.dialler_fd = place(fds, &count, config->dialler_fd);
    kept.bundle_fd = place(fds, &count, config->bundle_fd);
    kept.denied_fd = place(fds, &count, config->denied_fd);
    if (widen_files(err) != TC_OK ||
        confine(fds, count, TC_UID_RECORDER, TC_FILTER_RECORDER, err) != TC_OK)
        give_up("the recorder", err);
    _exit(tc_recorder_main(&kept));
}

static tc_status start_session(const struct tc_session_config *config, pid_t *ret_pid,
                               struct tc_error *err)
{
    pid_t pid = -1;
    TC_TRY(fork_child("the session", &pid, err));
    if (pid > 0) {
        *ret_pid = pid;
        return TC_OK;
    }
    const int fds[4] = {config->host_fd, config->spawner_fd, config->monitor_fd,
                        config->recorder_fd};
    if (confine(fds, 4, TC_UID_SESSION, TC_FILTER_SESSION, err) != TC_OK)
        give_up("the session", err);
    const struct tc_session_config kept = {.host_fd = FIRST,
                                           .spawner_fd = SECOND,
                                           .monitor_fd = THIRD,
                                           .recorder_fd = FOURTH,
                                           .host_tools = config->host_tools,
                                           .host_piece = config->host_piece};
    _exit(tc_session_main(&kept));
}

/* The two ends of every socket between two of the worker's processes. */
struct sockets {
    int spawner[2], verdicts[2], listeners[2]; /* stages with session, monitor, recorder */
    int monitor[2], recorder[2];               /* the session with both */
    int books[2];                              /* the recorder with the monitor */
};

static tc_status make_sockets(struct sockets *ret_sockets, struct tc_error *err)
{
    struct sockets sockets = {0};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets.spawner) != 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets.verdicts) != 0 ||
        socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets.listeners) != 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.monitor) != 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.recorder) != 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.books) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make the worker's sockets");
    *ret_sockets = sockets;
    return TC_OK;
}

static tc_status open_if_there(const char *path, int flags, int *ret_fd, struct tc_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | flags);
    if (fd < 0 && errno != ENOENT && errno != ENOTDIR)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot open %s", path);
    *ret_fd = fd;
    return TC_OK;
}

/* No link is followed on the way: it would lead out of the toolchain, or to nothing, and
 * a list that is not read denies nobody. */
static tc_status open_denied(int *ret_fd, struct tc_error *err)
{
    struct tc_error why = {0};
    uint64_t size;
    tc_status status = tc_open_beneath(TC_TOOLCHAIN, TC_DENIED_PATH, ret_fd, &size, &why);
    bool absent =
        status == TC_UNAVAILABLE &&
        faccessat(AT_FDCWD, TC_TOOLCHAIN "/" TC_DENIED_PATH, F_OK, AT_SYMLINK_NOFOLLOW) != 0 &&
        (errno == ENOENT || errno == ENOTDIR);
    if (status == TC_OK || absent) return TC_OK;
    *err = why;
    return tc_wrap(err, "the toolchain's list of denied certificates");
}

tc_status tc_children_start(const struct tc_stages_config *config, struct tc_children *ret_children,
                            struct tc_error *err)
{
    struct sockets sockets = {0};
    TC_AUTO_CLOSE int image = -1;
    TC_AUTO_CLOSE int anchors = -1;
    TC_AUTO_CLOSE int denied = -1;
    TC_TRY(open_if_there(TC_WORKER_IMAGE, O_NOFOLLOW, &image, err));
    TC_TRY(open_if_there(TC_TOOLCHAIN_ANCHORS, 0, &anchors, err));
    TC_TRY(open_denied(&denied, err));
    TC_TRY(make_sockets(&sockets, err));
    ret_children->session_fd = sockets.spawner[0];
    ret_children->verdict_fd = sockets.verdicts[0];
    ret_children->listener_fd = sockets.listeners[0];
    const struct tc_monitor_config for_monitor = {.nsm_fd = config->nsm_fd,
                                                  .session_fd = sockets.monitor[1],
                                                  .stages_fd = sockets.verdicts[1],
                                                  .recorder_fd = sockets.books[1],
                                                  .image_fd = image};
    const struct tc_recorder_process_config for_recorder = {.session_fd = sockets.recorder[1],
                                                            .stages_fd = sockets.listeners[1],
                                                            .monitor_fd = sockets.books[0],
                                                            .dialler_fd = config->dialler_fd,
                                                            .bundle_fd = anchors,
                                                            .denied_fd = denied,
                                                            .parent = config->parent,
                                                            .port_shift = config->port_shift,
                                                            .piece = config->host_piece};
    const struct tc_session_config for_session = {.host_fd = config->host_fd,
                                                  .spawner_fd = sockets.spawner[1],
                                                  .monitor_fd = sockets.monitor[0],
                                                  .recorder_fd = sockets.recorder[0],
                                                  .host_tools = config->host_tools,
                                                  .host_piece = config->host_piece};
    TC_TRY(start_monitor(&for_monitor, &ret_children->monitor, err));
    TC_TRY(start_recorder(&for_recorder, &ret_children->recorder, err));
    TC_TRY(start_session(&for_session, &ret_children->session, err));
    const int theirs[] = {sockets.spawner[1],  sockets.verdicts[1], sockets.listeners[1],
                          sockets.monitor[0],  sockets.monitor[1],  sockets.recorder[0],
                          sockets.recorder[1], sockets.books[0],    sockets.books[1],
                          config->host_fd,     config->nsm_fd};
    for (size_t i = 0; i < sizeof theirs / sizeof *theirs; i++)
        (void)close(theirs[i]);
    if (config->dialler_fd >= 0) (void)close(config->dialler_fd);
    return TC_OK;
}

/* --- children under the build's uid --- */

/* Every limit is set, so that the host's own do not shape the build. What the
 * host caps below that is said, not passed on: a hidden limit would be one that
 * the statement does not name. */
static tc_status set_limits(struct tc_error *err)
{
    static const struct {
        const char *name;
        __rlimit_resource_t resource;
        rlim_t value;
    } wanted[] = {
        {"RLIMIT_CORE", RLIMIT_CORE, 0},
        {"RLIMIT_NOFILE", RLIMIT_NOFILE, 16384},
        {"RLIMIT_STACK", RLIMIT_STACK, 8 << 20},
        {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK, 64 << 10},
        {"RLIMIT_RTPRIO", RLIMIT_RTPRIO, 0},
        {"RLIMIT_NICE", RLIMIT_NICE, 0},
        {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING, 1024},
        {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE, 819200},
        {"RLIMIT_RTTIME", RLIMIT_RTTIME, RLIM_INFINITY},
        {"RLIMIT_CPU", RLIMIT_CPU, RLIM_INFINITY},
        {"RLIMIT_FSIZE", RLIMIT_FSIZE, RLIM_INFINITY},
        {"RLIMIT_DATA", RLIMIT_DATA, RLIM_INFINITY},
        {"RLIMIT_AS", RLIMIT_AS, RLIM_INFINITY},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        struct rlimit limit = {wanted[i].value, wanted[i].value};
        if (setrlimit(wanted[i].resource, &limit) != 0)
            return tc_fail_errno(
                err, TC_UNAVAILABLE, errno,
                "cannot set %s; the hard limit that the worker was started with is "
                "lower",
                wanted[i].name);
    }
    /* The cgroup counts the build's processes; this one is not lower (prepare.c). */
    struct rlimit processes;
    if (getrlimit(RLIMIT_NPROC, &processes) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read RLIMIT_NPROC");
    processes.rlim_cur = processes.rlim_max;
    if (setrlimit(RLIMIT_NPROC, &processes) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot set RLIMIT_NPROC");
    return TC_OK;
}

/* A process that the OOM killer passes over would meet ENOMEM instead, which it
 * could hide. Being uid 0 of a user namespace gives no right to lower the value
 * below where the platform started us, so trying tells. */
static tc_status check_oom_score(struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    char text[16] = "";
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read /proc/self/oom_score_adj");
    if (*text != '-' && pwrite(fd, "-1", 2, 0) < 0) return TC_OK;
    return tc_fail(err, TC_UNAVAILABLE,
                   "the build could withdraw itself from the OOM killer; start the worker with "
                   "oom_score_adj 0 or above");
}

/* Joins the cgroup first: from then on whatever it allocates is the build's. */
static tc_status become_build(const struct tc_cgroup *cgroup, struct tc_error *err)
{
    TC_TRY(tc_process_reset_signals(err));
    TC_TRY(tc_cgroup_join(cgroup, err));
    TC_TRY(check_oom_score(err));
    TC_TRY(set_limits(err));
    (void)umask(022);
    (void)setpriority(PRIO_PROCESS, 0, 0); /* back up is not allowed to everybody */
    if (setsid() < 0 || chdir("/") != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot leave the worker's session");
    return TC_OK;
}

tc_status tc_child_helper(const struct tc_cgroup *cgroup, int (*main)(int fd, int root_fd), int fd,
                          int root_fd, pid_t *ret_pid, struct tc_error *err)
{
    pid_t pid = -1;
    TC_TRY(fork_child("a helper", &pid, err));
    if (pid > 0) {
        *ret_pid = pid;
        return TC_OK;
    }
    const int fds[2] = {fd, root_fd};
    if (become_build(cgroup, err) != TC_OK || tc_process_keep(fds, 2, -1, err) != TC_OK ||
        tc_privilege_drop(TC_UID_BUILD, err) != TC_OK ||
        tc_filter_self(TC_FILTER_HELPER, err) != TC_OK)
        give_up("a helper", err);
    _exit(main(FIRST, SECOND));
}

static tc_status become_command(const struct tc_cgroup *cgroup,
                                const struct tc_child_command *command, struct tc_error *err)
{
    TC_AUTO_CLOSE int filter = -1;
    TC_TRY(tc_filter_build_fd(&filter, err));
    TC_TRY(become_build(cgroup, err));
    const int fds[3] = {command->command_fd, filter, command->status_fd};
    TC_TRY(tc_process_keep(fds, 3, command->log_fd, err));
    filter = -1; /* it lives on at SECOND */
    TC_TRY(tc_privilege_drop(TC_UID_BUILD, err));
    /* bwrap closes what it was told about and hands on the rest: the memfd is
     * the session's too, and not for the build to write into. */
    if (fcntl(FIRST, F_SETFD, FD_CLOEXEC) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot mark a descriptor");
    return TC_OK;
}

tc_status tc_child_command(const struct tc_cgroup *cgroup, const struct tc_child_command *command,
                           pid_t *ret_pid, struct tc_error *err)
{
    pid_t pid = -1;
    TC_TRY(fork_child("the command", &pid, err));
    if (pid > 0) {
        *ret_pid = pid;
        return TC_OK;
    }
    if (become_command(cgroup, command, err) != TC_OK) {
        (void)dup2(command->log_fd, STDERR_FILENO);
        give_up("the sandbox", err);
    }
    tc_sandbox_exec(FIRST, SECOND, THIRD, command->network);
}

tc_status tc_child_killer(pid_t *ret_pid, struct tc_error *err)
{
    pid_t pid = -1;
    TC_TRY(fork_child("the killer", &pid, err));
    if (pid > 0) {
        *ret_pid = pid;
        return TC_OK;
    }
    /* ESRCH: there was nobody left. */
    if (tc_privilege_drop(TC_UID_BUILD, err) == TC_OK && (kill(-1, SIGKILL) == 0 || errno == ESRCH))
        _exit(EXIT_SUCCESS);
    _exit(EXIT_FAILURE);
}
