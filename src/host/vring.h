/* One split queue of virtio in a guest's memory, seen from the device.
 *
 * The guest's driver is hostile: chains that form a ring, run out of the table or
 * of memory, claim more buffers than there are, or change while they are read.
 * Each number is read once. A queue that breaks the rules is TC_PEER, after which
 * the device ends; no rule of virtio says how to go on. */
#ifndef TC_HOST_VRING_H
#define TC_HOST_VRING_H

#include "host/guestmem.h"

enum { TC_CHAIN_PIECES_MAX = 64 };

struct tc_vring {
    uint32_t size;        /* 0: not said yet */
    uint16_t next, used;  /* next available entry to take; next used one to fill */
    bool enabled, started;
    uint64_t descriptors_at, used_at, available_at; /* addresses of the front end */
    bool is_placed;       /* those are known */
    /* NULL until looked up in the memory that is mapped now. */
    void *table, *used_ring, *available_ring;
    int kick_fd, call_fd; /* owned; -1: none */
};

/* What the guest has offered at one place: bytes in order. */
struct tc_chain {
    uint16_t head;
    size_t count;
    size_t size; /* of all pieces */
    struct iovec pieces[TC_CHAIN_PIECES_MAX];
};

struct tc_vring tc_vring_new(void);
void tc_vring_free(struct tc_vring *ring); /* closes its descriptors */

/* Memory has changed: every pointer is looked up again before its next use. */
void tc_vring_forget(struct tc_vring *ring);

/* True when the front end has said all that is needed to use it. */
bool tc_vring_ready(const struct tc_vring *ring);

/* The next chain, which stays the next one until it is finished. *ret_any: false
 * when there is none. to_guest: every piece must be writable, else none may be. */
tc_status tc_vring_peek(struct tc_vring *ring, const struct tc_guestmem *memory, bool to_guest,
                        struct tc_chain *ret_chain, bool *ret_any, struct tc_error *err) TC_MUST_USE;

/* Gives the chain that was peeked back, with written bytes in it. */
void tc_vring_finish(struct tc_vring *ring, const struct tc_chain *chain, uint32_t written);

/* Tells the guest, unless it does not want to be told. Once after several. */
void tc_vring_notify(struct tc_vring *ring);

/* Pieces of a chain, from the byte at `from` on. Returns how many. */
size_t tc_chain_rest(const struct tc_chain *chain, size_t from, struct iovec *ret_pieces);

#endif
