/* Blocks over a blocking stream socket: a u32 big-endian length, never zero, and
 * that many bytes. What the NSM's requests and answers travel in where there is
 * no device. peer is for messages ("the attester"). */
#ifndef TC_OS_BLOCKS_H
#define TC_OS_BLOCKS_H

#include "base/bytes.h"

tc_status tc_block_send(int fd, struct tc_span bytes, const char *peer, struct tc_error *err)
    TC_MUST_USE;

/* Reads one block of at most max bytes into out. *ret_size is 0 when the peer
 * hung up before the block began; in the middle of one that is TC_PEER. */
tc_status tc_block_receive(int fd, uint8_t *out, size_t max, const char *peer, size_t *ret_size,
                           struct tc_error *err) TC_MUST_USE;

#endif
