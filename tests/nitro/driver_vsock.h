/* The vsock part of the double's table (driver.h). */
#ifndef TC_TESTS_NITRO_DRIVER_VSOCK_H
#define TC_TESTS_NITRO_DRIVER_VSOCK_H

#include "nitro/driver.h"

int driver_listen(void *context, uint32_t port);
int driver_accept(void *context, int fd, uint32_t *ret_cid);
int driver_connect(void *context, uint32_t cid, uint32_t port);

/* Our end of a port whose listener has gone. */
bool driver_is_left(int fd);

#endif
