/* What the recorder's process is made of besides the recorder (recorder.h): what
 * catches the build's connections and queries, and how streams to the host open. */
#ifndef TC_WORKER_RECORDER_MAIN_H
#define TC_WORKER_RECORDER_MAIN_H

#include "os/vsock.h"
#include "worker/names.h"
#include "worker/netns.h"
#include "worker/recorder.h"

enum { TC_DNS_STREAMS = 64 };
enum { TC_LISTENERS_MAX = 2 * (8 + TC_NETNS_PORTS_MAX) };

struct tc_listeners { /* as stages sent them */
    int tcp[TC_LISTENERS_MAX];
    size_t tcp_count;
    int dns[2];
    size_t dns_count;
    enum tc_hijack hijack;
};

/* Blocks until the last one is there. */
tc_status tc_listeners_receive(int stages_fd, struct tc_listeners *ret_listeners,
                               struct tc_error *err) TC_MUST_USE;

/* Two threads: one takes every connection and hands it to the recorder under the
 * name that its address stands for, one answers queries; and for a moment one more for each
 * query over TCP, at most TC_DNS_STREAMS. All end when they are
 * told to, or with the process. Everything is borrowed. */
struct tc_catcher;
tc_status tc_catcher_start(const struct tc_listeners *listeners, struct tc_recorder *recorder,
                           struct tc_catcher **ret_catcher, struct tc_error *err) TC_MUST_USE;
/* Ends the threads and frees; says in err when one of them had failed. Accepts NULL. */
tc_status tc_catcher_stop(struct tc_catcher *catcher, struct tc_error *err) TC_MUST_USE;

/* Answers queries from sockets until stop_fd is readable. */
struct tc_dns_service {
    const int *sockets;
    size_t sockets_count;
    int stop_fd;
    struct tc_names *names;
    struct tc_recorder *recorder;
};
tc_status tc_dns_serve(const struct tc_dns_service *service, struct tc_error *err) TC_MUST_USE;
/* One query that came over TCP, with its length before it; closes nothing. Gives up
 * a moment after it was called, whatever came until then. */
void tc_dns_serve_stream(const struct tc_dns_service *service, int fd);

/* How streams to the host open: by vsock, or, with dialler_fd (SOCK_SEQPACKET), one end
 * of a new socket pair is sent to whoever holds the other end. */
struct tc_dialler {
    int dialler_fd; /* -1: vsock */
    enum tc_parent parent;
    uint32_t port_shift;
};
/* context is a struct tc_dialler: the open of struct tc_egress_link. */
tc_status tc_dialler_open(void *context, int *ret_fd, struct tc_error *err) TC_MUST_USE;

#endif
