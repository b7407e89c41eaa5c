/* What build.json's network section allows, and what its refusals say. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/json.h"

#include "core/netpolicy.h"

static void read_network(const char *text, struct tc_network *ret_network)
{
    struct tc_error err = {0};
    TC_AUTO_JSON struct tc_json_text *json = NULL;
    if (tc_json_parse(tc_span_of_text(text), "network", 65536, &json, &err) != TC_OK)
        fail_msg("%s", err.message);
    struct tc_json top = tc_json_top(json, "network");
    if (tc_network_read(&top, ret_network, &err) != TC_OK) fail_msg("%s", err.message);
}

static void test_matches(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *name;
        bool expected;
    } cases[] = {
        {"a.org", "a.org", true},     {"a.org", "b.a.org", false},  {"a.org", "xa.org", false},
        {"*.a.org", "a.org", false},  {"*.a.org", "b.a.org", true}, {"*.a.org", "c.b.a.org", true},
        {"*.a.org", "xa.org", false}, {"*.a.org", ".a.org", false}, {"*.a.org", "", false},
        {"a.org", "", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_int_equal(tc_host_matches(cases[i].pattern, tc_span_of_text(cases[i].name)),
                         cases[i].expected);
}

/* message NULL: allowed. */
static void expect(const struct tc_network *network, enum tc_scheme scheme, const char *host,
                   uint16_t port, const char *message)
{
    struct tc_error err = {0};
    tc_status status = tc_network_check(network, scheme, tc_span_of_text(host), port, &err);
    if (!message && status != TC_OK) fail_msg("%s: %s", host, err.message);
    if (message && (status != TC_REFUSED || !strstr(err.message, message)))
        fail_msg("%s:%u: \"%s\" lacks \"%s\"", host, port, err.message, message);
}

static void test_check(void **state)
{
    (void)state;
    struct tc_network network = {0};
    read_network("{\"allow\":[\"packages.example.org\",\"*.packages.example.org\"],\"plain_http\":[\"deb.example.org\"],"
                 "\"opaque\":[\"git.example.org:22\"]}",
                 &network);
    expect(&network, TC_SCHEME_HTTPS, "packages.example.org", 443, NULL);
    expect(&network, TC_SCHEME_HTTPS, "static.packages.example.org", 8443, NULL);
    expect(&network, TC_SCHEME_HTTPS, "example.org", 443,
           "example.org:443: not in network.allow of build.json: add \"example.org\"");
    expect(&network, TC_SCHEME_HTTPS, "deb.example.org", 443, "network.allow");
    expect(&network, TC_SCHEME_HTTPS, "a\x1b", 443, "a\\x1b:443");
    expect(&network, TC_SCHEME_HTTP, "deb.example.org", 80, NULL);
    expect(&network, TC_SCHEME_HTTP, "packages.example.org", 80,
           "network.plain_http of build.json: use https");
    expect(&network, TC_SCHEME_OPAQUE, "git.example.org", 22, NULL);
    expect(&network, TC_SCHEME_OPAQUE, "git.example.org", 23, "add \"git.example.org:23\"");
    expect(&network, TC_SCHEME_OPAQUE, "packages.example.org", 443, "network.opaque");
    tc_network_free(&network);

    read_network("{}", &network);
    expect(&network, TC_SCHEME_HTTPS, "any.example.org", 443, NULL);
    expect(&network, TC_SCHEME_HTTP, "any.example.org", 80, "network.plain_http");
    tc_network_free(&network);
    read_network("{\"allow\":[]}", &network);
    expect(&network, TC_SCHEME_HTTPS, "any.example.org", 443, "network.allow");
    tc_network_free(&network);
    read_network("{\"mode\":\"offline\"}", &network);
    expect(&network, TC_SCHEME_HTTPS, "any.example.org", 443,
           "network.mode of build.json is \"offline\"");
    tc_network_free(&network);
}

#define ONES "1111111111111111111111111111111111111111111111111111111111111111"

static void test_pinned(void **state)
{
    (void)state;
    struct tc_network network = {0};
    read_network("{\"mode\":\"pinned\",\"pinned\":[{\"url\":\"https://a.example.org:8443/"
                 "x?y\",\"sha256\":\"" ONES "\"}]}",
                 &network);
    expect(&network, TC_SCHEME_HTTPS, "a.example.org", 8443, NULL);
    expect(&network, TC_SCHEME_HTTPS, "b.example.org", 443, "add its URL and SHA-256");
    expect(&network, TC_SCHEME_HTTP, "a.example.org", 80, "network.plain_http");
    const struct tc_sha256 *pin =
        tc_network_pin(&network, tc_span_of_text("https://a.example.org:8443/x?y"));
    assert_non_null(pin);
    assert_int_equal(pin->bytes[0], 0x11);
    assert_null(tc_network_pin(&network, tc_span_of_text("https://a.example.org:8443/x")));
    assert_null(tc_network_pin(&network, tc_span_of_text("https://a.example.org:8443/x?y&z")));
    tc_network_free(&network);
}

static void test_ca(void **state)
{
    (void)state;
    struct tc_network network = {0};
    read_network("{\"ca\":{\"*.corp\":\"1.pem\",\"*.b.corp\":\"2.pem\",\"a.b.corp\":\"3.pem\"}}",
                 &network);
    assert_string_equal(tc_network_ca(&network, tc_span_of_text("a.b.corp"))->path, "3.pem");
    assert_string_equal(tc_network_ca(&network, tc_span_of_text("c.b.corp"))->path, "2.pem");
    assert_string_equal(tc_network_ca(&network, tc_span_of_text("b.corp"))->path, "1.pem");
    assert_null(tc_network_ca(&network, tc_span_of_text("corp")));
    assert_null(tc_network_ca(&network, tc_span_of_text("a.b.corp.example.org")));
    tc_network_free(&network);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matches),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_pinned),
        cmocka_unit_test(test_ca),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
