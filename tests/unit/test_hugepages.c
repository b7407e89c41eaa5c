/* The back end's memory as the kernel gives it: huge pages of one node, of which this test
 * reserves a few and gives them back, whatever becomes of it. 77: none can be had here. */
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/nitro_ops.h"

#define FOLDER "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/"

enum { NODE = 0, PAGES = 4, SKIPPED = 77, NO_NODE = 63 };

static const struct tc_nitro_ops *const ops = &tc_nitro_kernel;
static const size_t page = (size_t)TC_NITRO_PAGE_2M;

static long read_number(const char *path)
{
    char text[32] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) (void)close(fd);
    return got > 0 ? strtol(text, NULL, 10) : -1;
}

static long count_free(void)
{
    return read_number(FOLDER "free_hugepages");
}

/* The policy of this thread, or of the page at an address: the node where it lies. */
static int ask_policy(void *address, unsigned long flags)
{
    int answer = -1;
    assert_int_equal(syscall(SYS_get_mempolicy, &answer, NULL, 0UL, address, flags), 0);
    return answer;
}

static bool is_zero(const uint8_t *bytes, size_t size)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0;
}

/* --- tests --- */

/* All there, zero, on the node, aligned, and back at the end; in two pieces as a large one. */
static void test_pages(void **state)
{
    long before = count_free();
    (void)state;
    uint8_t *memory = ops->map(ops->context, PAGES * page, page, NODE);
    assert_non_null(memory);
    assert_int_equal((uintptr_t)memory % page, 0);
    assert_int_equal(count_free(), before);
    assert_int_equal(ops->populate(ops->context, memory, 3 * page, NODE), 0);
    assert_int_equal(count_free(), before - 3);
    assert_int_equal(ops->populate(ops->context, memory + 3 * page, page, NODE), 0);
    assert_int_equal(count_free(), before - PAGES);
    assert_true(is_zero(memory, PAGES * page));
    for (size_t i = 0; i < PAGES; i++)
        assert_int_equal(ask_policy(memory + i * page, MPOL_F_NODE | MPOL_F_ADDR), NODE);
    memset(memory, 0xa5, PAGES * page);
    assert_int_equal(count_free(), before - PAGES);
    assert_int_equal(ask_policy(NULL, 0), MPOL_DEFAULT);
    assert_int_equal(ops->unmap(ops->context, memory, PAGES * page), 0);
    assert_int_equal(count_free(), before);
    /* What the next one gets has nothing of it. */
    memory = ops->map(ops->context, page, page, NODE);
    assert_non_null(memory);
    assert_int_equal(ops->populate(ops->context, memory, page, NODE), 0);
    assert_true(is_zero(memory, page));
    assert_int_equal(ops->unmap(ops->context, memory, page), 0);
    assert_int_equal(count_free(), before);
}

/* More than there are is an answer, and no signal and no page less. */
static void test_too_many(void **state)
{
    long before = count_free();
    (void)state;
    /* A machine that may make more when they are asked for has no such number. */
    if (read_number("/proc/sys/vm/nr_overcommit_hugepages") > 0) skip();
    errno = 0;
    assert_null(ops->map(ops->context, (size_t)(before + 1) * page, page, NODE));
    assert_int_equal(errno, ENOMEM);
    assert_int_equal(count_free(), before);
    assert_int_equal(ask_policy(NULL, 0), MPOL_DEFAULT);
}

/* Neither is a page that is gone when it is taken. */
static void test_lost_page(void **state)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE;
    long before = count_free();
    (void)state;
    size_t size = (size_t)(before + 1) * page;
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
    assert_true(memory != MAP_FAILED);
    assert_int_equal(ops->populate(ops->context, memory, size, NODE), -1);
    assert_true(errno == EFAULT || errno == ENOMEM);
    assert_int_equal(ask_policy(NULL, 0), MPOL_DEFAULT);
    assert_int_equal(munmap(memory, size), 0);
    assert_int_equal(count_free(), before);
}

static void test_no_such_node(void **state)
{
    (void)state;
    errno = 0;
    assert_null(ops->map(ops->context, page, page, NO_NODE));
    assert_int_equal(errno, EINVAL);
    assert_int_equal(ask_policy(NULL, 0), MPOL_DEFAULT);
}

/* Of any node; and a child does not have it, which would hold the pages. */
static void test_child(void **state)
{
    unsigned char there;
    int status = -1;
    (void)state;
    uint8_t *memory = ops->map(ops->context, page, page, -1);
    assert_non_null(memory);
    assert_int_equal(ops->populate(ops->context, memory, page, -1), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(mincore(memory, 4096, &there) != 0 && errno == ENOMEM ? 0 : 1);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(ops->unmap(ops->context, memory, page), 0);
}

static int run_all(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages),     cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_lost_page), cmocka_unit_test(test_no_such_node),
        cmocka_unit_test(test_child),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* --- the pages --- */

static bool write_count(long count)
{
    char text[32];
    int size = snprintf(text, sizeof text, "%ld\n", count);
    int fd = open(FOLDER "nr_hugepages", O_WRONLY | O_CLOEXEC);
    bool written = fd >= 0 && write(fd, text, (size_t)size) == size;
    if (fd >= 0) (void)close(fd);
    return written;
}

/* The tests run in a child, so that their end, also by a signal, is not the reservation's. */
static int run_in_a_child(void)
{
    int status = 0;
    pid_t child = fork();
    if (child == 0) {
        (void)signal(SIGINT, SIG_DFL);
        (void)signal(SIGTERM, SIG_DFL);
        exit(run_all());
    }
    if (child < 0 || waitpid(child, &status, 0) != child) return 1;
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    (void)fprintf(stderr, "the tests ended by signal %d\n", WTERMSIG(status));
    return 1;
}

int main(void)
{
    /* Runs beside this one wait: the numbers are the machine's. */
    int lock = open(FOLDER "nr_hugepages", O_RDONLY | O_CLOEXEC);
    long before = lock >= 0 && flock(lock, LOCK_EX) == 0 ? read_number(FOLDER "nr_hugepages") : -1;
    long reserved = 0;
    int result = SKIPPED;
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
    /* The kernel takes what it can get, and calls that a success. */
    if (before >= 0 && write_count(before + PAGES))
        reserved = read_number(FOLDER "nr_hugepages") - before;
    if (reserved == PAGES && count_free() >= PAGES)
        result = run_in_a_child();
    else
        (void)fprintf(stderr,
                      "SKIPPED: no %d huge pages of 2 MiB can be reserved on NUMA node 0 here (as "
                      "root, with memory in such pieces): the memory of an enclave is NOT tested\n",
                      PAGES);
    if (reserved > 0 && !write_count(read_number(FOLDER "nr_hugepages") - reserved)) {
        (void)fprintf(stderr, "cannot give back what was reserved: %s\n", strerror(errno));
        result = 1;
    }
    return result;
}
