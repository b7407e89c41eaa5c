/* Ownership by attribute: a local that owns something says so where it is
 * declared and is released on every path; TC_TAKE hands it on. */
#ifndef TC_BASE_CLEANUP_H
#define TC_BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

#define TC_CLEANUP(function) __attribute__((cleanup(function)))

static inline void tc_free_ptr(void *pointer_to_pointer)
{
    void **pointer = pointer_to_pointer;
    free(*pointer);
    *pointer = NULL;
}
#define TC_AUTO_FREE TC_CLEANUP(tc_free_ptr)

static inline void tc_close_ptr(int *fd)
{
    if (*fd >= 0) (void)close(*fd);
    *fd = -1;
}
/* Initialise to -1. */
#define TC_AUTO_CLOSE TC_CLEANUP(tc_close_ptr)

/* Moves a pointer out of its owner, which is left NULL. */
#define TC_TAKE(pointer)                                                                           \
    __extension__({                                                                                \
        __typeof__(pointer) tc_taken_ = (pointer);                                                 \
        (pointer) = NULL;                                                                          \
        tc_taken_;                                                                                 \
    })

/* The same for a file descriptor, which is left -1. */
#define TC_TAKE_FD(fd)                                                                             \
    __extension__({                                                                                \
        int tc_taken_ = (fd);                                                                      \
        (fd) = -1;                                                                                 \
        tc_taken_;                                                                                 \
    })

#endif
