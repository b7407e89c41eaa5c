/* The child that becomes the build: described by the session in a memfd, which
 * only this child reads, after it has given up every privilege. */
#ifndef TC_WORKER_SANDBOX_H
#define TC_WORKER_SANDBOX_H

#include "base/bytes.h"
#include "worker/spawner.h"

enum { TC_COMMAND_MAX = 4 << 20 }; /* bytes of an encoded command */

/* block command, block folder, u32 count, count blocks NAME=value, u32 count, count
 * times block path, block content. */
void tc_command_encode(const struct tc_command *command, struct tc_buf *buf);

/* In the child, already in the build's cgroup and without privileges: reads the
 * command from command_fd and becomes bwrap. bwrap writes to status_fd; the build
 * does not get that descriptor. network: the namespace that this
 * process is in, not an empty one. Writes why it could not to stderr, which is the
 * log, and exits with TC_SANDBOX_NOT_STARTED. */
enum { TC_SANDBOX_NOT_STARTED = 125 };
_Noreturn void tc_sandbox_exec(int command_fd, int filter_fd, int status_fd, bool network);

/* Did bwrap get as far as to execute the command? It writes "exit-code" only
 * then, out of the process that stands outside the sandbox. */
bool tc_sandbox_has_run(struct tc_span status);

#endif
