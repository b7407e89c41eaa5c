/* A host that lies: against the real worker on the local back end, every way of
 * sending a session wrong must end it with an error and without a signature.
 * The unchanged session must end with one, or none of the rest means anything. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/credential.h"
#include "core/gitobj.h"
#include "host/backend.h"
#include "host/devattest.h"
#include "os/channel.h"

static const char build_json[] =
    "{\"language\":\"c\",\"input\":{\"cmd\":\"cp input output; sleep 0\"},"
    "\"output\":{\"files\":[\"output\"]},"
    "\"limits\":{\"memory\":\"256M\",\"disk\":\"64M\",\"timeout\":\"60s\"}}";
static const char input[] = "some bytes\n";

struct frame {
    enum tc_wire_kind kind;
    struct tc_buf payload;
};
enum { FRAMES_MAX = 80 };
struct script {
    struct frame frames[FRAMES_MAX];
    size_t count;
};

static struct tc_buf *add(struct script *script, enum tc_wire_kind kind)
{
    assert_true(script->count < FRAMES_MAX);
    struct frame *frame = &script->frames[script->count++];
    frame->kind = kind;
    frame->payload = tc_buf_new(TC_WIRE_PAYLOAD_MAX);
    return &frame->payload;
}

static void add_file(struct script *script, const char *path, const char *bytes)
{
    struct tc_entry entry = {.kind = TC_ENTRY_FILE,
                             .size = strlen(bytes),
                             .path = tc_span_of_text(path)};
    tc_entry_encode(&entry, add(script, TC_WIRE_ENTRY));
    tc_buf_add_text(add(script, TC_WIRE_DATA), bytes);
}

static void make_script(struct script *script)
{
    *script = (struct script){.count = 0};
    struct tc_wire_hello hello = {.source = TC_SOURCE_TREE,
                                  .nonce = tc_span_of_text("nonce"),
                                  .build_file = tc_span_of_text("build.json")};
    tc_wire_hello_encode(&hello, add(script, TC_WIRE_HELLO));
    tc_buf_add_text(add(script, TC_WIRE_BUILD_FILE), build_json);
    add_file(script, "build.json", build_json);
    add_file(script, "input", input);
    (void)add(script, TC_WIRE_SOURCE_END);
}

static void free_script(struct script *script)
{
    for (size_t i = 0; i < script->count; i++)
        tc_buf_free(&script->frames[i].payload);
}

struct outcome {
    bool failed;   /* FAIL came */
    bool hung_up;  /* the worker closed without DONE */
    bool document; /* a member of attestation/ came: something was signed */
    bool done;
    bool clean_end; /* the worker exited with 0 */
    char message[TC_ERROR_MAX];
};

static char *devroot;

static struct tc_enclave *start(struct tc_channel *channel, int *ret_fd)
{
    struct tc_error err = {0};
    struct tc_backend_config config = {
        .worker = getenv("TC_WORKER"), .devroot_folder = devroot, .debug = getenv("TC_DEBUG") != NULL};
    struct tc_enclave *enclave = NULL;
    if (tc_backend_local.start(&config, &enclave, ret_fd, &err) != TC_OK)
        fail_msg("the worker does not start: %s", err.message);
    assert_int_equal(tc_channel_init(channel, *ret_fd, 60000, "the worker", &err), TC_OK);
    return enclave;
}

/* Reads until the worker ends the session one way or the other. */
static void listen_to(struct tc_channel *channel, struct outcome *outcome)
{
    struct tc_error err = {0};
    enum tc_wire_kind kind;
    struct tc_span payload;
    while (tc_channel_read(channel, &kind, &payload, &err) == TC_OK) {
        if (kind == TC_WIRE_MEMBER) outcome->document = true;
        if (kind == TC_WIRE_LOG && getenv("TC_DEBUG"))
            (void)fprintf(stderr, "%.*s", (int)payload.size, (const char *)payload.data);
        if (kind == TC_WIRE_DONE) {
            outcome->done = true;
            return;
        }
        if (kind == TC_WIRE_FAIL) {
            outcome->failed = true;
            (void)!tc_wire_fail_decode(payload, &err);
            memcpy(outcome->message, err.message, sizeof outcome->message);
            return;
        }
    }
    outcome->hung_up = true;
}

static void end(struct tc_enclave *enclave, struct tc_channel *channel, struct outcome *outcome)
{
    struct tc_error err = {0};
    (void)shutdown(channel->fd, SHUT_RDWR);
    outcome->clean_end = tc_backend_local.stop(enclave, &err) == TC_OK;
    tc_channel_done(channel);
}

/* Sends frames 0 to count - 1, then extra raw bytes; a broken pipe is the
 * worker's answer and no failure of the test. */
static void send_script(struct tc_channel *channel, const struct script *script, size_t count,
                        struct tc_span extra)
{
    struct tc_error err = {0};
    for (size_t i = 0; i < count; i++)
        if (tc_channel_write(channel, script->frames[i].kind,
                             tc_buf_span(&script->frames[i].payload), &err) != TC_OK)
            return;
    if (extra.size > 0) (void)!tc_channel_write_bytes(channel, extra, &err);
}

enum then { LISTEN, HANG_UP };

static struct outcome play(const struct script *script, size_t count, struct tc_span extra,
                           enum then then)
{
    struct outcome outcome = {0};
    struct tc_channel channel;
    int fd;
    struct tc_enclave *enclave = start(&channel, &fd);
    send_script(&channel, script, count, extra);
    if (then == HANG_UP) (void)shutdown(fd, SHUT_WR);
    listen_to(&channel, &outcome);
    end(enclave, &channel, &outcome);
    return outcome;
}

static void assert_refused(const struct outcome *outcome, const char *what, size_t step)
{
    if (outcome->done || outcome->document || outcome->clean_end)
        fail_msg("%s at step %zu: done %d, signed %d, worker content %d", what, step, outcome->done,
                 outcome->document, outcome->clean_end);
}

static void test_unchanged(void **state)
{
    (void)state;
    struct script script;
    make_script(&script);
    struct outcome outcome = play(&script, script.count, (struct tc_span){0}, LISTEN);
    if (!outcome.done) fail_msg("the unchanged session fails: %s", outcome.message);
    assert_true(outcome.document && outcome.clean_end && !outcome.failed);
    free_script(&script);
}

static void test_hang_up_at_each_step(void **state)
{
    (void)state;
    struct script script;
    make_script(&script);
    for (size_t i = 0; i < script.count; i++) {
        struct outcome outcome = play(&script, i, (struct tc_span){0}, HANG_UP);
        assert_refused(&outcome, "hang-up", i);
        /* Half a header, and a header without its payload. */
        static const uint8_t half[] = {TC_WIRE_DATA, 0, 0};
        outcome = play(&script, i, (struct tc_span){half, sizeof half}, HANG_UP);
        assert_refused(&outcome, "hang-up in a header", i);
    }
    free_script(&script);
}

static void test_repeated_and_reordered(void **state)
{
    (void)state;
    for (size_t i = 0; i < 7; i++) {
        struct script script;
        make_script(&script);
        /* Repeat frame i: shift the rest up by one. */
        struct script twice = script;
        memmove(&twice.frames[i + 1], &script.frames[i], (script.count - i) * sizeof *script.frames);
        twice.count++;
        struct outcome outcome = play(&twice, twice.count, (struct tc_span){0}, LISTEN);
        assert_refused(&outcome, "repeated frame", i);
        if (i + 1 < script.count) {
            struct script swapped = script;
            struct frame kept = swapped.frames[i];
            swapped.frames[i] = swapped.frames[i + 1];
            swapped.frames[i + 1] = kept;
            outcome = play(&swapped, swapped.count, (struct tc_span){0}, HANG_UP);
            assert_refused(&outcome, "swapped frames", i);
        }
        free_script(&script);
    }
}

static void test_missing_frame(void **state)
{
    (void)state;
    struct script script;
    make_script(&script);
    for (size_t i = 0; i < script.count; i++) {
        struct script less = script;
        memmove(&less.frames[i], &script.frames[i + 1],
                (script.count - i - 1) * sizeof *script.frames);
        less.count--;
        struct outcome outcome = play(&less, less.count, (struct tc_span){0}, HANG_UP);
        assert_refused(&outcome, "missing frame", i);
    }
    free_script(&script);
}

static void test_bad_headers(void **state)
{
    (void)state;
    static const uint8_t headers[][TC_WIRE_HEADER_SIZE] = {
        {0, 0, 0, 0, 0, 0, 0, 1},                            /* unknown kind */
        {200, 0, 0, 0, 0, 0, 0, 1},                          /* unknown kind */
        {TC_WIRE_DATA, 1, 0, 0, 0, 0, 0, 1},                 /* reserved byte */
        {TC_WIRE_DATA, 0, 0, 0, 0xff, 0xff, 0xff, 0xff},     /* 4 GiB claimed */
        {TC_WIRE_DATA, 0, 0, 0, 0, 1, 0, 1},                 /* one over the cap */
        {TC_WIRE_DATA, 0, 0, 0, 0, 0, 0, 0},                 /* empty data */
        {TC_WIRE_DONE, 0, 0, 0, 0, 0, 0, 0},                 /* the worker's own kind */
        {TC_WIRE_MEMBER, 0, 0, 0, 0, 0, 0, 9},               /* the same */
    };
    struct script script;
    make_script(&script);
    for (size_t step = 0; step < script.count; step += 2)
        for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
            struct outcome outcome = play(
                &script, step, (struct tc_span){headers[i], TC_WIRE_HEADER_SIZE}, HANG_UP);
            assert_refused(&outcome, "bad header", i);
        }
    free_script(&script);
}

/* The announced build.json decides the limits; the one in the tree decides the
 * build; they must be one. */
static void test_other_build_file(void **state)
{
    (void)state;
    struct script script;
    make_script(&script);
    script.frames[1].payload.data[script.frames[1].payload.size - 1] = ' ';
    tc_buf_add_text(&script.frames[1].payload, "}");
    struct outcome outcome = play(&script, script.count, (struct tc_span){0}, LISTEN);
    assert_refused(&outcome, "other build file", 0);
    assert_non_null(strstr(outcome.message, "not the one that the host announced"));
    free_script(&script);
}

/* --- a git source with a submodule, made by hand --- */

static struct tc_sha1 add_object(struct script *script, enum tc_object_kind kind,
                                 enum tc_git_kind as, struct tc_span bytes)
{
    struct tc_wire_object object = {kind, bytes.size};
    struct tc_error err = {0};
    struct tc_sha1 id;
    tc_wire_object_encode(&object, add(script, TC_WIRE_OBJECT));
    tc_buf_add_span(add(script, TC_WIRE_DATA), bytes);
    assert_int_equal(tc_git_id_of(as, bytes, &id, &err), TC_OK);
    return id;
}

static void add_tree_entry(struct tc_buf *tree, const char *mode, const char *name,
                           const struct tc_sha1 *id)
{
    tc_buf_add_format(tree, "%s %s", mode, name);
    tc_buf_add_u8(tree, 0);
    tc_buf_add(tree, id->bytes, sizeof id->bytes);
}

static struct tc_sha1 blob_id(const char *text)
{
    struct tc_error err = {0};
    struct tc_sha1 id;
    assert_int_equal(tc_git_id_of(TC_GIT_BLOB, tc_span_of_text(text), &id, &err), TC_OK);
    return id;
}

/* A commit with build.json, input and the submodule "sub", which is left out. */
static void make_git_script(struct script *script, const char *build_file)
{
    *script = (struct script){.count = 0};
    struct tc_error err = {0};
    struct tc_sha1 build_id = blob_id(build_file), input_id = blob_id(input), tree_id, sub_id;
    TC_AUTO_BUF struct tc_buf tree = tc_buf_new(TC_WIRE_PAYLOAD_MAX);
    TC_AUTO_BUF struct tc_buf commit = tc_buf_new(TC_WIRE_PAYLOAD_MAX);
    char hex[TC_SHA1_HEX];
    memset(sub_id.bytes, 0x5b, sizeof sub_id.bytes);
    add_tree_entry(&tree, "100644", "build.json", &build_id);
    add_tree_entry(&tree, "100644", "input", &input_id);
    add_tree_entry(&tree, "160000", "sub", &sub_id);
    assert_int_equal(tc_git_id_of(TC_GIT_TREE, tc_buf_span(&tree), &tree_id, &err), TC_OK);
    tc_hex((struct tc_span){tree_id.bytes, sizeof tree_id.bytes}, hex);
    tc_buf_add_format(&commit,
                      "tree %s\nauthor A <a@example.org> 1700000000 +0000\n"
                      "committer A <a@example.org> 1700000000 +0000\n\nmessage\n",
                      hex);
    struct tc_wire_hello hello = {.source = TC_SOURCE_GIT,
                                  .nonce = tc_span_of_text("nonce"),
                                  .build_file = tc_span_of_text("build.json")};
    tc_wire_hello_encode(&hello, add(script, TC_WIRE_HELLO));
    tc_buf_add_text(add(script, TC_WIRE_BUILD_FILE), build_file);
    (void)add_object(script, TC_OBJECT_COMMIT, TC_GIT_COMMIT, tc_buf_span(&commit));
    (void)add_object(script, TC_OBJECT_TREE, TC_GIT_TREE, tc_buf_span(&tree));
    (void)add_object(script, TC_OBJECT_BLOB, TC_GIT_BLOB, tc_span_of_text(build_file));
    (void)add_object(script, TC_OBJECT_BLOB, TC_GIT_BLOB, tc_span_of_text(input));
    (void)add(script, TC_WIRE_OMITTED);
    (void)add(script, TC_WIRE_SOURCE_END);
}

#define WITH_SOURCE(source)                                                                        \
    "{\"language\":\"c\",\"input\":{\"cmd\":\"cp input output\"},"                                     \
    "\"output\":{\"files\":[\"output\"]}," source                                                    \
    "\"limits\":{\"memory\":\"256M\",\"disk\":\"64M\",\"timeout\":\"60s\"}}"

/* build.json decides what may be left out, not the host. */
static void test_leaves_out_a_submodule(void **state)
{
    (void)state;
    static const char *const unlisted[] = {WITH_SOURCE(""),
                                           WITH_SOURCE("\"source\":{\"omit\":[\"other\"]},"),
                                           WITH_SOURCE("\"source\":{\"omit\":[\"sub/b\"]},")};
    struct script script;
    make_git_script(&script, WITH_SOURCE("\"source\":{\"omit\":[\"sub\"]},"));
    struct outcome outcome = play(&script, script.count, (struct tc_span){0}, LISTEN);
    if (!outcome.done) fail_msg("a submodule that is listed: %s", outcome.message);
    assert_true(outcome.document && outcome.clean_end && !outcome.failed);
    free_script(&script);
    for (size_t i = 0; i < sizeof unlisted / sizeof *unlisted; i++) {
        make_git_script(&script, unlisted[i]);
        outcome = play(&script, script.count, (struct tc_span){0}, LISTEN);
        assert_refused(&outcome, "submodule left out", i);
        assert_non_null(strstr(outcome.message, "the host left out submodule sub"));
        free_script(&script);
    }
}

/* Puts a frame behind HELLO. */
static struct tc_buf *insert(struct script *script, enum tc_wire_kind kind)
{
    (void)add(script, kind);
    struct frame added = script->frames[script->count - 1];
    memmove(&script->frames[2], &script->frames[1], (script->count - 2) * sizeof *script->frames);
    script->frames[1] = added;
    return &script->frames[1].payload;
}

static void insert_credential(struct script *script, const char *name, const char *value)
{
    const struct tc_wire_credential credential = {
        tc_span_of_text("registry.example"), tc_span_of_text(name), tc_span_of_text(value)};
    tc_wire_credential_encode(&credential, insert(script, TC_WIRE_CREDENTIAL));
}

/* A credential adds one field to a request and cannot make two requests of one. */
static void test_credentials(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"Host", "other.example"},          {"Content-Length", "0"},
        {"transfer-encoding", "chunked"},   {"Authorization", "a\r\nHost: other.example"},
        {"Authorization\r\nHost", "other"}, {"Authorization", ""},
    };
    struct script script;
    make_script(&script);
    insert_credential(&script, "Authorization", "Bearer one");
    insert_credential(&script, "X-Token", "two");
    struct outcome outcome = play(&script, script.count, (struct tc_span){0}, LISTEN);
    if (!outcome.done) fail_msg("two credentials: %s", outcome.message);
    free_script(&script);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        make_script(&script);
        insert_credential(&script, bad[i][0], bad[i][1]);
        outcome = play(&script, script.count, (struct tc_span){0}, LISTEN);
        assert_refused(&outcome, "bad credential", i);
        assert_non_null(strstr(outcome.message, "credential"));
        free_script(&script);
    }
    make_script(&script);
    for (size_t i = 0; i <= TC_CREDENTIALS_MAX; i++)
        insert_credential(&script, "Authorization", "Bearer one");
    outcome = play(&script, script.count, (struct tc_span){0}, LISTEN);
    assert_refused(&outcome, "too many credentials", 0);
    assert_non_null(strstr(outcome.message, "more than 64 credentials"));
    free_script(&script);
}

/* One session: whatever comes after the source ends it. */
static void test_speaks_out_of_turn(void **state)
{
    (void)state;
    struct script script;
    make_script(&script);
    struct script second = script;
    second.frames[second.count++] = script.frames[0]; /* another HELLO */
    struct outcome outcome = play(&second, second.count, (struct tc_span){0}, LISTEN);
    assert_refused(&outcome, "second session", 0);
    free_script(&script);
}

/* A host that takes the log but stops reading during the members gets no DONE;
 * the worker ends by itself when the stream is closed. */
static void test_hang_up_while_receiving(void **state)
{
    (void)state;
    struct script script;
    make_script(&script);
    for (int stop_at = 0; stop_at < 4; stop_at++) {
        struct tc_error err = {0};
        struct outcome outcome = {0};
        struct tc_channel channel;
        int fd, members = 0;
        struct tc_enclave *enclave = start(&channel, &fd);
        send_script(&channel, &script, script.count, (struct tc_span){0});
        enum tc_wire_kind kind = TC_WIRE_ACCEPT;
        struct tc_span payload;
        while (members <= stop_at && tc_channel_read(&channel, &kind, &payload, &err) == TC_OK)
            if (kind == TC_WIRE_MEMBER) members++;
        assert_true(members > stop_at);
        end(enclave, &channel, &outcome);
        /* Small results may lie in the socket already; the end is what counts:
         * stop() returned, so nothing of the worker is left. */
    }
    free_script(&script);
}

static int setup(void **state)
{
    (void)state;
    static char folder[] = "/tmp/tc-hostile-host-XXXXXX";
    struct tc_error err = {0};
    char *pem;
    bool created;
    (void)signal(SIGPIPE, SIG_IGN);
    if (!getenv("TC_WORKER")) {
        (void)fprintf(stderr, "TC_WORKER must name tee-compile-worker\n");
        return -1;
    }
    devroot = mkdtemp(folder);
    if (!devroot || tc_devroot_ensure(devroot, &pem, &created, &err) != TC_OK) {
        (void)fprintf(stderr, "no development root: %s\n", err.message);
        return -1;
    }
    free(pem);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf -- %s", devroot);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unchanged),
        cmocka_unit_test(test_hang_up_at_each_step),
        cmocka_unit_test(test_repeated_and_reordered),
        cmocka_unit_test(test_missing_frame),
        cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_other_build_file),
        cmocka_unit_test(test_leaves_out_a_submodule),
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_speaks_out_of_turn),
        cmocka_unit_test(test_hang_up_while_receiving),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
