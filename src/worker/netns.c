/* lo up, and `local default dev lo` in the table of local addresses, for IPv4 and
 * IPv6: the kernel then takes every packet for its own. No other interface, no
 * program: rtnetlink here, nfnetlink (netns_nft.c) by hand.
 *
 * With redirection one TCP listener a family is enough, and the kernel remembers
 * where the build wanted to go (SO_ORIGINAL_DST). Without it each port needs a
 * listener of its own on every address, and what it is asked under is where the
 * build wanted to go; a port without listener is refused by the kernel. Those ports
 * are below 1024, which no build can open, but for the ones that build.json names:
 * a build's own server must find its port free. */
#include "worker/netns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "os/message.h"

enum { BACKLOG = 4096, LOOPBACK = 1 };

/* What programs speak besides HTTP, so that its refusal is written down, and not
 * only a connection that nobody takes. */
static const uint16_t usual_ports[] = {21, 22, 53, 80, 443, 853, 873};

struct namespace
{
    int recorder_fd;
    enum tc_hijack hijack;
    bool ipv6;
};

static tc_status raise_loopback(struct tc_error *err)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};
    TC_AUTO_CLOSE int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot raise the build's loopback");
    return TC_OK;
}

struct route_request {
    struct nlmsghdr header;
    struct rtmsg route;
    struct rtattr attribute;
    uint32_t interface;
};

/* ip route add local default dev lo */
static tc_status add_route(int fd, unsigned char family, struct tc_error *err)
{
    struct route_request request = {
        .header = {.nlmsg_len = sizeof request,
                   .nlmsg_type = RTM_NEWROUTE,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL},
        .route = {.rtm_family = family,
                  .rtm_table = RT_TABLE_LOCAL,
                  .rtm_protocol = RTPROT_BOOT,
                  .rtm_scope = RT_SCOPE_HOST,
                  .rtm_type = RTN_LOCAL},
        .attribute = {.rta_len = RTA_LENGTH(sizeof request.interface), .rta_type = RTA_OIF},
        .interface = LOOPBACK,
    };
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
        uint8_t rest[512];
    } reply = {0};
    if (send(fd, &request, sizeof request, 0) != (ssize_t)sizeof request)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot ask the kernel for a route");
    ssize_t got = recv(fd, &reply, sizeof reply, 0);
    if (got < (ssize_t)(sizeof reply.header + sizeof reply.error) ||
        reply.header.nlmsg_type != NLMSG_ERROR)
        return tc_fail(err, TC_SYSTEM, "the kernel does not say whether it took a route");
    if (reply.error.error != 0)
        return tc_fail_errno(err, TC_SYSTEM, -reply.error.error,
                             "cannot make every address local to the build");
    return TC_OK;
}

/* A kernel without IPv6 gives the build none: there is nothing to catch then. */
static tc_status add_routes(struct namespace *space, struct tc_error *err)
{
    struct tc_error ignored = {0};
    TC_AUTO_CLOSE int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot open rtnetlink");
    TC_TRY(add_route(fd, AF_INET, err));
    space->ipv6 = add_route(fd, AF_INET6, &ignored) == TC_OK;
    return TC_OK;
}

/* --- listeners --- */

static tc_status bind_to(int fd, int family, uint16_t port, bool loopback, struct tc_error *err)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET,
                             .sin_port = htons(port),
                             .sin_addr.s_addr = htonl(loopback ? INADDR_LOOPBACK : INADDR_ANY)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6,
                              .sin6_port = htons(port),
                              .sin6_addr = loopback ? in6addr_loopback : in6addr_any};
    const struct sockaddr *address =
        family == AF_INET ? (const struct sockaddr *)&v4 : (const struct sockaddr *)&v6;
    const int on = 1;
    if ((family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) != 0) ||
        bind(fd, address, family == AF_INET ? sizeof v4 : sizeof v6) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot open port %u to the build", port);
    return TC_OK;
}

static tc_status hand_over(const struct namespace *space, enum tc_listener_kind kind, int fd,
                           struct tc_error *err)
{
    const struct tc_listener_message message = {kind, space->hijack};
    return tc_message_send(space->recorder_fd, &message, sizeof message, &fd, fd >= 0 ? 1 : 0, err);
}

static tc_status open_tcp(const struct namespace *space, int family, uint16_t port,
                          struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make a listener");
    TC_TRY(bind_to(fd, family, port, space->hijack == TC_HIJACK_NFTABLES, err));
    if (listen(fd, BACKLOG) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot listen on port %u", port);
    return hand_over(space, TC_LISTENER_TCP, fd, err);
}

/* Redirected queries come to the loopback, where a wildcard would answer from another
 * address than conntrack expects; the others say where they were sent to, so that the
 * answer comes from there. */
static tc_status open_dns(const struct namespace *space, int family, struct tc_error *err)
{
    const int on = 1;
    TC_AUTO_CLOSE int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make a listener");
    if (setsockopt(fd, family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6,
                   family == AF_INET ? IP_PKTINFO : IPV6_RECVPKTINFO, &on, sizeof on) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot ask for the address of a query");
    TC_TRY(bind_to(fd, family, TC_NETNS_DNS_PORT, space->hijack == TC_HIJACK_NFTABLES, err));
    return hand_over(space, TC_LISTENER_DNS, fd, err);
}

static bool is_usual(uint16_t port)
{
    for (size_t i = 0; i < sizeof usual_ports / sizeof *usual_ports; i++)
        if (usual_ports[i] == port) return true;
    return false;
}

static tc_status open_family(const struct namespace *space, int family, const uint16_t *ports,
                             size_t ports_count, struct tc_error *err)
{
    TC_TRY(open_dns(space, family, err));
    if (space->hijack == TC_HIJACK_NFTABLES) return open_tcp(space, family, TC_NETNS_PORT, err);
    for (size_t i = 0; i < sizeof usual_ports / sizeof *usual_ports; i++)
        TC_TRY(open_tcp(space, family, usual_ports[i], err));
    for (size_t i = 0; i < ports_count; i++) {
        bool again = is_usual(ports[i]);
        for (size_t k = 0; k < i && !again; k++)
            again = ports[k] == ports[i];
        if (!again) TC_TRY(open_tcp(space, family, ports[i], err));
    }
    return TC_OK;
}

tc_status tc_netns_enter(const uint16_t *ports, size_t ports_count, int recorder_fd,
                         enum tc_hijack *ret_hijack, struct tc_error *err)
{
    struct namespace space = {.recorder_fd = recorder_fd};
    bool redirects;
    if (unshare(CLONE_NEWNET) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make the build's network namespace");
    TC_TRY(raise_loopback(err));
    TC_TRY(add_routes(&space, err));
    TC_TRY(tc_netns_redirect(&redirects, err));
    space.hijack = redirects ? TC_HIJACK_NFTABLES : TC_HIJACK_ANYIP;
    TC_TRY(open_family(&space, AF_INET, ports, ports_count, err));
    if (space.ipv6) TC_TRY(open_family(&space, AF_INET6, ports, ports_count, err));
    TC_TRY(hand_over(&space, TC_LISTENER_END, -1, err));
    *ret_hijack = space.hijack;
    return TC_OK;
}
