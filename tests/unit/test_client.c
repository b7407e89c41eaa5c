/* The host's side of a session with a worker that means harm, hangs or dies: a reason is
 * given, and what it said before is in the log. */
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/statement.h"
#include "host/client.h"

enum end { HANGS_UP, IS_SILENT, DRIPS };

/* What comes from the worker, whatever it is sent. */
static struct tc_buf script;

static void say(enum tc_wire_kind kind, const void *payload, size_t size)
{
    uint8_t header[TC_WIRE_HEADER_SIZE];
    tc_wire_header_encode(kind, (uint32_t)size, header);
    tc_buf_add(&script, header, sizeof header);
    tc_buf_add(&script, payload, size);
}

static void say_member(enum tc_member member, uint64_t size)
{
    struct tc_buf payload = tc_buf_new(64);
    const struct tc_wire_member said = {member, size};
    tc_wire_member_encode(&said, &payload);
    say(TC_WIRE_MEMBER, payload.data, payload.size);
    tc_buf_free(&payload);
}

static int set_up(void **state)
{
    (void)state;
    script = tc_buf_new(4 << 20);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tc_buf_free(&script);
    return 0;
}

/* Takes what comes until its peer has gone. */
static void *drain(void *context)
{
    char bytes[4096];
    while (recv(*(int *)context, bytes, sizeof bytes, 0) > 0)
        continue;
    return NULL;
}

struct feeder {
    int fd;
    enum end end;
};

/* The script; then an end, nothing, or a byte of the log now and then for ever. */
static void *feed(void *context)
{
    const struct feeder *feeder = context;
    uint8_t frame[TC_WIRE_HEADER_SIZE + 1] = {0};
    for (size_t at = 0; at < script.size;) {
        ssize_t sent = send(feeder->fd, script.data + at, script.size - at, MSG_NOSIGNAL);
        if (sent <= 0) return NULL;
        at += (size_t)sent;
    }
    if (feeder->end == HANGS_UP) (void)shutdown(feeder->fd, SHUT_WR);
    tc_wire_header_encode(TC_WIRE_LOG, 1, frame);
    for (size_t i = 0; feeder->end == DRIPS; i = (i + 1) % sizeof frame) {
        if (send(feeder->fd, frame + i, 1, MSG_NOSIGNAL) != 1) break;
        (void)poll(NULL, 0, 1);
    }
    return NULL;
}

static tc_status send_source(void *context, void *sink,
                             tc_status (*send)(void *sink, enum tc_wire_kind kind,
                                               struct tc_span payload, struct tc_error *err),
                             struct tc_error *err)
{
    (void)context;
    return send(sink, TC_WIRE_SOURCE_END, (struct tc_span){NULL, 0}, err);
}

static void on_phase(void *context, enum tc_phase phase)
{
    *(int *)context = (int)phase;
}

static void on_log(void *context, struct tc_span bytes)
{
    (void)context;
    (void)bytes;
}

/* The session fails so; ret_log, of 64 bytes, gets the log. */
static struct tc_limits limits = {.log = 1024, .memory = 4096, .disk = 4096, .timeout = 1};

static void expect(enum end end, int interrupt_fd, tc_status expected, const char *text,
                   char *ret_log)
{
    struct tc_error err = {0};
    pthread_t drainer, feeding;
    char log[64] = "";
    int ends[2], phase = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    struct feeder feeder = {ends[1], end};
    assert_int_equal(pthread_create(&feeding, NULL, feed, &feeder), 0);
    assert_int_equal(pthread_create(&drainer, NULL, drain, &ends[1]), 0);
    struct tc_client_config config = {
        .fd = ends[0],
        .interrupt_fd = interrupt_fd,
        .hello = {.source = TC_SOURCE_TREE, .build_file = tc_span_of_text("build.json")},
        .build_file = tc_span_of_text("{}"),
        .context = &phase,
        .send_source = send_source,
        .on_phase = on_phase,
        .on_log = on_log,
        .log_fd = memfd_create("log", MFD_CLOEXEC),
        .bundle_fd = memfd_create("bundle", MFD_CLOEXEC),
        .detached_fd = -1};
    tc_client_bound(&limits, &config);
    if (end == IS_SILENT && interrupt_fd < 0) config.build_max_ms = 20;
    if (end == DRIPS) config.build_max_ms = 200;
    tc_status status = tc_client_run(&config, &err);
    (void)!pread(config.log_fd, log, sizeof log - 1, 0);
    (void)close(config.log_fd);
    (void)close(config.bundle_fd);
    (void)close(ends[0]);
    (void)pthread_join(drainer, NULL);
    (void)pthread_join(feeding, NULL);
    (void)close(ends[1]);
    if (status != expected || !strstr(err.message, text))
        fail_msg("expected '%s' (%d) in: %s (%d)", text, (int)expected, err.message, (int)status);
    if (ret_log) memcpy(ret_log, log, sizeof log);
}

static void test_dies_at_each_step(void **state)
{
    char log[64];
    (void)state;
    expect(HANGS_UP, -1, TC_PEER, "the worker hung up", NULL);
    say(TC_WIRE_ACCEPT, "0", 1);
    expect(HANGS_UP, -1, TC_PEER, "the worker hung up", NULL);
    say(TC_WIRE_LOG, "said before", 11);
    expect(HANGS_UP, -1, TC_PEER, "the worker hung up", log);
    assert_string_equal(log, "said before");
    say_member(TC_MEMBER_BUILD_FILE, 4);
    expect(HANGS_UP, -1, TC_PEER, "the worker hung up", log);
    assert_string_equal(log, "said before");
    tc_buf_add(&script, "\5\0\0", 3); /* of a header */
    expect(HANGS_UP, -1, TC_PEER, "the worker hung up", NULL);
}

/* Longer than the build may take is too long, unless the user has had enough before. */
static void test_is_silent(void **state)
{
    char log[64];
    int interrupt[2];
    (void)state;
    say(TC_WIRE_ACCEPT, "0", 1);
    say(TC_WIRE_LOG, "said before", 11);
    expect(IS_SILENT, -1, TC_PEER, "the worker was not done within ", log);
    assert_string_equal(log, "said before");
    assert_int_equal(pipe(interrupt), 0);
    assert_int_equal(write(interrupt[1], "i", 1), 1);
    expect(IS_SILENT, interrupt[0], TC_INTERRUPTED, "interrupted", NULL);
    (void)close(interrupt[0]);
    (void)close(interrupt[1]);
}

static void add_garbage(void)
{
    uint8_t bytes[1000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(0x80 + i * 31);
    tc_buf_add(&script, bytes, sizeof bytes);
}

static void test_garbage_at_each_step(void **state)
{
    (void)state;
    add_garbage();
    expect(IS_SILENT, -1, TC_MALFORMED, "from the worker: unknown frame kind 128", NULL);
    tc_buf_reset(&script);
    say(TC_WIRE_ACCEPT, "0", 1);
    add_garbage();
    expect(IS_SILENT, -1, TC_MALFORMED, "from the worker: unknown frame kind 128", NULL);
    tc_buf_reset(&script);
    say(TC_WIRE_ACCEPT, "0", 1);
    say_member(TC_MEMBER_BUILD_FILE, 4);
    add_garbage();
    expect(IS_SILENT, -1, TC_MALFORMED, "from the worker: unknown frame kind 128", NULL);
}

static void test_frames_out_of_place(void **state)
{
    (void)state;
    say(TC_WIRE_DONE, "", 0);
    expect(IS_SILENT, -1, TC_MALFORMED, "the worker sent frame kind 38 where kind 32 was expected",
           NULL);
    tc_buf_reset(&script);
    say(TC_WIRE_ACCEPT, "0", 1);
    say(TC_WIRE_DONE, "", 0);
    expect(IS_SILENT, -1, TC_MALFORMED, "the worker sent frame kind 38 during the build", NULL);
    tc_buf_reset(&script);
    say(TC_WIRE_ACCEPT, "0", 1);
    say_member(TC_MEMBER_STATEMENT, 4);
    expect(IS_SILENT, -1, TC_MALFORMED, "the worker sent member 5 of 4 bytes out of place", NULL);
    tc_buf_reset(&script);
    say(TC_WIRE_ACCEPT, "0", 1);
    say_member(TC_MEMBER_BUILD_FILE, UINT64_C(1) << 40);
    expect(IS_SILENT, -1, TC_MALFORMED, "the worker sent member 1 of 1099511627776 bytes", NULL);
    tc_buf_reset(&script);
    say(TC_WIRE_ACCEPT, "0", 1);
    say_member(TC_MEMBER_BUILD_FILE, 4);
    say(TC_WIRE_DATA, "12345678", 8);
    expect(IS_SILENT, -1, TC_MALFORMED, "the worker sent more bytes than it announced", NULL);
}

/* --- bounds --- */

static void say_log(size_t size)
{
    static uint8_t bytes[4096];
    for (; size > 0; size -= size < sizeof bytes ? size : sizeof bytes)
        say(TC_WIRE_LOG, bytes, size < sizeof bytes ? size : sizeof bytes);
}

/* As much as the limit allows, with what hiding may add; and no byte more. */
static void test_log_is_bounded(void **state)
{
    const size_t most = (size_t)(6 * limits.log + (1 << 20));
    (void)state;
    say(TC_WIRE_ACCEPT, "0", 1);
    say_log(most);
    expect(HANGS_UP, -1, TC_PEER, "the worker hung up", NULL);
    say_log(1);
    expect(HANGS_UP, -1, TC_PEER, "the worker sent more log than limits.log", NULL);
}

static void test_phases_are_bounded(void **state)
{
    const uint8_t phase = TC_PHASE_COMMAND;
    (void)state;
    say(TC_WIRE_ACCEPT, "0", 1);
    for (size_t i = 0; i < 64; i++)
        say(TC_WIRE_PHASE, &phase, 1);
    expect(HANGS_UP, -1, TC_PEER, "the worker hung up", NULL);
    say(TC_WIRE_PHASE, &phase, 1);
    expect(HANGS_UP, -1, TC_MALFORMED, "the worker began more than 64 phases", NULL);
}

static void say_members(void)
{
    static const enum tc_member list[] = {TC_MEMBER_BUILD_FILE, TC_MEMBER_DOCUMENT,
                                          TC_MEMBER_ENVELOPE, TC_MEMBER_TRANSCRIPT,
                                          TC_MEMBER_STATEMENT};
    say(TC_WIRE_ACCEPT, "0", 1);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        say_member(list[i], 0);
}

static void say_output(const char *path, uint64_t size)
{
    struct tc_buf payload = tc_buf_new(1024);
    const struct tc_entry entry = {
        .kind = TC_ENTRY_FILE, .path = tc_span_of_text(path), .size = size};
    tc_entry_encode(&entry, &payload);
    say(TC_WIRE_OUTPUT, payload.data, payload.size);
    tc_buf_free(&payload);
}

/* All together. */
static void test_outputs_are_bounded(void **state)
{
    static const uint8_t bytes[4096];
    (void)state;
    say_members();
    for (size_t i = 0; i < 2; i++) {
        say_output(i ? "b" : "a", sizeof bytes);
        say(TC_WIRE_DATA, bytes, sizeof bytes);
    }
    say_output("c", 0);
    expect(HANGS_UP, -1, TC_PEER, "the worker hung up", NULL);
    say_output("d", 1);
    expect(HANGS_UP, -1, TC_PEER, "announced more outputs than limits.memory and", NULL);
    tc_buf_reset(&script);
    say_members();
    for (size_t i = 0; i < TC_SUBJECTS_MAX; i++)
        say_output("a", 0);
    expect(HANGS_UP, -1, TC_PEER, "the worker hung up", NULL);
    say_output("a", 0);
    expect(HANGS_UP, -1, TC_MALFORMED, "the worker sent more than 10000 outputs", NULL);
}

/* It is never silent for long, and never done. */
static void test_time_is_bounded(void **state)
{
    (void)state;
    say(TC_WIRE_ACCEPT, "0", 1);
    expect(DRIPS, -1, TC_PEER, "the worker was not done within ", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_dies_at_each_step, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_is_silent, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_garbage_at_each_step, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_frames_out_of_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_log_is_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_phases_are_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_outputs_are_bounded, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_time_is_bounded, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
