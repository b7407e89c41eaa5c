/* Filters of the worker's own unprivileged processes. The default answer is
 * EPERM and not a kill: libraries probe (OpenSSL looks for its configuration),
 * and a refused probe is harmless. */
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/socket.h>

#include "worker/privilege.h"

static void release(scmp_filter_ctx *filter)
{
    if (*filter) seccomp_release(*filter);
}

static const int plain_calls[] = {
    /* descriptors that are there */
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(pread64),
    SCMP_SYS(lseek),
    SCMP_SYS(close),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(fcntl),
    SCMP_SYS(dup),
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(sendto),
    SCMP_SYS(recvfrom),
    SCMP_SYS(sendmsg),
    SCMP_SYS(recvmsg),
    SCMP_SYS(shutdown),
    SCMP_SYS(getsockopt),
    SCMP_SYS(ftruncate),
    /* memory */
    SCMP_SYS(brk),
    SCMP_SYS(mmap),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    /* itself */
    SCMP_SYS(getrandom),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(uname),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(sched_yield),
    SCMP_SYS(futex),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(tgkill),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(prlimit64),
    SCMP_SYS(rseq),
    SCMP_SYS(set_robust_list),
};

/* New anonymous objects, for the pipes and pairs that the session hands out. */
static const int session_calls[] = {SCMP_SYS(pipe2), SCMP_SYS(memfd_create)};

/* Files below a folder that is open already; everything else about them (owner,
 * access) the kernel checks against the build's own uid. */
static const int helper_calls[] = {
    SCMP_SYS(openat),     SCMP_SYS(openat2),   SCMP_SYS(mkdirat),   SCMP_SYS(symlinkat),
    SCMP_SYS(linkat),     SCMP_SYS(unlinkat),  SCMP_SYS(renameat),  SCMP_SYS(renameat2),
    SCMP_SYS(fchmod),     SCMP_SYS(fchmodat),  SCMP_SYS(utimensat), SCMP_SYS(getdents64),
    SCMP_SYS(readlinkat), SCMP_SYS(statx),     SCMP_SYS(fstatfs),   SCMP_SYS(fsync),
    SCMP_SYS(fallocate),  SCMP_SYS(fadvise64), SCMP_SYS(pwrite64),  SCMP_SYS(copy_file_range),
    SCMP_SYS(sendfile),   SCMP_SYS(umask),     SCMP_SYS(faccessat), SCMP_SYS(faccessat2),
    SCMP_SYS(sysinfo),
};

/* Threads, the build's connections and new streams to the host. */
static const int recorder_calls[] = {
    SCMP_SYS(accept4),
    SCMP_SYS(connect),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    SCMP_SYS(setsockopt),
    SCMP_SYS(eventfd2),
    SCMP_SYS(pipe2),
    SCMP_SYS(memfd_create),
    SCMP_SYS(mprotect),
    SCMP_SYS(nanosleep),
    SCMP_SYS(pwrite64),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(membarrier),
    SCMP_SYS(splice),
    SCMP_SYS(fdatasync),
    SCMP_SYS(set_tid_address),
    SCMP_SYS(sched_getscheduler),
};

/* NSM_IOCTL of the driver's header: _IOWR(0x0A, 0, 32-byte message). */
static const unsigned long nsm_ioctl = 0xC0200A00UL;

static int add_all(scmp_filter_ctx filter, const int *calls, size_t count)
{
    int result = 0;
    for (size_t i = 0; i < count && result == 0; i++)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, calls[i], 0);
    return result;
}

static int allow_pairs(scmp_filter_ctx filter)
{
    return seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 1,
                            SCMP_A0(SCMP_CMP_EQ, AF_UNIX));
}

/* clone3 hides its flags from a filter; glibc falls back to clone when it is absent.
 * A thread of this process and nothing that is less than that. */
static int allow_recording(scmp_filter_ctx filter)
{
    static const scmp_datum_t thread =
        CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD;
    int result = add_all(filter, recorder_calls, sizeof recorder_calls / sizeof *recorder_calls);
    if (result == 0) result = allow_pairs(filter);
    if (result == 0) result = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    if (result == 0)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(clone), 1,
                                  SCMP_A0(SCMP_CMP_MASKED_EQ, thread, thread));
    if (result == 0)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(socket), 1,
                                  SCMP_A0(SCMP_CMP_EQ, AF_VSOCK));
    return result;
}

tc_status tc_filter_self(enum tc_filter_kind kind, struct tc_error *err)
{
    __attribute__((cleanup(release))) scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!filter) return tc_fail(err, TC_SYSTEM, "out of memory for a system call filter");
    int result = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (result == 0)
        result = add_all(filter, plain_calls, sizeof plain_calls / sizeof *plain_calls);
    if (result == 0 && kind == TC_FILTER_SESSION) {
        result = add_all(filter, session_calls, sizeof session_calls / sizeof *session_calls);
        if (result == 0) result = allow_pairs(filter);
    }
    if (result == 0 && kind == TC_FILTER_RECORDER) result = allow_recording(filter);
    if (result == 0 && kind == TC_FILTER_HELPER)
        result = add_all(filter, helper_calls, sizeof helper_calls / sizeof *helper_calls);
    if (result == 0 && kind == TC_FILTER_MONITOR)
        result = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), 1,
                                  SCMP_A1(SCMP_CMP_EQ, nsm_ioctl));
    if (result == 0) result = seccomp_load(filter);
    if (result != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, -result, "cannot install a system call filter");
    return TC_OK;
}
