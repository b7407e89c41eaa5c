/* Tries one forbidden thing from inside the sandbox: prints "refused ERRNO" or
 * "ALLOWED". Run by test_sandbox.py as a host tool. */
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* High bits of an argument that the kernel does not look at. */
#define ABOVE (UINT64_C(1) << 40)
enum { AF_VSOCK_NUMBER = 40 };

struct clone3_arguments {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
};

static long raw(long call, uint64_t a, uint64_t b, uint64_t c)
{
    return syscall(call, a, b, c, 0, 0, 0);
}

static long clone_flags(uint64_t flags)
{
    long pid = syscall(SYS_clone, flags | SIGCHLD, 0, 0, 0, 0);
    if (pid == 0) _exit(0);
    return pid;
}

static long clone3_flags(uint64_t flags)
{
    struct clone3_arguments arguments = {.flags = flags, .exit_signal = SIGCHLD};
    long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid == 0) _exit(0);
    return pid;
}

static long ring(void)
{
    uint32_t parameters[30] = {0};
    return raw(SYS_io_uring_setup, 4, (uint64_t)(uintptr_t)parameters, 0);
}

/* Not on a terminal: a kernel that has switched TIOCSTI off answers EPERM there
 * too, and ENOTTY here. */
static long into_terminal(uint64_t request)
{
    int fd = open("/dev/null", O_RDWR);
    char letter = 'x';
    if (fd < 0) return -1;
    return raw(SYS_ioctl, (uint64_t)fd, request, (uint64_t)(uintptr_t)&letter);
}

/* int 0x80 enters through the i386 table, whose numbers are others. The process
 * is killed: the parent says so. */
static long foreign(bool x32)
{
    pid_t pid = fork();
    int status;
    if (pid == 0) {
        if (x32) {
            (void)syscall(0x40000000 | SYS_getpid);
        } else {
            long result = 20; /* getpid of i386 */
            __asm__ volatile("int $0x80" : "+a"(result) : : "memory");
        }
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) return -1;
    errno = ENOSYS;
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS ? -1 : 0;
}

static long file(const char *path, int flags)
{
    return open(path, flags);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    long result = -2;
#define TRY(name, expression)                                                                      \
    if (strcmp(what, name) == 0) result = (expression)
    TRY("vsock", raw(SYS_socket, AF_VSOCK_NUMBER, SOCK_STREAM, 0));
    TRY("vsock-high-bits", raw(SYS_socket, ABOVE | AF_VSOCK_NUMBER, SOCK_STREAM, 0));
    TRY("vsock-pair", raw(SYS_socketpair, AF_VSOCK_NUMBER, SOCK_STREAM, 0));
    TRY("packet", raw(SYS_socket, AF_PACKET, SOCK_RAW, 0));
    TRY("alg", raw(SYS_socket, AF_ALG, SOCK_SEQPACKET, 0));
    TRY("alg-high-bits", raw(SYS_socket, ABOVE | AF_ALG, SOCK_SEQPACKET, 0));
    TRY("key-family", raw(SYS_socket, AF_KEY, SOCK_RAW, 2));
    TRY("x25-high-bits", raw(SYS_socket, ABOVE | 3, SOCK_SEQPACKET, 0));
    TRY("netlink-kobject", raw(SYS_socket, AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT));
    TRY("netlink-netfilter", raw(SYS_socket, AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER));
    TRY("netlink-high-bits", raw(SYS_socket, ABOVE | AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER));
    TRY("raw-ip", raw(SYS_socket, AF_INET, SOCK_RAW, 1));
    TRY("io_uring", ring());
    TRY("bpf", raw(SYS_bpf, 0, 0, 0));
    TRY("perf", raw(SYS_perf_event_open, 0, 0, 0));
    TRY("userfaultfd", raw(SYS_userfaultfd, 1, 0, 0));
    TRY("keyctl", raw(SYS_keyctl, 0, (uint64_t)-3, 1));
    TRY("mount", syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL));
    TRY("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
    TRY("open_tree", syscall(SYS_open_tree, AT_FDCWD, "/", 1));
    TRY("unshare-user", raw(SYS_unshare, CLONE_NEWUSER, 0, 0));
    TRY("unshare-net", raw(SYS_unshare, CLONE_NEWNET, 0, 0));
    TRY("clone-user", clone_flags(CLONE_NEWUSER));
    TRY("clone-user-net", clone_flags(CLONE_NEWUSER | CLONE_NEWNET));
    TRY("clone3", clone3_flags(0));
    TRY("clone3-user", clone3_flags(CLONE_NEWUSER));
    TRY("setns", raw(SYS_setns, (uint64_t)open("/proc/self/ns/net", O_RDONLY), 0, 0));
    TRY("chroot", syscall(SYS_chroot, "/build"));
    TRY("tiocsti", into_terminal(TIOCSTI));
    TRY("tiocsti-high-bits", into_terminal(ABOVE | TIOCSTI));
    TRY("i386", foreign(false));
    TRY("x32", foreign(true));
    TRY("new-call", raw(SYS_getpid + 461 - SYS_getpid, 0, 0, 0));
    TRY("read", argc > 2 ? file(argv[2], O_RDONLY) : -2);
    TRY("write", argc > 2 ? file(argv[2], O_WRONLY) : -2);
    TRY("trace", argc > 2 ? raw(SYS_ptrace, PTRACE_SEIZE, strtoull(argv[2], NULL, 10), 0) : -2);
    TRY("signal", argc > 2 ? kill(atoi(argv[2]), 0) : -2);
    /* These must work: a probe that sees nothing but refusals proves nothing. */
    TRY("unix", raw(SYS_socket, AF_UNIX, SOCK_STREAM, 0));
    TRY("inet", raw(SYS_socket, AF_INET, SOCK_STREAM, 0));
    TRY("inet6", raw(SYS_socket, AF_INET6, SOCK_DGRAM, 0));
    TRY("route", raw(SYS_socket, AF_NETLINK, SOCK_RAW, NETLINK_ROUTE));
    TRY("clone", clone_flags(0));
    int reason = errno;
    if (result == -2) {
        (void)printf("%s: no such probe\n", what);
        return 2;
    }
    if (result >= 0)
        (void)printf("%s: ALLOWED\n", what);
    else
        (void)printf("%s: refused %s\n", what, strerrorname_np(reason));
    return 0;
}
