/* Messages of fixed size over SOCK_SEQPACKET, with descriptors beside them. */
#ifndef TC_OS_MESSAGE_H
#define TC_OS_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { TC_MESSAGE_FDS_MAX = 2 };

/* Descriptors are borrowed. */
tc_status tc_message_send(int socket, const void *data, size_t size, const int *fds,
                          size_t fds_count, struct tc_error *err) TC_MUST_USE;

/* Reads one message of exactly size bytes and exactly fds_count descriptors,
 * which are owned by the caller and close-on-exec. Any other size or number is
 * TC_MALFORMED (whatever came is closed), a hang-up is TC_PEER. fds_count is the
 * most that may come when *ret_count is given, and exact when it is NULL. */
tc_status tc_message_receive(int socket, void *data, size_t size, int *ret_fds, size_t fds_count,
                             size_t *ret_count, struct tc_error *err) TC_MUST_USE;

#endif
