/* Mounting an image's file system for a local worker, read-only.
 *
 * Root: the kernel's EROFS over a loop device, mounted before the user namespace is
 * made and not attached anywhere: when the worker's namespace ends, or this process,
 * mount and device are gone. Others may not mount that: erofsfuse serves the same
 * file inside the worker's own user namespace. */
#ifndef TC_HOST_LOCAL_IMAGE_H
#define TC_HOST_LOCAL_IMAGE_H

#include <stdbool.h>
#include <sys/types.h>

#include "host/imagefile.h"

/* Where erofsfuse puts it, in the launcher's own mount namespace: a folder that
 * every machine has. local_root.h covers it afterwards. */
#define TC_LOCAL_IMAGE_FUSE_AT "/tmp"

struct tc_local_image {
    int mount_fd; /* a detached mount; -1: by erofsfuse, or no image */
    char *fuse;   /* erofsfuse's path; NULL: not needed; owned */
    int file_fd;  /* what erofsfuse serves; -1: not needed; owned */
};
#define TC_LOCAL_IMAGE_NONE                                                                        \
    (struct tc_local_image)                                                                        \
    {                                                                                              \
        .mount_fd = -1, .file_fd = -1                                                              \
    }
void tc_local_image_done(struct tc_local_image *mounted);

/* Is there what this user mounts images with? As far as that can be told without one.
 * TC_UNAVAILABLE names what is missing and the fix. */
tc_status tc_local_image_look(struct tc_error *err) TC_MUST_USE;

/* In the client. TC_UNAVAILABLE names what is missing and the fix. */
tc_status tc_local_image_prepare(const struct tc_imagefile *image,
                                 struct tc_local_image *ret_mounted, struct tc_error *err)
    TC_MUST_USE;

/* In the launcher, where fuse is set: with capabilities over its new user and mount
 * namespaces, before it makes a pid namespace. Starts erofsfuse, which dies with the
 * caller, and waits until the file system is there. out_fd: where its words go. */
tc_status tc_local_image_serve(const struct tc_local_image *mounted, int out_fd, pid_t *ret_pid,
                               struct tc_error *err) TC_MUST_USE;

#endif
