/* What can go wrong for the nitro back end, in the machine and in the guest: a reason is
 * given, and nothing of the enclave stays. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
/* Wants _IOR and its like, which it does not include. */
#include <linux/nitro_enclaves.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/nitro_serve.h"
#include "nitro_lab.h"
#include "os/vsock.h"

/* --- the machine --- */

static void test_no_image(void **state)
{
    struct tc_backend_config config = configure();
    (void)state;
    config.image = NULL;
    expect_failure(&config, TC_USAGE, "an enclave runs an image");
}

static void test_early_end(void **state)
{
    struct tc_backend_config config = configure();
    (void)state;
    guests[0].silent = true;
    expect_failure(&config, TC_PEER, "ended before its session began");
}

static int interrupt_ends[2];

static void interrupt_at_start(struct driver *unused, struct driver_enclave *enclave)
{
    (void)unused;
    (void)enclave;
    assert_int_equal(write(interrupt_ends[1], "i", 1), 1);
}

/* Of one that runs and does not connect. */
static void test_interrupt(void **state)
{
    struct tc_backend_config config = configure();
    (void)state;
    driver.on_start = interrupt_at_start;
    assert_int_equal(pipe(interrupt_ends), 0);
    config.interrupt_fd = interrupt_ends[0];
    expect_failure(&config, TC_INTERRUPTED, "interrupted");
    assert_int_equal(driver.starts, 1);
    (void)close(interrupt_ends[0]);
    (void)close(interrupt_ends[1]);
}

/* One that does not end when it should is not waited for by somebody who has had enough. */
static void test_interrupt_at_the_end(void **state)
{
    struct tc_error err = {0};
    struct tc_enclave *enclave = NULL;
    struct tc_backend_config config = configure();
    int fd = -1, interrupt[2];
    (void)state;
    guests[0].stubborn = true;
    assert_int_equal(pipe(interrupt), 0);
    config.interrupt_fd = interrupt[0];
    assert_int_equal(tc_nitro_start(&driver.ops, &config, &enclave, &fd, &err), TC_OK);
    assert_int_equal(write(interrupt[1], "i", 1), 1);
    assert_int_equal(tc_nitro_stop(enclave, &err), TC_INTERRUPTED);
    assert_true(driver_is_idle(&driver));
    (void)close(interrupt[0]);
    (void)close(interrupt[1]);
}

/* A CID that the hypervisor has given away is no end: another one is tried. */
static void test_taken_cids(void **state)
{
    struct tc_backend_config config = configure();
    (void)state;
    driver.any_cid_taken = true;
    expect_failure(&config, TC_UNAVAILABLE, "the enclave does not start: Invalid argument");
    assert_int_equal(driver.starts, 4);
}

/* A device that fails in another way is not asked again: one that does not answer takes the
 * driver two minutes each time. */
static void test_start_that_fails(void **state)
{
    const int numbers[] = {ETIMEDOUT, EIO, ENOMEM, EFAULT, EINTR, EPERM, ENODEV};
    struct tc_backend_config config = configure();
    (void)state;
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        driver.start_errno = numbers[i];
        driver.starts = 0;
        expect_failure(&config, TC_UNAVAILABLE,
                       numbers[i] == ETIMEDOUT ? "did not answer within the driver's two minutes"
                                               : strerror(numbers[i]));
        assert_int_equal(driver.starts, 1);
    }
    driver.start_errno = EADDRINUSE;
    driver.starts = 0;
    expect_failure(&config, TC_UNAVAILABLE, "the enclave does not start");
    assert_int_equal(driver.starts, 4);
}

static void test_full_pool(void **state)
{
    struct tc_backend_config config = configure();
    (void)state;
    config.cpus = 7;
    expect_failure(&config, TC_UNAVAILABLE, "needs 7 processors, and the pool has 6");
    config.cpus = 6;
    driver.taken[3] = true;
    struct tc_error refused = {0};
    struct tc_enclave *none = NULL;
    int no_fd = -1;
    assert_int_equal(tc_nitro_start(&driver.ops, &config, &none, &no_fd, &refused), TC_UNAVAILABLE);
    assert_non_null(strstr(refused.message, "processor 5: the pool has none left, because other"));
    driver.taken[1] = driver.taken[2] = driver.taken[3] = true;
    struct tc_error err = {0};
    struct tc_enclave *enclave = NULL;
    int fd = -1;
    assert_int_equal(tc_nitro_start(&driver.ops, &config, &enclave, &fd, &err), TC_UNAVAILABLE);
    assert_non_null(strstr(err.message, "cannot make an enclave: the pool has none left"));
    driver.taken[1] = driver.taken[2] = driver.taken[3] = false;
}

static void test_pieces(void **state)
{
    struct tc_backend_config config = configure();
    (void)state;
    driver.scattered = true;
    driver.pieces_max = 8;
    expect_failure(&config, TC_UNAVAILABLE, "too many pieces");
}

/* --- interrupted in the machine --- */

/* The user has had enough during that call, the first of its kind. */
static unsigned calls_seen;
static int (*populate_really)(void *context, void *memory, size_t size, int node);
static int (*control_really)(void *context, int fd, unsigned long request, void *argument);

static int populate_and_interrupt(void *context, void *memory, size_t size, int node)
{
    calls_seen++;
    assert_true(size <= TC_NITRO_PAGE_1G);
    assert_int_equal(write(interrupt_ends[1], "i", 1), 1);
    return populate_really(context, memory, size, node);
}

/* Where all of the memory is taken in one piece nobody can have enough of that. */
static void test_interrupt_while_memory_is_taken(void **state)
{
    struct tc_backend_config config = configure();
    (void)state;
    driver_write(&driver,
                 "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages",
                 "4096");
    config.memory = 3 * TC_NITRO_PAGE_1G;
    assert_int_equal(pipe(interrupt_ends), 0);
    config.interrupt_fd = interrupt_ends[0];
    populate_really = driver.ops.populate;
    driver.ops.populate = populate_and_interrupt;
    calls_seen = 0;
    expect_failure(&config, TC_INTERRUPTED, "interrupted");
    assert_int_equal(calls_seen, 1);
    (void)close(interrupt_ends[0]);
    (void)close(interrupt_ends[1]);
}

static int start_and_interrupt(void *context, int fd, unsigned long request, void *argument)
{
    if (request == NE_START_ENCLAVE) assert_int_equal(write(interrupt_ends[1], "i", 1), 1);
    return control_really(context, fd, request, argument);
}

static void test_interrupt_between_cids(void **state)
{
    struct tc_backend_config config = configure();
    (void)state;
    assert_int_equal(pipe(interrupt_ends), 0);
    config.interrupt_fd = interrupt_ends[0];
    driver.any_cid_taken = true;
    control_really = driver.ops.control;
    driver.ops.control = start_and_interrupt;
    expect_failure(&config, TC_INTERRUPTED, "interrupted");
    assert_int_equal(driver.starts, 1);
    (void)close(interrupt_ends[0]);
    (void)close(interrupt_ends[1]);
}

/* --- strangers --- */

static atomic_bool gave_up;

/* One after the other, and never the enclave. */
static void *run_strangers(void *context)
{
    const struct tc_nitro_ports *ports = context;
    uint32_t port = TC_VSOCK_PORT_SESSION + tc_vsock_port_shift(ports->cid);
    while (!atomic_load(&gave_up)) {
        int fd = driver_dial(&driver, ports->cid + 1, port);
        (void)poll(NULL, 0, 5);
        if (fd >= 0) (void)close(fd);
    }
    return NULL;
}

/* They do not make the wait longer: it would have no end here. */
static void test_strangers_and_patience(void **state)
{
    struct tc_error err = {0};
    struct tc_nitro_ports ports = TC_NITRO_PORTS_NONE, taken;
    struct tc_nitro_server *server = NULL;
    pthread_t strangers;
    int fd = -1;
    (void)state;
    assert_int_equal(tc_nitro_ports_open(&driver.ops, &ports, &err), TC_OK);
    taken = ports;
    const struct tc_nitro_server_config config = {
        .ops = &driver.ops, .ports = &taken, .enclave_fd = -1, .console_fd = -1, .root_fd = -1};
    assert_int_equal(tc_nitro_server_start(&config, &server, &err), TC_OK);
    atomic_store(&gave_up, false);
    assert_int_equal(pthread_create(&strangers, NULL, run_strangers, &ports), 0);
    assert_int_equal(tc_nitro_server_session(server, 200, -1, &fd, &err), TC_PEER);
    atomic_store(&gave_up, true);
    assert_int_equal(pthread_join(strangers, NULL), 0);
    assert_non_null(strstr(err.message, "did not connect within"));
    tc_nitro_server_stop(server);
}

/* Ports that somebody has are another CID's. */
static int refused_ports, refused_with;
static int (*listen_really)(void *context, uint32_t port);

static int listen_later(void *context, uint32_t port)
{
    if (refused_ports == 0) return listen_really(context, port);
    refused_ports--;
    errno = refused_with;
    return -1;
}

static void test_ports_in_use(void **state)
{
    struct tc_error err = {0};
    struct tc_enclave *enclave = NULL;
    struct tc_backend_config config = configure();
    int fd = -1;
    (void)state;
    listen_really = driver.ops.listen;
    driver.ops.listen = listen_later;
    refused_ports = 5;
    refused_with = EADDRINUSE;
    assert_int_equal(tc_nitro_start(&driver.ops, &config, &enclave, &fd, &err), TC_OK);
    assert_int_equal(refused_ports, 0);
    assert_int_equal(tc_nitro_stop(enclave, &err), TC_OK);
    refused_ports = 1000;
    expect_failure(&config, TC_UNAVAILABLE, "found no CID whose ports are free");
    refused_with = EACCES;
    expect_failure(&config, TC_UNAVAILABLE, "cannot listen for the enclave");
}
/* --- the guest --- */

/* A build with a guest that does so; how its end is told. */
static tc_status run_session(struct tc_backend_config *config,
                             void (*act)(struct guest *guest, int session_fd, int pages_fd),
                             struct tc_error *err)
{
    struct tc_enclave *enclave = NULL;
    char hello[5];
    int fd = -1;
    guests[0].act = act;
    TC_TRY(tc_nitro_start(&driver.ops, config, &enclave, &fd, err));
    bool came = recv(fd, hello, 5, MSG_WAITALL) == 5 && memcmp(hello, "hello", 5) == 0;
    tc_status status = tc_nitro_stop(enclave, err);
    assert_true(came);
    return status;
}

static sem_t pages_ended;

/* The streams of an enclave that is gone do not end by themselves: nobody closes these. */
static void die(struct guest *guest, int session_fd, int pages_fd)
{
    char byte;
    (void)recv(session_fd, &byte, 1, 0); /* once the host has it */
    driver_end(guest->enclave);
    while (!is_hung_up(pages_fd))
        continue;
    (void)sem_post(&pages_ended);
}

static void test_end_in_the_session(void **state)
{
    struct tc_error err = {0};
    struct tc_enclave *enclave = NULL;
    struct tc_backend_config config = configure();
    char bytes[8];
    int fd = -1;
    (void)state;
    guests[0].act = die;
    assert_int_equal(sem_init(&pages_ended, 0, 0), 0);
    assert_int_equal(tc_nitro_start(&driver.ops, &config, &enclave, &fd, &err), TC_OK);
    assert_int_equal(send(fd, "x", 1, 0), 1);
    assert_true(recv(fd, bytes, sizeof bytes, MSG_WAITALL) < (ssize_t)sizeof bytes);
    /* The end of the wait is the server's doing, not the stop's. */
    while (sem_wait(&pages_ended) != 0)
        continue;
    assert_int_equal(tc_nitro_stop(enclave, &err), TC_OK);
    /* Whose session failed is told. */
    assert_non_null(strstr(err.message, "the enclave ended, and its device does not say why"));
    assert_true(driver_is_idle(&driver));
}

/* To every port there is, and to one that is none; none is closed before the end. */
static void storm(struct guest *guest, int session_fd, int pages_fd)
{
    enum { TRIES = 10000, OPEN = 100 };
    const uint32_t shift = tc_vsock_port_shift(guest->enclave->cid);
    const uint32_t ports[] = {TC_VSOCK_PORT_SESSION + shift, TC_VSOCK_PORT_PAGES + shift,
                              TC_VSOCK_PORT_EGRESS + shift, TC_VSOCK_PORT_HEARTBEAT + shift, 7400};
    int fds[OPEN];
    (void)session_fd;
    (void)pages_fd;
    memset(fds, -1, sizeof fds);
    for (size_t i = 0; i < TRIES; i++) {
        int *fd = &fds[i % OPEN];
        if (*fd >= 0) (void)close(*fd);
        *fd = driver_dial(&driver, guest->enclave->cid, ports[i % 5]);
    }
    for (size_t i = 0; i < OPEN; i++)
        if (fds[i] >= 0) (void)close(fds[i]);
}

static void test_storm_of_connections(void **state)
{
    struct tc_error err = {0};
    struct tc_backend_config config = configure();
    (void)state;
    if (run_session(&config, storm, &err) != TC_OK) fail_msg("%s", err.message);
    assert_true(driver_is_idle(&driver));
    expect_idle_fds();
}

static void send_garbage(struct guest *guest, int session_fd, int pages_fd)
{
    uint8_t bytes[4096];
    (void)guest;
    (void)session_fd;
    memset(bytes, 0xa5, sizeof bytes);
    (void)send(pages_fd, bytes, sizeof bytes, MSG_NOSIGNAL);
    while (recv(pages_fd, bytes, sizeof bytes, 0) > 0)
        continue;
}

static void test_garbage_for_the_page_server(void **state)
{
    struct tc_error err = {0};
    struct tc_backend_config config = configure();
    (void)state;
    assert_int_equal(run_session(&config, send_garbage, &err), TC_PEER);
    assert_non_null(strstr(err.message, "serving the toolchain's pages: "));
    assert_true(driver_is_idle(&driver));
}

/* More than a pipe holds; what is not taken is the guest's to lose. */
static void flood(struct guest *guest, int session_fd, int pages_fd)
{
    char line[1024];
    int console = driver_console(&driver, guest->enclave);
    (void)session_fd;
    (void)pages_fd;
    memset(line, '\033', sizeof line);
    for (size_t i = 0; i < 4096; i++)
        (void)send(console, line, sizeof line, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Nobody reads stderr, and yet the session goes on and the enclave ends. */
static void expect_no_wait(int fd)
{
    struct tc_error err = {0};
    struct tc_backend_config config = configure();
    int saved = dup(STDERR_FILENO);
    config.debug = true;
    (void)dup2(fd, STDERR_FILENO);
    tc_status status = run_session(&config, flood, &err);
    (void)dup2(saved, STDERR_FILENO);
    (void)close(saved);
    if (status != TC_OK) fail_msg("%s", err.message);
    assert_true(driver_is_idle(&driver));
}

static void test_flood_of_the_console(void **state)
{
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    expect_no_wait(ends[1]);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

/* Of which poll(2) says that it is ready when it does not take all of it. */
static void test_flood_of_a_terminal(void **state)
{
    char name[64];
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    (void)state;
    assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    assert_int_equal(ptsname_r(master, name, sizeof name), 0);
    int fd = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(fd >= 0);
    expect_no_wait(fd);
    (void)close(fd);
    (void)close(master);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUEST(test_no_image),
        GUEST(test_early_end),
        GUEST(test_interrupt),
        GUEST(test_interrupt_at_the_end),
        GUEST(test_taken_cids),
        GUEST(test_start_that_fails),
        GUEST(test_full_pool),
        GUEST(test_pieces),
        GUEST(test_interrupt_while_memory_is_taken),
        GUEST(test_interrupt_between_cids),
        GUEST(test_strangers_and_patience),
        GUEST(test_ports_in_use),
        GUEST(test_end_in_the_session),
        GUEST(test_storm_of_connections),
        GUEST(test_garbage_for_the_page_server),
        GUEST(test_flood_of_the_console),
        GUEST(test_flood_of_a_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
