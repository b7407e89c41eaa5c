/* build.json: what must be accepted, and for every refusal the place and the
 * reason that the message names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/buildspec.h"

#define HEAD "{\"language\":\"rust\",\"input\":{\"cmd\":\"make\"},\"output\":{\"files\":[\"app\"]}"

static tc_status parse(const char *text, struct tc_buildspec *spec, struct tc_error *err)
{
    return tc_buildspec_parse(tc_span_of_text(text), "build.json", spec, err);
}

static void assert_parses(const char *text, struct tc_buildspec *spec)
{
    struct tc_error err = {0};
    if (parse(text, spec, &err) != TC_OK) fail_msg("%s: %s", text, err.message);
}

static void test_seed(void **state)
{
    (void)state;
    TC_AUTO_BUILDSPEC struct tc_buildspec spec = {0};
    assert_parses("{\n    \"language\": \"rust\",\n    \"input\": {\n        \"cmd\": \"cargo build\"\n"
                  "    },\n    \"output\": {\n        \"files\": [\n"
                  "            \"target/debug/rust-project\"\n        ]\n    }\n}\n",
                  &spec);
    assert_string_equal(spec.language, "rust");
    assert_string_equal(spec.command, "cargo build");
    assert_string_equal(spec.folder, ".");
    assert_int_equal(spec.outputs_count, 1);
    assert_string_equal(spec.outputs[0], "target/debug/rust-project");
    assert_null(spec.image);
    assert_null(spec.vendor);
    assert_int_equal(spec.network.mode, TC_NETWORK_OFFLINE);
    assert_int_equal(spec.limits.timeout, TC_LIMIT_TIMEOUT_DEFAULT);
    assert_int_equal(spec.limits.processes, TC_LIMIT_PROCESSES_DEFAULT);
    assert_true(tc_limits_are_valid(&spec.limits));
}

static void test_everything(void **state)
{
    (void)state;
    TC_AUTO_BUILDSPEC struct tc_buildspec spec = {0};
    assert_parses("{\"language\":\"c++\",\"image\":\"gcc-12\","
                  "\"input\":{\"cmd\":\"make -j2\",\"vendor\":[\"./fetch\",\"./patch\"],"
                  "\"env\":[\"A=1\",\"PATH=/x:/bin\",\"_B=\"],\"dir\":\"sub/dir\","
                  "\"collect\":{\"z\":\"cc --version\",\"a.b\":\"uname\"}},"
                  "\"output\":{\"files\":[\"bin/*\",\"doc\"]},"
                  "\"network\":{\"mode\":\"offline\"},"
                  "\"limits\":{\"timeout\":\"2h\",\"memory\":\"8G\",\"disk\":1048576,\"log\":\"1K\","
                  "\"processes\":\"64\"},"
                  "\"source\":{\"git\":true,\"omit\":[\"third_party/big\"]}}",
                  &spec);
    assert_string_equal(spec.image, "gcc-12");
    assert_string_equal(spec.vendor, "./fetch\n./patch");
    assert_int_equal(spec.environment_count, 3);
    assert_string_equal(spec.environment[1], "PATH=/x:/bin");
    assert_string_equal(spec.folder, "sub/dir");
    assert_int_equal(spec.collect_count, 2);
    assert_string_equal(spec.collect[0].name, "z");
    assert_string_equal(spec.collect[1].command, "uname");
    assert_int_equal(spec.network.mode, TC_NETWORK_OFFLINE);
    assert_int_equal(spec.limits.timeout, 7200);
    assert_int_equal(spec.limits.memory, (uint64_t)8 << 30);
    assert_int_equal(spec.limits.disk, 1048576);
    assert_int_equal(spec.limits.log, 1024);
    assert_int_equal(spec.limits.processes, 64);
    assert_true(spec.source_git);
    assert_int_equal(spec.omitted_count, 1);
    tc_buildspec_free(&spec);
    assert_parses(HEAD ",\"source\":{\"git\":false}}", &spec);
    assert_false(spec.source_git);
}

#define ONES "1111111111111111111111111111111111111111111111111111111111111111"
#define PINNED(url)                                                                                \
    ",\"network\":{\"mode\":\"pinned\",\"pinned\":[{\"url\":\"" url "\",\"sha256\":\"" ONES "\"}]" \
                                                                                            "}}"

static void test_network(void **state)
{
    (void)state;
    TC_AUTO_BUILDSPEC struct tc_buildspec spec = {0};
    assert_parses(HEAD ",\"network\":{\"allow\":[\"crates.io\",\"*.crates.io\"],"
                       "\"plain_http\":[\"deb.example.org\"],\"opaque\":[\"git.example.org:22\"],"
                       "\"ca\":{\"registry.corp\":\"certs/our.pem\"},\"witness\":true}}",
                  &spec);
    assert_int_equal(spec.network.mode, TC_NETWORK_RECORD);
    assert_true(spec.network.has_allow && spec.network.witness);
    assert_int_equal(spec.network.allow_count, 2);
    assert_int_equal(spec.network.opaque[0].port, 22);
    assert_string_equal(spec.network.opaque[0].host, "git.example.org");
    assert_string_equal(spec.network.ca[0].host, "registry.corp");
    assert_string_equal(spec.network.ca[0].path, "certs/our.pem");
    tc_buildspec_free(&spec);

    assert_parses(HEAD ",\"network\":{\"mode\":\"pinned\",\"pinned\":[{\"url\":"
                       "\"https://a.example.org:8443/b?c=d\",\"sha256\":\"" ONES "\"}]}}",
                  &spec);
    assert_int_equal(spec.network.mode, TC_NETWORK_PINNED);
    assert_int_equal(spec.network.pinned_count, 1);
    assert_int_equal(spec.network.pinned[0].digest.bytes[31], 0x11);
}

static void test_refusals(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *message; /* must be in it */
    } cases[] = {
        /* syntax: line and column */
        {"", "build.json:1:"},
        {"{\n\"language\": rust\n}", "build.json:2:"},
        {"{\"a\":1,\"a\":2}", "duplicate"},
        {HEAD "}x", "build.json:1:"},
        {HEAD ",\"image\":\"a\\u0000b\"}", "build.json:1:"},
        {"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "deeper than 32"},
        /* keys */
        {"[]", "must be an object, is a list"},
        {HEAD ",\"limit\":{}}", "limit: unknown key; did you mean \"limits\"?"},
        {HEAD ",\"zzzzzzzzzzzz\":{}}", "zzzzzzzzzzzz: unknown key"},
        {"{\"language\":\"c\",\"input\":{\"cmd\":\"m\",\"envs\":[]},\"output\":{\"files\":[\"a\"]}"
         "}",
         "input.envs: unknown key; did you mean \"env\"?"},
        {"{\"input\":{\"cmd\":\"m\"},\"output\":{\"files\":[\"a\"]}}", "language: is missing"},
        {"{\"language\":\"c\",\"output\":{\"files\":[\"a\"]}}", "input: is missing"},
        {"{\"language\":\"c\",\"input\":{},\"output\":{\"files\":[\"a\"]}}",
         "input.cmd: is missing"},
        {"{\"language\":\"c\",\"input\":{\"cmd\":\"m\"},\"output\":{}}",
         "output.files: is missing"},
        {"{\"language\":\"c\",\"input\":{\"cmd\":\"m\"},\"output\":{\"files\":[]}}",
         "output.files: must name at least one"},
        /* types */
        {"{\"language\":1,\"input\":{\"cmd\":\"m\"},\"output\":{\"files\":[\"a\"]}}",
         "language: must be a string, is a whole number"},
        {"{\"language\":\"c\",\"input\":[],\"output\":{\"files\":[\"a\"]}}",
         "input: must be an object, is a list"},
        {"{\"language\":\"c\",\"input\":{\"cmd\":null},\"output\":{\"files\":[\"a\"]}}",
         "input.cmd: must be a string, is null"},
        {"{\"language\":\"c\",\"input\":{\"cmd\":\"m\"},\"output\":{\"files\":\"a\"}}",
         "output.files: must be a list, is a string"},
        {"{\"language\":\"c\",\"input\":{\"cmd\":\"m\"},\"output\":{\"files\":[\"a\",2]}}",
         "output.files[1]: must be a string"},
        {HEAD ",\"source\":{\"git\":1}}", "source.git: must be true or false"},
        {HEAD ",\"limits\":{\"memory\":1.5}}", "limits.memory: must be a whole number"},
        /* values */
        {"{\"language\":\"c d\",\"input\":{\"cmd\":\"m\"},\"output\":{\"files\":[\"a\"]}}",
         "language: must be a name"},
        {"{\"language\":\"c\",\"input\":{\"cmd\":\" \\n\"},\"output\":{\"files\":[\"a\"]}}",
         "input.cmd: must be a command"},
        {"{\"language\":\"c\",\"input\":{\"cmd\":\"m\"},\"output\":{\"files\":[\"../a\"]}}",
         "output.files[0]"},
        {"{\"language\":\"c\",\"input\":{\"cmd\":\"m\"},\"output\":{\"files\":[\"a\",\"b\",\"a\"]}"
         "}",
         "output.files[2]: repeats entry 0"},
        {"{\"language\":\"c\",\"input\":{\"cmd\":\"m\",\"dir\":\"/"
         "x\"},\"output\":{\"files\":[\"a\"]}}",
         "input.dir: must be a relative path"},
        {"{\"language\":\"c\",\"input\":{\"cmd\":\"m\",\"dir\":\"a/../"
         "b\"},\"output\":{\"files\":[\"a\"]}}",
         "input.dir: must be a relative path"},
        {"{\"language\":\"c\",\"input\":{\"cmd\":\"m\",\"vendor\":[]},\"output\":{\"files\":[\"a\"]"
         "}}",
         "input.vendor: must have at least one"},
        {"{\"language\":\"c\",\"input\":{\"cmd\":\"m\",\"collect\":{\"a b\":\"x\"}},"
         "\"output\":{\"files\":[\"a\"]}}",
         "input.collect.a b: the name"},
        {HEAD ",\"source\":{\"omit\":[\"/x\"]}}", "source.omit[0]: must be a relative path"},
        {HEAD ",\"limits\":{\"timeout\":\"2 hours\"}}", "limits.timeout: must be like"},
        {HEAD ",\"limits\":{\"timeout\":0}}", "limits.timeout: is out of range"},
        {HEAD ",\"limits\":{\"timeout\":-1}}", "limits.timeout: is -1"},
        {HEAD ",\"limits\":{\"memory\":\"1M\"}}", "limits.memory: is out of range"},
        {HEAD ",\"limits\":{\"processes\":\"1K\"}}", "limits.processes: must be like"},
        {HEAD ",\"limits\":{\"processes\":7}}", "limits.processes: is out of range"},
        {HEAD ",\"limits\":{\"log\":9223372036854775808}}", "build.json:1:"},
        {HEAD ",\"network\":{\"mode\":\"ofline\"}}", "did you mean \"offline\"?"},
        {HEAD ",\"network\":{\"mode\":\"offline\",\"allow\":[\"a.org\"]}}",
         "network.allow: contradicts"},
        {HEAD ",\"network\":{\"mode\":\"offline\",\"ca\":{\"a.org\":\"a.pem\"}}}",
         "network.ca: contradicts"},
        {HEAD ",\"network\":{\"mode\":\"offline\",\"witness\":true}}",
         "network.witness: contradicts"},
        {HEAD ",\"network\":{\"ca\":[\"a.pem\"]}}", "network.ca: must be an object"},
        {HEAD ",\"network\":{\"ca\":{\"A.org\":\"a.pem\"}}}", "the key must be a host name"},
        {HEAD ",\"network\":{\"ca\":{\"a.org\":\"../a.pem\"}}}", "must be a path inside"},
        {HEAD ",\"network\":{\"allow\":[\"192.0.2.1\"]}}", "network.allow[0]: must be a host name"},
        {HEAD ",\"network\":{\"allow\":[\"a.org\",\"a.org\"]}}", "repeats entry 0"},
        {HEAD ",\"network\":{\"opaque\":[\"a.org:1\",\"a.org:1\"]}}", "repeats entry 0"},
        {HEAD ",\"network\":{\"opaque\":[\"a.org:0\"]}}", "network.opaque[0]"},
        {HEAD ",\"network\":{\"opaque\":[\"a.org:01\"]}}", "network.opaque[0]"},
        {HEAD ",\"network\":{\"mode\":\"pinned\"}}", "network.pinned: is missing"},
        {HEAD ",\"network\":{\"pinned\":[]}}", "needs network.mode \"pinned\""},
        {HEAD ",\"network\":{\"mode\":\"pinned\",\"pinned\":[],\"opaque\":[]}}",
         "network.opaque: contra"},
        {HEAD PINNED("https://a.org"), "network.pinned[0].url: must be"},
        {HEAD PINNED("https://a.org:443/"), "network.pinned[0].url: must be"},
        {HEAD PINNED("https://A.org/"), "network.pinned[0].url: must be"},
        {HEAD PINNED("https://u:p@a.org/"), "network.pinned[0].url: must be"},
        {HEAD PINNED("https://a.org/#f"), "network.pinned[0].url: must be"},
        {HEAD PINNED("https://a.org/a b"), "network.pinned[0].url: must be"},
        {HEAD PINNED("ftp://a.org/"), "network.pinned[0].url: must be"},
        {HEAD ",\"network\":{\"mode\":\"record\",\"allow\":[\"https://a.org\"]}}",
         "network.allow[0]: must be a host name"},
        {HEAD ",\"network\":{\"mode\":\"record\",\"allow\":[\"A.org\"]}}", "network.allow[0]"},
        {HEAD ",\"network\":{\"mode\":\"record\",\"allow\":[\"a..org\"]}}", "network.allow[0]"},
        {HEAD ",\"network\":{\"mode\":\"record\",\"allow\":[\"-a.org\"]}}", "network.allow[0]"},
        {HEAD ",\"network\":{\"mode\":\"record\",\"opaque\":[\"a.org\"]}}", "network.opaque[0]"},
        {HEAD ",\"network\":{\"mode\":\"record\",\"opaque\":[\"a.org:70000\"]}}",
         "network.opaque[0]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tc_buildspec spec = {0};
        struct tc_error err = {0};
        if (parse(cases[i].text, &spec, &err) != TC_MALFORMED)
            fail_msg("%s: not refused as malformed", cases[i].text);
        if (!strstr(err.message, cases[i].message))
            fail_msg("%s: \"%s\" lacks \"%s\"", cases[i].text, err.message, cases[i].message);
        assert_null(spec.language);
    }
}

static void test_environment(void **state)
{
    (void)state;
    static const char *const bad[] = {"A",           "=x",          "1A=x",        "A-B=x",
                                      "HOME=/x",     "LD_PRELOAD=x", "TMPDIR=/x",  "ENV=x",
                                      "BASH_ENV=x",  "SHELLOPTS=",  "LD_AUDIT=x",  "PWD=/",
                                      "GLIBC_TUNABLES=", "SOURCE_DATE_EPOCH=0", "TEE_COMPILE_X=1"};
    static const char *const good[] = {"A=", "HOMEX=1", "LDFLAGS=-s", "CC=clang", "A=b=c"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad + sizeof good / sizeof *good; i++) {
        bool expected = i >= sizeof bad / sizeof *bad;
        const char *entry = expected ? good[i - sizeof bad / sizeof *bad] : bad[i];
        char text[256];
        (void)snprintf(text, sizeof text,
                       "{\"language\":\"c\",\"input\":{\"cmd\":\"m\",\"env\":[\"%s\"]},"
                       "\"output\":{\"files\":[\"a\"]}}",
                       entry);
        TC_AUTO_BUILDSPEC struct tc_buildspec spec = {0};
        struct tc_error err = {0};
        bool accepted = parse(text, &spec, &err) == TC_OK;
        if (accepted != expected) fail_msg("%s: %s", entry, err.message);
        if (!expected) assert_non_null(strstr(err.message, "input.env[0]"));
    }
    struct tc_buildspec spec = {0};
    struct tc_error err = {0};
    assert_int_equal(parse("{\"language\":\"c\",\"input\":{\"cmd\":\"m\",\"env\":[\"A=1\",\"A=2\"]},"
                           "\"output\":{\"files\":[\"a\"]}}",
                           &spec, &err),
                     TC_MALFORMED);
    assert_non_null(strstr(err.message, "sets A a second time"));
}

static void test_caps(void **state)
{
    (void)state;
    struct tc_buildspec spec = {0};
    struct tc_error err = {0};
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(2 * TC_BUILDSPEC_SIZE_MAX);
    tc_buf_add_text(&text, HEAD ",\"image\":\"");
    while (text.size < TC_BUILDSPEC_SIZE_MAX)
        tc_buf_add_text(&text, "x");
    tc_buf_add_text(&text, "\"}");
    assert_int_equal(tc_buildspec_parse(tc_buf_span(&text), "b", &spec, &err), TC_MALFORMED);
    assert_non_null(strstr(err.message, "at most 65536"));

    tc_buf_reset(&text);
    tc_buf_add_text(&text, "{\"language\":\"c\",\"input\":{\"cmd\":\"m\"},\"output\":{\"files\":[\"a0\"");
    for (int i = 1; i <= TC_BUILDSPEC_LIST_MAX; i++)
        tc_buf_add_format(&text, ",\"a%d\"", i);
    tc_buf_add_text(&text, "]}}");
    assert_int_equal(tc_buildspec_parse(tc_buf_span(&text), "b", &spec, &err), TC_MALFORMED);
    assert_non_null(strstr(err.message, "at most 256"));

    tc_buf_reset(&text);
    tc_buf_add_text(&text, "{\"language\":\"c\",\"input\":{\"cmd\":\"");
    for (int i = 0; i <= TC_BUILDSPEC_TEXT_MAX; i++)
        tc_buf_add_text(&text, "x");
    tc_buf_add_text(&text, "\"},\"output\":{\"files\":[\"a\"]}}");
    assert_int_equal(tc_buildspec_parse(tc_buf_span(&text), "b", &spec, &err), TC_MALFORMED);
    assert_non_null(strstr(err.message, "input.cmd: has 16385 bytes"));
}

/* What comes from the file is escaped in messages. */
static void test_hostile_messages(void **state)
{
    (void)state;
    struct tc_buildspec spec = {0};
    struct tc_error err = {0};
    assert_int_equal(parse(HEAD ",\"\\u001b[31m\":1}", &spec, &err), TC_MALFORMED);
    assert_null(strchr(err.message, '\033'));
    assert_non_null(strstr(err.message, "\\x1b"));
    assert_int_equal(parse("{\"language\": \033[31m}", &spec, &err), TC_MALFORMED);
    assert_null(strchr(err.message, '\033'));
    /* In our own words, not in those of the library's options. */
    assert_int_equal(parse("{\"language\": \"a\\u0000b\"}", &spec, &err), TC_MALFORMED);
    assert_non_null(strstr(err.message, "U+0000"));
    assert_null(strstr(err.message, "JSON_"));
    assert_int_equal(parse("{\"lang\\u0000uage\": \"a\"}", &spec, &err), TC_MALFORMED);
    assert_non_null(strstr(err.message, "U+0000"));
    assert_null(strstr(err.message, "JSON_"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seed),        cmocka_unit_test(test_everything),
        cmocka_unit_test(test_network),     cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_environment), cmocka_unit_test(test_caps),
        cmocka_unit_test(test_hostile_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
