#include "cmd/interrupts.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"

/* What whoever started the command had it ignore (nohup, a shell's background jobs) stays
 * ignored. */
static sigset_t interrupts(void)
{
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction now;
    sigset_t set;
    (void)sigemptyset(&set);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (sigaction(numbers[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
            (void)sigaddset(&set, numbers[i]);
    return set;
}

tc_status tc_interrupts_catch(int *ret_fd, struct tc_error *err)
{
    sigset_t set = interrupts();
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot block signals");
    int fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for signals");
    *ret_fd = fd;
    return TC_OK;
}

tc_status tc_interrupts_check(void *context, struct tc_error *err)
{
    const int *interrupt_fd = context;
    struct pollfd fd = {.fd = *interrupt_fd, .events = POLLIN};
    return poll(&fd, 1, 0) > 0 ? tc_fail(err, TC_INTERRUPTED, "interrupted") : TC_OK;
}

void tc_interrupts_release(int *fd)
{
    struct signalfd_siginfo info;
    if (*fd < 0) return;
    while (read(*fd, &info, sizeof info) > 0) {
    }
    tc_close_ptr(fd);
    sigset_t set = interrupts();
    (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
}
