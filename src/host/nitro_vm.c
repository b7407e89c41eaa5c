#include "host/nitro_vm.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/ioctl.h>
/* Wants _IOR and its like, which it does not include. */
#include <linux/nitro_enclaves.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

enum { CPUS_MAX = 1024 };

/* Of memory, between two looks at the interrupt; whole pages of either size. */
#define PIECE ((size_t)TC_NITRO_PAGE_1G)

/* What the driver's own numbers mean, and what to do about those that can happen. */
static const struct {
    int number;
    const char *text;
} meanings[] = {
    {NE_ERR_VCPU_ALREADY_USED, "the processor is in the enclave already"},
    {NE_ERR_VCPU_NOT_IN_CPU_POOL, "the processor is not in the pool"},
    {NE_ERR_VCPU_INVALID_CPU_CORE, "the processor's core is not one of the pool"},
    {NE_ERR_INVALID_MEM_REGION_SIZE, "the memory is no multiple of 2 MiB"},
    {NE_ERR_INVALID_MEM_REGION_ADDR, "the memory's address is not valid"},
    {NE_ERR_UNALIGNED_MEM_REGION_ADDR, "the memory's address is not aligned to 2 MiB"},
    {NE_ERR_MEM_REGION_ALREADY_USED, "the memory is in the enclave already"},
    {NE_ERR_MEM_NOT_HUGE_PAGE, "the memory is not of huge pages"},
    {NE_ERR_MEM_DIFFERENT_NUMA_NODE,
     "the memory is on another NUMA node than the pool's processors: reserve huge pages on theirs"},
    {NE_ERR_MEM_MAX_REGIONS,
     "the huge pages lie in too many pieces: reserve them sooner after the instance starts, or as "
     "pages of 1 GiB (hugepagesz=1G hugepages=N on the kernel's command line)"},
    {NE_ERR_NO_MEM_REGIONS_ADDED, "it has no memory"},
    {NE_ERR_NO_VCPUS_ADDED, "it has no processors"},
    {NE_ERR_ENCLAVE_MEM_MIN_SIZE, "it has less than 64 MiB of memory"},
    {NE_ERR_FULL_CORES_NOT_USED, "its processors are not whole cores"},
    {NE_ERR_NOT_IN_INIT_STATE, "it was started before"},
    {NE_ERR_INVALID_VCPU, "there is no such processor"},
    {NE_ERR_NO_CPUS_AVAIL_IN_POOL,
     "the pool has none left, because other enclaves have them or because it is too small: ask "
     "for less (--cpus), wait until another enclave ends (nitro-cli describe-enclaves lists those "
     "of nitro-cli), or enlarge the pool"},
    {NE_ERR_INVALID_PAGE_SIZE, "the pages are no multiple of 2 MiB"},
    {NE_ERR_INVALID_FLAG_VALUE, "the driver does not know what is asked for"},
    {NE_ERR_INVALID_ENCLAVE_CID, "the CID is not one for enclaves"},
    {ETIMEDOUT,
     "the enclave device did not answer within the driver's two minutes: look for nitro_enclaves "
     "in: sudo dmesg"},
};

static tc_status explain(struct tc_error *err, int seen, const char *what)
{
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++)
        if (meanings[i].number == seen)
            return tc_fail(err, TC_UNAVAILABLE, "%s: %s", what, meanings[i].text);
    return tc_fail_errno(err, TC_UNAVAILABLE, seen, "%s", what);
}

static int control(const struct tc_nitro_vm *vm, unsigned long request, void *argument)
{
    int result;
    do
        result = vm->ops->control(vm->ops->context, vm->fd, request, argument);
    while (result < 0 && errno == EINTR);
    return result;
}

tc_status tc_nitro_vm_check_interrupt(const struct tc_nitro_vm *vm, struct tc_error *err)
{
    struct pollfd interrupt = {.fd = vm->interrupt_fd, .events = POLLIN};
    if (poll(&interrupt, 1, 0) == 1) return tc_fail(err, TC_INTERRUPTED, "interrupted");
    return TC_OK;
}

tc_status tc_nitro_vm_create(const struct tc_nitro_ops *ops, int interrupt_fd,
                             struct tc_nitro_vm *ret_vm, struct tc_error *err)
{
    struct tc_nitro_vm vm = {.ops = ops, .device_fd = -1, .fd = -1, .interrupt_fd = interrupt_fd};
    __u64 slot = 0;
    vm.device_fd = ops->open_device(ops->context);
    if (vm.device_fd < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open /dev/nitro_enclaves");
    vm.fd = ops->control(ops->context, vm.device_fd, NE_CREATE_VM, &slot);
    if (vm.fd < 0) {
        int seen = errno;
        tc_nitro_vm_done(&vm);
        return explain(err, seen, "cannot make an enclave");
    }
    *ret_vm = vm;
    return TC_OK;
}

/* --- memory --- */

/* What is no matter of how many pages there are is said by its name. */
static tc_status explain_pages(struct tc_error *err, int seen, bool mapped, size_t size, int node)
{
    char shown[16], what[96];
    (void)snprintf(what, sizeof what, "cannot take %s of huge pages on NUMA node %d",
                   tc_human_size(size, shown), node);
    if (seen == EPERM || seen == ENOSYS)
        return tc_fail_errno(err, TC_UNAVAILABLE, seen,
                             "%s: set_mempolicy is forbidden here, as a container's filter of "
                             "system calls does: allow it there, or build outside of the container",
                             what);
    if (seen == EINVAL && mapped)
        return tc_fail_errno(err, TC_UNAVAILABLE, seen,
                             "%s: the kernel does not know MADV_POPULATE_WRITE: Linux 5.14 or "
                             "newer is needed (uname -r)",
                             what);
    if (seen == EINVAL)
        return tc_fail_errno(err, TC_UNAVAILABLE, seen,
                             "%s: this process may not use that node's memory (Mems_allowed_list "
                             "in /proc/self/status, cpuset.mems of its control group)",
                             what);
    return tc_fail_errno(err, TC_UNAVAILABLE, seen,
                         "%s, which were free a moment ago (does another enclave start? then try "
                         "again; or does a control group limit them, hugetlb.*.max?)",
                         what);
}

static tc_status map(struct tc_nitro_vm *vm, uint64_t pages, uint64_t page, int node,
                     struct tc_error *err)
{
    if (pages == 0) return TC_OK;
    size_t size = (size_t)(pages * page);
    void *memory = vm->ops->map(vm->ops->context, size, page, node);
    if (!memory) return explain_pages(err, errno, false, size, node);
    vm->regions[vm->regions_count].memory = memory;
    vm->regions[vm->regions_count++].size = size;
    /* The kernel clears each page as it is taken, a second or two for a GiB. */
    for (size_t done = 0; done < size;) {
        size_t piece = size - done < PIECE ? size - done : PIECE;
        TC_TRY(tc_nitro_vm_check_interrupt(vm, err));
        if (vm->ops->populate(vm->ops->context, (uint8_t *)memory + done, piece, node) != 0)
            return explain_pages(err, errno, true, size, node);
        done += piece;
    }
    return TC_OK;
}

static tc_status read_at(int fd, uint64_t offset, uint8_t *out, size_t size, struct tc_error *err)
{
    while (size > 0) {
        ssize_t got = pread(fd, out, size, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read the image");
        if (got == 0) return tc_fail(err, TC_SYSTEM, "the image became shorter while it was read");
        out += got;
        offset += (uint64_t)got;
        size -= (size_t)got;
    }
    return TC_OK;
}

/* The regions follow one another in the enclave in the order in which they are given;
 * the image may reach over the end of one. */
static tc_status put_image(struct tc_nitro_vm *vm, int image_fd, uint64_t image_size,
                           struct tc_error *err)
{
    struct ne_image_load_info info = {.flags = NE_EIF_IMAGE};
    uint64_t begin = 0, done = 0;
    if (control(vm, NE_GET_IMAGE_LOAD_INFO, &info) != 0)
        return explain(err, errno, "the driver does not say where an image belongs");
    for (size_t i = 0; i < vm->regions_count && done < image_size; i++) {
        uint64_t size = vm->regions[i].size, at = info.memory_offset + done;
        if (at - begin < size) {
            uint64_t room = size - (at - begin), left = image_size - done;
            size_t piece = (size_t)(left < room ? left : room);
            TC_TRY(read_at(image_fd, done, (uint8_t *)vm->regions[i].memory + (at - begin), piece,
                           err));
            done += piece;
        }
        begin += size;
    }
    if (done < image_size)
        return tc_fail(err, TC_LIMIT, "the image does not fit into the enclave's memory");
    return TC_OK;
}

tc_status tc_nitro_vm_fill(struct tc_nitro_vm *vm, const struct tc_nitro_host *host,
                           uint64_t memory, int image_fd, uint64_t image_size, struct tc_error *err)
{
    struct tc_nitro_plan plan = {0};
    if (!tc_nitro_plan(memory, host->free_1g, host->free_2m, &plan))
        return tc_fail(err, TC_UNAVAILABLE, "there are not enough huge pages for the enclave");
    TC_TRY(map(vm, plan.pages_1g, TC_NITRO_PAGE_1G, host->node, err));
    TC_TRY(map(vm, plan.pages_2m, TC_NITRO_PAGE_2M, host->node, err));
    TC_TRY(put_image(vm, image_fd, image_size, err));
    for (size_t i = 0; i < vm->regions_count; i++) {
        struct ne_user_memory_region region = {.flags = NE_DEFAULT_MEMORY_REGION,
                                               .memory_size = vm->regions[i].size,
                                               .userspace_addr =
                                                   (__u64)(uintptr_t)vm->regions[i].memory};
        if (control(vm, NE_SET_USER_MEMORY_REGION, &region) != 0)
            return explain(err, errno, "cannot give the enclave its memory");
    }
    return TC_OK;
}

/* --- processors --- */

static tc_status add_cpu(struct tc_nitro_vm *vm, struct tc_error *err)
{
    __u32 id = 0; /* the driver chooses, siblings of what it chose before first */
    if (vm->cpus >= CPUS_MAX) return tc_fail(err, TC_LIMIT, "more than %d processors", CPUS_MAX);
    if (control(vm, NE_ADD_VCPU, &id) != 0) {
        char what[96];
        (void)snprintf(what, sizeof what, "cannot give the enclave processor %u", vm->cpus + 1);
        return explain(err, errno, what);
    }
    vm->cpus++;
    return TC_OK;
}

/* The driver passes on what the device answers, and a CID in use is the device's to know:
 * it keeps those of all enclaves, nitro-cli's too. No document says how it refuses one, so
 * what can mean that counts; not the failures of a request as such, of which one that timed
 * out has cost two minutes. */
static bool may_be_the_cid(int seen)
{
    return seen == EINVAL || seen == EEXIST || seen == EBUSY || seen == EADDRINUSE ||
           seen == EADDRNOTAVAIL;
}

/* How many threads a core has is the driver's to know: processors are added until it
 * agrees. */
tc_status tc_nitro_vm_start(struct tc_nitro_vm *vm, unsigned cpus, bool debug, uint32_t cid,
                            bool *ret_taken, struct tc_error *err)
{
    while (vm->cpus < cpus)
        TC_TRY(add_cpu(vm, err));
    for (;;) {
        struct ne_enclave_start_info info = {.flags = debug ? NE_ENCLAVE_DEBUG_MODE
                                                            : NE_ENCLAVE_PRODUCTION_MODE,
                                             .enclave_cid = cid};
        /* No signal ends the driver's wait: an EINTR would be the device's answer. */
        if (vm->ops->control(vm->ops->context, vm->fd, NE_START_ENCLAVE, &info) == 0) {
            if (info.enclave_cid == cid) return TC_OK;
            return tc_fail(err, TC_PEER, "the enclave was started as CID %llu instead of %u",
                           (unsigned long long)info.enclave_cid, (unsigned)cid);
        }
        if (errno == NE_ERR_FULL_CORES_NOT_USED) {
            TC_TRY(add_cpu(vm, err));
            continue;
        }
        int seen = errno;
        *ret_taken = may_be_the_cid(seen);
        return explain(err, seen, "the enclave does not start");
    }
}

void tc_nitro_vm_done(struct tc_nitro_vm *vm)
{
    if (!vm->ops) return;
    /* The pages are the enclave's until it is gone. */
    if (vm->fd >= 0) (void)vm->ops->close(vm->ops->context, vm->fd);
    for (size_t i = 0; i < vm->regions_count; i++)
        (void)vm->ops->unmap(vm->ops->context, vm->regions[i].memory, vm->regions[i].size);
    if (vm->device_fd >= 0) (void)vm->ops->close(vm->ops->context, vm->device_fd);
    *vm = (struct tc_nitro_vm){.device_fd = -1, .fd = -1, .interrupt_fd = -1};
}
