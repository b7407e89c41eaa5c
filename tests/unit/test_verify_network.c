/* Bundles of builds with a network: what nobody vouches for is refused unless it is
 * allowed, and statement, transcript and policy say the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "network_lab.h"

static const struct sample_answer plain[] = {GOOD, {"http", "deb.example.org", "/d", 0x0d, NULL}};
static const struct sample_answer plain_empty[] = {GOOD,
                                                   {"http", "deb.example.org", "/d", 0, NULL}};
static const struct sample_answer plain_pinned[] = {
    GOOD, {"http", "deb.example.org", "/d", 0x0d, "go.sum"}};
static const struct sample_answer opaque[] = {GOOD, {"opaque", "git.example.org", NULL, 0, NULL}};

static void make_plain(struct sample_parts *parts)
{
    sample_network(parts, plain, 3, false);
}
static void make_plain_empty(struct sample_parts *parts)
{
    sample_network(parts, plain_empty, 3, false);
}
static void make_plain_pinned(struct sample_parts *parts)
{
    sample_network(parts, plain_pinned, 3, false);
}
static void make_opaque(struct sample_parts *parts)
{
    sample_network(parts, opaque, 3, false);
}

static void test_unauthenticated(void **state)
{
    (void)state;
    struct tc_verify_options options = default_options();
    judge(make_good, &options, NULL, NULL);
    judge(make_plain, &options, "unauthenticated", "http://deb.example.org/d (1 such)");
    judge(make_plain_empty, &options, "unauthenticated", "http://deb.example.org/d");
    judge(make_plain_pinned, &options, NULL, NULL);
    judge(make_opaque, &options, "unauthenticated", "git.example.org:22 was relayed unread");
    options.allow_unauthenticated = true;
    judge(make_plain, &options, NULL, NULL);
    judge(make_opaque, &options, NULL, NULL);
}

/* A statement that says less, or more, than the transcript. */
static void hide_dependency(struct sample_parts *parts)
{
    make_good(parts);
    free(parts->statement.dependencies[1].url);
    free(parts->statement.dependencies[1].pinned_by);
    parts->statement.dependencies_count = 1;
}
static void add_dependency(struct sample_parts *parts)
{
    make_good(parts);
    sample_transcript(parts, good, 1, false);
}
static void other_digest(struct sample_parts *parts)
{
    make_good(parts);
    parts->statement.dependencies[0].digest.bytes[0] ^= 1;
}
static void claim_pin(struct sample_parts *parts)
{
    make_good(parts);
    parts->statement.dependencies[0].pinned_by = strdup("Cargo.lock");
}
static const struct sample_answer failed_one[] = {
    GOOD, {"https", "b.example.org", "/", 0, NULL, .failed = true}};
static void make_failed(struct sample_parts *parts)
{
    sample_network(parts, failed_one, 3, false);
}
static void hide_plain_host(struct sample_parts *parts)
{
    make_plain_pinned(parts);
    tc_text_list_free(parts->statement.network.plain_http,
                      parts->statement.network.plain_http_count);
    parts->statement.network.plain_http = NULL;
    parts->statement.network.plain_http_count = 0;
}
static void hide_opaque(struct sample_parts *parts)
{
    make_opaque(parts);
    tc_text_list_free(parts->statement.network.opaque, parts->statement.network.opaque_count);
    parts->statement.network.opaque = NULL;
    parts->statement.network.opaque_count = 0;
}

/* More than a report can name: lists that could not be made are not the statement's empty
 * ones. */
static void too_many_hosts(struct sample_parts *parts)
{
    static struct sample_answer answers[TC_UNAUTHENTICATED_MAX + 1];
    static char hosts[TC_UNAUTHENTICATED_MAX + 1][32];
    sample_network(parts, NULL, 0, false);
    for (size_t i = 0; i < TC_UNAUTHENTICATED_MAX + 1; i++) {
        (void)snprintf(hosts[i], sizeof hosts[i], "h%zu.example.org", i);
        answers[i] = (struct sample_answer){
            .scheme = "http", .host = hosts[i], .path = "/", .pinned_by = "go.sum"};
    }
    sample_transcript(parts, answers, TC_UNAUTHENTICATED_MAX + 1, false);
}

/* Hosts that were verified by a file of the source. */
static const struct sample_answer by_ca[] = {
    {"https", "a.corp", "/b", 0x0b, NULL, .ca = "certs/one.pem"},
    {"https", "x.a.corp", "/c", 0x0c, NULL, .ca = "certs/two.pem"},
    {"https", "y.x.corp", "/d", 0x0d, NULL, .ca = "certs/all.pem"},
    {"https", "a.corp", "/e", 0x0e, NULL, .ca = "certs/one.pem"},
    {"https", "a.corp", "/f", 0x0f, NULL}};
static void make_by_ca(struct sample_parts *parts)
{
    static const char *const hosts[] = {"*.a.corp", "*.corp", "a.corp"};
    static const char *const files[] = {"certs/two.pem", "certs/all.pem", "certs/one.pem"};
    sample_network(parts, by_ca, 5, false);
    struct tc_part_network *network = &parts->statement.network;
    network->ca = calloc(3, sizeof *network->ca);
    if (!network->ca) abort();
    network->ca_count = 3;
    for (size_t i = 0; i < 3; i++)
        network->ca[i] = (struct tc_extra_ca){strdup(hosts[i]), strdup(files[i]), {{1}}};
}
static void hide_ca(struct sample_parts *parts)
{
    sample_network(parts, by_ca, 1, false);
}
static void set_text(char **text, const char *value)
{
    free(*text);
    *text = strdup(value);
}
static void other_ca_path(struct sample_parts *parts)
{
    make_by_ca(parts);
    set_text(&parts->statement.network.ca[0].path, "certs/all.pem");
}
static void other_ca_host(struct sample_parts *parts)
{
    make_by_ca(parts);
    set_text(&parts->statement.network.ca[2].host, "b.corp");
}
static void only_wide_ca(struct sample_parts *parts)
{
    make_by_ca(parts);
    set_text(&parts->statement.network.ca[1].host, "*.b.corp");
}
static void too_many_anchors(struct sample_parts *parts)
{
    enum { HOSTS = 4097 };
    static struct sample_answer answers[HOSTS];
    static char hosts[HOSTS][32];
    sample_network(parts, NULL, 0, false);
    for (size_t i = 0; i < HOSTS; i++) {
        (void)snprintf(hosts[i], sizeof hosts[i], "h%zu.corp", i);
        answers[i] = (struct sample_answer){
            .scheme = "https", .host = hosts[i], .path = "/", .ca = "certs/all.pem"};
    }
    sample_transcript(parts, answers, HOSTS, false);
}

static void test_same(void **state)
{
    (void)state;
    struct tc_verify_options options = default_options();
    judge(hide_dependency, &options, "network", "differ at https://a.example.org/c");
    judge(add_dependency, &options, "network", "differ at https://a.example.org/c");
    judge(other_digest, &options, "network", "differ at https://a.example.org/b");
    judge(claim_pin, &options, "network", "differ at https://a.example.org/b");
    judge(hide_plain_host, &options, "network", "other hosts without TLS");
    judge(hide_opaque, &options, "network", "other hosts without TLS");
    judge(too_many_hosts, &options, "network", "more than");
    judge(make_failed, &options, "network", "an exchange with b.example.org that failed");
    judge(make_by_ca, &options, NULL, NULL);
    judge(hide_ca, &options, "network", "a.corp was verified by certs/one.pem");
    judge(other_ca_path, &options, "network", "x.a.corp was verified by certs/two.pem");
    judge(other_ca_host, &options, "network", "a.corp was verified by certs/one.pem");
    judge(only_wide_ca, &options, "network", "y.x.corp was verified by certs/all.pem");
    judge(too_many_anchors, &options, "network", "more than 4096 hosts");
}

/* --- the policy's network --- */

static const struct sample_answer all_pinned[] = {
    {"https", "a.example.org", "/c", 0x0c, "Cargo.lock"}};
static void make_pinned(struct sample_parts *parts)
{
    sample_network(parts, all_pinned, 1, false);
}

static const struct sample_answer of_options[] = {{"https", "a.example.org", "*", 0x0c, NULL}};
static void make_options(struct sample_parts *parts)
{
    sample_network(parts, of_options, 1, false);
}

static void witness(struct sample_parts *parts)
{
    make_good(parts);
    parts->statement.witness.repository = strdup("https://git.example.org/app.git");
    parts->statement.witness.ref = strdup("refs/heads/main");
}

static void test_policy(void **state)
{
    (void)state;
    static const struct {
        sample_change *before;
        const char *policy, *failed, *seen;
    } cases[] = {
        {make_good, "\"network\":{\"allow\":[\"*.example.org\"]}", NULL, NULL},
        {make_good, "\"network\":{\"allow\":[\"b.example.org\"]}", "policy-network-allow",
         "a.example.org answered"},
        {make_good, "\"network\":{\"allow\":[]}", "policy-network-allow", "a.example.org answered"},
        {NULL, "\"network\":{\"allow\":[],\"pinned_only\":true,\"opaque\":false}", NULL, NULL},
        {make_opaque, "\"network\":{\"allow\":[\"a.example.org\"]}", "policy-network-allow",
         "git.example.org"},
        {make_good, "\"network\":{\"plain_http\":false,\"ca\":false,\"opaque\":false}", NULL, NULL},
        {make_plain, "\"network\":{\"plain_http\":false}", "policy-network-plain-http",
         "deb.example.org"},
        {make_opaque, "\"network\":{\"opaque\":false}", "policy-network-opaque",
         "git.example.org:22"},
        {add_ca, "\"network\":{\"opaque\":false}", NULL, NULL},
        {add_ca, "\"network\":{\"ca\":false}", "policy-network-ca", "registry.corp"},
        {make_good, "\"network\":{\"pinned_only\":true}", "policy-network-pinned",
         "https://a.example.org/b is not"},
        {make_good, "\"network\":{\"pinned_only\":[\"b.example.org\"]}", NULL, NULL},
        {make_pinned, "\"network\":{\"pinned_only\":true}", NULL, NULL},
        {make_options, "\"network\":{\"pinned_only\":[\"a.example.org\"]}", "policy-network-pinned",
         "https://a.example.org* is not"},
        {make_opaque, "\"network\":{\"pinned_only\":[\"b.example.org\"]}", "policy-network-pinned",
         "relayed unread"},
        {witness, "\"repository\":\"https://git.example.org/app.git\",\"ref\":\"refs/heads/main\"",
         NULL, NULL},
        {witness, "\"ref\":\"refs/heads/other\"", "policy-ref", "refs/heads/main, witnessed"},
        {make_good, "\"repository\":\"https://example.org/app.git\"", "policy-repository",
         "claimed"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tc_error err = {0};
        TC_AUTO_POLICY struct tc_policy policy = {0};
        char text[512];
        (void)snprintf(text, sizeof text, "{\"type\":\"tee-compile/policy/1\",%s}",
                       cases[i].policy);
        assert_ok(tc_policy_parse(tc_span_of_text(text), &policy, &err));
        struct tc_verify_options options = default_options();
        options.policy = &policy;
        options.allow_unauthenticated = true;
        judge(cases[i].before, &options, cases[i].failed, cases[i].seen);
    }
}

/* What report shows by host. */
static void test_view(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct tc_bundle_view view;
    int fd = bundle_fd(make_plain, NULL);
    assert_ok(tc_bundle_view_read(fd, &view, &err));
    (void)close(fd);
    assert_int_equal(view.hosts_count, 2);
    assert_string_equal(view.hosts[0].host, "a.example.org");
    assert_int_equal(view.hosts[0].bytes, 10);
    assert_int_equal(view.hosts[0].bodies, 2);
    assert_int_equal(view.hosts[0].pinned, 1);
    assert_false(view.hosts[0].plain_http);
    assert_true(view.hosts[1].plain_http);
    tc_bundle_view_free(&view);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unauthenticated),
        cmocka_unit_test(test_same),
        cmocka_unit_test(test_policy),
        cmocka_unit_test(test_view),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
