#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "host/vsockdev_internal.h"

enum {
    PACKET_MAX = 64 * 1024, /* most bytes that one packet to the guest carries */
    TELL_AFTER = TC_VSOCKDEV_BUFFER / 4,
    BOTH = TC_VSOCKPKT_NO_RECEIVE | TC_VSOCKPKT_NO_SEND,
    CID_HOST = 2,
    CID_PARENT = 3,
};

static void drop(struct tc_stream *stream)
{
    if (stream->fd >= 0) (void)close(stream->fd);
    free(stream->buffer);
    *stream = (struct tc_stream){.fd = -1};
}

void tc_streams_drop(struct tc_vsockdev *device)
{
    for (size_t i = 0; i < TC_VSOCKDEV_STREAMS_MAX; i++)
        drop(&device->streams[i]);
    device->resets_count = 0;
}

/* --- from the guest to the host --- */

/* The guest is told before its credit is used up, so that it need not wait. */
static void count_forwarded(struct tc_stream *stream, size_t size)
{
    stream->forwarded += (uint32_t)size;
    if (stream->forwarded - stream->told >= TELL_AFTER) stream->owes_credit = true;
}

static void tell_closed(struct tc_stream *stream, unsigned what)
{
    stream->to_tell |= what & ~stream->host_closed;
    stream->host_closed |= what;
}

/* The host takes nothing any more; what it says is still read. */
static void give_up_writing(struct tc_stream *stream)
{
    count_forwarded(stream, stream->held);
    stream->held = 0;
    tell_closed(stream, TC_VSOCKPKT_NO_RECEIVE);
}

/* Returns how much of it the host took. */
static size_t write_pieces(struct tc_stream *stream, struct iovec *pieces, size_t count)
{
    const struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
    ssize_t sent;
    do
        sent = sendmsg(stream->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && errno != EAGAIN) give_up_writing(stream);
    if (sent <= 0) return 0;
    count_forwarded(stream, (size_t)sent);
    return (size_t)sent;
}

/* What is owed to the host once all that was held is written. */
static void finish_writing(struct tc_stream *stream)
{
    if (stream->held > 0) return;
    if (stream->is_orphan) {
        drop(stream);
        return;
    }
    if ((stream->guest_closed & TC_VSOCKPKT_NO_SEND) != 0 && !stream->write_shut) {
        stream->write_shut = true;
        (void)shutdown(stream->fd, SHUT_WR);
    }
}

static void flush(struct tc_stream *stream)
{
    while (stream->held > 0) {
        size_t to_end = TC_VSOCKDEV_BUFFER - stream->start;
        size_t first = stream->held < to_end ? stream->held : to_end;
        struct iovec pieces[2] = {{stream->buffer + stream->start, first},
                                  {stream->buffer, stream->held - first}};
        size_t sent = write_pieces(stream, pieces, 2);
        if (sent == 0) break;
        stream->start = (stream->start + sent) % TC_VSOCKDEV_BUFFER;
        stream->held -= sent;
    }
    finish_writing(stream);
}

static void hold(struct tc_stream *stream, const struct iovec *pieces, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const uint8_t *bytes = pieces[i].iov_base;
        for (size_t left = pieces[i].iov_len; left > 0;) {
            size_t at = (stream->start + stream->held) % TC_VSOCKDEV_BUFFER;
            size_t room = TC_VSOCKDEV_BUFFER - at, taken = left < room ? left : room;
            memcpy(stream->buffer + at, bytes, taken);
            bytes += taken;
            left -= taken;
            stream->held += taken;
        }
    }
}

/* Cuts what the pieces hold down to size. Returns how many are left. */
static size_t limit(struct iovec *pieces, size_t count, size_t size)
{
    size_t used = 0;
    while (used < count && size > 0) {
        if (pieces[used].iov_len > size) pieces[used].iov_len = size;
        size -= pieces[used++].iov_len;
    }
    return used;
}

/* False when the guest sent what it was not allowed to. */
static bool take_bytes(struct tc_stream *stream, const struct tc_chain *chain, size_t size)
{
    struct iovec pieces[TC_CHAIN_PIECES_MAX];
    if (size > TC_VSOCKDEV_BUFFER - stream->held ||
        (stream->guest_closed & TC_VSOCKPKT_NO_SEND) != 0)
        return false;
    if ((stream->host_closed & TC_VSOCKPKT_NO_RECEIVE) != 0) {
        count_forwarded(stream, size); /* on its way when the host hung up */
        return true;
    }
    size_t sent = 0, count;
    if (stream->held == 0 && size > 0) {
        count = limit(pieces, tc_chain_rest(chain, TC_VSOCKPKT_SIZE, pieces), size);
        sent = write_pieces(stream, pieces, count);
    }
    if (sent == size) return true;
    if ((stream->host_closed & TC_VSOCKPKT_NO_RECEIVE) != 0) {
        count_forwarded(stream, size - sent);
        return true;
    }
    if (!stream->buffer) stream->buffer = malloc(TC_VSOCKDEV_BUFFER);
    if (!stream->buffer) return false;
    count = tc_chain_rest(chain, TC_VSOCKPKT_SIZE + sent, pieces);
    hold(stream, pieces, limit(pieces, count, size - sent));
    return true;
}

/* --- what a packet of the guest does --- */

static struct tc_stream *find(struct tc_vsockdev *device, const struct tc_vsockpkt *packet)
{
    for (size_t i = 0; i < TC_VSOCKDEV_STREAMS_MAX; i++) {
        struct tc_stream *stream = &device->streams[i];
        if (stream->fd >= 0 && !stream->is_orphan && stream->parent == packet->dst_cid &&
            stream->guest_port == packet->src_port && stream->host_port == packet->dst_port)
            return stream;
    }
    return NULL;
}

static void reset(struct tc_vsockdev *device, const struct tc_vsockpkt *packet)
{
    size_t at = (device->resets_start + device->resets_count++) % TC_RESETS_MAX;
    device->resets[at] = (struct tc_reset){.parent = packet->dst_cid,
                                           .guest_port = packet->src_port,
                                           .host_port = packet->dst_port,
                                           .type = packet->type};
}

bool tc_streams_can_take(const struct tc_vsockdev *device)
{
    return device->resets_count < TC_RESETS_MAX;
}

/* False when there is nobody or no room. */
static bool accept_guest(struct tc_vsockdev *device, const struct tc_vsockpkt *packet)
{
    struct tc_error ignored = {0};
    const struct tc_vsockdev_config *config = device->config;
    int fd = -1;
    size_t i = 0;
    while (i < TC_VSOCKDEV_STREAMS_MAX && device->streams[i].fd >= 0)
        i++;
    if (i == TC_VSOCKDEV_STREAMS_MAX ||
        config->connect(config->context, packet->dst_port, &fd, &ignored) != TC_OK)
        return false;
    device->streams[i] = (struct tc_stream){.fd = fd,
                                            .parent = packet->dst_cid,
                                            .guest_port = packet->src_port,
                                            .host_port = packet->dst_port,
                                            .guest_room = packet->buf_alloc,
                                            .guest_taken = packet->fwd_cnt,
                                            .owes_response = true};
    return true;
}

/* True when the guest is done both ways, and gets its reset. */
static bool close_for_guest(struct tc_stream *stream, unsigned flags)
{
    stream->guest_closed |= flags & BOTH;
    if ((stream->guest_closed & TC_VSOCKPKT_NO_RECEIVE) != 0) (void)shutdown(stream->fd, SHUT_RD);
    bool is_done = stream->guest_closed == BOTH;
    stream->is_orphan = is_done;
    finish_writing(stream);
    return is_done;
}

/* False when the connection is over and the guest gets a reset. */
static bool obey(struct tc_stream *stream, const struct tc_vsockpkt *packet,
                 const struct tc_chain *chain)
{
    stream->guest_room = packet->buf_alloc;
    stream->guest_taken = packet->fwd_cnt;
    if (packet->op != TC_VSOCKPKT_RW && packet->size > 0) return false;
    switch (packet->op) {
    case TC_VSOCKPKT_RW: return take_bytes(stream, chain, packet->size);
    case TC_VSOCKPKT_CREDIT_UPDATE: return true;
    case TC_VSOCKPKT_CREDIT_REQUEST: stream->owes_credit = true; return true;
    default: /* REQUEST: it has one already; RESPONSE: nobody asked; others are none */
        return false;
    }
}

/* A guest that resets what it has closed may have waited long enough for a host
 * that is slow: what it sent still arrives. */
static void take_reset(struct tc_stream *stream)
{
    if (stream->held > 0 && (stream->guest_closed & TC_VSOCKPKT_NO_SEND) != 0)
        stream->is_orphan = true;
    else
        drop(stream);
}

void tc_streams_take(struct tc_vsockdev *device, const struct tc_chain *chain)
{
    uint8_t head[TC_VSOCKPKT_SIZE];
    size_t done = 0;
    for (size_t i = 0; done < sizeof head; i++) {
        size_t left = sizeof head - done, size = chain->pieces[i].iov_len;
        memcpy(head + done, chain->pieces[i].iov_base, size < left ? size : left);
        done += size < left ? size : left;
    }
    struct tc_vsockpkt packet = tc_vsockpkt_decode(head);
    /* Nobody else can be answered. */
    if (packet.src_cid != device->config->guest_cid) return;
    struct tc_stream *stream = find(device, &packet);
    if (packet.op == TC_VSOCKPKT_RST) {
        if (stream) take_reset(stream);
        return;
    }
    bool is_known = (packet.dst_cid == CID_PARENT || packet.dst_cid == CID_HOST) &&
                    packet.type == TC_VSOCKPKT_STREAM &&
                    packet.size <= chain->size - TC_VSOCKPKT_SIZE;
    if (is_known && !stream && packet.op == TC_VSOCKPKT_REQUEST && packet.size == 0) {
        if (!accept_guest(device, &packet)) reset(device, &packet);
    } else if (is_known && stream && packet.op == TC_VSOCKPKT_SHUTDOWN && packet.size == 0) {
        if (close_for_guest(stream, packet.flags)) reset(device, &packet);
    } else if (!is_known || !stream || !obey(stream, &packet, chain)) {
        if (stream) drop(stream);
        reset(device, &packet);
    }
}

/* --- from the host to the guest --- */

static uint32_t credit(const struct tc_stream *stream)
{
    /* A guest that says nonsense gets nothing. */
    uint32_t under_way = stream->sent - stream->guest_taken;
    return under_way < stream->guest_room ? stream->guest_room - under_way : 0;
}

static bool wants_to_read(const struct tc_stream *stream)
{
    return !stream->is_orphan && !stream->owes_response &&
           (stream->host_closed & TC_VSOCKPKT_NO_SEND) == 0 &&
           (stream->guest_closed & TC_VSOCKPKT_NO_RECEIVE) == 0 && credit(stream) > 0;
}

static void put_head(const struct tc_chain *chain, const struct tc_vsockpkt *packet)
{
    uint8_t head[TC_VSOCKPKT_SIZE];
    size_t done = 0;
    tc_vsockpkt_encode(packet, head);
    for (size_t i = 0; done < sizeof head; i++) {
        size_t left = sizeof head - done, size = chain->pieces[i].iov_len;
        memcpy(chain->pieces[i].iov_base, head + done, size < left ? size : left);
        done += size < left ? size : left;
    }
}

static uint32_t put_packet(const struct tc_vsockdev *device, struct tc_stream *stream,
                           const struct tc_chain *chain, enum tc_vsockpkt_op op, unsigned flags,
                           size_t size)
{
    const struct tc_vsockpkt packet = {.src_cid = stream->parent,
                                       .dst_cid = device->config->guest_cid,
                                       .src_port = stream->host_port,
                                       .dst_port = stream->guest_port,
                                       .size = (uint32_t)size,
                                       .type = TC_VSOCKPKT_STREAM,
                                       .op = (uint16_t)op,
                                       .flags = flags,
                                       .buf_alloc = TC_VSOCKDEV_BUFFER,
                                       .fwd_cnt = stream->forwarded};
    put_head(chain, &packet);
    stream->told = stream->forwarded;
    stream->owes_credit = false;
    return (uint32_t)(TC_VSOCKPKT_SIZE + size);
}

/* The host's bytes straight into the guest's memory, then the head before them. */
static uint32_t give_bytes(struct tc_vsockdev *device, struct tc_stream *stream,
                           const struct tc_chain *chain)
{
    struct iovec pieces[TC_CHAIN_PIECES_MAX];
    size_t size = chain->size - TC_VSOCKPKT_SIZE;
    if (size > PACKET_MAX) size = PACKET_MAX;
    if (size > credit(stream)) size = credit(stream);
    size_t count = limit(pieces, tc_chain_rest(chain, TC_VSOCKPKT_SIZE, pieces), size);
    struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
    ssize_t got = recvmsg(stream->fd, &message, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) return 0; /* it stays readable */
    if (got <= 0) stream->readable = false;
    if (got == 0) tell_closed(stream, stream->hung_up ? BOTH : TC_VSOCKPKT_NO_SEND);
    if (got < 0 && errno != EAGAIN) {
        /* The host closed it with bytes unread: as good as a reset. */
        uint32_t sent = put_packet(device, stream, chain, TC_VSOCKPKT_RST, 0, 0);
        drop(stream);
        return sent;
    }
    if (got <= 0) return 0;
    stream->sent += (uint32_t)got;
    return put_packet(device, stream, chain, TC_VSOCKPKT_RW, 0, (size_t)got);
}

static uint32_t give_of(struct tc_vsockdev *device, struct tc_stream *stream,
                        const struct tc_chain *chain)
{
    uint32_t size = 0;
    if (stream->fd < 0 || stream->is_orphan) return 0;
    if (stream->owes_response) {
        stream->owes_response = false;
        return put_packet(device, stream, chain, TC_VSOCKPKT_RESPONSE, 0, 0);
    }
    if (stream->readable && wants_to_read(stream)) size = give_bytes(device, stream, chain);
    if (size == 0 && stream->to_tell != 0) {
        stream->to_tell = 0;
        /* The guest reads the two as said once and for all. */
        size = put_packet(device, stream, chain, TC_VSOCKPKT_SHUTDOWN, stream->host_closed, 0);
    }
    if (size == 0 && stream->owes_credit)
        size = put_packet(device, stream, chain, TC_VSOCKPKT_CREDIT_UPDATE, 0, 0);
    return size;
}

static uint32_t give_reset(struct tc_vsockdev *device, const struct tc_chain *chain)
{
    const struct tc_reset *reset = &device->resets[device->resets_start];
    const struct tc_vsockpkt packet = {.src_cid = reset->parent,
                                       .dst_cid = device->config->guest_cid,
                                       .src_port = reset->host_port,
                                       .dst_port = reset->guest_port,
                                       .type = reset->type,
                                       .op = TC_VSOCKPKT_RST};
    put_head(chain, &packet);
    device->resets_start = (device->resets_start + 1) % TC_RESETS_MAX;
    device->resets_count--;
    return TC_VSOCKPKT_SIZE;
}

uint32_t tc_streams_give(struct tc_vsockdev *device, const struct tc_chain *chain)
{
    if (device->resets_count > 0) return give_reset(device, chain);
    for (size_t i = 0; i < TC_VSOCKDEV_STREAMS_MAX; i++) {
        size_t at = (device->turn + i) % TC_VSOCKDEV_STREAMS_MAX;
        uint32_t size = give_of(device, &device->streams[at], chain);
        if (size == 0) continue;
        device->turn = at + 1;
        return size;
    }
    return 0;
}

/* --- waiting --- */

int tc_stream_events(struct tc_stream *stream, bool can_give)
{
    int events = 0;
    if (stream->fd < 0) return -1;
    if (stream->held > 0) events |= POLLOUT;
    if (can_give && wants_to_read(stream)) events |= POLLIN;
    /* Without room nobody is asked. Once there is some, all are tried: else those
     * that were asked before would have every turn. */
    if (!can_give) stream->readable = true;
    /* A hang-up is always reported, and once is enough. */
    return events == 0 && stream->hung_up ? -1 : events;
}

void tc_stream_seen(struct tc_stream *stream, int events)
{
    if ((events & (POLLHUP | POLLERR)) != 0) {
        stream->hung_up = true;
        /* It said its last word before: now it does not listen either. */
        if ((stream->host_closed & TC_VSOCKPKT_NO_SEND) != 0)
            tell_closed(stream, TC_VSOCKPKT_NO_RECEIVE);
    }
    if ((events & (POLLIN | POLLHUP | POLLERR)) != 0) stream->readable = true;
    if ((events & (POLLOUT | POLLHUP | POLLERR)) != 0) flush(stream);
}
