/* Frames (core/wire.h) over a stream socket, with a deadline: no call waits
 * longer than the channel's patience for the other side to move, and at the end of the time
 * that the channel has no frame is begun or waited for, to read or to write. Writes go out
 * in pieces of at most `piece` bytes, for transports that need it. */
#ifndef TC_OS_CHANNEL_H
#define TC_OS_CHANNEL_H

#include "core/wire.h"

struct tc_channel {
    int fd;               /* borrowed; non-blocking is set by tc_channel_init */
    int64_t patience_ms;  /* longest wait for progress; -1: for ever */
    int64_t until_ms;     /* tc_clock_ms: then its time is over; 0: never */
    size_t piece;         /* most bytes of one write; 0: no cap */
    int interrupt_fd;     /* readable: TC_INTERRUPTED; -1: none. borrowed */
    const char *peer;     /* for messages: "the worker" */
    uint8_t *payload;     /* owned; TC_WIRE_PAYLOAD_MAX bytes */
};

tc_status tc_channel_init(struct tc_channel *channel, int fd, int64_t patience_ms,
                          const char *peer, struct tc_error *err) TC_MUST_USE;
void tc_channel_done(struct tc_channel *channel); /* frees, does not close; accepts zeroed */

/* Writes one frame. TC_PEER when the other side hung up or stalled. */
tc_status tc_channel_write(struct tc_channel *channel, enum tc_wire_kind kind,
                           struct tc_span payload, struct tc_error *err) TC_MUST_USE;

/* Reads one frame; ret_payload borrows from the channel until the next read.
 * A hang-up is TC_PEER, in the middle of a frame or before one. */
tc_status tc_channel_read(struct tc_channel *channel, enum tc_wire_kind *ret_kind,
                          struct tc_span *ret_payload, struct tc_error *err) TC_MUST_USE;

/* Reads one frame that must be of this kind; a FAIL frame from the other side
 * becomes the error that it carries. */
tc_status tc_channel_expect(struct tc_channel *channel, enum tc_wire_kind kind,
                            struct tc_span *ret_payload, struct tc_error *err) TC_MUST_USE;

/* Writes size bytes in DATA frames of at most TC_WIRE_DATA_MAX. */
tc_status tc_channel_write_data(struct tc_channel *channel, struct tc_span bytes,
                                struct tc_error *err) TC_MUST_USE;

/* Exactly-size reads and writes without frames, under the same deadline. */
tc_status tc_channel_read_bytes(struct tc_channel *channel, uint8_t *out, size_t size,
                                struct tc_error *err) TC_MUST_USE;
tc_status tc_channel_write_bytes(struct tc_channel *channel, struct tc_span bytes,
                                 struct tc_error *err) TC_MUST_USE;

#endif
