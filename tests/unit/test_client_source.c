/* How long a worker may take to take the source, by a clock of the test's own: whenever the
 * client waits, this plays the worker. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/client.h"

#define ALWAYS SIZE_MAX

static struct {
    int fd;
    int64_t pause_ms; /* between two moments in which it takes something */
    size_t takes;     /* bytes at most, each time */
    size_t dies_at;   /* hangs up after so many; ALWAYS: never */
    int64_t due_ms;
    size_t taken;
} worker;

static struct {
    size_t size;
    int64_t pause_ms; /* for each frame to be read */
} source;

static int64_t now_ms;

/* --- time --- */

int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *ret_now)
{
    (void)clock;
    *ret_now = (struct timespec){.tv_sec = now_ms / 1000, .tv_nsec = now_ms % 1000 * 1000000};
    return 0;
}

static void hang_up(void)
{
    if (worker.fd >= 0) (void)close(worker.fd);
    worker.fd = -1;
}

static void take(void)
{
    static uint8_t bytes[65536];
    for (size_t left = worker.takes; left > 0;) {
        ssize_t got =
            recv(worker.fd, bytes, left < sizeof bytes ? left : sizeof bytes, MSG_DONTWAIT);
        if (got <= 0) break;
        left -= (size_t)got;
        worker.taken += (size_t)got;
    }
    if (worker.taken >= worker.dies_at) hang_up();
}

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout_ms);

/* A worker that is waited for has all, and nothing to say: it ends. */
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    const int64_t end_ms = now_ms + timeout_ms;
    int ready = __real_poll(fds, count, 0);
    if (timeout_ms == 0) return ready;
    if (fds[0].events == POLLIN) {
        worker.takes = ALWAYS;
        take();
        hang_up();
    }
    while (ready == 0 && worker.fd >= 0 && worker.due_ms <= end_ms) {
        if (now_ms < worker.due_ms) now_ms = worker.due_ms;
        take();
        worker.due_ms = now_ms + worker.pause_ms;
        ready = __real_poll(fds, count, 0);
    }
    if (ready == 0) ready = __real_poll(fds, count, 0);
    if (ready == 0) now_ms = end_ms;
    return ready;
}

/* --- the client --- */

static tc_status send_source(void *context, void *sink,
                             tc_status (*send)(void *sink, enum tc_wire_kind kind,
                                               struct tc_span payload, struct tc_error *err),
                             struct tc_error *err)
{
    static const uint8_t bytes[TC_WIRE_DATA_MAX];
    (void)context;
    for (size_t left = source.size; left > 0;) {
        size_t size = left < sizeof bytes ? left : sizeof bytes;
        now_ms += source.pause_ms;
        TC_TRY(send(sink, TC_WIRE_DATA, (struct tc_span){bytes, size}, err));
        left -= size;
    }
    return send(sink, TC_WIRE_SOURCE_END, (struct tc_span){NULL, 0}, err);
}

static void say(int fd, enum tc_wire_kind kind, struct tc_span payload)
{
    uint8_t header[TC_WIRE_HEADER_SIZE];
    tc_wire_header_encode(kind, (uint32_t)payload.size, header);
    assert_int_equal(send(fd, header, sizeof header, 0), sizeof header);
    assert_int_equal(send(fd, payload.data, payload.size, 0), payload.size);
}

/* How the session of that worker ends, which says "no room" when it dies. */
static void expect(tc_status expected, const char *text)
{
    struct tc_error err = {0};
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    say(ends[1], TC_WIRE_ACCEPT, tc_span_of_text("0"));
    if (worker.dies_at != ALWAYS) {
        const struct tc_error why = {.status = TC_LIMIT, .message = "no room"};
        struct tc_buf payload = tc_buf_new(1024);
        tc_wire_fail_encode(&why, &payload);
        say(ends[1], TC_WIRE_FAIL, tc_buf_span(&payload));
        tc_buf_free(&payload);
    }
    worker.fd = ends[1];
    worker.taken = 0;
    worker.due_ms = now_ms + worker.pause_ms;
    struct tc_client_config config = {
        .fd = ends[0],
        .interrupt_fd = -1,
        .hello = {.source = TC_SOURCE_TREE, .build_file = tc_span_of_text("build.json")},
        .build_file = tc_span_of_text("{}"),
        .send_source = send_source,
        .log_fd = memfd_create("log", MFD_CLOEXEC),
        .bundle_fd = -1,
        .detached_fd = -1};
    const struct tc_limits limits = {.log = 1024, .memory = 4096, .disk = 4096, .timeout = 1};
    tc_client_bound(&limits, &config);
    tc_status status = tc_client_run(&config, &err);
    hang_up();
    (void)close(config.log_fd);
    (void)close(ends[0]);
    if (status != expected || !strstr(err.message, text))
        fail_msg("expected '%s' (%d) in: %s (%d)", text, (int)expected, err.message, (int)status);
}

static int set_up(void **state)
{
    (void)state;
    now_ms = 1000000;
    worker.takes = ALWAYS;
    worker.pause_ms = 0;
    worker.dies_at = ALWAYS;
    source.size = 32 << 20;
    source.pause_ms = 0;
    return 0;
}

/* Never silent for as long as a moment may be, and at that it would take half a day. */
static void test_too_slow(void **state)
{
    const int64_t start_ms = now_ms;
    (void)state;
    worker.pause_ms = 119 * 1000;
    expect(TC_PEER, "the worker takes the source too slowly: expected 300 s and one more for each "
                    "62 KiB at most");
    assert_in_range(now_ms - start_ms, 300 * 1000, 420 * 1000);
    worker.pause_ms = 1000;
    worker.takes = 4096;
    expect(TC_PEER, "the worker takes the source too slowly");
    /* In a flow, which is a trickle. */
    worker.pause_ms = 128;
    expect(TC_PEER, "the worker takes the source too slowly");
    assert_in_range(worker.taken, 18 << 20, 19 << 20);
}

static void test_silent(void **state)
{
    const int64_t start_ms = now_ms;
    (void)state;
    worker.pause_ms = 121 * 1000;
    expect(TC_PEER, "the worker has not moved for 120 seconds");
    /* And for what it said before. */
    assert_in_range(now_ms - start_ms, 120 * 1000, 240 * 1000);
}

/* A machine with nothing but its emulator, and a large source: longer than the start. */
static void test_slow(void **state)
{
    const int64_t start_ms = now_ms;
    (void)state;
    worker.pause_ms = 41;
    worker.takes = 4096;
    source.size = 64 << 20;
    expect(TC_PEER, "the worker hung up");
    assert_true(worker.taken > source.size);
    assert_true(now_ms - start_ms > 600 * 1000);
}

/* What the client itself needs is not the worker's. */
static void test_slow_source(void **state)
{
    (void)state;
    source.pause_ms = 100 * 1000;
    source.size = 4 << 20;
    expect(TC_PEER, "the worker hung up");
    /* Nor is it a gift. */
    source.size = 32 << 20;
    worker.pause_ms = 128;
    worker.takes = 4096;
    expect(TC_PEER, "the worker takes the source too slowly");
}

/* What it said before it went explains more. */
static void test_dies(void **state)
{
    (void)state;
    worker.dies_at = 1 << 20;
    expect(TC_LIMIT, "no room");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_too_slow, set_up),
        cmocka_unit_test_setup(test_silent, set_up),
        cmocka_unit_test_setup(test_slow, set_up),
        cmocka_unit_test_setup(test_slow_source, set_up),
        cmocka_unit_test_setup(test_dies, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
