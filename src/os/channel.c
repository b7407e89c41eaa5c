#include "os/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/clock.h"

enum { SMALL_PAYLOAD = 2048 };

tc_status tc_channel_init(struct tc_channel *channel, int fd, int64_t patience_ms,
                          const char *peer, struct tc_error *err)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make the channel to %s non-blocking",
                             peer);
    uint8_t *payload = malloc(TC_WIRE_PAYLOAD_MAX);
    if (!payload) return tc_fail(err, TC_SYSTEM, "out of memory for the channel to %s", peer);
    *channel = (struct tc_channel){.fd = fd,
                                   .patience_ms = patience_ms,
                                   .interrupt_fd = -1,
                                   .peer = peer,
                                   .payload = payload};
    return TC_OK;
}

void tc_channel_done(struct tc_channel *channel)
{
    free(channel->payload);
    channel->payload = NULL;
}

static bool is_over(const struct tc_channel *channel)
{
    return channel->until_ms > 0 && tc_clock_ms() >= channel->until_ms;
}

static tc_status say_over(const struct tc_channel *channel, struct tc_error *err)
{
    return tc_fail(err, TC_PEER, "%s has used up its time", channel->peer);
}

static int timeout_of(const struct tc_channel *channel)
{
    int64_t timeout = channel->patience_ms < 0 ? INT64_MAX : channel->patience_ms;
    if (channel->until_ms > 0) {
        int64_t left = channel->until_ms - tc_clock_ms();
        if (left < 0) left = 0;
        if (left < timeout) timeout = left;
    }
    return timeout > INT32_MAX ? INT32_MAX : (int)timeout;
}

/* Waits until the channel can move in the wanted direction. A signal restarts
 * the full patience: patience bounds a silent peer, it is no timer. */
static tc_status wait_for(struct tc_channel *channel, short events, struct tc_error *err)
{
    struct pollfd fds[2] = {{.fd = channel->fd, .events = events},
                            {.fd = channel->interrupt_fd, .events = POLLIN}};
    for (;;) {
        int ready = poll(fds, 2, timeout_of(channel));
        if (ready < 0 && errno == EINTR) continue;
        if (ready == 0 && is_over(channel)) return say_over(channel, err);
        if (ready == 0 && (channel->patience_ms < 0 || channel->patience_ms > INT32_MAX)) continue;
        if (ready < 0)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for %s", channel->peer);
        if (ready == 0)
            return tc_fail(err, TC_PEER, "%s has not moved for %lld seconds", channel->peer,
                           (long long)(channel->patience_ms / 1000));
        if (fds[1].revents) return tc_fail(err, TC_INTERRUPTED, "interrupted");
        return TC_OK;
    }
}

/* First tries, then waits: most calls need no poll. The interrupt is looked at
 * only when the peer lets us wait, which it does often enough. */
tc_status tc_channel_read_bytes(struct tc_channel *channel, uint8_t *out, size_t size,
                                struct tc_error *err)
{
    while (size > 0) {
        ssize_t got = read(channel->fd, out, size);
        if (got > 0) {
            out += got;
            size -= (size_t)got;
        } else if (got == 0 || errno == ECONNRESET) {
            return tc_fail(err, TC_PEER, "%s hung up", channel->peer);
        } else if (errno == EAGAIN) {
            TC_TRY(wait_for(channel, POLLIN, err));
        } else if (errno != EINTR) {
            return tc_fail_errno(err, TC_PEER, errno, "cannot read from %s", channel->peer);
        }
    }
    return TC_OK;
}

tc_status tc_channel_write_bytes(struct tc_channel *channel, struct tc_span bytes,
                                 struct tc_error *err)
{
    while (bytes.size > 0) {
        size_t piece = channel->piece > 0 && channel->piece < bytes.size ? channel->piece
                                                                         : bytes.size;
        /* MSG_NOSIGNAL: a peer that hung up is an error here, not a SIGPIPE. */
        ssize_t sent = send(channel->fd, bytes.data, piece, MSG_NOSIGNAL);
        if (sent >= 0) {
            bytes.data += sent;
            bytes.size -= (size_t)sent;
        } else if (errno == EAGAIN) {
            TC_TRY(wait_for(channel, POLLOUT, err));
        } else if (errno == EPIPE || errno == ECONNRESET) {
            return tc_fail(err, TC_PEER, "%s hung up", channel->peer);
        } else if (errno != EINTR) {
            return tc_fail_errno(err, TC_PEER, errno, "cannot write to %s", channel->peer);
        }
    }
    return TC_OK;
}

tc_status tc_channel_write(struct tc_channel *channel, enum tc_wire_kind kind,
                           struct tc_span payload, struct tc_error *err)
{
    uint8_t header[TC_WIRE_HEADER_SIZE + SMALL_PAYLOAD];
    if (payload.size > TC_WIRE_PAYLOAD_MAX)
        return tc_fail(err, TC_LIMIT, "a frame of %zu bytes is over the cap of %d", payload.size,
                       TC_WIRE_PAYLOAD_MAX);
    if (is_over(channel)) return say_over(channel, err);
    tc_wire_header_encode(kind, (uint32_t)payload.size, header);
    /* A small frame in one piece: whoever is killed between two leaves a header, and
     * what is said after it in its place would be read as the payload. */
    if (payload.size <= SMALL_PAYLOAD) {
        if (payload.size > 0) memcpy(header + TC_WIRE_HEADER_SIZE, payload.data, payload.size);
        struct tc_span frame = {header, TC_WIRE_HEADER_SIZE + payload.size};
        return tc_channel_write_bytes(channel, frame, err);
    }
    TC_TRY(tc_channel_write_bytes(channel, (struct tc_span){header, TC_WIRE_HEADER_SIZE}, err));
    return tc_channel_write_bytes(channel, payload, err);
}

tc_status tc_channel_read(struct tc_channel *channel, enum tc_wire_kind *ret_kind,
                          struct tc_span *ret_payload, struct tc_error *err)
{
    uint8_t bytes[TC_WIRE_HEADER_SIZE];
    struct tc_wire_header header;
    if (is_over(channel)) return say_over(channel, err);
    TC_TRY(tc_channel_read_bytes(channel, bytes, sizeof bytes, err));
    if (tc_wire_header_decode(bytes, &header, err) != TC_OK)
        return tc_wrap(err, "from %s", channel->peer);
    TC_TRY(tc_channel_read_bytes(channel, channel->payload, header.size, err));
    *ret_kind = header.kind;
    *ret_payload = (struct tc_span){channel->payload, header.size};
    return TC_OK;
}

tc_status tc_channel_expect(struct tc_channel *channel, enum tc_wire_kind kind,
                            struct tc_span *ret_payload, struct tc_error *err)
{
    enum tc_wire_kind seen;
    struct tc_span payload;
    TC_TRY(tc_channel_read(channel, &seen, &payload, err));
    if (seen == TC_WIRE_FAIL && kind != TC_WIRE_FAIL) return tc_wire_fail_decode(payload, err);
    if (seen != kind)
        return tc_fail(err, TC_MALFORMED, "%s sent frame kind %d where kind %d was expected",
                       channel->peer, (int)seen, (int)kind);
    *ret_payload = payload;
    return TC_OK;
}

tc_status tc_channel_write_data(struct tc_channel *channel, struct tc_span bytes,
                                struct tc_error *err)
{
    while (bytes.size > 0) {
        size_t size = bytes.size < TC_WIRE_DATA_MAX ? bytes.size : TC_WIRE_DATA_MAX;
        TC_TRY(tc_channel_write(channel, TC_WIRE_DATA, (struct tc_span){bytes.data, size}, err));
        bytes.data += size;
        bytes.size -= size;
    }
    return TC_OK;
}
