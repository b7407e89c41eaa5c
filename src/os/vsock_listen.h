/* The other side of vsock.h: what a host listens on for its guests. Each function answers
 * as the call that it is named for: -1 with errno. */
#ifndef TC_OS_VSOCK_LISTEN_H
#define TC_OS_VSOCK_LISTEN_H

#include <stdint.h>

/* A listener for guests of any CID, which does not block and is closed on exec. EADDRINUSE:
 * somebody listens there. */
int tc_vsock_listen(uint32_t port);

/* A stream that blocks and is closed on exec; ret_cid: who connected, as the kernel says. */
int tc_vsock_accept(int fd, uint32_t *ret_cid);

#endif
