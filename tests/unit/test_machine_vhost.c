/* The launcher with the kernel's vsock device, in whose place is a table of the lab's. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "machine_lab.h"
#include "host/egress.h"
#include "host/machine.h"
#include "host/vhost.h"
#include "os/message.h"

static void run_to_end(const struct tc_machine_config *config)
{
    struct tc_error err = {0};
    struct tc_machine *machine = NULL;
    assert_int_equal(tc_machine_start(config, &machine, &err), TC_OK);
    assert_int_equal(tc_machine_wait(machine, -1, -1, &err), TC_OK);
    assert_int_equal(tc_machine_stop(machine, &err), TC_OK);
    read_console();
}

static void expect_not_said(const char *text)
{
    if (strstr(lab.said, text)) fail_msg("the console has '%s': %s", text, lab.said);
}

static void test_kernels_device(void **state)
{
    struct tc_error err = {0};
    struct tc_machine *machine = NULL;
    struct kernel kernel;
    struct tc_vhost_ops ops;
    char hello[5], expected[96];
    int ends[2], before = count_fds();
    (void)state;
    put(lab.pages, "pages");
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    const struct tc_machine_port port = {.port = 7400, .fd = ends[0]};
    struct tc_machine_config config = configure_kernels(
        "arguments device stranger session heartbeat pages own own twice network", &kernel, &ops);
    config.pages_fd = lab.pages_fd;
    config.ports = &port;
    config.ports_count = 1;
    assert_int_equal(tc_machine_start(&config, &machine, &err), TC_OK);
    int session = meet(machine);
    assert_int_equal(recv(session, hello, sizeof hello, MSG_WAITALL), sizeof hello);
    assert_memory_equal(hello, "hello", sizeof hello);
    assert_int_equal(send(session, "welcome", 7, MSG_NOSIGNAL), 7);
    int own = take_stream(ends[1]);
    assert_int_equal(send(own, "own", 3, MSG_NOSIGNAL), 3);
    assert_int_equal(recv(session, hello, 1, MSG_WAITALL), 0);
    assert_int_equal(tc_machine_wait(machine, -1, -1, &err), TC_OK);
    assert_int_equal(tc_machine_stop(machine, &err), TC_OK);
    read_console();
    (void)snprintf(expected, sizeof expected,
                   "argument vhost-vsock-device,guest-cid=%u,vhostfd=3\n", kernel.cid);
    expect_said(expected);
    (void)snprintf(expected, sizeof expected, "device: %u\n", kernel.cid);
    expect_said(expected);
    expect_not_said("vhost-user");
    expect_not_said("memory-backend");
    expect_not_said("-chardev");
    expect_said("stranger: refused\nsession: welcome\n");
    expect_said("heartbeat: <b7>\n");
    expect_said("pages: NBDMAGICIHAVEOPT<00><03>\n");
    expect_said("own: own\nown: refused\n");
    expect_said("twice: refused\n");
    expect_said("network: refused\n");
    (void)close(own);
    (void)close(ends[0]);
    (void)close(ends[1]);
    assert_int_equal(count_fds(), before);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

/* Each question of the network is a stream of its own. */
static void test_kernels_network(void **state)
{
    struct kernel kernel;
    struct tc_vhost_ops ops;
    struct tc_egress *egress = NULL;
    int before = count_fds();
    (void)state;
    struct tc_machine_config config = configure_kernels("network network", &kernel, &ops);
    make_egress(&egress);
    config.egress = egress;
    run_to_end(&config);
    tc_egress_stop(egress);
    const char *first = strstr(lab.said, REFUSAL);
    assert_non_null(first);
    assert_non_null(strstr(first + 1, REFUSAL));
    assert_int_equal(count_fds(), before);
}

/* CIDs that others have: the next one. Who waits for an enclave of nitro-cli's hears nothing. */
static void test_kernels_device_is_shared(void **state)
{
    struct kernel kernel;
    struct tc_vhost_ops ops;
    int before = count_fds();
    (void)state;
    struct tc_machine_config config = configure_kernels("arguments heartbeat", &kernel, &ops);
    kernel.taken = 3;
    int other = listen_by_name(&kernel, 9000);
    assert_true(other >= 0);
    run_to_end(&config);
    expect_said("argument vhost-vsock-device,guest-cid=");
    expect_said("heartbeat: <b7>\n");
    assert_int_equal(fcntl(other, F_SETFL, O_NONBLOCK), 0);
    assert_int_equal(accept(other, NULL, NULL), -1);
    assert_int_equal(kernel.taken, 0);
    (void)close(other);
    assert_int_equal(count_fds(), before);
}

/* Longer than is waited for at once. It has passed, and nobody complains. */
static void test_kernels_device_finds_no_descriptor(void **state)
{
    struct kernel kernel;
    struct tc_vhost_ops ops;
    int before = count_fds();
    (void)state;
    struct tc_machine_config config = configure_kernels("heartbeat", &kernel, &ops);
    kernel.shortages = 30;
    run_to_end(&config);
    expect_said("heartbeat: <b7>\n");
    assert_int_equal(count_fds(), before);
}

/* Our own device, where the kernel's is not for this user or this machine. */
static void test_no_kernels_device(void **state)
{
    struct kernel kernel;
    struct tc_vhost_ops ops;
    int before = count_fds();
    (void)state;
    struct tc_machine_config config = configure_kernels("arguments heartbeat", &kernel, &ops);
    kernel.open_errno = EACCES;
    run_to_end(&config);
    expect_said("argument vhost-user-vsock-device,chardev=c\n");
    expect_said("heartbeat: <b7>\n");
    config = configure_kernels("arguments heartbeat", &kernel, &ops);
    kernel.listen_errno = EAFNOSUPPORT;
    run_to_end(&config);
    expect_said("argument vhost-user-vsock-device,chardev=c\n");
    expect_said("heartbeat: <b7>\n");
    config = configure_kernels("arguments heartbeat", &kernel, &ops);
    kernel.taken = 1000;
    run_to_end(&config);
    expect_said("argument vhost-user-vsock-device,chardev=c\n");
    config = configure_kernels("arguments heartbeat", &kernel, &ops);
    config.kind = TC_MACHINE_NITRO;
    config.image_fd = lab.image_fd;
    run_to_end(&config);
    expect_said("argument nitro-enclave,vsock=c,");
    expect_said("heartbeat: <b7>\n");
    assert_int_equal(count_fds(), before);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernels_device),
        cmocka_unit_test(test_kernels_network),
        cmocka_unit_test(test_kernels_device_is_shared),
        cmocka_unit_test(test_kernels_device_finds_no_descriptor),
        cmocka_unit_test(test_no_kernels_device),
    };
    if (argc != 2) return 2;
    lab.emulator = argv[1];
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
