/* What starts behind the double of the driver (nitro/driver.h) when an enclave does: a QEMU
 * with the memory that the enclave was given. The image is what is found there at the load
 * offset, whatever file it came from; the guest gets the memory's size, the processors'
 * number and the CID that were asked for, and its vsock ends at the double's ports. */
#ifndef TC_TESTS_QEMU_NITRO_BOOT_H
#define TC_TESTS_QEMU_NITRO_BOOT_H

#include <pthread.h>
#include <sys/types.h>

#include "nitro/driver.h"

struct nitro_boot {
    const char *emulator, *firmware;
    const char *console; /* a file for what the guest says; NULL: for its debug console alone */
    pid_t device, machine;
    pthread_t watcher, keeper;
    int console_in, console_out; /* from the emulator; to the file, or -1 */
    struct driver *driver;
    struct driver_enclave *enclave;
};

/* Sets on_start, on_stop and context of the driver. */
void nitro_boot_with(struct nitro_boot *boot, struct driver *driver);

#endif
