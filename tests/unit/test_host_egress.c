/* The host's egress against a recorder that this test plays. The resolver and connect
 * are the test's own: documentation addresses stand for the network and lead to servers
 * on loopback, which the egress itself never dials. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/egress.h"
#include "host/egress_internal.h"
#include "os/message.h"

/* --- a network of the test's own --- */

static const char *resolved[24]; /* what every name but "proxy.test" leads to */
static uint16_t server_port;     /* where 192.0.2.1 leads on loopback */
static int dialled;              /* connections that were tried */
static bool refuse_all;          /* nobody answers, wherever */
static sem_t *resolver_gate;     /* not NULL: the resolver waits for it */
static sem_t resolver_waits;

static sem_t *message_gate; /* not NULL: what the dialler sent waits for it */
static sem_t message_waits;

tc_status __wrap_tc_message_receive(int socket, void *data, size_t size, int *ret_fds,
                                    size_t fds_count, size_t *ret_count, struct tc_error *err);
tc_status __real_tc_message_receive(int socket, void *data, size_t size, int *ret_fds,
                                    size_t fds_count, size_t *ret_count, struct tc_error *err);

tc_status __wrap_tc_message_receive(int socket, void *data, size_t size, int *ret_fds,
                                    size_t fds_count, size_t *ret_count, struct tc_error *err)
{
    tc_status status =
        __real_tc_message_receive(socket, data, size, ret_fds, fds_count, ret_count, err);
    if (!message_gate) return status;
    (void)sem_post(&message_waits);
    while (sem_wait(message_gate) != 0) {
    }
    return status;
}

int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret);
int __real_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret);
int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size);
int __real_connect(int fd, const struct sockaddr *address, socklen_t size);

int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **ret)
{
    struct addrinfo numeric = *hints, **end = ret;
    numeric.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    *ret = NULL;
    if (resolver_gate) {
        (void)sem_post(&resolver_waits);
        while (sem_wait(resolver_gate) != 0) {
        }
    }
    if (strcmp(node, "proxy.test") == 0)
        return __real_getaddrinfo("127.0.0.1", service, &numeric, ret);
    if (strcmp(node, "nowhere.test") == 0) return EAI_NONAME;
    for (size_t i = 0; i < 24 && resolved[i]; i++) {
        int code = __real_getaddrinfo(resolved[i], service, &numeric, end);
        if (code != 0) return code;
        end = &(*end)->ai_next;
    }
    return 0;
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t size)
{
    struct sockaddr_in v4;
    __atomic_add_fetch(&dialled, 1, __ATOMIC_SEQ_CST);
    if (refuse_all) {
        errno = ECONNREFUSED;
        return -1;
    }
    if (address->sa_family != AF_INET) return __real_connect(fd, address, size);
    memcpy(&v4, address, sizeof v4);
    if (ntohl(v4.sin_addr.s_addr) == 0xc0000209) { /* 192.0.2.9 */
        errno = ECONNREFUSED;
        return -1;
    }
    if (ntohl(v4.sin_addr.s_addr) == 0xc0000201) {
        v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        v4.sin_port = htons(server_port);
    }
    return __real_connect(fd, (struct sockaddr *)&v4, sizeof v4);
}

static int listen_here(uint16_t *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

/* --- a recorder --- */

static struct tc_egress *new_egress(const char *proxy, const char *except)
{
    struct tc_egress_config config = {0};
    struct tc_egress *egress;
    struct tc_error err = {0};
    if (proxy) assert_int_equal(tc_proxy_parse(proxy, except, &config.proxy, &err), TC_OK);
    assert_int_equal(tc_egress_new(&config, &egress, &err), TC_OK);
    assert_null(config.proxy.host);
    return egress;
}

static int open_stream(struct tc_egress *egress)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    tc_egress_take(egress, ends[0]);
    return ends[1];
}

static void write_all(int fd, const void *data, size_t size)
{
    const char *bytes = data;
    while (size > 0) {
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        assert_true(sent > 0);
        bytes += sent;
        size -= (size_t)sent;
    }
}

static void read_all(int fd, void *data, size_t size)
{
    char *bytes = data;
    while (size > 0) {
        ssize_t got = recv(fd, bytes, size, 0);
        if (got < 0 && errno == EINTR) continue;
        assert_true(got > 0);
        bytes += got;
        size -= (size_t)got;
    }
}

static void expect_end(int fd)
{
    char byte;
    ssize_t got = recv(fd, &byte, 1, 0);
    assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
}

static void ask(int fd, uint8_t kind, const void *payload, size_t size)
{
    uint8_t header[TC_EGRESS_HEADER_SIZE];
    const struct tc_egress_header head = {kind, (uint16_t)size};
    tc_egress_header_encode(&head, header);
    write_all(fd, header, sizeof header);
    if (size > 0) write_all(fd, payload, size);
}

static void ask_dial(int fd, const char *name, uint16_t port)
{
    struct tc_buf buf = tc_buf_new(512);
    const struct tc_egress_dial dial = {port, tc_span_of_text(name)};
    tc_egress_dial_encode(&dial, &buf);
    ask(fd, TC_EGRESS_DIAL, buf.data, buf.size);
    tc_buf_free(&buf);
}

static uint8_t read_answer(int fd, char text[TC_EGRESS_TEXT_MAX + 1])
{
    uint8_t bytes[TC_EGRESS_HEADER_SIZE];
    struct tc_egress_header header;
    struct tc_error err = {0};
    read_all(fd, bytes, sizeof bytes);
    assert_int_equal(tc_egress_header_decode(bytes, &header, &err), TC_OK);
    assert_true(header.size <= TC_EGRESS_TEXT_MAX);
    read_all(fd, text, header.size);
    text[header.size] = '\0';
    return header.kind;
}

/* Asks for a name; the answer must be no, with these words, and the end. */
static void expect_refusal(struct tc_egress *egress, const char *name, const char *words)
{
    char text[TC_EGRESS_TEXT_MAX + 1];
    int fd = open_stream(egress);
    ask_dial(fd, name, 443);
    assert_int_not_equal(read_answer(fd, text), 0);
    if (!strstr(text, words)) fail_msg("\"%s\" does not say \"%s\"", text, words);
    expect_end(fd);
    (void)close(fd);
}

static int expect_connection(struct tc_egress *egress, int listener, const char *address,
                             int *ret_server)
{
    char text[TC_EGRESS_TEXT_MAX + 1];
    int fd = open_stream(egress);
    ask_dial(fd, "example.test", 443);
    *ret_server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(*ret_server >= 0);
    assert_int_equal(read_answer(fd, text), 0);
    assert_string_equal(text, address);
    return fd;
}

/* --- dialling --- */

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

/* --- a proxy --- */

static size_t read_head(int fd, char *out, size_t size)
{
    size_t got = 0;
    while (got < 4 || memcmp(out + got - 4, "\r\n\r\n", 4) != 0) {
        assert_true(got + 1 < size);
        read_all(fd, out + got++, 1);
    }
    out[got] = '\0';
    return got;
}

static void test_proxy(void **state)
{
    (void)state;
    char url[64], head[1024], text[TC_EGRESS_TEXT_MAX + 1];
    uint16_t port;
    int listener = listen_here(&port);
    (void)snprintf(url, sizeof url, "http://us%%65r:p%%3Ass@proxy.test:%u/", (unsigned)port);
    struct tc_egress *egress = new_egress(url, "direct.test");
    int fd = open_stream(egress);
    ask_dial(fd, "example.test", 8443);
    int server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    (void)read_head(server, head, sizeof head);
    assert_string_equal(head, "CONNECT example.test:8443 HTTP/1.1\r\nHost: example.test:8443\r\n"
                              "Proxy-Authorization: Basic dXNlcjpwOnNz\r\n\r\n");
    /* The server's first bytes in one piece with the proxy's last; the head in two. */
    write_all(server, "HTTP/1.0 200 Fine\r\nVia: x\r", 26);
    static const char rest[] = "\n\r\n\r\n\r\nSSH-2.0";
    write_all(server, rest, sizeof rest - 1);
    assert_int_equal(read_answer(fd, text), 0);
    assert_string_equal(text, "proxy");
    read_all(fd, text, 11);
    assert_memory_equal(text, "\r\n\r\nSSH-2.0", 11);
    (void)close(server);
    expect_end(fd);
    (void)close(fd);

    static const struct {
        const char *said, *words;
    } no[] = {
        {"HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic\r\n\r\n", "\"407 Who are you\""},
        {"HTTP/1.1 502 \x1b[31m\r\n\r\n", "502 \\x1b[31m"},
        {"SSH-2.0-OpenSSH\r\n\r\n", "no HTTP"},
        {"HTTP/1.1\r\n\r\n", "no HTTP"},
        {"HTTP/1.\r 5\r\n\r\n", "\"5\""},
        {"", "hung up"},
        {"HTTP/1.1 200 OK\r\n", "hung up"},
    };
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        fd = open_stream(egress);
        ask_dial(fd, "example.test", 443);
        server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        (void)read_head(server, head, sizeof head);
        write_all(server, no[i].said, strlen(no[i].said));
        (void)shutdown(server, SHUT_WR);
        assert_int_not_equal(read_answer(fd, text), 0);
        if (!strstr(text, no[i].words)) fail_msg("\"%s\" does not say \"%s\"", text, no[i].words);
        assert_null(strstr(text, "proxy.test"));
        (void)close(server);
        (void)close(fd);
    }
    /* A head without an end. */
    fd = open_stream(egress);
    ask_dial(fd, "example.test", 443);
    server = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    (void)read_head(server, head, sizeof head);
    for (char junk[1024] = {'x'}; send(server, junk, sizeof junk, MSG_NOSIGNAL) > 0;) {
    }
    assert_int_not_equal(read_answer(fd, text), 0);
    assert_non_null(strstr(text, "larger than"));
    (void)close(server);
    (void)close(fd);
    /* The proxy may stand here, and is not even asked for what would be its own. */
    expect_refusal(egress, "localhost", "leads to the host itself");
    expect_refusal(egress, "a.localhost", "leads to the host itself");
    /* What needs no proxy goes without. */
    resolved[0] = "127.0.0.1";
    expect_refusal(egress, "direct.test", "leads to the host itself");
    tc_egress_stop(egress);
    (void)close(listener);
}

static void test_proxy_is_read_strictly(void **state)
{
    (void)state;
    static const struct {
        const char *url, *host;
        unsigned port;
    } good[] = {
        {"http://proxy.example:3128", "proxy.example", 3128},
        {"proxy.example:3128", "proxy.example", 3128},
        {"HTTP://proxy.example/", "proxy.example", 80},
        {"http://[2001:db8::1]:8080", "2001:db8::1", 8080},
        {"http://[2001:db8::1]", "2001:db8::1", 80},
        {"http://user@192.0.2.1:1", "192.0.2.1", 1},
        {"http://a:b@c@proxy:65535", "proxy", 65535},
    };
    static const char *const bad[] = {
        "https://proxy:1",  "socks5://proxy:1",    "http://",
        "http://proxy:0",   "http://proxy:65536",  "http://proxy:",
        "http://proxy:1x",  "http://proxy/path",   "http://proxy?x",
        "http://[::1",      "http://[::1]x",       "http://a%0ab@proxy",
        "http://a%4@proxy", "http://a%zz@proxy",   "http://pro xy",
        "http://:80",       "http://pr\xc3\xb6xy", "",
    };
    struct tc_error err = {0};
    struct tc_proxy proxy;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(tc_proxy_parse(good[i].url, NULL, &proxy, &err), TC_OK);
        assert_string_equal(proxy.host, good[i].host);
        assert_int_equal(proxy.port, good[i].port);
        tc_proxy_done(&proxy);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (tc_proxy_parse(bad[i], NULL, &proxy, &err) != TC_USAGE) fail_msg("%s was read", bad[i]);
    assert_int_equal(tc_proxy_parse("http://u:secret%zz@p", NULL, &proxy, &err), TC_USAGE);
    assert_null(strstr(err.message, "secret"));

    static const struct {
        const char *except, *name;
        bool covered;
    } cases[] = {
        {NULL, "a.example", true},           {"", "a.example", true},
        {"*", "a.example", false},           {"b.example,a.example", "a.example", false},
        {"a.example", "x.a.example", false}, {".a.example", "x.a.example", false},
        {".a.example", "a.example", false},  {"a.example", "ba.example", true},
        {"A.Example", "a.example", false},   {"a.example:443", "a.example", false},
        {"a.example:80", "a.example", true}, {" b , a.example ", "a.example", false},
        {"x.a.example", "a.example", true},  {".,,:443", "a.example", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(tc_proxy_parse("proxy", cases[i].except, &proxy, &err), TC_OK);
        if (tc_proxy_covers(&proxy, cases[i].name, 443) != cases[i].covered)
            fail_msg("%s and \"%s\"", cases[i].name, cases[i].except);
        tc_proxy_done(&proxy);
    }
    proxy = (struct tc_proxy){0};
    assert_false(tc_proxy_covers(&proxy, "a.example", 443));

    static const char *const names[] = {"https_proxy", "HTTPS_PROXY", "all_proxy",
                                        "ALL_PROXY",   "no_proxy",    "NO_PROXY"};
    for (size_t i = 0; i < 6; i++)
        (void)unsetenv(names[i]);
    assert_int_equal(tc_proxy_of_environment(&proxy, &err), TC_OK);
    assert_null(proxy.host);
    for (size_t i = 4; i-- > 0;) {
        char url[32];
        (void)snprintf(url, sizeof url, "http://p%zu:80", i);
        assert_int_equal(setenv(names[i], url, 1), 0);
        assert_int_equal(setenv("no_proxy", i == 0 ? "x" : "", 1), 0);
        assert_int_equal(tc_proxy_of_environment(&proxy, &err), TC_OK);
        assert_memory_equal(proxy.host, url + 7, 2);
        assert_true((proxy.except != NULL) == (i == 0));
        tc_proxy_done(&proxy);
    }
    for (size_t i = 0; i < 6; i++)
        (void)unsetenv(names[i]);
}

/* --- askers that break the form --- */

static void test_bad_questions(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *words;
    } cases[] = {
        {"\x01\x01\x00\x00", 4, "second byte"},
        {"\x07\x00\x00\x00", 4, "kind 7"},
        {"\x10\x00\x00\x01x", 5, "kind 16"},
        {"\x01\x00\x00\x01x", 5, "expected port and name"},
        {"\x01\x00\x00\x03\x00\x00x", 7, "port 0"},
        {"\x01\x00\x00\x02\x01\xbb", 6, "names \"\""},
        {"\x01\x00\x00\x0b\x01\xbb"
         "127.0.0.1",
         15, "names \"127.0.0.1\""},
        {"\x01\x00\x00\x06\x01\xbb"
         "A.b\n",
         10, "names \"A.b\\x0a\""},
        {"\x01\x00\x00\x05\x01\xbb"
         "a\0b",
         9, "names \"a\\x00b\""},
    };
    char text[TC_EGRESS_TEXT_MAX + 1];
    struct tc_egress *egress = new_egress(NULL, NULL);
    dialled = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fd = open_stream(egress);
        write_all(fd, cases[i].bytes, cases[i].size);
        assert_int_not_equal(read_answer(fd, text), 0);
        if (!strstr(text, cases[i].words))
            fail_msg("\"%s\" does not say \"%s\"", text, cases[i].words);
        expect_end(fd);
        (void)close(fd);
        /* And cut off anywhere. */
        for (size_t size = 0; size < cases[i].size && size < 4; size++) {
            fd = open_stream(egress);
            write_all(fd, cases[i].bytes, size);
            (void)shutdown(fd, SHUT_WR);
            assert_int_not_equal(read_answer(fd, text), 0);
            (void)close(fd);
        }
    }
    assert_int_equal(dialled, 0);
    tc_egress_stop(egress);
}

/* A socket that waits for connections has nothing to ask, and is let go at once. */
static void test_listener(void **state)
{
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size = sizeof(sa_family_t);
    struct tc_egress *egress = new_egress(NULL, NULL);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* The kernel chooses an abstract name. */
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    size = sizeof address;
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(listen(listener, 1), 0);
    tc_egress_take(egress, listener);
    assert_int_equal(__real_connect(client, (struct sockaddr *)&address, size), -1);
    assert_int_equal(errno, ECONNREFUSED);
    tc_egress_stop(egress);
    (void)close(client);
}

static void send_fd(int dialler, int fd)
{
    struct tc_error err = {0};
    assert_int_equal(tc_message_send(dialler, "", 1, &fd, 1, &err), TC_OK);
}

static void test_dialler(void **state)
{
    (void)state;
    char text[TC_EGRESS_TEXT_MAX + 1];
    struct tc_error err = {0};
    uint16_t port;
    int dialler[2], pair[2], pipe_ends[2], listener = listen_here(&port);
    struct tc_egress *egress = new_egress(NULL, NULL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, dialler), 0);
    assert_int_equal(tc_egress_follow(egress, dialler[0], &err), TC_OK);
    /* What could make the host wait, or reach what is not the recorder's, is dropped. */
    assert_int_equal(pipe(pipe_ends), 0);
    send_fd(dialler[1], pipe_ends[0]);
    send_fd(dialler[1], listener);
    send_fd(dialler[1], dialler[1]);
    /* One that could be answered is not. */
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    (void)!send(pair[1], "\x07\x00\x00\x00", 4, MSG_NOSIGNAL);
    send_fd(dialler[1], pair[0]);
    (void)close(pair[0]);
    expect_end(pair[1]);
    (void)close(pair[1]);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        send_fd(dialler[1], pair[0]);
        (void)close(pair[0]);
        ask_dial(pair[1], "nowhere.test", 1);
        assert_int_not_equal(read_answer(pair[1], text), 0);
        assert_non_null(strstr(text, "nowhere.test:1"));
        expect_end(pair[1]);
        (void)close(pair[1]);
    }
    /* A message of another form ends it. */
    assert_int_equal(tc_message_send(dialler[1], "x", 1, NULL, 0, &err), TC_OK);
    expect_end(dialler[1]);
    (void)close(dialler[1]);
    (void)close(pipe_ends[0]);
    (void)close(pipe_ends[1]);
    (void)close(listener);
    tc_egress_stop(egress);
}

/* --- limits and ends --- */

static void test_too_many(void **state)
{
    (void)state;
    char text[TC_EGRESS_TEXT_MAX + 1];
    struct rlimit files;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    if (files.rlim_max < 2 * TC_EGRESS_STREAMS_MAX + 64) skip();
    static int fds[TC_EGRESS_STREAMS_MAX];
    struct tc_egress *egress = new_egress(NULL, NULL);
    for (size_t i = 0; i < TC_EGRESS_STREAMS_MAX; i++)
        fds[i] = open_stream(egress);
    int fd = open_stream(egress);
    assert_int_not_equal(read_answer(fd, text), 0);
    assert_non_null(strstr(text, "1024 streams already"));
    expect_end(fd);
    (void)close(fd);
    /* One that ends makes room for another. */
    (void)shutdown(fds[0], SHUT_WR);
    assert_int_not_equal(read_answer(fds[0], text), 0);
    expect_end(fds[0]);
    (void)close(fds[0]);
    do {
        static const char question[] = "\x01\x00\x00\x0e\x00\x01nowhere.test";
        fd = open_stream(egress);
        /* It may have been refused and closed before it asked. */
        (void)!send(fd, question, sizeof question - 1, MSG_NOSIGNAL);
        (void)read_answer(fd, text);
        (void)close(fd);
    } while (strstr(text, "streams already"));
    assert_non_null(strstr(text, "does not resolve"));
    tc_egress_stop(egress);
    for (size_t i = 1; i < TC_EGRESS_STREAMS_MAX; i++)
        (void)close(fds[i]);
}

/* While a connection is open and another one is being made. */
static void test_stop(void **state)
{
    (void)state;
    char url[64];
    uint16_t port;
    int listener = listen_here(&server_port), proxy = listen_here(&port), server;
    resolved[0] = "192.0.2.1";
    (void)snprintf(url, sizeof url, "http://proxy.test:%u", (unsigned)port);
    struct tc_egress *egress = new_egress(url, "example.test");
    int open_one = expect_connection(egress, listener, "192.0.2.1", &server);
    int waiting = open_stream(egress), silent = open_stream(egress);
    ask_dial(waiting, "elsewhere.test", 443);
    int silent_proxy = accept4(proxy, NULL, NULL, SOCK_CLOEXEC);
    tc_egress_stop(egress);
    expect_end(open_one);
    expect_end(server);
    char text[TC_EGRESS_TEXT_MAX + 1];
    assert_int_not_equal(read_answer(waiting, text), 0);
    const int all[] = {open_one, server, waiting, silent, silent_proxy, listener, proxy};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        (void)close(all[i]);
}

static void *stop_it(void *argument)
{
    tc_egress_stop(argument);
    return NULL;
}

/* A stream that comes while the egress stops is told so. */
static void test_late_stream(void **state)
{
    (void)state;
    char text[TC_EGRESS_TEXT_MAX + 1];
    struct tc_error err = {0};
    sem_t gate;
    int dialler[2], pair[2];
    pthread_t thread;
    assert_int_equal(sem_init(&gate, 0, 0), 0);
    assert_int_equal(sem_init(&message_waits, 0, 0), 0);
    struct tc_egress *egress = new_egress(NULL, NULL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, dialler), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    message_gate = &gate;
    assert_int_equal(tc_egress_follow(egress, dialler[0], &err), TC_OK);
    send_fd(dialler[1], pair[0]);
    (void)close(pair[0]);
    while (sem_wait(&message_waits) != 0) {
    }
    int silent = open_stream(egress);
    assert_int_equal(pthread_create(&thread, NULL, stop_it, egress), 0);
    /* It stops: the stream that was there is told. */
    assert_int_equal(read_answer(silent, text), TC_INTERRUPTED);
    assert_int_equal(sem_post(&gate), 0);
    assert_int_equal(read_answer(pair[1], text), TC_INTERRUPTED);
    assert_string_equal(text, "the host has stopped to answer");
    assert_int_equal(pthread_join(thread, NULL), 0);
    message_gate = NULL;
    (void)close(silent);
    (void)close(pair[1]);
    (void)close(dialler[1]);
}

/* An asker that hangs up does not leave a connection being made behind. */
static void test_asker_gone(void **state)
{
    (void)state;
    char url[64], head[256];
    uint16_t port;
    int proxy = listen_here(&port);
    (void)snprintf(url, sizeof url, "http://proxy.test:%u", (unsigned)port);
    struct tc_egress *egress = new_egress(url, NULL);
    int fd = open_stream(egress);
    ask_dial(fd, "elsewhere.test", 443);
    int server = accept4(proxy, NULL, NULL, SOCK_CLOEXEC);
    (void)read_head(server, head, sizeof head);
    (void)close(fd);
    expect_end(server);
    tc_egress_stop(egress);
    (void)close(server);
    (void)close(proxy);
}

/* Nobody waits for the resolver, which may take its time, and what it says later harms
 * nobody. */
static void test_stop_while_resolving(void **state)
{
    (void)state;
    sem_t gate;
    char text[TC_EGRESS_TEXT_MAX + 1];
    assert_int_equal(sem_init(&gate, 0, 0), 0);
    assert_int_equal(sem_init(&resolver_waits, 0, 0), 0);
    resolved[0] = "192.0.2.1";
    resolver_gate = &gate;
    struct tc_egress *egress = new_egress("http://u:p@proxy.test:1", NULL);
    int fd = open_stream(egress);
    ask_dial(fd, "example.test", 443);
    while (sem_wait(&resolver_waits) != 0) {
    }
    tc_egress_stop(egress);
    assert_int_equal(sem_post(&gate), 0);
    assert_int_not_equal(read_answer(fd, text), 0);
    expect_end(fd);
    (void)close(fd);
    resolver_gate = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_both_ways), cmocka_unit_test(test_half_close),
        cmocka_unit_test(test_next_address),    cmocka_unit_test(test_no_way_to_the_host),
        cmocka_unit_test(test_proxy),           cmocka_unit_test(test_proxy_is_read_strictly),
        cmocka_unit_test(test_bad_questions),   cmocka_unit_test(test_dialler),
        cmocka_unit_test(test_too_many),        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_asker_gone),      cmocka_unit_test(test_stop_while_resolving),
        cmocka_unit_test(test_many_addresses),  cmocka_unit_test(test_listener),
        cmocka_unit_test(test_hang_up),         cmocka_unit_test(test_late_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
