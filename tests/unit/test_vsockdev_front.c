/* The vsock device against its front end: the protocol as an emulator speaks it,
 * then messages that none does. */
#include <fcntl.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "vsock_lab.h"

static uint64_t ask_value(struct lab *lab, uint32_t request)
{
    uint64_t value = 0;
    lab_say(lab, request, 1, NULL, 0, NULL, 0);
    lab_answer(lab, request, &value, sizeof value);
    return value;
}

static void test_greeting(void **state)
{
    struct lab lab;
    (void)state;
    lab_begin(&lab);
    assert_true(ask_value(&lab, TC_VHOST_GET_FEATURES) == (UINT64_C(1) << 32 | UINT64_C(1) << 30));
    assert_true(ask_value(&lab, TC_VHOST_GET_PROTOCOL_FEATURES) == (1 << 3 | 1 << 9));
    const uint32_t question[5] = {0, 8, 0, 0, 0};
    struct {
        uint32_t offset, size, flags, cid[2];
    } config;
    lab_say(&lab, TC_VHOST_GET_CONFIG, 1, question, sizeof question, NULL, 0);
    lab_answer(&lab, TC_VHOST_GET_CONFIG, &config, sizeof config);
    assert_int_equal(config.size, 8);
    assert_int_equal(config.cid[0], LAB_CID);
    assert_int_equal(config.cid[1], 0);
    assert_int_equal(lab_end(&lab), TC_OK);
}

/* In pieces of one byte, as a stream may bring it; the device does not wait
 * within one. */
static void test_slow_front_end(void **state)
{
    struct lab lab;
    (void)state;
    lab_start(&lab);
    int host = lab_connect(&lab, 1);
    const uint32_t message[] = {TC_VHOST_SET_VRING_ENABLE, 1, 8, TX, 1};
    for (size_t i = 0; i < sizeof message; i++) {
        assert_int_equal(send(lab.front, (const uint8_t *)message + i, 1, MSG_NOSIGNAL), 1);
        struct tc_vsockpkt packet = lab_packet(&lab, 1, TC_VSOCKPKT_RW);
        packet.size = 1;
        uint8_t byte = (uint8_t)i;
        lab_send(&lab, &packet, &byte);
        assert_int_equal(recv(host, &byte, 1, MSG_WAITALL), 1);
        assert_int_equal(byte, i);
    }
    assert_true(ask_value(&lab, TC_VHOST_GET_FEATURES) != 0);
    assert_int_equal(lab_end(&lab), TC_OK);
}

static void stop_queue(struct lab *lab, unsigned queue)
{
    uint32_t answer[2];
    lab_say_two(lab, TC_VHOST_GET_VRING_BASE, queue, 0);
    lab_answer(lab, TC_VHOST_GET_VRING_BASE, answer, sizeof answer);
    assert_int_equal(answer[0], queue);
    assert_int_equal(answer[1], lab->seen[queue]);
}

/* Another guest, or the same anew: nothing of the first is left. */
static void test_stop_and_start(void **state)
{
    struct lab lab;
    uint8_t byte;
    (void)state;
    lab_start(&lab);
    int host = lab_connect(&lab, 1);
    stop_queue(&lab, TX);
    assert_int_equal(recv(host, &byte, 1, MSG_WAITALL), 0);
    lab_start_queue(&lab, TX);
    const struct tc_vsockpkt packet = lab_packet(&lab, 1, TC_VSOCKPKT_CREDIT_UPDATE);
    lab_send(&lab, &packet, NULL);
    (void)lab_expect(&lab, 1, TC_VSOCKPKT_RST, NULL);
    (void)lab_connect(&lab, 1);
    assert_int_equal(lab_end(&lab), TC_OK);
}

/* A stopped queue is not touched: what is offered waits. */
static void test_stopped_queue_is_left_alone(void **state)
{
    struct lab lab;
    (void)state;
    lab_start(&lab);
    (void)lab_connect(&lab, 1);
    lab_say_two(&lab, TC_VHOST_SET_VRING_ENABLE, TX, 0);
    (void)ask_value(&lab, TC_VHOST_GET_FEATURES);
    lab_describe(&lab, TX, 0, 0, 1, 0, 0); /* would be its end */
    lab_offer(&lab, TX, 0);
    lab_kick(&lab, TX);
    for (int i = 0; i < 3; i++)
        (void)ask_value(&lab, TC_VHOST_GET_FEATURES);
    lab_say_two(&lab, TC_VHOST_SET_VRING_ENABLE, TX, 1);
    assert_int_equal(lab_await_end(&lab), TC_PEER);
}

/* The same memory at another place of the device: nothing points to the old one. */
static void test_memory_is_replaced(void **state)
{
    struct lab lab;
    (void)state;
    lab_start(&lab);
    for (uint32_t i = 0; i < 20; i++) {
        (void)lab_connect(&lab, i);
        lab_say_memory(&lab);
        (void)ask_value(&lab, TC_VHOST_GET_FEATURES);
    }
    assert_int_equal(lab_end(&lab), TC_OK);
}

/* And a table without the queues is noticed before they are used. */
static void test_memory_without_queues(void **state)
{
    struct lab lab;
    (void)state;
    lab_start(&lab);
    (void)lab_connect(&lab, 1);
    const uint64_t table[] = {1, LAB_GUEST, 4096, LAB_USER, 0};
    lab_say(&lab, TC_VHOST_SET_MEM_TABLE, 1, table, sizeof table, &lab.memory_fd, 1);
    lab_kick(&lab, TX);
    assert_int_equal(lab_await_end(&lab), TC_MALFORMED);
}

/* --- memory that is not what it seems --- */

static tc_status try_memory(uint64_t size, uint64_t offset, int file_size, int seals)
{
    struct lab lab;
    lab_begin(&lab);
    int fd = memfd_create("memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(fd, file_size), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    const uint64_t table[] = {1, LAB_GUEST, size, LAB_USER, offset};
    lab_say(&lab, TC_VHOST_SET_MEM_TABLE, 1, table, sizeof table, &fd, 1);
    (void)close(fd);
    return lab_end(&lab);
}

static void test_memory(void **state)
{
    const int seal = F_SEAL_SHRINK;
    (void)state;
    assert_int_equal(try_memory(8192, 0, 8192, seal), TC_OK);
    assert_int_equal(try_memory(4096, 4096, 8192, seal), TC_OK);
    assert_int_equal(try_memory(4000, 4196, 8196, seal), TC_OK); /* not on a page */
    assert_int_equal(try_memory(8192, 0, 8192, 0), TC_REFUSED);
    assert_int_equal(try_memory(8192, 0, 8192, F_SEAL_GROW), TC_REFUSED);
    assert_int_equal(try_memory(8193, 0, 8192, seal), TC_REFUSED);
    assert_int_equal(try_memory(4097, 4096, 8192, seal), TC_REFUSED);
    assert_int_equal(try_memory(1, 8192, 8192, seal), TC_REFUSED);
    assert_int_equal(try_memory(UINT64_C(1) << 46, 0, 8192, seal), TC_REFUSED);
    assert_int_equal(try_memory(1, INT64_MAX - 1, 8192, seal), TC_REFUSED);
    assert_int_equal(try_memory(0, 0, 8192, seal), TC_MALFORMED);
    assert_int_equal(try_memory(INT64_MAX, 1, 8192, seal), TC_MALFORMED);
    assert_int_equal(try_memory(UINT64_MAX, 0, 8192, seal), TC_MALFORMED);
    assert_int_equal(try_memory(UINT64_MAX - LAB_USER + 1, 0, 8192, seal), TC_MALFORMED);
    assert_int_equal(try_memory(4096, UINT64_MAX, 8192, seal), TC_MALFORMED);
}

/* Descriptors that are no memory. */
static void test_no_memory(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < 3; kind++) {
        struct lab lab;
        int ends[2];
        lab_begin(&lab);
        assert_int_equal(pipe(ends), 0);
        int fd = kind == 0   ? open("/dev/zero", O_RDWR | O_CLOEXEC)
                 : kind == 1 ? dup(ends[0])
                             : eventfd(0, 0);
        const uint64_t table[] = {1, LAB_GUEST, 4096, LAB_USER, 0};
        lab_say(&lab, TC_VHOST_SET_MEM_TABLE, 1, table, sizeof table, &fd, 1);
        (void)close(fd);
        (void)close(ends[0]);
        (void)close(ends[1]);
        assert_int_equal(lab_end(&lab), TC_REFUSED);
    }
}

/* --- places of queues --- */

static void test_places(void **state)
{
    const struct {
        uint64_t descriptors, used, available;
        tc_status status;
    } places[] = {
        {LAB_USER - 16, LAB_USER, LAB_USER, TC_MALFORMED},
        {LAB_USER + LAB_SIZE, LAB_USER, LAB_USER, TC_MALFORMED},
        {LAB_USER + LAB_SIZE - LAB_QUEUE * 16 + 16, LAB_USER, LAB_USER, TC_MALFORMED},
        {LAB_USER + LAB_HALF - 16, LAB_USER, LAB_USER, TC_MALFORMED}, /* over a seam */
        {LAB_USER, LAB_USER + LAB_SIZE - LAB_QUEUE * 8, LAB_USER, TC_MALFORMED},
        {LAB_USER, LAB_USER, LAB_USER + LAB_SIZE - LAB_QUEUE * 2, TC_MALFORMED},
        {LAB_GUEST, LAB_GUEST, LAB_GUEST, TC_MALFORMED}, /* the guest's addresses */
        {0, 0, 0, TC_MALFORMED},
        {UINT64_MAX - 15, UINT64_MAX - 15, UINT64_MAX - 15, TC_MALFORMED},
        {LAB_USER + 8, LAB_USER, LAB_USER, TC_MALFORMED}, /* not aligned, as the next two */
        {LAB_USER, LAB_USER + 2, LAB_USER, TC_MALFORMED},
        {LAB_USER, LAB_USER, LAB_USER + 1, TC_MALFORMED},
        {LAB_USER, LAB_USER, LAB_USER, TC_OK}, /* one over the other is the guest's own harm */
    };
    (void)state;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        struct lab lab;
        lab_begin(&lab);
        lab_set_up(&lab);
        const uint64_t address[] = {TX, places[i].descriptors, places[i].used, places[i].available,
                                    0};
        lab_say(&lab, TC_VHOST_SET_VRING_ADDR, 1, address, sizeof address, NULL, 0);
        lab_kick(&lab, TX);
        tc_status status = places[i].status == TC_OK ? lab_end(&lab) : lab_await_end(&lab);
        if (status != places[i].status)
            fail_msg("place %zu: %d %s", i, (int)status, lab.err.message);
    }
}

/* Aligned for the front end, but its region begins in the middle of an entry here.
 * A queue that was looked at all the same would be found broken: it is all ones. */
static void test_places_in_a_crooked_region(void **state)
{
    const struct {
        uint64_t offset;
        tc_status status;
    } regions[] = {{1, TC_MALFORMED}, {2, TC_MALFORMED}, {4, TC_MALFORMED}, {8, TC_PEER}};
    uint8_t ones[LAB_SEND];
    (void)state;
    memset(ones, 0xff, sizeof ones);
    for (size_t i = 0; i < sizeof regions / sizeof *regions; i++) {
        struct lab lab;
        const uint64_t table[] = {1, LAB_GUEST, sizeof ones - 16, LAB_USER, regions[i].offset};
        int fd = memfd_create("memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        assert_int_equal(write(fd, ones, sizeof ones), sizeof ones);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
        lab_begin(&lab);
        lab_set_up(&lab);
        lab_say(&lab, TC_VHOST_SET_MEM_TABLE, 1, table, sizeof table, &fd, 1);
        lab_kick(&lab, TX);
        (void)close(fd);
        if (lab_await_end(&lab) != regions[i].status)
            fail_msg("offset %d: %d %s", (int)regions[i].offset, (int)lab.status, lab.err.message);
    }
}

/* --- messages --- */

struct wrong {
    const char *what;
    uint32_t request, flags;
    size_t size, fds;
    uint32_t words[6];
};

static const struct wrong wrongs[] = {
    {"no request", 0, 1, 0, 0, {0}},
    {"a request of migration", 6, 1, 16, 1, {0}},
    {"a request not offered", 24 + 1, 1, 20, 0, {0, 8, 0, 0, 0}},
    {"an unknown request", 1000, 1, 0, 0, {0}},
    {"version 0", 1, 0, 0, 0, {0}},
    {"version 2", 1, 2, 0, 0, {0}},
    {"a reply", 1, 5, 0, 0, {0}},
    {"unknown flags", 1, 17, 0, 0, {0}},
    {"bytes that nobody asked for", 1, 1, 8, 0, {0}},
    {"features of 4 bytes", 2, 1, 4, 0, {0}},
    {"features of 16 bytes", 2, 1, 16, 0, {0}},
    {"features that were not offered", 2, 1, 8, 0, {1, 0}},
    {"a log of written pages", 2, 1, 8, 0, {1 << 26, 1}},
    {"protocol features that were not offered", 16, 1, 8, 0, {1, 0}},
    {"no region", 5, 1, 8, 0, {0, 0}},
    {"a region that is missing", 5, 1, 8, 1, {1, 0}},
    {"nine regions", 5, 1, 8, 0, {9, 0}},
    {"very many regions", 5, 1, 8, 0, {UINT32_MAX, 0}},
    {"a queue too many", 8, 1, 8, 0, {2, 128}},
    {"a queue far off", 8, 1, 8, 0, {UINT32_MAX, 128}},
    {"a queue of nothing", 8, 1, 8, 0, {0, 0}},
    {"a queue of no power of 2", 8, 1, 8, 0, {0, 100}},
    {"a large queue", 8, 1, 8, 0, {0, 2048}},
    {"a very large queue", 8, 1, 8, 0, {0, 1U << 31}},
    {"a base of 17 bits", 10, 1, 8, 0, {0, 65536}},
    {"a base of a queue far off", 11, 1, 8, 0, {7, 0}},
    {"a notifier that is missing", 12, 1, 8, 0, {0, 0}},
    {"a queue to be watched", 12, 1, 8, 0, {0x100, 0}},
    {"a notifier that is too much", 13, 1, 8, 1, {0x100, 0}},
    {"two notifiers", 13, 1, 8, 2, {0, 0}},
    {"a notifier of a queue far off", 13, 1, 8, 1, {2, 0}},
    {"notifier's unknown flags", 13, 1, 8, 1, {0x200, 0}},
    {"enabled twice as much", 18, 1, 8, 0, {0, 2}},
    {"a configuration without room", 24, 1, 12, 0, {0, 8, 0}},
    {"a large configuration", 24, 1, 12, 0, {0, 257, 0}},
    {"a configuration far off", 24, 1, 12, 0, {UINT32_MAX, 0, 0}},
    {"a descriptor without a reason", 1, 1, 0, 1, {0}},
    {"nine descriptors", 1, 1, 0, 9, {0}},
};

static void test_wrong_messages(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++) {
        const struct wrong *wrong = &wrongs[i];
        struct lab lab;
        int fds[16];
        lab_begin(&lab);
        for (size_t k = 0; k < 16; k++)
            fds[k] = lab.memory_fd;
        lab_say(&lab, wrong->request, wrong->flags, wrong->words, wrong->size, fds, wrong->fds);
        if (lab_await_end(&lab) != TC_MALFORMED)
            fail_msg("%s: the device ended with %d %s", wrong->what, (int)lab.status,
                     lab.err.message);
    }
}

static unsigned open_descriptors(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < 1024; fd++)
        if (fcntl(fd, F_GETFD) >= 0) count++;
    return count;
}

static void send_with_descriptors(const struct lab *lab, const void *bytes, size_t size)
{
    union {
        struct cmsghdr head;
        char bytes[CMSG_SPACE(TC_VHOST_REGIONS_MAX * sizeof(int))];
    } control = {.head = {.cmsg_level = SOL_SOCKET,
                          .cmsg_type = SCM_RIGHTS,
                          .cmsg_len = CMSG_LEN(TC_VHOST_REGIONS_MAX * sizeof(int))}};
    struct iovec piece = {(void *)(uintptr_t)bytes, size};
    const struct msghdr message = {.msg_iov = &piece,
                                   .msg_iovlen = 1,
                                   .msg_control = &control,
                                   .msg_controllen = sizeof control};
    for (size_t i = 0; i < TC_VHOST_REGIONS_MAX; i++)
        memcpy(CMSG_DATA(&control.head) + i * sizeof(int), &lab->memory_fd, sizeof(int));
    assert_int_equal(sendmsg(lab->front, &message, MSG_NOSIGNAL), size);
}

/* As many beside the head as there is room for, and as many again beside what
 * follows it: two pieces of one message. */
static void test_descriptors_beside_each_piece(void **state)
{
    struct lab lab;
    uint64_t table[1 + TC_VHOST_REGIONS_MAX * 4] = {TC_VHOST_REGIONS_MAX};
    const uint32_t head[3] = {TC_VHOST_SET_MEM_TABLE, 1, sizeof table};
    unsigned before = open_descriptors();
    (void)state;
    for (uint64_t i = 0; i < TC_VHOST_REGIONS_MAX; i++) {
        const uint64_t region[4] = {LAB_GUEST + i * 4096, 4096, LAB_USER + i * 4096, i * 4096};
        memcpy(table + 1 + i * 4, region, sizeof region);
    }
    lab_begin(&lab);
    send_with_descriptors(&lab, head, sizeof head);
    send_with_descriptors(&lab, table, sizeof table);
    assert_int_equal(lab_await_end(&lab), TC_MALFORMED);
    assert_non_null(strstr(lab.err.message, "more than 8 descriptors"));
    assert_int_equal(open_descriptors(), before);
}

/* A size that was never going to come is refused at once, a smaller one waited for. */
static void test_claimed_size(void **state)
{
    struct lab lab;
    (void)state;
    const uint32_t head[3] = {TC_VHOST_GET_FEATURES, 1, UINT32_MAX};
    lab_begin(&lab);
    assert_int_equal(send(lab.front, head, sizeof head, MSG_NOSIGNAL), sizeof head);
    assert_int_equal(lab_await_end(&lab), TC_MALFORMED);
    for (size_t size = 1; size < sizeof head; size++) {
        lab_begin(&lab);
        assert_int_equal(send(lab.front, head, size, MSG_NOSIGNAL), size);
        assert_int_equal(shutdown(lab.front, SHUT_WR), 0);
        assert_int_equal(lab_await_end(&lab), TC_PEER);
    }
}

static void test_regions_overlap(void **state)
{
    struct lab lab;
    (void)state;
    lab_begin(&lab);
    const uint64_t table[] = {
        2,        LAB_GUEST,           LAB_HALF, LAB_USER, LAB_HALF, LAB_GUEST + LAB_HALF - 1,
        LAB_HALF, LAB_USER + LAB_HALF, 0};
    const int fds[2] = {lab.memory_fd, lab.memory_fd};
    lab_say(&lab, TC_VHOST_SET_MEM_TABLE, 1, table, sizeof table, fds, 2);
    assert_int_equal(lab_await_end(&lab), TC_MALFORMED);
}

/* A front end that asks and never reads. */
static void test_unread_replies(void **state)
{
    struct lab lab;
    (void)state;
    lab_begin(&lab);
    for (unsigned i = 0; i < 100000; i++) {
        const uint32_t head[3] = {TC_VHOST_GET_FEATURES, 1, 0};
        if (send(lab.front, head, sizeof head, MSG_NOSIGNAL) < 0) break;
    }
    assert_int_equal(lab_await_end(&lab), TC_PEER);
}

/* Notifiers that are none: a full pipe to tell, an ended one to listen to. */
static void test_notifiers(void **state)
{
    struct lab lab;
    int call[2], kick[2];
    const uint64_t index = TX;
    uint8_t page[4096] = {0};
    (void)state;
    assert_int_equal(pipe2(call, O_NONBLOCK), 0);
    assert_int_equal(pipe(kick), 0);
    while (write(call[1], page, sizeof page) > 0) {
    }
    assert_int_equal(fcntl(call[1], F_SETFL, 0), 0);
    lab_start(&lab);
    lab_say(&lab, TC_VHOST_SET_VRING_CALL, 1, &index, sizeof index, &call[1], 1);
    (void)ask_value(&lab, TC_VHOST_GET_FEATURES);
    const struct tc_vsockpkt packet = lab_packet(&lab, 1, TC_VSOCKPKT_REQUEST);
    lab_post(&lab, &packet, NULL);
    (void)lab_expect(&lab, 1, TC_VSOCKPKT_RESPONSE, NULL); /* it did not wait */
    lab_say(&lab, TC_VHOST_SET_VRING_KICK, 1, &index, sizeof index, &kick[0], 1);
    (void)close(kick[0]);
    (void)close(kick[1]);
    for (unsigned i = 0; i < 10; i++)
        (void)ask_value(&lab, TC_VHOST_GET_FEATURES);
    assert_int_equal(lab_end(&lab), TC_OK);
    (void)close(call[0]);
    (void)close(call[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greeting),
        cmocka_unit_test(test_slow_front_end),
        cmocka_unit_test(test_stop_and_start),
        cmocka_unit_test(test_stopped_queue_is_left_alone),
        cmocka_unit_test(test_memory_is_replaced),
        cmocka_unit_test(test_memory_without_queues),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_places_in_a_crooked_region),
        cmocka_unit_test(test_wrong_messages),
        cmocka_unit_test(test_descriptors_beside_each_piece),
        cmocka_unit_test(test_claimed_size),
        cmocka_unit_test(test_regions_overlap),
        cmocka_unit_test(test_unread_replies),
        cmocka_unit_test(test_notifiers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
