#include "os/blocks.h"

#include <errno.h>

#include <sys/socket.h>

enum { HEAD_SIZE = 4 };

static tc_status send_all(int fd, struct tc_span bytes, const char *peer, struct tc_error *err)
{
    while (bytes.size > 0) {
        /* A dead peer must be an error here, not a SIGPIPE. */
        ssize_t sent = send(fd, bytes.data, bytes.size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return tc_fail_errno(err, TC_PEER, errno, "cannot reach %s", peer);
        bytes.data += sent;
        bytes.size -= (size_t)sent;
    }
    return TC_OK;
}

/* *ret_got is less than size only when the peer hung up. */
static tc_status receive_all(int fd, uint8_t *out, size_t size, const char *peer, size_t *ret_got,
                             struct tc_error *err)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = recv(fd, out + done, size - done, 0);
        if (got < 0 && errno == EINTR) continue;
        /* A peer that died with our bytes unread resets; to us it hung up. */
        if (got < 0 && errno != ECONNRESET)
            return tc_fail_errno(err, TC_PEER, errno, "cannot hear %s", peer);
        if (got <= 0) break;
        done += (size_t)got;
    }
    *ret_got = done;
    return TC_OK;
}

tc_status tc_block_send(int fd, struct tc_span bytes, const char *peer, struct tc_error *err)
{
    if (bytes.size == 0 || bytes.size > UINT32_MAX)
        return tc_fail(err, TC_LIMIT, "a block of %zu bytes cannot be sent to %s", bytes.size,
                       peer);
    uint8_t head[HEAD_SIZE] = {(uint8_t)(bytes.size >> 24), (uint8_t)(bytes.size >> 16),
                               (uint8_t)(bytes.size >> 8), (uint8_t)bytes.size};
    TC_TRY(send_all(fd, (struct tc_span){head, sizeof head}, peer, err));
    return send_all(fd, bytes, peer, err);
}

tc_status tc_block_receive(int fd, uint8_t *out, size_t max, const char *peer, size_t *ret_size,
                           struct tc_error *err)
{
    uint8_t head[HEAD_SIZE] = {0};
    size_t got = 0;
    uint32_t size = 0;
    TC_TRY(receive_all(fd, head, sizeof head, peer, &got, err));
    if (got == 0) {
        *ret_size = 0;
        return TC_OK;
    }
    struct tc_cursor cursor = tc_cursor_of((struct tc_span){head, got});
    if (!tc_cursor_u32(&cursor, &size))
        return tc_fail(err, TC_PEER, "%s hung up in the middle of a block", peer);
    if (size == 0 || size > max)
        return tc_fail(err, TC_MALFORMED, "%s announces %u bytes; 1 to %zu are accepted", peer,
                       size, max);
    TC_TRY(receive_all(fd, out, size, peer, &got, err));
    if (got < size) return tc_fail(err, TC_PEER, "%s hung up in the middle of a block", peer);
    *ret_size = size;
    return TC_OK;
}
