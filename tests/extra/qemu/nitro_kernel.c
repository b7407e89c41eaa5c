/* tee-compile with a double of the driver (nitro_boot.h) in the place of the kernel's: what
 * a user of the nitro back end sees, without the hardware. No build ends well, since what
 * QEMU measures nobody signs; how others end is what faults.py looks at.
 *
 * NITRO_EMULATOR and NITRO_FIRMWARE name QEMU. Says on stderr when something of an enclave
 * stayed. */
#include <stdio.h>
#include <stdlib.h>

#include "host/nitro_ops.h"
#include "nitro_boot.h"

static struct driver driver;
static struct nitro_boot machine;

static int open_device(void *context)
{
    return driver.ops.open_device(context);
}

static int control(void *context, int fd, unsigned long request, void *argument)
{
    return driver.ops.control(context, fd, request, argument);
}

static int close_fd(void *context, int fd)
{
    return driver.ops.close(context, fd);
}

static void *map(void *context, size_t size, uint64_t page, int node)
{
    return driver.ops.map(context, size, page, node);
}

static int populate(void *context, void *memory, size_t size, int node)
{
    return driver.ops.populate(context, memory, size, node);
}

static int unmap(void *context, void *memory, size_t size)
{
    return driver.ops.unmap(context, memory, size);
}

static int listen_on(void *context, uint32_t port)
{
    return driver.ops.listen(context, port);
}

static int accept_from(void *context, int fd, uint32_t *ret_cid)
{
    return driver.ops.accept(context, fd, ret_cid);
}

static int connect_to(void *context, uint32_t cid, uint32_t port)
{
    return driver.ops.connect(context, cid, port);
}

/* The linker takes this one, and leaves the product's where it is. */
const struct tc_nitro_ops tc_nitro_kernel = {
    .root = driver.root,
    .context = &driver,
    .open_device = open_device,
    .control = control,
    .close = close_fd,
    .map = map,
    .populate = populate,
    .unmap = unmap,
    .listen = listen_on,
    .accept = accept_from,
    .connect = connect_to,
};

__attribute__((constructor)) static void set_up(void)
{
    machine.emulator = getenv("NITRO_EMULATOR");
    machine.firmware = getenv("NITRO_FIRMWARE");
    if (!machine.emulator || !machine.firmware || !driver_init(&driver, 1, 2048)) {
        (void)fputs("qemu_nitro_client: NITRO_EMULATOR or NITRO_FIRMWARE is not set\n", stderr);
        _Exit(2);
    }
    nitro_boot_with(&machine, &driver);
}

__attribute__((destructor)) static void tear_down(void)
{
    if (!driver_is_idle(&driver))
        (void)fputs("the double: something of the enclave stayed\n", stderr);
    driver_done(&driver);
}
