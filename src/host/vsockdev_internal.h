/* Between the parts of the vsock device:
 *
 *   vsockdev.c          the loop: waits, moves packets between queues and streams
 *   vsockdev_front.c    the front end's messages
 *   vsockdev_streams.c  connections: what a packet does, what comes next
 *   vring.c, guestmem.c the guest's queues and memory
 *
 * One thread, which waits in one place. */
#ifndef TC_HOST_VSOCKDEV_INTERNAL_H
#define TC_HOST_VSOCKDEV_INTERNAL_H

#include "core/vsockpkt.h"
#include "host/vring.h"
#include "host/vsockdev.h"

enum { TC_RESETS_MAX = 64 };

/* One connection. `sent` counts what went to the guest, `forwarded` what the host
 * took of the guest's, both modulo 2^32 as in packets. */
struct tc_stream {
    int fd; /* -1: this place is free */
    /* The guest is done with it and its ports may come again; what it sent before
     * still goes to the host. */
    bool is_orphan;
    uint64_t parent; /* the CID that the guest called */
    uint32_t guest_port, host_port;
    uint32_t guest_room, guest_taken; /* as it said last */
    uint32_t sent, forwarded, told;
    uint8_t *buffer; /* TC_VSOCKDEV_BUFFER bytes, once needed; a ring */
    size_t start, held;
    unsigned guest_closed;         /* TC_VSOCKPKT_NO_*: by the guest */
    unsigned host_closed, to_tell; /* by the host; of that not yet told */
    bool owes_response, owes_credit;
    bool readable;  /* the host may have something to say */
    bool hung_up;   /* the host's end is closed both ways */
    bool write_shut;
};

struct tc_reset {
    uint64_t parent;
    uint32_t guest_port, host_port;
    uint16_t type;
};

struct tc_vsockdev {
    const struct tc_vsockdev_config *config;
    int front_fd;
    struct tc_guestmem memory;
    struct tc_vring rings[TC_VHOST_QUEUES];

    /* The front end's message, as far as it has come. */
    uint8_t message[TC_VHOST_HEAD_SIZE + TC_VHOST_PAYLOAD_MAX];
    size_t message_size;
    int fds[TC_VHOST_REGIONS_MAX]; /* that came beside it; owned */
    size_t fds_count;
    bool acknowledges;

    struct tc_stream streams[TC_VSOCKDEV_STREAMS_MAX];
    size_t turn; /* who is asked first for the next packet */
    struct tc_reset resets[TC_RESETS_MAX];
    size_t resets_start, resets_count;
};

/* --- vsockdev_front.c --- */

/* Reads what is there of a message and obeys it when it is whole. *ret_end: the
 * front end has hung up between two. */
tc_status tc_front_read(struct tc_vsockdev *device, bool *ret_end, struct tc_error *err) TC_MUST_USE;
void tc_front_drop_fds(struct tc_vsockdev *device);

/* --- vsockdev_streams.c --- */

/* Whether a packet of the guest can be taken: each makes at most one reset. */
bool tc_streams_can_take(const struct tc_vsockdev *device);
/* Does what a packet of the guest asks for. The chain holds at least its head. */
void tc_streams_take(struct tc_vsockdev *device, const struct tc_chain *chain);
/* Puts the next packet for the guest into the chain, which has room for a head and
 * a byte. Returns its size; 0: there is none. */
uint32_t tc_streams_give(struct tc_vsockdev *device, const struct tc_chain *chain);

/* poll()'s events of interest; -1: not even a hang-up. can_give: the guest has
 * offered room. */
int tc_stream_events(struct tc_stream *stream, bool can_give);
/* What poll() has seen. */
void tc_stream_seen(struct tc_stream *stream, int events);
void tc_streams_drop(struct tc_vsockdev *device);

#endif
