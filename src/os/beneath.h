/* Files in a folder that somebody else has filled. */
#ifndef TC_OS_BENEATH_H
#define TC_OS_BENEATH_H

#include <stdint.h>

#include "base/status.h"

/* Opens the regular file `path` of the folder for reading. No link is followed on the
 * way, of whatever kind, nothing above the folder is reached, and nothing waits on a
 * FIFO. The folder's own path is the caller's. TC_UNAVAILABLE when it cannot be
 * opened, TC_USAGE when there is a link or it is no regular file. */
tc_status tc_open_beneath(const char *folder, const char *path, int *ret_fd, uint64_t *ret_size,
                          struct tc_error *err) TC_MUST_USE;

#endif
