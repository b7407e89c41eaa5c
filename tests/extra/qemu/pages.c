/* qemu_pages SOCKET FILE: the page server behind a vsock device. Says "listening"
 * on stdout, serves FILE to the one guest that comes, and ends with it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cleanup.h"
#include "host/pages.h"

int main(int argc, char **argv)
{
    struct tc_error err = {0};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (argc != 3 || strlen(argv[1]) >= sizeof address.sun_path) return 2;
    memcpy(address.sun_path, argv[1], strlen(argv[1]) + 1);
    TC_AUTO_CLOSE int file = open(argv[2], O_RDONLY | O_CLOEXEC);
    TC_AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (file < 0 || fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fd, 1) != 0) {
        (void)fprintf(stderr, "qemu_pages: %s\n", strerror(errno));
        return 2;
    }
    (void)puts("listening");
    (void)fflush(stdout);
    TC_AUTO_CLOSE int guest = accept(fd, NULL, NULL);
    if (guest >= 0 && tc_pages_serve(guest, file, &err) == TC_OK) return 0;
    (void)fprintf(stderr, "qemu_pages: %s\n", err.message);
    return 1;
}
