/* Where the build's connections end: one thread waits at every listener, finds out
 * where the build wanted to go, and hands the connection on.
 *
 * With redirection the kernel remembers the target (SO_ORIGINAL_DST); otherwise the
 * connection's own address is it. A target on the loopback was no hijacked
 * connection: the build tried the worker's listener itself, and is refused. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "os/message.h"
#include "worker/recorder_main.h"

enum {
    IPV6_ORIGINAL_DST = 80, /* IP6T_SO_ORIGINAL_DST */
    DNS_PORT = 53,
    STREAM_STACK = 256 << 10,
};

struct tc_catcher {
    const struct tc_listeners *listeners;
    struct tc_recorder *recorder;
    struct tc_names *names;
    int stop_fd;
    pthread_t takes, answers;
    bool takes_runs, answers_runs;
    struct tc_dns_service dns;
    struct tc_error takes_end, answers_end; /* how each thread ended */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned streams; /* queries over TCP, each a thread; the lock guards it */
};

tc_status tc_listeners_receive(int stages_fd, struct tc_listeners *ret_listeners,
                               struct tc_error *err)
{
    struct tc_listeners result = {0};
    for (;;) {
        struct tc_listener_message message;
        int fd = -1;
        size_t count = 0;
        TC_TRY(tc_message_receive(stages_fd, &message, sizeof message, &fd, 1, &count, err));
        result.hijack = (enum tc_hijack)message.hijack;
        if (message.kind == TC_LISTENER_END && count == 0) break;
        if (message.kind == TC_LISTENER_TCP && count == 1 && result.tcp_count < TC_LISTENERS_MAX)
            result.tcp[result.tcp_count++] = fd;
        else if (message.kind == TC_LISTENER_DNS && count == 1 && result.dns_count < 2)
            result.dns[result.dns_count++] = fd;
        else
            return tc_fail(err, TC_MALFORMED, "stages sent a listener that nobody knows");
    }
    *ret_listeners = result;
    return TC_OK;
}

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static bool find_target(const struct tc_listeners *listeners, int fd, union address *ret_target)
{
    socklen_t size = sizeof *ret_target;
    memset(ret_target, 0, sizeof *ret_target);
    if (getsockname(fd, &ret_target->any, &size) != 0) return false;
    if (listeners->hijack != TC_HIJACK_NFTABLES) return true;
    bool v4 = ret_target->any.sa_family == AF_INET;
    size = v4 ? sizeof ret_target->v4 : sizeof ret_target->v6;
    /* Not redirected: what getsockname said stands. */
    (void)getsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? SO_ORIGINAL_DST : IPV6_ORIGINAL_DST,
                     ret_target, &size);
    return true;
}

struct target {
    char name[TC_HOST_NAME_MAX + 1]; /* "": unknown */
    char address[INET6_ADDRSTRLEN];
    uint16_t port;
    bool loopback;
};

static bool describe(struct tc_catcher *catcher, const union address *from, struct target *ret)
{
    struct target result = {0};
    if (from->any.sa_family == AF_INET) {
        uint8_t bytes[4];
        memcpy(bytes, &from->v4.sin_addr, sizeof bytes);
        result.port = ntohs(from->v4.sin_port);
        result.loopback = bytes[0] == 127;
        if (!inet_ntop(AF_INET, &from->v4.sin_addr, result.address, sizeof result.address))
            return false;
        if (!tc_names_find(catcher->names, bytes, result.name)) result.name[0] = '\0';
    } else if (from->any.sa_family == AF_INET6) {
        result.port = ntohs(from->v6.sin6_port);
        result.loopback =
            IN6_IS_ADDR_LOOPBACK(&from->v6.sin6_addr) ||
            (IN6_IS_ADDR_V4MAPPED(&from->v6.sin6_addr) && from->v6.sin6_addr.s6_addr[12] == 127);
        if (!inet_ntop(AF_INET6, &from->v6.sin6_addr, result.address, sizeof result.address))
            return false;
    } else {
        return false;
    }
    *ret = result;
    return true;
}

/* --- queries over TCP --- */

/* Whoever writes slowly keeps its own thread waiting and nobody else. */
struct stream {
    struct tc_catcher *catcher;
    int fd;
};

static void *stream_main(void *context)
{
    struct stream *stream = context;
    struct tc_catcher *catcher = stream->catcher;
    tc_dns_serve_stream(&catcher->dns, stream->fd);
    (void)close(stream->fd);
    free(stream);
    (void)pthread_mutex_lock(&catcher->lock);
    catcher->streams--;
    (void)pthread_cond_signal(&catcher->changed);
    (void)pthread_mutex_unlock(&catcher->lock);
    return NULL;
}

static bool count_stream(struct tc_catcher *catcher)
{
    (void)pthread_mutex_lock(&catcher->lock);
    bool room = catcher->streams < TC_DNS_STREAMS;
    if (room) catcher->streams++;
    (void)pthread_mutex_unlock(&catcher->lock);
    return room;
}

static tc_status start_thread(struct stream *stream, struct tc_error *err)
{
    pthread_attr_t attributes;
    pthread_t thread;
    int reason = pthread_attr_init(&attributes);
    if (reason == 0) {
        (void)pthread_attr_setstacksize(&attributes, STREAM_STACK);
        (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
        reason = pthread_create(&thread, &attributes, stream_main, stream);
        (void)pthread_attr_destroy(&attributes);
    }
    if (reason == 0) return TC_OK;
    return tc_fail_errno(err, TC_SYSTEM, reason, "cannot start a thread for a query");
}

/* Takes fd. */
static tc_status take_query(struct tc_catcher *catcher, int connection, const struct target *target,
                            struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = connection;
    if (!count_stream(catcher)) {
        char what[64], why[64];
        (void)snprintf(what, sizeof what, "%s:%u", target->address, target->port);
        (void)snprintf(why, sizeof why, "more than %d queries over TCP at a time", TC_DNS_STREAMS);
        tc_recorder_deny(catcher->recorder, what, why);
        return TC_OK;
    }
    struct stream *stream = malloc(sizeof *stream);
    if (stream) *stream = (struct stream){catcher, fd};
    tc_status status =
        stream ? start_thread(stream, err) : tc_fail(err, TC_SYSTEM, "out of memory");
    if (status == TC_OK) {
        fd = -1;
        return TC_OK;
    }
    free(stream);
    (void)pthread_mutex_lock(&catcher->lock);
    catcher->streams--;
    (void)pthread_mutex_unlock(&catcher->lock);
    return status;
}

/* --- connections --- */

/* Takes fd. */
static tc_status take(struct tc_catcher *catcher, int connection, struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = connection;
    union address from;
    struct target target;
    const int on = 1;
    if (!find_target(catcher->listeners, fd, &from) || !describe(catcher, &from, &target))
        return TC_OK; /* it is gone already */
    if (target.loopback) {
        char what[64];
        (void)snprintf(what, sizeof what, "%s:%u", target.address, target.port);
        tc_recorder_deny(catcher->recorder, what,
                         "a connection to the worker's own listener, which serves what the build "
                         "sends elsewhere");
        return TC_OK;
    }
    if (target.port == DNS_PORT) return take_query(catcher, TC_TAKE_FD(fd), &target, err);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return tc_recorder_take(catcher->recorder, TC_TAKE_FD(fd), target.name, target.address,
                            target.port, err);
}

/* What may go wrong with one connection is its own end; what is left are failures of
 * the listener. */
static bool is_passing(int number)
{
    return number == EAGAIN || number == EINTR || number == ECONNABORTED || number == EPROTO ||
           number == EPERM;
}

static tc_status take_all(struct tc_catcher *catcher, struct tc_error *err)
{
    const struct tc_listeners *listeners = catcher->listeners;
    struct pollfd fds[TC_LISTENERS_MAX + 1];
    size_t count = listeners->tcp_count;
    for (size_t i = 0; i < count; i++)
        fds[i] = (struct pollfd){.fd = listeners->tcp[i], .events = POLLIN};
    fds[count] = (struct pollfd){.fd = catcher->stop_fd, .events = POLLIN};
    for (;;) {
        if (poll(fds, count + 1, -1) < 0) {
            if (errno == EINTR) continue;
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for connections");
        }
        if (fds[count].revents) return TC_OK;
        for (size_t i = 0; i < count; i++) {
            if (!fds[i].revents) continue;
            int fd = accept4(fds[i].fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
            if (fd < 0 && is_passing(errno)) continue;
            if (fd < 0)
                return tc_fail_errno(err, TC_SYSTEM, errno,
                                     "cannot take a connection of the build");
            TC_TRY(take(catcher, fd, err));
        }
    }
}

static void *take_main(void *context)
{
    struct tc_catcher *catcher = context;
    (void)!take_all(catcher, &catcher->takes_end);
    return NULL;
}

static void *answer_main(void *context)
{
    struct tc_catcher *catcher = context;
    (void)!tc_dns_serve(&catcher->dns, &catcher->answers_end);
    return NULL;
}

static tc_status end(struct tc_catcher *catcher, struct tc_error *err)
{
    const uint64_t one = 1;
    tc_status status = TC_OK;
    if (catcher->stop_fd >= 0 && write(catcher->stop_fd, &one, sizeof one) != (ssize_t)sizeof one)
        abort(); /* an eventfd that is not full takes a number */
    if (catcher->takes_runs) (void)pthread_join(catcher->takes, NULL);
    if (catcher->answers_runs) (void)pthread_join(catcher->answers, NULL);
    /* None begins any more, and each of them ends by itself. */
    (void)pthread_mutex_lock(&catcher->lock);
    while (catcher->streams > 0)
        (void)pthread_cond_wait(&catcher->changed, &catcher->lock);
    (void)pthread_mutex_unlock(&catcher->lock);
    const struct tc_error *failed = catcher->takes_end.status != TC_OK     ? &catcher->takes_end
                                    : catcher->answers_end.status != TC_OK ? &catcher->answers_end
                                                                           : NULL;
    if (failed) {
        *err = *failed;
        status = failed->status;
    }
    tc_close_ptr(&catcher->stop_fd);
    tc_names_free(catcher->names);
    (void)pthread_cond_destroy(&catcher->changed);
    (void)pthread_mutex_destroy(&catcher->lock);
    free(catcher);
    return status;
}

tc_status tc_catcher_start(const struct tc_listeners *listeners, struct tc_recorder *recorder,
                           struct tc_catcher **ret_catcher, struct tc_error *err)
{
    struct tc_error ignored = {0};
    struct tc_catcher *catcher = calloc(1, sizeof *catcher);
    if (!catcher) return tc_fail(err, TC_SYSTEM, "out of memory");
    (void)pthread_mutex_init(&catcher->lock, NULL);
    (void)pthread_cond_init(&catcher->changed, NULL);
    catcher->listeners = listeners;
    catcher->recorder = recorder;
    catcher->names = tc_names_new();
    catcher->stop_fd = eventfd(0, EFD_CLOEXEC);
    catcher->dns = (struct tc_dns_service){.sockets = listeners->dns,
                                           .sockets_count = listeners->dns_count,
                                           .stop_fd = catcher->stop_fd,
                                           .names = catcher->names,
                                           .recorder = recorder};
    if (catcher->names && catcher->stop_fd >= 0) {
        catcher->answers_runs = pthread_create(&catcher->answers, NULL, answer_main, catcher) == 0;
        catcher->takes_runs =
            catcher->answers_runs && pthread_create(&catcher->takes, NULL, take_main, catcher) == 0;
    }
    if (!catcher->takes_runs) {
        (void)!end(catcher, &ignored);
        return tc_fail(err, TC_SYSTEM, "cannot start the threads that take connections");
    }
    *ret_catcher = catcher;
    return TC_OK;
}

tc_status tc_catcher_stop(struct tc_catcher *catcher, struct tc_error *err)
{
    return catcher ? end(catcher, err) : TC_OK;
}
