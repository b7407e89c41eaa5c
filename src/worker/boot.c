/* PID 1 of an enclave: makes the world of spawner.h out of a bare kernel, lets
 * one session run in it, and ends the machine.
 *
 *   kernel file systems -> marks of the ramdisks -> the image's text, against the
 *   kernel's command line -> NSM, entropy -> settings -> root and toolchain
 *   -> stream to the host -> stages -> the end
 *
 * stages runs as PID 1 of a pid namespace of its own, as it does on the local back
 * end: it reaps what the build leaves, and when it dies, by whatever cause, the
 * kernel kills the rest. This process holds every capability, reads no byte from
 * anywhere but the heartbeat's echo, and waits. Whatever happens after the start
 * ends in a restart of the machine, which for an enclave is its end; should this
 * process itself die, the kernel panics and does the same.
 *
 * A boot that fails tells the host why, as a session would: unsigned, as all that
 * it says. */
#include "worker/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "os/channel.h"
#include "os/vsock.h"
#include "worker/stages.h"

enum {
    HEARTBEAT = 0xb7,
    HEARTBEAT_PATIENCE_MS = 2000,
    LAST_WORD_MS = 5000, /* for the host to take what was sent, and to hang up */
};

struct boot {
    int nsm_fd, host_fd;
    enum tc_parent parent;
    uint32_t port_shift;
};

static void say(const char *what, const struct tc_error *err)
{
    (void)dprintf(STDERR_FILENO, "tee-compile-worker: %s%s%s\n", what, err ? ": " : "",
                  err ? err->message : "");
}

/* The first ramdisk need not have a console for the kernel to open: without one
 * the descriptors 0 to 2 are free, and would be taken by whatever comes first. */
static tc_status open_console(struct tc_error *err)
{
    int fd = open("/dev/console", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0) fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (fd < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "there is neither console nor null");
    for (int i = 0; i < 3; i++)
        if (fd == i ? fcntl(fd, F_SETFD, 0) != 0 : dup2(fd, i) < 0)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot open the console");
    if (fd > 2) (void)close(fd);
    return TC_OK;
}

/* Before /dev is that of the session, which has no vsock. */
static tc_status find_ports(struct boot *boot, struct tc_error *err)
{
    uint32_t cid = 0;
    TC_TRY(tc_vsock_local_cid(&cid, err));
    boot->port_shift = tc_vsock_port_shift(cid);
    return TC_OK;
}

static tc_status connect_session(struct boot *boot, struct tc_error *err)
{
    return tc_vsock_connect_out(TC_VSOCK_PORT_SESSION + boot->port_shift, &boot->host_fd,
                                &boot->parent, err);
}

static tc_status make_world(struct boot *boot, struct tc_error *err)
{
    TC_TRY(tc_boot_mount_kernel(err));
    TC_TRY(open_console(err));
    TC_TRY(find_ports(boot, err));
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(TC_IMAGE_TEXT_MAX);
    TC_TRY(tc_boot_check_ramdisks("", err));
    TC_TRY(tc_boot_check_text("", "/proc/cmdline", &text, err));
    TC_TRY(tc_boot_open_nsm(boot->port_shift, &boot->nsm_fd, err));
    TC_TRY(tc_boot_set_kernel(err));
    TC_TRY(tc_boot_enter_root(tc_buf_span(&text), boot->port_shift, err));
    return connect_session(boot, err);
}

/* A sign of life as Nitro's launcher has it, one byte there and back. That nobody answers is
 * no reason to refuse a session that the host has taken. */
static void send_heartbeat(const struct boot *boot)
{
    struct tc_error ignored = {0};
    TC_AUTO_CLOSE int fd = -1;
    const struct timeval patience = {.tv_sec = HEARTBEAT_PATIENCE_MS / 1000};
    unsigned char byte = HEARTBEAT;
    if (tc_vsock_connect(boot->parent, TC_VSOCK_PORT_HEARTBEAT + boot->port_shift,
                         HEARTBEAT_PATIENCE_MS, &fd, &ignored) != TC_OK)
        return;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (send(fd, &byte, 1, MSG_NOSIGNAL) == 1) (void)!read(fd, &byte, 1);
}

_Noreturn static void run_stages(const struct boot *boot)
{
    const struct tc_stages_config config = {.host_fd = boot->host_fd,
                                            .nsm_fd = boot->nsm_fd,
                                            .dialler_fd = -1,
                                            .parent = boot->parent,
                                            .port_shift = boot->port_shift,
                                            .host_piece = tc_vsock_piece(boot->parent)};
    if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) != 0) {
        struct tc_error err = {0};
        (void)tc_fail_errno(&err, TC_SYSTEM, errno, "cannot mount /proc");
        say("boot", &err);
        _exit(EXIT_FAILURE);
    }
    _exit(tc_stages_run(&config));
}

/* Until stages has ended. Besides it this process has only the children that bring
 * the toolchain's pages (boot_pages.c), which end when the host's server goes: then
 * at once, and not when the build next touches a page. */
static tc_status run_session(struct boot *boot, struct tc_error *err)
{
    int status;
    pid_t ended, stages = unshare(CLONE_NEWPID) != 0 ? -1 : fork();
    if (stages < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot start the session");
    if (stages == 0) run_stages(boot);
    tc_close_ptr(&boot->nsm_fd);
    send_heartbeat(boot);
    do
        ended = waitpid(-1, &status, 0);
    while (ended < 0 && errno == EINTR);
    if (ended != stages) {
        (void)kill(stages, SIGKILL);
        while (waitpid(stages, &status, 0) < 0 && errno == EINTR) {
        }
        return tc_fail(err, TC_PEER, "the host's page server has gone: the session ends unsigned");
    }
    say(WIFEXITED(status) && WEXITSTATUS(status) == 0 ? "the session ended well"
                                                      : "the session failed",
        NULL);
    return TC_OK;
}

static void tell_host(struct boot *boot, const struct tc_error *failure)
{
    struct tc_error ignored = {0};
    struct tc_channel host = {0};
    if (boot->host_fd < 0 && connect_session(boot, &ignored) != TC_OK) return;
    if (tc_channel_init(&host, boot->host_fd, LAST_WORD_MS, "the host", &ignored) != TC_OK) return;
    TC_AUTO_BUF struct tc_buf payload = tc_buf_new(2 * TC_ERROR_MAX);
    tc_wire_fail_encode(failure, &payload);
    (void)!tc_channel_write(&host, TC_WIRE_FAIL, tc_buf_span(&payload), &ignored);
    tc_channel_done(&host);
}

/* What was sent is still on its way when its sender has ended. The host hangs up
 * when it has it all; one that does not gains nothing but this moment. */
static void await_hangup(const struct boot *boot)
{
    struct pollfd fd = {.fd = boot->host_fd, .events = POLLRDHUP};
    if (boot->host_fd >= 0) (void)poll(&fd, 1, LAST_WORD_MS);
}

int tc_boot_main(void)
{
    struct tc_error err = {0};
    struct boot boot = {.nsm_fd = -1, .host_fd = -1};
    if (getpid() != 1) {
        say(TC_BOOT_NAME " is started by the kernel of an enclave and by nobody else", NULL);
        return 2;
    }
    tc_status status = make_world(&boot, &err);
    if (status == TC_OK) status = run_session(&boot, &err);
    if (status != TC_OK) {
        say("boot", &err);
        tell_host(&boot, &err);
    }
    await_hangup(&boot);
    (void)reboot(RB_AUTOBOOT);
    return EXIT_FAILURE; /* the kernel panics, and with that ends the enclave too */
}
