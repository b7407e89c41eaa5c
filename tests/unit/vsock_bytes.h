/* What guest and host say to each other through the vsock device of vsock_lab.h. */
#ifndef TC_TESTS_VSOCK_BYTES_H
#define TC_TESTS_VSOCK_BYTES_H

#include "vsock_lab.h"

extern uint8_t bytes[1 << 20];
/* cmocka's, for the group: fills them with what no two places near each other share. */
int fill_bytes(void **state);

/* From the guest. */
void send_bytes(struct lab *lab, uint32_t port, const uint8_t *data, uint32_t size);
void send_shutdown(struct lab *lab, uint32_t port, unsigned flags);

/* These come next, at the host's end or at the guest's. */
void expect_host(int fd, const uint8_t *data, size_t size);
void expect_guest(struct lab *lab, uint32_t port, const uint8_t *data, size_t size);
/* The host's end ends. */
void expect_end(int fd);

/* Sends a packet whose answer must be a reset. */
void refuse(struct lab *lab, struct tc_vsockpkt packet);

#endif
