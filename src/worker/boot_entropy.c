/* Random bytes before anything needs them: the host runs the machine and can
 * make every other source predictable, the NSM is the hardware's. What it gives
 * is credited in full.
 *
 * A virtual machine that is no enclave has no NSM. There, the host's development
 * attester answers in its place, and the host knows the random bytes too: nothing is
 * lost, since it can read such a machine's memory, and nothing is gained, since a
 * verifier goes by the chain of the document alone, which is then no vendor's. An
 * enclave always has the device: its host cannot take that away, and this program does
 * not ask the host while it is there. Nor would an enclave's parent instance be asked,
 * which is CID 3: the attester is looked for at CID 2 alone, the host of any other
 * machine (docs/adr/0033-a-worker-without-an-nsm.md). */
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "os/vsock.h"
#include "worker/boot.h"
#include "worker/nsm.h"

enum {
    SEED_SIZE = 64, /* twice what the kernel's generator holds */
    ATTESTER_PATIENCE_MS = 10 * 1000,
};

static tc_status seed_kernel(int nsm_fd, struct tc_error *err)
{
    /* struct rand_pool_info, whose array has no size, with room in it. */
    struct {
        int entropy_count, buf_size; /* bits, bytes */
        uint8_t bytes[SEED_SIZE];
    } pool = {.entropy_count = 8 * SEED_SIZE, .buf_size = SEED_SIZE};
    _Static_assert(sizeof(struct rand_pool_info) == 2 * sizeof(int),
                   "the bytes follow two numbers");
    struct tc_nsm nsm;
    TC_TRY(tc_nsm_open(nsm_fd, &nsm, err));
    TC_TRY(tc_nsm_random(&nsm, pool.bytes, sizeof pool.bytes, err));
    TC_AUTO_CLOSE int fd = open("/dev/random", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot seed the kernel's random numbers");
    explicit_bzero(&pool, sizeof pool);
    return TC_OK;
}

static tc_status ask_host(uint32_t port_shift, int *ret_fd, struct tc_error *err)
{
    (void)dprintf(STDERR_FILENO,
                  "tee-compile-worker: there is no Nitro Security Module (/dev/nsm): the host's "
                  "development attester signs, NOT the hardware\n");
    if (tc_vsock_connect(TC_PARENT_HOST, TC_VSOCK_PORT_ATTESTER + port_shift, ATTESTER_PATIENCE_MS,
                         ret_fd, err) != TC_OK)
        return tc_wrap(err, "there is no Nitro Security Module (/dev/nsm), and the host has no "
                            "development attester in its place: this image runs in an enclave, or "
                            "by tee-compile build --backend qemu");
    return TC_OK;
}

tc_status tc_boot_open_nsm(uint32_t port_shift, int *ret_fd, struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = open("/dev/nsm", O_RDWR | O_CLOEXEC);
    /* Only where there is none: one that cannot be opened is a fault to be told. */
    if (fd < 0 && errno != ENOENT)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno,
                             "cannot open the Nitro Security Module (/dev/nsm)");
    if (fd < 0) TC_TRY(ask_host(port_shift, &fd, err));
    TC_TRY(seed_kernel(fd, err));
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}
