/* The build's network namespace: a loopback to which every address is local, so
 * that each connection of the build ends at a listener of the worker, whatever
 * it was meant for. Nothing leads out of it. */
#ifndef TC_WORKER_NETNS_H
#define TC_WORKER_NETNS_H

#include "core/statement.h"

enum {
    TC_NETNS_PORT = 1023,    /* nftables redirects TCP here; no build may open it */
    TC_NETNS_DNS_PORT = 53,  /* and queries here */
    TC_NETNS_PORTS_MAX = 64, /* further ports of a build */
};

/* What stages sends the recorder for each listener, the descriptor beside it; the
 * last message has none. */
enum tc_listener_kind { TC_LISTENER_TCP = 1, TC_LISTENER_DNS, TC_LISTENER_END };
struct tc_listener_message {
    uint32_t kind;
    uint32_t hijack;
};

/* Moves the calling process into a new network namespace, sets it up and sends the
 * listeners to recorder_fd (SOCK_SEQPACKET). ports: those beside the usual ones,
 * for a kernel that redirects nothing. Needs CAP_SYS_ADMIN, CAP_NET_ADMIN and
 * CAP_NET_BIND_SERVICE. */
tc_status tc_netns_enter(const uint16_t *ports, size_t ports_count, int recorder_fd,
                         enum tc_hijack *ret_hijack, struct tc_error *err) TC_MUST_USE;

/* Is the kernel's answer to our rules yes? They are for the namespace that the caller
 * is in; needs CAP_NET_ADMIN. */
tc_status tc_netns_redirect(bool *ret_done, struct tc_error *err) TC_MUST_USE;

#endif
