#include "host/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "host/egress.h"
#include "host/machine_parts.h"
#include "host/vhost.h"
#include "os/message.h"
#include "os/process.h"
#include "os/vsock.h"

/* In the order in which they are ended: nobody is left to complain that its peer
 * has gone, and the console's keeper comes when nobody can say any more. */
enum { LINGER_MS = 1000, LAST_WORDS_MS = 2000 };
enum part { PAGES, HEARTBEAT, DEVICE, EMULATOR, CONSOLE, PARTS };

struct tc_machine {
    pid_t pids[PARTS]; /* 0: not there */
    int emulator_fd;   /* a pidfd */
    int device_fd;     /* the same of our device or listener */
    int emulator_status;
    bool has_ended;
    int dialler_fd;    /* where the session comes from, until it has; else -1 */
    int session_fd;    /* once it has come */
    int complaints_fd; /* a memfd with lines of parts that failed */
};

/* What is being put together; all of it is closed once the parts hold it. */
struct plan {
    const struct tc_machine_config *config;
    struct tc_machine_port ports[TC_MACHINE_ALL_PORTS]; /* the guest's ends */
    size_t ports_count, own_count;
    int session, pages, heartbeat, streams; /* the host's ends */
    int front;                              /* our device's end; -1: the kernel's is used */
    struct tc_machine_vsock vsock;          /* the emulator's */
    int listeners[TC_MACHINE_ALL_PORTS];    /* for each of the ports, with the kernel's */
    int console_out, console_in;
};

static void plan_done(struct plan *plan)
{
    int *const fds[] = {&plan->session, &plan->pages,    &plan->heartbeat,   &plan->streams,
                        &plan->front,   &plan->vsock.fd, &plan->console_out, &plan->console_in};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        tc_close_ptr(fds[i]);
    for (size_t i = 0; i < TC_MACHINE_ALL_PORTS; i++)
        tc_close_ptr(&plan->listeners[i]);
    for (size_t i = 0; i < plan->own_count; i++)
        tc_close_ptr(&plan->ports[i].fd);
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

static tc_status add_port(struct plan *plan, uint32_t port, bool many, int *ret_host,
                          struct tc_error *err)
{
    int guest = -1;
    TC_TRY(make_pair(SOCK_SEQPACKET, ret_host, &guest, err));
    plan->ports[plan->ports_count++] = (struct tc_machine_port){port, guest, many};
    plan->own_count = plan->ports_count;
    return TC_OK;
}

static tc_status make_pipe(struct plan *plan, struct tc_error *err)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make a pipe");
    plan->console_in = ends[0];
    plan->console_out = ends[1];
    return TC_OK;
}

/* The kernel's device, if the caller wants it and the kernel lets us have it. */
static bool open_kernels(struct plan *plan)
{
    const struct tc_machine_config *config = plan->config;
    struct tc_error ignored = {0};
    uint32_t ports[TC_MACHINE_ALL_PORTS];
    if (config->kind != TC_MACHINE_MICROVM || !config->vhost) return false;
    for (size_t i = 0; i < plan->ports_count; i++)
        ports[i] = plan->ports[i].port;
    return tc_vhost_open(config->vhost, ports, plan->ports_count, &plan->vsock.fd, &plan->vsock.cid,
                         plan->listeners, &ignored) == TC_OK;
}

static tc_status make_plan(struct plan *plan, struct tc_error *err)
{
    const struct tc_machine_config *config = plan->config;
    if (config->ports_count > TC_MACHINE_PORTS_MAX)
        return tc_fail(err, TC_USAGE, "a machine has at most %d ports of its caller's",
                       TC_MACHINE_PORTS_MAX);
    if (access(config->emulator, X_OK) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot run the emulator %s",
                             config->emulator);
    TC_TRY(make_pipe(plan, err));
    TC_TRY(add_port(plan, TC_VSOCK_PORT_HEARTBEAT, false, &plan->heartbeat, err));
    TC_TRY(add_port(plan, TC_VSOCK_PORT_SESSION, false, &plan->session, err));
    if (config->pages_fd >= 0)
        TC_TRY(add_port(plan, TC_VSOCK_PORT_PAGES, false, &plan->pages, err));
    if (config->egress) TC_TRY(add_port(plan, TC_VSOCK_PORT_EGRESS, true, &plan->streams, err));
    for (size_t i = 0; i < config->ports_count; i++)
        plan->ports[plan->ports_count++] = config->ports[i];
    return open_kernels(plan) ? TC_OK : make_pair(SOCK_STREAM, &plan->front, &plan->vsock.fd, err);
}

/* --- parts --- */

_Noreturn static void run_vsock(const struct plan *plan, const struct tc_machine_part *part)
{
    if (plan->vsock.cid != 0)
        tc_machine_run_listener(part, plan->config->vhost, plan->vsock.cid, plan->listeners,
                                plan->ports, plan->ports_count);
    tc_machine_run_device(part, plan->front, plan->ports, plan->ports_count);
}

_Noreturn static void run_part(enum part which, const struct plan *plan,
                               const struct tc_machine_part *part)
{
    switch (which) {
    case EMULATOR: tc_machine_run_emulator(part, plan->config, &plan->vsock, plan->console_out);
    case DEVICE: run_vsock(plan, part);
    case PAGES: tc_machine_run_pages(part, plan->pages, plan->config->pages_fd);
    case HEARTBEAT: tc_machine_run_heartbeat(part, plan->heartbeat);
    case CONSOLE:
        tc_machine_run_console(part, plan->console_in, plan->config->console_fd,
                               plan->config->echo ? STDERR_FILENO : -1);
    case PARTS: break;
    }
    _exit(EXIT_FAILURE);
}

static tc_status start_parts(struct tc_machine *machine, const struct plan *plan,
                             struct tc_error *err)
{
    const struct tc_machine_part part = {getpid(), machine->complaints_fd};
    for (int which = 0; which < PARTS; which++) {
        if (which == PAGES && plan->config->pages_fd < 0) continue;
        pid_t pid = fork();
        if (pid < 0)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot start a machine's process");
        if (pid == 0) run_part((enum part)which, plan, &part);
        machine->pids[which] = pid;
    }
    machine->emulator_fd = (int)syscall(SYS_pidfd_open, machine->pids[EMULATOR], 0);
    machine->device_fd = (int)syscall(SYS_pidfd_open, machine->pids[DEVICE], 0);
    if (machine->emulator_fd < 0 || machine->device_fd < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot watch the emulator");
    return TC_OK;
}

/* The console's keeper ends by itself once the emulator has, and must not be cut off in
 * what was said last; unless somebody else holds the console who does not end. */
static void await_keeper(const struct tc_machine *machine)
{
    int ready;
    struct pollfd keeper = {.fd = (int)syscall(SYS_pidfd_open, machine->pids[CONSOLE], 0),
                            .events = POLLIN};
    if (keeper.fd < 0) return;
    do
        ready = poll(&keeper, 1, LAST_WORDS_MS);
    while (ready < 0 && errno == EINTR);
    if (ready == 0)
        (void)dprintf(machine->complaints_fd,
                      "the console: a process that the emulator started has outlived it and holds "
                      "the console still: end it, and have a wrapper exec the emulator\n");
    (void)close(keeper.fd);
}

static void end_parts(struct tc_machine *machine)
{
    for (int which = 0; which < PARTS; which++) {
        if (which == CONSOLE && machine->pids[which] > 0) await_keeper(machine);
        (void)tc_process_end(&machine->pids[which]);
    }
}

static void machine_free(struct tc_machine *machine)
{
    tc_close_ptr(&machine->emulator_fd);
    tc_close_ptr(&machine->device_fd);
    tc_close_ptr(&machine->dialler_fd);
    tc_close_ptr(&machine->session_fd);
    tc_close_ptr(&machine->complaints_fd);
    free(machine);
}

tc_status tc_machine_start(const struct tc_machine_config *config, struct tc_machine **ret_machine,
                           struct tc_error *err)
{
    struct plan plan = {config,          .session = -1, .pages = -1,         .heartbeat = -1,
                        .streams = -1,   .front = -1,   .vsock = {.fd = -1}, .console_out = -1,
                        .console_in = -1};
    for (size_t i = 0; i < TC_MACHINE_ALL_PORTS; i++)
        plan.listeners[i] = -1;
    struct tc_machine *machine = calloc(1, sizeof *machine);
    if (!machine) return tc_fail(err, TC_SYSTEM, "out of memory");
    machine->emulator_fd = machine->device_fd = machine->dialler_fd = machine->session_fd = -1;
    machine->complaints_fd = memfd_create("machine-complaints", MFD_CLOEXEC);
    tc_status status = machine->complaints_fd < 0
                           ? tc_fail_errno(err, TC_SYSTEM, errno, "cannot make a file in memory")
                           : make_plan(&plan, err);
    if (status == TC_OK) status = start_parts(machine, &plan, err);
    /* Its threads come after the forks. */
    if (status == TC_OK && config->egress)
        status = tc_egress_follow(config->egress, TC_TAKE_FD(plan.streams), err);
    if (status == TC_OK) {
        machine->dialler_fd = TC_TAKE_FD(plan.session);
        *ret_machine = machine;
    }
    /* Each end lives where it is used alone: so a hang-up is seen. */
    plan_done(&plan);
    if (status != TC_OK) {
        end_parts(machine);
        machine_free(machine);
    }
    return status;
}

static void note_end(struct tc_machine *machine)
{
    /* By a wrapper that did not exec it an emulator may be left. */
    machine->emulator_status = tc_process_end(&machine->pids[EMULATOR]);
    machine->has_ended = true;
}

static tc_status say_end(const struct tc_machine *machine, struct tc_error *err)
{
    int status = machine->emulator_status;
    return tc_fail(err, TC_PEER, "the emulator ended with %s %d",
                   WIFEXITED(status) ? "status" : "signal",
                   WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
}

tc_status tc_machine_await(struct tc_machine *machine, int patience_ms, int interrupt_fd,
                           int *ret_fd, struct tc_error *err)
{
    enum { SESSION, END, INTERRUPT, COUNT };
    struct pollfd fds[COUNT] = {[SESSION] = {.fd = machine->dialler_fd, .events = POLLIN},
                                [END] = {.fd = machine->emulator_fd, .events = POLLIN},
                                [INTERRUPT] = {.fd = interrupt_fd, .events = POLLIN}};
    int ready;
    char byte;
    do
        ready = poll(fds, COUNT, patience_ms);
    while (ready < 0 && errno == EINTR);
    if (ready < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for the guest");
    if (ready == 0)
        return tc_fail(err, TC_PEER, "the guest did not connect within %d s", patience_ms / 1000);
    if (fds[INTERRUPT].revents != 0) return tc_fail(err, TC_INTERRUPTED, "interrupted");
    /* A guest that has come and gone has come. */
    if ((fds[SESSION].revents & POLLIN) != 0 &&
        tc_message_receive(machine->dialler_fd, &byte, 1, &machine->session_fd, 1, NULL, err) ==
            TC_OK) {
        tc_close_ptr(&machine->dialler_fd); /* refuses a second one */
        *ret_fd = machine->session_fd;
        return TC_OK;
    }
    /* The device ends when the emulator has, and may be seen first. */
    if (fds[END].revents != 0 || poll(&fds[END], 1, LINGER_MS) > 0) {
        note_end(machine);
        (void)say_end(machine, err);
        return tc_wrap(err, "the guest did not connect");
    }
    return tc_fail(err, TC_PEER, "the guest cannot connect: the vsock device has ended");
}

tc_status tc_machine_wait(struct tc_machine *machine, int patience_ms, int interrupt_fd,
                          struct tc_error *err)
{
    enum { END, DEVICE_END, INTERRUPT, COUNT };
    struct pollfd fds[COUNT] = {[END] = {.fd = machine->emulator_fd, .events = POLLIN},
                                [DEVICE_END] = {.fd = machine->device_fd, .events = POLLIN},
                                [INTERRUPT] = {.fd = interrupt_fd, .events = POLLIN}};
    tc_close_ptr(&machine->dialler_fd);
    tc_close_ptr(&machine->session_fd);
    while (!machine->has_ended) {
        bool is_deaf = fds[DEVICE_END].fd < 0;
        int ready = poll(fds, COUNT, patience_ms);
        if (ready < 0 && errno == EINTR) continue;
        if (ready < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for the emulator");
        if (ready == 0)
            return tc_fail(err, TC_PEER,
                           is_deaf ? "the process that serves the machine's vsock has ended, or "
                                     "was killed"
                                   : "the machine does not end");
        if (fds[INTERRUPT].revents != 0 && fds[END].revents == 0)
            return tc_fail(err, TC_INTERRUPTED, "interrupted");
        /* It ends with the emulator, and may be seen long before: an emulator that ends gives
         * its memory back first. */
        if (fds[DEVICE_END].revents != 0) fds[DEVICE_END].fd = -1;
        if (fds[END].revents != 0) note_end(machine);
    }
    int status = machine->emulator_status;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? TC_OK : say_end(machine, err);
}

/* The first line of what parts complained about. */
static tc_status read_complaint(const struct tc_machine *machine, struct tc_error *err)
{
    char line[TC_ERROR_MAX / 2], shown[TC_ERROR_MAX];
    ssize_t got = pread(machine->complaints_fd, line, sizeof line, 0);
    if (got <= 0) return TC_OK;
    const char *end = memchr(line, '\n', (size_t)got);
    struct tc_span text = {(const uint8_t *)line, end ? (size_t)(end - line) : (size_t)got};
    return tc_fail(err, TC_PEER, "%s", tc_printable_again(text, shown, sizeof shown));
}

tc_status tc_machine_stop(struct tc_machine *machine, struct tc_error *err)
{
    if (!machine) return TC_OK;
    end_parts(machine);
    tc_status status = read_complaint(machine, err);
    machine_free(machine);
    return status;
}
