/* The root of a closed room (room.h): what is in it, and the move into it. */
#ifndef TC_HOST_ROOM_ROOT_H
#define TC_HOST_ROOM_ROOT_H

#include <stdbool.h>
#include <stddef.h>

#include "host/room.h"

/* A detached copy of a file or of a folder with what is mounted below. */
struct tc_room_tree {
    const char *source; /* borrowed */
    const char *target; /* in the new root, with its "/"; borrowed */
    bool folder;
    int fd;
};

enum { TC_ROOM_TREES_MAX = 32 };
struct tc_room_trees {
    struct tc_room_tree list[TC_ROOM_TREES_MAX];
    size_t count;
};
#define TC_AUTO_ROOM_TREES TC_CLEANUP(tc_room_trees_close)

/* Needs the right to mount: real root calls it before it becomes nobody, whose
 * folders need not be open to others then; a user in the room's own namespaces.
 * Fails if anything of the room is missing. */
tc_status tc_room_trees_clone(const struct tc_room *room, struct tc_room_trees *trees,
                              struct tc_error *err) TC_MUST_USE;
void tc_room_trees_close(struct tc_room_trees *trees);

/* In a mount namespace of the room and with its processes: puts the root together and
 * makes it "/" of every process in that namespace. What is made has no more rights
 * than umask gives. */
tc_status tc_room_root_enter(const struct tc_room *room, const struct tc_room_trees *trees,
                             struct tc_error *err) TC_MUST_USE;

#endif
