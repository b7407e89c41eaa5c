/* Reads a descriptor once and hands every byte to several consumers, each on a
 * thread of its own, so that what they compute takes as long as the slowest of
 * them and not as long as all together. */
#ifndef TC_OS_FANOUT_H
#define TC_OS_FANOUT_H

#include "base/bytes.h"

enum { TC_FANOUT_MAX = 8 };

struct tc_fanout_lane {
    void *context; /* touched by one thread alone until tc_fanout returns */
    tc_status (*add)(void *context, struct tc_span bytes, struct tc_error *err);
};

/* Reads fd to its end in pieces; lanes[0] runs on the caller's thread. The first
 * error ends it: of the lane that failed at the earliest place, and there of the
 * one with the lowest index, or else of the reading. Other lanes may have been given
 * bytes behind that place. what names the file in messages. */
tc_status tc_fanout(int fd, const char *what, const struct tc_fanout_lane *lanes, size_t count,
                    struct tc_error *err) TC_MUST_USE;

#endif
