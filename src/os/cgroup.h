/* Control groups, version 2 or 1, by files relative to an open folder. */
#ifndef TC_OS_CGROUP_H
#define TC_OS_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/status.h"

/* One group: in version 2 both descriptors are the same folder. */
struct tc_cgroup {
    bool v2;
    int memory_fd, pids_fd; /* owned; -1: none */
};
#define TC_CGROUP_NONE                                                                             \
    (struct tc_cgroup)                                                                             \
    {                                                                                              \
        .memory_fd = -1, .pids_fd = -1                                                             \
    }

/* Counters that only ever grow; nothing that the group's processes can reset. */
struct tc_cgroup_events {
    uint64_t oom;     /* OOM kills, and in version 2 refused allocations */
    uint64_t no_fork; /* forks refused by the limit */
};

/* Opens the delegated folder: version 2 when it has cgroup.controllers, else one
 * with memory/ and pids/ of version 1. Makes the child group `name` in it (and,
 * in version 2, hands the controllers down to it). */
tc_status tc_cgroup_make(const char *delegated, const char *name, struct tc_cgroup *ret_group,
                         struct tc_error *err) TC_MUST_USE;
void tc_cgroup_close(struct tc_cgroup *group);

/* memory: bytes of everything that is charged, no swap; tasks: processes and threads. */
tc_status tc_cgroup_limit(const struct tc_cgroup *group, uint64_t memory, uint64_t tasks,
                          struct tc_error *err) TC_MUST_USE;
/* Moves the calling process. */
tc_status tc_cgroup_join(const struct tc_cgroup *group, struct tc_error *err) TC_MUST_USE;
tc_status tc_cgroup_events_read(const struct tc_cgroup *group, struct tc_cgroup_events *ret_events,
                                struct tc_error *err) TC_MUST_USE;
/* Processes and threads in it, zombies included: 0 means that everything that
 * ever ran in it is dead and reaped. */
tc_status tc_cgroup_tasks(const struct tc_cgroup *group, uint64_t *ret_tasks, struct tc_error *err)
    TC_MUST_USE;

#endif
