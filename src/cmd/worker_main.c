/* tee-compile-worker: what runs inside. One binary for every back end; which
 * world it finds (src/worker/spawner.h lists it) is the platform's work. In an
 * enclave the platform is a bare kernel, which starts the program under the name
 * /init; nobody else names it so. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tc_version.h"
#include "worker/boot.h"
#include "worker/stages.h"

enum { HOST_TOOLS_MAX = 16 };

static bool descriptor(const char *text, int *ret_fd)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (end == text || *end || value < 3 || value > 1023) return false;
    *ret_fd = (int)value;
    return true;
}

int main(int argc, char **argv)
{
    const char *host_tools[HOST_TOOLS_MAX + 1] = {0};
    size_t count = 0;
    struct tc_stages_config config = {
        .host_fd = -1, .nsm_fd = -1, .dialler_fd = -1, .host_tools = host_tools};
    /* What follows the name are words of the kernel's command line. */
    if (argc > 0 && strcmp(argv[0], TC_BOOT_NAME) == 0) return tc_boot_main();
    if (argc == 2 && strcmp(argv[1], "--version") == 0) return puts("tee-compile-worker " TC_VERSION) < 0;
    for (int i = 1; i + 1 < argc; i += 2) {
        bool good = false;
        if (strcmp(argv[i], "--host-fd") == 0)
            good = descriptor(argv[i + 1], &config.host_fd);
        else if (strcmp(argv[i], "--nsm-fd") == 0)
            good = descriptor(argv[i + 1], &config.nsm_fd);
        else if (strcmp(argv[i], "--dialler-fd") == 0)
            good = descriptor(argv[i + 1], &config.dialler_fd);
        else if (strcmp(argv[i], "--host-tool") == 0 && count < HOST_TOOLS_MAX) {
            host_tools[count++] = argv[i + 1];
            good = true;
        }
        if (!good) {
            config.host_fd = -1;
            break;
        }
    }
    if (argc % 2 == 0 || config.host_fd < 0 || config.nsm_fd < 0 || config.dialler_fd < 0) {
        (void)fputs("tee-compile-worker is started by tee-compile build and by nobody else\n",
                    stderr);
        return 2;
    }
    return tc_stages_run(&config);
}
