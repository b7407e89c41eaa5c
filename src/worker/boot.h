/* The worker as PID 1 of an enclave. */
#ifndef TC_WORKER_BOOT_H
#define TC_WORKER_BOOT_H

#include "core/toolramdisk.h"

/* How the kernel names the program that it starts from the ramdisk. */
#define TC_BOOT_NAME "/init"

/* Where things are in the ramdisks, which are unpacked one over the other. Each
 * ramdisk ends with its mark: what was unpacked up to the mark is complete. */
#define TC_BOOT_MARK_WORKER "/complete"               /* last file of the first */
#define TC_BOOT_MARK_TOOLCHAIN "/toolchain/complete"  /* last file of the second */
#define TC_BOOT_TEXT "/toolchain/image"                /* core/imagetext.h */
#define TC_BOOT_TOOLCHAIN_IMAGE "/toolchain/root.erofs"
#define TC_BOOT_TOOLCHAIN_VERITY "/toolchain/root.verity"
#define TC_BOOT_MARK_TEXT TC_RAMDISK_MARK_TEXT

/* Makes the enclave's world, runs one session in it and ends the enclave; comes
 * back only when the caller is not PID 1 of a machine (exit status 2). */
int tc_boot_main(void);

/* --- steps of it; each in a file of its own --- */

/* boot_ramdisk.c: both marks are there, byte for byte. root is "" in an enclave. */
tc_status tc_boot_check_ramdisks(const char *root, struct tc_error *err) TC_MUST_USE;

/* boot_text.c: reads what the image says of itself, strictly, and compares the
 * command line in it with that of the kernel. root is "" in an enclave, cmdline
 * "/proc/cmdline". buf gets the text's bytes and takes TC_IMAGE_TEXT_MAX of them. */
tc_status tc_boot_check_text(const char *root, const char *cmdline, struct tc_buf *buf,
                             struct tc_error *err) TC_MUST_USE;

/* boot_mounts.c: kernel file systems and settings, then limits for processes. */
tc_status tc_boot_mount_kernel(struct tc_error *err) TC_MUST_USE;
tc_status tc_boot_set_kernel(struct tc_error *err) TC_MUST_USE;
/* Assembles the root that spawner.h asks for, all but /proc, and moves into it.
 * text becomes its /image; port_shift is that of the host's ports (os/vsock.h). */
tc_status tc_boot_enter_root(struct tc_span text, uint32_t port_shift, struct tc_error *err)
    TC_MUST_USE;

/* boot_toolchain.c: mounts the toolchain read-only on target. */
tc_status tc_boot_mount_toolchain(const char *target, uint32_t port_shift, struct tc_error *err)
    TC_MUST_USE;

/* boot_entropy.c: opens the NSM and seeds the kernel from it; ret_fd is owned. Where the
 * machine has no NSM, and only there, it is a stream to the host's development attester. */
tc_status tc_boot_open_nsm(uint32_t port_shift, int *ret_fd, struct tc_error *err) TC_MUST_USE;

#endif
