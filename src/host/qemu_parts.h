/* What the qemu back end needs before it can start a machine: an emulator, the parts
 * of the image, and how much memory they take together. */
#ifndef TC_HOST_QEMU_PARTS_H
#define TC_HOST_QEMU_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "host/imagefile.h"

/* The program's path; owned. given: a path, or a name to be looked for in PATH; NULL:
 * qemu-system-x86_64. TC_UNAVAILABLE says how to get it. */
tc_status tc_qemu_find(const char *given, char **ret_path, struct tc_error *err) TC_MUST_USE;

/* An emulator is asked things, and answers at once; who does not is not waited for. */
struct tc_qemu_asking {
    const char *path;
    int64_t until_ms; /* tc_clock_ms, of all questions together */
    int interrupt_fd; /* readable: TC_INTERRUPTED; -1: none */
};
struct tc_qemu_asking tc_qemu_asking(const char *path, int interrupt_fd);

/* Which of the machines of machine.h it has, and whether it can confine itself, by asking
 * it. TC_UNAVAILABLE: none. */
struct tc_qemu_machines {
    bool nitro, microvm;
    bool sandbox;
};
tc_status tc_qemu_ask(const struct tc_qemu_asking *asking, struct tc_qemu_machines *ret_machines,
                      struct tc_error *err) TC_MUST_USE;

/* Whether it can give a microvm the kernel's vsock device (vhost.h), by asking it. */
bool tc_qemu_has_vhost(const struct tc_qemu_asking *asking);

/* The sections of an image, as files in memory. */
struct tc_qemu_image {
    int kernel_fd, ramdisk_fd; /* all ramdisks, one behind the other */
    uint64_t ramdisks_size;
};
#define TC_QEMU_IMAGE_NONE                                                                         \
    (struct tc_qemu_image)                                                                         \
    {                                                                                              \
        .kernel_fd = -1, .ramdisk_fd = -1                                                          \
    }
void tc_qemu_image_done(struct tc_qemu_image *image);
tc_status tc_qemu_image_open(const struct tc_imagefile *image, struct tc_qemu_image *ret_image,
                             struct tc_error *err) TC_MUST_USE;

/* Bytes that the machine is given, so that `build` of them are there for the build.
 * Does not go by what this machine has: the build is the same everywhere. */
uint64_t tc_qemu_memory(uint64_t build, uint64_t ramdisks);
/* TC_UNAVAILABLE when this machine has not that much to give. */
tc_status tc_qemu_memory_check(uint64_t size, struct tc_error *err) TC_MUST_USE;

#endif
