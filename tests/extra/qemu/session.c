/* qemu_session SOCKET PROJECT BUNDLE: the client of `tee-compile build` without
 * its back end. Waits on the unix socket SOCKET, where a vsock device hands over
 * what a guest connects, sends it PROJECT, writes what comes back to BUNDLE and
 * judges nothing. Says "listening" on stdout when the guest may start. Exit
 * status 0 with a whole bundle, 1 otherwise, and then without one. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "client.h"

enum { GUEST_PATIENCE_MS = 300 * 1000 };

struct place {
    const char *path;
    int guest;
};

static tc_status await_guest(void *context, int *ret_fd, struct tc_error *err)
{
    struct place *place = context;
    const char *path = place->path;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return tc_fail(err, TC_USAGE, "%s is too long for a socket", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    TC_AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, 1) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot listen on %s", path);
    (void)puts("listening");
    (void)fflush(stdout);
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    if (poll(&wait, 1, GUEST_PATIENCE_MS) <= 0) return tc_fail(err, TC_PEER, "no guest came");
    place->guest = accept(fd, NULL, NULL);
    if (place->guest < 0) return tc_fail_errno(err, TC_PEER, errno, "no guest came");
    *ret_fd = place->guest;
    return TC_OK;
}

int main(int argc, char **argv)
{
    struct tc_error err = {0};
    if (argc != 4) {
        (void)fputs("usage: qemu_session SOCKET PROJECT BUNDLE\n", stderr);
        return 2;
    }
    struct place place = {argv[1], -1};
    const struct guest guest = {.await = await_guest, .context = &place};
    tc_status status = client_build(argv[2], argv[3], &guest, &err);
    tc_close_ptr(&place.guest);
    return status == TC_OK ? 0 : 1;
}
