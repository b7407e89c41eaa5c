/* The development attester (devattest.h) as a process of its own, for back ends. */
#ifndef TC_HOST_ATTESTER_H
#define TC_HOST_ATTESTER_H

#include <stdbool.h>
#include <sys/types.h>

#include "host/imagefile.h"

struct tc_attester_config {
    const struct tc_imagefile *image; /* what it says was measured; NULL: unmeasured */
    const char *devroot_folder;       /* devattest.h, ensured */
    bool dialled; /* fd is where the worker's stream comes as a message (machine.h) */
};

/* Serves one worker on fd, a connected stream socket, which the caller then closes in
 * itself. Dies with the caller. Call it before there are threads. */
tc_status tc_attester_start(const struct tc_attester_config *config, int fd, pid_t *ret_pid,
                            struct tc_error *err) TC_MUST_USE;

/* Ends it and waits; *pid 0: there is none, and after this there is none. */
void tc_attester_stop(pid_t *pid);

#endif
