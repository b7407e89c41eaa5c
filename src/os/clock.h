/* Time that only goes forward, for patience and deadlines; never in what is signed. */
#ifndef TC_OS_CLOCK_H
#define TC_OS_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Milliseconds of the monotonic clock; which moment is 0 differs by machine. */
static inline int64_t tc_clock_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#endif
