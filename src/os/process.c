#include "os/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { PARKING = 64 }; /* above every place where a descriptor may have to go */

static tc_status park(int fd, int *ret_fd, struct tc_error *err)
{
    int parked = fcntl(fd, F_DUPFD_CLOEXEC, PARKING);
    if (parked < 0)
        return tc_fail_errno(err, TC_SYSTEM, errno,
                             "cannot duplicate descriptor %d to %d or above, which ulimit -n has "
                             "to allow",
                             fd, PARKING);
    *ret_fd = parked;
    return TC_OK;
}

tc_status tc_process_keep(const int *fds, size_t count, int out_fd, struct tc_error *err)
{
    int parked[TC_PROCESS_FDS_MAX], out = -1;
    if (count > TC_PROCESS_FDS_MAX)
        return tc_fail(err, TC_SYSTEM, "a child cannot keep %zu descriptors", count);
    /* First out of the way, then into place: one may lie where another has to go. */
    for (size_t i = 0; i < count; i++)
        TC_TRY(park(fds[i], &parked[i], err));
    if (out_fd >= 0) TC_TRY(park(out_fd, &out, err));
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (nothing < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot open /dev/null");
    bool good = dup2(nothing, STDIN_FILENO) >= 0;
    if (out >= 0) good = good && dup2(out, STDOUT_FILENO) >= 0 && dup2(out, STDERR_FILENO) >= 0;
    for (size_t i = 0; good && i < count; i++)
        good = dup2(parked[i], TC_PROCESS_FIRST_FD + (int)i) >= 0;
    if (!good) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot place descriptors");
    /* By number: glibc has the wrapper only from 2.34 on. */
    if (syscall(SYS_close_range, TC_PROCESS_FIRST_FD + (unsigned)count, ~0U, 0U) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno,
                             "cannot close inherited descriptors; Linux 5.9 or newer is needed");
    return TC_OK;
}

tc_status tc_process_reset_signals(struct tc_error *err)
{
    struct sigaction fresh = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++) {
        /* EINVAL: SIGKILL, SIGSTOP, and the two that glibc keeps for itself. */
        if (sigaction(number, &fresh, NULL) != 0 && errno != EINVAL)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot reset signal %d", number);
    }
    sigset_t none;
    (void)sigemptyset(&none);
    if (sigprocmask(SIG_SETMASK, &none, NULL) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot unblock signals");
    return TC_OK;
}

tc_status tc_process_die_with(pid_t expected_parent, struct tc_error *err)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot bind a process to its parent");
    if (getppid() != expected_parent)
        return tc_fail(err, TC_INTERRUPTED, "the parent process has ended");
    return TC_OK;
}

/* At 0 the kernel still pipes a dump to a program, if one is set up for that; at 1 it does
 * neither. Whoever was given a hard limit of 0 cannot have 1. */
tc_status tc_process_no_core(struct tc_error *err)
{
    const struct rlimit one = {1, 1}, none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &one) == 0 || setrlimit(RLIMIT_CORE, &none) == 0) return TC_OK;
    return tc_fail_errno(err, TC_SYSTEM, errno, "cannot forbid a core dump");
}

int tc_process_end(pid_t *pid)
{
    int status = 0;
    if (*pid <= 0) return 0;
    (void)kill(*pid, SIGKILL); /* it may not have a group of its own yet */
    (void)kill(-*pid, SIGKILL);
    while (waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
    }
    *pid = 0;
    return status;
}

tc_status tc_process_read_report(int fd, const char *what, struct tc_error *err)
{
    struct tc_error report = {0};
    ssize_t got;
    do
        got = read(fd, &report, sizeof report);
    while (got < 0 && errno == EINTR);
    if (got == 0) return TC_OK;
    if (got != (ssize_t)sizeof report)
        return tc_fail(err, TC_SYSTEM, "%s could not be started", what);
    report.message[sizeof report.message - 1] = '\0';
    return tc_fail(err, report.status == TC_OK ? TC_SYSTEM : report.status, "%s", report.message);
}
