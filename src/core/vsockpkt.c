#include "core/vsockpkt.h"

static uint64_t get(const uint8_t **next, size_t size)
{
    uint64_t value = 0;
    for (size_t i = size; i > 0; i--)
        value = value << 8 | (*next)[i - 1];
    *next += size;
    return value;
}

static void put(uint8_t **next, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        (*next)[i] = (uint8_t)(value >> 8 * i);
    *next += size;
}

struct tc_vsockpkt tc_vsockpkt_decode(const uint8_t bytes[TC_VSOCKPKT_SIZE])
{
    struct tc_vsockpkt packet;
    packet.src_cid = get(&bytes, 8);
    packet.dst_cid = get(&bytes, 8);
    packet.src_port = (uint32_t)get(&bytes, 4);
    packet.dst_port = (uint32_t)get(&bytes, 4);
    packet.size = (uint32_t)get(&bytes, 4);
    packet.type = (uint16_t)get(&bytes, 2);
    packet.op = (uint16_t)get(&bytes, 2);
    packet.flags = (uint32_t)get(&bytes, 4);
    packet.buf_alloc = (uint32_t)get(&bytes, 4);
    packet.fwd_cnt = (uint32_t)get(&bytes, 4);
    return packet;
}

void tc_vsockpkt_encode(const struct tc_vsockpkt *packet, uint8_t out[TC_VSOCKPKT_SIZE])
{
    put(&out, packet->src_cid, 8);
    put(&out, packet->dst_cid, 8);
    put(&out, packet->src_port, 4);
    put(&out, packet->dst_port, 4);
    put(&out, packet->size, 4);
    put(&out, packet->type, 2);
    put(&out, packet->op, 2);
    put(&out, packet->flags, 4);
    put(&out, packet->buf_alloc, 4);
    put(&out, packet->fwd_cnt, 4);
}
