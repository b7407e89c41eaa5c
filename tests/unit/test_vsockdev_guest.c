/* The vsock device against a guest's driver as no honest one is: packets that are refused,
 * floods, and queues that are broken. */
#include <linux/virtio_ring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

#include "vsock_bytes.h"

/* --- packets that are refused --- */

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
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_refusals_within),
        cmocka_unit_test(test_connections_are_limited),
        cmocka_unit_test(test_unread_answers),
        cmocka_unit_test(test_broken_queues),
        cmocka_unit_test(test_too_many_buffers),
        cmocka_unit_test(test_too_many_pieces),
        cmocka_unit_test(test_changing_memory),
    };
    return cmocka_run_group_tests(tests, fill_bytes, NULL);
}
