/* A server's listener for tests, which nobody but this machine reaches. */
#ifndef TC_TESTS_LOOPBACK_H
#define TC_TESTS_LOOPBACK_H

#include <stdint.h>

/* On a port that the kernel chooses. The caller closes it. */
int listen_here(uint16_t *ret_port);

#endif
