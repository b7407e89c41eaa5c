/* Answers the build's queries: each name gets an address of its own, and none is ever
 * asked for outside. What is no query that a resolver sends is dropped; a name that
 * no host can have, and a name too many, are refused, and written down. */
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "core/dnsmsg.h"
#include "os/clock.h"
#include "worker/recorder_main.h"

enum {
    MESSAGE_MAX = TC_DNS_QUERY_MAX + 1, /* one that fills it was longer: no query */
    STREAM_PATIENCE_MS = 2000, /* for a query and its answer, from the first byte to the last */
    SOCKETS_MAX = 2,
};

/* false: no answer is due. */
static bool answer(const struct tc_dns_service *service, struct tc_span message,
                   struct tc_buf *reply)
{
    struct tc_error err = {0};
    struct tc_dns_query query;
    uint8_t address[4];
    if (tc_dns_query_parse(message, &query, &err) != TC_OK) return false;
    bool gives = query.type == TC_DNS_TYPE_A && query.name[0] != '\0';
    if (gives &&
        tc_names_give(service->names, tc_span_of_text(query.name), address, &err) != TC_OK) {
        tc_recorder_deny(service->recorder, query.name, err.message);
        gives = false;
    }
    tc_buf_reset(reply);
    tc_dns_answer_write(&query, gives ? address : NULL, reply);
    return tc_buf_ok(reply);
}

/* The answer goes out from the address that was asked: a query that came to a wildcard
 * names it. */
static void serve_one(const struct tc_dns_service *service, int fd, uint8_t *room,
                      struct tc_buf *reply)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(struct in_pktinfo))];
    } control;
    struct sockaddr_storage from;
    struct iovec part = {.iov_base = room, .iov_len = MESSAGE_MAX};
    struct msghdr message = {.msg_name = &from,
                             .msg_namelen = sizeof from,
                             .msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
    ssize_t got = recvmsg(fd, &message, MSG_DONTWAIT);
    if (got <= 0 || (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) return;
    if (!answer(service, (struct tc_span){room, (size_t)got}, reply)) return;
    /* Both infos say which interface it came by, and loopback is the only one; the
     * IPv4 one names the local address apart from the one that was asked. */
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != IPPROTO_IP || header->cmsg_type != IP_PKTINFO) continue;
        struct in_pktinfo info;
        memcpy(&info, CMSG_DATA(header), sizeof info);
        info.ipi_spec_dst = info.ipi_addr;
        memcpy(CMSG_DATA(header), &info, sizeof info);
    }
    part = (struct iovec){.iov_base = reply->data, .iov_len = reply->size};
    (void)!sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

tc_status tc_dns_serve(const struct tc_dns_service *service, struct tc_error *err)
{
    struct pollfd fds[SOCKETS_MAX + 1];
    uint8_t room[MESSAGE_MAX];
    TC_AUTO_BUF struct tc_buf reply = tc_buf_new(TC_DNS_ANSWER_MAX);
    size_t count = service->sockets_count < SOCKETS_MAX ? service->sockets_count : SOCKETS_MAX;
    for (size_t i = 0; i < count; i++)
        fds[i] = (struct pollfd){.fd = service->sockets[i], .events = POLLIN};
    fds[count] = (struct pollfd){.fd = service->stop_fd, .events = POLLIN};
    for (;;) {
        if (poll(fds, count + 1, -1) < 0) {
            if (errno == EINTR) continue;
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for queries");
        }
        if (fds[count].revents) return TC_OK;
        for (size_t i = 0; i < count; i++)
            if (fds[i].revents) serve_one(service, fds[i].fd, room, &reply);
    }
}

/* --- over TCP --- */

static bool move(int fd, int64_t deadline, uint8_t *bytes, size_t size, bool out)
{
    while (size > 0) {
        struct pollfd ready = {.fd = fd, .events = out ? POLLOUT : POLLIN};
        int64_t left = deadline - tc_clock_ms();
        int count = left > 0 ? poll(&ready, 1, (int)left) : 0;
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return false;
        ssize_t moved = out ? send(fd, bytes, size, MSG_NOSIGNAL) : recv(fd, bytes, size, 0);
        if (moved < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        if (moved <= 0) return false;
        bytes += moved;
        size -= (size_t)moved;
    }
    return true;
}

void tc_dns_serve_stream(const struct tc_dns_service *service, int fd)
{
    uint8_t size[2], room[MESSAGE_MAX];
    const int64_t deadline = tc_clock_ms() + STREAM_PATIENCE_MS;
    TC_AUTO_BUF struct tc_buf reply = tc_buf_new(TC_DNS_ANSWER_MAX);
    if (!move(fd, deadline, size, sizeof size, false)) return;
    size_t length = (size_t)size[0] << 8 | size[1];
    if (length > sizeof room || !move(fd, deadline, room, length, false)) return;
    if (!answer(service, (struct tc_span){room, length}, &reply)) return;
    size[0] = (uint8_t)(reply.size >> 8);
    size[1] = (uint8_t)reply.size;
    if (move(fd, deadline, size, sizeof size, true))
        (void)move(fd, deadline, reply.data, reply.size, true);
}
