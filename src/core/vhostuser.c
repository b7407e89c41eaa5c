#include "core/vhostuser.h"

#include "core/little.h"

enum { CONFIG_HEAD = 12, NO_DESCRIPTOR = 1 << 8, QUEUE_MASK = 0xff };

tc_status tc_vhost_head_decode(struct tc_span head, size_t *ret_size, struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(head);
    uint32_t request = 0, flags = 0, size = 0;
    if (!tc_little_u32(&cursor, &request) || !tc_little_u32(&cursor, &flags) ||
        !tc_little_u32(&cursor, &size))
        return tc_fail(err, TC_MALFORMED, "the front end's message ends within its head");
    if ((flags & ~(unsigned)TC_VHOST_FLAG_NEED_REPLY) != TC_VHOST_FLAG_VERSION)
        return tc_fail(err, TC_MALFORMED,
                       "the front end sent request %u with flags 0x%x; expected version 1 of "
                       "vhost-user and no reply",
                       (unsigned)request, (unsigned)flags);
    if (size > TC_VHOST_PAYLOAD_MAX)
        return tc_fail(err, TC_MALFORMED,
                       "the front end's request %u has %u bytes; at most %d are used",
                       (unsigned)request, (unsigned)size, TC_VHOST_PAYLOAD_MAX);
    *ret_size = size;
    return TC_OK;
}

/* --- payloads; each takes its bytes, the caller sees to it that none is left --- */

static bool take_features(struct tc_cursor *cursor, struct tc_vhost_message *message)
{
    return tc_little_u64(cursor, &message->features);
}

static bool take_queue(uint32_t index, struct tc_vhost_message *message)
{
    message->queue = index;
    return index < TC_VHOST_QUEUES;
}

static bool is_number(const struct tc_vhost_message *message)
{
    uint32_t number = message->number;
    if (message->request == TC_VHOST_SET_VRING_NUM)
        return number > 0 && number <= TC_VHOST_QUEUE_SIZE_MAX && (number & (number - 1)) == 0;
    if (message->request == TC_VHOST_SET_VRING_BASE) return number <= UINT16_MAX;
    if (message->request == TC_VHOST_SET_VRING_ENABLE) return number <= 1;
    return true; /* GET_VRING_BASE: it says nothing */
}

static bool take_state(struct tc_cursor *cursor, struct tc_vhost_message *message)
{
    uint32_t index = 0;
    return tc_little_u32(cursor, &index) && tc_little_u32(cursor, &message->number) &&
           take_queue(index, message) && is_number(message);
}

static bool take_notifier(struct tc_cursor *cursor, struct tc_vhost_message *message)
{
    uint64_t value = 0;
    if (!tc_little_u64(cursor, &value) || value > (NO_DESCRIPTOR | QUEUE_MASK)) return false;
    message->has_descriptor = (value & NO_DESCRIPTOR) == 0;
    return take_queue((uint32_t)value & QUEUE_MASK, message);
}

/* Flags ask for a log of written pages, which was not offered. */
static bool take_address(struct tc_cursor *cursor, struct tc_vhost_message *message)
{
    uint32_t index = 0, flags = 0;
    uint64_t log = 0;
    return tc_little_u32(cursor, &index) && tc_little_u32(cursor, &flags) &&
           tc_little_u64(cursor, &message->descriptors) && tc_little_u64(cursor, &message->used) &&
           tc_little_u64(cursor, &message->available) && tc_little_u64(cursor, &log) &&
           take_queue(index, message) && flags == 0 && message->descriptors % 16 == 0 &&
           message->used % 4 == 0 && message->available % 2 == 0;
}

static bool is_region(const struct tc_vhost_region *region)
{
    return region->size > 0 && region->guest <= UINT64_MAX - region->size &&
           region->user <= UINT64_MAX - region->size &&
           region->offset <= (uint64_t)INT64_MAX - region->size && region->size <= INT64_MAX;
}

static bool is_apart(const struct tc_vhost_region *a, const struct tc_vhost_region *b)
{
    return a->guest + a->size <= b->guest || b->guest + b->size <= a->guest;
}

static bool take_memory(struct tc_cursor *cursor, struct tc_vhost_message *message)
{
    uint32_t count = 0, padding = 0;
    if (!tc_little_u32(cursor, &count) || !tc_little_u32(cursor, &padding) || count == 0 ||
        count > TC_VHOST_REGIONS_MAX)
        return false;
    for (size_t i = 0; i < count; i++) {
        struct tc_vhost_region *region = &message->regions[i];
        if (!tc_little_u64(cursor, &region->guest) || !tc_little_u64(cursor, &region->size) ||
            !tc_little_u64(cursor, &region->user) || !tc_little_u64(cursor, &region->offset) ||
            !is_region(region))
            return false;
        for (size_t k = 0; k < i; k++)
            if (!is_apart(region, &message->regions[k])) return false;
    }
    message->regions_count = count;
    return true;
}

static bool take_config(struct tc_cursor *cursor, struct tc_vhost_message *message)
{
    uint32_t flags = 0;
    struct tc_span room;
    return tc_little_u32(cursor, &message->config_offset) &&
           tc_little_u32(cursor, &message->config_size) && tc_little_u32(cursor, &flags) &&
           message->config_size <= TC_VHOST_CONFIG_MAX &&
           message->config_offset <= TC_VHOST_CONFIG_MAX - message->config_size &&
           tc_cursor_take(cursor, message->config_size, &room);
}

static bool take_payload(struct tc_cursor *cursor, struct tc_vhost_message *message)
{
    switch (message->request) {
    case TC_VHOST_GET_FEATURES:
    case TC_VHOST_GET_PROTOCOL_FEATURES:
    case TC_VHOST_SET_OWNER:
    case TC_VHOST_RESET_OWNER: return true;
    case TC_VHOST_SET_FEATURES:
    case TC_VHOST_SET_PROTOCOL_FEATURES: return take_features(cursor, message);
    case TC_VHOST_SET_MEM_TABLE: return take_memory(cursor, message);
    case TC_VHOST_SET_VRING_NUM:
    case TC_VHOST_SET_VRING_BASE:
    case TC_VHOST_GET_VRING_BASE:
    case TC_VHOST_SET_VRING_ENABLE: return take_state(cursor, message);
    case TC_VHOST_SET_VRING_ADDR: return take_address(cursor, message);
    case TC_VHOST_SET_VRING_KICK:
    case TC_VHOST_SET_VRING_CALL:
    case TC_VHOST_SET_VRING_ERR: return take_notifier(cursor, message);
    case TC_VHOST_GET_CONFIG: return take_config(cursor, message);
    }
    return false;
}

tc_status tc_vhost_decode(struct tc_span bytes, struct tc_vhost_message *ret_message,
                          struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(bytes);
    struct tc_vhost_message message = {0};
    uint32_t request = 0, flags = 0, claimed = 0;
    size_t size = 0;
    TC_TRY(tc_vhost_head_decode(bytes, &size, err));
    if (!tc_little_u32(&cursor, &request) || !tc_little_u32(&cursor, &flags) ||
        !tc_little_u32(&cursor, &claimed) || tc_cursor_left(&cursor) != size)
        return tc_fail(err, TC_MALFORMED, "the front end's message has another size than it says");
    message.request = (enum tc_vhost_request)request;
    message.need_reply = (flags & TC_VHOST_FLAG_NEED_REPLY) != 0;
    if (!take_payload(&cursor, &message) || tc_cursor_left(&cursor) > 0)
        return tc_fail(err, TC_MALFORMED,
                       "the front end sent request %u with %zu bytes that this device does not "
                       "accept; it serves vsock with two queues of at most %d entries",
                       (unsigned)request, size, TC_VHOST_QUEUE_SIZE_MAX);
    *ret_message = message;
    return TC_OK;
}

size_t tc_vhost_descriptors(const struct tc_vhost_message *message)
{
    return message->regions_count + (message->has_descriptor ? 1 : 0);
}

/* --- replies --- */

static void add_head(enum tc_vhost_request request, uint32_t size, struct tc_buf *buf)
{
    tc_little_add_u32(buf, (uint32_t)request);
    tc_little_add_u32(buf, TC_VHOST_FLAG_VERSION | TC_VHOST_FLAG_REPLY);
    tc_little_add_u32(buf, size);
}

void tc_vhost_reply_value(enum tc_vhost_request request, uint64_t value, struct tc_buf *buf)
{
    add_head(request, sizeof value, buf);
    tc_little_add_u64(buf, value);
}

void tc_vhost_reply_base(unsigned queue, uint32_t base, struct tc_buf *buf)
{
    add_head(TC_VHOST_GET_VRING_BASE, 2 * sizeof base, buf);
    tc_little_add_u32(buf, queue);
    tc_little_add_u32(buf, base);
}

void tc_vhost_reply_config(const struct tc_vhost_message *message, struct tc_span config,
                           struct tc_buf *buf)
{
    add_head(TC_VHOST_GET_CONFIG, (uint32_t)(CONFIG_HEAD + config.size), buf);
    tc_little_add_u32(buf, message->config_offset);
    tc_little_add_u32(buf, (uint32_t)config.size);
    tc_little_add_u32(buf, 0);
    tc_buf_add_span(buf, config);
}
