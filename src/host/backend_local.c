/* The local back end: the worker in Linux namespaces of this machine, unix
 * sockets for vsock, the development attester for the NSM.
 *
 *   client -- fork --> attester (serves the NSM protocol; a process of its own)
 *          -- fork --> launcher: new user namespace; waits for its map
 *                        -- unshare the rest, fork --> PID 1: assembles the root,
 *                                                      becomes tee-compile-worker
 *
 * Every privileged step is the launcher's and PID 1's, before the worker runs. All
 * of them die with the client: each has asked the kernel for a SIGKILL when its
 * parent dies, and the pid namespace takes the rest along. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "core/pcr.h"
#include "host/backend.h"
#include "host/devattest.h"
#include "host/local_cgroup.h"
#include "host/local_ids.h"
#include "host/local_root.h"

enum {
    WORKER_HOST_FD = 3,
    WORKER_NSM_FD = 4,
    WORKER_ARGUMENTS = 5 + 2 * 16 + 1,
    STOP_PATIENCE_MS = 10000,
};

struct tc_enclave {
    pid_t launcher, attester;
    int launcher_pidfd;
    int host_fd;
    struct tc_local_cgroup cgroup;
};

/* --- in the children --- */

/* Called after every change of credentials: the kernel forgets it then. */
static bool die_with(pid_t parent)
{
    return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == parent;
}

static void reset_signals(void)
{
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    for (int signal_number = 1; signal_number < SIGRTMIN; signal_number++)
        (void)signal(signal_number, SIG_DFL);
}

_Noreturn static void complain(const struct tc_error *err)
{
    (void)dprintf(STDERR_FILENO, "tee-compile: %s\n", err->message);
    _exit(EXIT_FAILURE);
}

_Noreturn static void run_attester(const struct tc_backend_config *config, int fd, pid_t parent)
{
    struct tc_error err = {0};
    struct tc_sha384 pcr;
    reset_signals();
    (void)setsid();
    if (!die_with(parent)) _exit(EXIT_FAILURE);
    if (dup2(fd, 3) != 3) _exit(EXIT_FAILURE);
    (void)close_range(4, ~0U, 0);
    if (tc_pcr_unmeasured(&pcr, &err) != TC_OK) complain(&err);
    const struct tc_sha384 pcrs[3] = {pcr, pcr, pcr};
    struct tc_devattest_config attester = {config->devroot_folder, pcrs};
    if (tc_devattest_serve(3, &attester, &err) != TC_OK) complain(&err);
    _exit(EXIT_SUCCESS);
}

struct launch {
    const struct tc_backend_config *config;
    const struct tc_local_cgroup *cgroup;
    int host_fd, nsm_fd, worker_fd;
    int report_fd; /* a message when the start fails; closed when the worker runs */
};

_Noreturn static void fail_start(const struct launch *launch, const struct tc_error *err)
{
    (void)!write(launch->report_fd, err, sizeof *err);
    _exit(EXIT_FAILURE);
}

/* PID 1 of the new namespaces, until it becomes the worker. */
_Noreturn static void become_worker(const struct launch *launch)
{
    struct tc_error err = {0};
    struct tc_local_root root = {launch->config->host_tools, launch->cgroup->memory,
                                 launch->cgroup->pids};
    /* Its parent lies outside the pid namespace, where it has no number. */
    if (!die_with(0)) _exit(EXIT_FAILURE);
    if (tc_local_root_enter(&root, &err) != TC_OK) fail_start(launch, &err);

    const char *arguments[WORKER_ARGUMENTS] = {"tee-compile-worker", "--host-fd", "3", "--nsm-fd",
                                               "4"};
    size_t count = 5;
    for (const char *const *tool = launch->config->host_tools; tool && *tool; tool++) {
        if (count + 2 >= WORKER_ARGUMENTS) {
            (void)tc_fail(&err, TC_USAGE, "more than 16 host tools");
            fail_start(launch, &err);
        }
        arguments[count++] = "--host-tool";
        arguments[count++] = *tool;
    }
    /* Above everything first: 3 and 4 may be taken by what is to be kept. */
    int host = fcntl(launch->host_fd, F_DUPFD, 100), nsm = fcntl(launch->nsm_fd, F_DUPFD, 100);
    int worker = fcntl(launch->worker_fd, F_DUPFD_CLOEXEC, 100);
    int report = fcntl(launch->report_fd, F_DUPFD_CLOEXEC, 100);
    int nothing = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (host < 0 || nsm < 0 || worker < 0 || report < 0 || nothing < 0 ||
        dup2(nothing, STDIN_FILENO) < 0 || dup2(nothing, STDOUT_FILENO) < 0 ||
        (!launch->config->debug && dup2(nothing, STDERR_FILENO) < 0) ||
        dup2(host, WORKER_HOST_FD) < 0 || dup2(nsm, WORKER_NSM_FD) < 0)
        _exit(EXIT_FAILURE);
    (void)close_range(WORKER_NSM_FD + 1, ~0U, CLOSE_RANGE_CLOEXEC);
    static char *const no_environment[] = {NULL};
    (void)syscall(SYS_execveat, worker, "", (char *const *)(uintptr_t)arguments, no_environment,
                  AT_EMPTY_PATH);
    (void)tc_fail_errno(&err, TC_UNAVAILABLE, errno, "cannot run %s", launch->config->worker);
    (void)!write(report, &err, sizeof err);
    _exit(EXIT_FAILURE);
}

/* In version 2 the worker's own processes need a leaf beside the build's. Written
 * after the cgroup namespace was made, whose root is then the delegated folder. */
static tc_status enter_leaf(const struct tc_local_cgroup *cgroup, struct tc_error *err)
{
    if (!cgroup->v2) return TC_OK;
    TC_AUTO_FREE char *leaf = NULL, *procs = NULL;
    if (asprintf(&leaf, "%s/worker", cgroup->memory) < 0 ||
        asprintf(&procs, "%s/cgroup.procs", leaf) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    if (mkdir(leaf, 0755) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make the control group %s", leaf);
    TC_AUTO_CLOSE int fd = open(procs, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "0", 1) != 1)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot enter the control group %s", leaf);
    return TC_OK;
}

_Noreturn static void run_launcher(const struct launch *launch, int ready_fd, int go_fd, pid_t parent)
{
    struct tc_error err = {0};
    char byte;
    reset_signals();
    (void)setsid(); /* Ctrl-C is the client's to handle */
    if (!die_with(parent)) _exit(EXIT_FAILURE);
    if (unshare(CLONE_NEWUSER) != 0) {
        (void)tc_fail_errno(&err, TC_UNAVAILABLE, errno,
                            "cannot make a user namespace (sysctl kernel.unprivileged_userns_clone, "
                            "user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)");
        fail_start(launch, &err);
    }
    if (write(ready_fd, "r", 1) != 1 || read(go_fd, &byte, 1) != 1) _exit(EXIT_FAILURE);
    if (setresgid(0, 0, 0) != 0 || setresuid(0, 0, 0) != 0 || !die_with(parent)) _exit(EXIT_FAILURE);
    /* As the kernel sees it this process may have lost its group list or not;
     * with a full map it may drop it now. */
    (void)setgroups(0, NULL);
    if (unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
                CLONE_NEWCGROUP) != 0) {
        (void)tc_fail_errno(&err, TC_UNAVAILABLE, errno, "cannot make the worker's namespaces");
        fail_start(launch, &err);
    }
    if (enter_leaf(launch->cgroup, &err) != TC_OK) fail_start(launch, &err);
    pid_t pid = fork();
    if (pid < 0) _exit(EXIT_FAILURE);
    if (pid == 0) become_worker(launch);
    /* Keeps nothing open that would hide a hang-up of the worker. */
    int keep_stderr = launch->config->debug ? STDERR_FILENO + 1 : STDIN_FILENO;
    (void)close_range((unsigned)keep_stderr, ~0U, 0);
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) _exit(EXIT_FAILURE);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

/* --- in the client --- */

static void enclave_free(struct tc_enclave *enclave)
{
    tc_close_ptr(&enclave->launcher_pidfd);
    tc_close_ptr(&enclave->host_fd);
    tc_local_cgroup_remove(&enclave->cgroup);
    free(enclave);
}

/* Kills what is there and waits for it. */
static void end_process(pid_t *pid)
{
    if (*pid <= 0) return;
    (void)kill(*pid, SIGKILL);
    while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR) {
    }
    *pid = 0;
}

static tc_status make_pair(int *ret_a, int *ret_b, struct tc_error *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make a socket pair");
    *ret_a = ends[0];
    *ret_b = ends[1];
    return TC_OK;
}

static tc_status fork_attester(const struct tc_backend_config *config, int fd,
                               struct tc_enclave *enclave, struct tc_error *err)
{
    pid_t parent = getpid(), pid = fork();
    if (pid < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot start the development attester");
    if (pid == 0) run_attester(config, fd, parent);
    enclave->attester = pid;
    return TC_OK;
}

/* What the launcher or PID 1 wrote, or nothing when the worker runs (the pipe is
 * closed by its execveat). */
static tc_status read_report(int fd, struct tc_error *err)
{
    struct tc_error report = {0};
    ssize_t got;
    do
        got = read(fd, &report, sizeof report);
    while (got < 0 && errno == EINTR);
    if (got == 0) return TC_OK;
    if (got != (ssize_t)sizeof report)
        return tc_fail(err, TC_SYSTEM, "the worker could not be started");
    report.message[sizeof report.message - 1] = '\0';
    return tc_fail(err, report.status == TC_OK ? TC_SYSTEM : report.status, "%s", report.message);
}

static tc_status await_launcher(int ready_fd, int report_fd, struct tc_error *err)
{
    char byte;
    ssize_t got;
    do
        got = read(ready_fd, &byte, 1);
    while (got < 0 && errno == EINTR);
    if (got == 1) return TC_OK;
    TC_TRY(read_report(report_fd, err));
    return tc_fail(err, TC_SYSTEM, "the launcher of the worker ended at once");
}

static tc_status fork_launcher(struct launch *launch, const struct tc_local_ids *ids,
                               struct tc_enclave *enclave, struct tc_error *err)
{
    int ready[2], go[2], report[2];
    if (pipe2(ready, O_CLOEXEC) != 0 || pipe2(go, O_CLOEXEC) != 0 || pipe2(report, O_CLOEXEC) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make a pipe");
    launch->report_fd = report[1];
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        (void)close(ready[0]);
        (void)close(go[1]);
        (void)close(report[0]);
        (void)close(enclave->host_fd);
        run_launcher(launch, ready[1], go[0], parent);
    }
    TC_AUTO_CLOSE int ready_fd = ready[0], go_fd = go[1], report_fd = report[0];
    (void)close(ready[1]);
    (void)close(go[0]);
    (void)close(report[1]);
    if (pid < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot start the launcher");
    enclave->launcher = pid;
    enclave->launcher_pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (enclave->launcher_pidfd < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot watch the launcher");
    TC_TRY(await_launcher(ready_fd, report_fd, err));
    TC_TRY(tc_local_ids_map(ids, pid, err));
    TC_TRY(tc_local_cgroup_give(&enclave->cgroup, ids->inner_root, pid, err));
    if (write(go_fd, "g", 1) != 1) return tc_fail(err, TC_SYSTEM, "the launcher has ended");
    return read_report(report_fd, err);
}

static tc_status start_parts(const struct tc_backend_config *config, struct tc_enclave *enclave,
                             struct tc_error *err)
{
    struct tc_local_ids ids;
    TC_AUTO_CLOSE int worker = open(config->worker, O_RDONLY | O_CLOEXEC);
    if (worker < 0) return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open %s", config->worker);
    if (access("/usr/bin/bwrap", X_OK) != 0)
        return tc_fail(err, TC_UNAVAILABLE, "there is no /usr/bin/bwrap: apt-get install bubblewrap");
    TC_TRY(tc_local_ids_find(&ids, err));
    TC_TRY(tc_local_cgroup_make(&enclave->cgroup, err));
    TC_AUTO_CLOSE int worker_end = -1;
    TC_AUTO_CLOSE int nsm = -1;
    TC_AUTO_CLOSE int attester = -1;
    TC_TRY(make_pair(&enclave->host_fd, &worker_end, err));
    TC_TRY(make_pair(&nsm, &attester, err));
    TC_TRY(fork_attester(config, attester, enclave, err));
    tc_close_ptr(&attester); /* so that nobody but the attester keeps it alive */
    struct launch launch = {.config = config,
                            .cgroup = &enclave->cgroup,
                            .host_fd = worker_end,
                            .nsm_fd = nsm,
                            .worker_fd = worker};
    return fork_launcher(&launch, &ids, enclave, err);
}

static tc_status start(const struct tc_backend_config *config, struct tc_enclave **ret_enclave,
                       int *ret_fd, struct tc_error *err)
{
    struct tc_enclave *enclave = calloc(1, sizeof *enclave);
    if (!enclave) return tc_fail(err, TC_SYSTEM, "out of memory");
    enclave->launcher_pidfd = enclave->host_fd = -1;
    tc_status status = start_parts(config, enclave, err);
    if (status != TC_OK) {
        end_process(&enclave->launcher);
        end_process(&enclave->attester);
        enclave_free(enclave);
        return status;
    }
    *ret_fd = enclave->host_fd;
    *ret_enclave = enclave;
    return TC_OK;
}

/* The worker ends by itself when its session is over; one that does not is
 * killed. */
static tc_status stop(struct tc_enclave *enclave, struct tc_error *err)
{
    struct pollfd fd = {.fd = enclave->launcher_pidfd, .events = POLLIN};
    int status = 0, ready;
    tc_status result = TC_OK;
    (void)shutdown(enclave->host_fd, SHUT_RDWR);
    do
        ready = poll(&fd, 1, STOP_PATIENCE_MS);
    while (ready < 0 && errno == EINTR);
    if (ready <= 0) {
        result = tc_fail(err, TC_PEER, "the worker did not end and was killed");
        end_process(&enclave->launcher);
    } else if (waitpid(enclave->launcher, &status, 0) != enclave->launcher ||
               !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        result = tc_fail(err, TC_PEER, "the worker ended with status %d",
                         WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
    }
    end_process(&enclave->attester);
    enclave_free(enclave);
    return result;
}

const struct tc_backend tc_backend_local = {"local", start, stop};
