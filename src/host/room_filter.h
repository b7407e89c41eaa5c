/* What the kernel refuses to the command of a closed room (room.h), root or not. */
#ifndef TC_HOST_ROOM_FILTER_H
#define TC_HOST_ROOM_FILTER_H

#include "base/status.h"

/* Forbids it to the calling process and to all that it starts, and new rights by
 * execve. TC_UNAVAILABLE: the kernel has no such filters. */
tc_status tc_room_filter_load(struct tc_error *err) TC_MUST_USE;

#endif
