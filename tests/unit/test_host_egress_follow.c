/* What comes over the recorder's dialler and cannot be served ends nothing but itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "descriptors.h"
#include "egress_lab.h"
#include "os/message.h"

static struct tc_egress *egress;
static int dialler = -1; /* the recorder's end */

static int set_up(void **state)
{
    struct tc_egress_config config = {0};
    struct tc_error err = {0};
    int ends[2];
    (void)state;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return -1;
    dialler = ends[1];
    if (tc_egress_new(&config, &egress, &err) != TC_OK) return -1;
    return tc_egress_follow(egress, ends[0], &err) == TC_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    tc_egress_stop(egress);
    return close(dialler);
}

/* One end goes to the host; ours. */
static int send_stream(void)
{
    struct tc_error err = {0};
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(tc_message_send(dialler, "", 1, ends, 1, &err), TC_OK);
    (void)close(ends[0]);
    return ends[1];
}

/* A question of a stream that comes now gets its answer. */
static void expect_service(void)
{
    char text[TC_EGRESS_TEXT_MAX + 1];
    int fd = send_stream();
    write_frame(fd, TC_EGRESS_STORE, NULL, 0);
    assert_int_equal(read_answer(fd, text), TC_REFUSED); /* there is no archive */
    expect_end(fd);
    (void)close(fd);
}

/* The kernel has no number for what comes: that stream is hung up on, the next is served. */
static void test_no_descriptors(void **state)
{
    struct rlimit before, none;
    struct tc_error err = {0};
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = 3; /* and what poll(2) may be given */
    for (int i = 0; i < 3; i++) {
        int ends[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
        tc_status status = tc_message_send(dialler, "", 1, ends, 1, &err);
        (void)close(ends[0]);
        if (status == TC_OK) expect_end(ends[1]);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_int_equal(status, TC_OK);
        (void)close(ends[1]);
        expect_service();
    }
}

/* A message with so many bytes, and so many of these descriptors. */
static void send_form(size_t size, const int *fds, size_t count)
{
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(8 * sizeof(int))];
    } control = {0};
    char bytes[16] = "";
    struct iovec part = {.iov_base = bytes, .iov_len = size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (count > 0) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE(count * sizeof *fds);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(count * sizeof *fds);
        memcpy(CMSG_DATA(header), fds, count * sizeof *fds);
    }
    assert_int_equal(sendmsg(dialler, &message, MSG_NOSIGNAL), size);
}

/* Whatever is sent, nothing of it stays with the host, and nothing is owed for it. */
static void test_other_forms(void **state)
{
    static const struct {
        size_t size, count;
    } forms[] = {{1, 0}, {2, 0}, {2, 1}, {1, 2}, {1, 3}, {16, 8}};
    (void)state;
    int before = count_fds();
    for (size_t i = 0; i < 8 * (sizeof forms / sizeof *forms); i++) {
        int ends[2], same[8];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        for (size_t k = 0; k < 8; k++)
            same[k] = ends[0];
        send_form(forms[i / 8].size, same, forms[i / 8].count);
        (void)close(ends[0]);
        expect_end(ends[1]);
        (void)close(ends[1]);
    }
    expect_service();
    assert_int_equal(count_fds(), before);
}

/* One that hangs up is followed no longer: the other side is told. */
static void test_end(void **state)
{
    (void)state;
    expect_service();
    (void)shutdown(dialler, SHUT_WR);
    expect_end(dialler);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_no_descriptors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_other_forms, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_end, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
