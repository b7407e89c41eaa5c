/* The double of the driver: each rule that the kernel's header states, broken once, and
 * the number that it then answers with. A back end that passes over this double has kept
 * them all. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
/* Wants _IOR and its like, which it does not include. */
#include <linux/nitro_enclaves.h>
#include <unistd.h>

#include <cmocka.h>

#include "nitro/driver.h"

static struct driver driver;
static int device, enclave;

#define MB ((uint64_t)1 << 20)

static int set_up(void **state)
{
    __u64 slot = 0;
    (void)state;
    if (!driver_init(&driver, 1, 128)) return -1;
    device = driver.ops.open_device(&driver);
    enclave = driver.ops.control(&driver, device, NE_CREATE_VM, &slot);
    return device >= 0 && enclave >= 0 && slot > 0 ? 0 : -1;
}

static void unmap_all(void)
{
    for (size_t i = 0; i < DRIVER_MAPS; i++)
        if (driver.maps[i].memory)
            (void)driver.ops.unmap(&driver, driver.maps[i].memory, driver.maps[i].size);
}

static int tear_down(void **state)
{
    (void)state;
    (void)driver.ops.close(&driver, enclave);
    unmap_all();
    (void)driver.ops.close(&driver, device);
    bool idle = driver_is_idle(&driver);
    driver_done(&driver);
    return idle ? 0 : -1;
}

/* 0, or the number. */
static int seen(int fd, unsigned long request, void *argument)
{
    return driver.ops.control(&driver, fd, request, argument) < 0 ? errno : 0;
}

static int add_cpu(unsigned id)
{
    __u32 cpu = id;
    return seen(enclave, NE_ADD_VCPU, &cpu);
}

static int give(uint64_t address, uint64_t size, uint64_t flags)
{
    struct ne_user_memory_region region = {flags, size, address};
    return seen(enclave, NE_SET_USER_MEMORY_REGION, &region);
}

static uint64_t map(uint64_t size, uint64_t page, int node)
{
    void *memory = driver.ops.map(&driver, (size_t)size, page, node);
    assert_non_null(memory);
    assert_int_equal(driver.ops.populate(&driver, memory, (size_t)size, node), 0);
    return (uint64_t)(uintptr_t)memory;
}

static int start(uint64_t cid, uint64_t flags)
{
    struct ne_enclave_start_info info = {flags, cid};
    return seen(enclave, NE_START_ENCLAVE, &info);
}

static void make_ready(void)
{
    assert_int_equal(give(map(64 * MB, TC_NITRO_PAGE_2M, 0), 64 * MB, 0), 0);
    assert_int_equal(add_cpu(0), 0);
    assert_int_equal(add_cpu(0), 0);
}

static void test_calls(void **state)
{
    __u64 slot = 0;
    __u32 cpu = 0;
    (void)state;
    assert_int_equal(seen(device, NE_ADD_VCPU, &cpu), ENOTTY);
    assert_int_equal(seen(enclave, NE_CREATE_VM, &slot), ENOTTY);
    assert_int_equal(seen(enclave, NE_ADD_VCPU, NULL), EFAULT);
}

static void test_processors(void **state)
{
    (void)state;
    assert_int_equal(add_cpu(8), NE_ERR_INVALID_VCPU);
    assert_int_equal(add_cpu(1), NE_ERR_VCPU_NOT_IN_CPU_POOL);
    assert_int_equal(add_cpu(5), 0);
    assert_int_equal(add_cpu(5), NE_ERR_VCPU_ALREADY_USED);
    /* The sibling of 5 comes first, then the other cores. */
    __u32 cpu = 0;
    assert_int_equal(seen(enclave, NE_ADD_VCPU, &cpu), 0);
    assert_int_equal(cpu, 4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(add_cpu(0), 0);
    assert_int_equal(add_cpu(0), NE_ERR_NO_CPUS_AVAIL_IN_POOL);
    __u64 slot = 0;
    assert_int_equal(seen(device, NE_CREATE_VM, &slot), NE_ERR_NO_CPUS_AVAIL_IN_POOL);
}

static void test_load_info(void **state)
{
    struct ne_image_load_info info = {0};
    (void)state;
    assert_int_equal(seen(enclave, NE_GET_IMAGE_LOAD_INFO, &info), NE_ERR_INVALID_FLAG_VALUE);
    info.flags = NE_IMAGE_LOAD_MAX_FLAG_VAL;
    assert_int_equal(seen(enclave, NE_GET_IMAGE_LOAD_INFO, &info), NE_ERR_INVALID_FLAG_VALUE);
    info.flags = NE_EIF_IMAGE;
    assert_int_equal(seen(enclave, NE_GET_IMAGE_LOAD_INFO, &info), 0);
    assert_int_equal(info.memory_offset, DRIVER_LOAD_OFFSET);
}

static void test_memory(void **state)
{
    (void)state;
    uint64_t good = map(64 * MB, TC_NITRO_PAGE_2M, 0);
    assert_int_equal(give(good, 64 * MB, NE_MEMORY_REGION_MAX_FLAG_VAL), NE_ERR_INVALID_FLAG_VALUE);
    assert_int_equal(give(good, MB, 0), NE_ERR_INVALID_MEM_REGION_SIZE);
    assert_int_equal(give(good + MB, 2 * MB, 0), NE_ERR_UNALIGNED_MEM_REGION_ADDR);
    assert_int_equal(give((uint64_t)1 << 60, 2 * MB, 0), NE_ERR_INVALID_MEM_REGION_ADDR);
    assert_int_equal(give(good, 0, 0), ENOMEM);
    assert_int_equal(give(2 * MB, 2 * MB, 0), EFAULT);
    assert_int_equal(give(good + 62 * MB, 4 * MB, 0), EFAULT);
    assert_int_equal(give(good, 32 * MB, 0), 0);
    assert_int_equal(give(good + 30 * MB, 4 * MB, 0), NE_ERR_MEM_REGION_ALREADY_USED);
    assert_int_equal(give(good, 2 * MB, 0), NE_ERR_MEM_REGION_ALREADY_USED);
}

static void test_pages(void **state)
{
    (void)state;
    assert_null(driver.ops.map(&driver, 258 * MB, TC_NITRO_PAGE_2M, 0));
    assert_int_equal(errno, ENOMEM);
    uint64_t ordinary = map(4 * MB, 4096, 0);
    ordinary += (2 * MB - ordinary % (2 * MB)) % (2 * MB);
    assert_int_equal(give(ordinary, 2 * MB, 0), NE_ERR_MEM_NOT_HUGE_PAGE);
    uint64_t small = map(4 * MB, 65536, 0);
    small += (2 * MB - small % (2 * MB)) % (2 * MB);
    assert_int_equal(give(small, 2 * MB, 0), NE_ERR_INVALID_PAGE_SIZE);
    driver_write(&driver,
                 "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages", "8");
    assert_int_equal(give(map(2 * MB, TC_NITRO_PAGE_2M, 1), 2 * MB, 0),
                     NE_ERR_MEM_DIFFERENT_NUMA_NODE);
    driver.scattered = true;
    driver.pieces_max = 4;
    uint64_t scattered = map(10 * MB, TC_NITRO_PAGE_2M, 0);
    assert_int_equal(give(scattered, 10 * MB, 0), NE_ERR_MEM_MAX_REGIONS);
    assert_int_equal(give(scattered, 8 * MB, 0), 0);
}

static void test_start(void **state)
{
    (void)state;
    assert_int_equal(start(0, NE_ENCLAVE_START_MAX_FLAG_VAL), NE_ERR_INVALID_FLAG_VALUE);
    const uint64_t cids[] = {1, 2, 3, UINT32_MAX, (uint64_t)UINT32_MAX + 1};
    for (size_t i = 0; i < sizeof cids / sizeof *cids; i++)
        assert_int_equal(start(cids[i], 0), NE_ERR_INVALID_ENCLAVE_CID);
    assert_int_equal(start(20, 0), NE_ERR_NO_MEM_REGIONS_ADDED);
    assert_int_equal(give(map(62 * MB, TC_NITRO_PAGE_2M, 0), 62 * MB, 0), 0);
    assert_int_equal(start(20, 0), NE_ERR_ENCLAVE_MEM_MIN_SIZE);
    assert_int_equal(give(map(2 * MB, TC_NITRO_PAGE_2M, 0), 2 * MB, 0), 0);
    assert_int_equal(start(20, 0), NE_ERR_NO_VCPUS_ADDED);
    assert_int_equal(add_cpu(0), 0);
    assert_int_equal(start(20, 0), NE_ERR_FULL_CORES_NOT_USED);
    assert_int_equal(add_cpu(0), 0);
    driver.foreign_cid = 20;
    assert_int_equal(start(20, 0), EINVAL);
    assert_int_equal(start(21, 0), 0);
}

static void test_after_start(void **state)
{
    struct ne_image_load_info info = {.flags = NE_EIF_IMAGE};
    (void)state;
    make_ready();
    uint64_t more = map(2 * MB, TC_NITRO_PAGE_2M, 0);
    assert_int_equal(start(20, 0), 0);
    assert_int_equal(start(21, 0), NE_ERR_NOT_IN_INIT_STATE);
    assert_int_equal(add_cpu(0), NE_ERR_NOT_IN_INIT_STATE);
    assert_int_equal(give(more, 2 * MB, 0), NE_ERR_NOT_IN_INIT_STATE);
    assert_int_equal(seen(enclave, NE_GET_IMAGE_LOAD_INFO, &info), NE_ERR_NOT_IN_INIT_STATE);
}

/* The hypervisor chooses where nobody does. */
static void test_chosen_cid(void **state)
{
    struct ne_enclave_start_info info = {0};
    (void)state;
    make_ready();
    driver.foreign_cid = 16;
    assert_int_equal(seen(enclave, NE_START_ENCLAVE, &info), 0);
    assert_int_equal(info.enclave_cid, 17);
}

/* What another process does with the descriptor is refused. */
static void test_owner(void **state)
{
    int status = 0;
    (void)state;
    uint64_t memory = map(2 * MB, TC_NITRO_PAGE_2M, 0);
    pid_t pid = fork();
    if (pid == 0) _exit(give(memory, 2 * MB, 0) == EIO && add_cpu(0) == EIO ? 0 : 1);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* What was given is not the parent's any more. */
static void test_given_memory(void **state)
{
    int status = 0;
    char name[32] = "";
    (void)state;
    uint64_t memory = map(64 * MB, TC_NITRO_PAGE_2M, 0);
    (void)strcpy((char *)(uintptr_t)memory + 62 * MB, "the last page");
    assert_int_equal(give(memory, 64 * MB, 0), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)signal(SIGSEGV, SIG_DFL); /* the test's own would print a failure */
        *(volatile char *)(uintptr_t)memory = 1;
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(driver_read(&driver.enclaves[0], 62 * MB, name, 14));
    assert_string_equal(name, "the last page");
    assert_false(driver_read(&driver.enclaves[0], 64 * MB - 1, name, 2));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_calls), TEST(test_processors),   TEST(test_load_info),   TEST(test_memory),
        TEST(test_pages), TEST(test_start),        TEST(test_after_start), TEST(test_chosen_cid),
        TEST(test_owner), TEST(test_given_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
