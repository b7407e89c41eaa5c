/* The parent's vsock sockets, as the double has them. */
#include "nitro/driver_vsock.h"

#include <errno.h>
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

/* Streams come as one end of a pair each, with the CID beside it. */
int driver_listen(void *context, uint32_t port)
{
    struct driver *driver = context;
    int ends[2], place = -1;
    for (int i = 0; i < DRIVER_PORTS; i++) {
        if (driver->ports[i].fd >= 0 && driver_is_left(driver->ports[i].fd)) {
            (void)close(driver->ports[i].fd);
            driver->ports[i].fd = -1;
        }
        if (driver->ports[i].fd >= 0 && driver->ports[i].port == port) return fail(EADDRINUSE);
        if (driver->ports[i].fd < 0) place = i;
    }
    if (place < 0) return fail(ENOMEM);
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return -1;
    driver->ports[place].port = port;
    driver->ports[place].fd = ends[1];
    return ends[0];
}

int driver_dial(struct driver *driver, uint32_t cid, uint32_t port)
{
    struct tc_error err = {0};
    int ends[2];
    for (size_t i = 0; i < DRIVER_PORTS; i++) {
        if (driver->ports[i].fd < 0 || driver->ports[i].port != port) continue;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return -1;
        tc_status status =
            tc_message_send(driver->ports[i].fd, &cid, sizeof cid, &ends[1], 1, &err);
        (void)close(ends[1]);
        if (status == TC_OK) return ends[0];
        (void)close(ends[0]);
        return fail(ECONNRESET);
    }
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
        enclave->console_fd = ends[1];
        return ends[0];
    }
    return fail(ECONNRESET);
}
