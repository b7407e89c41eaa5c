/* What stages does with a command, played by the test: the session must not believe
 * that a command has ended while something can still write its log. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "os/message.h"
#include "worker/requests.h"
#include "worker/run.h"

static const char *const environment[] = {NULL};

static void answer(int fd, enum tc_run_end end)
{
    struct tc_error err = {0};
    struct tc_reply reply = {.kind = TC_REQUEST_COMMAND, .end = (uint32_t)end};
    if (tc_message_send(fd, &reply, sizeof reply, NULL, 0, &err) != TC_OK) _exit(EXIT_FAILURE);
}

/* Takes one command, "runs" it, and keeps the write end of its log if asked to. */
static int play_stages(int fd, bool hold)
{
    struct tc_error err = {0};
    struct tc_request request;
    int fds[2] = {-1, -1};
    size_t count = 0;
    char byte;
    if (tc_message_receive(fd, &request, sizeof request, fds, 2, &count, &err) != TC_OK ||
        count != 2 || request.kind != TC_REQUEST_COMMAND)
        return EXIT_FAILURE;
    answer(fd, 0);
    if (write(fds[1], "said\n", 5) != 5) return EXIT_FAILURE;
    if (!hold) (void)close(fds[1]);
    answer(fd, TC_RUN_EXITED);
    return read(fd, &byte, 1) == 0 ? EXIT_SUCCESS : EXIT_FAILURE; /* until the session is done */
}

static tc_status run(bool hold, struct tc_error *err)
{
    int stages[2], host[2], status;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, stages), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, host), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)close(stages[0]);
        _exit(play_stages(stages[1], hold));
    }
    (void)close(stages[1]);
    struct tc_channel channel;
    struct tc_buildlog log;
    struct tc_spawner spawner = {stages[0]};
    struct tc_command command = {"true", ".", environment};
    struct tc_limits limits = {.timeout = 1};
    assert_int_equal(tc_channel_init(&channel, host[0], 20000, "the host", err), TC_OK);
    assert_int_equal(tc_buildlog_init(&log, &channel, 1 << 20, err), TC_OK);
    tc_status result = tc_run_command(&spawner, &command, &limits, "input.cmd", &log, NULL, err);
    (void)close(stages[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    tc_buildlog_done(&log);
    tc_channel_done(&channel);
    (void)close(host[0]);
    (void)close(host[1]);
    return result;
}

static void test_ended(void **state)
{
    (void)state;
    struct tc_error err = {0};
    if (run(false, &err) != TC_OK) fail_msg("a command that ended: %s", err.message);
}

static void test_output_still_held(void **state)
{
    (void)state;
    struct tc_error err = {0};
    assert_int_equal(run(true, &err), TC_REFUSED);
    assert_string_equal(err.message, "input.cmd ended, but something still holds its output");
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_ended),
                                       cmocka_unit_test(test_output_still_held)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
