/* The head of a packet of virtio's vsock: 44 bytes, little-endian.
 *
 * Each side says in every packet how much it can hold for the connection
 * (buf_alloc) and how much it has passed on so far (fwd_cnt, modulo 2^32); the
 * other never has more under way than fits. */
#ifndef TC_CORE_VSOCKPKT_H
#define TC_CORE_VSOCKPKT_H

#include "base/bytes.h"

enum { TC_VSOCKPKT_SIZE = 44, TC_VSOCKPKT_STREAM = 1 };

enum tc_vsockpkt_op {
    TC_VSOCKPKT_REQUEST = 1,
    TC_VSOCKPKT_RESPONSE = 2,
    TC_VSOCKPKT_RST = 3,
    TC_VSOCKPKT_SHUTDOWN = 4,
    TC_VSOCKPKT_RW = 5,
    TC_VSOCKPKT_CREDIT_UPDATE = 6,
    TC_VSOCKPKT_CREDIT_REQUEST = 7,
};

/* In a SHUTDOWN: what its sender will not do any more. */
enum { TC_VSOCKPKT_NO_RECEIVE = 1, TC_VSOCKPKT_NO_SEND = 2 };

struct tc_vsockpkt {
    uint64_t src_cid, dst_cid;
    uint32_t src_port, dst_port;
    uint32_t size; /* of what follows */
    uint16_t type, op;
    uint32_t flags, buf_alloc, fwd_cnt;
};

/* Any 44 bytes are a head; what it asks for is judged by the device. */
struct tc_vsockpkt tc_vsockpkt_decode(const uint8_t bytes[TC_VSOCKPKT_SIZE]);
void tc_vsockpkt_encode(const struct tc_vsockpkt *packet, uint8_t out[TC_VSOCKPKT_SIZE]);

#endif
