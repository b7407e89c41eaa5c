/* Random bytes before anything needs them: the host runs the machine and can
 * make every other source predictable, the NSM is the hardware's. What it gives
 * is credited in full. */
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "worker/boot.h"
#include "worker/nsm.h"

enum { SEED_SIZE = 64 }; /* twice what the kernel's generator holds */

static tc_status seed_kernel(int nsm_fd, struct tc_error *err)
{
    /* struct rand_pool_info, whose array has no size, with room in it. */
    struct {
        int entropy_count, buf_size; /* bits, bytes */
        uint8_t bytes[SEED_SIZE];
    } pool = {.entropy_count = 8 * SEED_SIZE, .buf_size = SEED_SIZE};
    _Static_assert(sizeof(struct rand_pool_info) == 2 * sizeof(int), "the bytes follow two numbers");
    struct tc_nsm nsm;
    TC_TRY(tc_nsm_open(nsm_fd, &nsm, err));
    TC_TRY(tc_nsm_random(&nsm, pool.bytes, sizeof pool.bytes, err));
    TC_AUTO_CLOSE int fd = open("/dev/random", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot seed the kernel's random numbers");
    explicit_bzero(&pool, sizeof pool);
    return TC_OK;
}

tc_status tc_boot_open_nsm(int *ret_fd, struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = open("/dev/nsm", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno,
                             "there is no Nitro Security Module (/dev/nsm): this image runs in an "
                             "enclave");
    TC_TRY(seed_kernel(fd, err));
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}
