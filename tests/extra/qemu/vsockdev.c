/* qemu_vsockdev SOCKET PREFIX: the project's vsock device by itself. Says
 * "listening" on stdout, serves the one front end that comes to the unix socket
 * SOCKET, hands what its guest connects to PREFIX_PORT, and ends with it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "host/vsockdev.h"

int main(int argc, char **argv)
{
    struct tc_error err = {0};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (argc != 3 || strlen(argv[1]) >= sizeof address.sun_path) return 2;
    memcpy(address.sun_path, argv[1], strlen(argv[1]) + 1);
    TC_AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, 1) != 0) {
        (void)fprintf(stderr, "qemu_vsockdev: %s\n", strerror(errno));
        return 2;
    }
    (void)puts("listening");
    (void)fflush(stdout);
    TC_AUTO_CLOSE int front = accept(fd, NULL, NULL);
    const struct tc_vsockdev_config config = {
        .guest_cid = 4, .connect = tc_vsockdev_connect_path, .context = argv[2]};
    if (front >= 0 && tc_vsockdev_serve(front, &config, &err) == TC_OK) return 0;
    (void)fprintf(stderr, "qemu_vsockdev: %s\n", err.message);
    return 1;
}
