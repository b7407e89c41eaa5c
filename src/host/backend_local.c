/* The local back end: the worker in Linux namespaces of this machine, unix
 * sockets for vsock, the development attester for the NSM.
 *
 *   client -- fork --> attester (serves the NSM protocol; a process of its own)
 *          -- fork --> launcher: new user namespace; waits for its map
 *                        -- an ordinary user's image: fork --> erofsfuse
 *                        -- unshare the rest, fork --> PID 1: assembles the root,
 *                                                      becomes tee-compile-worker
 *
 * Every privileged step is the launcher's and PID 1's, before the worker runs. All
 * of them die with the client: each has asked the kernel for a SIGKILL when its
 * parent dies, and the pid namespace takes the rest along. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "host/attester.h"
#include "host/backend.h"
#include "host/egress.h"
#include "host/local_cgroup.h"
#include "host/local_ids.h"
#include "host/local_image.h"
#include "host/local_root.h"
#include "os/process.h"

enum {
    HOST_TOOLS_MAX = 16, /* as in the worker's main */
    WORKER_ARGUMENTS = 7 + 2 * HOST_TOOLS_MAX + 1,
    BUILD_FILES = 16384, /* RLIMIT_NOFILE of the build, src/worker/children.c */
    STOP_PATIENCE_MS = 10000,
};

struct tc_enclave {
    pid_t launcher, attester;
    int launcher_pidfd;
    int host_fd;
    int complaints_fd; /* a memfd: what the worker wrote to stderr */
    struct tc_local_cgroup cgroup;
    struct tc_local_image image;
    struct tc_buf image_text; /* what the image says of itself; empty without one */
};

/* --- in the children --- */

struct launch {
    const struct tc_backend_config *config;
    const struct tc_local_cgroup *cgroup;
    const struct tc_local_image *image;
    struct tc_span image_text;
    int host_fd, nsm_fd, dialler_fd, worker_fd;
    int stderr_fd;
    int report_fd; /* a message when the start fails; closed when the worker runs */
};

_Noreturn static void fail_start(const struct launch *launch, const struct tc_error *err)
{
    (void)!write(launch->report_fd, err, sizeof *err);
    _exit(EXIT_FAILURE);
}

static tc_status list_arguments(const struct launch *launch,
                                const char *arguments[WORKER_ARGUMENTS], struct tc_error *err)
{
    static const char *const fixed[] = {"tee-compile-worker", "--host-fd", "3", "--nsm-fd", "4",
                                        "--dialler-fd",       "5"};
    size_t count = 0;
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        arguments[count++] = fixed[i];
    for (const char *const *tool = launch->config->host_tools; tool && *tool; tool++) {
        if (count + 2 >= WORKER_ARGUMENTS)
            return tc_fail(err, TC_USAGE, "more than %d host tools", HOST_TOOLS_MAX);
        arguments[count++] = "--host-tool";
        arguments[count++] = *tool;
    }
    arguments[count] = NULL;
    return TC_OK;
}

/* PID 1 of the new namespaces, until it becomes the worker. launcher_fd is a
 * pidfd: the launcher has no number in here that getppid could tell. */
static tc_status enter_worker(const struct launch *launch, int launcher_fd, int *ret_report,
                              struct tc_error *err)
{
    struct tc_local_root root = {
        .image_fd = launch->image->mount_fd,
        .image_path = launch->image->fuse ? TC_LOCAL_IMAGE_FUSE_AT : NULL,
        .image_text = launch->image_text,
        .host_tools = launch->config->host_tools,
        .memory_cgroup = launch->cgroup->memory,
        .pids_cgroup = launch->cgroup->pids,
    };
    const char *arguments[WORKER_ARGUMENTS];
    struct pollfd launcher = {.fd = launcher_fd, .events = POLLIN};
    TC_TRY(tc_process_die_with(0, err));
    if (poll(&launcher, 1, 0) != 0) return tc_fail(err, TC_INTERRUPTED, "the launcher has ended");
    TC_TRY(list_arguments(launch, arguments, err));
    TC_TRY(tc_local_root_enter(&root, err));
    const int fds[5] = {launch->host_fd, launch->nsm_fd, launch->dialler_fd, launch->worker_fd,
                        launch->report_fd};
    TC_TRY(tc_process_keep(fds, 5, launch->stderr_fd, err));
    enum { WORKER = TC_PROCESS_FIRST_FD + 3, REPORT };
    *ret_report = REPORT;
    if (fcntl(WORKER, F_SETFD, FD_CLOEXEC) != 0 || fcntl(REPORT, F_SETFD, FD_CLOEXEC) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot mark descriptors");
    static char *const no_environment[] = {NULL};
    (void)syscall(SYS_execveat, WORKER, "", (char *const *)(uintptr_t)arguments, no_environment,
                  AT_EMPTY_PATH);
    return tc_fail_errno(err, TC_UNAVAILABLE, errno,
                         "cannot run %s (it must be readable and executable for everybody)",
                         launch->config->worker);
}

_Noreturn static void become_worker(const struct launch *launch, int launcher_fd)
{
    struct tc_error err = {0};
    int report = launch->report_fd;
    (void)!enter_worker(launch, launcher_fd, &report, &err);
    (void)!write(report, &err, sizeof err);
    _exit(EXIT_FAILURE);
}

/* What the build is given is fixed, and children cannot raise what is lower: the
 * root user's launcher can. For others become_build says what is missing. */
static void widen_limits(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max < BUILD_FILES) {
        files.rlim_max = BUILD_FILES;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    /* Written by a privileged process this is also the lowest value that its
     * children may set: a build cannot escape the OOM killer. */
    TC_AUTO_CLOSE int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) (void)!write(fd, "0", 1);
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

/* Namespaces in two steps: what may be done in the second needs the ids that the
 * client maps between them. */
static tc_status enter_namespaces(const struct launch *launch, int ready_fd, int go_fd,
                                  pid_t parent, pid_t *ret_fuse, struct tc_error *err)
{
    int rest =
        CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
    char byte;
    TC_TRY(tc_process_die_with(parent, err));
    widen_limits();
    if (unshare(CLONE_NEWUSER) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno,
                             "cannot make a user namespace (see sysctl "
                             "kernel.unprivileged_userns_clone, user.max_user_namespaces, "
                             "kernel.apparmor_restrict_unprivileged_userns)");
    if (write(ready_fd, "r", 1) != 1 || read(go_fd, &byte, 1) != 1)
        return tc_fail(err, TC_INTERRUPTED, "the client has ended");
    if (setgroups(0, NULL) != 0 || setresgid(0, 0, 0) != 0 || setresuid(0, 0, 0) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot become root of the user namespace");
    TC_TRY(tc_process_die_with(parent, err));
    if (launch->image->fuse) {
        if (unshare(CLONE_NEWNS) != 0)
            return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot make the worker's namespaces");
        TC_TRY(tc_local_image_serve(launch->image, launch->stderr_fd, ret_fuse, err));
        rest &= ~CLONE_NEWNS;
    }
    if (unshare(rest) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot make the worker's namespaces");
    return enter_leaf(launch->cgroup, err);
}

/* A worker whose toolchain is gone must not go on: the build could take its absence
 * for an answer. It dies with the launcher. */
_Noreturn static void await_worker(pid_t worker, pid_t fuse)
{
    for (;;) {
        int status;
        pid_t ended = waitpid(-1, &status, 0);
        if (ended == worker) {
            if (fuse > 0 && kill(fuse, SIGKILL) == 0) (void)waitpid(fuse, NULL, 0);
            _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
        }
        if ((ended < 0 && errno != EINTR) || (fuse > 0 && ended == fuse)) _exit(EXIT_FAILURE);
    }
}

_Noreturn static void run_launcher(const struct launch *launch, int ready_fd, int go_fd,
                                   pid_t parent)
{
    struct tc_error err = {0};
    pid_t fuse = 0;
    (void)setsid(); /* Ctrl-C is the client's to handle */
    if (tc_process_reset_signals(&err) != TC_OK ||
        enter_namespaces(launch, ready_fd, go_fd, parent, &fuse, &err) != TC_OK)
        fail_start(launch, &err);
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0);
    pid_t pid = self < 0 ? -1 : fork();
    if (pid < 0) {
        (void)tc_fail_errno(&err, TC_UNAVAILABLE, errno, "cannot start the worker");
        fail_start(launch, &err);
    }
    if (pid == 0) become_worker(launch, self);
    /* Keeps nothing open that would hide a hang-up of the worker. */
    (void)syscall(SYS_close_range, 0U, ~0U, 0U);
    await_worker(pid, fuse);
}

/* --- in the client --- */

static void enclave_free(struct tc_enclave *enclave)
{
    tc_close_ptr(&enclave->launcher_pidfd);
    tc_close_ptr(&enclave->host_fd);
    tc_close_ptr(&enclave->complaints_fd);
    tc_local_cgroup_remove(&enclave->cgroup);
    tc_local_image_done(&enclave->image);
    tc_buf_free(&enclave->image_text);
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

static tc_status make_pair(int type, int *ret_a, int *ret_b, struct tc_error *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make a socket pair");
    *ret_a = ends[0];
    *ret_b = ends[1];
    return TC_OK;
}

static tc_status await_launcher(int ready_fd, int report_fd, struct tc_error *err)
{
    char byte;
    ssize_t got;
    do
        got = read(ready_fd, &byte, 1);
    while (got < 0 && errno == EINTR);
    if (got == 1) return TC_OK;
    TC_TRY(tc_process_read_report(report_fd, "the worker", err));
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
    return tc_process_read_report(report_fd, "the worker", err);
}

static tc_status prepare_image(const struct tc_imagefile *image, struct tc_enclave *enclave,
                               struct tc_error *err)
{
    enclave->image_text = tc_buf_new(TC_IMAGE_TEXT_MAX);
    TC_TRY(tc_image_text_encode(&image->content.text, &enclave->image_text, err));
    return tc_local_image_prepare(image, &enclave->image, err);
}

static tc_status start_parts(const struct tc_backend_config *config, struct tc_enclave *enclave,
                             struct tc_error *err)
{
    struct tc_local_ids ids;
    if (config->image && config->host_tools && *config->host_tools)
        return tc_fail(err, TC_USAGE, "a host tool is no part of a measured image");
    TC_AUTO_CLOSE int worker = open(config->worker, O_RDONLY | O_CLOEXEC);
    if (worker < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open %s", config->worker);
    if (access("/usr/bin/bwrap", X_OK) != 0)
        return tc_fail(err, TC_UNAVAILABLE,
                       "there is no /usr/bin/bwrap: apt-get install bubblewrap");
    for (const char *const *tool = config->host_tools; tool && *tool; tool++)
        TC_TRY(tc_local_root_check_tool(*tool, err));
    TC_TRY(tc_local_ids_find(&ids, err));
    if (config->image) TC_TRY(prepare_image(config->image, enclave, err));
    TC_TRY(tc_local_cgroup_make(&enclave->cgroup, err));
    TC_AUTO_CLOSE int worker_end = -1;
    TC_AUTO_CLOSE int nsm = -1;
    TC_AUTO_CLOSE int attester = -1;
    TC_AUTO_CLOSE int dialler = -1;
    TC_AUTO_CLOSE int streams = -1;
    TC_TRY(make_pair(SOCK_STREAM, &enclave->host_fd, &worker_end, err));
    TC_TRY(make_pair(SOCK_STREAM, &nsm, &attester, err));
    TC_TRY(make_pair(SOCK_SEQPACKET, &streams, &dialler, err));
    const struct tc_attester_config given = {config->image, config->devroot_folder};
    TC_TRY(tc_attester_start(&given, attester, &enclave->attester, err));
    tc_close_ptr(&attester); /* so that nobody but the attester keeps it alive */
    enclave->complaints_fd = memfd_create("worker-stderr", MFD_CLOEXEC);
    if (enclave->complaints_fd < 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make a file for the worker's messages");
    struct launch launch = {.config = config,
                            .stderr_fd = config->debug ? STDERR_FILENO : enclave->complaints_fd,
                            .cgroup = &enclave->cgroup,
                            .image = &enclave->image,
                            .image_text = tc_buf_span(&enclave->image_text),
                            .host_fd = worker_end,
                            .nsm_fd = nsm,
                            .dialler_fd = dialler,
                            .worker_fd = worker};
    TC_TRY(fork_launcher(&launch, &ids, enclave, err));
    /* Its threads come after the forks. */
    if (!config->egress) return TC_OK;
    return tc_egress_follow(config->egress, TC_TAKE_FD(streams), err);
}

static tc_status start(const struct tc_backend_config *config, struct tc_enclave **ret_enclave,
                       int *ret_fd, struct tc_error *err)
{
    struct tc_enclave *enclave = calloc(1, sizeof *enclave);
    if (!enclave) return tc_fail(err, TC_SYSTEM, "out of memory");
    enclave->launcher_pidfd = enclave->host_fd = enclave->complaints_fd = -1;
    enclave->image = TC_LOCAL_IMAGE_NONE;
    tc_status status = start_parts(config, enclave, err);
    if (status != TC_OK) {
        end_process(&enclave->launcher);
        tc_attester_stop(&enclave->attester);
        enclave_free(enclave);
        return status;
    }
    *ret_fd = enclave->host_fd;
    *ret_enclave = enclave;
    return TC_OK;
}

/* The end of what the worker said, on one line; it is untrusted as all of it. */
static char *complaints(const struct tc_enclave *enclave, char *out, size_t size)
{
    uint8_t text[400];
    off_t end = lseek(enclave->complaints_fd, 0, SEEK_END);
    off_t from = end > (off_t)sizeof text ? end - (off_t)sizeof text : 0;
    ssize_t got = end > 0 ? pread(enclave->complaints_fd, text, sizeof text, from) : 0;
    while (got > 0 && text[got - 1] == '\n')
        got--;
    if (got <= 0) (void)snprintf(out, size, "it said nothing");
    return got <= 0 ? out : tc_printable((struct tc_span){text, (size_t)got}, out, size);
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
    } else if (waitpid(enclave->launcher, &status, 0) != enclave->launcher || !WIFEXITED(status) ||
               WEXITSTATUS(status) != 0) {
        char said[TC_ERROR_MAX];
        result = tc_fail(err, TC_PEER, "the worker ended with status %d: %s",
                         WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
                         complaints(enclave, said, sizeof said));
    }
    tc_attester_stop(&enclave->attester);
    enclave_free(enclave);
    return result;
}

enum room { ROOM, NO_USERS, NO_PROC };

static int end_of(pid_t pid)
{
    int status = 0;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return pid > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* In namespaces of its own that die with it. */
static enum room try_room(void)
{
    /* One that is made, and may do nothing, is none. */
    if (unshare(CLONE_NEWUSER) != 0 || unshare(CLONE_NEWNS | CLONE_NEWPID) != 0) return NO_USERS;
    pid_t pid = fork();
    if (pid == 0)
        _exit(mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0
                  ? ROOM
                  : NO_PROC);
    return end_of(pid) == ROOM ? ROOM : NO_PROC;
}

/* Some distributions let programs make user namespaces only where a profile says so; and a
 * container that covers parts of its /proc gets no other. */
static enum room look_for_room(void)
{
    pid_t pid = fork();
    if (pid == 0) _exit((int)try_room());
    int seen = end_of(pid);
    return seen == ROOM || seen == NO_PROC ? (enum room)seen : NO_USERS;
}

static void probe(const struct tc_need *need, struct tc_probe *ret_probe)
{
    (void)need;
    struct tc_error err = {0};
    struct tc_local_ids ids;
    struct tc_local_cgroup cgroup;
    struct tc_probe seen = {0};
    const char *why = NULL;
    enum room room = ROOM;
    if (access("/usr/bin/bwrap", X_OK) != 0) {
        why = "there is no sandbox";
        (void)tc_fail(&err, TC_UNAVAILABLE, "apt-get install bubblewrap");
    } else if (tc_local_ids_find(&ids, &err) != TC_OK) {
        why = "the build would have no user ids of its own";
    } else if ((room = look_for_room()) == NO_PROC) {
        why = "no new /proc can be mounted, as in a container that covers parts of its /proc";
        (void)tc_fail(&err, TC_UNAVAILABLE,
                      "run it outside of the container, or let it have its /proc whole (podman: "
                      "--security-opt unmask=ALL; docker: --security-opt systempaths=unconfined)");
    } else if (room == NO_USERS) {
        why = "this user cannot make a user namespace";
        (void)tc_fail(&err, TC_UNAVAILABLE,
                      "sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces=65536, "
                      "kernel.apparmor_restrict_unprivileged_userns=0, whichever there is");
    } else if (tc_local_cgroup_make(&cgroup, &err) != TC_OK) {
        why = "the build would have no limits";
    } else {
        tc_local_cgroup_remove(&cgroup);
        seen.usable = true;
        seen.no_images = tc_local_image_look(&err) != TC_OK;
        if (seen.no_images) why = "for --image host alone: it cannot mount the images";
    }
    (void)snprintf(seen.why, sizeof seen.why, "%s",
                   why ? why
                       : "namespaces and control groups of this machine; no hardware attests it");
    (void)snprintf(seen.fix, sizeof seen.fix, "%s", err.message);
    *ret_probe = seen;
}

const struct tc_backend tc_backend_local = {
    .name = "local", .probe = probe, .start = start, .stop = stop};
