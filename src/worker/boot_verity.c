/* dm-verity by the device mapper's own calls: create, load the one-line table,
 * resume. */
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "worker/boot_pages.h"

enum { SECTORS_OF_BLOCK = TC_VERITY_BLOCK / 512, READ_AHEAD_KIB = 2048 };

/* One call's argument: the header, and room for a table behind it. */
union call {
    struct dm_ioctl header;
    char bytes[sizeof(struct dm_ioctl) + sizeof(struct dm_target_spec) + TC_VERITY_PARAMETERS_MAX];
};

static void prepare(union call *call, uint32_t flags)
{
    memset(call, 0, sizeof *call);
    call->header.version[0] = DM_VERSION_MAJOR;
    call->header.data_size = sizeof *call;
    call->header.data_start = sizeof call->header;
    call->header.flags = flags;
    memcpy(call->header.name, "toolchain", sizeof "toolchain");
}

static tc_status add_table(union call *call, const struct tc_verity *verity, struct tc_error *err)
{
    struct dm_target_spec target = {.length = verity->data_blocks * SECTORS_OF_BLOCK,
                                    .target_type = "verity"};
    TC_AUTO_BUF struct tc_buf parameters = tc_buf_new(TC_VERITY_PARAMETERS_MAX);
    tc_verity_parameters(verity, TC_BOOT_PAGES_DEVICE, &parameters);
    TC_TRY(tc_buf_check(&parameters, "the table of dm-verity", err));
    char *at = call->bytes + sizeof call->header;
    memcpy(at, &target, sizeof target);
    memcpy(at + sizeof target, parameters.data, parameters.size);
    call->header.target_count = 1;
    return TC_OK;
}

/* Few large reads instead of many small ones: each is a way to the host and back.
 * A matter of speed alone. */
static void read_far_ahead(const char *path)
{
    TC_AUTO_CLOSE int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd >= 0) (void)dprintf(fd, "%d", READ_AHEAD_KIB);
}

tc_status tc_boot_make_verity(const struct tc_verity *verity, char ret_device[TC_BOOT_DEVICE_MAX],
                              struct tc_error *err)
{
    union call call;
    char path[96];
    TC_AUTO_CLOSE int control = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
    if (control < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "the kernel has no device mapper");
    prepare(&call, 0);
    if (ioctl(control, DM_DEV_CREATE, &call) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make the verified device");
    unsigned number = minor((dev_t)call.header.dev);
    prepare(&call, DM_READONLY_FLAG);
    TC_TRY(add_table(&call, verity, err));
    if (ioctl(control, DM_TABLE_LOAD, &call) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot load the verified device's table");
    prepare(&call, DM_READONLY_FLAG);
    if (ioctl(control, DM_DEV_SUSPEND, &call) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot start the verified device");
    (void)snprintf(path, sizeof path, "/sys/block/dm-%u/queue/read_ahead_kb", number);
    read_far_ahead(path);
    read_far_ahead("/sys/block/nbd0/queue/max_sectors_kb");
    (void)snprintf(ret_device, TC_BOOT_DEVICE_MAX, "/dev/dm-%u", number);
    return TC_OK;
}
