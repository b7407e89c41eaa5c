/* The part of the vhost-user protocol that a vsock device serves: the front end
 * (an emulator) hands over the guest's memory and the places of its queues.
 *
 *   message  request:u32 flags:u32 size:u32, then size bytes, descriptors beside
 *   flags    version 1 in bits 0-1, reply in bit 2, "answer this" in bit 3
 *
 * Integers are in the machine's own order, little-endian on every machine that
 * this runs on. The front end is not believed: what comes out of here is whole,
 * has the one size that its request has, and does not wrap; whether addresses lie
 * in memory that is really there is judged by host/guestmem.h. */
#ifndef TC_CORE_VHOSTUSER_H
#define TC_CORE_VHOSTUSER_H

#include "base/bytes.h"

enum {
    TC_VHOST_HEAD_SIZE = 12,
    TC_VHOST_REGIONS_MAX = 8,
    TC_VHOST_CONFIG_MAX = 256,
    TC_VHOST_PAYLOAD_MAX = 12 + TC_VHOST_CONFIG_MAX, /* the table of memory has 264 */
    TC_VHOST_QUEUES = 2, /* to the guest, from the guest; the third is the front end's */
    TC_VHOST_QUEUE_TO_GUEST = 0,
    TC_VHOST_QUEUE_FROM_GUEST = 1,
    TC_VHOST_QUEUE_SIZE_MAX = 1024,

    TC_VHOST_FLAG_VERSION = 1,
    TC_VHOST_FLAG_REPLY = 4,
    TC_VHOST_FLAG_NEED_REPLY = 8,

    TC_VHOST_PROTOCOL_REPLY_ACK = 1 << 3,
    TC_VHOST_PROTOCOL_CONFIG = 1 << 9,
};

/* Feature bits that this device knows. */
#define TC_VHOST_F_PROTOCOL_FEATURES (UINT64_C(1) << 30)
#define TC_VHOST_F_VERSION_1 (UINT64_C(1) << 32)

enum tc_vhost_request {
    TC_VHOST_GET_FEATURES = 1,
    TC_VHOST_SET_FEATURES = 2,
    TC_VHOST_SET_OWNER = 3,
    TC_VHOST_RESET_OWNER = 4,
    TC_VHOST_SET_MEM_TABLE = 5,
    TC_VHOST_SET_VRING_NUM = 8,
    TC_VHOST_SET_VRING_ADDR = 9,
    TC_VHOST_SET_VRING_BASE = 10,
    TC_VHOST_GET_VRING_BASE = 11,
    TC_VHOST_SET_VRING_KICK = 12,
    TC_VHOST_SET_VRING_CALL = 13,
    TC_VHOST_SET_VRING_ERR = 14,
    TC_VHOST_GET_PROTOCOL_FEATURES = 15,
    TC_VHOST_SET_PROTOCOL_FEATURES = 16,
    TC_VHOST_SET_VRING_ENABLE = 18,
    TC_VHOST_GET_CONFIG = 24,
};

struct tc_vhost_region {
    uint64_t guest, size, user, offset; /* guest's and front end's address; in its file */
};

struct tc_vhost_message {
    enum tc_vhost_request request;
    bool need_reply;
    uint64_t features;       /* SET_FEATURES, SET_PROTOCOL_FEATURES */
    unsigned queue;          /* SET_VRING_*, GET_VRING_BASE: below TC_VHOST_QUEUES */
    uint32_t number;         /* SET_VRING_NUM: a power of 2; _BASE: 16 bits; _ENABLE: 0 or 1 */
    bool has_descriptor;     /* SET_VRING_KICK, _CALL, _ERR */
    uint64_t descriptors, used, available; /* SET_VRING_ADDR, addresses of the front end */
    size_t regions_count;    /* SET_MEM_TABLE: 1 to TC_VHOST_REGIONS_MAX, disjoint for the guest */
    struct tc_vhost_region regions[TC_VHOST_REGIONS_MAX];
    uint32_t config_offset, config_size; /* GET_CONFIG: within TC_VHOST_CONFIG_MAX */
};

/* Of the first TC_VHOST_HEAD_SIZE bytes; ret_size is at most TC_VHOST_PAYLOAD_MAX. */
tc_status tc_vhost_head_decode(struct tc_span head, size_t *ret_size, struct tc_error *err)
    TC_MUST_USE;

/* Of a whole message, head included. TC_MALFORMED also for requests that this
 * device does not know: it has offered nothing that they belong to. */
tc_status tc_vhost_decode(struct tc_span bytes, struct tc_vhost_message *ret_message,
                          struct tc_error *err) TC_MUST_USE;

/* How many descriptors have to come beside it. */
size_t tc_vhost_descriptors(const struct tc_vhost_message *message);

/* Replies. To GET_FEATURES, GET_PROTOCOL_FEATURES, and 0 or 1 to "answer this": */
void tc_vhost_reply_value(enum tc_vhost_request request, uint64_t value, struct tc_buf *buf);
void tc_vhost_reply_base(unsigned queue, uint32_t base, struct tc_buf *buf);
/* config holds the bytes that were asked for. */
void tc_vhost_reply_config(const struct tc_vhost_message *message, struct tc_span config,
                           struct tc_buf *buf);

#endif
