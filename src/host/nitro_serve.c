#include "host/nitro_serve.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "host/cidports.h"
#include "host/egress.h"
#include "host/pages.h"
#include "os/clock.h"
#include "os/onlooker.h"
#include "os/vsock.h"

enum { CONSOLE_PIECE = 512 }; /* each byte becomes four characters at most */

/* --- ports --- */

void tc_nitro_ports_close(struct tc_nitro_ports *ports)
{
    int *const fds[] = {&ports->session_fd, &ports->pages_fd, &ports->egress_fd,
                        &ports->heartbeat_fd};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        tc_close_ptr(fds[i]);
}

static struct tc_cidports_calls calls_of(const struct tc_nitro_ops *ops)
{
    return (struct tc_cidports_calls){
        .context = ops->context, .listen = ops->listen, .accept = ops->accept};
}

tc_status tc_nitro_ports_open(const struct tc_nitro_ops *ops, struct tc_nitro_ports *ret_ports,
                              struct tc_error *err)
{
    enum { SESSION, PAGES, EGRESS, HEARTBEAT, COUNT };
    static const uint32_t list[COUNT] = {TC_VSOCK_PORT_SESSION, TC_VSOCK_PORT_PAGES,
                                         TC_VSOCK_PORT_EGRESS, TC_VSOCK_PORT_HEARTBEAT};
    const struct tc_cidports_calls calls = calls_of(ops);
    int fds[COUNT];
    uint32_t cid;
    TC_TRY(tc_cidports_open(&calls, list, COUNT, &cid, fds, err));
    *ret_ports = (struct tc_nitro_ports){
        .cid = cid,
        .session_fd = fds[SESSION],
        .pages_fd = fds[PAGES],
        .egress_fd = fds[EGRESS],
        .heartbeat_fd = fds[HEARTBEAT],
    };
    return TC_OK;
}

/* --- the server --- */

struct tc_nitro_server {
    struct tc_nitro_server_config config;
    struct tc_nitro_ports ports; /* -1: nobody comes there any more */
    pthread_t thread, pages_thread;
    bool has_thread, has_pages;
    int wake_fd; /* readable: stop */
    int pages_fd;
    int beat_fd;                 /* the heartbeat's stream, while it is open */
    struct tc_onlooker onlooker; /* stderr */
    struct tc_buf shown;         /* of the console, made safe for a terminal... */
    size_t written;              /* ... of which so much has been taken */
    bool has_open_line;          /* on stderr, of the console's */
    pthread_mutex_t lock;        /* of what follows */
    int session_fd;
    bool enclave_ended;
    char problem[TC_ERROR_MAX];
};

static int take_stream(const struct tc_nitro_server *server, int *listener)
{
    const struct tc_cidports_calls calls = calls_of(server->config.ops);
    return tc_cidports_accept(&calls, server->ports.cid, listener);
}

static void *run_pages(void *context)
{
    struct tc_nitro_server *server = context;
    struct tc_error err = {0};
    tc_status status = tc_pages_serve(server->pages_fd, server->config.root_fd, &err);
    /* An enclave that ends hangs up wherever it is. */
    if (status != TC_OK && status != TC_PEER) {
        (void)pthread_mutex_lock(&server->lock);
        (void)snprintf(server->problem, sizeof server->problem, "%s", err.message);
        (void)pthread_mutex_unlock(&server->lock);
    }
    /* The enclave must learn at once that nobody serves it any more. */
    (void)shutdown(server->pages_fd, SHUT_RDWR);
    return NULL;
}

/* An enclave reads its pages over one stream. */
static void take_pages(struct tc_nitro_server *server)
{
    int fd = take_stream(server, &server->ports.pages_fd);
    if (fd < 0) return;
    tc_close_ptr(&server->ports.pages_fd);
    if (server->config.root_fd < 0) {
        (void)close(fd);
        return;
    }
    server->pages_fd = fd;
    server->has_pages = pthread_create(&server->pages_thread, NULL, run_pages, server) == 0;
    if (!server->has_pages) tc_close_ptr(&server->pages_fd);
}

static void take_egress(struct tc_nitro_server *server)
{
    int fd = take_stream(server, &server->ports.egress_fd);
    if (fd < 0) return;
    if (server->config.egress)
        tc_egress_take(server->config.egress, fd);
    else
        (void)close(fd);
}

static void take_heartbeat(struct tc_nitro_server *server)
{
    server->beat_fd = take_stream(server, &server->ports.heartbeat_fd);
    if (server->beat_fd >= 0) tc_close_ptr(&server->ports.heartbeat_fd);
}

/* Given back as it came, once. */
static void echo_heartbeat(struct tc_nitro_server *server)
{
    uint8_t byte;
    if (recv(server->beat_fd, &byte, 1, MSG_DONTWAIT) == 1)
        (void)send(server->beat_fd, &byte, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    tc_close_ptr(&server->beat_fd);
}

/* The enclave's own words, safe for a terminal. */
static void read_console(struct tc_nitro_server *server)
{
    uint8_t bytes[CONSOLE_PIECE];
    ssize_t got = recv(server->config.console_fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (got > 0)
        tc_printable_lines((struct tc_span){bytes, tc_drop_returns(bytes, (size_t)got)},
                           &server->shown);
    else if (got == 0 || (errno != EAGAIN && errno != EINTR))
        server->config.console_fd = -1;
}

/* What is not taken is kept, and meanwhile nothing more is read; of somebody who has gone
 * nothing more is expected. */
static void write_console(struct tc_nitro_server *server)
{
    struct tc_buf *shown = &server->shown;
    struct tc_span rest = {shown->data + server->written, shown->size - server->written};
    ssize_t taken = tc_onlooker_write(&server->onlooker, rest);
    if (taken < 0 && (errno == EAGAIN || errno == EINTR)) return;
    server->written += taken > 0 ? (size_t)taken : rest.size;
    server->has_open_line = taken > 0 && shown->data[server->written - 1] != '\n';
    if (server->written < shown->size) return;
    tc_buf_reset(shown);
    server->written = 0;
}

/* Streams of an enclave that is gone do not hang up by themselves. */
static void note_end(struct tc_nitro_server *server)
{
    (void)pthread_mutex_lock(&server->lock);
    server->enclave_ended = true;
    if (server->session_fd >= 0) (void)shutdown(server->session_fd, SHUT_RDWR);
    (void)pthread_mutex_unlock(&server->lock);
    if (server->pages_fd >= 0) (void)shutdown(server->pages_fd, SHUT_RDWR);
}

static void *run(void *context)
{
    struct tc_nitro_server *server = context;
    enum { WAKE, ENCLAVE, PAGES, EGRESS, HEARTBEAT, BEAT, CONSOLE, OUT, COUNT };
    bool ended = false;
    for (;;) {
        bool full = server->shown.size > 0;
        struct pollfd fds[COUNT] = {
            [WAKE] = {server->wake_fd, POLLIN, 0},
            [ENCLAVE] = {ended ? -1 : server->config.enclave_fd, 0, 0},
            [PAGES] = {server->ports.pages_fd, POLLIN, 0},
            [EGRESS] = {server->ports.egress_fd, POLLIN, 0},
            [HEARTBEAT] = {server->ports.heartbeat_fd, POLLIN, 0},
            [BEAT] = {server->beat_fd, POLLIN, 0},
            [CONSOLE] = {full ? -1 : server->config.console_fd, POLLIN, 0},
            [OUT] = {full ? server->onlooker.fd : -1, POLLOUT, 0},
        };
        if (poll(fds, COUNT, -1) < 0) {
            if (errno == EINTR) continue;
            break;
        }
        if (fds[WAKE].revents) break;
        if (fds[ENCLAVE].revents) {
            ended = true;
            note_end(server);
        }
        if (fds[PAGES].revents) take_pages(server);
        if (fds[EGRESS].revents) take_egress(server);
        if (fds[HEARTBEAT].revents) take_heartbeat(server);
        if (fds[BEAT].revents) echo_heartbeat(server);
        if (fds[CONSOLE].revents) read_console(server);
        if (fds[OUT].revents) write_console(server);
    }
    return NULL;
}

tc_status tc_nitro_server_start(const struct tc_nitro_server_config *config,
                                struct tc_nitro_server **ret_server, struct tc_error *err)
{
    struct tc_nitro_server *server = calloc(1, sizeof *server);
    if (!server) return tc_fail(err, TC_SYSTEM, "out of memory");
    server->config = *config;
    server->ports = *config->ports;
    *config->ports = TC_NITRO_PORTS_NONE;
    server->pages_fd = server->beat_fd = server->session_fd = -1;
    server->onlooker = config->console_fd >= 0 ? tc_onlooker_open(STDERR_FILENO) : TC_ONLOOKER_NONE;
    server->shown = tc_buf_new(4 * CONSOLE_PIECE);
    (void)pthread_mutex_init(&server->lock, NULL);
    server->wake_fd = eventfd(0, EFD_CLOEXEC);
    server->has_thread =
        server->wake_fd >= 0 && pthread_create(&server->thread, NULL, run, server) == 0;
    if (!server->has_thread) {
        tc_nitro_server_stop(server);
        return tc_fail(err, TC_SYSTEM, "cannot start what serves the enclave");
    }
    *ret_server = server;
    return TC_OK;
}

static tc_status keep_session(struct tc_nitro_server *server, int fd, int *ret_fd,
                              struct tc_error *err)
{
    (void)pthread_mutex_lock(&server->lock);
    bool ended = server->enclave_ended;
    if (!ended) server->session_fd = fd;
    (void)pthread_mutex_unlock(&server->lock);
    if (ended) {
        (void)close(fd);
        return tc_fail(err, TC_PEER, "the enclave ended as its session began");
    }
    *ret_fd = fd;
    return TC_OK;
}

tc_status tc_nitro_server_session(struct tc_nitro_server *server, int patience_ms, int interrupt_fd,
                                  int *ret_fd, struct tc_error *err)
{
    const int64_t deadline = tc_clock_ms() + patience_ms;
    for (;;) {
        int64_t left = deadline - tc_clock_ms();
        struct pollfd fds[3] = {{server->ports.session_fd, POLLIN, 0},
                                {server->config.enclave_fd, 0, 0},
                                {interrupt_fd, POLLIN, 0}};
        int ready = left > 0 ? poll(fds, 3, (int)left) : 0;
        if (ready < 0 && errno == EINTR) continue;
        if (ready < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for the enclave");
        if (ready == 0)
            return tc_fail(err, TC_PEER, "the enclave runs and did not connect within %d s",
                           patience_ms / 1000);
        if (fds[2].revents) return tc_fail(err, TC_INTERRUPTED, "interrupted");
        if (fds[0].revents) {
            int fd = take_stream(server, &server->ports.session_fd);
            if (fd < 0) continue;
            tc_close_ptr(&server->ports.session_fd);
            return keep_session(server, fd, ret_fd, err);
        } else if (fds[1].revents) {
            const char *problem = tc_nitro_server_problem(server);
            return tc_fail(err, TC_PEER, "the enclave ended before its session began%s%s",
                           problem ? ": " : "", problem ? problem : "");
        }
    }
}

const char *tc_nitro_server_problem(struct tc_nitro_server *server)
{
    (void)pthread_mutex_lock(&server->lock);
    bool any = server->problem[0] != '\0';
    (void)pthread_mutex_unlock(&server->lock);
    return any ? server->problem : NULL;
}

/* The caller's own words begin a line. */
static void end_line(const struct tc_nitro_server *server)
{
    if (server->has_open_line) (void)!tc_onlooker_write(&server->onlooker, tc_span_of_text("\n"));
}

void tc_nitro_server_stop(struct tc_nitro_server *server)
{
    const uint64_t one = 1;
    if (!server) return;
    if (server->has_thread) {
        (void)!write(server->wake_fd, &one, sizeof one);
        (void)pthread_join(server->thread, NULL);
    }
    end_line(server);
    if (server->has_pages) {
        (void)shutdown(server->pages_fd, SHUT_RDWR);
        (void)pthread_join(server->pages_thread, NULL);
    }
    tc_nitro_ports_close(&server->ports);
    tc_close_ptr(&server->session_fd);
    tc_close_ptr(&server->pages_fd);
    tc_close_ptr(&server->beat_fd);
    tc_close_ptr(&server->wake_fd);
    tc_onlooker_close(&server->onlooker);
    tc_buf_free(&server->shown);
    (void)pthread_mutex_destroy(&server->lock);
    free(server);
}
