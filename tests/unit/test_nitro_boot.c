/* Between the driver's answers and the session: what the back end makes of each. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
/* Wants _IOR and its like, which it does not include. */
#include <linux/nitro_enclaves.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/nitro_host.h"
#include "nitro_lab.h"

/* --- a clock of the test's own --- */

static time_t clock_jump_s; /* of every look at it but the first */
static atomic_int clock_looks;

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_now);
int __real_clock_gettime(clockid_t clock, struct timespec *ret_now);

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_now)
{
    int result = __real_clock_gettime(clock, ret_now);
    if (atomic_fetch_add(&clock_looks, 1) > 0) ret_now->tv_sec += clock_jump_s;
    return result;
}

enum { STOP_PATIENCE_MS = 30 * 1000 };
static bool cuts_waits; /* of that length: they have been in vain at once */
static int cut_waits;

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout_ms);

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    if (timeout_ms != STOP_PATIENCE_MS || !cuts_waits) return __real_poll(fds, count, timeout_ms);
    cut_waits++;
    return __real_poll(fds, count, 0);
}

/* An enclave runs that nobody is in, and its patience is over at once. */
static void expect_no_session(const char *text)
{
    struct tc_backend_config config = configure();
    driver.on_start = NULL;
    driver.on_stop = NULL;
    clock_jump_s = 120;
    atomic_store(&clock_looks, 0);
    expect_failure(&config, TC_PEER, text);
    clock_jump_s = 0;
    assert_int_equal(driver.starts, 1);
}

static void test_patience(void **state)
{
    (void)state;
    expect_no_session("the enclave runs and did not connect within 120 s");
}

/* One that does not end when it is hung up on gets half a minute, and is ended then. */
static void test_enclave_that_stays(void **state)
{
    struct tc_error err = {0};
    struct tc_enclave *enclave = NULL;
    struct tc_backend_config config = configure();
    int fd = -1;
    (void)state;
    guests[0].stubborn = true;
    assert_int_equal(tc_nitro_start(&driver.ops, &config, &enclave, &fd, &err), TC_OK);
    cut_waits = 0;
    cuts_waits = true;
    tc_status status = tc_nitro_stop(enclave, &err);
    cuts_waits = false;
    assert_int_equal(status, TC_PEER);
    assert_non_null(strstr(err.message, "the enclave did not end and was ended"));
    assert_int_equal(cut_waits, 1);
    assert_true(driver_is_idle(&driver));
}

/* --- where the image is put --- */

static int (*control_really)(void *context, int fd, unsigned long request, void *argument);
static uint64_t load_offset;

static int say_offset(void *context, int fd, unsigned long request, void *argument)
{
    int result = control_really(context, fd, request, argument);
    if (request == NE_GET_IMAGE_LOAD_INFO && result == 0)
        ((struct ne_image_load_info *)argument)->memory_offset = load_offset;
    return result;
}

static void set_offset(uint64_t offset)
{
    driver_write(&driver, LARGE0 "free_hugepages", "1");
    control_really = driver.ops.control;
    driver.ops.control = say_offset;
    load_offset = offset;
}

/* It begins in the page of 1 GiB and ends in those of 2 MiB. */
static void test_image_over_two_regions(void **state)
{
    static uint8_t loaded[IMAGE_SIZE];
    struct tc_error err = {0};
    struct tc_enclave *enclave = NULL;
    struct tc_backend_config config = configure();
    int fd = -1;
    (void)state;
    set_offset(TC_NITRO_PAGE_1G - 3 * MB - 1);
    config.memory = 1000 * MB;
    if (tc_nitro_start(&driver.ops, &config, &enclave, &fd, &err) != TC_OK)
        fail_msg("%s", err.message);
    assert_int_equal(driver.enclaves[0].regions_count, 2);
    assert_true(driver_read(&driver.enclaves[0], load_offset, loaded, IMAGE_SIZE));
    assert_memory_equal(loaded, image_bytes, IMAGE_SIZE);
    assert_int_equal(tc_nitro_stop(enclave, &err), TC_OK);
}

/* Its last byte has to be inside. */
static void test_image_over_the_end(void **state)
{
    struct tc_error err = {0};
    struct tc_enclave *enclave = NULL;
    struct tc_backend_config config = configure();
    uint64_t memory = 0;
    int fd = -1;
    (void)state;
    assert_int_equal(tc_nitro_memory(IMAGE_SIZE, config.memory, &memory, &err), TC_OK);
    set_offset(memory - IMAGE_SIZE);
    if (tc_nitro_start(&driver.ops, &config, &enclave, &fd, &err) != TC_OK)
        fail_msg("%s", err.message);
    assert_int_equal(tc_nitro_stop(enclave, &err), TC_OK);
    load_offset++;
    expect_failure(&config, TC_LIMIT, "the image does not fit into the enclave's memory");
}

/* --- what was started --- */

static int start_as_another(void *context, int fd, unsigned long request, void *argument)
{
    int result = control_really(context, fd, request, argument);
    if (request == NE_START_ENCLAVE && result == 0)
        ((struct ne_enclave_start_info *)argument)->enclave_cid++;
    return result;
}

/* Its ports are others than those that are listened on. */
static void test_another_cid(void **state)
{
    (void)state;
    control_really = driver.ops.control;
    driver.ops.control = start_as_another;
    expect_no_session("the enclave was started as CID ");
}

static int (*connect_really)(void *context, uint32_t cid, uint32_t port);
static int connects;

static int count_connect(void *context, uint32_t cid, uint32_t port)
{
    connects++;
    return connect_really(context, cid, port);
}

/* Nobody looks at what an enclave says that is not in debug mode. */
static void test_console_of_debug_mode_alone(void **state)
{
    struct tc_error err = {0};
    struct tc_enclave *enclave = NULL;
    struct tc_backend_config config = configure();
    int fd = -1;
    (void)state;
    connect_really = driver.ops.connect;
    driver.ops.connect = count_connect;
    connects = 0;
    for (int debug = 0; debug <= 1; debug++) {
        guests[0].started = false;
        config.debug = debug != 0;
        assert_int_equal(tc_nitro_start(&driver.ops, &config, &enclave, &fd, &err), TC_OK);
        assert_int_equal(connects, debug);
        assert_int_equal(driver.enclaves[0].debug, debug);
        assert_int_equal(tc_nitro_stop(enclave, &err), TC_OK);
    }
}

static int refuse_connect(void *context, uint32_t cid, uint32_t port)
{
    (void)context;
    (void)cid;
    (void)port;
    errno = ECONNRESET;
    return -1;
}

static void keep_note(void *context, const char *text)
{
    (void)snprintf(context, TC_ERROR_MAX, "%s", text);
}

/* Told to who wants it, and not by a write that nobody may read. */
static void test_no_console(void **state)
{
    static const char bytes[4096];
    struct tc_error err = {0};
    struct tc_enclave *enclave = NULL;
    struct tc_backend_config config = configure();
    char note[TC_ERROR_MAX] = "";
    int fd = -1, ends[2], saved = dup(STDERR_FILENO);
    (void)state;
    driver.ops.connect = refuse_connect;
    config.debug = true;
    config.context = note;
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    while (write(ends[1], bytes, sizeof bytes) > 0)
        continue;
    assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0);
    for (int i = 0; i < 2; i++) {
        guests[0].started = false;
        config.note = i == 0 ? NULL : keep_note;
        (void)dup2(ends[1], STDERR_FILENO);
        tc_status status = tc_nitro_start(&driver.ops, &config, &enclave, &fd, &err);
        if (status == TC_OK) status = tc_nitro_stop(enclave, &err);
        (void)dup2(saved, STDERR_FILENO);
        if (status != TC_OK) fail_msg("%s", err.message);
    }
    assert_non_null(strstr(note, "no console of the enclave (port "));
    (void)close(saved);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUEST(test_patience),
        GUEST(test_enclave_that_stays),
        GUEST(test_image_over_two_regions),
        GUEST(test_image_over_the_end),
        GUEST(test_another_cid),
        GUEST(test_console_of_debug_mode_alone),
        GUEST(test_no_console),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
