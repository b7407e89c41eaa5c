/* Nothing that is written for a reader waits for one, whatever the reader has. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <cmocka.h>

#include "os/onlooker.h"

/* Until nothing more is taken: how much was. */
static size_t fill(const struct tc_onlooker *onlooker)
{
    static char line[4096];
    size_t taken = 0;
    memset(line, 'x', sizeof line);
    for (;;) {
        ssize_t written =
            tc_onlooker_write(onlooker, (struct tc_span){(const uint8_t *)line, sizeof line});
        if (written < 0) break;
        assert_true(written > 0);
        taken += (size_t)written;
    }
    assert_int_equal(errno, EAGAIN);
    assert_true(taken > 0);
    return taken;
}

/* Reads as much, and nothing else is there. */
static void expect_all(int fd, size_t taken)
{
    char bytes[4096];
    struct pollfd more = {.fd = fd, .events = POLLIN};
    while (taken > 0) {
        ssize_t got = read(fd, bytes, sizeof bytes);
        assert_true(got > 0 && (size_t)got <= taken);
        for (ssize_t i = 0; i < got; i++)
            assert_int_equal(bytes[i], 'x');
        taken -= (size_t)got;
    }
    assert_int_equal(poll(&more, 1, 0), 0);
}

static void open_terminal(int *ret_master, int *ret_fd)
{
    char name[64];
    struct termios mode;
    *ret_master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(*ret_master >= 0);
    assert_int_equal(grantpt(*ret_master), 0);
    assert_int_equal(unlockpt(*ret_master), 0);
    assert_int_equal(ptsname_r(*ret_master, name, sizeof name), 0);
    *ret_fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(*ret_fd >= 0);
    assert_int_equal(tcgetattr(*ret_fd, &mode), 0);
    cfmakeraw(&mode);
    assert_int_equal(tcsetattr(*ret_fd, TCSANOW, &mode), 0);
}

/* Its other users find it as it was. */
static void test_terminal(void **state)
{
    int master, fd;
    (void)state;
    open_terminal(&master, &fd);
    struct tc_onlooker onlooker = tc_onlooker_open(fd);
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    expect_all(master, fill(&onlooker));
    expect_all(master, fill(&onlooker));
    tc_onlooker_close(&onlooker);
    assert_true(fcntl(fd, F_GETFD) >= 0);
    (void)close(fd);
    (void)close(master);
}

static void test_pipe(void **state)
{
    int ends[2];
    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct tc_onlooker onlooker = tc_onlooker_open(ends[1]);
    assert_int_equal(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0);
    expect_all(ends[0], fill(&onlooker));
    tc_onlooker_close(&onlooker);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static void test_socket(void **state)
{
    int ends[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    struct tc_onlooker onlooker = tc_onlooker_open(ends[1]);
    expect_all(ends[0], fill(&onlooker));
    (void)close(ends[0]);
    assert_int_equal(tc_onlooker_write(&onlooker, tc_span_of_text("x")), -1);
    assert_int_equal(errno, EPIPE);
    tc_onlooker_close(&onlooker);
    (void)close(ends[1]);
}

/* One that cannot be opened again: in small pieces, when it is ready. */
static void test_what_cannot_be_opened(void **state)
{
    int master, fd, ends[2];
    (void)state;
    open_terminal(&master, &fd);
    const struct tc_onlooker shared = {.fd = fd, .most = 1};
    expect_all(master, fill(&shared));
    (void)close(fd);
    (void)close(master);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    (void)close(ends[0]);
    (void)signal(SIGPIPE, SIG_IGN);
    const struct tc_onlooker unread = {.fd = ends[1], .most = 1};
    assert_int_equal(tc_onlooker_write(&unread, tc_span_of_text("x")), -1);
    assert_int_equal(errno, EPIPE);
    (void)close(ends[1]);
}

/* As a whole where there is room, whatever may be opened; in part or not at all else. */
static void test_line(void **state)
{
    static const char line[] = "a line that is longer than one write of a single byte";
    struct rlimit before, none;
    char bytes[sizeof line] = "";
    int master, fd, ends[2];
    (void)state;
    open_terminal(&master, &fd);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 3;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(setrlimit(RLIMIT_NOFILE, i == 0 ? &before : &none), 0);
        tc_onlooker_say(fd, tc_span_of_text(line));
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        for (size_t at = 0; at < sizeof line - 1;) {
            ssize_t got = read(master, bytes + at, sizeof line - 1 - at);
            assert_true(got > 0);
            at += (size_t)got;
        }
        assert_string_equal(bytes, line);
    }
    (void)close(fd);
    (void)close(master);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct tc_onlooker onlooker = tc_onlooker_open(ends[1]);
    size_t taken = fill(&onlooker);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(setrlimit(RLIMIT_NOFILE, i == 0 ? &before : &none), 0);
        tc_onlooker_say(ends[1], tc_span_of_text(line));
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    }
    expect_all(ends[0], taken);
    tc_onlooker_close(&onlooker);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_terminal), cmocka_unit_test(test_pipe),
        cmocka_unit_test(test_socket),   cmocka_unit_test(test_what_cannot_be_opened),
        cmocka_unit_test(test_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
