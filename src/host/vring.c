#include "host/vring.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <unistd.h>

/* Guest and device see the same order of bytes: both are little-endian. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "queues are little-endian");

/* One read of one number that the guest may change meanwhile. */
#define READ_ONCE(place) __atomic_load_n(&(place), __ATOMIC_RELAXED)
#define WRITE_ONCE(place, value) __atomic_store_n(&(place), (value), __ATOMIC_RELAXED)

struct tc_vring tc_vring_new(void)
{
    return (struct tc_vring){.kick_fd = -1, .call_fd = -1};
}

static void close_fd(int *fd)
{
    if (*fd >= 0) (void)close(*fd);
    *fd = -1;
}

void tc_vring_free(struct tc_vring *ring)
{
    close_fd(&ring->kick_fd);
    close_fd(&ring->call_fd);
    *ring = tc_vring_new();
}

void tc_vring_forget(struct tc_vring *ring)
{
    ring->table = ring->used_ring = ring->available_ring = NULL;
}

bool tc_vring_ready(const struct tc_vring *ring)
{
    return ring->started && ring->enabled && ring->is_placed && ring->size > 0;
}

static tc_status look_up(struct tc_vring *ring, const struct tc_guestmem *memory,
                         struct tc_error *err)
{
    uint64_t size = ring->size;
    if (ring->table) return TC_OK;
    struct vring_desc *table =
        tc_guestmem_user(memory, ring->descriptors_at, size * sizeof(struct vring_desc));
    struct vring_avail *available = tc_guestmem_user(
        memory, ring->available_at, sizeof(struct vring_avail) + size * sizeof(uint16_t));
    struct vring_used *used = tc_guestmem_user(
        memory, ring->used_at, sizeof(struct vring_used) + size * sizeof(struct vring_used_elem));
    /* Aligned for the front end, and here only if its regions are, too. */
    if (!table || !available || !used || (uintptr_t)table % _Alignof(struct vring_desc) != 0 ||
        (uintptr_t)available % _Alignof(struct vring_avail) != 0 ||
        (uintptr_t)used % _Alignof(struct vring_used) != 0)
        return tc_fail(err, TC_MALFORMED,
                       "the front end placed a queue of %llu entries outside of the guest's memory",
                       (unsigned long long)size);
    ring->table = table;
    ring->available_ring = available;
    ring->used_ring = used;
    ring->used = READ_ONCE(used->idx);
    return TC_OK;
}

static tc_status broken(const char *how, struct tc_error *err)
{
    return tc_fail(err, TC_PEER, "the guest's driver broke a queue: %s", how);
}

static tc_status follow(const struct tc_vring *ring, const struct tc_guestmem *memory,
                        bool to_guest, struct tc_chain *chain, struct tc_error *err)
{
    struct vring_desc *table = ring->table;
    uint16_t index = chain->head;
    for (uint32_t seen = 0; seen < ring->size; seen++) {
        if (index >= ring->size) return broken("a descriptor behind the end of the table", err);
        uint64_t address = READ_ONCE(table[index].addr);
        uint32_t size = READ_ONCE(table[index].len);
        uint16_t flags = READ_ONCE(table[index].flags);
        index = READ_ONCE(table[index].next);
        if ((flags & ~(VRING_DESC_F_NEXT | VRING_DESC_F_WRITE)) != 0)
            return broken("a kind of descriptor that was not agreed on", err);
        if (((flags & VRING_DESC_F_WRITE) != 0) != to_guest)
            return broken(to_guest ? "a buffer that cannot be written" : "a buffer to be written",
                          err);
        if (!tc_guestmem_pieces(memory, address, size, chain->pieces, TC_CHAIN_PIECES_MAX,
                                &chain->count))
            return broken("a buffer outside of memory, or one in too many pieces", err);
        chain->size += size;
        if ((flags & VRING_DESC_F_NEXT) == 0) return TC_OK;
    }
    return broken("a chain without an end", err);
}

tc_status tc_vring_peek(struct tc_vring *ring, const struct tc_guestmem *memory, bool to_guest,
                        struct tc_chain *ret_chain, bool *ret_any, struct tc_error *err)
{
    *ret_any = false;
    if (!tc_vring_ready(ring)) return TC_OK;
    TC_TRY(look_up(ring, memory, err));
    struct vring_avail *available = ring->available_ring;
    uint16_t ahead = (uint16_t)(__atomic_load_n(&available->idx, __ATOMIC_ACQUIRE) - ring->next);
    if (ahead == 0) return TC_OK;
    if (ahead > ring->size) return broken("more buffers than the queue has entries", err);
    ret_chain->head = READ_ONCE(available->ring[ring->next % ring->size]);
    ret_chain->count = ret_chain->size = 0;
    TC_TRY(follow(ring, memory, to_guest, ret_chain, err));
    *ret_any = true;
    return TC_OK;
}

void tc_vring_finish(struct tc_vring *ring, const struct tc_chain *chain, uint32_t written)
{
    struct vring_used *used = ring->used_ring;
    struct vring_used_elem *entry = &used->ring[ring->used % ring->size];
    WRITE_ONCE(entry->id, chain->head);
    WRITE_ONCE(entry->len, written);
    ring->next++;
    ring->used++;
    __atomic_store_n(&used->idx, ring->used, __ATOMIC_RELEASE);
}

void tc_vring_notify(struct tc_vring *ring)
{
    struct vring_avail *available = ring->available_ring;
    const uint64_t one = 1;
    if (ring->call_fd < 0) return;
    /* The guest writes its flag and then looks at the index; here it is the other
     * way round, and one of the two sees the other. */
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (available && (READ_ONCE(available->flags) & VRING_AVAIL_F_NO_INTERRUPT) != 0) return;
    (void)!write(ring->call_fd, &one, sizeof one);
}

size_t tc_chain_rest(const struct tc_chain *chain, size_t from, struct iovec *ret_pieces)
{
    size_t count = 0;
    for (size_t i = 0; i < chain->count; i++) {
        const struct iovec *piece = &chain->pieces[i];
        if (from >= piece->iov_len) {
            from -= piece->iov_len;
            continue;
        }
        ret_pieces[count++] =
            (struct iovec){(uint8_t *)piece->iov_base + from, piece->iov_len - from};
        from = 0;
    }
    return count;
}
