/* The nitro back end's surroundings for its tests: an image, a double of the driver
 * (nitro/driver.h), and guests, whose place threads take. One at a time. */
#ifndef TC_TESTS_NITRO_LAB_H
#define TC_TESTS_NITRO_LAB_H

#include <pthread.h>

#include "host/backend_nitro.h"
#include "nitro/driver.h"

#define MB ((uint64_t)1 << 20)

enum { IMAGE_SIZE = 5 * (1 << 20) + 123, PAGES = 4, BLOCK = 4096 };

extern struct driver driver;
extern uint8_t image_bytes[IMAGE_SIZE];

struct guest {
    struct driver_enclave *enclave;
    pthread_t thread;
    bool started, silent, pages_came, beat_came, stranger_was_closed;
    bool stubborn; /* does not end when it is hung up on */
    /* What it does once it is connected, before it says "hello"; NULL: nothing. */
    void (*act)(struct guest *guest, int session_fd, int pages_fd);
};
extern struct guest guests[DRIVER_ENCLAVES];

/* cmocka's. tear_down fails when the driver has something yet. */
int set_up(void **state);
int set_up_guests(void **state);
int tear_down(void **state);
#define GUEST(name) cmocka_unit_test_setup_teardown(name, set_up_guests, tear_down)

struct tc_backend_config configure(void);

/* From the enclave, to a port of its own or one that all have. */
int dial(const struct driver_enclave *enclave, uint32_t port);
bool is_hung_up(int fd);

/* Nobody holds a descriptor that was not there before the first start. */
void expect_idle_fds(void);

/* A start that comes to nothing, and leaves nothing. */
void expect_failure(struct tc_backend_config *config, tc_status expected, const char *text);

/* Something of the machine's is missing, for an enclave of 300 MiB: said with both texts. */
void expect_lack(const char *why, const char *fix);

/* The machine's files, below the double's folder. */
#define POOL_FILE "/sys/module/nitro_enclaves/parameters/ne_cpus"
#define NODE0 "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/"
#define LARGE0 "/sys/devices/system/node/node0/hugepages/hugepages-1048576kB/"
#define ALLOCATOR "/etc/nitro_enclaves/allocator.yaml"

#endif
