/* Huge pages for an enclave: how many of which size, and what is said where they are missing
 * or cannot be had. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/nitro_host.h"
#include "nitro_lab.h"

static void test_plan(void **state)
{
    const struct {
        uint64_t need, free_1g, free_2m;
        bool enough;
        uint64_t pages_1g, pages_2m;
    } table[] = {
        {300 * MB, 0, 150, true, 0, 150},
        {300 * MB, 0, 149, false, 0, 0},
        {300 * MB, 1, 149, true, 1, 0},
        {300 * MB, 1, 150, true, 0, 150},
        {1024 * MB, 1, 0, true, 1, 0},
        {1025 * MB, 1, 0, false, 0, 0},
        {1025 * MB, 1, 1, true, 1, 1},
        {1025 * MB, 2, 0, true, 2, 0},
        {4096 * MB, 2, 1024, true, 2, 1024},
        {4096 * MB, 2, 1023, false, 0, 0},
        {1, 0, 1, true, 0, 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct tc_nitro_plan plan = {99, 99};
        assert_int_equal(tc_nitro_plan(table[i].need, table[i].free_1g, table[i].free_2m, &plan),
                         table[i].enough);
        assert_int_equal(plan.pages_1g, table[i].enough ? table[i].pages_1g : 99);
        assert_int_equal(plan.pages_2m, table[i].enough ? table[i].pages_2m : 99);
    }
}

static void test_lack_of_pages(void **state)
{
    (void)state;
    driver_write(&driver, NODE0 "free_hugepages", "100");
    driver_write(&driver, NODE0 "nr_hugepages", "120");
    expect_lack("needs 300.0 MiB of huge pages on NUMA node 0, where 200.0 MiB are free",
                "| sudo tee " NODE0 "nr_hugepages");
    struct tc_probe probe;
    tc_nitro_look(&driver.ops, 300 * MB, 0, NULL, &probe);
    /* 20 are somebody's, 100 are free, 50 are missing. */
    assert_string_equal(probe.fix, "echo 170 | sudo tee " NODE0 "nr_hugepages");
    driver_write(&driver, ALLOCATOR, "---");
    tc_nitro_look(&driver.ops, 300 * MB, 0, NULL, &probe);
    /* What is somebody's now needs room beside it, then as before. */
    assert_non_null(strstr(probe.fix, "set memory_mib to 340 or more in " ALLOCATOR));
    driver_write(&driver, LARGE0 "nr_hugepages", "2");
    tc_nitro_look(&driver.ops, 300 * MB, 0, NULL, &probe);
    assert_non_null(strstr(probe.fix, "set memory_mib to 2388 or more in " ALLOCATOR));
}

/* Less than that is no enclave, whatever it is for. */
static void test_least_memory(void **state)
{
    struct tc_probe probe;
    (void)state;
    driver_write(&driver, NODE0 "free_hugepages", "31");
    tc_nitro_look(&driver.ops, 0, 0, NULL, &probe);
    assert_false(probe.usable);
    assert_non_null(strstr(probe.why, "needs 64.0 MiB of huge pages"));
    driver_write(&driver, NODE0 "free_hugepages", "32");
    tc_nitro_look(&driver.ops, 0, 0, NULL, &probe);
    assert_true(probe.usable);
}

/* --- large pages --- */

static uint64_t read_count(const char *path)
{
    char place[224], text[32] = "";
    (void)snprintf(place, sizeof place, "%s%s", driver.root, path);
    FILE *file = fopen(place, "r");
    assert_non_null(file);
    (void)!fgets(text, sizeof text, file);
    (void)fclose(file);
    return strtoull(text, NULL, 10);
}

static void write_count(const char *path, uint64_t count)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)count);
    driver_write(&driver, path, text);
}

/* What a shell does with the fix, on a machine whose kernel gives so many of 1 GiB at most. */
static void run_fix(const char *fix, unsigned most)
{
    char command[2048];
    const char sys[] = "/sys/";
    int size = snprintf(command, sizeof command,
                        "sudo() { read n; case \"$2\" in *1048576kB*) "
                        "[ \"$n\" -le %u ] || n=%u;; esac; echo \"$n\" >\"$2\"; }; ",
                        most, most);
    for (const char *at = fix; *at; at++) {
        if (strncmp(at, sys, sizeof sys - 1) == 0)
            size += snprintf(command + size, sizeof command - (size_t)size, "%s", driver.root);
        command[size++] = *at;
        command[size] = '\0';
    }
    assert_int_equal(system(command), 0);
}

/* Pages of 1 GiB are asked for first, and those of 2 MiB for what the kernel does not give
 * of them; nothing that somebody has is given back, and then there is enough. */
static void test_large_pages_first(void **state)
{
    const uint64_t need = 4396 * MB;
    (void)state;
    for (unsigned most = 0; most <= 5; most++) {
        struct tc_probe probe;
        write_count(NODE0 "nr_hugepages", 120);
        write_count(NODE0 "free_hugepages", 100);
        write_count(LARGE0 "nr_hugepages", 0);
        write_count(LARGE0 "free_hugepages", 0);
        tc_nitro_look(&driver.ops, need, 0, NULL, &probe);
        assert_false(probe.usable);
        assert_true(strlen(probe.fix) < 400);
        assert_non_null(strstr(probe.fix, "echo 4 | sudo tee $p/hugepages-1048576kB/"));
        run_fix(probe.fix, most);
        uint64_t large = read_count(LARGE0 "nr_hugepages"),
                 small = read_count(NODE0 "nr_hugepages");
        assert_int_equal(large, most < 4 ? most : 4);
        assert_int_equal(large * 512 + small, 20 + need / (2 * MB));
        assert_true(small >= 120);
        write_count(LARGE0 "free_hugepages", large);
        write_count(NODE0 "free_hugepages", small - 20);
        tc_nitro_look(&driver.ops, need, 0, NULL, &probe);
        assert_true(probe.usable);
    }
}

/* What was asked for once is not asked for again, nor what the kernel does not have. */
static void test_no_more_large_pages(void **state)
{
    struct tc_probe probe;
    char folder[192];
    (void)state;
    write_count(NODE0 "nr_hugepages", 120);
    write_count(NODE0 "free_hugepages", 100);
    write_count(LARGE0 "nr_hugepages", 1);
    write_count(LARGE0 "free_hugepages", 1);
    tc_nitro_look(&driver.ops, 4396 * MB, 0, NULL, &probe);
    assert_string_equal(probe.fix, "echo 1706 | sudo tee " NODE0 "nr_hugepages");
    write_count(LARGE0 "free_hugepages", 0);
    tc_nitro_look(&driver.ops, 4396 * MB, 0, NULL, &probe);
    assert_string_equal(probe.fix, "echo 2218 | sudo tee " NODE0 "nr_hugepages");
    /* Less than one is missing. */
    write_count(LARGE0 "nr_hugepages", 0);
    tc_nitro_look(&driver.ops, (1024 + 198) * MB, 0, NULL, &probe);
    assert_string_equal(probe.fix, "echo 631 | sudo tee " NODE0 "nr_hugepages");
    driver_write(&driver, LARGE0 "nr_hugepages", NULL);
    driver_write(&driver, LARGE0 "free_hugepages", NULL);
    (void)snprintf(folder, sizeof folder, "%s%s", driver.root, LARGE0);
    assert_int_equal(rmdir(folder), 0);
    tc_nitro_look(&driver.ops, 4396 * MB, 0, NULL, &probe);
    assert_string_equal(probe.fix, "echo 2218 | sudo tee " NODE0 "nr_hugepages");
}

/* --- pages that cannot be had --- */

/* The pages went between the look and the taking. */
static int pages_errno = ENOMEM;
static void *map_nothing(void *context, size_t size, uint64_t page, int node)
{
    (void)context;
    (void)size;
    (void)page;
    (void)node;
    errno = pages_errno;
    return NULL;
}

static int populate_nothing(void *context, void *memory, size_t size, int node)
{
    (void)context;
    (void)memory;
    (void)size;
    (void)node;
    errno = pages_errno;
    return -1;
}

static void test_lost_pages(void **state)
{
    struct tc_backend_config config = configure();
    (void)state;
    pages_errno = EFAULT; /* what a SIGBUS is where it is an answer */
    driver.ops.populate = populate_nothing;
    expect_failure(&config, TC_UNAVAILABLE, "which were free a moment ago");
    pages_errno = ENOMEM;
    driver.ops.map = map_nothing;
    expect_failure(&config, TC_UNAVAILABLE, "which were free a moment ago");
}

/* What has nothing to do with how many there are is not told as if. */
static void test_pages_that_nobody_gets(void **state)
{
    struct tc_backend_config config = configure();
    void *(*map_really)(void *context, size_t size, uint64_t page, int node) = driver.ops.map;
    (void)state;
    driver.ops.populate = populate_nothing;
    pages_errno = EINVAL;
    expect_failure(&config, TC_UNAVAILABLE, "Linux 5.14 or newer is needed");
    pages_errno = EPERM;
    expect_failure(&config, TC_UNAVAILABLE, "set_mempolicy is forbidden here");
    driver.ops.map = map_nothing;
    expect_failure(&config, TC_UNAVAILABLE, "set_mempolicy is forbidden here");
    pages_errno = ENOSYS;
    expect_failure(&config, TC_UNAVAILABLE, "set_mempolicy is forbidden here");
    pages_errno = EINVAL;
    expect_failure(&config, TC_UNAVAILABLE, "may not use that node's memory");
    driver.ops.map = map_really;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plan),        GUEST(test_lack_of_pages),
        GUEST(test_least_memory),           GUEST(test_large_pages_first),
        GUEST(test_no_more_large_pages),    GUEST(test_lost_pages),
        GUEST(test_pages_that_nobody_gets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
