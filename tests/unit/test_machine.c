/* The launcher, with a program in the emulator's place that plays the guest: what
 * the guest is given, and that nothing is left whatever happens. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "machine_lab.h"
#include "host/egress.h"
#include "host/machine.h"
#include "host/vhost.h"
#include "os/message.h"

/* --- what the guest is given --- */

static void test_ports(void **state)
{
    struct tc_error err = {0};
    struct tc_machine *machine = NULL;
    char hello[5];
    int session = -1, ends[2], before = count_fds();
    (void)state;
    put(lab.pages, "pages");
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    const struct tc_machine_port port = {.port = 7400, .fd = ends[0]};
    struct tc_machine_config config = configure("arguments session heartbeat pages own own twice");
    config.pages_fd = lab.pages_fd;
    config.firmware = "/a/folder";
    config.ports = &port;
    config.ports_count = 1;
    assert_int_equal(tc_machine_start(&config, &machine, &err), TC_OK);
    session = meet(machine);
    assert_int_equal(recv(session, hello, sizeof hello, MSG_WAITALL), sizeof hello);
    assert_memory_equal(hello, "hello", sizeof hello);
    assert_int_equal(send(session, "welcome", 7, MSG_NOSIGNAL), 7);
    int own = take_stream(ends[1]);
    assert_int_equal(send(own, "own", 3, MSG_NOSIGNAL), 3);
    (void)close(own);
    assert_int_equal(tc_machine_wait(machine, -1, -1, &err), TC_OK);
    assert_int_equal(tc_machine_stop(machine, &err), TC_OK);
    read_console();
    expect_said("session: welcome\n");
    expect_said("heartbeat: <b7>\n");
    expect_said("pages: NBDMAGICIHAVEOPT<00><03>\n");
    expect_said("own: own\nown: refused\n");
    expect_said("twice: refused\n");
    expect_said("argument 100663296B\n");
    expect_said("argument -L\nargument /a/folder\n");
    expect_said("argument nitro-enclave,vsock=c,");
    (void)close(ends[0]);
    (void)close(ends[1]);
    assert_int_equal(count_fds(), before);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

/* A port of which each connection is a stream of its own. */
static void test_port_of_many(void **state)
{
    struct tc_error err = {0};
    struct tc_machine *machine = NULL;
    int ends[2], before = count_fds();
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    const struct tc_machine_port port = {.port = 7303, .fd = ends[0], .many = true};
    struct tc_machine_config config = configure("many own");
    config.ports = &port;
    config.ports_count = 1;
    assert_int_equal(tc_machine_start(&config, &machine, &err), TC_OK);
    (void)close(ends[0]);
    for (size_t i = 0; i < 3; i++) {
        char text[3], answer[8];
        int fd = take_stream(ends[1]);
        assert_int_equal(recv(fd, text, sizeof text, MSG_WAITALL), sizeof text);
        assert_memory_equal(text, "ask", sizeof text);
        (void)snprintf(answer, sizeof answer, "answe%zu", i);
        assert_int_equal(send(fd, answer, 6, MSG_NOSIGNAL), 6);
        (void)close(fd);
    }
    assert_int_equal(tc_machine_wait(machine, -1, -1, &err), TC_OK);
    assert_int_equal(tc_machine_stop(machine, &err), TC_OK);
    read_console();
    expect_said("many: answe0\nmany: answe1\nmany: answe2\n");
    expect_said("own: refused\n");
    (void)close(ends[1]);
    assert_int_equal(count_fds(), before);
}

/* --- the network --- */

static void test_network(void **state)
{
    struct tc_error err = {0};
    struct tc_machine *machine = NULL;
    struct tc_egress *egress = NULL;
    int before = count_fds();
    (void)state;
    struct tc_machine_config config = configure("network network");
    make_egress(&egress);
    config.egress = egress;
    assert_int_equal(tc_machine_start(&config, &machine, &err), TC_OK);
    assert_int_equal(tc_machine_wait(machine, -1, -1, &err), TC_OK);
    assert_int_equal(tc_machine_stop(machine, &err), TC_OK);
    tc_egress_stop(egress);
    read_console();
    const char *first = strstr(lab.said, REFUSAL);
    assert_non_null(first);
    assert_non_null(strstr(first + 1, REFUSAL));
    assert_int_equal(count_fds(), before);
}

static void test_no_network(void **state)
{
    struct tc_error err = {0};
    struct tc_machine *machine = NULL;
    (void)state;
    const struct tc_machine_config config = configure("network");
    assert_int_equal(tc_machine_start(&config, &machine, &err), TC_OK);
    assert_int_equal(tc_machine_wait(machine, -1, -1, &err), TC_OK);
    assert_int_equal(tc_machine_stop(machine, &err), TC_OK);
    read_console();
    expect_said("network: refused\n");
}

/* The egress ends first: the guest has no network from then on, and runs on. */
static void test_end_of_network(void **state)
{
    struct tc_error err = {0};
    struct tc_machine *machine = NULL;
    struct tc_egress *egress = NULL;
    char hello[5];
    int session = -1, before = count_fds();
    (void)state;
    struct tc_machine_config config = configure("network session network");
    make_egress(&egress);
    config.egress = egress;
    assert_int_equal(tc_machine_start(&config, &machine, &err), TC_OK);
    session = meet(machine);
    assert_int_equal(recv(session, hello, sizeof hello, MSG_WAITALL), sizeof hello);
    tc_egress_stop(egress);
    assert_int_equal(send(session, "welcome", 7, MSG_NOSIGNAL), 7);
    assert_int_equal(tc_machine_wait(machine, -1, -1, &err), TC_OK);
    assert_int_equal(tc_machine_stop(machine, &err), TC_OK);
    read_console();
    expect_said(REFUSAL);
    expect_said("session: welcome\nnetwork: refused\n");
    assert_int_equal(count_fds(), before);
}

/* A stream that the guest's end gives an end of file. */
static void test_end_of_session(void **state)
{
    struct tc_error err = {0};
    struct tc_machine *machine = NULL;
    char hello[5];
    (void)state;
    const struct tc_machine_config config = configure("session");
    assert_int_equal(tc_machine_start(&config, &machine, &err), TC_OK);
    int session = meet(machine);
    assert_int_equal(recv(session, hello, sizeof hello, MSG_WAITALL), sizeof hello);
    assert_int_equal(send(session, "welcome", 7, MSG_NOSIGNAL), 7);
    assert_int_equal(recv(session, hello, 1, MSG_WAITALL), 0);
    assert_int_equal(tc_machine_wait(machine, -1, -1, &err), TC_OK);
    assert_int_equal(tc_machine_wait(machine, -1, -1, &err), TC_OK); /* as often as one likes */
    assert_int_equal(tc_machine_stop(machine, &err), TC_OK);
}

/* A microvm gets the parts of an image, and starts what is in its kernel's place. */
static void test_microvm(void **state)
{
    struct tc_error err = {0};
    struct tc_machine *machine = NULL;
    (void)state;
    put(lab.pages, "ramdisks");
    struct tc_machine_config config = configure("arguments ramdisk");
    config.kind = TC_MACHINE_MICROVM;
    config.kernel_fd = lab.image_fd;
    config.image_fd = -1;
    config.ramdisk_fd = lab.pages_fd;
    config.cmdline = "console=ttyS0 a=b,c";
    assert_int_equal(tc_machine_start(&config, &machine, &err), TC_OK);
    assert_int_equal(tc_machine_wait(machine, -1, -1, &err), TC_OK);
    assert_int_equal(tc_machine_stop(machine, &err), TC_OK);
    read_console();
    expect_said("argument microvm,acpi=off,");
    expect_said("argument memory-backend-memfd,id=memory,share=on,size=100663296B\n");
    expect_said("argument console=ttyS0 a=b,c reboot=t tsc_early_khz=");
    expect_said("argument -accel\nargument tcg\n");
    expect_said("argument -smp\nargument 2\n");
    expect_said("ramdisk: ramdisks\n");
    config.kvm = true;
    machine = NULL;
    (void)configure("arguments");
    assert_int_equal(tc_machine_start(&config, &machine, &err), TC_OK);
    assert_int_equal(tc_machine_wait(machine, -1, -1, &err), TC_OK);
    assert_int_equal(tc_machine_stop(machine, &err), TC_OK);
    read_console();
    expect_said("argument -accel\nargument kvm\n");
    expect_said("argument -cpu\nargument host\n");
}

/* --- failures --- */

static void test_failing_emulator(void **state)
{
    struct tc_error err = {0};
    struct tc_machine *machine = NULL;
    int session = -1;
    (void)state;
    const struct tc_machine_config config = configure("arguments fail");
    assert_int_equal(tc_machine_start(&config, &machine, &err), TC_OK);
    assert_int_equal(tc_machine_await(machine, -1, -1, &session, &err), TC_PEER);
    assert_non_null(strstr(err.message, "did not connect: the emulator ended with status 7"));
    assert_int_equal(session, -1);
    assert_int_equal(tc_machine_wait(machine, -1, -1, &err), TC_PEER);
    assert_non_null(strstr(err.message, "status 7"));
    assert_int_equal(tc_machine_stop(machine, &err), TC_OK);
    read_console();
    expect_said("argument -kernel");
}

/* It runs and never says a word; or somebody does not want to wait any more. */
static void test_silent_guest(void **state)
{
    struct tc_error err = {0};
    struct tc_machine *machine = NULL;
    int session = -1, interrupt[2];
    (void)state;
    const struct tc_machine_config config = configure("wait");
    assert_int_equal(pipe2(interrupt, O_CLOEXEC), 0);
    assert_int_equal(tc_machine_start(&config, &machine, &err), TC_OK);
    assert_int_equal(tc_machine_await(machine, 1, interrupt[0], &session, &err), TC_PEER);
    assert_non_null(strstr(err.message, "did not connect within"));
    assert_int_equal(write(interrupt[1], "i", 1), 1);
    assert_int_equal(tc_machine_await(machine, -1, interrupt[0], &session, &err), TC_INTERRUPTED);
    assert_int_equal(session, -1);
    assert_int_equal(tc_machine_wait(machine, -1, interrupt[0], &err), TC_INTERRUPTED);
    assert_int_equal(tc_machine_stop(machine, &err), TC_OK);
    (void)close(interrupt[0]);
    (void)close(interrupt[1]);
}

static void test_breaking_guest(void **state)
{
    struct tc_error err = {0};
    struct tc_machine *machine = NULL;
    int session = -1;
    (void)state;
    const struct tc_machine_config config = configure("break wait");
    assert_int_equal(tc_machine_start(&config, &machine, &err), TC_OK);
    assert_int_equal(tc_machine_await(machine, -1, -1, &session, &err), TC_PEER);
    assert_non_null(strstr(err.message, "the vsock device has ended"));
    assert_int_equal(tc_machine_wait(machine, 0, -1, &err), TC_PEER); /* it runs still */
    assert_non_null(strstr(err.message, "serves the machine's vsock has ended"));
    assert_int_equal(tc_machine_stop(machine, &err), TC_PEER);
    assert_non_null(strstr(err.message, "the vsock device: the guest's driver broke a queue"));
}

/* Of a flood the beginning is kept and the end, which says why. */
static void test_console_is_limited(void **state)
{
    struct tc_error err = {0};
    struct tc_machine *machine = NULL;
    struct stat info;
    char end[16];
    (void)state;
    const struct tc_machine_config config = configure("arguments flood last");
    assert_int_equal(tc_machine_start(&config, &machine, &err), TC_OK);
    assert_int_equal(tc_machine_wait(machine, -1, -1, &err), TC_OK);
    assert_int_equal(tc_machine_stop(machine, &err), TC_OK);
    assert_int_equal(fstat(lab.console_fd, &info), 0);
    assert_in_range(info.st_size, TC_MACHINE_CONSOLE_MAX + TC_MACHINE_CONSOLE_TAIL,
                    TC_MACHINE_CONSOLE_MAX + TC_MACHINE_CONSOLE_TAIL + 64);
    assert_int_equal(pread(lab.console_fd, end, 11, info.st_size - 11), 11);
    assert_memory_equal(end, "last words\n", 11);
    read_console();
    expect_said("argument -kernel");
}

/* The disk is full: the guest runs on all the same. */
static void test_console_without_room(void **state)
{
    struct tc_error err = {0};
    struct tc_machine *machine = NULL;
    (void)state;
    struct tc_machine_config config = configure("flood session");
    config.console_fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(config.console_fd >= 0);
    assert_int_equal(tc_machine_start(&config, &machine, &err), TC_OK);
    int session = meet(machine);
    assert_int_equal(send(session, "welcome", 7, MSG_NOSIGNAL), 7);
    assert_int_equal(tc_machine_wait(machine, -1, -1, &err), TC_OK);
    assert_int_equal(tc_machine_stop(machine, &err), TC_PEER);
    assert_non_null(strstr(err.message, "the console: "));
    (void)close(config.console_fd);
}

static void test_what_is_missing(void **state)
{
    struct tc_error err = {0};
    struct tc_machine *machine = NULL;
    int before = count_fds();
    (void)state;
    struct tc_machine_config config = configure("fail");
    config.emulator = "/nowhere/qemu";
    assert_int_equal(tc_machine_start(&config, &machine, &err), TC_UNAVAILABLE);
    config = configure("fail");
    config.ports_count = TC_MACHINE_PORTS_MAX + 1;
    assert_int_equal(tc_machine_start(&config, &machine, &err), TC_USAGE);
    assert_null(machine);
    assert_int_equal(count_fds(), before);
    assert_int_equal(tc_machine_stop(NULL, &err), TC_OK);
}

/* --- nothing is left --- */

/* pidfds of the children of pid; how many. */
static size_t watch_children(pid_t pid, struct pollfd *fds, size_t max)
{
    char path[64];
    size_t count = 0;
    int child;
    (void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)pid);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while (count < max && fscanf(file, "%d", &child) == 1) {
        fds[count] =
            (struct pollfd){.fd = (int)syscall(SYS_pidfd_open, child, 0), .events = POLLIN};
        assert_true(fds[count++].fd >= 0);
    }
    (void)fclose(file);
    return count;
}

static void await_all(struct pollfd *fds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(poll(&fds[i], 1, -1), 1);
        (void)close(fds[i].fd);
    }
}

static void test_stop_ends_all(void **state)
{
    struct tc_error err = {0};
    struct tc_machine *machine = NULL;
    struct pollfd fds[8];
    char hello[5];
    int session = -1;
    (void)state;
    struct tc_machine_config config = configure("session wait");
    config.pages_fd = lab.pages_fd;
    assert_int_equal(tc_machine_start(&config, &machine, &err), TC_OK);
    session = meet(machine);
    assert_int_equal(recv(session, hello, sizeof hello, MSG_WAITALL), sizeof hello);
    size_t count = watch_children(getpid(), fds, 8);
    assert_int_equal(count, 5);
    assert_int_equal(tc_machine_stop(machine, &err), TC_OK);
    await_all(fds, count);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

/* Whoever started it is killed, without a chance to do anything about it. */
static void die_with(const struct tc_machine_config *config)
{
    struct pollfd fds[8];
    char hello[5];
    int ready[2];
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        struct tc_error err = {0};
        struct tc_machine *machine = NULL;
        int session = -1;
        if (tc_machine_start(config, &machine, &err) != TC_OK ||
            tc_machine_await(machine, -1, -1, &session, &err) != TC_OK ||
            recv(session, hello, sizeof hello, MSG_WAITALL) != sizeof hello)
            _exit(1);
        (void)!write(ready[1], "r", 1);
        for (;;)
            (void)pause();
    }
    (void)close(ready[1]);
    assert_int_equal(read(ready[0], hello, 1), 1);
    size_t count = watch_children(pid, fds, 8);
    assert_int_equal(count, 5);
    assert_int_equal(kill(pid, SIGKILL), 0);
    await_all(fds, count);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    (void)close(ready[0]);
}

static void test_death_of_the_caller(void **state)
{
    struct kernel kernel;
    struct tc_vhost_ops ops;
    (void)state;
    struct tc_machine_config config = configure("session wait");
    config.pages_fd = lab.pages_fd;
    die_with(&config);
    config = configure_kernels("session wait", &kernel, &ops);
    config.pages_fd = lab.pages_fd;
    die_with(&config);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ports),
        cmocka_unit_test(test_port_of_many),
        cmocka_unit_test(test_network),
        cmocka_unit_test(test_no_network),
        cmocka_unit_test(test_end_of_network),
        cmocka_unit_test(test_end_of_session),
        cmocka_unit_test(test_microvm),
        cmocka_unit_test(test_failing_emulator),
        cmocka_unit_test(test_silent_guest),
        cmocka_unit_test(test_breaking_guest),
        cmocka_unit_test(test_console_is_limited),
        cmocka_unit_test(test_console_without_room),
        cmocka_unit_test(test_what_is_missing),
        cmocka_unit_test(test_stop_ends_all),
        cmocka_unit_test(test_death_of_the_caller),
    };
    if (argc != 2) return 2;
    lab.emulator = argv[1];
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
