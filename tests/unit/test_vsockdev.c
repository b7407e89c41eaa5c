/* The vsock device with a guest's driver as it should be: connections, their ends and their
 * credit. */
#include <linux/virtio_ring.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vsock_bytes.h"

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
    if (packet.flags == TC_VSOCKPKT_NO_SEND)
        packet = lab_expect(&lab, 1, TC_VSOCKPKT_SHUTDOWN, NULL);
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
        struct tc_vsockpkt answer = lab_receive(&lab, NULL);
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
    };
    return cmocka_run_group_tests(tests, fill_bytes, NULL);
}
