/* A policy against whole bundles: each expectation met, then missed, each a check
 * of its own. Case by case the exact checks that fail, and what they say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "verify_lab.h"

#define TYPE "{\"type\":\"tee-compile/policy/1\","
#define COMMIT "c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0"
#define SOURCE "d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1"
#define ZEROS "00000000000000000000000000000000"

/* The sample's image, trusted under the name that its build.json asks for. */
static struct tc_own_image own_image;
static struct tc_trust trust = {.own = &own_image, .own_count = 1};

static void verify(sample_change *before, const char *policy_text,
                   struct tc_verify_options *options, struct tc_verdict *ret_verdict)
{
    struct tc_error err = {0};
    TC_AUTO_POLICY struct tc_policy policy = {0};
    if (tc_policy_parse(tc_span_of_text(policy_text), &policy, &err) != TC_OK)
        fail_msg("%s: %s", policy_text, err.message);
    struct sample_parts parts;
    sample_parts_make(&parts, &root, before, NULL);
    int fd = sample_bundle_fd(&parts);
    const char *name = parts.statement.recipe.image ? parts.statement.recipe.image : "c";
    memset(own_image.pcr0.bytes, 0x10, sizeof own_image.pcr0.bytes);
    (void)snprintf(own_image.name, sizeof own_image.name, "%s", name);
    options->trust = &trust;
    options->root = tc_buf_span(&root.der);
    options->policy = &policy;
    if (options->now == 0) options->now = (int64_t)time(NULL);
    if (tc_verify_bundle(fd, options, ret_verdict, &err) != TC_OK) fail_msg("%s", err.message);
    options->policy = NULL;
    (void)close(fd);
    sample_parts_free(&parts);
}

/* Exactly one check fails, and it says so. */
static void assert_only(const struct tc_verdict *verdict, const char *failed, const char *expected,
                        const char *seen)
{
    for (size_t i = 0; i < verdict->checks_count; i++)
        if (verdict->checks[i].result == TC_CHECK_FAIL &&
            strcmp(verdict->checks[i].name, failed) != 0)
            fail_msg("%s failed beside %s: %s", verdict->checks[i].name, failed,
                     verdict->checks[i].seen);
    const struct tc_check *check = find_check(verdict, failed);
    if (!check || check->result != TC_CHECK_FAIL) fail_msg("%s did not fail", failed);
    if (!strstr(check->expected, expected)) fail_msg("%s expected %s", failed, check->expected);
    if (!strstr(check->seen, seen)) fail_msg("%s saw %s", failed, check->seen);
    assert_int_equal(verdict->kind, TC_VERDICT_REFUSED);
}

static void test_met(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"policy-commit", "\"commit\":\"" COMMIT "\"}"},
        {"policy-commit", "\"commit\":[\"0000" ZEROS "0000\",\"" COMMIT "\"]}"},
        {"policy-source", "\"source\":\"" SOURCE "\"}"},
        {"policy-source", "\"source\":[\"" SOURCE "\",\"" ZEROS ZEROS "\"]}"},
        {"policy-build-file", "\"build_file\":\"build.json\"}"},
        {"policy-images", "\"images\":[\"rust\",\"c\"]}"},
        {"policy-builder-version", "\"builder_version\":[\"0.2.0\",\"0.1.0\"]}"},
        {"policy-nonce", "\"nonce\":\"01020304\"}"},
        {"policy-max-age", "\"max_age\":\"1h\"}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        struct tc_verify_options options = {0};
        struct tc_verdict verdict;
        (void)snprintf(text, sizeof text, TYPE "%s", cases[i][1]);
        verify(NULL, text, &options, &verdict);
        const struct tc_check *check = find_check(&verdict, cases[i][0]);
        if (!check || check->result != TC_CHECK_PASS)
            fail_msg("%s: %s", cases[i][1], verdict.reason);
        assert_int_equal(verdict.kind, TC_VERDICT_DEVELOPMENT);
        assert_null(find_check(&verdict, "policy")); /* only where none is given */
        tc_verdict_free(&verdict);
    }
}

static void no_commit(struct sample_parts *parts)
{
    parts->statement.source.kind = TC_SOURCE_TREE;
    parts->statement.source.has_commit = false;
}
static void no_nonce(struct sample_parts *parts)
{
    parts->nonce_size = parts->statement.nonce_size = 0;
}
static void claim_nothing(struct sample_parts *parts)
{
    free(parts->statement.source.repository);
    free(parts->statement.source.ref);
    parts->statement.source.repository = parts->statement.source.ref = NULL;
}
static void other_build_file(struct sample_parts *parts)
{
    free(parts->statement.recipe.build_file);
    parts->statement.recipe.build_file = strdup("ci/\xc2\x9b" "31m.json");
    assert_non_null(parts->statement.recipe.build_file);
}
static void name_image(struct sample_parts *parts)
{
    parts->statement.recipe.image = strdup("gcc-12");
    assert_non_null(parts->statement.recipe.image);
}

static void test_missed(void **state)
{
    (void)state;
    static const struct {
        const char *policy, *check, *expected, *seen;
        sample_change *before;
    } cases[] = {
        {"\"commit\":\"0000" ZEROS "0000\"}", "policy-commit", "0000" ZEROS, COMMIT, NULL},
        {"\"commit\":\"" COMMIT "\"}", "policy-commit", COMMIT, "no git commit", no_commit},
        /* The zeros that stand where a tree has no commit are no commit. */
        {"\"commit\":\"0000" ZEROS "0000\"}", "policy-commit", "0000", "no git commit", no_commit},
        {"\"source\":[\"" ZEROS ZEROS "\",\"" ZEROS ZEROS "\"]}", "policy-source",
         "one of " ZEROS ZEROS ", " ZEROS, SOURCE, NULL},
        {"\"build_file\":\"ci/build.json\"}", "policy-build-file", "ci/build.json", "build.json",
         NULL},
        {"\"build_file\":\"build.json\"}", "policy-build-file", "build.json",
         "ci/\\xc2\\x9b31m.json", other_build_file},
        {"\"images\":[\"rust\",\"go\"]}", "policy-images", "a trusted image: one of rust, go", "c",
         NULL},
        {"\"images\":[\"c\"]}", "policy-images", "a trusted image: c", "gcc-12", name_image},
        {"\"builder_version\":[\"0.1\"]}", "policy-builder-version", "tee-compile 0.1",
         "tee-compile 0.1.0", NULL},
        {"\"nonce\":\"010203\"}", "policy-nonce", "010203", "01020304", NULL},
        {"\"nonce\":\"00\"}", "policy-nonce", "00", "none", no_nonce},
        {"\"repository\":\"https://example.org/app.git\"}", "policy-repository",
         "https://example.org/app.git, witnessed by the worker",
         "https://example.org/app.git, claimed by the builder and not witnessed", NULL},
        {"\"repository\":\"https://example.org/app.git\"}", "policy-repository", "witnessed",
         "neither witnessed nor claimed", claim_nothing},
        {"\"ref\":\"main\"}", "policy-ref", "main, witnessed", "main, claimed by the builder",
         NULL},
        {"\"ref\":\"main\"}", "policy-ref", "witnessed", "neither", claim_nothing},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        struct tc_verify_options options = {0};
        struct tc_verdict verdict;
        (void)snprintf(text, sizeof text, TYPE "%s", cases[i].policy);
        verify(cases[i].before, text, &options, &verdict);
        assert_only(&verdict, cases[i].check, cases[i].expected, cases[i].seen);
        tc_verdict_free(&verdict);
    }
}

static void test_age(void **state)
{
    (void)state;
    int64_t now = (int64_t)time(NULL);
    const struct {
        int64_t at;
        bool good;
    } cases[] = {{now + 3500, true}, {now + 3700, false}, {now - 200, true}, {now - 1000, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tc_verify_options options = {.now = cases[i].at};
        struct tc_verdict verdict;
        verify(NULL, TYPE "\"max_age\":\"1h\"}", &options, &verdict);
        if (cases[i].good)
            assert_int_equal(verdict.kind, TC_VERDICT_DEVELOPMENT);
        else
            assert_only(&verdict, "policy-max-age", "within the last 3600 seconds", "signed 2");
        tc_verdict_free(&verdict);
    }
}

/* What an --allow option lets through has no name that a policy could trust. */
static void test_images_allowed(void **state)
{
    (void)state;
    struct tc_verify_options options = {.allow_unmeasured = true, .allow_debug = true};
    sample_change *const changes[] = {unmeasured, debug_mode};
    for (size_t i = 0; i < 2; i++) {
        struct tc_verdict verdict;
        verify(changes[i], TYPE "\"images\":[\"c\"]}", &options, &verdict);
        assert_only(&verdict, "policy-images", "a trusted image: c", "no trusted list");
        assert_int_equal(find_check(&verdict, "image")->result, TC_CHECK_ALLOWED);
        tc_verdict_free(&verdict);
    }
}

static void test_all_at_once(void **state)
{
    (void)state;
    static const char text[] =
        TYPE "\"commit\":\"0000" ZEROS "0000\",\"source\":\"" ZEROS ZEROS "\",\"build_file\":\"x\","
             "\"images\":[\"x\"],\"builder_version\":[\"x\"],\"nonce\":\"00\",\"max_age\":\"1s\","
             "\"repository\":\"x\",\"ref\":\"x\"}";
    static const char *const names[] = {"commit", "source",  "build-file", "images", "builder-version",
                                        "nonce",  "max-age", "repository", "ref"};
    struct tc_verify_options options = {.now = (int64_t)time(NULL) + 1000};
    struct tc_verdict verdict;
    verify(NULL, text, &options, &verdict);
    assert_int_equal(verdict.kind, TC_VERDICT_REFUSED);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "policy-%s", names[i]);
        const struct tc_check *check = find_check(&verdict, name);
        assert_true(check && check->result == TC_CHECK_FAIL);
    }
    tc_verdict_free(&verdict);
}

/* More values than a message holds: cut with their number, whole otherwise. */
static void test_long_list(void **state)
{
    (void)state;
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(TC_POLICY_SIZE_MAX);
    tc_buf_add_text(&text, TYPE "\"source\":[\"" SOURCE "\"");
    for (size_t i = 1; i < TC_POLICY_LIST_MAX; i++)
        tc_buf_add_text(&text, ",\"" ZEROS ZEROS "\"");
    tc_buf_add_text(&text, "]}");
    TC_AUTO_FREE char *policy = tc_buf_take_text(&text);
    assert_non_null(policy);
    struct tc_verify_options options = {0};
    struct tc_verdict verdict;
    verify(NULL, policy, &options, &verdict);
    const struct tc_check *check = find_check(&verdict, "policy-source");
    assert_int_equal(check->result, TC_CHECK_PASS);
    assert_non_null(strstr(check->expected, "one of " SOURCE ", "));
    assert_string_equal(check->expected + strlen(check->expected) - 5, " more");
    tc_verdict_free(&verdict);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_met),         cmocka_unit_test(test_missed),
        cmocka_unit_test(test_age),         cmocka_unit_test(test_images_allowed),
        cmocka_unit_test(test_all_at_once), cmocka_unit_test(test_long_list),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
