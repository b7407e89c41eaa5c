/* What the recorder tells the monitor, each part once and in order, and what becomes of the
 * signature where it does not. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "monitor_lab.h"

static char a_host[] = "deb.example.org", a_url[] = "https://a.example.org/b";
static char *hosts[] = {a_host};

static struct tc_part_network a_network(void)
{
    return (struct tc_part_network){.hijack = TC_HIJACK_ANYIP,
                                    .plain_http = hosts,
                                    .plain_http_count = 1,
                                    .has_denied = true,
                                    .denied_count = 3,
                                    .denied = {{4}}};
}

static struct tc_part_witness a_witness(uint8_t commit)
{
    struct tc_part_witness witness = {(char *)(uintptr_t) "https://git.example.org/a.git",
                                      (char *)(uintptr_t) "refs/heads/main",
                                      {{0}}};
    memset(witness.commit.bytes, commit, sizeof witness.commit.bytes);
    return witness;
}

/* As far as the recorder: everything but its own word is there. */
static void build_recorded(struct fixture *f)
{
    f->network = TC_NETWORK_RECORD;
    build_all(f);
}

/* More than a socket holds, told before the session asks for anything. */
static void test_recorded(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    struct tc_part_witness witness = a_witness(7);
    struct tc_part_network network = a_network();
    struct tc_part_transcript transcript = {.last = {{1}}, .count = 9, .digest = {{2}}};
    struct tc_dependency *list = calloc(TC_DEPENDENCIES_MAX, sizeof *list);
    assert_non_null(list);
    for (size_t i = 0; i < TC_DEPENDENCIES_MAX; i++) {
        list[i] = (struct tc_dependency){.url = a_url, .size = 1};
        list[i].digest.bytes[0] = (uint8_t)(i >> 8);
        list[i].digest.bytes[1] = (uint8_t)i;
    }
    f->network = TC_NETWORK_RECORD;
    assert_int_equal(tc_monitor_witness(&f->recorder, &witness, &err), TC_OK);
    build_all(f);
    tc_status told =
        tc_monitor_network(&f->recorder, &network, list, TC_DEPENDENCIES_MAX, &transcript, &err);
    free(list);
    if (told != TC_OK) fail_msg("%s", err.message);
    struct tc_signed parts;
    if (finish_now(f, &parts, &err) != TC_OK) fail_msg("%s", err.message);
    struct tc_statement read;
    assert_int_equal(tc_statement_read(tc_buf_span(&parts.statement), &read, &err), TC_OK);
    assert_int_equal(read.recipe.network, TC_NETWORK_RECORD);
    assert_int_equal(read.network.hijack, TC_HIJACK_ANYIP);
    assert_string_equal(read.network.plain_http[0], a_host);
    assert_true(read.network.has_denied);
    assert_int_equal(read.network.denied_count, 3);
    assert_int_equal(read.network.denied.bytes[0], 4);
    assert_string_equal(read.witness.ref, "refs/heads/main");
    assert_int_equal(read.dependencies_count, TC_DEPENDENCIES_MAX);
    assert_int_equal(read.dependencies[258].digest.bytes[0], 1);
    assert_int_equal(read.transcript.count, 9);
    assert_int_equal(read.transcript.last.bytes[0], 1);
    tc_statement_free(&read);
    tc_signed_free(&parts);
    assert_int_equal(monitor_status(f), 0);
}

static void hang_up(struct fixture *f)
{
    (void)close(f->recorder_fd);
    f->recorder_fd = -1;
}

/* The session has the recorder end before the build begins, which then finds no network. */
static void test_recorder_closed_early(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    struct tc_part_network network = a_network();
    struct tc_part_transcript transcript = {.count = 0};
    assert_int_equal(tc_monitor_network(&f->recorder, &network, NULL, 0, &transcript, &err), TC_OK);
    build_recorded(f);
    expect_unsigned(f, "closed its books");
}

/* The session gave the recorder a build.json of its own. */
static void test_other_build_file(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    struct tc_part_network network = a_network();
    struct tc_part_transcript transcript = {.count = 0};
    network.build_file.bytes[31] = 1;
    build_recorded(f);
    assert_int_equal(tc_monitor_network(&f->recorder, &network, NULL, 0, &transcript, &err), TC_OK);
    expect_unsigned(f, "another build.json");
}

static void test_second_witness(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    struct tc_part_witness witness = a_witness(7);
    build_recorded(f);
    assert_int_equal(tc_monitor_witness(&f->recorder, &witness, &err), TC_OK);
    assert_int_equal(tc_monitor_witness(&f->recorder, &witness, &err), TC_OK);
    expect_unsigned(f, "a second time");
}

static void test_recorder_gone(void **state)
{
    build_recorded(*state);
    hang_up(*state);
    expect_unsigned(*state, "did not say how the network went");
}

static void tell(struct fixture *f, enum tc_ipc_kind kind)
{
    struct tc_error err = {0};
    TC_AUTO_BUF struct tc_buf part = tc_buf_new(TC_IPC_PART_MAX);
    struct tc_part_network network = a_network();
    struct tc_dependency dependency = {.url = a_url, .size = 1};
    struct tc_part_transcript transcript = {.count = 1};
    struct tc_part_witness witness = a_witness(7);
    if (kind == TC_IPC_NETWORK) tc_part_network_encode(&network, &part);
    if (kind == TC_IPC_DEPENDENCY) tc_dependency_encode(&dependency, &part);
    if (kind == TC_IPC_TRANSCRIPT) tc_part_transcript_encode(&transcript, &part);
    if (kind == TC_IPC_WITNESS) tc_part_witness_encode(&witness, &part);
    assert_int_equal(tc_ipc_write(&f->recorder, kind, tc_buf_span(&part), &err), TC_OK);
}

static void test_recorder_cut(void **state)
{
    build_recorded(*state);
    tell(*state, TC_IPC_NETWORK);
    tell(*state, TC_IPC_DEPENDENCY);
    hang_up(*state);
    expect_unsigned(*state, "did not say how the network went");
}

static void test_recorder_order(void **state)
{
    build_recorded(*state);
    tell(*state, TC_IPC_DEPENDENCY);
    expect_unsigned(*state, "out of its order");
}

static void test_recorder_no_network(void **state)
{
    build_recorded(*state);
    tell(*state, TC_IPC_TRANSCRIPT);
    expect_unsigned(*state, "out of its order");
}

static void test_recorder_twice(void **state)
{
    build_recorded(*state);
    tell(*state, TC_IPC_NETWORK);
    tell(*state, TC_IPC_NETWORK);
    expect_unsigned(*state, "a second time");
}

static void test_recorder_late_witness(void **state)
{
    build_recorded(*state);
    tell(*state, TC_IPC_NETWORK);
    tell(*state, TC_IPC_WITNESS);
    expect_unsigned(*state, "out of its order");
}

static void test_recorder_repeats(void **state)
{
    build_recorded(*state);
    tell(*state, TC_IPC_NETWORK);
    tell(*state, TC_IPC_DEPENDENCY);
    tell(*state, TC_IPC_DEPENDENCY);
    tell(*state, TC_IPC_TRANSCRIPT);
    expect_unsigned(*state, "repeat one");
}

static void test_recorder_of_session(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    build_recorded(f);
    tell(f, TC_IPC_NETWORK);
    /* The session must not be able to say what the network did. */
    assert_int_equal(tc_ipc_write(&f->session, TC_IPC_TRANSCRIPT, (struct tc_span){0}, &err),
                     TC_OK);
    expect_unsigned(f, "out of its phase");
}

static void test_recorder_offline(void **state)
{
    struct fixture *f = *state;
    build_all(f);
    tell(f, TC_IPC_NETWORK);
    tell(f, TC_IPC_TRANSCRIPT);
    expect_unsigned(f, "was offline, and has something of a network");
}

static void test_other_witness(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    struct tc_part_witness witness = a_witness(8);
    build_recorded(f);
    assert_int_equal(tc_monitor_witness(&f->recorder, &witness, &err), TC_OK);
    tell(f, TC_IPC_NETWORK);
    tell(f, TC_IPC_TRANSCRIPT);
    expect_unsigned(f, "names another commit");
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        MONITOR(test_recorded),         MONITOR(test_recorder_closed_early),
        MONITOR(test_other_build_file), MONITOR(test_second_witness),
        MONITOR(test_recorder_gone),    MONITOR(test_recorder_cut),
        MONITOR(test_recorder_order),   MONITOR(test_recorder_no_network),
        MONITOR(test_recorder_twice),   MONITOR(test_recorder_late_witness),
        MONITOR(test_recorder_repeats), MONITOR(test_recorder_of_session),
        MONITOR(test_recorder_offline), MONITOR(test_other_witness),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
