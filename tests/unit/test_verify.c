/* The relying party against bundles that a test makes whole, with documents of
 * the development attester, and then with one thing changed in each. Every case
 * names the exact set of checks that must fail: no other may. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/bundle.h"
#include "core/pcr.h"
#include "core/transcript.h"
#include "bundle_sample.h"
#include "verify/verify.h"

#define assert_ok(expression)                                                                      \
    do {                                                                                           \
        tc_status status_ = (expression);                                                          \
        if (status_ != TC_OK) fail_msg("%s: %s", #expression, err.message);                        \
    } while (0)

static struct sample_root root;

static int make_root(void **state)
{
    (void)state;
    return sample_root_make(&root);
}

static int remove_root(void **state)
{
    (void)state;
    return sample_root_remove(&root);
}

struct outcome {
    const char *failed[24]; /* names of the checks that must fail, NULL-terminated */
    enum tc_verdict_kind kind;
};

static bool is_expected(const struct outcome *outcome, const char *name)
{
    for (size_t i = 0; outcome->failed[i]; i++)
        if (strcmp(outcome->failed[i], name) == 0) return true;
    return false;
}

static const struct tc_check *check_named(const struct tc_verdict *verdict, const char *name)
{
    for (size_t i = 0; i < verdict->checks_count; i++)
        if (strcmp(verdict->checks[i].name, name) == 0) return &verdict->checks[i];
    fail_msg("no check %s", name);
    return NULL;
}

static void assert_outcome(const struct tc_verdict *verdict, const struct outcome *outcome)
{
    for (size_t i = 0; i < verdict->checks_count; i++) {
        const struct tc_check *check = &verdict->checks[i];
        bool failed =
            check->result == TC_CHECK_FAIL || check->result == TC_CHECK_NOT_JUDGED;
        if (failed != is_expected(outcome, check->name))
            fail_msg("%s %s: expected %s, saw %s", check->name,
                     failed ? "failed" : "passed or was not asked", check->expected, check->seen);
    }
    for (size_t i = 0; outcome->failed[i]; i++)
        (void)check_named(verdict, outcome->failed[i]);
    assert_int_equal(verdict->kind, outcome->kind);
    assert_int_equal(verdict->reason[0] != '\0', outcome->failed[0] != NULL);
}

/* The sample's image, by the user's own word; test_verify_image.c has the lists. */
static struct tc_own_image own_image = {.name = "c"};
static struct tc_trust trust = {.own = &own_image, .own_count = 1};

static struct tc_verify_options default_options(void)
{
    memset(own_image.pcr0.bytes, 0x10, sizeof own_image.pcr0.bytes);
    return (struct tc_verify_options){.root = tc_buf_span(&root.der), .trust = &trust};
}

static void judge(sample_change *before, sample_change *after, const struct tc_verify_options *options,
                  const struct outcome *outcome, struct tc_verdict *ret_verdict)
{
    struct tc_error err = {0};
    struct sample_parts parts;
    sample_parts_make(&parts, &root, before, after);
    int fd = sample_bundle_fd(&parts);
    struct tc_verify_options usual = default_options();
    struct tc_verdict verdict;
    assert_ok(tc_verify_bundle(fd, options ? options : &usual, &verdict, &err));
    (void)close(fd);
    assert_outcome(&verdict, outcome);
    sample_parts_free(&parts);
    if (ret_verdict)
        *ret_verdict = verdict;
    else
        tc_verdict_free(&verdict);
}

static const struct outcome development = {{NULL}, TC_VERDICT_DEVELOPMENT};

static void test_good(void **state)
{
    (void)state;
    struct tc_verdict verdict;
    judge(NULL, NULL, NULL, &development, &verdict);
    assert_false(verdict.hardware);
    assert_true(verdict.have_statement);
    assert_int_equal(check_named(&verdict, "source")->result, TC_CHECK_NOT_ASKED);
    assert_int_equal(check_named(&verdict, "commit")->result, TC_CHECK_NOT_ASKED);
    assert_int_equal(check_named(&verdict, "nonce")->result, TC_CHECK_NOT_ASKED);
    assert_int_equal(check_named(&verdict, "artifacts")->result, TC_CHECK_NOT_ASKED);
    assert_int_equal(check_named(&verdict, "image-trust")->result, TC_CHECK_PASS);
    assert_int_equal(check_named(&verdict, "image-name")->result, TC_CHECK_PASS);
    assert_int_equal(check_named(&verdict, "age")->result, TC_CHECK_NOT_ASKED);
    assert_int_equal(check_named(&verdict, "outputs")->result, TC_CHECK_PASS);
    tc_verdict_free(&verdict);
}

static void test_aws_root(void **state)
{
    (void)state;
    static const struct outcome refused = {{"issuer"}, TC_VERDICT_REFUSED};
    struct tc_verify_options options = {.trust = &trust};
    struct tc_verdict verdict;
    judge(NULL, NULL, &options, &refused, &verdict);
    assert_false(verdict.hardware);
    tc_verdict_free(&verdict);
    options.root = tc_aws_root(); /* named or not, it is the same root */
    judge(NULL, NULL, &options, &refused, NULL);
}

/* --pcr stands beside the checks of what the statement says. */
static void test_pcrs_asked(void **state)
{
    (void)state;
    static const struct outcome other = {{"pcr1-asked", "pcr30-asked"}, TC_VERDICT_REFUSED};
    struct sample_parts parts;
    sample_parts_make(&parts, &root, NULL, NULL);
    struct tc_pcrs_asked pcrs = {.asked = 7};
    for (size_t i = 0; i < 3; i++)
        pcrs.value[i] = parts.pcrs[i];
    sample_parts_free(&parts);
    struct tc_verify_options options = default_options();
    struct tc_verdict verdict;
    options.pcrs_asked = &pcrs;
    judge(NULL, NULL, &options, &development, &verdict);
    assert_int_equal(check_named(&verdict, "pcr0-asked")->result, TC_CHECK_PASS);
    tc_verdict_free(&verdict);
    pcrs.value[1].bytes[5] ^= 1;
    pcrs.asked |= UINT32_C(1) << 30;
    judge(NULL, NULL, &options, &other, NULL);
}

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
static void add_output(struct sample_parts *parts) { parts->extra_output = "outputs/another"; }
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
static void debug_mode(struct sample_parts *parts)
{
    memset(parts->pcrs, 0, sizeof parts->pcrs);
    memset(parts->statement.platform.pcr, 0, sizeof parts->statement.platform.pcr);
}
static void falsely_measured(struct sample_parts *parts)
{
    struct tc_error err = {0};
    for (size_t i = 0; i < 3; i++)
        assert_ok(tc_pcr_unmeasured(&parts->pcrs[i], &err));
    memcpy(parts->statement.platform.pcr, parts->pcrs, sizeof parts->pcrs);
}
static void unmeasured(struct sample_parts *parts)
{
    falsely_measured(parts);
    parts->statement.platform.measured = false;
    tc_part_image_free(&parts->statement.image);
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
        struct tc_verify_options options = {.root = tc_buf_span(&root.der), .trust = &trust};
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
        judge(cases[i].before, cases[i].after, NULL, &cases[i].outcome, NULL);
    }
}

static void test_missing_evidence(void **state)
{
    (void)state;
    static const struct outcome without_document = {
        {"container", "document", "issuer", "debug", "user-data", "pcr0", "pcr1", "pcr2", "pcr16",
         "nonce", "envelope", "image", "image-trust", "image-name", "times"},
        TC_VERDICT_REFUSED};
    judge(NULL, drop_document, NULL, &without_document, NULL);
    static const struct outcome broken_document = {
        {"document", "issuer", "debug", "user-data", "pcr0", "pcr1", "pcr2", "pcr16", "nonce",
         "envelope", "image", "image-trust", "image-name", "times"},
        TC_VERDICT_REFUSED};
    judge(NULL, break_document, NULL, &broken_document, NULL);
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
    judge(unmeasured, NULL, &options, &development, &verdict);
    assert_int_equal(check_named(&verdict, "image")->result, TC_CHECK_ALLOWED);
    assert_int_equal(check_named(&verdict, "image-trust")->result, TC_CHECK_ALLOWED);
    assert_int_equal(check_named(&verdict, "image-name")->result, TC_CHECK_ALLOWED);
    assert_false(verdict.image.known);
    tc_verdict_free(&verdict);
    static const struct outcome refused = {{"image"}, TC_VERDICT_REFUSED};
    judge(falsely_measured, NULL, &options, &refused, NULL);

    options = default_options();
    options.allow_debug = true;
    judge(debug_mode, NULL, &options, &development, &verdict);
    assert_int_equal(check_named(&verdict, "debug")->result, TC_CHECK_ALLOWED);
    assert_int_equal(check_named(&verdict, "image-trust")->result, TC_CHECK_ALLOWED);
    tc_verdict_free(&verdict);
}

static void test_compared(void **state)
{
    (void)state;
    struct tc_verify_options options = default_options();
    char commit[] = "c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0";
    uint8_t nonce[] = {1, 2, 3, 4};
    options.compare_source = options.compare_nonce = options.compare_age = true;
    memset(options.source.bytes, 0xd1, sizeof options.source.bytes);
    options.commit = commit;
    options.nonce = (struct tc_span){nonce, sizeof nonce};
    options.now = (int64_t)time(NULL) + 50;
    options.max_age = 3600;
    struct tc_verdict verdict;
    judge(NULL, NULL, &options, &development, &verdict);
    static const char *const names[] = {"source", "commit", "nonce", "age"};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(check_named(&verdict, names[i])->result, TC_CHECK_PASS);
    tc_verdict_free(&verdict);

    options.source.bytes[31] ^= 1;
    commit[39] = '1';
    nonce[3] = 5;
    options.max_age = 10;
    static const struct outcome refused = {{"source", "commit", "nonce", "age"}, TC_VERDICT_REFUSED};
    judge(NULL, NULL, &options, &refused, NULL);
    /* Shorter than what the document carries is not equal to it. */
    options = default_options();
    options.compare_nonce = true;
    options.nonce = (struct tc_span){nonce, 3};
    static const struct outcome nonce_only = {{"nonce"}, TC_VERDICT_REFUSED};
    judge(NULL, NULL, &options, &nonce_only, NULL);
}

static void detach(struct sample_parts *parts)
{
    parts->omit_output[0] = parts->omit_output[1] = true;
}

static void test_detached(void **state)
{
    (void)state;
    struct tc_error err = {0};
    static const struct outcome missing = {{"outputs"}, TC_VERDICT_REFUSED};
    struct tc_verdict verdict;
    judge(NULL, detach, NULL, &missing, &verdict);
    assert_non_null(strstr(check_named(&verdict, "outputs")->seen, "bin/app"));
    tc_verdict_free(&verdict);

    struct tc_artifact artifacts[2] = {{.path = "app"}, {.path = "notes"}};
    for (size_t i = 0; i < 2; i++)
        assert_ok(tc_sha256_of(sample_output_bytes(i), &artifacts[i].digest, &err));
    struct tc_verify_options options = default_options();
    options.artifacts = artifacts;
    options.artifacts_count = 1;
    judge(NULL, detach, &options, &missing, &verdict);
    assert_non_null(strstr(check_named(&verdict, "outputs")->seen, "notes.txt"));
    tc_verdict_free(&verdict);
    options.artifacts_count = 2;
    judge(NULL, detach, &options, &development, NULL);

    artifacts[1].digest.bytes[0] ^= 1;
    static const struct outcome wrong = {{"outputs", "artifacts"}, TC_VERDICT_REFUSED};
    judge(NULL, detach, &options, &wrong, NULL);
    static const struct outcome stray = {{"artifacts"}, TC_VERDICT_REFUSED};
    judge(NULL, NULL, &options, &stray, NULL);
}

/* A file that has one output's name and another's bytes is not what it seems; any
 * other name is the user's own affair. */
static void test_artifact_names(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct tc_artifact artifact = {.path = "downloads/notes.txt"};
    struct tc_verify_options options = default_options();
    options.artifacts = &artifact;
    options.artifacts_count = 1;
    static const struct outcome wrong = {{"artifacts"}, TC_VERDICT_REFUSED};
    struct tc_verdict verdict;
    assert_ok(tc_sha256_of(sample_output_bytes(0), &artifact.digest, &err));
    judge(NULL, NULL, &options, &wrong, &verdict);
    assert_non_null(strstr(check_named(&verdict, "artifacts")->seen, "the bytes of another, bin/app"));
    tc_verdict_free(&verdict);
    artifact.path = "downloads/renamed";
    judge(NULL, NULL, &options, &development, &verdict);
    assert_non_null(strstr(check_named(&verdict, "artifacts")->seen, "renamed is output bin/app"));
    tc_verdict_free(&verdict);
}

static tc_status no_source(void *context, const struct tc_statement *statement,
                           struct tc_sha256 *ret_digest, struct tc_error *err)
{
    (void)context;
    (void)ret_digest;
    assert_string_equal(statement->recipe.build_file, "build.json");
    return tc_fail(err, TC_USAGE, "no such folder");
}

/* What could not be judged is never a yes, and a no when something else failed. */
static void test_not_judged(void **state)
{
    (void)state;
    struct tc_verify_options options = default_options();
    options.compare_source = true;
    options.source_digest = no_source;
    static const struct outcome open = {{"source"}, TC_VERDICT_UNDECIDED};
    struct tc_verdict verdict;
    judge(NULL, NULL, &options, &open, &verdict);
    assert_int_equal(check_named(&verdict, "source")->result, TC_CHECK_NOT_JUDGED);
    assert_non_null(strstr(verdict.reason, "no such folder"));
    tc_verdict_free(&verdict);
    options.commit = "0000000000000000000000000000000000000000";
    static const struct outcome refused = {{"source", "commit"}, TC_VERDICT_REFUSED};
    judge(NULL, NULL, &options, &refused, &verdict);
    assert_non_null(strstr(verdict.reason, "commit")); /* what failed, not what was left open */
    tc_verdict_free(&verdict);
}

struct sink {
    size_t files;
    struct tc_buf bytes;
    bool full;
};

static tc_status sink_begin(void *context, const char *path, bool executable, struct tc_error *err)
{
    struct sink *sink = context;
    (void)err;
    assert_string_equal(path, sink->files == 0 ? "bin/app" : "notes.txt");
    assert_int_equal(executable, sink->files == 0);
    sink->files++;
    return TC_OK;
}

static tc_status sink_data(void *context, struct tc_span bytes, struct tc_error *err)
{
    struct sink *sink = context;
    if (sink->full) return tc_fail(err, TC_SYSTEM, "no room");
    tc_buf_add_span(&sink->bytes, bytes);
    return TC_OK;
}

static tc_status sink_end(void *context, struct tc_error *err)
{
    (void)context;
    (void)err;
    return TC_OK;
}

static void test_extracted(void **state)
{
    (void)state;
    struct sink sink = {.bytes = tc_buf_new(1000)};
    struct tc_verify_options options = default_options();
    options.extract_context = &sink;
    options.extract_begin = sink_begin;
    options.extract_data = sink_data;
    options.extract_end = sink_end;
    /* An output that no subject names is not handed on. */
    static const struct outcome refused = {{"outputs"}, TC_VERDICT_REFUSED};
    judge(NULL, add_output, &options, &refused, NULL);
    assert_int_equal(sink.files, 2);
    assert_int_equal(sink.bytes.size, sample_output_bytes(0).size + sample_output_bytes(1).size);
    sink.files = 0;
    sink.full = true;
    static const struct outcome undecided = {{"container", "outputs"}, TC_VERDICT_UNDECIDED};
    struct tc_verdict verdict;
    judge(NULL, NULL, &options, &undecided, &verdict);
    assert_non_null(strstr(verdict.reason, "no room"));
    tc_verdict_free(&verdict);
    tc_buf_free(&sink.bytes);
}

static void test_not_a_bundle(void **state)
{
    (void)state;
    struct tc_error err = {0};
    int fd = memfd_create("bundle", MFD_CLOEXEC);
    assert_true(fd >= 0);
    struct tc_verify_options options = default_options();
    struct tc_verdict verdict;
    assert_ok(tc_verify_bundle(fd, &options, &verdict, &err));
    assert_int_equal(verdict.kind, TC_VERDICT_REFUSED);
    tc_verdict_free(&verdict);
    assert_int_equal(write(fd, "hello", 5), 5);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_ok(tc_verify_bundle(fd, &options, &verdict, &err));
    assert_int_equal(verdict.kind, TC_VERDICT_REFUSED);
    assert_false(verdict.hardware);
    tc_verdict_free(&verdict);
    struct tc_bundle_view view;
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(tc_bundle_view_read(fd, &view, &err), TC_MALFORMED);
    (void)close(fd);
    assert_ok(tc_verify_bundle(-1, &options, &verdict, &err));
    assert_int_equal(verdict.kind, TC_VERDICT_UNDECIDED);
    tc_verdict_free(&verdict);
}

static void test_view(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct sample_parts parts;
    sample_parts_make(&parts, &root, NULL, detach);
    int fd = sample_bundle_fd(&parts);
    struct tc_bundle_view view;
    assert_ok(tc_bundle_view_read(fd, &view, &err));
    assert_true(view.detached);
    assert_string_equal(view.statement.recipe.command, "make");
    assert_true(tc_span_equal(tc_buf_span(&view.document), tc_buf_span(&parts.document)));
    tc_bundle_view_free(&view);
    (void)close(fd);
    sample_parts_free(&parts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),      cmocka_unit_test(test_aws_root),
        cmocka_unit_test(test_pcrs_asked), cmocka_unit_test(test_artifact_names),
        cmocka_unit_test(test_not_judged),
        cmocka_unit_test(test_unaccounted),
        cmocka_unit_test(test_changes),   cmocka_unit_test(test_missing_evidence),
        cmocka_unit_test(test_allowed),   cmocka_unit_test(test_compared),
        cmocka_unit_test(test_detached),  cmocka_unit_test(test_extracted),
        cmocka_unit_test(test_not_a_bundle), cmocka_unit_test(test_view),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
