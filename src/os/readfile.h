/* Small files whole. */
#ifndef TC_OS_READFILE_H
#define TC_OS_READFILE_H

#include <stdbool.h>

#include "base/bytes.h"

/* Reads a regular file below folder_fd (AT_FDCWD: as open does), at most as many
 * bytes as *ret_content can take; nothing else is ever read, and nothing waits on
 * a FIFO. follow: also through a symlink. what names it in messages. TC_UNAVAILABLE
 * when it cannot be opened, TC_USAGE when it is no such file or too large. */
tc_status tc_readfile_at(int folder_fd, const char *name, bool follow, const char *what,
                         struct tc_buf *ret_content, struct tc_error *err) TC_MUST_USE;

/* The same; a file that is not there leaves *ret_found false and is no error. */
tc_status tc_readfile_if_there(int folder_fd, const char *name, const char *what, bool *ret_found,
                               struct tc_buf *ret_content, struct tc_error *err) TC_MUST_USE;

#endif
