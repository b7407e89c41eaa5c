/* One descriptor, several consumers: each gets every byte in order, and the first
 * error ends it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "os/fanout.h"

enum { LANES = 4, LARGE = (43 << 16) + 12345 };

struct lane {
    uint64_t sum;
    size_t size, fail_at; /* fail_at: pieces until it fails; 0: never */
    size_t pieces;
    size_t index;
};

static tc_status add(void *context, struct tc_span bytes, struct tc_error *err)
{
    struct lane *lane = context;
    for (size_t i = 0; i < bytes.size; i++)
        lane->sum = lane->sum * 31 + bytes.data[i];
    lane->size += bytes.size;
    if (++lane->pieces == lane->fail_at)
        return tc_fail(err, TC_MALFORMED, "lane %zu has enough", lane->index);
    return TC_OK;
}

static int file_of(size_t size, uint64_t *ret_sum)
{
    int fd = memfd_create("fanout", MFD_CLOEXEC);
    uint8_t *bytes = malloc(size + 1);
    uint64_t sum = 0;
    assert_true(fd >= 0 && bytes);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(i * 2654435761U >> 13);
        sum = sum * 31 + bytes[i];
    }
    assert_int_equal(write(fd, bytes, size), (ssize_t)size);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    free(bytes);
    *ret_sum = sum;
    return fd;
}

static void start(struct lane lanes[LANES], struct tc_fanout_lane out[LANES])
{
    memset(lanes, 0, LANES * sizeof *lanes);
    for (size_t i = 0; i < LANES; i++) {
        lanes[i].index = i;
        out[i] = (struct tc_fanout_lane){&lanes[i], add};
    }
}

static void test_everybody_gets_everything(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, 2 << 16, LARGE};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t count = 1; count <= LANES; count++) {
            struct lane lanes[LANES];
            struct tc_fanout_lane out[LANES];
            struct tc_error err = {0};
            uint64_t sum;
            TC_AUTO_CLOSE int fd = file_of(sizes[i], &sum);
            start(lanes, out);
            assert_int_equal(tc_fanout(fd, "file", out, count, &err), TC_OK);
            for (size_t k = 0; k < LANES; k++) {
                assert_int_equal(lanes[k].size, k < count ? sizes[i] : 0);
                if (k < count) assert_true(lanes[k].sum == sum);
            }
        }
}

static void test_first_error(void **state)
{
    (void)state;
    for (size_t failing = 0; failing < LANES; failing++) {
        struct lane lanes[LANES];
        struct tc_fanout_lane out[LANES];
        struct tc_error err = {0};
        char expected[32];
        uint64_t sum;
        TC_AUTO_CLOSE int fd = file_of(LARGE, &sum);
        start(lanes, out);
        for (size_t i = 0; i < LANES; i++)
            lanes[i].fail_at = i < failing ? 5 : 4; /* whoever is faster, 4 comes first */
        assert_int_equal(tc_fanout(fd, "file", out, LANES, &err), TC_MALFORMED);
        (void)snprintf(expected, sizeof expected, "lane %zu has enough", failing);
        assert_string_equal(err.message, expected);
        for (size_t i = 0; i < LANES; i++) {
            assert_true(lanes[i].pieces >= 4);
            assert_true(lanes[i].pieces <= lanes[i].fail_at); /* it is not called again */
        }
    }
}

static void test_read_error(void **state)
{
    (void)state;
    struct lane lanes[LANES];
    struct tc_fanout_lane out[LANES];
    struct tc_error err = {0};
    TC_AUTO_CLOSE int fd = open("/", O_RDONLY | O_CLOEXEC);
    start(lanes, out);
    assert_int_equal(tc_fanout(fd, "the folder", out, LANES, &err), TC_SYSTEM);
    assert_non_null(strstr(err.message, "cannot read the folder"));
    for (size_t i = 0; i < LANES; i++)
        assert_int_equal(lanes[i].pieces, 0);
    assert_int_equal(tc_fanout(fd, "the folder", out, 0, &err), TC_USAGE);
    assert_int_equal(tc_fanout(fd, "the folder", out, TC_FANOUT_MAX + 1, &err), TC_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everybody_gets_everything),
        cmocka_unit_test(test_first_error),
        cmocka_unit_test(test_read_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
