/* The nitro back end over a double of the driver (nitro/driver.h): all of its path but
 * the enclave itself, whose place a thread takes. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/backend_nitro.h"
#include "host/nitro_host.h"
#include "nitro/driver.h"
#include "os/vsock.h"

#define MB ((uint64_t)1 << 20)

enum { IMAGE_SIZE = 5 * (1 << 20) + 123, PAGES = 4, BLOCK = 4096 };

static struct driver driver;
static struct tc_imagefile image;
static uint8_t image_bytes[IMAGE_SIZE];
static int idle_fds;

static int count_fds(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += lseek(fd, 0, SEEK_CUR) >= 0 || errno != EBADF;
    return count;
}

static int set_up(void **state)
{
    (void)state;
    image = (struct tc_imagefile){.eif_fd = memfd_create("image", MFD_CLOEXEC),
                                  .root_fd = memfd_create("root", MFD_CLOEXEC)};
    image.content.verity.total_blocks = PAGES;
    for (size_t i = 0; i < IMAGE_SIZE; i++)
        image_bytes[i] = (uint8_t)(i * 7 + i / 4096);
    if (write(image.eif_fd, image_bytes, IMAGE_SIZE) != IMAGE_SIZE ||
        ftruncate(image.root_fd, (off_t)PAGES * BLOCK) != 0 || !driver_init(&driver, 0, 1024))
        return -1;
    idle_fds = count_fds();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bool idle = driver_is_idle(&driver);
    driver_done(&driver);
    (void)close(image.eif_fd);
    (void)close(image.root_fd);
    return idle ? 0 : -1;
}

static struct tc_backend_config configure(void)
{
    return (struct tc_backend_config){.image = &image, .memory = 64 * MB, .interrupt_fd = -1};
}

/* --- a guest --- */

struct guest {
    struct driver_enclave *enclave;
    pthread_t thread;
    bool started, silent, pages_came, beat_came, stranger_was_closed;
    bool stubborn; /* does not end when it is hung up on */
    char greeting[8];
};
static struct guest guests[DRIVER_ENCLAVES];

static int dial(const struct driver_enclave *enclave, uint32_t port)
{
    return driver_dial(&driver, enclave->cid, port + tc_vsock_port_shift(enclave->cid));
}

static bool is_hung_up(int fd)
{
    char byte;
    return fd < 0 || recv(fd, &byte, 1, 0) <= 0;
}

/* As the worker does: pages, session, heartbeat; then it is there until the host hangs
 * up. A stranger comes first everywhere. */
static void *run_guest(void *context)
{
    struct guest *guest = context;
    struct driver_enclave *enclave = guest->enclave;
    uint32_t shift = tc_vsock_port_shift(enclave->cid);
    uint8_t byte = 0xb7, magic[8] = "";
    int stranger = driver_dial(&driver, enclave->cid + 1, TC_VSOCK_PORT_SESSION + shift);
    int thief = driver_dial(&driver, enclave->cid + 1, TC_VSOCK_PORT_PAGES + shift);
    guest->stranger_was_closed = is_hung_up(thief);
    int pages = dial(enclave, TC_VSOCK_PORT_PAGES);
    guest->pages_came = recv(pages, magic, sizeof magic, MSG_WAITALL) == sizeof magic &&
                        memcmp(magic, "NBDMAGIC", sizeof magic) == 0;
    int session = dial(enclave, TC_VSOCK_PORT_SESSION);
    guest->stranger_was_closed = guest->stranger_was_closed && is_hung_up(stranger);
    int beat = driver_dial(&driver, enclave->cid, TC_VSOCK_PORT_HEARTBEAT);
    if (send(beat, &byte, 1, MSG_NOSIGNAL) == 1)
        guest->beat_came = recv(beat, &byte, 1, 0) == 1 && byte == 0xb7;
    if (enclave->console_fd >= 0) (void)send(enclave->console_fd, "a\033word\n", 7, MSG_NOSIGNAL);
    (void)send(session, "hello", 5, MSG_NOSIGNAL);
    (void)!is_hung_up(session);
    (void)close(session);
    (void)close(pages);
    (void)close(beat);
    (void)close(stranger);
    (void)close(thief);
    if (!guest->stubborn) driver_end(enclave);
    return NULL;
}

static void on_start(struct driver *unused, struct driver_enclave *enclave)
{
    (void)unused;
    for (size_t i = 0; i < DRIVER_ENCLAVES; i++) {
        struct guest *guest = &guests[i];
        if (guest->started) continue;
        bool silent = guest->silent;
        *guest = (struct guest){.enclave = enclave, .started = true, .stubborn = guest->stubborn};
        enclave->guest = guest;
        if (silent)
            driver_end(enclave);
        else
            (void)pthread_create(&guest->thread, NULL, run_guest, guest);
        guest->silent = silent;
        return;
    }
}

static void on_stop(struct driver *unused, struct driver_enclave *enclave)
{
    (void)unused;
    struct guest *guest = enclave->guest;
    if (guest && !guest->silent) (void)pthread_join(guest->thread, NULL);
}

static int set_up_guests(void **state)
{
    memset(guests, 0, sizeof guests);
    if (set_up(state) != 0) return -1;
    driver.on_start = on_start;
    driver.on_stop = on_stop;
    return 0;
}

/* --- the whole path --- */

static void test_session(void **state)
{
    struct tc_error err = {0};
    struct tc_enclave *enclave = NULL;
    struct tc_backend_config config = configure();
    char hello[5];
    int fd = -1;
    (void)state;
    if (tc_nitro_start(&driver.ops, &config, &enclave, &fd, &err) != TC_OK)
        fail_msg("%s", err.message);
    assert_int_equal(recv(fd, hello, 5, MSG_WAITALL), 5);
    assert_memory_equal(hello, "hello", 5);
    static uint8_t loaded[IMAGE_SIZE];
    const struct driver_enclave *made = &driver.enclaves[0];
    assert_true(driver_read(made, DRIVER_LOAD_OFFSET, loaded, IMAGE_SIZE));
    assert_memory_equal(loaded, image_bytes, IMAGE_SIZE);
    uint64_t memory = 0;
    assert_int_equal(tc_nitro_memory(IMAGE_SIZE, 64 * MB, &memory, &err), TC_OK);
    assert_int_equal(made->memory, memory);
    assert_false(made->debug);
    assert_true(made->cid >= 4096);
    if (tc_nitro_stop(enclave, &err) != TC_OK) fail_msg("%s", err.message);
    assert_true(guests[0].pages_came);
    assert_true(guests[0].beat_came);
    assert_true(guests[0].stranger_was_closed);
    assert_true(driver_is_idle(&driver));
}

/* A stream of the guest's to nobody is no reason to keep anything. */
static void test_nothing_stays(void **state)
{
    struct tc_error err = {0};
    struct tc_enclave *enclave = NULL;
    struct tc_backend_config config = configure();
    int fd = -1;
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        guests[0].started = false;
        assert_int_equal(tc_nitro_start(&driver.ops, &config, &enclave, &fd, &err), TC_OK);
        assert_int_equal(tc_nitro_stop(enclave, &err), TC_OK);
        assert_true(driver_is_idle(&driver));
    }
    /* The double keeps its ends until it looks at them again. */
    for (size_t i = 0; i < DRIVER_PORTS; i++)
        if (driver.ports[i].fd >= 0) {
            (void)close(driver.ports[i].fd);
            driver.ports[i].fd = -1;
        }
    assert_int_equal(count_fds(), idle_fds);
}

static void test_two_at_once(void **state)
{
    struct tc_error err = {0};
    struct tc_enclave *one = NULL, *other = NULL;
    struct tc_backend_config config = configure();
    int fd = -1, other_fd = -1;
    (void)state;
    assert_int_equal(tc_nitro_start(&driver.ops, &config, &one, &fd, &err), TC_OK);
    assert_int_equal(tc_nitro_start(&driver.ops, &config, &other, &other_fd, &err), TC_OK);
    assert_int_not_equal(driver.enclaves[0].cid, driver.enclaves[1].cid);
    assert_int_equal(tc_nitro_stop(one, &err), TC_OK);
    assert_int_equal(tc_nitro_stop(other, &err), TC_OK);
    assert_true(guests[0].stranger_was_closed && guests[1].stranger_was_closed);
    assert_true(guests[0].pages_came && guests[1].pages_came);
}

/* Cores come whole, however many processors are asked for. */
static void test_cores(void **state)
{
    struct tc_error err = {0};
    struct tc_enclave *enclave = NULL;
    struct tc_backend_config config = configure();
    unsigned count = 0;
    int fd = -1;
    (void)state;
    config.cpus = 3;
    assert_int_equal(tc_nitro_start(&driver.ops, &config, &enclave, &fd, &err), TC_OK);
    for (size_t i = 0; i < DRIVER_CPUS; i++)
        count += driver.enclaves[0].cpus[i];
    assert_int_equal(count, 4);
    assert_int_equal(tc_nitro_stop(enclave, &err), TC_OK);
}

/* Larger pages first. */
static void test_large_pages(void **state)
{
    struct tc_error err = {0};
    struct tc_enclave *enclave = NULL;
    struct tc_backend_config config = configure();
    int fd = -1;
    (void)state;
    driver_write(&driver,
                 "/sys/devices/system/node/node0/hugepages/hugepages-1048576kB/free_hugepages",
                 "2");
    config.memory = 1000 * MB;
    assert_int_equal(tc_nitro_start(&driver.ops, &config, &enclave, &fd, &err), TC_OK);
    const struct driver_enclave *made = &driver.enclaves[0];
    assert_int_equal(made->regions_count, 2);
    assert_int_equal(made->regions[0]->page, TC_NITRO_PAGE_1G);
    assert_int_equal(made->regions[1]->page, TC_NITRO_PAGE_2M);
    assert_int_equal(tc_nitro_stop(enclave, &err), TC_OK);
}

/* The console, of an enclave in debug mode alone, goes to stderr and cannot move a cursor. */
static void test_console(void **state)
{
    struct tc_error err = {0};
    struct tc_enclave *enclave = NULL;
    struct tc_backend_config config = configure();
    char said[64] = "";
    int fd = -1, ends[2], saved = dup(STDERR_FILENO);
    (void)state;
    config.debug = true;
    assert_int_equal(pipe(ends), 0);
    (void)dup2(ends[1], STDERR_FILENO);
    tc_status status = tc_nitro_start(&driver.ops, &config, &enclave, &fd, &err);
    bool debug = driver.enclaves[0].debug;
    ssize_t got = status == TC_OK ? read(ends[0], said, sizeof said - 1) : 0;
    tc_status ended = status == TC_OK ? tc_nitro_stop(enclave, &err) : status;
    (void)dup2(saved, STDERR_FILENO);
    (void)close(saved);
    (void)close(ends[0]);
    (void)close(ends[1]);
    assert_int_equal(status, TC_OK);
    assert_int_equal(ended, TC_OK);
    assert_true(debug);
    assert_true(got > 0);
    assert_string_equal(said, "a\\x1bword\n");
}

/* --- what fails --- */

static void expect_failure(struct tc_backend_config *config, tc_status expected, const char *text)
{
    struct tc_error err = {0};
    struct tc_enclave *enclave = NULL;
    int fd = -1;
    assert_int_equal(tc_nitro_start(&driver.ops, config, &enclave, &fd, &err), expected);
    if (!strstr(err.message, text)) fail_msg("expected '%s' in: %s", text, err.message);
    assert_null(enclave);
    assert_int_equal(fd, -1);
    assert_true(driver_is_idle(&driver));
}

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

static void test_interrupt(void **state)
{
    struct tc_backend_config config = configure();
    int ends[2];
    (void)state;
    driver.on_start = NULL;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    config.interrupt_fd = ends[0];
    expect_failure(&config, TC_INTERRUPTED, "interrupted");
    (void)close(ends[0]);
    (void)close(ends[1]);
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

static void test_full_pool(void **state)
{
    struct tc_backend_config config = configure();
    (void)state;
    config.cpus = 7;
    expect_failure(&config, TC_UNAVAILABLE, "processor 7: the pool's processors are all");
    driver.taken[1] = driver.taken[2] = driver.taken[3] = true;
    struct tc_error err = {0};
    struct tc_enclave *enclave = NULL;
    int fd = -1;
    assert_int_equal(tc_nitro_start(&driver.ops, &config, &enclave, &fd, &err), TC_UNAVAILABLE);
    assert_non_null(strstr(err.message, "cannot make an enclave: the pool's processors"));
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

/* The pages went between the look and the taking. */
static void *map_nothing(void *context, size_t size, uint64_t page, int node)
{
    (void)context;
    (void)size;
    (void)page;
    (void)node;
    errno = ENOMEM;
    return NULL;
}

static void test_lost_pages(void **state)
{
    struct tc_backend_config config = configure();
    (void)state;
    driver.ops.map = map_nothing;
    expect_failure(&config, TC_UNAVAILABLE, "which were free a moment ago");
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

static void test_too_much(void **state)
{
    struct tc_backend_config config = configure();
    (void)state;
    config.memory = (uint64_t)1 << 50;
    expect_failure(&config, TC_LIMIT, "more memory than any enclave has");
    struct tc_error err = {0};
    uint64_t memory = 0;
    assert_int_equal(tc_nitro_memory(10 * MB + 1, 64 * MB, &memory, &err), TC_OK);
    assert_int_equal(memory, (64 + 3 * 10 + 192 + 2) * MB);
}

/* --- what is missing --- */

static void expect_lack(const char *why, const char *fix)
{
    struct tc_probe probe;
    struct tc_backend_config config = configure();
    tc_nitro_look(&driver.ops, 300 * MB, NULL, &probe);
    assert_false(probe.usable);
    if (!strstr(probe.why, why)) fail_msg("expected '%s' in: %s", why, probe.why);
    if (!strstr(probe.fix, fix)) fail_msg("expected '%s' in: %s", fix, probe.fix);
    config.memory = 90 * MB;
    expect_failure(&config, TC_UNAVAILABLE, fix);
}

#define POOL_FILE "/sys/module/nitro_enclaves/parameters/ne_cpus"
#define NODE0 "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/"
#define ALLOCATOR "/etc/nitro_enclaves/allocator.yaml"

static void test_lack_of_driver(void **state)
{
    (void)state;
    driver_write(&driver, "/dev/nitro_enclaves", NULL);
    expect_lack("has found no enclave device", "--enclave-options Enabled=true");
    char module[128];
    (void)snprintf(module, sizeof module, "%s/sys/module/nitro_enclaves", driver.root);
    char moved[160];
    (void)snprintf(moved, sizeof moved, "%s.gone", module);
    assert_int_equal(rename(module, moved), 0);
    expect_lack("the driver nitro_enclaves is not loaded", "sudo modprobe nitro_enclaves");
}

static void test_lack_of_permission(void **state)
{
    (void)state;
    driver.device_errno = EACCES;
    expect_lack("cannot open /dev/nitro_enclaves: Permission denied", "sudo usermod -aG ");
    driver.device_errno = ENODEV;
    expect_lack("No such device", "sudo dmesg");
}

static void test_lack_of_pool(void **state)
{
    (void)state;
    driver_write(&driver, POOL_FILE, "");
    driver_write(&driver, "/sys/devices/system/cpu/cpu3/topology/thread_siblings_list", "2-3");
    expect_lack("no processors are set aside", "echo 2-3 | sudo tee " POOL_FILE);
    driver_write(&driver, ALLOCATOR, "---");
    expect_lack("no processors are set aside",
                "set cpu_count in " ALLOCATOR
                ", then: sudo systemctl restart nitro-enclaves-allocator.service");
}

static void test_lack_of_pages(void **state)
{
    (void)state;
    driver_write(&driver, NODE0 "free_hugepages", "100");
    driver_write(&driver, NODE0 "nr_hugepages", "120");
    expect_lack("needs 300.0 MiB of huge pages on NUMA node 0, where 200.0 MiB are free",
                "| sudo tee " NODE0 "nr_hugepages");
    struct tc_probe probe;
    tc_nitro_look(&driver.ops, 300 * MB, NULL, &probe);
    /* 20 are somebody's, 100 are free, 50 are missing. */
    assert_string_equal(probe.fix, "echo 170 | sudo tee " NODE0 "nr_hugepages");
    driver_write(&driver, ALLOCATOR, "---");
    tc_nitro_look(&driver.ops, 300 * MB, NULL, &probe);
    assert_non_null(strstr(probe.fix, "set memory_mib to 300 or more in " ALLOCATOR));
}

/* The node is the pool's: pages elsewhere are none. */
static void test_node(void **state)
{
    struct tc_nitro_host host = {0};
    struct tc_probe probe;
    char path[160], moved[160];
    (void)state;
    (void)snprintf(path, sizeof path, "%s/sys/devices/system/cpu/cpu2/node0", driver.root);
    (void)snprintf(moved, sizeof moved, "%s/sys/devices/system/cpu/cpu2/node1", driver.root);
    assert_int_equal(rename(path, moved), 0);
    expect_lack("on NUMA node 1, where 0 B are free", "node1");
    driver_write(&driver,
                 "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/free_hugepages", "400");
    tc_nitro_look(&driver.ops, 300 * MB, &host, &probe);
    assert_true(probe.usable);
    assert_int_equal(host.node, 1);
    assert_int_equal(host.free_2m, 400);
    assert_string_equal(host.pool, "2-7");
}

/* --- numbers --- */

static void test_plan(void **state)
{
    const struct {
        uint64_t need, free_1g, free_2m;
        bool enough;
        uint64_t pages_1g, pages_2m;
    } table[] = {
        {300 * MB, 0, 150, true, 0, 150},
        {300 * MB, 0, 149, false, 0, 0},
        {300 * MB, 1, 149, true, 1, 0},
        {300 * MB, 1, 150, true, 0, 150},
        {1024 * MB, 1, 0, true, 1, 0},
        {1025 * MB, 1, 0, false, 0, 0},
        {1025 * MB, 1, 1, true, 1, 1},
        {1025 * MB, 2, 0, true, 2, 0},
        {4096 * MB, 2, 1024, true, 2, 1024},
        {4096 * MB, 2, 1023, false, 0, 0},
        {1, 0, 1, true, 0, 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct tc_nitro_plan plan = {99, 99};
        assert_int_equal(tc_nitro_plan(table[i].need, table[i].free_1g, table[i].free_2m, &plan),
                         table[i].enough);
        assert_int_equal(plan.pages_1g, table[i].enough ? table[i].pages_1g : 99);
        assert_int_equal(plan.pages_2m, table[i].enough ? table[i].pages_2m : 99);
    }
}

/* Whatever two enclaves there are, none of their ports is the other's, nor a known one. */
static void test_port_shift(void **state)
{
    const uint32_t ports[] = {TC_VSOCK_PORT_SESSION, TC_VSOCK_PORT_PAGES, TC_VSOCK_PORT_EGRESS};
    (void)state;
    assert_int_equal(tc_vsock_port_shift(TC_VSOCK_CID_FIRST), 0);
    assert_int_equal(tc_vsock_port_shift(3), 0);
    for (uint32_t distance = 1; distance < 64; distance++)
        for (size_t i = 0; i < 3; i++)
            for (size_t j = 0; j < 3; j++)
                assert_int_not_equal(ports[i] + tc_vsock_port_shift(5000),
                                     ports[j] + tc_vsock_port_shift(5000 + distance));
    for (uint32_t cid = 4; cid < 70000; cid++)
        for (size_t i = 0; i < 3; i++)
            assert_int_not_equal(ports[i] + tc_vsock_port_shift(cid), TC_VSOCK_PORT_HEARTBEAT);
}

#define GUEST(name) cmocka_unit_test_setup_teardown(name, set_up_guests, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUEST(test_session),
        GUEST(test_nothing_stays),
        GUEST(test_two_at_once),
        GUEST(test_cores),
        GUEST(test_large_pages),
        GUEST(test_console),
        GUEST(test_no_image),
        GUEST(test_early_end),
        GUEST(test_interrupt),
        GUEST(test_interrupt_at_the_end),
        GUEST(test_taken_cids),
        GUEST(test_full_pool),
        GUEST(test_pieces),
        GUEST(test_lost_pages),
        GUEST(test_ports_in_use),
        GUEST(test_too_much),
        GUEST(test_lack_of_driver),
        GUEST(test_lack_of_permission),
        GUEST(test_lack_of_pool),
        GUEST(test_lack_of_pages),
        GUEST(test_node),
        cmocka_unit_test(test_plan),
        cmocka_unit_test(test_port_shift),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
