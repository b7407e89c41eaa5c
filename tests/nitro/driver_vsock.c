/* The parent's vsock sockets, as the double has them. */
#include "nitro/driver_vsock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/message.h"

enum { CONSOLE_PORT = 10000 };

static int fail(int number)
{
    errno = number;
    return -1;
}

bool driver_is_left(int fd)
{
    struct pollfd state = {.fd = fd};
    return poll(&state, 1, 0) > 0 && (state.revents & POLLHUP);
}

/* Of a port that nobody has; -1: there is none, or this one is somebody's. */
static int find_place(struct driver *driver, uint32_t port)
{
    int place = -1;
    for (int i = 0; i < DRIVER_PORTS; i++) {
        if (driver->ports[i].fd >= 0 && driver_is_left(driver->ports[i].fd)) {
            (void)close(driver->ports[i].fd);
            driver->ports[i].fd = -1;
        }
        if (driver->ports[i].fd >= 0 && driver->ports[i].port == port) return fail(EADDRINUSE);
        if (driver->ports[i].fd < 0) place = i;
    }
    return place >= 0 ? place : fail(ENOMEM);
}

/* Streams come as one end of a pair each, with the CID beside it. */
int driver_listen(void *context, uint32_t port)
{
    struct driver *driver = context;
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return -1;
    (void)pthread_mutex_lock(&driver->lock);
    int place = find_place(driver, port), seen = errno;
    if (place >= 0) {
        driver->ports[place].port = port;
        driver->ports[place].fd = ends[1];
    }
    (void)pthread_mutex_unlock(&driver->lock);
    if (place >= 0) return ends[0];
    (void)close(ends[0]);
    (void)close(ends[1]);
    return fail(seen);
}

/* Our end, once more, since it may be closed meanwhile; -1: nobody listens. */
static int find_listener(struct driver *driver, uint32_t port)
{
    int fd = -1;
    (void)pthread_mutex_lock(&driver->lock);
    for (size_t i = 0; i < DRIVER_PORTS && fd < 0; i++)
        if (driver->ports[i].fd >= 0 && driver->ports[i].port == port)
            fd = fcntl(driver->ports[i].fd, F_DUPFD_CLOEXEC, 0);
    (void)pthread_mutex_unlock(&driver->lock);
    return fd;
}

int driver_dial(struct driver *driver, uint32_t cid, uint32_t port)
{
    struct tc_error err = {0};
    int ends[2], listener = find_listener(driver, port);
    if (listener < 0) return fail(ECONNRESET);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        (void)close(listener);
        return -1;
    }
    tc_status status = tc_message_send(listener, &cid, sizeof cid, &ends[1], 1, &err);
    (void)close(listener);
    (void)close(ends[1]);
    if (status == TC_OK) return ends[0];
    (void)close(ends[0]);
    return fail(ECONNRESET);
}

int driver_accept(void *context, int fd, uint32_t *ret_cid)
{
    struct tc_error err = {0};
    int stream = -1;
    (void)context;
    if (tc_message_receive(fd, ret_cid, sizeof *ret_cid, &stream, 1, NULL, &err) != TC_OK)
        return fail(ECONNABORTED);
    return stream;
}

int driver_connect(void *context, uint32_t cid, uint32_t port)
{
    struct driver *driver = context;
    int ends[2];
    for (size_t i = 0; i < DRIVER_ENCLAVES; i++) {
        struct driver_enclave *enclave = &driver->enclaves[i];
        if (cid != 0 || !enclave->running || !enclave->debug ||
            port != CONSOLE_PORT + enclave->cid || enclave->console_fd >= 0)
            continue;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return -1;
        (void)pthread_mutex_lock(&driver->lock);
        enclave->console_fd = ends[1];
        (void)pthread_mutex_unlock(&driver->lock);
        return ends[0];
    }
    return fail(ECONNRESET);
}

int driver_console(struct driver *driver, const struct driver_enclave *enclave)
{
    (void)pthread_mutex_lock(&driver->lock);
    int fd = enclave->console_fd;
    (void)pthread_mutex_unlock(&driver->lock);
    return fd;
}
