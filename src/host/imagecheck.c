#include "host/imagecheck.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "host/imagerecord.h"
#include "os/process.h"

struct tc_imagecheck {
    pid_t pid; /* 0: it has ended, and this is its answer */
    tc_status status;
    struct tc_error answer;
    int fd;      /* a failure comes here, as tc_process_read_report has it */
    int root_fd; /* the file, with what it ought to be */
    struct tc_sha256 root;
    char *records;      /* NULL: none are kept */
    struct stat before; /* the file as the check began */
};

enum { ROOT = TC_PROCESS_FIRST_FD, REPORT };

_Noreturn static void run(const struct tc_imagefile *image, int report_fd, pid_t parent)
{
    struct tc_error err = {0};
    struct tc_imagefile own = *image;
    const int fds[] = {image->root_fd, report_fd};
    (void)setsid();
    tc_status status = tc_process_reset_signals(&err);
    if (status == TC_OK) status = tc_process_no_core(&err);
    if (status == TC_OK) status = tc_process_keep(fds, 2, -1, &err);
    if (status != TC_OK) _exit(EXIT_FAILURE); /* said by its exit status alone */
    own.root_fd = ROOT;
    status = tc_process_die_with(parent, &err);
    if (status == TC_OK) status = tc_imagefile_check_root(&own, &err);
    if (status == TC_OK) _exit(EXIT_SUCCESS);
    (void)!write(REPORT, &err, sizeof err);
    _exit(EXIT_FAILURE);
}

static tc_status fork_check(const struct tc_imagefile *image, struct tc_imagecheck *check,
                            struct tc_error *err)
{
    int ends[2];
    check->root_fd = fcntl(image->root_fd, F_DUPFD_CLOEXEC, 0);
    if (check->root_fd >= 0 && fstat(check->root_fd, &check->before) == 0 &&
        pipe2(ends, O_CLOEXEC) == 0) {
        pid_t parent = getpid();
        check->fd = ends[0];
        check->pid = fork();
        if (check->pid == 0) run(image, ends[1], parent);
        (void)close(ends[1]);
    }
    if (check->fd >= 0 && check->pid > 0) return TC_OK;
    check->pid = 0;
    return tc_fail_errno(err, TC_SYSTEM, errno, "cannot start the check of the image");
}

tc_status tc_imagecheck_start(const struct tc_imagefile *image, const char *records,
                              struct tc_imagecheck **ret_check, struct tc_error *err)
{
    struct tc_imagecheck *check = calloc(1, sizeof *check);
    if (!check) return tc_fail(err, TC_SYSTEM, "out of memory");
    check->fd = check->root_fd = -1;
    check->root = image->content.verity.root;
    tc_status status = TC_OK;
    /* Else there is nothing to wait for. */
    if (!image->root_checked &&
        !(records && tc_imagerecord_holds(records, &check->root, image->root_fd))) {
        check->records = records ? strdup(records) : NULL;
        status = fork_check(image, check, err);
    }
    if (status == TC_OK)
        *ret_check = check;
    else
        tc_imagecheck_stop(check);
    return status;
}

/* How it ended; by itself, so that this does not wait. */
static int reap(struct tc_imagecheck *check)
{
    int status = 0;
    pid_t got;
    do
        got = waitpid(check->pid, &status, 0);
    while (got < 0 && errno == EINTR);
    check->pid = 0;
    return got > 0 ? status : -1;
}

tc_status tc_imagecheck_await(struct tc_imagecheck *check, int interrupt_fd, struct tc_error *err)
{
    while (check->pid > 0) {
        struct pollfd fds[] = {{.fd = check->fd, .events = POLLIN},
                               {.fd = interrupt_fd, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0) {
            if (errno == EINTR) continue;
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for the check of the image");
        }
        if (fds[0].revents == 0) return tc_fail(err, TC_INTERRUPTED, "interrupted");
        check->status = tc_process_read_report(check->fd, "the check of the image", &check->answer);
        int ended = reap(check);
        /* Whoever says nothing and does not end well has not found it good. */
        if (check->status == TC_OK && !(WIFEXITED(ended) && WEXITSTATUS(ended) == 0))
            check->status = tc_fail(&check->answer, TC_SYSTEM,
                                    "the check of the image's file system was ended before it had "
                                    "an answer; start the build again");
        if (check->status == TC_OK && check->records)
            tc_imagerecord_keep(check->records, &check->root, check->root_fd, &check->before,
                                time(NULL));
    }
    if (check->status != TC_OK) *err = check->answer;
    return check->status;
}

void tc_imagecheck_stop(struct tc_imagecheck *check)
{
    if (!check) return;
    if (check->pid > 0) {
        (void)kill(check->pid, SIGKILL);
        (void)reap(check);
    }
    tc_close_ptr(&check->fd);
    tc_close_ptr(&check->root_fd);
    free(check->records);
    free(check);
}
