/* The user namespace of a worker: which kernel uids its inner uids are. */
#ifndef TC_HOST_LOCAL_IDS_H
#define TC_HOST_LOCAL_IDS_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/status.h"

enum { TC_INNER_IDS = 65536 };

/* Root maps inner 0.. to a range that no distribution hands out, so that not even
 * the worker's root is anybody on this machine; a user maps inner 0 to itself
 * and the rest to its subordinate ids. */
struct tc_local_ids {
    bool root;
    uid_t inner_root;             /* as the kernel sees it */
    unsigned long subuid, subgid; /* first subordinate id; 0 for root */
};

/* TC_UNAVAILABLE names the command that gives this user what is missing. */
tc_status tc_local_ids_find(struct tc_local_ids *ret_ids, struct tc_error *err) TC_MUST_USE;

/* Writes the maps of a process that has just made its user namespace. */
tc_status tc_local_ids_map(const struct tc_local_ids *ids, pid_t pid, struct tc_error *err)
    TC_MUST_USE;

/* The same by root of a namespace that was mapped so, for one below it: every id is
 * itself. */
tc_status tc_local_ids_map_same(pid_t pid, struct tc_error *err) TC_MUST_USE;

#endif
