#include "host/attester.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/pcr.h"
#include "host/devattest.h"
#include "os/message.h"
#include "os/process.h"

_Noreturn static void complain(const struct tc_error *err)
{
    (void)dprintf(STDERR_FILENO, "tee-compile: %s\n", err->message);
    _exit(EXIT_FAILURE);
}

_Noreturn static void run(const struct tc_attester_config *config, int fd, pid_t parent)
{
    struct tc_error err = {0};
    const struct tc_imagefile *image = config->image;
    struct tc_sha384 pcrs[3];
    (void)setsid();
    if (tc_process_reset_signals(&err) != TC_OK || tc_process_no_core(&err) != TC_OK ||
        tc_process_keep(&fd, 1, -1, &err) != TC_OK || tc_process_die_with(parent, &err) != TC_OK)
        complain(&err);
    for (size_t i = 0; i < 3; i++) {
        if (image)
            pcrs[i] = image->pcr[i];
        else if (tc_pcr_unmeasured(&pcrs[i], &err) != TC_OK)
            complain(&err);
    }
    struct tc_devattest_config attester = {
        .folder = config->devroot_folder,
        .pcrs = pcrs,
        .pcr8 = image && image->is_signed ? &image->pcr8 : NULL,
    };
    int stream = TC_PROCESS_FIRST_FD;
    char byte;
    /* A worker that does not come says elsewhere why. */
    if (config->dialled &&
        tc_message_receive(TC_PROCESS_FIRST_FD, &byte, 1, &stream, 1, NULL, &err) != TC_OK)
        _exit(EXIT_SUCCESS);
    if (tc_devattest_serve(stream, &attester, &err) != TC_OK) complain(&err);
    _exit(EXIT_SUCCESS);
}

tc_status tc_attester_start(const struct tc_attester_config *config, int fd, pid_t *ret_pid,
                            struct tc_error *err)
{
    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot start the development attester");
    if (pid == 0) run(config, fd, parent);
    *ret_pid = pid;
    return TC_OK;
}

void tc_attester_stop(pid_t *pid)
{
    if (*pid <= 0) return;
    (void)kill(*pid, SIGKILL);
    while (waitpid(*pid, NULL, 0) < 0 && errno == EINTR) {
    }
    *pid = 0;
}
