/* qemu_nitro EMULATOR FIRMWARE IMAGE.eif MEMORY CONSOLE PROJECT BUNDLE: one build by the
 * nitro back end, over a double of the driver behind which QEMU boots (nitro_boot.h).
 * IMAGE.erofs lies beside it. MEMORY is what the build may use.
 *
 * Exit status 0 with a whole bundle, 1 without one, 3 when the enclave did not end by
 * itself or something of it stayed. */
#include <stdio.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "client.h"
#include "host/backend_nitro.h"
#include "nitro_boot.h"

struct build {
    struct driver driver;
    struct nitro_boot machine;
    struct tc_backend_config config;
    struct tc_enclave *enclave;
};

/* --- the build --- */

static tc_status await(void *context, int *ret_fd, struct tc_error *err)
{
    struct build *build = context;
    return tc_nitro_start(&build->driver.ops, &build->config, &build->enclave, ret_fd, err);
}

int main(int argc, char **argv)
{
    static struct build build;
    struct tc_error err = {0};
    TC_AUTO_IMAGEFILE struct tc_imagefile image = TC_IMAGEFILE_NONE;
    uint64_t memory = 0;
    if (argc != 8 || !tc_parse_size(argv[4], &memory)) {
        (void)fputs("usage: qemu_nitro EMULATOR FIRMWARE IMAGE.eif MEMORY CONSOLE PROJECT BUNDLE\n",
                    stderr);
        return 2;
    }
    if (!driver_init(&build.driver, 1, 2048) || tc_imagefile_open(argv[3], &image, &err) != TC_OK) {
        (void)fprintf(stderr, "qemu_nitro: %s\n", err.message);
        return 2;
    }
    build.machine =
        (struct nitro_boot){.emulator = argv[1], .firmware = argv[2], .console = argv[5]};
    nitro_boot_with(&build.machine, &build.driver);
    build.config =
        (struct tc_backend_config){.image = &image, .memory = memory, .interrupt_fd = -1};
    const struct guest guest = {.await = await, .context = &build};
    int status = client_build(argv[6], argv[7], &guest, &err) == TC_OK ? 0 : 1;
    if (build.enclave && tc_nitro_stop(build.enclave, &err) != TC_OK) {
        (void)fprintf(stderr, "qemu_nitro: %s\n", err.message);
        if (status == 0) status = 3;
    }
    if (!driver_is_idle(&build.driver)) {
        (void)fputs("qemu_nitro: something of the enclave stayed\n", stderr);
        status = 3;
    }
    driver_done(&build.driver);
    return status;
}
