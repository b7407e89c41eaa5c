/* A closed room: a command of Debian's tools runs in namespaces of its own, with a
 * root that was made for it, without network, as uid 0 of a user namespace whose
 * ids are nobody's on this machine. What an image is made of is made in such rooms:
 * nothing of the machine but its kernel gets into one, except where the machine's
 * own tools are asked for by name (root NULL). What is mounted cannot be remounted or
 * taken away from inside; new mounts can be made.
 *
 * Inside: /source, /recipe and /packages read-only where they are given, /work
 * writable, /dev with null, zero, full, random, urandom and tty, an own /proc, an
 * empty /sys; an environment of exactly PATH, LC_ALL=C.UTF-8, TZ=UTC0, HOME=/root,
 * SOURCE_DATE_EPOCH and JOBS. */
#ifndef TC_HOST_ROOM_H
#define TC_HOST_ROOM_H

#include <sys/types.h>

#include "base/status.h"

/* 1980-01-01T00:00:00Z: the first moment that every archive format can say. */
#define TC_ROOM_EPOCH 315532800

struct tc_room {
    const char *root; /* a folder that becomes "/"; NULL: the machine's /usr and /etc, read-only */
    const char *source, *recipe, *packages; /* may be NULL */
    const char *work;
    unsigned jobs;    /* at least 1 */
    int log_fd;       /* stdout and stderr of the command */
    int interrupt_fd; /* readable: stop; -1: never */
};

/* Who uid 0 of every room is, as the kernel sees it: whatever is to be written in a
 * room belongs to it. TC_UNAVAILABLE as tc_local_ids_find. */
tc_status tc_room_owner(uid_t *ret_owner, struct tc_error *err) TC_MUST_USE;

/* Runs the command (argv, ended by NULL, looked for in PATH) to its end. Whatever it
 * started is dead when this returns, and no mount is left. TC_BUILD: it ended with
 * another status than 0, or was killed. */
tc_status tc_room_run(const struct tc_room *room, const char *const *command, struct tc_error *err)
    TC_MUST_USE;

#endif
