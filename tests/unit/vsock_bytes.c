#include "vsock_bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>

#include <cmocka.h>

uint8_t bytes[1 << 20];

static uint8_t other[1 << 20];

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 7 + i / 251);
}

int fill_bytes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = byte_at(i);
    return 0;
}

void send_bytes(struct lab *lab, uint32_t port, const uint8_t *data, uint32_t size)
{
    struct tc_vsockpkt packet = lab_packet(lab, port, TC_VSOCKPKT_RW);
    packet.size = size;
    lab_send(lab, &packet, data);
}

void send_shutdown(struct lab *lab, uint32_t port, unsigned flags)
{
    struct tc_vsockpkt packet = lab_packet(lab, port, TC_VSOCKPKT_SHUTDOWN);
    packet.flags = flags;
    lab_send(lab, &packet, NULL);
}

void expect_host(int fd, const uint8_t *data, size_t size)
{
    if (size == 0) return;
    assert_int_equal(recv(fd, other, size, MSG_WAITALL), size);
    assert_memory_equal(other, data, size);
}

void expect_guest(struct lab *lab, uint32_t port, const uint8_t *data, size_t size)
{
    static uint8_t piece[LAB_BUFFER];
    while (size > 0) {
        struct tc_vsockpkt packet = lab_expect(lab, port, TC_VSOCKPKT_RW, piece);
        assert_true(packet.size > 0 && packet.size <= size);
        assert_memory_equal(piece, data, packet.size);
        data += packet.size;
        size -= packet.size;
        lab->taken += packet.size;
    }
}

void expect_end(int fd)
{
    uint8_t byte;
    assert_int_equal(recv(fd, &byte, 1, MSG_WAITALL), 0);
}

void refuse(struct lab *lab, struct tc_vsockpkt packet)
{
    lab_send(lab, &packet, packet.size > 0 ? bytes : NULL);
    struct tc_vsockpkt answer = lab_receive(lab, NULL);
    assert_int_equal(answer.op, TC_VSOCKPKT_RST);
    assert_int_equal(answer.dst_port, packet.src_port);
    assert_int_equal(answer.src_port, packet.dst_port);
    assert_true(answer.src_cid == packet.dst_cid);
    assert_int_equal(answer.type, packet.type);
}
