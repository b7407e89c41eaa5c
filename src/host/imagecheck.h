/* The check of an image's file system (tc_imagefile_check_root) beside what else goes on:
 * a process of its own, so that a build can start meanwhile. Nothing that was made with
 * the image may be given to anybody before the check has ended well. */
#ifndef TC_HOST_IMAGECHECK_H
#define TC_HOST_IMAGECHECK_H

#include "host/imagefile.h"

struct tc_imagecheck;

/* Dies with the caller. Call it before there are threads. */
tc_status tc_imagecheck_start(const struct tc_imagefile *image, struct tc_imagecheck **ret_check,
                              struct tc_error *err) TC_MUST_USE;

/* Waits for the answer, which is that of tc_imagefile_check_root, also when it is asked
 * again. TC_SYSTEM: there is none, the process was killed. TC_INTERRUPTED: interrupt_fd
 * (-1: none) is readable first. */
tc_status tc_imagecheck_await(struct tc_imagecheck *check, int interrupt_fd, struct tc_error *err)
    TC_MUST_USE;

/* Ends it, answered or not, and frees. Accepts NULL. */
void tc_imagecheck_stop(struct tc_imagecheck *check);

#endif
