/* Streams, threads, and how they end.
 *
 *   dialler -- follow --> take --> thread of the stream: question -> answer -> bytes
 *
 * A thread can be stuck in getaddrinfo, which nobody can end. So that a build need not
 * wait for it, the egress lives as long as its last user: tc_egress_stop wakes all,
 * waits for those that are not resolving, and lets go. A thread that comes back from
 * the resolver then finds stop_fd readable, touches nothing of the caller's and frees
 * what it holds, and as the last one also the egress. */
#include "host/egress.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/egress.h"
#include "host/egress_internal.h"
#include "os/channel.h"
#include "os/message.h"

enum {
    QUESTION_MS = 30 * 1000, /* for a stream to say what it wants, and to take its answer */
    STACK_SIZE = 512 * 1024,
};

struct tc_egress {
    struct tc_egress_config config;
    int stop_fd;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t changed;
    size_t streams;   /* being served */
    size_t resolving; /* of these: in tc_egress_dial, not to be waited for */
    bool owned;       /* tc_egress_stop has not let go yet */
    bool stopping;
    bool has_follower;
    pthread_t follower;
    int dialler_fd;
};

struct stream {
    struct tc_egress *egress;
    int fd;
};

static void egress_free(struct tc_egress *egress)
{
    tc_close_ptr(&egress->stop_fd);
    tc_close_ptr(&egress->dialler_fd);
    (void)pthread_cond_destroy(&egress->changed);
    (void)pthread_mutex_destroy(&egress->lock);
    tc_proxy_done(&egress->config.proxy);
    free(egress);
}

/* The last one frees. */
static void release_stream(struct tc_egress *egress)
{
    (void)pthread_mutex_lock(&egress->lock);
    egress->streams--;
    bool last = !egress->owned && egress->streams == 0;
    (void)pthread_cond_broadcast(&egress->changed);
    (void)pthread_mutex_unlock(&egress->lock);
    if (last) egress_free(egress);
}

/* --- answers --- */

static tc_status answer(struct tc_channel *stream, uint8_t status, const char *text,
                        struct tc_error *err)
{
    uint8_t bytes[TC_EGRESS_HEADER_SIZE + TC_EGRESS_TEXT_MAX];
    size_t size = strnlen(text, TC_EGRESS_TEXT_MAX);
    /* A cut must not fall into a character. */
    while (size > 0 && !tc_is_utf8((struct tc_span){(const uint8_t *)text, size}))
        size--;
    const struct tc_egress_header header = {.kind = status, .size = (uint16_t)size};
    tc_egress_header_encode(&header, bytes);
    memcpy(bytes + TC_EGRESS_HEADER_SIZE, text, size);
    return tc_channel_write_bytes(stream, (struct tc_span){bytes, TC_EGRESS_HEADER_SIZE + size},
                                  err);
}

/* --- questions --- */

static void set_resolving(struct tc_egress *egress, bool resolving)
{
    (void)pthread_mutex_lock(&egress->lock);
    egress->resolving += resolving ? 1 : (size_t)-1;
    (void)pthread_cond_broadcast(&egress->changed);
    (void)pthread_mutex_unlock(&egress->lock);
}

static tc_status serve_dial(struct tc_egress *egress, struct tc_channel *stream,
                            struct tc_span payload, struct tc_error *err)
{
    struct tc_egress_dial dial;
    char address[TC_EGRESS_TEXT_MAX];
    TC_TRY(tc_egress_dial_decode(payload, &dial, err));
    if (egress->config.replay)
        return tc_fail(err, TC_REFUSED, "this build is a replay: nothing is dialled");
    TC_AUTO_FREE char *name = tc_span_to_text(dial.name);
    if (!name) return tc_fail(err, TC_SYSTEM, "out of memory");
    const struct tc_proxy *proxy = &egress->config.proxy;
    const struct tc_dial wanted = {.name = name,
                                   .port = dial.port,
                                   .proxy = tc_proxy_covers(proxy, name, dial.port) ? proxy : NULL,
                                   .stop_fd = egress->stop_fd,
                                   .asker_fd = stream->fd};
    TC_AUTO_CLOSE int fd = -1;
    set_resolving(egress, true);
    tc_status status = tc_egress_dial(&wanted, &fd, address, err);
    set_resolving(egress, false);
    TC_TRY(status);
    TC_TRY(answer(stream, TC_OK, address, err));
    tc_egress_relay(stream->fd, fd, egress->stop_fd);
    return TC_OK;
}

/* From here on nobody waits for the other side but with stop_fd: the build may be slow
 * to take what it asked for. */
static tc_status serve_store(struct tc_egress *egress, struct tc_channel *stream,
                             struct tc_span payload, struct tc_error *err)
{
    struct tc_error ignored = {0};
    if (!egress->config.archive)
        return tc_fail(err, TC_REFUSED, "the host keeps no archive of this build");
    if (payload.size != 0) return tc_fail(err, TC_MALFORMED, "a request to store has a payload");
    TC_TRY(answer(stream, TC_OK, "", err));
    stream->patience_ms = -1;
    TC_TRY(tc_egress_store(stream, egress->config.archive, err));
    return answer(stream, TC_OK, "", &ignored);
}

static tc_status serve_replay(struct tc_egress *egress, struct tc_channel *stream,
                              struct tc_span payload, struct tc_error *err)
{
    struct tc_error ignored = {0};
    struct tc_egress_found found;
    if (!egress->config.replay)
        return tc_fail(err, TC_REFUSED, "the host was given no archive to replay");
    TC_TRY(tc_egress_find(egress->config.replay, payload, &found, err));
    TC_TRY(answer(stream, TC_OK, "", err));
    stream->patience_ms = -1;
    /* What breaks off now is no answer any more: the end is missing, and says so. */
    (void)!tc_egress_replay(stream, egress->config.replay, &found, &ignored);
    return TC_OK;
}

static tc_status serve(struct tc_egress *egress, struct tc_channel *stream, struct tc_error *err)
{
    uint8_t bytes[TC_EGRESS_HEADER_SIZE];
    struct tc_egress_header header;
    TC_TRY(tc_channel_read_bytes(stream, bytes, sizeof bytes, err));
    TC_TRY(tc_egress_header_decode(bytes, &header, err));
    TC_TRY(tc_channel_read_bytes(stream, stream->payload, header.size, err));
    const struct tc_span payload = {stream->payload, header.size};
    switch (header.kind) {
    case TC_EGRESS_DIAL: return serve_dial(egress, stream, payload, err);
    case TC_EGRESS_STORE: return serve_store(egress, stream, payload, err);
    case TC_EGRESS_REPLAY: return serve_replay(egress, stream, payload, err);
    default:
        return tc_fail(err, TC_REFUSED, "the host has no answer to a question of kind %u",
                       (unsigned)header.kind);
    }
}

static void *run_stream(void *argument)
{
    struct stream *stream = argument;
    struct tc_egress *egress = stream->egress;
    struct tc_error err = {0}, ignored = {0};
    struct tc_channel channel = {0};
    tc_status status = tc_channel_init(&channel, stream->fd, QUESTION_MS, "the recorder", &err);
    if (status == TC_OK) {
        channel.interrupt_fd = egress->stop_fd;
        status = serve(egress, &channel, &err);
        if (status != TC_OK) (void)!answer(&channel, (uint8_t)status, err.message, &ignored);
        tc_channel_done(&channel);
    }
    tc_close_ptr(&stream->fd);
    free(stream);

    release_stream(egress);
    return NULL;
}

/* --- streams --- */

static tc_status start_thread(pthread_t *ret_thread, bool detached, void *(*run)(void *),
                              void *argument, struct tc_error *err)
{
    pthread_attr_t attributes;
    sigset_t all, before;
    if (pthread_attr_init(&attributes) != 0) return tc_fail(err, TC_SYSTEM, "out of memory");
    (void)pthread_attr_setstacksize(&attributes, STACK_SIZE);
    (void)pthread_attr_setdetachstate(&attributes,
                                      detached ? PTHREAD_CREATE_DETACHED : PTHREAD_CREATE_JOINABLE);
    /* Signals are the main thread's. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(ret_thread, &attributes, run, argument);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    return error == 0 ? TC_OK : tc_fail_errno(err, TC_SYSTEM, error, "cannot start a thread");
}

/* What is handed in may be anything that has a number: a file or a terminal would
 * let a read wait where no deadline is. */
static tc_status check_stream(int fd, struct tc_error *err)
{
    int domain = 0, type = 0, listens = 0;
    socklen_t size = sizeof domain;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) != 0 ||
        (domain != AF_UNIX && domain != AF_VSOCK) || type != SOCK_STREAM || listens != 0)
        return tc_fail(err, TC_MALFORMED, "expected a connected stream socket");
    return TC_OK;
}

static tc_status admit(struct tc_egress *egress, struct tc_error *err)
{
    tc_status status = TC_OK;
    (void)pthread_mutex_lock(&egress->lock);
    if (egress->stopping)
        status = tc_fail(err, TC_INTERRUPTED, "the host has stopped to answer");
    else if (egress->streams >= TC_EGRESS_STREAMS_MAX)
        status =
            tc_fail(err, TC_LIMIT, "the host serves %d streams already", TC_EGRESS_STREAMS_MAX);
    else
        egress->streams++;
    (void)pthread_mutex_unlock(&egress->lock);
    return status;
}

static tc_status take(struct tc_egress *egress, int *fd, struct tc_error *err)
{
    pthread_t thread;
    TC_TRY(admit(egress, err));
    struct stream *stream = malloc(sizeof *stream);
    if (!stream) {
        release_stream(egress);
        return tc_fail(err, TC_SYSTEM, "out of memory");
    }
    *stream = (struct stream){egress, *fd};
    tc_status status = start_thread(&thread, true, run_stream, stream, err);
    if (status == TC_OK) {
        *fd = -1; /* the thread's */
        return TC_OK;
    }
    free(stream);
    release_stream(egress);
    return status;
}

void tc_egress_take(struct tc_egress *egress, int fd)
{
    struct tc_error err = {0}, ignored = {0};
    TC_AUTO_CLOSE int owned = fd;
    if (check_stream(owned, &err) != TC_OK) return;
    tc_status status = take(egress, &owned, &err);
    if (status == TC_OK) return;
    int flags = fcntl(owned, F_GETFL);
    if (flags < 0 || fcntl(owned, F_SETFL, flags | O_NONBLOCK) != 0) return;
    struct tc_channel channel = {.fd = owned, .interrupt_fd = -1, .peer = "the recorder"};
    (void)!answer(&channel, (uint8_t)status, err.message, &ignored);
}

static void *run_follower(void *argument)
{
    struct tc_egress *egress = argument;
    struct tc_error err = {0};
    for (;;) {
        struct pollfd fds[2] = {{.fd = egress->dialler_fd, .events = POLLIN},
                                {.fd = egress->stop_fd, .events = POLLIN}};
        uint8_t byte;
        int fd;
        if (poll(fds, 2, -1) < 0 && errno == EINTR) continue;
        if (fds[1].revents) break;
        tc_status status =
            tc_message_receive(egress->dialler_fd, &byte, sizeof byte, &fd, 1, NULL, &err);
        /* Of another form, or its stream found no descriptor free: taken from the queue and
         * closed already, so the next one may be better, and nothing turns round in circles. */
        if (status == TC_MALFORMED) continue;
        if (status != TC_OK) break;
        tc_egress_take(egress, fd);
    }
    /* So that the other side is told, and does not wait for an answer. */
    (void)shutdown(egress->dialler_fd, SHUT_RDWR);
    return NULL;
}

/* --- beginning and end --- */

tc_status tc_egress_new(struct tc_egress_config *config, struct tc_egress **ret_egress,
                        struct tc_error *err)
{
    struct tc_egress *egress = calloc(1, sizeof *egress);
    if (!egress) return tc_fail(err, TC_SYSTEM, "out of memory");
    int stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stop_fd < 0) {
        free(egress);
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make an eventfd");
    }
    (void)pthread_mutex_init(&egress->lock, NULL);
    (void)pthread_cond_init(&egress->changed, NULL);
    egress->stop_fd = stop_fd;
    egress->dialler_fd = -1;
    egress->owned = true;
    egress->config = *config;
    config->proxy = (struct tc_proxy){0};
    *ret_egress = egress;
    return TC_OK;
}

tc_status tc_egress_follow(struct tc_egress *egress, int dialler_fd, struct tc_error *err)
{
    if (egress->has_follower) (void)pthread_join(egress->follower, NULL);
    egress->has_follower = false;
    tc_close_ptr(&egress->dialler_fd);
    egress->dialler_fd = dialler_fd;
    TC_TRY(start_thread(&egress->follower, false, run_follower, egress, err));
    egress->has_follower = true;
    return TC_OK;
}

void tc_egress_stop(struct tc_egress *egress)
{
    if (!egress) return;
    (void)pthread_mutex_lock(&egress->lock);
    egress->stopping = true;
    (void)pthread_mutex_unlock(&egress->lock);
    (void)eventfd_write(egress->stop_fd, 1);
    if (egress->has_follower) (void)pthread_join(egress->follower, NULL);
    (void)pthread_mutex_lock(&egress->lock);
    while (egress->streams > egress->resolving)
        (void)pthread_cond_wait(&egress->changed, &egress->lock);
    egress->owned = false;
    bool last = egress->streams == 0;
    (void)pthread_mutex_unlock(&egress->lock);
    if (last) egress_free(egress);
}
