/* Runs one command of the build from the session: starts it through stages,
 * carries its output into the log, ends it when the host is gone or the log is
 * full, and tells a clean end from every other one. */
#ifndef TC_WORKER_RUN_H
#define TC_WORKER_RUN_H

#include "worker/buildlog.h"
#include "worker/spawner.h"

/* what: for messages ("input.cmd"). TC_BUILD when the command fails, TC_LIMIT
 * when a limit was reached, TC_PEER when the host hung up or spoke. recorder
 * (NULL: none): when it says that it is broken, the command is ended and its reason is
 * the error. Returns only
 * when every process of the command is dead, or the worker is about to end. */
tc_status tc_run_command(struct tc_spawner *spawner, const struct tc_command *command,
                         const struct tc_limits *limits, const char *what, struct tc_buildlog *log,
                         struct tc_channel *recorder, struct tc_error *err) TC_MUST_USE;

#endif
