/* The vsock device against a guest's driver: connections as they should be, then
 * packets and queues as no honest driver makes them. */
#include <linux/virtio_ring.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vsock_lab.h"

static uint8_t bytes[1 << 20], other[1 << 20];

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 7 + i / 251);
}

static int fill(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = byte_at(i);
    return 0;
}

static void send_bytes(struct lab *lab, uint32_t port, const uint8_t *data, uint32_t size)
{
    struct tc_vsockpkt packet = lab_packet(lab, port, TC_VSOCKPKT_RW);
    packet.size = size;
    lab_send(lab, &packet, data);
}

static void send_shutdown(struct lab *lab, uint32_t port, unsigned flags)
{
    struct tc_vsockpkt packet = lab_packet(lab, port, TC_VSOCKPKT_SHUTDOWN);
    packet.flags = flags;
    lab_send(lab, &packet, NULL);
}

static void expect_host(int fd, const uint8_t *data, size_t size)
{
    if (size == 0) return;
    assert_int_equal(recv(fd, other, size, MSG_WAITALL), size);
    assert_memory_equal(other, data, size);
}

static void expect_guest(struct lab *lab, uint32_t port, const uint8_t *data, size_t size)
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

static void expect_end(int fd)
{
    uint8_t byte;
    assert_int_equal(recv(fd, &byte, 1, MSG_WAITALL), 0);
}

/* --- as it should be --- */

static void test_any_size(void **state)
{
    static const uint32_t sizes[] = {0, 1, 43, 4096, 28672, 65535, 65536, 65537, 262144};
    struct lab lab;
    (void)state;
    lab_start(&lab);
    int host = lab_connect(&lab, 1024);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        send_bytes(&lab, 1024, bytes, sizes[i]);
        expect_host(host, bytes, sizes[i]);
    }
    /* The other way in as many packets as the guest's buffers need. */
    lab.taken = 0;
    assert_int_equal(send(host, bytes, 100000, MSG_NOSIGNAL), 100000);
    expect_guest(&lab, 1024, bytes, 100000);
    assert_int_equal(lab_end(&lab), TC_OK);
}

/* Both names of the parent, at the same time and with the same ports. */
static void test_parents(void **state)
{
    struct lab lab;
    (void)state;
    lab_start(&lab);
    int first = lab_connect(&lab, 5);
    struct tc_vsockpkt packet = lab_packet(&lab, 5, TC_VSOCKPKT_REQUEST);
    packet.dst_cid = 2;
    lab_send(&lab, &packet, NULL);
    packet = lab_expect(&lab, 5, TC_VSOCKPKT_RESPONSE, NULL);
    assert_int_equal(packet.src_cid, 2);
    int second = lab.hosts[1];
    packet = lab_packet(&lab, 5, TC_VSOCKPKT_RW);
    packet.dst_cid = 2;
    packet.size = 3;
    lab_send(&lab, &packet, bytes + 9);
    expect_host(second, bytes + 9, 3);
    send_bytes(&lab, 5, bytes, 2);
    expect_host(first, bytes, 2);
    assert_int_equal(lab_end(&lab), TC_OK);
}

/* Heads and bodies in the pieces that a driver chose, one over the seam of two
 * regions, which are not neighbours in the file. */
static void test_pieces(void **state)
{
    struct lab lab;
    uint8_t raw[TC_VSOCKPKT_SIZE + 5000];
    uint16_t index;
    (void)state;
    lab_start(&lab);
    int host = lab_connect(&lab, 1);
    struct tc_vsockpkt packet = lab_packet(&lab, 1, TC_VSOCKPKT_RW);
    packet.size = sizeof raw - TC_VSOCKPKT_SIZE;
    tc_vsockpkt_encode(&packet, raw);
    memcpy(raw + TC_VSOCKPKT_SIZE, bytes, packet.size);
    for (uint32_t before = 1; before < 120; before += 17) {
        uint32_t place = LAB_HALF - before;
        lab_write(&lab, place, raw, sizeof raw);
        const uint32_t cuts[] = {0, 1, 1, 20, 46, 47, 3000, sizeof raw};
        for (uint16_t i = 0; i < 7; i++)
            lab_describe(&lab, TX, i, LAB_GUEST + place + cuts[i], cuts[i + 1] - cuts[i],
                         i < 6 ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
        lab_offer(&lab, TX, 0);
        lab_kick(&lab, TX);
        (void)lab_await_used(&lab, TX, &index);
        expect_host(host, bytes, packet.size);
    }
    assert_int_equal(lab_end(&lab), TC_OK);
}

static void test_half_close_of_guest(void **state)
{
    struct lab lab;
    (void)state;
    lab_start(&lab);
    int host = lab_connect(&lab, 1);
    send_bytes(&lab, 1, bytes, 10);
    send_shutdown(&lab, 1, TC_VSOCKPKT_NO_SEND);
    expect_host(host, bytes, 10);
    expect_end(host);
    assert_int_equal(send(host, bytes, 5000, MSG_NOSIGNAL), 5000); /* which still arrives */
    expect_guest(&lab, 1, bytes, 5000);
    assert_int_equal(close(dup(host)), 0);
    assert_int_equal(shutdown(host, SHUT_WR), 0);
    struct tc_vsockpkt packet = lab_expect(&lab, 1, TC_VSOCKPKT_SHUTDOWN, NULL);
    assert_true((packet.flags & TC_VSOCKPKT_NO_SEND) != 0);
    /* And what comes after its own end ends the connection. */
    send_bytes(&lab, 1, bytes, 1);
    (void)lab_expect(&lab, 1, TC_VSOCKPKT_RST, NULL);
    assert_int_equal(lab_end(&lab), TC_OK);
}

static void test_half_close_of_host(void **state)
{
    struct lab lab;
    (void)state;
    lab_start(&lab);
    int host = lab_connect(&lab, 1);
    assert_int_equal(send(host, bytes, 20000, MSG_NOSIGNAL), 20000);
    assert_int_equal(shutdown(host, SHUT_WR), 0);
    expect_guest(&lab, 1, bytes, 20000);
    struct tc_vsockpkt packet = lab_expect(&lab, 1, TC_VSOCKPKT_SHUTDOWN, NULL);
    assert_int_equal(packet.flags, TC_VSOCKPKT_NO_SEND);
    send_bytes(&lab, 1, bytes, 70000); /* which still arrives */
    expect_host(host, bytes, 70000);
    send_shutdown(&lab, 1, TC_VSOCKPKT_NO_SEND | TC_VSOCKPKT_NO_RECEIVE);
    (void)lab_expect(&lab, 1, TC_VSOCKPKT_RST, NULL);
    expect_end(host);
    assert_int_equal(lab_end(&lab), TC_OK);
}

/* The guest's half towards itself: the host's writes fail. */
static void test_guest_stops_receiving(void **state)
{
    struct lab lab;
    (void)state;
    lab_start(&lab);
    int host = lab_connect(&lab, 1);
    send_shutdown(&lab, 1, TC_VSOCKPKT_NO_RECEIVE);
    assert_int_equal(send(host, bytes, 1, MSG_NOSIGNAL), -1);
    send_bytes(&lab, 1, bytes, 7);
    expect_host(host, bytes, 7);
    assert_int_equal(lab_end(&lab), TC_OK);
}

static void test_host_closes(void **state)
{
    struct lab lab;
    (void)state;
    lab_start(&lab);
    int host = lab_connect(&lab, 1);
    assert_int_equal(send(host, bytes, 9000, MSG_NOSIGNAL), 9000);
    assert_int_equal(shutdown(host, SHUT_RDWR), 0);
    expect_guest(&lab, 1, bytes, 9000); /* first what it said before */
    struct tc_vsockpkt packet = lab_expect(&lab, 1, TC_VSOCKPKT_SHUTDOWN, NULL);
    if (packet.flags == TC_VSOCKPKT_NO_SEND) packet = lab_expect(&lab, 1, TC_VSOCKPKT_SHUTDOWN, NULL);
    assert_int_equal(packet.flags, TC_VSOCKPKT_NO_SEND | TC_VSOCKPKT_NO_RECEIVE);
    send_bytes(&lab, 1, bytes, 1000); /* was on its way */
    struct tc_vsockpkt last = lab_packet(&lab, 1, TC_VSOCKPKT_RST);
    lab_send(&lab, &last, NULL);
    (void)lab_connect(&lab, 1); /* its ports are free again */
    assert_int_equal(lab_end(&lab), TC_OK);
}

/* What the guest sent before it closed arrives, however late the host reads; its
 * ports are free at once. */
static void test_guest_closes_with_bytes_under_way(void **state)
{
    enum { ALL = TC_VSOCKDEV_BUFFER };
    struct lab lab;
    (void)state;
    lab_start(&lab);
    int host = lab_connect(&lab, 1), small = 4096;
    assert_int_equal(setsockopt(host, SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    for (uint32_t at = 0; at < ALL; at += 65536)
        send_bytes(&lab, 1, bytes + at, 65536);
    send_shutdown(&lab, 1, TC_VSOCKPKT_NO_SEND | TC_VSOCKPKT_NO_RECEIVE);
    (void)lab_expect(&lab, 1, TC_VSOCKPKT_RST, NULL);
    int second = lab_connect(&lab, 1);
    send_bytes(&lab, 1, bytes + 3, 3);
    expect_host(second, bytes + 3, 3);
    expect_host(host, bytes, ALL);
    expect_end(host);
    assert_int_equal(lab_end(&lab), TC_OK);
}

/* The same when it did not wait for the reset and sent one itself; without a word
 * that it has sent all, what is under way is lost with the connection. */
static void test_guest_resets_with_bytes_under_way(void **state)
{
    struct lab lab;
    (void)state;
    lab_start(&lab);
    for (uint32_t port = 1; port <= 2; port++) {
        int host = lab_connect(&lab, port);
        uint32_t sent = 0, held = 0;
        /* Until the host's side takes nothing more: the rest is the device's. */
        while (held < 100000) {
            assert_true(sent + 50000 <= sizeof bytes);
            send_bytes(&lab, port, bytes + sent, 50000);
            sent += 50000;
            const struct tc_vsockpkt question = lab_packet(&lab, port, TC_VSOCKPKT_CREDIT_REQUEST);
            lab_send(&lab, &question, NULL);
            held = sent - lab_expect(&lab, port, TC_VSOCKPKT_CREDIT_UPDATE, NULL).fwd_cnt;
        }
        if (port == 1) send_shutdown(&lab, port, TC_VSOCKPKT_NO_SEND);
        const struct tc_vsockpkt packet = lab_packet(&lab, port, TC_VSOCKPKT_RST);
        lab_send(&lab, &packet, NULL);
        (void)lab_connect(&lab, port); /* its ports are free at once */
        expect_host(host, bytes, port == 1 ? sent : sent - held);
        expect_end(host);
    }
    assert_int_equal(lab_end(&lab), TC_OK);
}

/* --- credit --- */

/* A host that does not read: what the guest may send is held, more ends this
 * connection, and others do not notice. */
static void test_credit_of_guest(void **state)
{
    struct lab lab;
    (void)state;
    lab_start(&lab);
    int slow = lab_connect(&lab, 1), quick = lab_connect(&lab, 2);
    uint32_t sent = 0, forwarded = 0;
    for (;;) {
        struct tc_vsockpkt question = lab_packet(&lab, 1, TC_VSOCKPKT_CREDIT_REQUEST);
        lab_send(&lab, &question, NULL);
        struct tc_vsockpkt answer = lab_expect(&lab, 1, TC_VSOCKPKT_CREDIT_UPDATE, NULL);
        assert_int_equal(answer.buf_alloc, TC_VSOCKDEV_BUFFER);
        forwarded = answer.fwd_cnt;
        uint32_t credit = TC_VSOCKDEV_BUFFER - (sent - forwarded);
        if (credit == 0) break;
        send_bytes(&lab, 1, bytes + sent, credit < 50000 ? credit : 50000);
        sent += credit < 50000 ? credit : 50000;
        send_bytes(&lab, 2, bytes, 100);
        expect_host(quick, bytes, 100);
    }
    assert_true(sent - forwarded == TC_VSOCKDEV_BUFFER);
    /* Once the host reads, the guest hears of it without asking, and goes on. */
    expect_host(slow, bytes, sent);
    while (sent - forwarded >= TC_VSOCKDEV_BUFFER / 4)
        forwarded = lab_expect(&lab, 1, TC_VSOCKPKT_CREDIT_UPDATE, NULL).fwd_cnt;
    for (uint32_t more = 0;; more++) {
        assert_true(more < 16);
        struct tc_vsockpkt packet = lab_packet(&lab, 1, TC_VSOCKPKT_RW);
        packet.size = TC_VSOCKDEV_BUFFER;
        lab_send(&lab, &packet, bytes);
        struct tc_vsockpkt question = lab_packet(&lab, 1, TC_VSOCKPKT_CREDIT_REQUEST);
        lab_send(&lab, &question, NULL);
        struct tc_vsockpkt answer = lab_receive(&lab, other);
        if (answer.op == TC_VSOCKPKT_RST) break; /* now it was too much */
        assert_int_equal(answer.op, TC_VSOCKPKT_CREDIT_UPDATE);
    }
    send_bytes(&lab, 2, bytes, 100);
    expect_host(quick, bytes, 100);
    assert_int_equal(lab_end(&lab), TC_OK);
}

/* Never more is sent than the guest said it could hold, whatever it says. */
static void test_credit_of_host(void **state)
{
    static uint8_t piece[LAB_BUFFER];
    struct lab lab;
    (void)state;
    lab_start(&lab);
    lab.room = 1000;
    int host = lab_connect(&lab, 1);
    assert_int_equal(send(host, bytes, 5000, MSG_NOSIGNAL), 5000);
    for (uint32_t at = 0; at < 5000; at += 1000) {
        struct tc_vsockpkt packet = lab_expect(&lab, 1, TC_VSOCKPKT_RW, piece);
        assert_int_equal(packet.size, 1000);
        assert_memory_equal(piece, bytes + at, 1000);
        /* All used up: the answer to this comes, and no byte before it. */
        struct tc_vsockpkt question = lab_packet(&lab, 1, TC_VSOCKPKT_CREDIT_REQUEST);
        lab_send(&lab, &question, NULL);
        (void)lab_expect(&lab, 1, TC_VSOCKPKT_CREDIT_UPDATE, NULL);
        lab.taken += 1000;
        struct tc_vsockpkt update = lab_packet(&lab, 1, TC_VSOCKPKT_CREDIT_UPDATE);
        lab_send(&lab, &update, NULL);
    }
    lab.taken = 77777; /* more than was ever sent: nothing then, and no harm */
    struct tc_vsockpkt question = lab_packet(&lab, 1, TC_VSOCKPKT_CREDIT_UPDATE);
    lab_send(&lab, &question, NULL);
    assert_int_equal(send(host, bytes, 10, MSG_NOSIGNAL), 10);
    question = lab_packet(&lab, 1, TC_VSOCKPKT_CREDIT_REQUEST);
    lab_send(&lab, &question, NULL);
    (void)lab_expect(&lab, 1, TC_VSOCKPKT_CREDIT_UPDATE, NULL);
    lab.taken = 5000;
    question = lab_packet(&lab, 1, TC_VSOCKPKT_CREDIT_UPDATE);
    lab_send(&lab, &question, NULL);
    assert_int_equal(lab_expect(&lab, 1, TC_VSOCKPKT_RW, piece).size, 10);
    assert_int_equal(lab_end(&lab), TC_OK);
}

/* Two that have much to say take turns, with one buffer for both. */
static void test_turns(void **state)
{
    static uint8_t piece[LAB_BUFFER];
    struct lab lab;
    (void)state;
    lab_begin(&lab);
    lab_set_up(&lab);
    lab_offer_buffers(&lab, 1);
    lab.room = 0;
    for (uint32_t port = 1; port <= 2; port++) {
        int host = lab_connect(&lab, port);
        assert_int_equal(send(host, bytes, 100000, MSG_NOSIGNAL), 100000);
    }
    lab.room = 1 << 20;
    for (uint32_t port = 1; port <= 2; port++) {
        struct tc_vsockpkt update = lab_packet(&lab, port, TC_VSOCKPKT_CREDIT_UPDATE);
        lab_send(&lab, &update, NULL);
    }
    for (uint32_t i = 0; i < 8; i++)
        (void)lab_expect(&lab, 1 + i % 2, TC_VSOCKPKT_RW, piece);
    assert_int_equal(lab_end(&lab), TC_OK);
}

/* --- packets that are refused --- */

static void refuse(struct lab *lab, struct tc_vsockpkt packet)
{
    lab_send(lab, &packet, packet.size > 0 ? bytes : NULL);
    struct tc_vsockpkt answer = lab_receive(lab, NULL);
    assert_int_equal(answer.op, TC_VSOCKPKT_RST);
    assert_int_equal(answer.dst_port, packet.src_port);
    assert_int_equal(answer.src_port, packet.dst_port);
    assert_true(answer.src_cid == packet.dst_cid);
    assert_int_equal(answer.type, packet.type);
}

static void test_refusals(void **state)
{
    struct lab lab;
    (void)state;
    lab_start(&lab);
    struct tc_vsockpkt packet = lab_packet(&lab, 9, TC_VSOCKPKT_REQUEST);
    packet.dst_port = LAB_PORT + 1; /* nobody listens */
    refuse(&lab, packet);
    packet.dst_port = LAB_PORT;
    const uint64_t cids[] = {0, 1, 4, LAB_CID, UINT64_MAX, (UINT64_C(1) << 32) | 3};
    for (size_t i = 0; i < sizeof cids / sizeof *cids; i++) {
        packet.dst_cid = cids[i];
        refuse(&lab, packet);
    }
    packet.dst_cid = 3;
    const uint16_t types[] = {0, 2, 3, UINT16_MAX};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        packet.type = types[i];
        refuse(&lab, packet);
    }
    packet.type = TC_VSOCKPKT_STREAM;
    packet.size = 1; /* a request brings no bytes */
    refuse(&lab, packet);
    for (unsigned op = 0; op < 256; op++) { /* without a connection */
        if (op == TC_VSOCKPKT_REQUEST || op == TC_VSOCKPKT_RST) continue;
        refuse(&lab, lab_packet(&lab, 9, (enum tc_vsockpkt_op)op));
    }
    assert_int_equal(lab.hosts_count, 0);
    /* Not from this guest: no answer, and the next one's comes. */
    packet = lab_packet(&lab, 9, TC_VSOCKPKT_REQUEST);
    packet.src_cid = LAB_CID + 1;
    lab_send(&lab, &packet, NULL);
    packet = lab_packet(&lab, 9, TC_VSOCKPKT_RST);
    lab_send(&lab, &packet, NULL);
    refuse(&lab, lab_packet(&lab, 8, TC_VSOCKPKT_RW));
    assert_int_equal(lab_end(&lab), TC_OK);
}

/* On a connection: each of these is its end, for the host too. */
static void test_refusals_within(void **state)
{
    struct lab lab;
    (void)state;
    lab_start(&lab);
    for (uint32_t i = 0; i < 13; i++) {
        int host = lab_connect(&lab, 100 + i);
        struct tc_vsockpkt packet = lab_packet(&lab, 100 + i, TC_VSOCKPKT_CREDIT_UPDATE);
        switch (i) {
        case 0: packet.op = TC_VSOCKPKT_REQUEST; break;
        case 1: packet.op = TC_VSOCKPKT_RESPONSE; break;
        case 2: packet.op = 0; break;
        case 3: packet.op = 8; break;
        case 4: packet.op = UINT16_MAX; break;
        case 5: packet.size = 1; break;
        case 6: packet.size = 1; packet.op = TC_VSOCKPKT_SHUTDOWN; break;
        case 7: packet.type = 2; break;
        default:
            /* A size that the chain does not have. */
            packet.op = TC_VSOCKPKT_RW;
            packet.size = i == 8 ? 1 : i == 9 ? UINT32_MAX : i == 10 ? 0x80000000 : 262144;
        }
        if (i < 8)
            lab_send(&lab, &packet, packet.size > 0 ? bytes : NULL);
        else
            lab_send(&lab, &packet, NULL);
        assert_int_equal(lab_receive(&lab, NULL).op, TC_VSOCKPKT_RST);
        expect_end(host);
    }
    assert_int_equal(lab_end(&lab), TC_OK);
}

/* --- floods --- */

/* Both ends of each are in this process. */
static void test_connections_are_limited(void **state)
{
    struct lab lab;
    struct rlimit files;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    lab_start(&lab);
    for (uint32_t i = 0; i < TC_VSOCKDEV_STREAMS_MAX; i++)
        (void)lab_connect(&lab, i);
    refuse(&lab, lab_packet(&lab, 1000, TC_VSOCKPKT_REQUEST));
    struct tc_vsockpkt packet = lab_packet(&lab, 7, TC_VSOCKPKT_RST);
    lab_send(&lab, &packet, NULL);
    expect_end(lab.hosts[7]);
    (void)lab_connect(&lab, 1000);
    assert_int_equal(lab_end(&lab), TC_OK);
}

/* A guest that takes no answers: its packets wait, none is dropped. */
static void test_unread_answers(void **state)
{
    enum { PACKETS = 500 };
    struct lab lab;
    uint64_t features;
    uint16_t head;
    (void)state;
    lab_begin(&lab);
    lab_set_up(&lab);
    uint32_t posted = 0, answered = 0;
    for (; posted < LAB_QUEUE / 2; posted++) {
        const struct tc_vsockpkt packet = lab_packet(&lab, posted, TC_VSOCKPKT_RW);
        lab_post(&lab, &packet, NULL);
    }
    for (uint32_t i = 0; i < LAB_QUEUE / 2; i++)
        (void)lab_await_used(&lab, TX, &head);
    for (; posted < LAB_QUEUE; posted++) {
        const struct tc_vsockpkt packet = lab_packet(&lab, posted, TC_VSOCKPKT_RW);
        lab_post(&lab, &packet, NULL);
    }
    /* It has seen all that was posted, and waits. */
    lab_say(&lab, TC_VHOST_GET_FEATURES, 1, NULL, 0, NULL, 0);
    lab_answer(&lab, TC_VHOST_GET_FEATURES, &features, sizeof features);
    lab_offer_buffers(&lab, LAB_BUFFERS);
    /* As many as have found a place now are taken, without another word. */
    for (uint32_t i = 0; i < LAB_BUFFERS; i++)
        (void)lab_await_used(&lab, TX, &head);
    for (; answered < LAB_QUEUE; answered++) {
        const struct tc_vsockpkt answer = lab_receive(&lab, NULL);
        assert_int_equal(answer.op, TC_VSOCKPKT_RST);
        assert_int_equal(answer.dst_port, answered);
    }
    for (uint32_t i = LAB_BUFFERS; i < LAB_QUEUE / 2; i++)
        (void)lab_await_used(&lab, TX, &head);
    /* The device is in order still. */
    int host = lab_connect(&lab, 5);
    send_bytes(&lab, 5, bytes, PACKETS);
    expect_host(host, bytes, PACKETS);
    assert_int_equal(lab_end(&lab), TC_OK);
}

/* --- queues that are broken --- */

struct breach {
    const char *what;
    unsigned queue;
    uint64_t address;
    uint32_t size;
    uint16_t flags, next, head;
};

static const struct breach breaches[] = {
    {"memory before", TX, LAB_GUEST - 1, 44, 0, 0, 0},
    {"memory behind", TX, LAB_GUEST + LAB_SIZE - 43, 44, 0, 0, 0},
    {"no memory", TX, 0, 44, 0, 0, 0},
    {"an address that wraps", TX, UINT64_MAX - 10, 44, 0, 0, 0},
    {"a size beyond memory", TX, LAB_GUEST, UINT32_MAX, 0, 0, 0},
    {"the front end's address", TX, LAB_USER, 44, 0, 0, 0},
    {"a packet of 43 bytes", TX, LAB_GUEST, 43, 0, 0, 0},
    {"a packet of nothing", TX, LAB_GUEST, 0, 0, 0, 0},
    {"a buffer to be written", TX, LAB_GUEST, 44, VRING_DESC_F_WRITE, 0, 0},
    {"an indirect table", TX, LAB_GUEST, 64, VRING_DESC_F_INDIRECT, 0, 0},
    {"unknown flags", TX, LAB_GUEST, 44, 0x8000, 0, 0},
    {"a chain to itself", TX, LAB_GUEST, 1, VRING_DESC_F_NEXT, 0, 0},
    {"a chain to itself of nothing", TX, LAB_GUEST, 0, VRING_DESC_F_NEXT, 0, 0},
    {"a next one behind the table", TX, LAB_GUEST, 44, VRING_DESC_F_NEXT, LAB_QUEUE, 0},
    {"a next one far behind", TX, LAB_GUEST, 44, VRING_DESC_F_NEXT, UINT16_MAX, 0},
    {"a head behind the table", TX, LAB_GUEST, 44, 0, 0, LAB_QUEUE},
    {"a head far behind", TX, LAB_GUEST, 44, 0, 0, UINT16_MAX},
    {"a buffer that cannot be written", RX, LAB_GUEST, 4096, 0, 0, 0},
    {"a buffer for a head alone", RX, LAB_GUEST, 44, VRING_DESC_F_WRITE, 0, 0},
    {"a buffer of nothing", RX, LAB_GUEST, 0, VRING_DESC_F_WRITE, 0, 0},
    {"a buffer outside", RX, LAB_GUEST + LAB_SIZE, 4096, VRING_DESC_F_WRITE, 0, 0},
    {"a buffer that leaves", RX, LAB_GUEST + LAB_SIZE - 4095, 4096, VRING_DESC_F_WRITE, 0, 0},
    {"a head behind, to the guest", RX, LAB_GUEST, 4096, VRING_DESC_F_WRITE, 0, 1000},
};

static void test_broken_queues(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof breaches / sizeof *breaches; i++) {
        const struct breach *breach = &breaches[i];
        struct lab lab;
        lab_begin(&lab);
        lab_set_up(&lab);
        lab_describe(&lab, breach->queue, 0, breach->address, breach->size, breach->flags,
                     breach->next);
        lab_offer(&lab, breach->queue, breach->head);
        lab_kick(&lab, breach->queue);
        if (lab_await_end(&lab) != TC_PEER)
            fail_msg("%s: the device ended with %d %s", breach->what, (int)lab.status,
                     lab.err.message);
    }
}

static void test_too_many_buffers(void **state)
{
    struct lab lab;
    (void)state;
    lab_begin(&lab);
    lab_set_up(&lab);
    lab.offered[TX] = LAB_QUEUE;
    lab_offer(&lab, TX, 0);
    lab_kick(&lab, TX);
    assert_int_equal(lab_await_end(&lab), TC_PEER);
    assert_non_null(strstr(lab.err.message, "more buffers than"));
}

/* A chain as long as the table, of a byte each: in more pieces than are taken. */
static void test_too_many_pieces(void **state)
{
    struct lab lab;
    (void)state;
    lab_begin(&lab);
    lab_set_up(&lab);
    for (uint16_t i = 0; i < LAB_QUEUE; i++)
        lab_describe(&lab, TX, i, LAB_GUEST, 1, i + 1 < LAB_QUEUE ? VRING_DESC_F_NEXT : 0,
                     (uint16_t)(i + 1));
    lab_offer(&lab, TX, 0);
    lab_kick(&lab, TX);
    assert_int_equal(lab_await_end(&lab), TC_PEER);
}

/* Memory that changes while it is read: random tables and packets, again and
 * again. The device goes on or ends; the sanitizers see what else it may do. */
static void test_changing_memory(void **state)
{
    uint64_t seed = 1;
    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        struct lab lab;
        lab_start(&lab);
        (void)lab_connect(&lab, 1);
        for (unsigned step = 0; step < 400; step++) {
            seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            uint32_t random = (uint32_t)(seed >> 32);
            uint16_t index = (uint16_t)(random % LAB_QUEUE);
            struct tc_vsockpkt packet = lab_packet(&lab, random >> 8 & 3, random >> 10 & 7);
            uint8_t head[TC_VSOCKPKT_SIZE];
            packet.size = (random >> 13 & 1) != 0 ? random >> 14 & 0xff : 0;
            tc_vsockpkt_encode(&packet, head);
            lab_write(&lab, LAB_SEND + index * 64U, head, sizeof head);
            /* Mostly well, so that it lives long enough to meet the rest. */
            bool wild = (seed >> 20 & 0xff) == 0;
            lab_describe(&lab, TX, index,
                         LAB_GUEST + (wild ? random : LAB_SEND + index * 64U), 44 + packet.size,
                         wild ? (uint16_t)(random & 7) : 0, (uint16_t)(random >> 4));
            lab_offer(&lab, TX, index);
            lab_kick(&lab, TX);
        }
        tc_status status = lab_end(&lab);
        assert_true(status == TC_OK || status == TC_PEER);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_size),
        cmocka_unit_test(test_parents),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_half_close_of_guest),
        cmocka_unit_test(test_half_close_of_host),
        cmocka_unit_test(test_guest_stops_receiving),
        cmocka_unit_test(test_host_closes),
        cmocka_unit_test(test_guest_closes_with_bytes_under_way),
        cmocka_unit_test(test_guest_resets_with_bytes_under_way),
        cmocka_unit_test(test_credit_of_guest),
        cmocka_unit_test(test_credit_of_host),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_refusals_within),
        cmocka_unit_test(test_connections_are_limited),
        cmocka_unit_test(test_unread_answers),
        cmocka_unit_test(test_broken_queues),
        cmocka_unit_test(test_too_many_buffers),
        cmocka_unit_test(test_too_many_pieces),
        cmocka_unit_test(test_changing_memory),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
