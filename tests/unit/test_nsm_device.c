/* The NSM's driver as the client sees it: ioctl is replaced at link time
 * (--wrap), the device is /dev/null, which is a character device too. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <unistd.h>

#include <cmocka.h>

#include "worker/nsm.h"

struct raw {
    uint64_t request_address, request_size, response_address, response_size;
};

static struct {
    struct tc_span expected, answer;
    uint64_t claimed; /* answer's size, unless 0 */
    int error;
    int calls;
} driver;

int __wrap_ioctl(int fd, unsigned long number, struct raw *raw);
int __wrap_ioctl(int fd, unsigned long number, struct raw *raw)
{
    (void)fd;
    driver.calls++;
    assert_true(number == 0xc0200a00);
    struct tc_span request = {(const uint8_t *)(uintptr_t)raw->request_address, raw->request_size};
    assert_true(tc_span_equal(request, driver.expected));
    assert_true(raw->response_size == TC_NSM_RESPONSE_MAX);
    if (driver.error) {
        errno = driver.error;
        return -1;
    }
    memcpy((uint8_t *)(uintptr_t)raw->response_address, driver.answer.data, driver.answer.size);
    raw->response_size = driver.claimed ? driver.claimed : driver.answer.size;
    return 0;
}

static tc_status lock_16(struct tc_error *err)
{
    struct tc_nsm nsm;
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(tc_nsm_open(fd, &nsm, err), TC_OK);
    assert_true(nsm.is_device);
    driver.expected = tc_span_of_text("\xa1\x67LockPCR\xa1\x65index\x10");
    tc_status status = tc_nsm_lock_pcr(&nsm, 16, err);
    (void)close(fd);
    return status;
}

static int reset(void **state)
{
    (void)state;
    memset(&driver, 0, sizeof driver);
    driver.answer = tc_span_of_text("\x67LockPCR");
    return 0;
}

static void test_answer(void **state)
{
    (void)state;
    struct tc_error err = {0};
    assert_int_equal(lock_16(&err), TC_OK);
    driver.answer = tc_span_of_text("\xa1\x65" "Error\x6cInvalidIndex");
    assert_int_equal(lock_16(&err), TC_REFUSED);
    assert_non_null(strstr(err.message, "InvalidIndex"));
}

/* An interrupted call is not tried again: an extension would happen twice. */
static void test_errors(void **state)
{
    (void)state;
    struct tc_error err = {0};
    driver.error = EINTR;
    assert_int_equal(lock_16(&err), TC_UNAVAILABLE);
    assert_int_equal(driver.calls, 1);
}

static void test_sizes(void **state)
{
    (void)state;
    struct tc_error err = {0};
    driver.claimed = TC_NSM_RESPONSE_MAX + 1;
    assert_int_equal(lock_16(&err), TC_MALFORMED);
    driver.claimed = UINT64_MAX;
    assert_int_equal(lock_16(&err), TC_MALFORMED);
    driver.claimed = 7;
    assert_int_equal(lock_16(&err), TC_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_answer, reset),
        cmocka_unit_test_setup(test_errors, reset),
        cmocka_unit_test_setup(test_sizes, reset),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
