/* The device's loop.
 *
 *   front end --messages--> memory, places of the queues
 *   guest --queue 1--> packets --> streams --> the host's sockets
 *   guest <--queue 0-- packets <-- streams <-- the host's sockets
 *
 * One thread waits for all of it. A turn obeys at most one message, takes at most
 * a queue's worth of packets and gives at most as many: no side can keep it from
 * the others. Nothing is read from a socket unless the guest has offered room and
 * has credit for it, and no packet is taken unless its answer has a place: what is
 * held is bounded without dropping anything. */
#include "host/vsockdev.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "host/vsockdev_internal.h"

enum {
    FRONT = 0,
    KICKS,
    STREAMS = KICKS + TC_VHOST_QUEUES,
    FDS = STREAMS + TC_VSOCKDEV_STREAMS_MAX,
    ROOM_MIN = TC_VSOCKPKT_SIZE + 1, /* of a buffer for the guest: a head and a byte */
};

/* *ret_more: the queue was not emptied, and need not announce itself again. */
static tc_status take_packets(struct tc_vsockdev *device, bool *ret_more, struct tc_error *err)
{
    struct tc_vring *ring = &device->rings[TC_VHOST_QUEUE_FROM_GUEST];
    struct tc_chain chain;
    uint32_t taken = 0;
    bool any = false;
    *ret_more = false;
    while (tc_streams_can_take(device)) {
        if (taken == ring->size && taken > 0) {
            *ret_more = true;
            break;
        }
        TC_TRY(tc_vring_peek(ring, &device->memory, false, &chain, &any, err));
        if (!any) break;
        if (chain.size < TC_VSOCKPKT_SIZE)
            return tc_fail(err, TC_PEER, "the guest's driver broke a queue: a packet of %zu bytes",
                           chain.size);
        tc_streams_take(device, &chain);
        tc_vring_finish(ring, &chain, 0);
        taken++;
    }
    if (taken > 0) tc_vring_notify(ring);
    return TC_OK;
}

static tc_status peek_room(struct tc_vsockdev *device, struct tc_chain *ret_chain, bool *ret_any,
                           struct tc_error *err)
{
    struct tc_vring *ring = &device->rings[TC_VHOST_QUEUE_TO_GUEST];
    TC_TRY(tc_vring_peek(ring, &device->memory, true, ret_chain, ret_any, err));
    if (*ret_any && ret_chain->size < ROOM_MIN)
        return tc_fail(err, TC_PEER, "the guest's driver broke a queue: a buffer of %zu bytes",
                       ret_chain->size);
    return TC_OK;
}

/* *ret_room: the guest has offered more than there is to give. */
static tc_status give_packets(struct tc_vsockdev *device, bool *ret_more, bool *ret_room,
                              struct tc_error *err)
{
    struct tc_vring *ring = &device->rings[TC_VHOST_QUEUE_TO_GUEST];
    struct tc_chain chain;
    uint32_t given = 0, size = 0;
    *ret_more = false;
    for (;;) {
        TC_TRY(peek_room(device, &chain, ret_room, err));
        if (!*ret_room) break;
        *ret_more = given == ring->size;
        if (*ret_more) break;
        size = tc_streams_give(device, &chain);
        if (size == 0) break;
        tc_vring_finish(ring, &chain, size);
        given++;
    }
    if (given > 0) tc_vring_notify(ring);
    return TC_OK;
}

static void prepare(struct tc_vsockdev *device, bool room, struct pollfd *fds)
{
    fds[FRONT] = (struct pollfd){.fd = device->front_fd, .events = POLLIN};
    for (size_t i = 0; i < TC_VHOST_QUEUES; i++)
        fds[KICKS + i] = (struct pollfd){.fd = device->rings[i].kick_fd, .events = POLLIN};
    for (size_t i = 0; i < TC_VSOCKDEV_STREAMS_MAX; i++) {
        int events = tc_stream_events(&device->streams[i], room);
        fds[STREAMS + i] = (struct pollfd){.fd = events < 0 ? -1 : device->streams[i].fd,
                                           .events = (short)(events < 0 ? 0 : events)};
    }
}

/* What a notifier counted does not matter. One that is none (closed, a file at its
 * end) would be ready for ever: the queue then lives on what else wakes the loop. */
static void drain(struct tc_vring *ring)
{
    uint64_t count;
    ssize_t got = read(ring->kick_fd, &count, sizeof count);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) tc_close_ptr(&ring->kick_fd);
}

static tc_status run(struct tc_vsockdev *device, struct tc_error *err)
{
    struct pollfd fds[FDS];
    bool end = false, more = false, more_to_give = false, room = false;
    while (!end) {
        prepare(device, room, fds);
        int ready = poll(fds, FDS, more || more_to_give ? 0 : -1);
        if (ready < 0 && errno == EINTR) continue;
        if (ready < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for the guest");
        for (size_t i = 0; i < TC_VHOST_QUEUES; i++)
            if (fds[KICKS + i].revents != 0) drain(&device->rings[i]);
        for (size_t i = 0; i < TC_VSOCKDEV_STREAMS_MAX; i++)
            if (fds[STREAMS + i].revents != 0)
                tc_stream_seen(&device->streams[i], fds[STREAMS + i].revents);
        /* Last: it may close what was waited for. */
        if (fds[FRONT].revents != 0) TC_TRY(tc_front_read(device, &end, err));
        TC_TRY(take_packets(device, &more, err));
        bool was_full = !tc_streams_can_take(device);
        TC_TRY(give_packets(device, &more_to_give, &room, err));
        /* Packets that waited for a place for their answers. */
        more = more || (was_full && tc_streams_can_take(device));
    }
    return TC_OK;
}

tc_status tc_vsockdev_serve(int fd, const struct tc_vsockdev_config *config, struct tc_error *err)
{
    TC_AUTO_FREE struct tc_vsockdev *device = calloc(1, sizeof *device);
    if (!device) return tc_fail(err, TC_SYSTEM, "out of memory");
    device->config = config;
    device->front_fd = fd;
    for (size_t i = 0; i < TC_VHOST_QUEUES; i++)
        device->rings[i] = tc_vring_new();
    for (size_t i = 0; i < TC_VSOCKDEV_STREAMS_MAX; i++)
        device->streams[i].fd = -1;
    tc_status status = run(device, err);
    tc_front_drop_fds(device);
    tc_streams_drop(device);
    for (size_t i = 0; i < TC_VHOST_QUEUES; i++)
        tc_vring_free(&device->rings[i]);
    tc_guestmem_unmap(&device->memory);
    return status;
}

tc_status tc_vsockdev_connect_path(void *prefix, uint32_t port, int *ret_fd, struct tc_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int size = snprintf(address.sun_path, sizeof address.sun_path, "%s_%u", (const char *)prefix,
                        (unsigned)port);
    if (size < 0 || (size_t)size >= sizeof address.sun_path)
        return tc_fail(err, TC_USAGE, "%s is too long for a socket", (const char *)prefix);
    /* Not waiting: a listener whose queue is full is as good as none. */
    TC_AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make a socket");
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        return tc_fail_errno(err, TC_PEER, errno, "nobody listens on %s", address.sun_path);
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}
