/* Which files build.json's patterns name: a sorted list of paths, each one there
 * once. Used by the collector alone. */
#ifndef TC_WORKER_COLLECT_FIND_H
#define TC_WORKER_COLLECT_FIND_H

#include "core/statement.h"

struct tc_found {
    char **paths; /* owned */
    size_t count, room;
};
void tc_found_free(struct tc_found *found);

/* Adds what one pattern matches below root_fd; TC_REFUSED with the reason for
 * whatever the rules of collect.h forbid, and when nothing matches. */
tc_status tc_find_outputs(int root_fd, const char *pattern, struct tc_found *found,
                          struct tc_error *err) TC_MUST_USE;
/* Sorts by the bytes of the path and drops repeats. */
void tc_found_sort(struct tc_found *found);

/* Opens a regular file that lies, after following links, beneath root_fd. */
tc_status tc_open_output(int root_fd, const char *path, int *ret_fd, struct tc_error *err)
    TC_MUST_USE;

#endif
