/* A folder for one run below the cache, gone when the run ends, however it ends: what
 * a killed run left is cleaned away by the next. */
#ifndef TC_HOST_WORKFOLDER_H
#define TC_HOST_WORKFOLDER_H

#include "base/status.h"

struct tc_workfolder {
    char *path; /* absolute; 0700 */
    int fd;     /* holds the lock that says: in use */
};
#define TC_AUTO_WORKFOLDER TC_CLEANUP(tc_workfolder_remove)
#define TC_WORKFOLDER_NONE                                                                         \
    (struct tc_workfolder)                                                                         \
    {                                                                                              \
        .fd = -1                                                                                   \
    }

/* parent is an existing folder that holds work folders alone. Those in it that nobody
 * uses any more are removed first; that one cannot be removed is no error. */
tc_status tc_workfolder_make(const char *parent, struct tc_workfolder *ret_folder,
                             struct tc_error *err) TC_MUST_USE;

/* A folder in it, 0755; owner as of a room (room.h), or -1: this process. *ret_path is
 * owned. */
tc_status tc_workfolder_add(const struct tc_workfolder *folder, const char *name, long owner,
                            char **ret_path, struct tc_error *err) TC_MUST_USE;

/* With all that is in it, whichever of a room's ids it belongs to. Accepts one that was
 * never made. */
void tc_workfolder_remove(struct tc_workfolder *folder);

#endif
