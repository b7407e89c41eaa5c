/* The host's egress against a recorder that this test plays: whom it dials for one, and what
 * it carries from one side to the other. */
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "egress_net.h"
#include "host/egress_internal.h"
#include "loopback.h"

/* --- dialling --- */

static void test_next_address(void **state)
{
    (void)state;
    int listener = listen_here(&server_port), server;
    resolved[0] = "192.0.2.9";
    resolved[1] = "192.0.2.1";
    struct tc_egress *egress = new_egress(NULL, NULL);
    int fd = expect_connection(egress, listener, "192.0.2.1", &server);
    (void)close(fd);
    (void)close(server);
    resolved[1] = NULL;
    expect_refusal(egress, "example.test", "192.0.2.9: Connection refused");
    expect_refusal(egress, "nowhere.test", "does not resolve");
    tc_egress_stop(egress);
    (void)close(listener);
}

/* However many addresses a name has, sixteen are tried. */
static void test_many_addresses(void **state)
{
    (void)state;
    int listener = listen_here(&server_port), server;
    struct tc_egress *egress = new_egress(NULL, NULL);
    for (size_t i = 0; i < 16; i++)
        resolved[i] = i < 15 ? "192.0.2.9" : "192.0.2.1";
    int fd = expect_connection(egress, listener, "192.0.2.1", &server);
    (void)close(fd);
    (void)close(server);
    for (size_t i = 0; i < 17; i++)
        resolved[i] = i < 16 ? "192.0.2.9" : "192.0.2.1";
    dialled = 0;
    expect_refusal(egress, "example.test", "192.0.2.9: Connection refused");
    assert_int_equal(dialled, 16);
    memset(resolved, 0, sizeof resolved);
    tc_egress_stop(egress);
    (void)close(listener);
}

/* A name that leads to the host, to what stands beside it, or first elsewhere. */
static void test_no_way_to_the_host(void **state)
{
    static const char *const near[] = {"127.0.0.1",
                                       "127.255.0.9",
                                       "0.0.0.0",
                                       "169.254.169.254",
                                       "224.0.0.1",
                                       "255.255.255.255",
                                       "::1",
                                       "::",
                                       "fe80::1",
                                       "ff02::1",
                                       "fd00:ec2::254",
                                       "fd00:ec2::23",
                                       "::ffff:127.0.0.1",
                                       "::ffff:169.254.169.254",
                                       "64:ff9b::7f00:1",
                                       "::ffff:0:127.0.0.1",
                                       "64:ff9b:1::c000:201",
                                       "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
                                       "2002:7f00:1::1",
                                       "2002:a9fe:a9fe::1",
                                       "2001:0:7f00:1::3fff:fdfe",
                                       "2001:0:c000:201:0:0:5601:5601", /* 169.254.169.254 */
                                       "2001:db8::5efe:169.254.169.254",
                                       "2001:db8::200:5efe:127.0.0.1",
                                       "2002:c000:201::5efe:127.0.0.1",
                                       "100.100.100.200",
                                       "::ffff:100.100.100.200",
                                       "168.63.129.16",
                                       "::127.0.0.1"};
    (void)state;
    struct tc_egress *egress = new_egress(NULL, NULL);
    resolved[1] = NULL;
    dialled = 0;
    for (size_t i = 0; i < sizeof near / sizeof *near; i++) {
        resolved[0] = near[i];
        expect_refusal(egress, "rebound.test", "leads to the host itself");
    }
    struct ifaddrs *list;
    assert_int_equal(getifaddrs(&list), 0);
    for (struct ifaddrs *at = list; at; at = at->ifa_next) {
        char text[128];
        if (!at->ifa_addr ||
            (at->ifa_addr->sa_family != AF_INET && at->ifa_addr->sa_family != AF_INET6))
            continue;
        socklen_t size = at->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in)
                                                            : sizeof(struct sockaddr_in6);
        assert_int_equal(
            getnameinfo(at->ifa_addr, size, text, sizeof text, NULL, 0, NI_NUMERICHOST), 0);
        resolved[0] = text;
        expect_refusal(egress, "rebound.test", "leads to the host itself");
        if (at->ifa_addr->sa_family != AF_INET) continue;
        /* An address of IPv4 as IPv6 spells it leads to the same socket. */
        static const char *const spellings[] = {"::ffff:", "64:ff9b::", "::", "2001:db8::5efe:"};
        for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
            char other[160];
            (void)snprintf(other, sizeof other, "%s%s", spellings[i], text);
            resolved[0] = other;
            expect_refusal(egress, "rebound.test", "leads to the host itself");
        }
    }
    freeifaddrs(list);
    assert_int_equal(dialled, 0);
    /* What a tunnel of another machine leads to, and the owner's own network, may be dialled:
     * here nobody answers, or there is no way to it. */
    static const char *const far[] = {"192.0.2.9",     "::ffff:0:c000:209", "2002:c000:209::1",
                                      "2001:db8::1",   "100.64.0.1",        "10.255.255.1",
                                      "192.168.255.1", "fd00:ec3::1",       "100.100.100.201"};
    refuse_all = true;
    for (size_t i = 0; i < sizeof far / sizeof *far; i++) {
        resolved[0] = far[i];
        expect_refusal(egress, "far.test", "Connection refused");
    }
    refuse_all = false;
    dialled = 0;
    /* Nor behind another one that does not answer. */
    resolved[0] = "192.0.2.9";
    resolved[1] = "127.0.0.1";
    expect_refusal(egress, "rebound.test", "127.0.0.1: it leads to the host itself");
    assert_int_equal(dialled, 1);
    resolved[1] = NULL;
    tc_egress_stop(egress);
}

/* --- relaying --- */

struct pour {
    int fd;
    size_t size;
    unsigned seed;
};

static uint8_t byte_of(unsigned seed, size_t at)
{
    return (uint8_t)((at * 2654435761U >> 7) + seed);
}

static void *pour(void *argument)
{
    struct pour *pour = argument;
    uint8_t bytes[5000];
    for (size_t at = 0; at < pour->size;) {
        size_t size = pour->size - at < sizeof bytes ? pour->size - at : sizeof bytes;
        for (size_t i = 0; i < size; i++)
            bytes[i] = byte_of(pour->seed, at + i);
        write_all(pour->fd, bytes, size);
        at += size;
    }
    (void)shutdown(pour->fd, SHUT_WR);
    return NULL;
}

static void *drink(void *argument)
{
    struct pour *pour = argument;
    uint8_t bytes[7000];
    size_t at = 0;
    for (ssize_t got; (got = recv(pour->fd, bytes, sizeof bytes, 0)) > 0;)
        for (ssize_t i = 0; i < got; i++, at++)
            if (bytes[i] != byte_of(pour->seed, at)) return NULL;
    return at == pour->size ? pour : NULL;
}

/* Much in both directions at once, to each one's own end. */
static void test_bytes_both_ways(void **state)
{
    (void)state;
    int listener = listen_here(&server_port), server;
    resolved[0] = "192.0.2.1";
    struct tc_egress *egress = new_egress(NULL, NULL);
    int fd = expect_connection(egress, listener, "192.0.2.1", &server);
    struct pour up = {fd, 5 << 20, 1}, up_end = {server, 5 << 20, 1};
    struct pour down = {server, 3 << 20, 2}, down_end = {fd, 3 << 20, 2};
    pthread_t threads[4];
    void *results[4];
    assert_int_equal(pthread_create(&threads[0], NULL, pour, &up), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, pour, &down), 0);
    assert_int_equal(pthread_create(&threads[2], NULL, drink, &up_end), 0);
    assert_int_equal(pthread_create(&threads[3], NULL, drink, &down_end), 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], &results[i]), 0);
    assert_non_null(results[2]);
    assert_non_null(results[3]);
    tc_egress_stop(egress);
    (void)close(fd);
    (void)close(server);
    (void)close(listener);
}

/* One side's last word leaves the other its own. */
static void test_half_close(void **state)
{
    (void)state;
    char text[8];
    int listener = listen_here(&server_port), server;
    resolved[0] = "192.0.2.1";
    struct tc_egress *egress = new_egress(NULL, NULL);
    int fd = expect_connection(egress, listener, "192.0.2.1", &server);
    write_all(fd, "ask", 3);
    (void)shutdown(fd, SHUT_WR);
    read_all(server, text, 3);
    expect_end(server);
    write_all(server, "answer", 6);
    read_all(fd, text, 6);
    assert_memory_equal(text, "answer", 6);
    (void)close(server);
    expect_end(fd);
    (void)close(fd);

    fd = expect_connection(egress, listener, "192.0.2.1", &server);
    (void)shutdown(server, SHUT_WR);
    expect_end(fd);
    write_all(fd, "late", 4);
    read_all(server, text, 4);
    assert_memory_equal(text, "late", 4);
    /* A recorder that goes away ends the connection. */
    (void)close(fd);
    expect_end(server);
    (void)close(server);
    tc_egress_stop(egress);
    (void)close(listener);
}

struct relay {
    int one, other, stop_fd;
};

static void *run_relay(void *argument)
{
    const struct relay *relay = argument;
    tc_egress_relay(relay->one, relay->other, relay->stop_fd);
    return NULL;
}

/* Whoever has said its last word and then goes away ends the relay, though the other side
 * is silent: nobody is left to hear it, or to be asked. */
static void test_hang_up(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        int one[2], other[2];
        pthread_t thread;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, one), 0);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, other), 0);
        struct relay relay = {one[1], other[1], eventfd(0, EFD_CLOEXEC)};
        int gone = i == 0 ? one[0] : other[0], silent = i == 0 ? other[0] : one[0];
        assert_int_equal(pthread_create(&thread, NULL, run_relay, &relay), 0);
        assert_int_equal(shutdown(gone, SHUT_WR), 0);
        struct pollfd ended = {.fd = silent, .events = POLLIN};
        assert_int_equal(poll(&ended, 1, -1), 1);
        expect_end(silent);
        (void)close(gone);
        assert_int_equal(pthread_join(thread, NULL), 0);
        (void)close(silent);
        (void)close(one[1]);
        (void)close(other[1]);
        (void)close(relay.stop_fd);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_next_address),       cmocka_unit_test(test_many_addresses),
        cmocka_unit_test(test_no_way_to_the_host), cmocka_unit_test(test_bytes_both_ways),
        cmocka_unit_test(test_half_close),         cmocka_unit_test(test_hang_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
