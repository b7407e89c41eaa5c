/* The relying party against bundles with one thing changed in each. Every case names the exact
 * set of checks that must fail: no other may. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/bundle.h"
#include "verify_lab.h"

static void flip(struct tc_buf *buf, size_t at)
{
    assert_true(at < buf->size);
    buf->data[at] ^= 1;
}

static void flip_build_file(struct sample_parts *parts) { flip(&parts->build_file, 3); }
static void flip_log(struct sample_parts *parts) { flip(&parts->log, 3); }
static void grow_log(struct sample_parts *parts) { tc_buf_add_text(&parts->log, "more\n"); }
static void drop_log(struct sample_parts *parts) { parts->omit_log = true; }
static void flip_signature(struct sample_parts *parts)
{
    flip(&parts->document, parts->document.size - 1);
}
static void flip_output(struct sample_parts *parts) { flip(&parts->outputs[0], 3); }
static void flip_mode(struct sample_parts *parts) { parts->executable[1] = true; }
static void drop_output(struct sample_parts *parts) { parts->omit_output[1] = true; }
static void add_stranger(struct sample_parts *parts) { parts->stranger = "source.tar"; }
static void add_tail(struct sample_parts *parts) { parts->tail = "x"; }
static void drop_statement(struct sample_parts *parts) { parts->omit_statement = true; }
static void drop_document(struct sample_parts *parts) { parts->omit_document = true; }
static void flip_header(struct sample_parts *parts) { flip(&parts->transcript, 3); }
static void add_exchange(struct sample_parts *parts) { tc_buf_add_text(&parts->transcript, "{}\n"); }
static void flip_envelope_signature(struct sample_parts *parts)
{
    /* Some digit of the signature's base64, which ends in `"}]}`. */
    uint8_t *digit = &parts->envelope.data[parts->envelope.size - 12];
    *digit = *digit == 'A' ? 'B' : 'A';
}
/* The space of a valid JSON text: another text with the same meaning. */
static void respell_statement(struct sample_parts *parts)
{
    tc_buf_add_text(&parts->statement_json, " ");
}
static void break_statement(struct sample_parts *parts) { flip(&parts->statement_json, 2); }
static void break_document(struct sample_parts *parts) { flip(&parts->document, 0); }

static void claim_other_pcr(struct sample_parts *parts)
{
    parts->statement.platform.pcr[1].bytes[0] ^= 1;
}
static void bind_other(struct sample_parts *parts) { parts->other_binding = true; }
static void name_other_key(struct sample_parts *parts) { parts->other_key = true; }
static void no_user_data(struct sample_parts *parts) { parts->no_user_data = true; }
static void other_nonce(struct sample_parts *parts) { parts->nonce[0] ^= 1; }
static void no_nonce(struct sample_parts *parts) { parts->nonce_size = 0; }
static void finish_late(struct sample_parts *parts) { parts->statement.finished += 1000; }
static void finish_early(struct sample_parts *parts)
{
    parts->statement.started -= 1000;
    parts->statement.finished -= 1000;
}
static void take_long(struct sample_parts *parts)
{
    parts->statement.started -= (int64_t)parts->statement.recipe.limits.timeout + 100;
}
static void start_after_end(struct sample_parts *parts)
{
    parts->statement.started = parts->statement.finished + 1;
}
static void ask_too_much(struct sample_parts *parts)
{
    parts->statement.recipe.limits.processes = 0;
}

static void no_log(struct sample_parts *parts)
{
    parts->statement.log = (struct tc_part_log){0};
    parts->omit_log = true;
}
static void uncovered_log(struct sample_parts *parts) { parts->statement.log = (struct tc_part_log){0}; }

/* A member that nothing accounts for, of that size; its bytes are zeros, and not stored. */
static int bundle_with(const char *name, uint64_t size)
{
    struct tc_error err = {0};
    struct sample_parts parts;
    sample_parts_make(&parts, &root, NULL, NULL);
    int fd = sample_bundle_fd(&parts);
    sample_parts_free(&parts);
    off_t end = lseek(fd, -(off_t)TC_BUNDLE_END_SIZE, SEEK_END);
    assert_true(end > 0);
    TC_AUTO_BUF struct tc_buf header = tc_buf_new(TC_BUNDLE_HEADER_MAX);
    const struct tc_bundle_member member = {tc_span_of_text(name), false, size};
    assert_ok(tc_bundle_write_header(&member, &header, &err));
    assert_int_equal(write(fd, header.data, header.size), (ssize_t)header.size);
    assert_int_equal(ftruncate(fd, end + (off_t)(header.size + size + tc_bundle_padding(size) +
                                                 TC_BUNDLE_END_SIZE)),
                     0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    return fd;
}

/* Read to its end, so that all else is judged; but not at any size. */
static void test_unaccounted(void **state)
{
    (void)state;
    static const char *const names[] = {"source.tar", "outputs/zz"};
    enum { MOST = 64 << 20 };
    for (size_t i = 0; i < 4; i++) {
        struct tc_error err = {0};
        struct tc_verdict verdict;
        struct tc_verify_options options = default_options();
        bool more = i >= 2;
        int fd = bundle_with(names[i % 2], more ? MOST + 1 : MOST);
        assert_ok(tc_verify_bundle(fd, &options, &verdict, &err));
        (void)close(fd);
        assert_int_equal(verdict.kind, TC_VERDICT_REFUSED);
        const char *seen = check_named(&verdict, i % 2 && !more ? "outputs" : "container")->seen;
        if ((strstr(seen, "not read further") != NULL) != more) fail_msg("%s: %s", names[i % 2], seen);
        assert_int_equal(check_named(&verdict, "user-data")->result, TC_CHECK_PASS);
        tc_verdict_free(&verdict);
    }
}

static void test_changes(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        sample_change *before, *after;
        struct outcome outcome;
    } cases[] = {
        {"build file", NULL, flip_build_file, {{"build-file"}, TC_VERDICT_REFUSED}},
        {"log", NULL, flip_log, {{"log"}, TC_VERDICT_REFUSED}},
        {"longer log", NULL, grow_log, {{"log"}, TC_VERDICT_REFUSED}},
        {"no log", NULL, drop_log, {{"log"}, TC_VERDICT_REFUSED}},
        {"log left out", no_log, NULL, {{NULL}, TC_VERDICT_DEVELOPMENT}},
        {"uncovered log", uncovered_log, NULL, {{"log"}, TC_VERDICT_REFUSED}},
        {"signature", NULL, flip_signature, {{"issuer"}, TC_VERDICT_REFUSED}},
        {"output", NULL, flip_output, {{"outputs"}, TC_VERDICT_REFUSED}},
        {"mode", NULL, flip_mode, {{"outputs"}, TC_VERDICT_REFUSED}},
        {"missing output", NULL, drop_output, {{"outputs"}, TC_VERDICT_REFUSED}},
        {"extra output", NULL, add_output, {{"outputs"}, TC_VERDICT_REFUSED}},
        {"stranger", NULL, add_stranger, {{"container"}, TC_VERDICT_REFUSED}},
        {"tail", NULL, add_tail, {{"container"}, TC_VERDICT_REFUSED}},
        {"transcript header",
         NULL,
         flip_header,
         {{"transcript", "network", "unauthenticated", "replayed"}, TC_VERDICT_REFUSED}},
        {"transcript line",
         NULL,
         add_exchange,
         {{"transcript", "network", "unauthenticated", "replayed"}, TC_VERDICT_REFUSED}},
        {"envelope", NULL, flip_envelope_signature, {{"envelope"}, TC_VERDICT_REFUSED}},
        {"respelled statement",
         NULL,
         respell_statement,
         {{"user-data", "envelope"}, TC_VERDICT_REFUSED}},
        {"broken statement",
         NULL,
         break_statement,
         {{"statement",       "user-data",   "pcr0",       "pcr1",       "pcr2",
           "pcr16",           "nonce",       "envelope",   "transcript", "network",
           "unauthenticated", "replayed",    "build-file", "log",        "outputs",
           "image",           "image-trust", "image-name", "times",      "limits"},
          TC_VERDICT_REFUSED}},
        {"pcr", claim_other_pcr, NULL, {{"pcr1"}, TC_VERDICT_REFUSED}},
        {"binding", bind_other, NULL, {{"pcr16"}, TC_VERDICT_REFUSED}},
        {"key", name_other_key, NULL, {{"envelope"}, TC_VERDICT_REFUSED}},
        {"no user data", no_user_data, NULL, {{"user-data"}, TC_VERDICT_REFUSED}},
        {"nonce", other_nonce, NULL, {{"nonce"}, TC_VERDICT_REFUSED}},
        {"no nonce", no_nonce, NULL, {{"nonce"}, TC_VERDICT_REFUSED}},
        {"late", finish_late, NULL, {{"times"}, TC_VERDICT_REFUSED}},
        {"early", finish_early, NULL, {{"times"}, TC_VERDICT_REFUSED}},
        {"long", take_long, NULL, {{"times"}, TC_VERDICT_REFUSED}},
        {"backwards", start_after_end, NULL, {{"times"}, TC_VERDICT_REFUSED}},
        {"limits", ask_too_much, NULL, {{"limits"}, TC_VERDICT_REFUSED}},
        {"debug",
         debug_mode,
         NULL,
         {{"debug", "image", "image-trust", "image-name"}, TC_VERDICT_REFUSED}},
        {"unmeasured",
         unmeasured,
         NULL,
         {{"image", "image-trust", "image-name"}, TC_VERDICT_REFUSED}},
        {"falsely measured",
         falsely_measured,
         NULL,
         {{"image", "image-trust", "image-name"}, TC_VERDICT_REFUSED}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        print_message("  %s\n", cases[i].what);
        expect_outcome(cases[i].before, cases[i].after, NULL, &cases[i].outcome, NULL);
    }
}

static void test_missing_evidence(void **state)
{
    (void)state;
    static const struct outcome without_document = {
        {"container", "document", "issuer", "debug", "user-data", "pcr0", "pcr1", "pcr2", "pcr16",
         "nonce", "envelope", "image", "image-trust", "image-name", "times"},
        TC_VERDICT_REFUSED};
    expect_outcome(NULL, drop_document, NULL, &without_document, NULL);
    static const struct outcome broken_document = {
        {"document", "issuer", "debug", "user-data", "pcr0", "pcr1", "pcr2", "pcr16", "nonce",
         "envelope", "image", "image-trust", "image-name", "times"},
        TC_VERDICT_REFUSED};
    expect_outcome(NULL, break_document, NULL, &broken_document, NULL);
    struct tc_error err = {0};
    struct sample_parts parts;
    sample_parts_make(&parts, &root, NULL, drop_statement);
    int fd = sample_bundle_fd(&parts);
    struct tc_verify_options options = default_options();
    struct tc_verdict verdict;
    assert_ok(tc_verify_bundle(fd, &options, &verdict, &err));
    assert_int_equal(verdict.kind, TC_VERDICT_REFUSED);
    assert_int_equal(check_named(&verdict, "container")->result, TC_CHECK_FAIL);
    assert_int_equal(check_named(&verdict, "outputs")->result, TC_CHECK_NOT_JUDGED);
    assert_int_equal(check_named(&verdict, "issuer")->result, TC_CHECK_PASS);
    assert_false(verdict.have_statement);
    tc_verdict_free(&verdict);
    (void)close(fd);
    sample_parts_free(&parts);
}

static void test_allowed(void **state)
{
    (void)state;
    struct tc_verify_options options = default_options();
    struct tc_verdict verdict;
    options.allow_unmeasured = true;
    expect_outcome(unmeasured, NULL, &options, &development, &verdict);
    assert_int_equal(check_named(&verdict, "image")->result, TC_CHECK_ALLOWED);
    assert_int_equal(check_named(&verdict, "image-trust")->result, TC_CHECK_ALLOWED);
    assert_int_equal(check_named(&verdict, "image-name")->result, TC_CHECK_ALLOWED);
    assert_false(verdict.image.known);
    tc_verdict_free(&verdict);
    static const struct outcome refused = {{"image"}, TC_VERDICT_REFUSED};
    expect_outcome(falsely_measured, NULL, &options, &refused, NULL);

    options = default_options();
    options.allow_debug = true;
    expect_outcome(debug_mode, NULL, &options, &development, &verdict);
    assert_int_equal(check_named(&verdict, "debug")->result, TC_CHECK_ALLOWED);
    assert_int_equal(check_named(&verdict, "image-trust")->result, TC_CHECK_ALLOWED);
    tc_verdict_free(&verdict);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unaccounted),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_missing_evidence),
        cmocka_unit_test(test_allowed),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
