/* Who runs a command in a closed room:
 *
 *   caller -- fork --> keeper: outer user namespace, whose map the caller writes;
 *                              mount, network, IPC and host name namespaces in it
 *                        -- clone --> PID 1: inner user namespace, whose map the
 *                                     keeper writes, and a process namespace; waits
 *                        -- fork --> assembler: puts the root together, and ends
 *                                     PID 1: mount namespace of its own, filter, command
 *
 * Two user namespaces, of the same ids: mounts that come from one with more rights
 * cannot be changed by root of the other, so that what is read-only stays so. Network,
 * IPC and host name are out of its power too; processes are in it, since it has to
 * mount a /proc in the roots that it makes.
 *
 * The command is PID 1, so that everything it started is dead as soon as the keeper
 * has been told of its end. The caller ends it early by hanging up: the keeper kills
 * PID 1 and ends after it. Should the caller die, each gets a SIGKILL at the death of
 * its parent. */
#include "host/room.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/keyctl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "host/local_ids.h"
#include "host/room_filter.h"
#include "host/room_root.h"
#include "os/process.h"

#define STRING_OF(value) #value
#define TEXT_OF(value) STRING_OF(value)

enum { KILLED = 128 }; /* + the signal: how the keeper says it */

/* More than any file of an image, less than a full disk. */
static const rlim_t FILE_MAX = (rlim_t)32 << 30;

/* One command's way into the room. */
struct entry {
    const struct tc_room *room;
    const char *const *command;
    const struct tc_local_ids *ids;
    struct tc_room_trees *trees;
    int ready_fd, go_fd; /* the keeper's ends */
    int report_fd;       /* a message when the start fails; closed when the command runs */
};

tc_status tc_room_owner(uid_t *ret_owner, struct tc_error *err)
{
    struct tc_local_ids ids;
    TC_TRY(tc_local_ids_find(&ids, err));
    *ret_owner = ids.inner_root;
    return TC_OK;
}

/* --- in the children --- */

_Noreturn static void fail_start(int report_fd, const struct tc_error *err)
{
    (void)!write(report_fd, err, sizeof *err);
    _exit(EXIT_FAILURE);
}

static tc_status become_root(struct tc_error *err)
{
    if (setgroups(0, NULL) != 0 || setresgid(0, 0, 0) != 0 || setresuid(0, 0, 0) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot become root of the user namespace");
    return TC_OK;
}

/* In the room's process namespace, whose processes cannot see the keeper. */
static tc_status die_with_keeper(int keeper_fd, struct tc_error *err)
{
    struct pollfd keeper = {.fd = keeper_fd, .events = POLLIN};
    TC_TRY(tc_process_die_with(0, err));
    if (poll(&keeper, 1, 0) != 0)
        return tc_fail(err, TC_INTERRUPTED, "the room's keeper has ended");
    return TC_OK;
}

static tc_status limit(__rlimit_resource_t resource, rlim_t most, struct tc_error *err)
{
    struct rlimit now;
    if (getrlimit(resource, &now) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read a limit of the room");
    if (now.rlim_max > most) now.rlim_max = most;
    if (now.rlim_cur > now.rlim_max) now.rlim_cur = now.rlim_max;
    if (setrlimit(resource, &now) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot set a limit of the room");
    return TC_OK;
}

static tc_status run_command(const struct entry *entry, int keeper_fd, int go_fd, int *ret_report,
                             struct tc_error *err)
{
    char jobs[32], byte;
    TC_TRY(die_with_keeper(keeper_fd, err));
    if (read(go_fd, &byte, 1) != 1)
        return tc_fail(err, TC_INTERRUPTED, "the room's keeper has ended");
    TC_TRY(become_root(err));
    TC_TRY(die_with_keeper(keeper_fd, err));
    /* The root has been exchanged meanwhile, but not where this process is. */
    if (chdir("/") != 0 || unshare(CLONE_NEWNS) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot close the room");
    TC_TRY(limit(RLIMIT_CORE, 0, err));
    TC_TRY(limit(RLIMIT_FSIZE, FILE_MAX, err));
    TC_TRY(tc_process_keep(&entry->report_fd, 1, entry->room->log_fd, err));
    *ret_report = TC_PROCESS_FIRST_FD;
    if (fcntl(*ret_report, F_SETFD, FD_CLOEXEC) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot mark a descriptor");
    TC_TRY(tc_room_filter_load(err));
    (void)snprintf(jobs, sizeof jobs, "JOBS=%u", entry->room->jobs);
    char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", locale[] = "LC_ALL=C.UTF-8",
         zone[] = "TZ=UTC0", home[] = "HOME=/root",
         epoch[] = "SOURCE_DATE_EPOCH=" TEXT_OF(TC_ROOM_EPOCH);
    char *environment[] = {path, locale, zone, home, epoch, jobs, NULL};
    (void)execvpe(entry->command[0], (char *const *)(uintptr_t)entry->command, environment);
    return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot run %s in the room",
                         entry->command[0]);
}

_Noreturn static void become_command(const struct entry *entry, int keeper_fd, int go_fd)
{
    struct tc_error err = {0};
    int report = entry->report_fd;
    (void)!run_command(entry, keeper_fd, go_fd, &report, &err);
    fail_start(report, &err);
}

_Noreturn static void assemble(const struct entry *entry, int keeper_fd)
{
    struct tc_error err = {0};
    tc_status status = die_with_keeper(keeper_fd, &err);
    if (status == TC_OK && !entry->ids->root)
        status = tc_room_trees_clone(entry->room, entry->trees, &err);
    if (status == TC_OK) status = tc_room_root_enter(entry->room, entry->trees, &err);
    if (status != TC_OK) fail_start(entry->report_fd, &err);
    _exit(EXIT_SUCCESS);
}

/* What the command could otherwise read and pass on: keyrings are the kernel's. Where
 * the call is refused, it is refused to the command as well. */
static tc_status leave_keyring(struct tc_error *err)
{
    if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS &&
        errno != EPERM)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot leave the caller's keyring");
    return TC_OK;
}

/* In two steps, since the second needs the ids that the caller maps between them. */
static tc_status enter_namespaces(const struct entry *entry, pid_t parent, struct tc_error *err)
{
    char byte;
    TC_TRY(tc_process_die_with(parent, err));
    if (entry->ids->root) TC_TRY(tc_room_trees_clone(entry->room, entry->trees, err));
    if (unshare(CLONE_NEWUSER) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno,
                             "cannot make a user namespace (see sysctl "
                             "kernel.unprivileged_userns_clone, user.max_user_namespaces, "
                             "kernel.apparmor_restrict_unprivileged_userns)");
    if (write(entry->ready_fd, "r", 1) != 1 || read(entry->go_fd, &byte, 1) != 1)
        return tc_fail(err, TC_INTERRUPTED, "the caller has ended");
    TC_TRY(become_root(err));
    TC_TRY(tc_process_die_with(parent, err));
    TC_TRY(leave_keyring(err));
    if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot make the room's namespaces");
    if (sethostname("builder", strlen("builder")) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot set the room's host name");
    return TC_OK;
}

/* Starts PID 1, which waits until a byte comes over ret_go_fd. */
static tc_status start_command(const struct entry *entry, int self, pid_t *ret_pid, int *ret_pid_fd,
                               int *ret_go_fd, struct tc_error *err)
{
    int go[2];
    if (self < 0 || pipe2(go, O_CLOEXEC) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot prepare the room");
    /* Both at once, so that the second namespace belongs to the first. */
    pid_t pid =
        (pid_t)syscall(SYS_clone, CLONE_NEWUSER | CLONE_NEWPID | SIGCHLD, NULL, NULL, NULL, 0);
    if (pid == 0) {
        (void)close(go[1]);
        become_command(entry, self, go[0]);
    }
    int reason = errno;
    (void)close(go[0]);
    int pid_fd = pid < 0 ? -1 : (int)syscall(SYS_pidfd_open, pid, 0);
    if (pid_fd < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, pid < 0 ? reason : errno, "cannot start %s",
                             entry->command[0]);
    *ret_pid = pid;
    *ret_pid_fd = pid_fd;
    *ret_go_fd = go[1];
    return TC_OK;
}

/* Until PID 1 has ended, by itself or since the caller hung up. */
_Noreturn static void keep(pid_t pid, int pid_fd, int go_fd)
{
    struct pollfd events[] = {{.fd = pid_fd, .events = POLLIN}, {.fd = go_fd, .events = POLLIN}};
    while (poll(events, 2, -1) < 0 && errno == EINTR) {
    }
    if (!events[0].revents) (void)kill(pid, SIGKILL);
    int status;
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) _exit(EXIT_FAILURE);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : KILLED + WTERMSIG(status));
}

/* In the room's process namespace, so that its /proc is that one's, but with the
 * rights of the outer user namespace. */
static void assemble_root(const struct entry *entry, int self, int pid_fd)
{
    struct tc_error err = {0};
    int status = 0;
    pid_t pid = setns(pid_fd, CLONE_NEWPID) != 0 ? -1 : fork();
    if (pid == 0) assemble(entry, self);
    if (pid < 0) {
        (void)tc_fail_errno(&err, TC_UNAVAILABLE, errno, "cannot enter the room's processes");
        fail_start(entry->report_fd, &err);
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) _exit(EXIT_FAILURE);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) _exit(EXIT_FAILURE); /* it has said why */
}

_Noreturn static void run_keeper(const struct entry *entry, pid_t parent)
{
    struct tc_error err = {0};
    (void)setsid(); /* Ctrl-C is the caller's to handle */
    (void)umask(022);
    if (tc_process_reset_signals(&err) != TC_OK || enter_namespaces(entry, parent, &err) != TC_OK)
        fail_start(entry->report_fd, &err);
    int self = (int)syscall(SYS_pidfd_open, getpid(), 0), pid_fd = -1, inner_go_fd = -1;
    pid_t pid = 0;
    /* The files in /proc of a process that is not dumpable belong to the machine's root,
     * which the keeper is not any more: it could not write the map. */
    (void)prctl(PR_SET_DUMPABLE, 1);
    if (start_command(entry, self, &pid, &pid_fd, &inner_go_fd, &err) != TC_OK ||
        tc_local_ids_map_same(pid, &err) != TC_OK)
        fail_start(entry->report_fd, &err); /* and PID 1 dies with this one */
    (void)prctl(PR_SET_DUMPABLE, 0);
    assemble_root(entry, self, pid_fd);
    if (write(inner_go_fd, "g", 1) != 1) _exit(EXIT_FAILURE);
    (void)close(inner_go_fd);
    (void)close(entry->report_fd);
    keep(pid, pid_fd, entry->go_fd);
}

/* --- in the caller --- */

/* The caller's side of one command. */
struct keeper {
    pid_t pid;
    int pid_fd, go_fd, ready_fd, report_fd;
};

static void keeper_end(struct keeper *keeper)
{
    tc_close_ptr(&keeper->go_fd);
    if (keeper->pid > 0)
        while (waitpid(keeper->pid, NULL, 0) < 0 && errno == EINTR) {
        }
    keeper->pid = 0;
    tc_close_ptr(&keeper->pid_fd);
    tc_close_ptr(&keeper->ready_fd);
    tc_close_ptr(&keeper->report_fd);
}

static tc_status fork_keeper(struct entry *entry, struct keeper *keeper, struct tc_error *err)
{
    int ready[2], go[2], report[2];
    if (pipe2(ready, O_CLOEXEC) != 0 || pipe2(go, O_CLOEXEC) != 0 || pipe2(report, O_CLOEXEC) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make a pipe");
    entry->ready_fd = ready[1];
    entry->go_fd = go[0];
    entry->report_fd = report[1];
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        (void)close(ready[0]);
        (void)close(go[1]);
        (void)close(report[0]);
        run_keeper(entry, parent);
    }
    int reason = errno;
    (void)close(ready[1]);
    (void)close(go[0]);
    (void)close(report[1]);
    keeper->ready_fd = ready[0];
    keeper->go_fd = go[1];
    keeper->report_fd = report[0];
    if (pid < 0) return tc_fail_errno(err, TC_SYSTEM, reason, "cannot start the room's keeper");
    keeper->pid = pid;
    keeper->pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (keeper->pid_fd < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot watch the room's keeper");
    return TC_OK;
}

static tc_status map_ids(const struct tc_local_ids *ids, const struct keeper *keeper,
                         struct tc_error *err)
{
    char byte;
    ssize_t got;
    do
        got = read(keeper->ready_fd, &byte, 1);
    while (got < 0 && errno == EINTR);
    if (got != 1) {
        TC_TRY(tc_process_read_report(keeper->report_fd, "the command", err));
        return tc_fail(err, TC_SYSTEM, "the room's keeper ended at once");
    }
    TC_TRY(tc_local_ids_map(ids, keeper->pid, err));
    if (write(keeper->go_fd, "g", 1) != 1)
        return tc_fail(err, TC_SYSTEM, "the room's keeper has ended");
    return TC_OK;
}

static tc_status await_end(const struct tc_room *room, struct keeper *keeper, int *ret_status,
                           struct tc_error *err)
{
    struct pollfd events[] = {{.fd = keeper->pid_fd, .events = POLLIN},
                              {.fd = room->interrupt_fd, .events = POLLIN}};
    while (poll(events, 2, -1) < 0)
        if (errno != EINTR) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for the room");
    if (!events[0].revents) return tc_fail(err, TC_INTERRUPTED, "interrupted");
    while (waitpid(keeper->pid, ret_status, 0) < 0)
        if (errno != EINTR)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for the room's keeper");
    keeper->pid = 0;
    return TC_OK;
}

static tc_status judge(const char *name, int status, struct tc_error *err)
{
    if (!WIFEXITED(status))
        return tc_fail(err, TC_BUILD, "the room's keeper was killed by signal %d",
                       WTERMSIG(status));
    int code = WEXITSTATUS(status);
    if (code > KILLED)
        return tc_fail(err, TC_BUILD, "%s was killed by signal %d", name, code - KILLED);
    if (code != 0) return tc_fail(err, TC_BUILD, "%s ended with status %d; expected 0", name, code);
    return TC_OK;
}

tc_status tc_room_run(const struct tc_room *room, const char *const *command, struct tc_error *err)
{
    struct tc_local_ids ids;
    TC_AUTO_ROOM_TREES struct tc_room_trees trees = {0};
    struct keeper keeper TC_CLEANUP(keeper_end) = {
        .pid_fd = -1, .go_fd = -1, .ready_fd = -1, .report_fd = -1};
    struct entry entry = {.room = room, .command = command, .ids = &ids, .trees = &trees};
    int status = 0;
    TC_TRY(tc_local_ids_find(&ids, err));
    TC_TRY(fork_keeper(&entry, &keeper, err));
    TC_TRY(map_ids(&ids, &keeper, err));
    TC_TRY(await_end(room, &keeper, &status, err));
    TC_TRY(tc_process_read_report(keeper.report_fd, "the command", err));
    return judge(command[0], status, err);
}
