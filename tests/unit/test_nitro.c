/* The nitro back end over a double of the driver: all of its path but the enclave itself. */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "egress_lab.h"
#include "host/nitro_host.h"
#include "loopback.h"
#include "nitro_lab.h"
#include "os/vsock.h"

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
    expect_idle_fds();
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

/* --- the network --- */

static bool was_served, stranger_was_served;

/* As the recorder does. A stranger comes first, and would get an answer at once: no. */
static void ask_for_network(struct guest *guest, int session_fd, int pages_fd)
{
    uint32_t cid = guest->enclave->cid;
    char text[TC_EGRESS_TEXT_MAX + 1];
    size_t size;
    (void)session_fd;
    (void)pages_fd;
    int stranger = driver_dial(&driver, cid + 1, TC_VSOCK_PORT_EGRESS + tc_vsock_port_shift(cid));
    (void)send_dial(stranger, "no..name", 443);
    stranger_was_served = receive_frame(stranger, text, TC_EGRESS_TEXT_MAX, &size) != NO_FRAME;
    (void)close(stranger);
    int fd = dial(guest->enclave, TC_VSOCK_PORT_EGRESS);
    (void)send_dial(fd, "example.test", 443);
    was_served = receive_frame(fd, text, TC_EGRESS_TEXT_MAX, &size) == 0 &&
                 strcmp(text, "proxy") == 0 && send(fd, "ping", 4, MSG_NOSIGNAL) == 4 &&
                 recv(fd, text, 4, MSG_WAITALL) == 4 && memcmp(text, "pong", 4) == 0;
    (void)close(fd);
}

/* A proxy that is all of the network, and says yes to one. */
static void serve_one(int listener)
{
    static const char wanted[] = "CONNECT example.test:443 HTTP/1.1\r\n";
    static const char yes[] = "HTTP/1.1 200 Fine\r\n\r\n";
    char said[512] = "", ping[4];
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t size = 0; !strstr(said, "\r\n\r\n") && size < sizeof said - 1; size++)
        assert_int_equal(recv(fd, said + size, 1, 0), 1);
    assert_memory_equal(said, wanted, sizeof wanted - 1);
    assert_int_equal(send(fd, yes, sizeof yes - 1, MSG_NOSIGNAL), sizeof yes - 1);
    assert_int_equal(recv(fd, ping, sizeof ping, MSG_WAITALL), sizeof ping);
    assert_memory_equal(ping, "ping", 4);
    assert_int_equal(send(fd, "pong", 4, MSG_NOSIGNAL), 4);
    (void)close(fd);
}

static void test_network(void **state)
{
    struct tc_error err = {0};
    struct tc_enclave *enclave = NULL;
    struct tc_backend_config config = configure();
    struct tc_egress_config network = {0};
    char proxy[64], hello[5];
    uint16_t port = 0;
    int fd = -1, listener = listen_here(&port);
    (void)state;
    (void)snprintf(proxy, sizeof proxy, "http://127.0.0.1:%u", (unsigned)port);
    assert_int_equal(tc_proxy_parse(proxy, NULL, &network.proxy, &err), TC_OK);
    assert_int_equal(tc_egress_new(&network, &config.egress, &err), TC_OK);
    guests[0].act = ask_for_network;
    was_served = stranger_was_served = false;
    if (tc_nitro_start(&driver.ops, &config, &enclave, &fd, &err) != TC_OK)
        fail_msg("%s", err.message);
    /* Who is not served goes on with its session. */
    struct pollfd fds[2] = {{.fd = listener, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
    assert_true(poll(fds, 2, -1) > 0);
    bool came = fds[0].revents != 0;
    if (came) serve_one(listener);
    assert_int_equal(recv(fd, hello, 5, MSG_WAITALL), 5);
    assert_int_equal(tc_nitro_stop(enclave, &err), TC_OK);
    tc_egress_stop(config.egress);
    (void)close(listener);
    assert_true(came);
    assert_true(was_served);
    assert_false(stranger_was_served);
}

/* Nobody answers for it where nobody was asked to, and that is said at once. */
static void test_no_network(void **state)
{
    struct tc_error err = {0};
    struct tc_enclave *enclave = NULL;
    struct tc_backend_config config = configure();
    char hello[5];
    int fd = -1;
    (void)state;
    guests[0].act = ask_for_network;
    was_served = true;
    assert_int_equal(tc_nitro_start(&driver.ops, &config, &enclave, &fd, &err), TC_OK);
    assert_int_equal(recv(fd, hello, 5, MSG_WAITALL), 5);
    assert_int_equal(tc_nitro_stop(enclave, &err), TC_OK);
    assert_false(was_served);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        GUEST(test_session), GUEST(test_nothing_stays), GUEST(test_two_at_once),
        GUEST(test_cores),   GUEST(test_large_pages),   GUEST(test_console),
        GUEST(test_network), GUEST(test_no_network),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
