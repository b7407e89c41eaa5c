/* The toolchain's file system, in one of two forms. The second ramdisk says which,
 * and is measured:
 *
 *   root.erofs   the file system itself (an image made self-contained), through a
 *                loop device; the marks have shown that the file is whole
 *   root.verity  a description of one that the host keeps (core/verity.h), read in
 *                blocks when they are touched and verified one by one
 *
 * Either way the kernel's reader of EROFS sees nothing that PCR0 does not cover. */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "worker/boot.h"
#include "worker/boot_pages.h"

static tc_status mount_device(const char *device, const char *target, struct tc_error *err)
{
    if (mount(device, target, "erofs", MS_RDONLY | MS_NOSUID | MS_NODEV, NULL) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot mount the toolchain from %s", device);
    return TC_OK;
}

static tc_status mount_file(int image, const char *target, struct tc_error *err)
{
    char device[TC_BOOT_DEVICE_MAX];
    TC_AUTO_CLOSE int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
    if (number < 0) return tc_fail_errno(err, TC_UNAVAILABLE, errno, "the kernel has no loop device");
    (void)snprintf(device, sizeof device, "/dev/loop%d", number);
    TC_AUTO_CLOSE int loop = open(device, O_RDONLY | O_CLOEXEC);
    struct loop_config config = {
        .fd = (unsigned)image,
        .block_size = TC_VERITY_BLOCK,
        .info = {.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR},
    };
    if (loop < 0 || ioctl(loop, LOOP_CONFIGURE, &config) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot open the toolchain as %s", device);
    /* Mounted before this descriptor, and with it the device, goes. */
    return mount_device(device, target, err);
}

static tc_status mount_pages(int description, const char *target, uint32_t port_shift,
                             struct tc_error *err)
{
    uint8_t text[TC_VERITY_TEXT_MAX + 1];
    char device[TC_BOOT_DEVICE_MAX];
    struct tc_verity verity;
    ssize_t got = read(description, text, sizeof text);
    if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read " TC_BOOT_TOOLCHAIN_VERITY);
    TC_TRY(tc_verity_decode((struct tc_span){text, (size_t)got}, &verity, err));
    TC_TRY(tc_boot_attach_pages(&verity, port_shift, err));
    TC_TRY(tc_boot_make_verity(&verity, device, err));
    return mount_device(device, target, err);
}

tc_status tc_boot_mount_toolchain(const char *target, uint32_t port_shift, struct tc_error *err)
{
    TC_AUTO_CLOSE int image = open(TC_BOOT_TOOLCHAIN_IMAGE, O_RDONLY | O_CLOEXEC);
    if (image >= 0) return mount_file(image, target, err);
    TC_AUTO_CLOSE int description = open(TC_BOOT_TOOLCHAIN_VERITY, O_RDONLY | O_CLOEXEC);
    if (description >= 0) return mount_pages(description, target, port_shift, err);
    return tc_fail_errno(err, TC_UNAVAILABLE, errno,
                         "the image names no toolchain: neither " TC_BOOT_TOOLCHAIN_IMAGE
                         " nor " TC_BOOT_TOOLCHAIN_VERITY);
}
