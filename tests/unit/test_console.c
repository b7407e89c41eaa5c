/* What is kept of a console, to the byte. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/machine_parts.h"

enum { MOST = TC_MACHINE_CONSOLE_MAX + 2 * TC_MACHINE_CONSOLE_TAIL };

static uint8_t said[MOST], kept[MOST];

/* No two pieces of it look alike. */
static int set_up(void **state)
{
    uint32_t seed = 1;
    (void)state;
    for (size_t i = 0; i < sizeof said; i++) {
        seed = seed * 1664525 + 1013904223;
        said[i] = (uint8_t)(seed >> 24);
    }
    return 0;
}

/* How much is kept of so many bytes. */
static size_t keep(size_t size)
{
    int ends[2], status = 0, log = memfd_create("console", MFD_CLOEXEC);
    assert_true(log >= 0);
    assert_int_equal(pipe(ends), 0);
    const struct tc_machine_part part = {getpid(), STDERR_FILENO};
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) tc_machine_run_console(&part, ends[0], log, -1);
    (void)close(ends[0]);
    for (size_t at = 0; at < size;) {
        ssize_t written = write(ends[1], said + at, size - at);
        if (written < 0 && errno == EINTR) continue;
        assert_true(written > 0);
        at += (size_t)written;
    }
    (void)close(ends[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    ssize_t got = pread(log, kept, sizeof kept, 0);
    assert_true(got >= 0);
    (void)close(log);
    return (size_t)got;
}

static void expect_all(size_t size)
{
    size_t got = keep(size);
    if (got != size) fail_msg("%zu bytes are kept of %zu", got, size);
    assert_memory_equal(kept, said, size);
}

/* The beginning, how much is missing, and the end. */
static void expect_gap(size_t size)
{
    char gap[64];
    const size_t first = TC_MACHINE_CONSOLE_MAX, last = TC_MACHINE_CONSOLE_TAIL;
    int gap_size =
        snprintf(gap, sizeof gap, "\n[%zu bytes are left out here]\n", size - first - last);
    size_t got = keep(size);
    assert_int_equal(got, first + (size_t)gap_size + last);
    assert_memory_equal(kept, said, first);
    assert_memory_equal(kept + first, gap, (size_t)gap_size);
    assert_memory_equal(kept + first + gap_size, said + size - last, last);
}

static void test_around_the_limits(void **state)
{
    const size_t first = TC_MACHINE_CONSOLE_MAX, last = TC_MACHINE_CONSOLE_TAIL;
    (void)state;
    expect_all(0);
    expect_all(first - 1);
    expect_all(first);
    expect_all(first + 1);
    expect_all(first + last - 1);
    expect_all(first + last);
    expect_gap(first + last + 1);
    expect_gap(first + 2 * last - 1);
    expect_gap(first + 2 * last);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_around_the_limits)};
    return cmocka_run_group_tests(tests, set_up, NULL);
}
