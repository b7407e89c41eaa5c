/* Steps of the boot that only a toolchain outside of the image needs. */
#ifndef TC_WORKER_BOOT_PAGES_H
#define TC_WORKER_BOOT_PAGES_H

#include "core/verity.h"

#define TC_BOOT_PAGES_DEVICE "/dev/nbd0"

enum { TC_BOOT_DEVICE_MAX = 32 };

/* boot_pages.c: TC_BOOT_PAGES_DEVICE reads what the host serves. Starts two
 * processes that stay. */
tc_status tc_boot_attach_pages(const struct tc_verity *verity, uint32_t port_shift,
                               struct tc_error *err) TC_MUST_USE;

/* Its first step: the handshake over fd. TC_REFUSED when the host has fewer than the
 * expected bytes to serve; the device gets no more than those, whatever it has. */
tc_status tc_boot_greet_pages(int fd, uint64_t expected, struct tc_error *err) TC_MUST_USE;

/* boot_verity.c: a device that reads TC_BOOT_PAGES_DEVICE and verifies it. */
tc_status tc_boot_make_verity(const struct tc_verity *verity, char ret_device[TC_BOOT_DEVICE_MAX],
                              struct tc_error *err) TC_MUST_USE;

#endif
