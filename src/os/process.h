/* What a forked child does first, so that it inherits nothing by accident, and how its
 * parent learns that it failed. */
#ifndef TC_OS_PROCESS_H
#define TC_OS_PROCESS_H

#include <stddef.h>
#include <sys/types.h>

#include "base/status.h"

enum { TC_PROCESS_FIRST_FD = 3, TC_PROCESS_FDS_MAX = 16 };

/* Moves fds[i] to TC_PROCESS_FIRST_FD + i, stdin to /dev/null, stdout and stderr
 * to out_fd (-1: they stay), and closes every other descriptor. The result is
 * inherited over exec. */
tc_status tc_process_keep(const int *fds, size_t count, int out_fd, struct tc_error *err)
    TC_MUST_USE;

/* Default dispositions and an empty mask, whatever the parent had. */
tc_status tc_process_reset_signals(struct tc_error *err) TC_MUST_USE;

/* The process gets SIGKILL when its parent dies. Has to be repeated after each
 * change of credentials, which clears it. expected_parent: what getppid must
 * answer afterwards, so that a parent which died before is noticed; 0 where the
 * parent lives outside of the pid namespace and has no number. */
tc_status tc_process_die_with(pid_t expected_parent, struct tc_error *err) TC_MUST_USE;

/* No core is dumped, which would be the child's memory, and perhaps a guest's, in whatever
 * folder it runs in. Inherited over exec. */
tc_status tc_process_no_core(struct tc_error *err) TC_MUST_USE;

/* Kills a child that began with setsid, and what it started and left in its group, and waits
 * for the child; what waitpid says of it. *pid is 0 afterwards; nothing happens when it is
 * before. One that has ended and is not waited for yet is one too. */
int tc_process_end(pid_t *pid);

/* What a child wrote of its failure, a struct tc_error in one piece: TC_OK when it wrote
 * nothing and its end of the pipe is closed, as an exec closes it. what names what was
 * to be started. */
tc_status tc_process_read_report(int fd, const char *what, struct tc_error *err) TC_MUST_USE;

#endif
