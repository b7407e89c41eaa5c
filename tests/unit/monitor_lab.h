/* A monitor for tests, in a process of its own, with the development attester; the test is its
 * session, its stages and its recorder. */
#ifndef TC_TESTS_MONITOR_LAB_H
#define TC_TESTS_MONITOR_LAB_H

#include <sys/types.h>

#include "worker/monitor_client.h"
#include "worker/spawner.h"
#include "worker/stages.h"

struct fixture {
    char folder[64];
    pid_t attester, monitor;
    int nsm_fd; /* our own way to the same attester's protocol: what root in the enclave has */
    int stages_fd;
    struct tc_channel session, recorder;
    int session_fd, recorder_fd;
    enum tc_network_mode network;
};

/* cmocka's, which make a fixture; set_up: of an enclave that is not measured and says nothing
 * of its image. */
int set_up_with(void **state, bool measured, const char *image_text);
int set_up(void **state);
int tear_down(void **state);
#define MONITOR(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* Waits for its end. -1: it did not exit. */
int monitor_status(struct fixture *f);

/* --- stages --- */
void say(struct fixture *f, uint32_t kind, bool clean, int64_t started, int64_t finished);

/* --- session --- */
struct tc_part_source a_source(uint8_t first);
tc_status bind_now(struct fixture *f, struct tc_error *err);
tc_status finish_now(struct fixture *f, struct tc_signed *ret, struct tc_error *err);

/* As far as the command: the source was unpacked and is bound. */
void bind_unpacked(struct fixture *f);
/* As far as the recorder: everything but its own word is there. */
void build_all(struct fixture *f);

/* The monitor refuses the binding, or the signature, with these words, and ends. */
void expect_unbound(struct fixture *f, const char *part);
void expect_unsigned(struct fixture *f, const char *part);

#endif
