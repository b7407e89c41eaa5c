/* The host's egress against askers that break the form or are too many, and its end while
 * some still ask. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "egress_net.h"
#include "loopback.h"
#include "os/message.h"

/* --- askers that break the form --- */

static void test_bad_questions(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *words;
    } cases[] = {
        {"\x01\x01\x00\x00", 4, "second byte"},
        {"\x07\x00\x00\x00", 4, "kind 7"},
        {"\x10\x00\x00\x01x", 5, "kind 16"},
        {"\x01\x00\x00\x01x", 5, "expected port and name"},
        {"\x01\x00\x00\x03\x00\x00x", 7, "port 0"},
        {"\x01\x00\x00\x02\x01\xbb", 6, "names \"\""},
        {"\x01\x00\x00\x0b\x01\xbb"
         "127.0.0.1",
         15, "names \"127.0.0.1\""},
        {"\x01\x00\x00\x06\x01\xbb"
         "A.b\n",
         10, "names \"A.b\\x0a\""},
        {"\x01\x00\x00\x05\x01\xbb"
         "a\0b",
         9, "names \"a\\x00b\""},
    };
    char text[TC_EGRESS_TEXT_MAX + 1];
    struct tc_egress *egress = new_egress(NULL, NULL);
    dialled = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fd = open_stream(egress);
        write_all(fd, cases[i].bytes, cases[i].size);
        assert_int_not_equal(read_answer(fd, text), 0);
        if (!strstr(text, cases[i].words))
            fail_msg("\"%s\" does not say \"%s\"", text, cases[i].words);
        expect_end(fd);
        (void)close(fd);
        /* And cut off anywhere. */
        for (size_t size = 0; size < cases[i].size && size < 4; size++) {
            fd = open_stream(egress);
            write_all(fd, cases[i].bytes, size);
            (void)shutdown(fd, SHUT_WR);
            assert_int_not_equal(read_answer(fd, text), 0);
            (void)close(fd);
        }
    }
    assert_int_equal(dialled, 0);
    tc_egress_stop(egress);
}

/* A socket that waits for connections has nothing to ask, and is let go at once. */
static void test_listener(void **state)
{
    (void)state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    socklen_t size = sizeof(sa_family_t);
    struct tc_egress *egress = new_egress(NULL, NULL);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* The kernel chooses an abstract name. */
    assert_int_equal(bind(listener, (struct sockaddr *)&address, size), 0);
    size = sizeof address;
    assert_int_equal(getsockname(listener, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(listen(listener, 1), 0);
    tc_egress_take(egress, listener);
    assert_int_equal(connect(client, (struct sockaddr *)&address, size), -1);
    assert_int_equal(errno, ECONNREFUSED);
    tc_egress_stop(egress);
    (void)close(client);
}

static void send_fd(int dialler, int fd)
{
    struct tc_error err = {0};
    assert_int_equal(tc_message_send(dialler, "", 1, &fd, 1, &err), TC_OK);
}

static void test_dialler(void **state)
{
    (void)state;
    char text[TC_EGRESS_TEXT_MAX + 1];
    struct tc_error err = {0};
    uint16_t port;
    int dialler[2], pair[2], pipe_ends[2], listener = listen_here(&port);
    struct tc_egress *egress = new_egress(NULL, NULL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, dialler), 0);
    assert_int_equal(tc_egress_follow(egress, dialler[0], &err), TC_OK);
    /* What could make the host wait, or reach what is not the recorder's, is dropped. */
    assert_int_equal(pipe(pipe_ends), 0);
    send_fd(dialler[1], pipe_ends[0]);
    send_fd(dialler[1], listener);
    send_fd(dialler[1], dialler[1]);
    /* One that could be answered is not. */
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    (void)!send(pair[1], "\x07\x00\x00\x00", 4, MSG_NOSIGNAL);
    send_fd(dialler[1], pair[0]);
    (void)close(pair[0]);
    expect_end(pair[1]);
    (void)close(pair[1]);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        send_fd(dialler[1], pair[0]);
        (void)close(pair[0]);
        ask_dial(pair[1], "nowhere.test", 1);
        assert_int_not_equal(read_answer(pair[1], text), 0);
        assert_non_null(strstr(text, "nowhere.test:1"));
        expect_end(pair[1]);
        (void)close(pair[1]);
    }
    (void)close(dialler[1]);
    (void)close(pipe_ends[0]);
    (void)close(pipe_ends[1]);
    (void)close(listener);
    tc_egress_stop(egress);
}

/* --- limits and ends --- */

static void test_too_many(void **state)
{
    (void)state;
    char text[TC_EGRESS_TEXT_MAX + 1];
    struct rlimit files;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
    files.rlim_cur = files.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
    if (files.rlim_max < 2 * TC_EGRESS_STREAMS_MAX + 64) skip();
    static int fds[TC_EGRESS_STREAMS_MAX];
    struct tc_egress *egress = new_egress(NULL, NULL);
    for (size_t i = 0; i < TC_EGRESS_STREAMS_MAX; i++)
        fds[i] = open_stream(egress);
    int fd = open_stream(egress);
    assert_int_not_equal(read_answer(fd, text), 0);
    assert_non_null(strstr(text, "1024 streams already"));
    expect_end(fd);
    (void)close(fd);
    /* One that ends makes room for another. */
    (void)shutdown(fds[0], SHUT_WR);
    assert_int_not_equal(read_answer(fds[0], text), 0);
    expect_end(fds[0]);
    (void)close(fds[0]);
    do {
        static const char question[] = "\x01\x00\x00\x0e\x00\x01nowhere.test";
        fd = open_stream(egress);
        /* It may have been refused and closed before it asked. */
        (void)!send(fd, question, sizeof question - 1, MSG_NOSIGNAL);
        (void)read_answer(fd, text);
        (void)close(fd);
    } while (strstr(text, "streams already"));
    assert_non_null(strstr(text, "does not resolve"));
    tc_egress_stop(egress);
    for (size_t i = 1; i < TC_EGRESS_STREAMS_MAX; i++)
        (void)close(fds[i]);
}

/* While a connection is open and another one is being made. */
static void test_stop(void **state)
{
    (void)state;
    char url[64];
    uint16_t port;
    int listener = listen_here(&server_port), proxy = listen_here(&port), server;
    resolved[0] = "192.0.2.1";
    (void)snprintf(url, sizeof url, "http://proxy.test:%u", (unsigned)port);
    struct tc_egress *egress = new_egress(url, "example.test");
    int open_one = expect_connection(egress, listener, "192.0.2.1", &server);
    int waiting = open_stream(egress), silent = open_stream(egress);
    ask_dial(waiting, "elsewhere.test", 443);
    int silent_proxy = accept4(proxy, NULL, NULL, SOCK_CLOEXEC);
    tc_egress_stop(egress);
    expect_end(open_one);
    expect_end(server);
    char text[TC_EGRESS_TEXT_MAX + 1];
    assert_int_not_equal(read_answer(waiting, text), 0);
    const int all[] = {open_one, server, waiting, silent, silent_proxy, listener, proxy};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        (void)close(all[i]);
}

static sem_t *message_gate; /* not NULL: what the dialler sent waits for it */
static sem_t message_waits;

tc_status __wrap_tc_message_receive(int socket, void *data, size_t size, int *ret_fds,
                                    size_t fds_count, size_t *ret_count, struct tc_error *err);
tc_status __real_tc_message_receive(int socket, void *data, size_t size, int *ret_fds,
                                    size_t fds_count, size_t *ret_count, struct tc_error *err);

tc_status __wrap_tc_message_receive(int socket, void *data, size_t size, int *ret_fds,
                                    size_t fds_count, size_t *ret_count, struct tc_error *err)
{
    tc_status status =
        __real_tc_message_receive(socket, data, size, ret_fds, fds_count, ret_count, err);
    if (!message_gate) return status;
    (void)sem_post(&message_waits);
    while (sem_wait(message_gate) != 0) {
    }
    return status;
}

static void *stop_it(void *argument)
{
    tc_egress_stop(argument);
    return NULL;
}

/* A stream that comes while the egress stops is told so. */
static void test_late_stream(void **state)
{
    (void)state;
    char text[TC_EGRESS_TEXT_MAX + 1];
    struct tc_error err = {0};
    sem_t gate;
    int dialler[2], pair[2];
    pthread_t thread;
    assert_int_equal(sem_init(&gate, 0, 0), 0);
    assert_int_equal(sem_init(&message_waits, 0, 0), 0);
    struct tc_egress *egress = new_egress(NULL, NULL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, dialler), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    message_gate = &gate;
    assert_int_equal(tc_egress_follow(egress, dialler[0], &err), TC_OK);
    send_fd(dialler[1], pair[0]);
    (void)close(pair[0]);
    while (sem_wait(&message_waits) != 0) {
    }
    int silent = open_stream(egress);
    assert_int_equal(pthread_create(&thread, NULL, stop_it, egress), 0);
    /* It stops: the stream that was there is told. */
    assert_int_equal(read_answer(silent, text), TC_INTERRUPTED);
    assert_int_equal(sem_post(&gate), 0);
    assert_int_equal(read_answer(pair[1], text), TC_INTERRUPTED);
    assert_string_equal(text, "the host has stopped to answer");
    assert_int_equal(pthread_join(thread, NULL), 0);
    message_gate = NULL;
    (void)close(silent);
    (void)close(pair[1]);
    (void)close(dialler[1]);
}

/* Nobody waits for the resolver, which may take its time, and what it says later harms
 * nobody. */
static void test_stop_while_resolving(void **state)
{
    (void)state;
    sem_t gate;
    char text[TC_EGRESS_TEXT_MAX + 1];
    assert_int_equal(sem_init(&gate, 0, 0), 0);
    assert_int_equal(sem_init(&resolver_waits, 0, 0), 0);
    resolved[0] = "192.0.2.1";
    resolver_gate = &gate;
    struct tc_egress *egress = new_egress("http://u:p@proxy.test:1", NULL);
    int fd = open_stream(egress);
    ask_dial(fd, "example.test", 443);
    while (sem_wait(&resolver_waits) != 0) {
    }
    tc_egress_stop(egress);
    assert_int_equal(sem_post(&gate), 0);
    assert_int_not_equal(read_answer(fd, text), 0);
    expect_end(fd);
    (void)close(fd);
    resolver_gate = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_questions),
        cmocka_unit_test(test_listener),
        cmocka_unit_test(test_dialler),
        cmocka_unit_test(test_too_many),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_late_stream),
        cmocka_unit_test(test_stop_while_resolving),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
