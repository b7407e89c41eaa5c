#include "nitro_lab.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "host/nitro_host.h"
#include "os/vsock.h"

struct driver driver;
static struct tc_imagefile image;
uint8_t image_bytes[IMAGE_SIZE];
static int idle_fds;

enum { FDS = 4096 };

static int count_fds(void)
{
    int count = 0;
    for (int fd = 0; fd < FDS; fd++)
        count += lseek(fd, 0, SEEK_CUR) >= 0 || errno != EBADF;
    return count;
}

int set_up(void **state)
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

int tear_down(void **state)
{
    (void)state;
    bool idle = driver_is_idle(&driver);
    driver_done(&driver);
    (void)close(image.eif_fd);
    (void)close(image.root_fd);
    return idle ? 0 : -1;
}

struct tc_backend_config configure(void)
{
    return (struct tc_backend_config){.image = &image, .memory = 64 * MB, .interrupt_fd = -1};
}

/* --- a guest --- */

struct guest guests[DRIVER_ENCLAVES];

int dial(const struct driver_enclave *enclave, uint32_t port)
{
    return driver_dial(&driver, enclave->cid, port + tc_vsock_port_shift(enclave->cid));
}

bool is_hung_up(int fd)
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
    int beat = dial(enclave, TC_VSOCK_PORT_HEARTBEAT);
    if (send(beat, &byte, 1, MSG_NOSIGNAL) == 1)
        guest->beat_came = recv(beat, &byte, 1, 0) == 1 && byte == 0xb7;
    int console = driver_console(&driver, enclave);
    if (console >= 0) (void)send(console, "a\033word\r\n", 8, MSG_NOSIGNAL);
    if (guest->act) guest->act(guest, session, pages);
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
        *guest = (struct guest){
            .enclave = enclave, .started = true, .stubborn = guest->stubborn, .act = guest->act};
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

int set_up_guests(void **state)
{
    memset(guests, 0, sizeof guests);
    if (set_up(state) != 0) return -1;
    driver.on_start = on_start;
    driver.on_stop = on_stop;
    return 0;
}

/* --- what is left --- */

void expect_idle_fds(void)
{
    /* The double keeps its ends until it looks at them again. */
    for (size_t i = 0; i < DRIVER_PORTS; i++)
        if (driver.ports[i].fd >= 0) {
            (void)close(driver.ports[i].fd);
            driver.ports[i].fd = -1;
        }
    assert_int_equal(count_fds(), idle_fds);
}

void expect_failure(struct tc_backend_config *config, tc_status expected, const char *text)
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

void expect_lack(const char *why, const char *fix)
{
    struct tc_probe probe;
    struct tc_backend_config config = configure();
    tc_nitro_look(&driver.ops, 300 * MB, 0, NULL, &probe);
    assert_false(probe.usable);
    if (!strstr(probe.why, why)) fail_msg("expected '%s' in: %s", why, probe.why);
    if (!strstr(probe.fix, fix)) fail_msg("expected '%s' in: %s", fix, probe.fix);
    config.memory = 90 * MB;
    expect_failure(&config, TC_UNAVAILABLE, fix);
}
