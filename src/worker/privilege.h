/* Giving up: uid, capabilities, dumpability, and a filter of system calls. */
#ifndef TC_WORKER_PRIVILEGE_H
#define TC_WORKER_PRIVILEGE_H

#include <stdint.h>
#include <sys/types.h>

#include "base/status.h"

/* Becomes uid = gid = id for good: no supplementary groups, no capability in any
 * set, none to regain (no_new_privs, empty bounding set), no core file, not
 * traceable by other processes of the same uid. */
tc_status tc_privilege_drop(uid_t id, struct tc_error *err) TC_MUST_USE;

/* Keeps, in every set, only the capabilities whose bit is set. */
tc_status tc_privilege_keep(uint64_t mask, struct tc_error *err) TC_MUST_USE;

enum tc_filter_kind {
    TC_FILTER_SESSION,
    TC_FILTER_MONITOR,
    TC_FILTER_RECORDER,
    TC_FILTER_HELPER, /* unpacker and collector */
};
/* An allowlist for this process from here on: memory, time, and I/O on
 * descriptors that it has; for helpers also files, for the recorder also threads,
 * accept, and streams over vsock. No exec, no fork, no ptrace, no other socket but
 * pairs of the session and the recorder. */
tc_status tc_filter_self(enum tc_filter_kind kind, struct tc_error *err) TC_MUST_USE;

/* The filter of the build as BPF in a memfd, for bwrap --seccomp; owned. */
tc_status tc_filter_build_fd(int *ret_fd, struct tc_error *err) TC_MUST_USE;

#endif
