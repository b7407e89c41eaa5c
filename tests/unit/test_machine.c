/* The launcher, with a program in the emulator's place that plays the guest: what
 * the guest is given, and that nothing is left whatever happens. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/egress.h"
#include "host/machine.h"
#include "host/vhost.h"
#include "os/message.h"

static const char *emulator;
static char folder[] = "/tmp/tee-machine-XXXXXX";
static char image[64], pages[64], said[1 << 16];
static int image_fd = -1, console_fd = -1, pages_fd = -1;

static void put(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    (void)fputs(text, file);
    (void)fclose(file);
}

static struct tc_machine_config configure(const char *words)
{
    put(image, words);
    assert_int_equal(ftruncate(console_fd, 0), 0);
    assert_int_equal(lseek(console_fd, 0, SEEK_SET), 0);
    return (struct tc_machine_config){.emulator = emulator,
                                      .kind = TC_MACHINE_NITRO,
                                      .cpus = 2,
                                      .memory = 96 << 20,
                                      .image_fd = image_fd,
                                      .kernel_fd = -1,
                                      .ramdisk_fd = -1,
                                      .pages_fd = -1,
                                      .console_fd = console_fd};
}

static void read_console(void)
{
    ssize_t got = pread(console_fd, said, sizeof said - 1, 0);
    assert_true(got >= 0);
    said[got] = '\0';
}

/* The stream that comes at the caller's end of a port. */
static int take_stream(int dialler)
{
    struct tc_error err = {0};
    char byte;
    int fd = -1;
    assert_int_equal(tc_message_receive(dialler, &byte, 1, &fd, 1, NULL, &err), TC_OK);
    return fd;
}

/* The stream to the guest's session. */
static int meet(struct tc_machine *machine)
{
    struct tc_error err = {0};
    int session = -1;
    assert_int_equal(tc_machine_await(machine, -1, -1, &session, &err), TC_OK);
    return session;
}

static void expect_said(const char *text)
{
    if (!strstr(said, text)) fail_msg("the console lacks '%s': %s", text, said);
}

static int count_fds(void)
{
    int count = 0;
    DIR *list = opendir("/proc/self/fd");
    assert_non_null(list);
    while (readdir(list))
        count++;
    (void)closedir(list);
    return count;
}

/* --- what the guest is given --- */

static void test_ports(void **state)
{
    struct tc_error err = {0};
    struct tc_machine *machine = NULL;
    char hello[5];
    int session = -1, ends[2], before = count_fds();
    (void)state;
    put(pages, "pages");
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    const struct tc_machine_port port = {.port = 7400, .fd = ends[0]};
    struct tc_machine_config config = configure("arguments session heartbeat pages own own twice");
    config.pages_fd = pages_fd;
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

static void make_egress(struct tc_egress **ret_egress)
{
    struct tc_error err = {0};
    struct tc_egress_config config = {0};
    assert_int_equal(tc_egress_new(&config, ret_egress, &err), TC_OK);
}

static const char refusal[] = "the host keeps no archive of this build\n";

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
    const char *first = strstr(said, refusal);
    assert_non_null(first);
    assert_non_null(strstr(first + 1, refusal));
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
    expect_said(refusal);
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
    put(pages, "ramdisks");
    struct tc_machine_config config = configure("arguments ramdisk");
    config.kind = TC_MACHINE_MICROVM;
    config.kernel_fd = image_fd;
    config.image_fd = -1;
    config.ramdisk_fd = pages_fd;
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

/* --- the kernel's vsock device --- */

/* In the place of AF_VSOCK: unix sockets with names of no file, by which one sees who
 * connects. The device is a file that says which CID it has. */
struct kernel {
    char prefix[48];
    int open_errno, listen_errno; /* 0: none */
    size_t taken;                 /* so many CIDs somebody else has */
    unsigned cid;                 /* claimed last */
};

static int open_kernels(void *context)
{
    const struct kernel *kernel = context;
    errno = kernel->open_errno;
    return kernel->open_errno ? -1 : memfd_create("vhost-vsock", MFD_CLOEXEC);
}

static int claim_cid(void *context, int fd, uint32_t cid)
{
    struct kernel *kernel = context;
    if (kernel->taken > 0) {
        kernel->taken--;
        errno = EADDRINUSE;
        return -1;
    }
    kernel->cid = cid;
    return ftruncate(fd, 0) == 0 && dprintf(fd, "%u", (unsigned)cid) > 0 ? 0 : -1;
}

static int listen_by_name(void *context, uint32_t port)
{
    const struct kernel *kernel = context;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = -1;
    int size = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "%s-port-%u",
                        kernel->prefix, (unsigned)port);
    errno = kernel->listen_errno;
    if (kernel->listen_errno == 0)
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return -1;
    if (bind(fd, (const struct sockaddr *)&address,
             (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)size)) == 0 &&
        listen(fd, 16) == 0)
        return fd;
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return -1;
}

static int accept_by_name(void *context, int fd, uint32_t *ret_cid)
{
    const struct kernel *kernel = context;
    struct sockaddr_un peer = {0};
    socklen_t size = sizeof peer;
    unsigned cid = 0;
    int stream = accept4(fd, (struct sockaddr *)&peer, &size, SOCK_CLOEXEC);
    if (stream >= 0) (void)sscanf(peer.sun_path + 1 + strlen(kernel->prefix), "-from-%u-", &cid);
    *ret_cid = cid;
    return stream;
}

static struct tc_machine_config configure_kernels(const char *words, struct kernel *kernel,
                                                  struct tc_vhost_ops *ops)
{
    struct tc_machine_config config = configure(words);
    *kernel = (struct kernel){.cid = 0};
    (void)snprintf(kernel->prefix, sizeof kernel->prefix, "%s", folder);
    assert_int_equal(setenv("FAKE_VSOCK", kernel->prefix, 1), 0);
    *ops = (struct tc_vhost_ops){kernel, open_kernels, claim_cid, listen_by_name, accept_by_name};
    config.kind = TC_MACHINE_MICROVM;
    config.kernel_fd = image_fd;
    config.image_fd = -1;
    config.ramdisk_fd = pages_fd;
    config.cmdline = "a=b";
    config.vhost = ops;
    return config;
}

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
    if (strstr(said, text)) fail_msg("the console has '%s': %s", text, said);
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
    put(pages, "pages");
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    const struct tc_machine_port port = {.port = 7400, .fd = ends[0]};
    struct tc_machine_config config = configure_kernels(
        "arguments device stranger session heartbeat pages own own twice network", &kernel, &ops);
    config.pages_fd = pages_fd;
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
    const char *first = strstr(said, refusal);
    assert_non_null(first);
    assert_non_null(strstr(first + 1, refusal));
    assert_int_equal(count_fds(), before);
}

/* CIDs and ports that others have: the next CID, and no heartbeat. */
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
    (void)shutdown(other, SHUT_RDWR);
    run_to_end(&config);
    expect_said("argument vhost-vsock-device,guest-cid=");
    expect_said("heartbeat: refused\n");
    assert_int_equal(kernel.taken, 0);
    (void)close(other);
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
    config.image_fd = image_fd;
    run_to_end(&config);
    expect_said("argument nitro-enclave,vsock=c,");
    expect_said("heartbeat: <b7>\n");
    assert_int_equal(count_fds(), before);
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
    assert_non_null(strstr(err.message, "does not end"));
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
    assert_int_equal(fstat(console_fd, &info), 0);
    assert_in_range(info.st_size, TC_MACHINE_CONSOLE_MAX + TC_MACHINE_CONSOLE_TAIL,
                    TC_MACHINE_CONSOLE_MAX + TC_MACHINE_CONSOLE_TAIL + 64);
    assert_int_equal(pread(console_fd, end, 11, info.st_size - 11), 11);
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
    config.pages_fd = pages_fd;
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
    config.pages_fd = pages_fd;
    die_with(&config);
    config = configure_kernels("session wait", &kernel, &ops);
    config.pages_fd = pages_fd;
    die_with(&config);
}

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return -1;
    (void)snprintf(image, sizeof image, "%s/image", folder);
    (void)snprintf(pages, sizeof pages, "%s/pages", folder);
    image_fd = open(image, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    pages_fd = open(pages, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    console_fd = memfd_create("console", MFD_CLOEXEC);
    return image_fd < 0 || pages_fd < 0 || console_fd < 0 ? -1 : 0;
}

static int remove_folder(void **state)
{
    (void)state;
    (void)close(image_fd);
    (void)close(pages_fd);
    (void)close(console_fd);
    (void)unlink(image);
    (void)unlink(pages);
    return rmdir(folder); /* which also says that nothing else was in it */
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
        cmocka_unit_test(test_kernels_device),
        cmocka_unit_test(test_kernels_network),
        cmocka_unit_test(test_kernels_device_is_shared),
        cmocka_unit_test(test_no_kernels_device),
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
    emulator = argv[1];
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
