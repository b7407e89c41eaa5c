/* Streams that cannot be taken at the moment, and a listener that never will. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/cidports.h"

enum { CID = 5000, CALLS_MAX = 100 };

/* Answers with `number` so many times, then with a stream. */
struct queue {
    int number;
    unsigned failures, calls;
};

static int accept_later(void *context, int fd, uint32_t *ret_cid)
{
    struct queue *queue = context;
    (void)fd;
    *ret_cid = CID;
    if (queue->calls++ < queue->failures) {
        errno = queue->number;
        return -1;
    }
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int take_so(struct queue *queue, bool is_silent, int *listener)
{
    const struct tc_cidports_calls calls = {
        .context = queue, .accept = accept_later, .is_silent = is_silent};
    return tc_cidports_accept(&calls, CID, listener);
}

static int take(struct queue *queue, int *listener)
{
    return take_so(queue, false, listener);
}

static const int shortages[] = {EMFILE, ENFILE, ENOMEM, ENOBUFS};

/* A moment without descriptors is none without a network. */
static void test_short_moment(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shortages / sizeof *shortages; i++) {
        struct queue queue = {shortages[i], 2, 0};
        int listener = open("/dev/null", O_RDONLY | O_CLOEXEC);
        int fd = take(&queue, &listener);
        assert_true(fd >= 0);
        assert_true(listener >= 0);
        (void)close(fd);
        (void)close(listener);
    }
}

/* One that stays is told, costs few calls, and the stream can be taken once it is over. */
static void test_long_shortage(void **state)
{
    struct queue queue = {EMFILE, UINT32_MAX, 0};
    char said[512] = "";
    int ends[2], saved = dup(STDERR_FILENO);
    int listener = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)state;
    assert_int_equal(pipe(ends), 0);
    (void)dup2(ends[1], STDERR_FILENO);
    int fd = take(&queue, &listener);
    (void)dup2(saved, STDERR_FILENO);
    (void)close(saved);
    (void)close(ends[1]);
    ssize_t got = read(ends[0], said, sizeof said - 1);
    (void)close(ends[0]);
    assert_int_equal(fd, -1);
    assert_true(listener >= 0);
    assert_true(queue.calls < CALLS_MAX);
    assert_true(got > 0);
    assert_non_null(strstr(said, "cannot be taken: Too many open files (more descriptors: ulimit"));
    queue.failures = 0;
    fd = take(&queue, &listener);
    assert_true(fd >= 0);
    (void)close(fd);
    (void)close(listener);
}

/* Nobody reads what is told: nobody waits for that. */
static void test_unread_complaint(void **state)
{
    static const char bytes[4096];
    struct queue queue = {EMFILE, UINT32_MAX, 0};
    int ends[2], saved = dup(STDERR_FILENO);
    int listener = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)state;
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
    while (write(ends[1], bytes, sizeof bytes) > 0)
        continue;
    assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0);
    (void)dup2(ends[1], STDERR_FILENO);
    int fd = take(&queue, &listener);
    (void)dup2(saved, STDERR_FILENO);
    (void)close(saved);
    (void)close(ends[0]);
    (void)close(ends[1]);
    assert_int_equal(fd, -1);
    assert_true(listener >= 0);
    (void)close(listener);
}

/* Where a word is a complaint there is none. */
static void test_silence(void **state)
{
    struct queue queue = {EMFILE, UINT32_MAX, 0};
    int ends[2], saved = dup(STDERR_FILENO);
    int listener = open("/dev/null", O_RDONLY | O_CLOEXEC);
    char byte;
    (void)state;
    assert_int_equal(pipe(ends), 0);
    (void)dup2(ends[1], STDERR_FILENO);
    int fd = take_so(&queue, true, &listener);
    (void)dup2(saved, STDERR_FILENO);
    (void)close(saved);
    (void)close(ends[1]);
    assert_int_equal(read(ends[0], &byte, 1), 0);
    (void)close(ends[0]);
    assert_int_equal(fd, -1);
    assert_true(listener >= 0);
    (void)close(listener);
}

static void test_nobody(void **state)
{
    struct queue queue = {EAGAIN, 1, 0};
    int listener = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)state;
    assert_int_equal(take(&queue, &listener), -1);
    assert_int_equal(queue.calls, 1);
    assert_true(listener >= 0);
    (void)close(listener);
}

static void test_broken_listener(void **state)
{
    struct queue queue = {EINVAL, 1, 0};
    int listener = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)state;
    assert_int_equal(take(&queue, &listener), -1);
    assert_int_equal(listener, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_moment),     cmocka_unit_test(test_long_shortage),
        cmocka_unit_test(test_unread_complaint), cmocka_unit_test(test_silence),
        cmocka_unit_test(test_nobody),           cmocka_unit_test(test_broken_listener),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
