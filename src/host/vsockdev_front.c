/* The front end's side: one message at a time, collected without waiting, decoded
 * by core/vhostuser, then obeyed. Whatever is wrong with one ends the device: a
 * front end that is in order sends nothing of that kind. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "core/little.h"
#include "host/vsockdev_internal.h"

enum { REPLY_MAX = TC_VHOST_HEAD_SIZE + TC_VHOST_PAYLOAD_MAX };

static const uint64_t features = TC_VHOST_F_VERSION_1 | TC_VHOST_F_PROTOCOL_FEATURES;
static const uint64_t protocol_features = TC_VHOST_PROTOCOL_REPLY_ACK | TC_VHOST_PROTOCOL_CONFIG;

void tc_front_drop_fds(struct tc_vsockdev *device)
{
    while (device->fds_count > 0)
        (void)close(device->fds[--device->fds_count]);
}

/* --- receiving --- */

static tc_status keep_fds(struct tc_vsockdev *device, struct msghdr *message, struct tc_error *err)
{
    bool fit = (message->msg_flags & MSG_CTRUNC) == 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
        size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
            if (device->fds_count < TC_VHOST_REGIONS_MAX) {
                device->fds[device->fds_count++] = fd;
            } else {
                (void)close(fd);
                fit = false;
            }
        }
    }
    return fit ? TC_OK
               : tc_fail(err, TC_MALFORMED, "the front end sent more than %d descriptors at once",
                         TC_VHOST_REGIONS_MAX);
}

/* Up to size bytes of the message in all. *ret_closed: the front end hung up. */
static tc_status receive(struct tc_vsockdev *device, size_t size, bool *ret_closed,
                         struct tc_error *err)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(TC_VHOST_REGIONS_MAX * sizeof(int))];
    } control;
    struct iovec piece = {device->message + device->message_size, size - device->message_size};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t got = recvmsg(device->front_fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    *ret_closed = got == 0 || (got < 0 && errno == ECONNRESET);
    if (*ret_closed || (got < 0 && (errno == EAGAIN || errno == EINTR))) return TC_OK;
    if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read from the front end");
    device->message_size += (size_t)got;
    return keep_fds(device, &message, err);
}

/* --- obeying --- */

static tc_status reply(const struct tc_vsockdev *device, struct tc_buf *buf, struct tc_error *err)
{
    TC_TRY(tc_buf_check(buf, "a reply to the front end", err));
    ssize_t sent = send(device->front_fd, buf->data, buf->size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent != (ssize_t)buf->size)
        return tc_fail(err, TC_PEER, "the front end does not take its replies");
    return TC_OK;
}

static tc_status set_features(struct tc_vsockdev *device, const struct tc_vhost_message *message,
                              struct tc_error *err)
{
    if ((message->features & ~features) != 0)
        return tc_fail(err, TC_MALFORMED,
                       "the front end chose features 0x%llx; offered were 0x%llx",
                       (unsigned long long)message->features, (unsigned long long)features);
    /* Without the protocol's own features nothing says later that they are. */
    if ((message->features & TC_VHOST_F_PROTOCOL_FEATURES) == 0)
        for (size_t i = 0; i < TC_VHOST_QUEUES; i++)
            device->rings[i].enabled = true;
    return TC_OK;
}

static tc_status set_protocol_features(struct tc_vsockdev *device,
                                       const struct tc_vhost_message *message, struct tc_error *err)
{
    if ((message->features & ~protocol_features) != 0)
        return tc_fail(
            err, TC_MALFORMED, "the front end chose protocol features 0x%llx; offered were 0x%llx",
            (unsigned long long)message->features, (unsigned long long)protocol_features);
    device->acknowledges = (message->features & TC_VHOST_PROTOCOL_REPLY_ACK) != 0;
    return TC_OK;
}

static tc_status set_memory(struct tc_vsockdev *device, const struct tc_vhost_message *message,
                            struct tc_error *err)
{
    TC_TRY(tc_guestmem_map(&device->memory, message, device->fds, err));
    for (size_t i = 0; i < TC_VHOST_QUEUES; i++)
        tc_vring_forget(&device->rings[i]);
    return TC_OK;
}

/* The descriptor that came beside the message, if one did. Never waits, whatever
 * the front end has opened it for. */
static tc_status take_notifier(struct tc_vsockdev *device, int *ret_fd, struct tc_error *err)
{
    int fd = device->fds_count > 0 ? device->fds[0] : -1;
    if (fd >= 0) {
        int flags = fcntl(fd, F_GETFL);
        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
            return tc_fail_errno(err, TC_REFUSED, errno, "cannot use the front end's notifier");
        device->fds_count = 0;
    }
    tc_close_ptr(ret_fd);
    *ret_fd = fd;
    return TC_OK;
}

static tc_status start_ring(struct tc_vsockdev *device, struct tc_vring *ring, struct tc_error *err)
{
    if (device->fds_count == 0)
        return tc_fail(err, TC_MALFORMED, "the front end started a queue without a notifier");
    TC_TRY(take_notifier(device, &ring->kick_fd, err));
    ring->started = true;
    return TC_OK;
}

/* The guest's driver is gone, or starts anew: of its connections nothing may stay. */
static tc_status stop_ring(struct tc_vsockdev *device, unsigned queue, struct tc_error *err)
{
    struct tc_vring *ring = &device->rings[queue];
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(REPLY_MAX);
    tc_vhost_reply_base(queue, ring->next, &buf);
    ring->started = false;
    tc_close_ptr(&ring->kick_fd);
    tc_close_ptr(&ring->call_fd);
    tc_vring_forget(ring);
    tc_streams_drop(device);
    return reply(device, &buf, err);
}

static tc_status give_config(const struct tc_vsockdev *device,
                             const struct tc_vhost_message *message, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf config = tc_buf_new(TC_VHOST_CONFIG_MAX);
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(REPLY_MAX);
    tc_little_add_u64(&config, device->config->guest_cid);
    while (config.size < TC_VHOST_CONFIG_MAX && tc_buf_ok(&config))
        tc_buf_add_u8(&config, 0);
    TC_TRY(tc_buf_check(&config, "the device's configuration", err));
    tc_vhost_reply_config(
        message, (struct tc_span){config.data + message->config_offset, message->config_size},
        &buf);
    return reply(device, &buf, err);
}

static tc_status give_value(const struct tc_vsockdev *device, enum tc_vhost_request request,
                            uint64_t value, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(REPLY_MAX);
    tc_vhost_reply_value(request, value, &buf);
    return reply(device, &buf, err);
}

/* *ret_replied: the request has an answer of its own, which was sent. */
static tc_status obey(struct tc_vsockdev *device, const struct tc_vhost_message *message,
                      bool *ret_replied, struct tc_error *err)
{
    struct tc_vring *ring = &device->rings[message->queue];
    int nothing = -1;
    *ret_replied = false;
    switch (message->request) {
    case TC_VHOST_GET_FEATURES:
        *ret_replied = true;
        return give_value(device, message->request, features, err);
    case TC_VHOST_GET_PROTOCOL_FEATURES:
        *ret_replied = true;
        return give_value(device, message->request, protocol_features, err);
    case TC_VHOST_GET_CONFIG: *ret_replied = true; return give_config(device, message, err);
    case TC_VHOST_GET_VRING_BASE:
        *ret_replied = true;
        return stop_ring(device, message->queue, err);
    case TC_VHOST_SET_FEATURES: return set_features(device, message, err);
    case TC_VHOST_SET_PROTOCOL_FEATURES: return set_protocol_features(device, message, err);
    case TC_VHOST_SET_OWNER:
    case TC_VHOST_RESET_OWNER: return TC_OK;
    case TC_VHOST_SET_MEM_TABLE: return set_memory(device, message, err);
    case TC_VHOST_SET_VRING_NUM:
        ring->size = message->number;
        tc_vring_forget(ring);
        return TC_OK;
    case TC_VHOST_SET_VRING_BASE: ring->next = (uint16_t)message->number; return TC_OK;
    case TC_VHOST_SET_VRING_ADDR:
        ring->descriptors_at = message->descriptors;
        ring->used_at = message->used;
        ring->available_at = message->available;
        ring->is_placed = true;
        tc_vring_forget(ring);
        return TC_OK;
    case TC_VHOST_SET_VRING_ENABLE: ring->enabled = message->number == 1; return TC_OK;
    case TC_VHOST_SET_VRING_KICK: return start_ring(device, ring, err);
    case TC_VHOST_SET_VRING_CALL:
        TC_TRY(take_notifier(device, &ring->call_fd, err));
        /* What was used before it came would never be heard of. */
        tc_vring_notify(ring);
        return TC_OK;
    case TC_VHOST_SET_VRING_ERR: {
        /* Errors end the device, which the front end sees. */
        tc_status status = take_notifier(device, &nothing, err);
        tc_close_ptr(&nothing);
        return status;
    }
    }
    return tc_fail(err, TC_MALFORMED, "the front end sent an unknown request");
}

static tc_status handle(struct tc_vsockdev *device, struct tc_error *err)
{
    struct tc_vhost_message message;
    bool replied = false;
    TC_TRY(tc_vhost_decode((struct tc_span){device->message, device->message_size}, &message, err));
    if (device->fds_count != tc_vhost_descriptors(&message))
        return tc_fail(err, TC_MALFORMED,
                       "the front end sent request %d with %zu descriptors; expected %zu",
                       (int)message.request, device->fds_count, tc_vhost_descriptors(&message));
    TC_TRY(obey(device, &message, &replied, err));
    if (replied || !message.need_reply || !device->acknowledges) return TC_OK;
    return give_value(device, message.request, 0, err);
}

tc_status tc_front_read(struct tc_vsockdev *device, bool *ret_end, struct tc_error *err)
{
    size_t payload = 0;
    bool closed = false;
    *ret_end = false;
    if (device->message_size < TC_VHOST_HEAD_SIZE)
        TC_TRY(receive(device, TC_VHOST_HEAD_SIZE, &closed, err));
    if (device->message_size >= TC_VHOST_HEAD_SIZE) {
        TC_TRY(tc_vhost_head_decode((struct tc_span){device->message, TC_VHOST_HEAD_SIZE}, &payload,
                                    err));
        if (device->message_size < TC_VHOST_HEAD_SIZE + payload)
            TC_TRY(receive(device, TC_VHOST_HEAD_SIZE + payload, &closed, err));
    }
    if (closed && device->message_size > 0)
        return tc_fail(err, TC_PEER, "the front end hung up within a message");
    *ret_end = closed;
    if (closed || device->message_size < TC_VHOST_HEAD_SIZE ||
        device->message_size < TC_VHOST_HEAD_SIZE + payload)
        return TC_OK;
    tc_status status = handle(device, err);
    device->message_size = 0;
    tc_front_drop_fds(device);
    return status;
}
