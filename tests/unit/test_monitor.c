/* The monitor's phases, against the development attester: what it must sign,
 * and everything that it must not. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/nitrodoc.h"
#include "core/pcr.h"
#include "core/userdata.h"
#include "host/devattest.h"
#include "worker/monitor_client.h"
#include "worker/nsm.h"
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

static const char image_text[] =
    "tee-compile/image/1\nname c\nrecipe 4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e\n"
    "kernel 1\nramdisk 1\ncmdline panic=-1\npackages 1\n"
    "gcc 4:14.2.0-1 amd64 4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e\n";

/* A descriptor that reads the text. */
static int open_text(const char *text)
{
    int fd = memfd_create("image", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

static void spawn_attester(struct fixture *f, int fd, int unused, bool measured)
{
    f->attester = fork();
    assert_true(f->attester >= 0);
    if (f->attester != 0) return;
    (void)close(unused);
    struct tc_error err = {0};
    struct tc_sha384 pcr;
    if (tc_pcr_unmeasured(&pcr, &err) != TC_OK) _exit(9);
    if (measured) pcr.bytes[0] ^= 1;
    struct tc_sha384 pcrs[3] = {pcr, pcr, pcr};
    struct tc_devattest_config config = {f->folder, pcrs};
    _exit(tc_devattest_serve(fd, &config, &err) == TC_OK ? 0 : 1);
}

static int setup_with(void **state, bool measured, const char *text)
{
    struct fixture *f = calloc(1, sizeof *f);
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/tc-monitor-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    struct tc_error err = {0};
    char *pem;
    bool created;
    assert_int_equal(tc_devroot_ensure(f->folder, &pem, &created, &err), TC_OK);
    free(pem);
    int nsm[2], session[2], stages[2], recorder[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, nsm), 0);
    /* First the attester, so that it holds no end of what the monitor waits on. */
    spawn_attester(f, nsm[1], nsm[0], measured);
    (void)close(nsm[1]);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, session), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, stages), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, recorder), 0);
    f->monitor = fork();
    assert_true(f->monitor >= 0);
    if (f->monitor == 0) {
        (void)close(session[0]);
        (void)close(stages[0]);
        (void)close(recorder[0]);
        int image_fd = text ? open_text(text) : -1;
        struct tc_monitor_config config = {nsm[0], session[1], stages[1], image_fd, recorder[1]};
        _exit(tc_monitor_main(&config));
    }
    (void)close(session[1]);
    (void)close(stages[1]);
    (void)close(recorder[1]);
    f->recorder_fd = recorder[0];
    f->network = TC_NETWORK_OFFLINE;
    assert_int_equal(tc_channel_init(&f->recorder, recorder[0], 30000, "the monitor", &err), TC_OK);
    f->nsm_fd = nsm[0];
    f->stages_fd = stages[0];
    f->session_fd = session[0];
    assert_int_equal(tc_channel_init(&f->session, session[0], 30000, "the monitor", &err), TC_OK);
    *state = f;
    return 0;
}

static int setup(void **state)
{
    return setup_with(state, false, NULL);
}
static int setup_measured(void **state)
{
    return setup_with(state, true, image_text);
}
static int setup_silent(void **state)
{
    return setup_with(state, true, NULL);
}
static int setup_talking(void **state)
{
    return setup_with(state, false, image_text);
}
static int setup_garbled(void **state)
{
    return setup_with(state, true, "tee-compile/image/2\n");
}

static int monitor_status(struct fixture *f)
{
    int status;
    assert_int_equal(waitpid(f->monitor, &status, 0), f->monitor);
    f->monitor = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    tc_channel_done(&f->session);
    tc_channel_done(&f->recorder);
    (void)close(f->session_fd);
    if (f->recorder_fd >= 0) (void)close(f->recorder_fd);
    (void)close(f->stages_fd);
    (void)close(f->nsm_fd);
    if (f->monitor > 0) (void)waitpid(f->monitor, NULL, 0);
    (void)waitpid(f->attester, NULL, 0);
    char path[128];
    (void)snprintf(path, sizeof path, "%s/development-root.key", f->folder);
    (void)unlink(path);
    (void)snprintf(path, sizeof path, "%s/development-root.pem", f->folder);
    (void)unlink(path);
    (void)snprintf(path, sizeof path, "%s/development-root.lock", f->folder);
    (void)unlink(path);
    (void)rmdir(f->folder);
    free(f);
    return 0;
}

static void say(struct fixture *f, uint32_t kind, bool clean, int64_t started, int64_t finished)
{
    struct tc_verdict_message message = {kind, clean, started, finished};
    assert_int_equal(send(f->stages_fd, &message, sizeof message, MSG_NOSIGNAL),
                     (ssize_t)sizeof message);
}

static char app_name[] = "app", home_setting[] = "HOME=/home/build";
static char *outputs[] = {app_name};
static char *environment[] = {home_setting};

static struct tc_part_source a_source(uint8_t first)
{
    struct tc_part_source source = {.kind = TC_SOURCE_GIT, .has_commit = true, .epoch = 1};
    memset(source.digest.bytes, first, sizeof source.digest.bytes);
    memset(source.commit.bytes, first, sizeof source.commit.bytes);
    return source;
}

static struct tc_part_recipe a_recipe(void)
{
    return (struct tc_part_recipe){.build_file = (char *)(uintptr_t)"build.json",
                                   .language = (char *)(uintptr_t)"c",
                                   .command = (char *)(uintptr_t)"make",
                                   .folder = (char *)(uintptr_t)".",
                                   .environment = environment,
                                   .environment_count = 1,
                                   .outputs = outputs,
                                   .outputs_count = 1,
                                   .limits = {60, 1 << 30, 1 << 30, 1 << 20, 100},
                                   .network = TC_NETWORK_OFFLINE};
}

static tc_status bind_now(struct fixture *f, struct tc_error *err)
{
    struct tc_part_source source = a_source(7);
    struct tc_part_recipe recipe = a_recipe();
    recipe.network = f->network;
    return tc_monitor_bind(&f->session, &source, &recipe, tc_span_of_text("fresh"), err);
}

static tc_status finish_now(struct fixture *f, struct tc_signed *ret, struct tc_error *err)
{
    struct tc_subject subject = {.path = (char *)(uintptr_t)"app", .executable = true, .size = 3};
    struct tc_statement statement = {.subjects = &subject, .subjects_count = 1};
    return tc_monitor_finish(&f->session, &statement, ret, err);
}

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
    say(f, TC_VERDICT_UNPACKED, true, 0, 0);
    assert_int_equal(bind_now(f, &err), TC_OK);
    say(f, TC_VERDICT_COMMAND, true, 100, 160);
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
    say(f, TC_VERDICT_UNPACKED, true, 0, 0);
    assert_int_equal(bind_now(f, &err), TC_OK);
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

static void expect_refusal(struct fixture *f, tc_status status, const struct tc_error *err,
                           const char *part)
{
    assert_int_not_equal(status, TC_OK);
    if (!strstr(err->message, part)) fail_msg("\"%s\" does not say \"%s\"", err->message, part);
    assert_int_equal(monitor_status(f), 1);
}

static void test_bind_needs_unpacking(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    tc_status status = bind_now(f, &err);
    expect_refusal(f, status, &err, "before the source was unpacked");
}

static void test_second_bind(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    say(f, TC_VERDICT_UNPACKED, true, 0, 0);
    assert_int_equal(bind_now(f, &err), TC_OK);
    tc_status status = bind_now(f, &err);
    expect_refusal(f, status, &err, "out of its phase");
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
    tc_status status = bind_now(f, &err);
    expect_refusal(f, status, &err, "a second time");
}

static void test_finish_before_bind(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    struct tc_signed parts;
    tc_status status = finish_now(f, &parts, &err);
    expect_refusal(f, status, &err, "out of its phase");
}

static void test_unclean_command(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    say(f, TC_VERDICT_UNPACKED, true, 0, 0);
    assert_int_equal(bind_now(f, &err), TC_OK);
    say(f, TC_VERDICT_COMMAND, false, 1, 2);
    struct tc_signed parts;
    tc_status status = finish_now(f, &parts, &err);
    expect_refusal(f, status, &err, "did not end cleanly");
}

static void test_unclean_unpacking(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    say(f, TC_VERDICT_UNPACKED, false, 0, 0);
    tc_status status = bind_now(f, &err);
    expect_refusal(f, status, &err, "did not end cleanly");
}

static void test_no_command(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    say(f, TC_VERDICT_UNPACKED, true, 0, 0);
    assert_int_equal(bind_now(f, &err), TC_OK);
    struct tc_signed parts;
    tc_status status = finish_now(f, &parts, &err);
    expect_refusal(f, status, &err, "0 commands ran");
}

static void test_too_many_commands(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    say(f, TC_VERDICT_UNPACKED, true, 0, 0);
    assert_int_equal(bind_now(f, &err), TC_OK);
    say(f, TC_VERDICT_COMMAND, true, 1, 2);
    say(f, TC_VERDICT_COMMAND, true, 3, 4);
    struct tc_signed parts;
    tc_status status = finish_now(f, &parts, &err);
    expect_refusal(f, status, &err, "2 commands ran");
}

static void test_command_before_bind(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    say(f, TC_VERDICT_UNPACKED, true, 0, 0);
    say(f, TC_VERDICT_COMMAND, true, 1, 2);
    tc_status status = bind_now(f, &err);
    expect_refusal(f, status, &err, "out of its phase");
}

static void test_stages_gone(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    say(f, TC_VERDICT_UNPACKED, true, 0, 0);
    assert_int_equal(bind_now(f, &err), TC_OK);
    (void)shutdown(f->stages_fd, SHUT_RDWR);
    struct tc_signed parts;
    tc_status status = finish_now(f, &parts, &err);
    expect_refusal(f, status, &err, "stages does not say");
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
    struct tc_error err = {0};
    say(f, TC_VERDICT_UNPACKED, true, 0, 0);
    assert_int_equal(bind_now(f, &err), TC_OK);
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

/* The statement quotes what the image says. */
static void test_measured(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    say(f, TC_VERDICT_UNPACKED, true, 0, 0);
    assert_int_equal(bind_now(f, &err), TC_OK);
    say(f, TC_VERDICT_COMMAND, true, 100, 160);
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
    if (!strstr(err.message, "measured") && !strstr(err.message, "of itself")) fail_msg("%s", err.message);
    assert_int_equal(monitor_status(f), 1);
}

/* --- the recorder --- */

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
    struct tc_part_witness witness = {(char *)(uintptr_t)"https://git.example.org/a.git",
                                      (char *)(uintptr_t)"refs/heads/main", {{0}}};
    memset(witness.commit.bytes, commit, sizeof witness.commit.bytes);
    return witness;
}

/* As far as the recorder: everything but its own word is there. */
static void build_recorded(struct fixture *f)
{
    struct tc_error err = {0};
    f->network = TC_NETWORK_RECORD;
    say(f, TC_VERDICT_UNPACKED, true, 0, 0);
    assert_int_equal(bind_now(f, &err), TC_OK);
    say(f, TC_VERDICT_COMMAND, true, 100, 160);
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
    say(f, TC_VERDICT_UNPACKED, true, 0, 0);
    assert_int_equal(bind_now(f, &err), TC_OK);
    say(f, TC_VERDICT_COMMAND, true, 100, 160);
    tc_status told = tc_monitor_network(&f->recorder, &network, list, TC_DEPENDENCIES_MAX,
                                        &transcript, &err);
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

/* What the recorder says, and what becomes of the signature. */
static void expect_unsigned(struct fixture *f, const char *part)
{
    struct tc_error err = {0};
    struct tc_signed parts;
    expect_refusal(f, finish_now(f, &parts, &err), &err, part);
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
    assert_int_equal(tc_ipc_write(&f->session, TC_IPC_TRANSCRIPT, (struct tc_span){0}, &err), TC_OK);
    expect_unsigned(f, "out of its phase");
}

static void test_recorder_offline(void **state)
{
    struct fixture *f = *state;
    struct tc_error err = {0};
    say(f, TC_VERDICT_UNPACKED, true, 0, 0);
    assert_int_equal(bind_now(f, &err), TC_OK);
    say(f, TC_VERDICT_COMMAND, true, 100, 160);
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
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_signs_once),          T(test_register_is_locked), T(test_bind_needs_unpacking),
        T(test_second_bind),         T(test_second_source),      T(test_finish_before_bind),
        T(test_unclean_command),     T(test_unclean_unpacking),  T(test_no_command),
        T(test_too_many_commands),   T(test_command_before_bind), T(test_stages_gone),
        T(test_oversized_part),      T(test_malformed_part),     T(test_used_enclave),
        T(test_recorded),            T(test_recorder_closed_early), T(test_other_build_file), T(test_second_witness),
        T(test_recorder_gone),      T(test_recorder_cut),
        T(test_recorder_order),      T(test_recorder_no_network), T(test_recorder_twice),
        T(test_recorder_late_witness), T(test_recorder_repeats), T(test_recorder_of_session),
        T(test_recorder_offline),    T(test_other_witness),
        cmocka_unit_test_setup_teardown(test_measured, setup_measured, teardown),
        cmocka_unit_test_setup_teardown(test_image_refused, setup_silent, teardown),
        cmocka_unit_test_setup_teardown(test_image_refused, setup_talking, teardown),
        cmocka_unit_test_setup_teardown(test_image_refused, setup_garbled, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
