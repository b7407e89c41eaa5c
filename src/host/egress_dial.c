/* Dialling, within DIAL_MS in all, which is less than the worker's patience:
 *
 *   name -- getaddrinfo --> addresses, in its order --> first that answers
 *   or the proxy's name, in the same way, then CONNECT
 *
 * The name came from the build, and what it leads to may be chosen by whoever wrote the
 * build: an address is looked at after the name was resolved, and that very address is
 * dialled, so that no second answer of the resolver can take its place. The proxy is
 * the host's own choice and may be anywhere. */
#include "host/egress_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/egress.h"
#include "os/channel.h"
#include "os/clock.h"

enum {
    DIAL_MS = 45 * 1000,
    NEXT_MS = 5 * 1000, /* for one address while there are others */
    PROXY_HEAD_MAX = 16384,
    ADDRESSES_MAX = 16,
};

static void free_addresses(struct addrinfo **list)
{
    if (*list) freeaddrinfo(*list);
}

/* --- which addresses --- */

static const char is_here[] =
    "it leads to the host itself, to its link or to its cloud's services, which no build may reach";

/* RFC 6761: these names are of whoever resolves them. */
static bool is_localhost(const char *name)
{
    static const char local[] = ".localhost";
    size_t size = strlen(name), end = sizeof local - 1;
    return strcmp(name, local + 1) == 0 || (size > end && strcmp(name + size - end, local) == 0);
}

static bool v4_is_near(const uint8_t b[4])
{
    /* Metadata and the agent's services of clouds that have them elsewhere than in
     * 169.254.0.0/16. */
    static const uint8_t services[][4] = {{100, 100, 100, 200}, {168, 63, 129, 16}};
    for (size_t i = 0; i < sizeof services / sizeof *services; i++)
        if (memcmp(b, services[i], sizeof services[i]) == 0) return true;
    /* "This network", loopback, link-local with the clouds' metadata servers,
     * multicast, reserved and broadcast. */
    return b[0] == 0 || b[0] == 127 || (b[0] == 169 && b[1] == 254) || b[0] >= 224;
}

enum { FORMS = 3 };

static void add_v4(uint8_t forms[FORMS][16], size_t *count, const uint8_t v4[4])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    memcpy(forms[*count], mapped, sizeof mapped);
    memcpy(forms[*count] + sizeof mapped, v4, 4);
    (*count)++;
}

/* The forms in which addresses are compared; 0: of another family. The first one is the
 * address itself. One of IPv4 has many spellings in IPv6 (mapped, translated, and an old
 * form of mapped ones), which may lead to the same machine: all become the mapped one. The
 * others are those that a tunnel would take it to. */
static size_t forms_of(const struct sockaddr *address, uint8_t forms[FORMS][16])
{
    static const uint8_t spellings[][12] = {
        {0}, /* :: and ::1 are then of 0.0.0.0/8 */
        {[8] = 0xff, [9] = 0xff},
        {0x00, 0x64, 0xff, 0x9b},
    };
    static const uint8_t six_to_four[] = {0x20, 0x02}, teredo[] = {0x20, 0x01, 0x00, 0x00},
                         isatap[] = {0x00, 0x5e, 0xfe}; /* behind 00 or 02 */
    size_t count = 0;
    if (address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        uint8_t bytes[4];
        memcpy(&v4, address, sizeof v4);
        memcpy(bytes, &v4.sin_addr, sizeof bytes);
        add_v4(forms, &count, bytes);
        return count;
    }
    if (address->sa_family != AF_INET6) return 0;
    struct sockaddr_in6 v6;
    uint8_t b[16];
    memcpy(&v6, address, sizeof v6);
    memcpy(b, &v6.sin6_addr, sizeof b);
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++)
        if (memcmp(b, spellings[i], sizeof spellings[i]) == 0) {
            add_v4(forms, &count, b + 12);
            return count;
        }
    memcpy(forms[count++], b, sizeof b);
    if (memcmp(b, six_to_four, sizeof six_to_four) == 0) add_v4(forms, &count, b + 2);
    if (memcmp(b, teredo, sizeof teredo) == 0) {
        const uint8_t client[4] = {b[12] ^ 0xff, b[13] ^ 0xff, b[14] ^ 0xff, b[15] ^ 0xff};
        add_v4(forms, &count, b + 4); /* the server */
        add_v4(forms, &count, client);
    } else if ((b[8] & 0xfd) == 0 && memcmp(b + 9, isatap, sizeof isatap) == 0) {
        add_v4(forms, &count, b + 12);
    }
    return count;
}

/* Of the machine itself, of its link or of its cloud. */
static bool is_near(const uint8_t b[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    /* Metadata, name, time and credential servers of a cloud. */
    static const uint8_t services[4] = {0xfd, 0x00, 0x0e, 0xc2};
    /* By a rule of this network's own, nobody knows to where (RFC 8215). */
    static const uint8_t translated[6] = {0x00, 0x64, 0xff, 0x9b, 0x00, 0x01};
    if (memcmp(b, mapped, sizeof mapped) == 0) return v4_is_near(b + 12);
    return b[0] == 0xff || (b[0] == 0xfe && (b[1] & 0xc0) == 0x80) ||
           memcmp(b, services, sizeof services) == 0 ||
           memcmp(b, translated, sizeof translated) == 0;
}

static bool is_own(uint8_t forms[FORMS][16], size_t count, const struct sockaddr *address)
{
    uint8_t own[FORMS][16];
    if (!address || forms_of(address, own) == 0) return false;
    for (size_t i = 0; i < count; i++)
        if (memcmp(forms[i], own[0], sizeof own[0]) == 0) return true;
    return false;
}

/* TC_REFUSED when the address is none of the network's. Private ones are: a registry of the
 * owner's may be there. */
static tc_status check_address(const struct sockaddr *address, struct tc_error *err)
{
    struct ifaddrs *list = NULL;
    uint8_t forms[FORMS][16];
    size_t count = forms_of(address, forms);
    bool own = count == 0;
    for (size_t i = 0; i < count && !own; i++)
        own = is_near(forms[i]);
    if (!own && getifaddrs(&list) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot list the host's own addresses");
    for (struct ifaddrs *at = list; at && !own; at = at->ifa_next)
        own = is_own(forms, count, at->ifa_addr);
    if (list) freeifaddrs(list);
    if (!own) return TC_OK;
    return tc_fail(err, TC_REFUSED, "%s", is_here);
}

static void show_address(const struct addrinfo *address, char *out, size_t size)
{
    if (getnameinfo(address->ai_addr, address->ai_addrlen, out, (socklen_t)size, NULL, 0,
                    NI_NUMERICHOST) != 0)
        (void)snprintf(out, size, "?");
}

/* --- connecting --- */

static tc_status await_connection(const struct tc_dial *dial, int fd, int64_t until,
                                  struct tc_error *err)
{
    struct pollfd fds[3] = {{.fd = fd, .events = POLLOUT},
                            {.fd = dial->stop_fd, .events = POLLIN},
                            {.fd = dial->asker_fd}};
    for (;;) {
        int64_t left = until - tc_clock_ms();
        int ready = left > 0 ? poll(fds, 3, (int)left) : 0;
        if (ready < 0 && errno == EINTR) continue;
        if (ready < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait");
        if (ready == 0) return tc_fail(err, TC_UNAVAILABLE, "no answer in time");
        if (fds[1].revents || fds[2].revents) return tc_fail(err, TC_INTERRUPTED, "interrupted");
        int error = 0;
        socklen_t size = sizeof error;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
        return error == 0 ? TC_OK : tc_fail(err, TC_UNAVAILABLE, "%s", strerror(error));
    }
}

static tc_status connect_one(const struct tc_dial *dial, const struct addrinfo *address,
                             int64_t until, int *ret_fd, struct tc_error *err)
{
    const int one = 1;
    TC_AUTO_CLOSE int fd =
        socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, IPPROTO_TCP);
    if (fd < 0) return tc_fail(err, TC_UNAVAILABLE, "%s", strerror(errno));
    /* Bytes are passed on as they come, not gathered; and a server that vanished
     * is noticed some time. */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    if (connect(fd, address->ai_addr, address->ai_addrlen) != 0) {
        if (errno != EINPROGRESS) return tc_fail(err, TC_UNAVAILABLE, "%s", strerror(errno));
        TC_TRY(await_connection(dial, fd, until, err));
    }
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}

/* The first address that answers. */
static tc_status connect_name(const struct tc_dial *dial, const char *name, uint16_t port,
                              bool is_foreign, int64_t until, int *ret_fd, char *ret_address,
                              struct tc_error *err)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                                   .ai_protocol = IPPROTO_TCP,
                                   .ai_flags = AI_ADDRCONFIG | AI_NUMERICSERV};
    TC_CLEANUP(free_addresses) struct addrinfo *list = NULL;
    char service[8], shown[TC_EGRESS_TEXT_MAX] = "";
    (void)snprintf(service, sizeof service, "%u", (unsigned)port);
    int code = getaddrinfo(name, service, &hints, &list);
    if (code != 0)
        return tc_fail(err, TC_UNAVAILABLE, "the name does not resolve: %s",
                       code == EAI_SYSTEM ? strerror(errno) : gai_strerror(code));
    tc_status status = tc_fail(err, TC_UNAVAILABLE, "the name has no address");
    int left = 0;
    for (const struct addrinfo *at = list; at; at = at->ai_next)
        left++;
    if (left > ADDRESSES_MAX) left = ADDRESSES_MAX;
    for (const struct addrinfo *at = list; at && left > 0; at = at->ai_next, left--) {
        int64_t limit = left > 1 ? tc_clock_ms() + NEXT_MS : until;
        show_address(at, shown, sizeof shown);
        status = is_foreign ? check_address(at->ai_addr, err) : TC_OK;
        if (status == TC_OK)
            status = connect_one(dial, at, limit < until ? limit : until, ret_fd, err);
        if (status == TC_OK) (void)snprintf(ret_address, TC_EGRESS_TEXT_MAX, "%s", shown);
        /* One answer of many that leads here makes all of them suspect. */
        if (status == TC_OK || status == TC_INTERRUPTED || status == TC_REFUSED) break;
    }
    return status == TC_OK || !*shown ? status : tc_wrap(err, "%s", shown);
}

/* --- CONNECT --- */

static tc_status ask_proxy(const struct tc_dial *dial, struct tc_channel *channel,
                           struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf head = tc_buf_new(PROXY_HEAD_MAX);
    tc_buf_add_format(&head, "CONNECT %s:%u HTTP/1.1\r\nHost: %s:%u\r\n", dial->name,
                      (unsigned)dial->port, dial->name, (unsigned)dial->port);
    if (dial->proxy->authorization)
        tc_buf_add_format(&head, "Proxy-Authorization: %s\r\n", dial->proxy->authorization);
    tc_buf_add_text(&head, "\r\n");
    TC_TRY(tc_buf_check(&head, "the request to the proxy", err));
    return tc_channel_write_bytes(channel, tc_buf_span(&head), err);
}

/* Not one byte behind the head's end is taken: it is the server's. */
static tc_status read_proxy_head(const struct tc_dial *dial, int fd, int64_t until,
                                 struct tc_buf *head, struct tc_error *err)
{
    struct pollfd fds[3] = {{.fd = fd, .events = POLLIN},
                            {.fd = dial->stop_fd, .events = POLLIN},
                            {.fd = dial->asker_fd}};
    for (;;) {
        uint8_t bytes[1024];
        int64_t left = until - tc_clock_ms();
        int ready = left > 0 ? poll(fds, 3, (int)left) : 0;
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) return tc_fail(err, TC_UNAVAILABLE, "no answer in time");
        if (fds[1].revents || fds[2].revents) return tc_fail(err, TC_INTERRUPTED, "interrupted");
        ssize_t seen = recv(fd, bytes, sizeof bytes, MSG_PEEK);
        if (seen < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (seen <= 0) return tc_fail(err, TC_UNAVAILABLE, "it hung up");
        size_t size = 0;
        bool ended = false;
        while (size < (size_t)seen && !ended) {
            tc_buf_add_u8(head, bytes[size++]);
            ended = tc_buf_ok(head) && head->size >= 4 &&
                    memcmp(head->data + head->size - 4, "\r\n\r\n", 4) == 0;
        }
        if (recv(fd, bytes, size, 0) != (ssize_t)size)
            return tc_fail(err, TC_UNAVAILABLE, "it hung up");
        TC_TRY(tc_buf_check(head, "the proxy's answer", err));
        if (ended) return TC_OK;
    }
}

static tc_status take_proxy_answer(const struct tc_dial *dial, int fd, int64_t until,
                                   struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf head = tc_buf_new(PROXY_HEAD_MAX);
    TC_TRY(read_proxy_head(dial, fd, until, &head, err));
    static const char start[] = "HTTP/1.";
    const char *text = (const char *)head.data;
    size_t size = sizeof start - 1;
    if (head.size < size + 5 || memcmp(text, start, size) != 0 || text[size + 1] != ' ')
        return tc_fail(err, TC_PEER, "its answer to CONNECT is no HTTP");
    if (text[size + 2] == '2') return TC_OK;
    char shown[128];
    struct tc_span said = {head.data + size + 2, head.size - size - 2};
    said.size = (size_t)((const uint8_t *)memchr(said.data, '\r', said.size) - said.data);
    return tc_fail(err, TC_UNAVAILABLE, "it answered \"%s\" to CONNECT",
                   tc_printable(said, shown, sizeof shown));
}

static tc_status dial_proxy(const struct tc_dial *dial, int64_t until, int *ret_fd,
                            struct tc_error *err)
{
    char address[TC_EGRESS_TEXT_MAX];
    TC_AUTO_CLOSE int fd = -1;
    TC_TRY(
        connect_name(dial, dial->proxy->host, dial->proxy->port, false, until, &fd, address, err));
    struct tc_channel channel = {
        .fd = fd, .patience_ms = DIAL_MS, .interrupt_fd = dial->stop_fd, .peer = "the proxy"};
    TC_TRY(ask_proxy(dial, &channel, err));
    TC_TRY(take_proxy_answer(dial, fd, until, err));
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}

tc_status tc_egress_dial(const struct tc_dial *dial, int *ret_fd, char *ret_address,
                         struct tc_error *err)
{
    int64_t until = tc_clock_ms() + DIAL_MS;
    if (!dial->proxy) {
        if (connect_name(dial, dial->name, dial->port, true, until, ret_fd, ret_address, err) ==
            TC_OK)
            return TC_OK;
        return tc_wrap(err, "cannot connect to %s:%u", dial->name, (unsigned)dial->port);
    }
    /* A proxy may stand on this machine, and would then dial it. What other names lead to is
     * its to judge: who is behind one has often no resolver. */
    if (is_localhost(dial->name))
        return tc_fail(err, TC_REFUSED, "cannot connect to %s:%u through the host's proxy: %s",
                       dial->name, (unsigned)dial->port, is_here);
    /* Where the host's proxy is concerns nobody who reads a report. */
    if (dial_proxy(dial, until, ret_fd, err) != TC_OK)
        return tc_wrap(err, "cannot connect to %s:%u through the host's proxy", dial->name,
                       (unsigned)dial->port);
    (void)snprintf(ret_address, TC_EGRESS_TEXT_MAX, "proxy");
    return TC_OK;
}
