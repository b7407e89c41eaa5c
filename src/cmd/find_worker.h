/* Where the worker's program is. */
#ifndef TC_CMD_FIND_WORKER_H
#define TC_CMD_FIND_WORKER_H

#include "base/status.h"

/* tee-compile-worker beside this program, or ../libexec/tee-compile beside its
 * folder, or $TEE_COMPILE_WORKER; owned. TC_UNAVAILABLE lists where it looked. */
tc_status tc_find_worker(char **ret_path, struct tc_error *err) TC_MUST_USE;

#endif
