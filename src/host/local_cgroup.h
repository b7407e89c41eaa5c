/* Finds a place where this user may limit a build, makes a folder there for one
 * worker and removes it afterwards. */
#ifndef TC_HOST_LOCAL_CGROUP_H
#define TC_HOST_LOCAL_CGROUP_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/status.h"

struct tc_local_cgroup {
    bool v2;
    char *memory, *pids; /* folders made for this worker; in version 2 memory alone */
};

/* Root: the top of version 2 with both controllers, else of version 1. A user: a
 * version 2 group delegated to it, else folders tee-compile/ of version 1 that
 * the administrator gave it. Sweeps folders of clients that are dead. */
tc_status tc_local_cgroup_make(struct tc_local_cgroup *ret_cgroup, struct tc_error *err)
    TC_MUST_USE;

/* Gives the folders to `owner` (the worker's uid 0 as the kernel sees it) and
 * moves process pid into them. */
tc_status tc_local_cgroup_give(const struct tc_local_cgroup *cgroup, uid_t owner, pid_t pid,
                               struct tc_error *err) TC_MUST_USE;

/* Removes the folders, which must be empty of processes by now; frees. */
void tc_local_cgroup_remove(struct tc_local_cgroup *cgroup);

#endif
