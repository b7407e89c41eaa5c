/* /init of a test's image: mounts what the checks need, runs them, ends the
 * machine. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest.h"

static unsigned good_count, bad_count;

void check(const char *what, bool good, const char *detail)
{
    if (good) {
        good_count++;
        (void)printf("guest: ok %s\n", what);
    } else {
        bad_count++;
        (void)printf("guest: FAILED %s: %s\n", what, detail);
    }
}

int main(void)
{
    if (getpid() != 1) return 2;
    (void)mkdir("/dev", 0755);
    (void)mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    int console = open("/dev/console", O_RDWR | O_CLOEXEC);
    for (int i = 0; console >= 0 && i < 3; i++)
        (void)dup2(console, i);
    check_nsm();
    check_streams();
    (void)printf("guest: %u good, %u bad\n", good_count, bad_count);
    (void)fflush(stdout);
    (void)reboot(RB_AUTOBOOT);
    return 1;
}
