/* SIGINT, SIGTERM and SIGHUP as something to poll for, so that one path cleans up
 * whatever ends a command. */
#ifndef TC_CMD_INTERRUPTS_H
#define TC_CMD_INTERRUPTS_H

#include "base/status.h"

/* *ret_fd is readable as soon as one of them has come that is not ignored. */
tc_status tc_interrupts_catch(int *ret_fd, struct tc_error *err) TC_MUST_USE;
/* TC_INTERRUPTED once one has come. A callback of verify.h; context is the int of
 * tc_interrupts_catch. */
tc_status tc_interrupts_check(void *context, struct tc_error *err) TC_MUST_USE;
/* What was sent so far has been heeded; from here on a signal ends the command again.
 * Closes; accepts -1. */
void tc_interrupts_release(int *fd);

#endif
