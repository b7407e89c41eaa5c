/* The policy's reader: every key, every bound, and the messages that users meet. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/policy.h"

#define TYPE "\"type\":\"tee-compile/policy/1\""
#define COMMIT "c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0c0"
#define SOURCE "d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1d1"

static tc_status parse(const char *text, struct tc_policy *policy, struct tc_error *err)
{
    return tc_policy_parse(tc_span_of_text(text), policy, err);
}

static void test_whole(void **state)
{
    (void)state;
    static const char text[] =
        "{" TYPE ",\"commit\":\"" COMMIT "\",\"source\":[\"" SOURCE "\",\"" SOURCE "\"],"
        "\"build_file\":\"ci/build.json\",\"images\":[\"c\",\"rust\"],"
        "\"builder_version\":[\"0.1.0\"],\"nonce\":\"0102\",\"max_age\":\"24h\","
        "\"repository\":\"https://example.org/a.git\",\"ref\":\"refs/tags/v1\"}";
    struct tc_error err = {0};
    TC_AUTO_POLICY struct tc_policy policy = {0};
    if (parse(text, &policy, &err) != TC_OK) fail_msg("%s", err.message);
    assert_int_equal(policy.commits_count, 1);
    assert_int_equal(policy.commits[0].bytes[19], 0xc0);
    assert_int_equal(policy.sources_count, 2);
    assert_int_equal(policy.sources[1].bytes[31], 0xd1);
    assert_string_equal(policy.build_file, "ci/build.json");
    assert_int_equal(policy.images_count, 2);
    assert_string_equal(policy.images[1], "rust");
    assert_int_equal(policy.versions_count, 1);
    assert_string_equal(policy.versions[0], "0.1.0");
    assert_int_equal(policy.nonce_size, 2);
    assert_int_equal(policy.nonce[1], 2);
    assert_true(policy.has_max_age);
    assert_int_equal(policy.max_age, 86400);
    assert_string_equal(policy.repository, "https://example.org/a.git");
    assert_string_equal(policy.ref, "refs/tags/v1");
}

static void test_least(void **state)
{
    (void)state;
    struct tc_error err = {0};
    TC_AUTO_POLICY struct tc_policy policy = {0};
    if (parse("{\"nonce\":\"00\"," TYPE "}", &policy, &err) != TC_OK) fail_msg("%s", err.message);
    assert_int_equal(policy.nonce_size, 1);
    assert_null(policy.commits);
    assert_null(policy.sources);
    assert_null(policy.build_file);
    assert_null(policy.images);
    assert_null(policy.versions);
    assert_false(policy.has_max_age);
    assert_null(policy.repository);
    assert_null(policy.ref);
}

static void assert_refused(const char *text, const char *message)
{
    struct tc_error err = {0};
    struct tc_policy policy = {.nonce_size = 7};
    tc_status status = parse(text, &policy, &err);
    if (status != TC_MALFORMED) fail_msg("taken: %s", text);
    if (!strstr(err.message, message)) fail_msg("%s\nsays %s", text, err.message);
    assert_int_equal(policy.nonce_size, 7); /* untouched */
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "the policy:"},
        {"[]", "must be an object, is a list"},
        {"{}", "type: is missing"},
        {"{" TYPE "}", "expects nothing"},
        {"{\"type\":\"tee-compile/policy/2\",\"new\":1}",
         "must be \"tee-compile/policy/1\", is \"tee-compile/policy/2\""},
        {"{\"type\":\"\\u001b[31m\",\"nonce\":\"00\"}", "is \"\\x1b[31m\""},
        {"{" TYPE ",\"commits\":\"" COMMIT "\"}", "unknown key; did you mean \"commit\"?"},
        {"{" TYPE ",\"nonce\":\"00\",\"max-age\":\"1h\"}",
         "unknown key; did you mean \"max_age\"?"},
        {"{" TYPE ",\"nonce\":\"00\",\"log_proof\":true}", "log_proof: unknown key"},
        {"{" TYPE ",\"nonce\":\"00\",\"nonce\":\"01\"}", "duplicate"},
        {"{" TYPE ",\"commit\":\"c0c0\"}", "commit: must be 40 lower-case hex digits"},
        {"{" TYPE ",\"commit\":\"C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0C0\"}", "lower-case"},
        {"{" TYPE ",\"commit\":7}", "commit: must be 40 lower-case hex digits, or a list"},
        {"{" TYPE ",\"commit\":null}", "commit: must be"},
        {"{" TYPE ",\"commit\":[]}", "commit: is empty"},
        {"{" TYPE ",\"commit\":[\"" COMMIT "\",7]}", "commit[1]: must be a string"},
        {"{" TYPE ",\"source\":\"" COMMIT "\"}", "source: must be 64 lower-case hex digits"},
        {"{" TYPE ",\"build_file\":\"/etc/passwd\"}", "build_file: must be a path inside"},
        {"{" TYPE ",\"build_file\":\"../build.json\"}", "build_file: must be a path inside"},
        {"{" TYPE ",\"build_file\":\"\"}", "build_file: is empty"},
        {"{" TYPE ",\"images\":\"c\"}", "images: must be a list, is a string"},
        {"{" TYPE ",\"images\":[]}", "images: is empty; leave the key out to allow any"},
        {"{" TYPE ",\"images\":[\"c\",\"\"]}", "images[1]: is empty"},
        {"{" TYPE ",\"builder_version\":\"1\"}", "builder_version: must be a list"},
        {"{" TYPE ",\"builder_version\":[1]}", "builder_version[0]: must be a string"},
        {"{" TYPE ",\"nonce\":\"\"}", "nonce: must be 1 to 64 bytes"},
        {"{" TYPE ",\"nonce\":\"0\"}", "nonce: must be 1 to 64 bytes"},
        {"{" TYPE ",\"nonce\":\"zz\"}", "nonce: must be 2 lower-case hex digits"},
        {"{" TYPE ",\"max_age\":60}", "max_age: must be a string"},
        {"{" TYPE ",\"max_age\":\"1d\"}", "max_age: must be like"},
        {"{" TYPE ",\"max_age\":\"1000h\"}", "at most 30 days"},
        {"{" TYPE ",\"repository\":\"\"}", "repository: is empty"},
        {"{" TYPE ",\"ref\":[\"main\"]}", "ref: must be a string"},
        {"{" TYPE ",\"network\":{}}", "network: expects nothing"},
        {"{" TYPE ",\"network\":{\"plain_http\":true}}", "network.plain_http: must be false"},
        {"{" TYPE ",\"network\":{\"pinned_only\":false}}", "network.pinned_only: must be true"},
        {"{" TYPE ",\"network\":{\"pinned_only\":[]}}", "network.pinned_only: is empty"},
        {"{" TYPE ",\"network\":{\"allow\":[\"https://a.org\"]}}",
         "network.allow[0]: must be a host"},
        {"{" TYPE ",\"network\":{\"alow\":[]}}", "did you mean \"allow\"?"},
        {"{" TYPE ",\"nonce\":\"00\"}x", "the policy:"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refused(cases[i].text, cases[i].message);
}

/* {TYPE,"images":["a","a",...]} */
static void make_list(struct tc_buf *buf, size_t count, size_t length)
{
    tc_buf_reset(buf);
    tc_buf_add_text(buf, "{" TYPE ",\"images\":[");
    for (size_t i = 0; i < count; i++) {
        tc_buf_add_text(buf, i > 0 ? ",\"" : "\"");
        for (size_t j = 0; j < length; j++)
            tc_buf_add_u8(buf, 'a');
        tc_buf_add_text(buf, "\"");
    }
    tc_buf_add_text(buf, "]}");
    assert_true(tc_buf_ok(buf));
}

static void test_bounds(void **state)
{
    (void)state;
    static const struct {
        size_t count, length;
        const char *message; /* NULL: taken */
    } cases[] = {
        {TC_POLICY_LIST_MAX, 1, NULL},
        {TC_POLICY_LIST_MAX + 1, 1, "has 257 entries"},
        {1, TC_POLICY_TEXT_MAX, NULL},
        {1, TC_POLICY_TEXT_MAX + 1, "has 4097 bytes"},
        {16, 4096, "the policy has"}, /* over the size of the file */
    };
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(1 << 20);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tc_error err = {0};
        TC_AUTO_POLICY struct tc_policy policy = {0};
        make_list(&text, cases[i].count, cases[i].length);
        tc_status status = tc_policy_parse(tc_buf_span(&text), &policy, &err);
        assert_int_equal(status == TC_OK, cases[i].message == NULL);
        if (cases[i].message) assert_non_null(strstr(err.message, cases[i].message));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_whole), cmocka_unit_test(test_least),
                                       cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_bounds)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
