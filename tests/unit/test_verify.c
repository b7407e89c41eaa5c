/* The relying party against bundles that a test makes whole, with documents of
 * the development attester: what it says of them, and what it is asked to compare. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "verify_lab.h"

static void test_good(void **state)
{
    (void)state;
    struct tc_verdict verdict;
    expect_outcome(NULL, NULL, NULL, &development, &verdict);
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
    struct tc_verify_options options = default_options();
    struct tc_verdict verdict;
    options.root = (struct tc_span){0};
    expect_outcome(NULL, NULL, &options, &refused, &verdict);
    assert_false(verdict.hardware);
    tc_verdict_free(&verdict);
    options.root = tc_aws_root(); /* named or not, it is the same root */
    expect_outcome(NULL, NULL, &options, &refused, NULL);
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
    expect_outcome(NULL, NULL, &options, &development, &verdict);
    assert_int_equal(check_named(&verdict, "pcr0-asked")->result, TC_CHECK_PASS);
    tc_verdict_free(&verdict);
    pcrs.value[1].bytes[5] ^= 1;
    pcrs.asked |= UINT32_C(1) << 30;
    expect_outcome(NULL, NULL, &options, &other, NULL);
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
    expect_outcome(NULL, NULL, &options, &development, &verdict);
    static const char *const names[] = {"source", "commit", "nonce", "age"};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(check_named(&verdict, names[i])->result, TC_CHECK_PASS);
    tc_verdict_free(&verdict);

    options.source.bytes[31] ^= 1;
    commit[39] = '1';
    nonce[3] = 5;
    options.max_age = 10;
    static const struct outcome refused = {{"source", "commit", "nonce", "age"},
                                           TC_VERDICT_REFUSED};
    expect_outcome(NULL, NULL, &options, &refused, NULL);
    /* Shorter than what the document carries is not equal to it. */
    options = default_options();
    options.compare_nonce = true;
    options.nonce = (struct tc_span){nonce, 3};
    static const struct outcome nonce_only = {{"nonce"}, TC_VERDICT_REFUSED};
    expect_outcome(NULL, NULL, &options, &nonce_only, NULL);
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
    expect_outcome(NULL, NULL, &options, &open, &verdict);
    assert_int_equal(check_named(&verdict, "source")->result, TC_CHECK_NOT_JUDGED);
    assert_non_null(strstr(verdict.reason, "no such folder"));
    tc_verdict_free(&verdict);
    options.commit = "0000000000000000000000000000000000000000";
    static const struct outcome refused = {{"source", "commit"}, TC_VERDICT_REFUSED};
    expect_outcome(NULL, NULL, &options, &refused, &verdict);
    assert_non_null(strstr(verdict.reason, "commit")); /* what failed, not what was left open */
    tc_verdict_free(&verdict);
}

/* --- outputs --- */

static void test_detached(void **state)
{
    (void)state;
    struct tc_error err = {0};
    static const struct outcome missing = {{"outputs"}, TC_VERDICT_REFUSED};
    struct tc_verdict verdict;
    expect_outcome(NULL, detach, NULL, &missing, &verdict);
    assert_non_null(strstr(check_named(&verdict, "outputs")->seen, "bin/app"));
    tc_verdict_free(&verdict);

    struct tc_artifact artifacts[2] = {{.path = "app"}, {.path = "notes"}};
    for (size_t i = 0; i < 2; i++)
        assert_ok(tc_sha256_of(sample_output_bytes(i), &artifacts[i].digest, &err));
    struct tc_verify_options options = default_options();
    options.artifacts = artifacts;
    options.artifacts_count = 1;
    expect_outcome(NULL, detach, &options, &missing, &verdict);
    assert_non_null(strstr(check_named(&verdict, "outputs")->seen, "notes.txt"));
    tc_verdict_free(&verdict);
    options.artifacts_count = 2;
    expect_outcome(NULL, detach, &options, &development, NULL);

    artifacts[1].digest.bytes[0] ^= 1;
    static const struct outcome wrong = {{"outputs", "artifacts"}, TC_VERDICT_REFUSED};
    expect_outcome(NULL, detach, &options, &wrong, NULL);
    static const struct outcome stray = {{"artifacts"}, TC_VERDICT_REFUSED};
    expect_outcome(NULL, NULL, &options, &stray, NULL);
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
    expect_outcome(NULL, NULL, &options, &wrong, &verdict);
    assert_non_null(
        strstr(check_named(&verdict, "artifacts")->seen, "the bytes of another, bin/app"));
    tc_verdict_free(&verdict);
    artifact.path = "downloads/renamed";
    expect_outcome(NULL, NULL, &options, &development, &verdict);
    assert_non_null(strstr(check_named(&verdict, "artifacts")->seen, "renamed is output bin/app"));
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
    expect_outcome(NULL, add_output, &options, &refused, NULL);
    assert_int_equal(sink.files, 2);
    assert_int_equal(sink.bytes.size, sample_output_bytes(0).size + sample_output_bytes(1).size);
    sink.files = 0;
    sink.full = true;
    static const struct outcome undecided = {{"container", "outputs"}, TC_VERDICT_UNDECIDED};
    struct tc_verdict verdict;
    expect_outcome(NULL, NULL, &options, &undecided, &verdict);
    assert_non_null(strstr(verdict.reason, "no room"));
    tc_verdict_free(&verdict);
    tc_buf_free(&sink.bytes);
}

/* --- other files, other readers --- */

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
        cmocka_unit_test(test_good),           cmocka_unit_test(test_aws_root),
        cmocka_unit_test(test_pcrs_asked),     cmocka_unit_test(test_compared),
        cmocka_unit_test(test_not_judged),     cmocka_unit_test(test_detached),
        cmocka_unit_test(test_artifact_names), cmocka_unit_test(test_extracted),
        cmocka_unit_test(test_not_a_bundle),   cmocka_unit_test(test_view),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
