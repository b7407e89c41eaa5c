/* The monitor's phases, against the development attester: what it must sign,
 * and everything that it must not. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/nitrodoc.h"
#include "core/pcr.h"
#include "core/userdata.h"
#include "monitor_lab.h"
#include "worker/nsm.h"

/* The recorder of an offline build: nothing was served. */
static void close_empty_books(struct fixture *f)
{
    struct tc_error err = {0};
    struct tc_part_network network = {0};
    struct tc_part_transcript transcript = {0};
    tc_status status = tc_monitor_network(&f->recorder, &network, NULL, 0, &transcript, &err);
    if (status != TC_OK) fail_msg("%s", err.message);
}

static void test_signs_once(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    build_all(f);
    close_empty_books(f);
    struct tc_signed parts;
    tc_status status = finish_now(f, &parts, &err);
    if (status != TC_OK) fail_msg("%s", err.message);
    struct tc_nitrodoc document;
    assert_int_equal(tc_nitrodoc_decode(tc_buf_span(&parts.document), &document, &err), TC_OK);
    assert_true(document.has_nonce && document.nonce.size == 5);
    struct tc_userdata data;
    assert_int_equal(tc_userdata_read(document.user_data, &data, &err), TC_OK);
    assert_int_equal(data.input.bytes[0], 7);
    struct tc_sha256 digest;
    assert_int_equal(tc_sha256_of(tc_buf_span(&parts.statement), &digest, &err), TC_OK);
    assert_memory_equal(digest.bytes, data.statement.bytes, sizeof digest.bytes);
    struct tc_statement read;
    assert_int_equal(tc_statement_read(tc_buf_span(&parts.statement), &read, &err), TC_OK);
    assert_int_equal(read.started, 100);
    assert_int_equal(read.finished, 160);
    struct tc_sha384 binding, pcr = {{0}};
    assert_int_equal(tc_statement_binding(&read, &binding, &err), TC_OK);
    assert_int_equal(
        tc_pcr_extend(&pcr, (struct tc_span){binding.bytes, sizeof binding.bytes}, &err), TC_OK);
    assert_memory_equal(document.pcr[TC_PCR_BINDING], pcr.bytes, sizeof pcr.bytes);
    tc_statement_free(&read);
    tc_signed_free(&parts);
    assert_int_equal(monitor_status(f), 0);
}

/* The NSM in the hands of whoever took over the enclave after the binding: it
 * can ask for a document, but PCR16 says which source it belongs to. */
static void test_register_is_locked(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    bind_unpacked(f);
    struct tc_nsm nsm;
    assert_int_equal(tc_nsm_open(f->nsm_fd, &nsm, &err), TC_OK);
    struct tc_sha384 before, value;
    bool locked;
    assert_int_equal(tc_nsm_describe_pcr(&nsm, TC_PCR_BINDING, &before, &locked, &err), TC_OK);
    assert_true(locked);
    assert_int_not_equal(
        tc_nsm_extend_pcr(&nsm, TC_PCR_BINDING, tc_span_of_text("other"), &value, &err), TC_OK);
    TC_AUTO_BUF struct tc_buf bytes = tc_buf_new(TC_NITRODOC_MAX);
    assert_int_equal(tc_nsm_attest(&nsm, tc_span_of_text("mine"), (struct tc_span){0},
                                   (struct tc_span){0}, &bytes, &err),
                     TC_OK);
    struct tc_nitrodoc document;
    assert_int_equal(tc_nitrodoc_decode(tc_buf_span(&bytes), &document, &err), TC_OK);
    assert_memory_equal(document.pcr[TC_PCR_BINDING], before.bytes, sizeof before.bytes);
}

static void test_bind_needs_unpacking(void **state)
{
    struct fixture *f = *state;
    expect_unbound(f, "before the source was unpacked");
}

static void test_second_bind(void **state)
{
    struct fixture *f = *state;
    bind_unpacked(f);
    expect_unbound(f, "out of its phase");
}

static void test_second_source(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    say(f, TC_VERDICT_UNPACKED, true, 0, 0);
    TC_AUTO_BUF struct tc_buf part = tc_buf_new(TC_IPC_PART_MAX);
    struct tc_part_source source = a_source(1);
    tc_part_source_encode(&source, &part);
    assert_int_equal(tc_ipc_write(&f->session, TC_IPC_SOURCE, tc_buf_span(&part), &err), TC_OK);
    expect_unbound(f, "a second time");
}

static void test_finish_before_bind(void **state)
{
    struct fixture *f = *state;
    expect_unsigned(f, "out of its phase");
}

static void test_unclean_command(void **state)
{
    struct fixture *f = *state;
    bind_unpacked(f);
    say(f, TC_VERDICT_COMMAND, false, 1, 2);
    expect_unsigned(f, "did not end cleanly");
}

static void test_unclean_unpacking(void **state)
{
    struct fixture *f = *state;
    say(f, TC_VERDICT_UNPACKED, false, 0, 0);
    expect_unbound(f, "did not end cleanly");
}

static void test_no_command(void **state)
{
    struct fixture *f = *state;
    bind_unpacked(f);
    expect_unsigned(f, "0 commands ran");
}

static void test_too_many_commands(void **state)
{
    struct fixture *f = *state;
    bind_unpacked(f);
    say(f, TC_VERDICT_COMMAND, true, 1, 2);
    say(f, TC_VERDICT_COMMAND, true, 3, 4);
    expect_unsigned(f, "2 commands ran");
}

static void test_command_before_bind(void **state)
{
    struct fixture *f = *state;
    say(f, TC_VERDICT_UNPACKED, true, 0, 0);
    say(f, TC_VERDICT_COMMAND, true, 1, 2);
    expect_unbound(f, "out of its phase");
}

static void test_stages_gone(void **state)
{
    struct fixture *f = *state;
    bind_unpacked(f);
    (void)shutdown(f->stages_fd, SHUT_RDWR);
    expect_unsigned(f, "stages does not say");
}

/* A part over the cap is refused by its claim, before memory is spent. */
static void test_oversized_part(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    uint8_t header[8] = {0, 0, 0, TC_IPC_SOURCE, 0xff, 0xff, 0xff, 0xff};
    assert_int_equal(
        tc_channel_write_bytes(&f->session, (struct tc_span){header, sizeof header}, &err), TC_OK);
    assert_int_equal(monitor_status(f), 1);
}

static void test_malformed_part(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    assert_int_equal(tc_ipc_write(&f->session, TC_IPC_RECIPE, tc_span_of_text("x"), &err), TC_OK);
    assert_int_equal(monitor_status(f), 1);
}

/* A register that was used belongs to another build. */
static void test_used_enclave(void **state)
{
    struct fixture *f = *state;
    bind_unpacked(f);
    int session[2], stages[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, session), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, stages), 0);
    pid_t second = fork();
    assert_true(second >= 0);
    if (second == 0) {
        struct tc_monitor_config config = {f->nsm_fd, session[1], stages[1], -1, -1};
        _exit(tc_monitor_main(&config));
    }
    int status;
    assert_int_equal(waitpid(second, &status, 0), second);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
    for (int i = 0; i < 2; i++) {
        (void)close(session[i]);
        (void)close(stages[i]);
    }
}

/* --- what the image says of itself --- */

static const char image_text[] =
    "tee-compile/image/1\nname c\nrecipe "
    "4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e\n"
    "kernel 1\nramdisk 1\ncmdline panic=-1\npackages 1\n"
    "gcc 4:14.2.0-1 amd64 4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e\n";

static int set_up_measured(void **state)
{
    return set_up_with(state, true, image_text);
}

static int set_up_silent(void **state)
{
    return set_up_with(state, true, NULL);
}

static int set_up_talking(void **state)
{
    return set_up_with(state, false, image_text);
}

static int set_up_garbled(void **state)
{
    return set_up_with(state, true, "tee-compile/image/2\n");
}

/* The statement quotes what the image says. */
static void test_measured(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    build_all(f);
    close_empty_books(f);
    struct tc_signed parts;
    tc_status status = finish_now(f, &parts, &err);
    if (status != TC_OK) fail_msg("%s", err.message);
    struct tc_statement read;
    assert_int_equal(tc_statement_read(tc_buf_span(&parts.statement), &read, &err), TC_OK);
    assert_true(read.platform.measured);
    assert_string_equal(read.image.name, "c");
    assert_int_equal(read.image.recipe.bytes[31], 0x4e);
    assert_int_equal(read.image.packages_count, 1);
    assert_string_equal(read.image.packages[0].version, "4:14.2.0-1");
    tc_statement_free(&read);
    tc_signed_free(&parts);
    assert_int_equal(monitor_status(f), 0);
}

/* A text without a measurement, a measurement without a text, another text. */
static void test_image_refused(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    /* Everything but the image would do; the monitor may be gone by now. */
    struct tc_verdict_message unpacked = {TC_VERDICT_UNPACKED, 1, 0, 0};
    (void)!send(f->stages_fd, &unpacked, sizeof unpacked, MSG_NOSIGNAL);
    assert_int_not_equal(bind_now(f, &err), TC_OK);
    /* "the image was measured, but ...", "a toolchain that was not measured ...", "...
     * the image says of itself" */
    if (!strstr(err.message, "measured") && !strstr(err.message, "of itself"))
        fail_msg("%s", err.message);
    assert_int_equal(monitor_status(f), 1);
}

int main(void)
{
    (void)signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        MONITOR(test_signs_once),
        MONITOR(test_register_is_locked),
        MONITOR(test_bind_needs_unpacking),
        MONITOR(test_second_bind),
        MONITOR(test_second_source),
        MONITOR(test_finish_before_bind),
        MONITOR(test_unclean_command),
        MONITOR(test_unclean_unpacking),
        MONITOR(test_no_command),
        MONITOR(test_too_many_commands),
        MONITOR(test_command_before_bind),
        MONITOR(test_stages_gone),
        MONITOR(test_oversized_part),
        MONITOR(test_malformed_part),
        MONITOR(test_used_enclave),
        cmocka_unit_test_setup_teardown(test_measured, set_up_measured, tear_down),
        cmocka_unit_test_setup_teardown(test_image_refused, set_up_silent, tear_down),
        cmocka_unit_test_setup_teardown(test_image_refused, set_up_talking, tear_down),
        cmocka_unit_test_setup_teardown(test_image_refused, set_up_garbled, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
