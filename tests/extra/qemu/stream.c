/* The kernel's vsock over the project's device: writes of any size in one call,
 * half-close both ways, a port that nobody listens on, both names of the parent.
 * The host's side is guest.py, which sends back what it got once it has it all. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "guest.h"
#include "os/vsock.h"

enum { ECHO_PORT = 7303, NOBODY = 7304, PATIENCE_MS = 60000 };

static bool echo(enum tc_parent parent, size_t size, struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = -1;
    TC_AUTO_FREE uint8_t *bytes = malloc(size + 1), *back = malloc(size + 1);
    if (!bytes || !back || tc_vsock_connect(parent, ECHO_PORT, PATIENCE_MS, &fd, err) != TC_OK)
        return false;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(i * 31 + i / 4099);
    /* A blocking stream takes it all or fails. */
    if (size > 0 && send(fd, bytes, size, MSG_NOSIGNAL) != (ssize_t)size) {
        (void)tc_fail_errno(err, TC_PEER, errno, "cannot write %zu bytes", size);
        return false;
    }
    if (shutdown(fd, SHUT_WR) != 0) return false;
    size_t got = 0;
    for (;;) {
        ssize_t more = recv(fd, back + got, size + 1 - got, 0);
        if (more < 0) (void)tc_fail_errno(err, TC_PEER, errno, "after %zu bytes", got);
        if (more <= 0) break;
        got += (size_t)more;
        if (got > size) break;
    }
    if (got == size && memcmp(bytes, back, size) == 0) return true;
    if (err->status == TC_OK) (void)tc_fail(err, TC_PEER, "%zu bytes of %zu came back", got, size);
    return false;
}

void check_streams(void)
{
    static const size_t sizes[] = {0, 1, 4096, 28672, 65535, 65536, 65537, 262144, 3000000};
    char what[64];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct tc_error err = {0};
        enum tc_parent parent = i % 2 == 0 ? TC_PARENT_NITRO : TC_PARENT_HOST;
        (void)snprintf(what, sizeof what, "%zu bytes there and back, CID %d", sizes[i],
                       (int)parent);
        bool good = echo(parent, sizes[i], &err);
        check(what, good, err.message);
    }
    struct tc_error err = {0};
    TC_AUTO_CLOSE int fd = -1;
    tc_status status = tc_vsock_connect(TC_PARENT_NITRO, NOBODY, PATIENCE_MS, &fd, &err);
    check("nobody's port is refused at once",
          status == TC_PEER && strstr(err.message, strerror(ECONNRESET)) != NULL, err.message);
}
