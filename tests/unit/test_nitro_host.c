/* What an enclave needs of a machine, and what is said where that is missing: device, pool,
 * room. */
#include <errno.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
/* Wants _IOR and its like, which it does not include. */
#include <linux/nitro_enclaves.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/nitro_host.h"
#include "nitro_lab.h"
#include "os/vsock.h"

static void test_too_much(void **state)
{
    struct tc_backend_config config = configure();
    (void)state;
    config.memory = (uint64_t)1 << 50;
    expect_failure(&config, TC_LIMIT, "more memory than any enclave has");
    struct tc_error err = {0};
    uint64_t memory = 0;
    assert_int_equal(tc_nitro_memory(10 * MB + 1, 64 * MB, &memory, &err), TC_OK);
    assert_int_equal(memory, (64 + 3 * 10 + 192 + 2) * MB);
}

/* --- what is missing --- */

static void expect_presence(bool present)
{
    const struct tc_need need = {"a build", 10 * MB, 178 * MB, 0};
    struct tc_probe probe;
    tc_nitro_probe(&driver.ops, &need, &probe);
    assert_int_equal(probe.present, present);
}

#define PCI "/sys/bus/pci/devices/0000:00:02.0/"

static void put_on_bus(const char *vendor, const char *device)
{
    driver_write(&driver, "/sys/bus/pci/devices/0000:00:00.0/vendor", "0x8086");
    driver_write(&driver, "/sys/bus/pci/devices/0000:00:00.0/device", "0x1237");
    driver_write(&driver, PCI "vendor", vendor);
    driver_write(&driver, PCI "device", device);
}

static void take_module_away(void)
{
    char module[192], moved[224];
    (void)snprintf(module, sizeof module, "%s/sys/module/nitro_enclaves", driver.root);
    (void)snprintf(moved, sizeof moved, "%s.gone", module);
    assert_int_equal(rename(module, moved), 0);
}

/* Any sign of the device is one, and what is missing is named by what is there. */
static void test_lack_of_driver(void **state)
{
    (void)state;
    expect_presence(true);
    driver_write(&driver, "/dev/nitro_enclaves", NULL);
    expect_lack("has found no enclave device", "--enclave-options Enabled=true");
    expect_presence(true);
    put_on_bus("0x1d0f", "0xe4c1");
    expect_lack("is on the PCI bus, and there is no /dev/nitro_enclaves here",
                "docker run --device /dev/nitro_enclaves");
    expect_presence(true);
    take_module_away();
    expect_lack("the driver nitro_enclaves is not loaded: the enclave device is on the PCI bus",
                "sudo modprobe nitro_enclaves");
    expect_presence(true);
    struct tc_probe probe;
    tc_nitro_look(&driver.ops, 300 * MB, 0, NULL, &probe);
    assert_string_equal(probe.fix, "sudo modprobe nitro_enclaves"); /* a shell runs it */
    /* Another of that vendor's, and another vendor's. */
    put_on_bus("0x1d0f", "0xec20");
    expect_lack("there is no /dev/nitro_enclaves and no such device on the PCI bus",
                "launch an instance of a type that has enclaves");
    expect_presence(false);
    put_on_bus("0x1af4", "0xe4c1");
    expect_presence(false);
}

static void set_access(unsigned mode, gid_t group)
{
    char place[160];
    (void)snprintf(place, sizeof place, "%s/dev/nitro_enclaves", driver.root);
    assert_int_equal(chown(place, (uid_t)-1, group), 0);
    assert_int_equal(chmod(place, mode), 0);
}

/* Who is kept out by what is told how to get round just that. */
static void test_lack_of_permission(void **state)
{
    (void)state;
    driver.device_errno = EACCES;
    set_access(0600, getegid());
    expect_lack("cannot open /dev/nitro_enclaves: Permission denied",
                "sudo chmod 660 /dev/nitro_enclaves && sudo usermod -aG ne ");
    set_access(0640, getegid());
    expect_lack("Permission denied", "sudo chmod 660 ");
    set_access(0660, getegid());
    expect_lack("Permission denied", "something else forbids it");
    driver.device_errno = EPERM;
    expect_lack("Operation not permitted", "this container's device rules");
    driver.device_errno = ENODEV;
    expect_lack("No such device", "sudo dmesg");
    /* Only root gives a file to a group of others'. */
    const struct group *others = getgrnam("daemon");
    if (geteuid() != 0 || !others) return;
    driver.device_errno = EACCES;
    set_access(0660, others->gr_gid);
    expect_lack("Permission denied", "sudo usermod -aG daemon \"$USER\", then log in again");
    set_access(0600, others->gr_gid);
    expect_lack("Permission denied", "sudo chmod 660 ");
}

static void test_lack_of_pool(void **state)
{
    (void)state;
    driver_write(&driver, POOL_FILE, NULL);
    expect_lack("there is no " POOL_FILE, "sudo modprobe nitro_enclaves");
    driver_write(&driver, POOL_FILE, "");
    expect_lack(POOL_FILE " is empty", "take an instance with another core");
    driver_write(&driver, "/sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "2-3");
    expect_lack("no processors are set aside", "echo 2-3 | sudo tee " POOL_FILE);
    driver_write(&driver, ALLOCATOR, "---");
    expect_lack("no processors are set aside",
                "set cpu_count to 2 or more in " ALLOCATOR
                ", then: sudo systemctl restart nitro-enclaves-allocator.service");
}

static void put_core(unsigned cpu, const char *threads, unsigned node)
{
    char path[128];
    (void)snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list",
                   cpu);
    driver_write(&driver, path, threads);
    (void)snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%u/node%u/of", cpu, node);
    driver_write(&driver, path, "");
}

/* Where a core has one thread, a core is not enough for what a build asks for by default. */
static void test_pool_of_single_threads(void **state)
{
    (void)state;
    driver_write(&driver, POOL_FILE, "");
    driver_write(&driver, "/sys/devices/system/cpu/cpu1/topology/thread_siblings_list", NULL);
    driver_write(&driver, "/sys/devices/system/cpu/cpu2/node0/of", NULL);
    char node[160];
    (void)snprintf(node, sizeof node, "%s/sys/devices/system/cpu/cpu2/node0", driver.root);
    assert_int_equal(rmdir(node), 0);
    put_core(1, "1", 0);
    expect_lack("no processors are set aside",
                "echo 1 | sudo tee " POOL_FILE ", and build with --cpus 1");
    /* Of one node. */
    put_core(2, "2", 1);
    expect_lack("no processors are set aside",
                "echo 1 | sudo tee " POOL_FILE ", and build with --cpus 1");
    put_core(3, "3", 1);
    expect_lack("no processors are set aside", "echo 2,3 | sudo tee " POOL_FILE);
    put_core(4, "4", 0);
    put_core(5, "5", 0);
    driver_write(&driver, POOL_FILE, "1");
    expect_lack("needs 2 processors, and the pool has 1",
                "echo 1,4 | sudo tee " POOL_FILE
                " (while no enclave runs), or build with --cpus 1");
}

/* What is counted is what is asked for. */
static void test_pool_that_is_too_small(void **state)
{
    struct tc_probe probe;
    (void)state;
    driver_write(&driver, POOL_FILE, "2");
    expect_lack("needs 2 processors, and the pool has 1: " POOL_FILE " is 2",
                "build with --cpus 1, or take an instance with more processors on one NUMA node");
    tc_nitro_look(&driver.ops, 300 * MB, 1, NULL, &probe);
    assert_true(probe.usable);
    driver_write(&driver, POOL_FILE, "2-4,7");
    tc_nitro_look(&driver.ops, 300 * MB, 4, NULL, &probe);
    assert_true(probe.usable);
    tc_nitro_look(&driver.ops, 300 * MB, 5, NULL, &probe);
    assert_false(probe.usable);
    assert_non_null(strstr(probe.why, "needs 5 processors, and the pool has 4"));
    driver_write(&driver, ALLOCATOR, "---");
    tc_nitro_look(&driver.ops, 300 * MB, 5, NULL, &probe);
    assert_non_null(strstr(probe.fix, "build with --cpus 4, or take an instance"));
    put_core(5, "5-6", 0);
    tc_nitro_look(&driver.ops, 300 * MB, 5, NULL, &probe);
    assert_non_null(strstr(probe.fix, "set cpu_count to 5 or more in " ALLOCATOR));
    assert_non_null(strstr(probe.fix, ", or build with --cpus 4"));
}

/* What is there and cannot be read is shown, and not called empty. */
static void test_pool_that_is_no_list(void **state)
{
    (void)state;
    put_core(3, "2-3", 0);
    driver_write(&driver, POOL_FILE, "(null)");
    expect_lack(POOL_FILE " is \"(null)\", and no list of processors below 1024",
                "echo 2-3 | sudo tee " POOL_FILE);
    driver_write(&driver, POOL_FILE, "1100-1103");
    expect_lack("is \"1100-1103\"", "echo 2-3 | sudo tee ");
    driver_write(&driver, POOL_FILE, "2-3000");
    expect_lack("is \"2-3000\"", "echo 2-3 | sudo tee ");
    driver_write(&driver, POOL_FILE, "\033[31m");
    expect_lack("is \"\\x1b[31m\"", "echo 2-3 | sudo tee ");
    driver_write(&driver, ALLOCATOR, "---");
    expect_lack("is \"\\x1b[31m\"", "set cpu_count to 2 or more in " ALLOCATOR);
}

/* --- what only the driver knows --- */

static int create_errno;
static int (*control_really)(void *context, int fd, unsigned long request, void *argument);

static int create_not(void *context, int fd, unsigned long request, void *argument)
{
    if (request != NE_CREATE_VM) return control_really(context, fd, request, argument);
    errno = create_errno;
    return -1;
}

/* Cores that other enclaves have are in the pool's list, too. */
static void test_pool_of_others(void **state)
{
    const struct tc_need need = {"a build", 10 * MB, 178 * MB, 0};
    struct tc_probe probe;
    (void)state;
    tc_nitro_probe(&driver.ops, &need, &probe);
    assert_true(probe.usable);
    assert_true(driver_is_idle(&driver));
    expect_idle_fds();
    driver.taken[1] = driver.taken[2] = driver.taken[3] = true;
    tc_nitro_look(&driver.ops, 300 * MB, 0, NULL, &probe);
    assert_true(probe.usable); /* a start asks the driver next */
    tc_nitro_probe(&driver.ops, &need, &probe);
    assert_false(probe.usable);
    assert_true(probe.present);
    assert_non_null(strstr(probe.why, "cannot make an enclave: the pool has none left"));
    assert_non_null(strstr(probe.fix, "wait until another enclave ends"));
    driver.taken[1] = driver.taken[2] = driver.taken[3] = false;
    control_really = driver.ops.control;
    driver.ops.control = create_not;
    create_errno = ETIMEDOUT;
    tc_nitro_probe(&driver.ops, &need, &probe);
    assert_false(probe.usable);
    assert_non_null(strstr(probe.why, "did not answer within the driver's two minutes"));
    assert_non_null(strstr(probe.fix, "sudo dmesg"));
    expect_idle_fds();
}

/* For a build: what fits is usable, what does not is said with what would. */
static void test_room(void **state)
{
    struct tc_need need = {"a build", 10 * MB, 178 * MB};
    struct tc_probe probe;
    (void)state;
    driver_write(&driver, NODE0 "free_hugepages", "200");
    driver_write(&driver, NODE0 "nr_hugepages", "200");
    tc_nitro_probe(&driver.ops, &need, &probe); /* 400 MiB: 178, 3 times 10, 192 */
    assert_true(probe.usable && probe.present);
    need.memory += 1;
    tc_nitro_probe(&driver.ops, &need, &probe);
    assert_false(probe.usable);
    assert_true(probe.present);
    assert_non_null(
        strstr(probe.why, "no room for a build (limits.memory + limits.disk: 178.0 MiB)"));
    assert_non_null(strstr(probe.why, "needs 402.0 MiB of huge pages on NUMA node 0, where 400.0"));
    assert_non_null(strstr(probe.why, "; builds of up to 178 MiB fit"));
    assert_string_equal(probe.fix, "echo 201 | sudo tee " NODE0 "nr_hugepages");
    /* Enough for an enclave, and not for one that could build anything. */
    driver_write(&driver, NODE0 "free_hugepages", "32");
    tc_nitro_probe(&driver.ops, &need, &probe);
    assert_false(probe.usable);
    assert_non_null(strstr(probe.why, "no room for a build"));
    assert_null(strstr(probe.why, "builds of up to"));
    need.memory = (uint64_t)1 << 50;
    tc_nitro_probe(&driver.ops, &need, &probe);
    assert_false(probe.usable);
    assert_non_null(strstr(probe.fix, "make limits.memory or limits.disk smaller"));
    /* What every build lacks is said alone. */
    driver_write(&driver, POOL_FILE, "");
    tc_nitro_probe(&driver.ops, &need, &probe);
    assert_true(probe.present);
    assert_non_null(strstr(probe.why, "no processors are set aside"));
}

/* The node is the pool's: pages elsewhere are none. */
static void test_node(void **state)
{
    struct tc_nitro_host host = {0};
    struct tc_probe probe;
    char path[224], moved[224];
    (void)state;
    (void)snprintf(path, sizeof path, "%s/sys/devices/system/cpu/cpu2/node0", driver.root);
    (void)snprintf(moved, sizeof moved, "%s/sys/devices/system/cpu/cpu2/node1", driver.root);
    assert_int_equal(rename(path, moved), 0);
    expect_lack("on NUMA node 1, where 0 B are free", "node1");
    driver_write(&driver,
                 "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages", "400");
    tc_nitro_look(&driver.ops, 300 * MB, 0, &host, &probe);
    assert_true(probe.usable);
    assert_int_equal(host.node, 1);
    assert_int_equal(host.free_2m, 400);
    assert_string_equal(host.pool, "2-7");
}

/* --- numbers --- */

/* Whatever two enclaves there are, none of their ports is the other's, nor nitro-cli's. */
static void test_port_shift(void **state)
{
    enum { PORTS = 4, OF_NITRO_CLI = 9000 };
    const uint32_t ports[PORTS] = {TC_VSOCK_PORT_SESSION, TC_VSOCK_PORT_PAGES, TC_VSOCK_PORT_EGRESS,
                                   TC_VSOCK_PORT_HEARTBEAT};
    (void)state;
    assert_int_equal(tc_vsock_port_shift(TC_VSOCK_CID_FIRST), 0);
    assert_int_equal(tc_vsock_port_shift(3), 0);
    for (uint32_t distance = 1; distance < 64; distance++)
        for (size_t i = 0; i < PORTS; i++)
            for (size_t j = 0; j < PORTS; j++)
                assert_int_not_equal(ports[i] + tc_vsock_port_shift(5000),
                                     ports[j] + tc_vsock_port_shift(5000 + distance));
    for (uint32_t cid = 4; cid < 70000; cid++)
        for (size_t i = 0; i < PORTS; i++)
            assert_int_not_equal(ports[i] + tc_vsock_port_shift(cid), OF_NITRO_CLI);
}
int main(void)
{
    const struct CMUnitTest tests[] = {
        GUEST(test_too_much),
        GUEST(test_lack_of_driver),
        GUEST(test_lack_of_permission),
        GUEST(test_lack_of_pool),
        GUEST(test_pool_of_single_threads),
        GUEST(test_pool_that_is_too_small),
        GUEST(test_pool_that_is_no_list),
        GUEST(test_pool_of_others),
        GUEST(test_room),
        GUEST(test_node),
        cmocka_unit_test(test_port_shift),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
