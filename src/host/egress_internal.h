/* What the files of the egress share. Every wait ends when stop_fd, an eventfd that
 * nobody reads, becomes readable. */
#ifndef TC_HOST_EGRESS_INTERNAL_H
#define TC_HOST_EGRESS_INTERNAL_H

#include "host/archive.h"
#include "host/egress.h"
#include "os/channel.h"

struct tc_dial {
    const char *name;
    uint16_t port;
    const struct tc_proxy *proxy; /* NULL: dialled from here */
    int stop_fd;
    int asker_fd; /* a hang-up here ends it too */
};

/* ret_fd is connected, non-blocking and owned. ret_address (TC_EGRESS_TEXT_MAX bytes) is
 * the address, or "proxy": which machine a proxy dials it does not say. */
tc_status tc_egress_dial(const struct tc_dial *dial, int *ret_fd, char *ret_address,
                         struct tc_error *err) TC_MUST_USE;

/* Copies between the two, both non-blocking, until both sides have said their last word,
 * one is broken, or the asker (one) has gone. A half-close passes. */
void tc_egress_relay(int one, int other, int stop_fd);

/* After the answer to STORE: one response into the archive. What comes of it is the
 * second answer. */
tc_status tc_egress_store(struct tc_channel *stream, struct tc_archive_writer *writer,
                          struct tc_error *err) TC_MUST_USE;

/* Before the answer to REPLAY: what is asked for; after it: its frames. */
struct tc_egress_found {
    bool has_line;
    struct tc_archive_part line, data;
};
tc_status tc_egress_find(const struct tc_archive *archive, struct tc_span payload,
                         struct tc_egress_found *ret_found, struct tc_error *err) TC_MUST_USE;
tc_status tc_egress_replay(struct tc_channel *stream, const struct tc_archive *archive,
                           const struct tc_egress_found *found, struct tc_error *err) TC_MUST_USE;

#endif
