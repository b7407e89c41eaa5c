/* Bundles of builds with a network: what nobody vouches for is refused unless it is
 * allowed, statement and transcript say the same, and a replayed build needs a live one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/pcr.h"
#include "network_sample.h"
#include "verify/live.h"
#include "verify/verify.h"

#define assert_ok(expression)                                                                      \
    do {                                                                                           \
        tc_status status_ = (expression);                                                          \
        if (status_ != TC_OK) fail_msg("%s: %s", #expression, err.message);                        \
    } while (0)

static struct sample_root root;
static struct tc_own_image own_image = {.name = "c"};
static struct tc_trust trust = {.own = &own_image, .own_count = 1};

/* The sample's root passes for AWS's while this is set. */
static bool is_hardware;
bool __wrap_tc_is_aws_root(struct tc_span root_der);
bool __wrap_tc_is_aws_root(struct tc_span root_der)
{
    return is_hardware && tc_span_equal(root_der, tc_buf_span(&root.der));
}

static int make_root(void **state)
{
    (void)state;
    memset(own_image.pcr0.bytes, 0x10, sizeof own_image.pcr0.bytes);
    return sample_root_make(&root);
}

static int remove_root(void **state)
{
    (void)state;
    return sample_root_remove(&root);
}

static struct tc_verify_options usual(void)
{
    return (struct tc_verify_options){.root = tc_buf_span(&root.der), .trust = &trust};
}

static int make_bundle(sample_change *before)
{
    struct sample_parts parts;
    sample_parts_make(&parts, &root, before, NULL);
    int fd = sample_bundle_fd(&parts);
    sample_parts_free(&parts);
    return fd;
}

static const struct tc_check *find(const struct tc_verdict *verdict, const char *name)
{
    for (size_t i = 0; i < verdict->checks_count; i++)
        if (strcmp(verdict->checks[i].name, name) == 0) return &verdict->checks[i];
    fail_msg("no check %s", name);
    return NULL;
}

/* failed: the one check that fails, and what it says; NULL: the verdict is good. */
static void judge(sample_change *before, const struct tc_verify_options *options,
                  const char *failed, const char *seen)
{
    struct tc_error err = {0};
    struct tc_verdict verdict;
    int fd = make_bundle(before);
    assert_ok(tc_verify_bundle(fd, options, &verdict, &err));
    (void)close(fd);
    for (size_t i = 0; i < verdict.checks_count; i++) {
        const struct tc_check *check = &verdict.checks[i];
        if (check->result != TC_CHECK_FAIL && check->result != TC_CHECK_NOT_JUDGED) continue;
        if (!failed || strcmp(check->name, failed) != 0)
            fail_msg("%s failed: expected %s, saw %s", check->name, check->expected, check->seen);
    }
    assert_int_equal(verdict.kind, failed ? TC_VERDICT_REFUSED : TC_VERDICT_DEVELOPMENT);
    if (failed && !strstr(find(&verdict, failed)->seen, seen))
        fail_msg("%s saw %s", failed, find(&verdict, failed)->seen);
    tc_verdict_free(&verdict);
}

#define GOOD                                                                                       \
    {"https", "a.example.org", "/b", 0x0b, NULL},                                                  \
    {                                                                                              \
        "https", "a.example.org", "/c", 0x0c, "Cargo.lock"                                         \
    }
static const struct sample_answer good[] = {GOOD};
static const struct sample_answer plain[] = {GOOD, {"http", "deb.example.org", "/d", 0x0d, NULL}};
static const struct sample_answer plain_empty[] = {GOOD,
                                                   {"http", "deb.example.org", "/d", 0, NULL}};
static const struct sample_answer plain_pinned[] = {
    GOOD, {"http", "deb.example.org", "/d", 0x0d, "go.sum"}};
static const struct sample_answer opaque[] = {GOOD, {"opaque", "git.example.org", NULL, 0, NULL}};

static void make_good(struct sample_parts *parts)
{
    sample_network(parts, good, 2, false);
}
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
static void make_replayed(struct sample_parts *parts)
{
    sample_network(parts, good, 2, true);
}

static void test_unauthenticated(void **state)
{
    (void)state;
    struct tc_verify_options options = usual();
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
    struct tc_verify_options options = usual();
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

/* --- replays --- */

static const struct sample_answer other_body[] = {{"https", "a.example.org", "/b", 0x0b, NULL},
                                                  {"https", "a.example.org", "/c", 0x0e, NULL}};
static void make_other_body(struct sample_parts *parts)
{
    sample_network(parts, other_body, 2, false);
}
static void detach(struct sample_parts *parts)
{
    make_good(parts);
    parts->omit_output[0] = parts->omit_output[1] = true;
}
static void flip_line(struct sample_parts *parts)
{
    parts->transcript.data[parts->transcript.size - 10] ^= 1;
}

/* The replayed bundle, judged by a live one of `before`. */
static void judge_by(sample_change *before, const char *failed, const char *seen)
{
    struct tc_error err = {0};
    struct tc_verify_options options = usual();
    struct tc_live *live = NULL;
    int fd = make_bundle(before);
    assert_ok(tc_live_read(fd, &options, &live, &err));
    (void)close(fd);
    options.live = live;
    judge(make_replayed, &options, failed, seen);
    tc_live_free(live);
}

static void test_replayed(void **state)
{
    (void)state;
    struct tc_verify_options options = usual();
    judge(make_replayed, &options, "replayed", "from the archive afafaf");
    options.allow_replayed = true;
    judge(make_replayed, &options, NULL, NULL);
    judge_by(make_good, NULL, NULL);
    judge_by(detach, NULL, NULL);
    judge_by(make_other_body, "replayed",
             "1 of 2 answers are not in the live bundle, the first for "
             "https://a.example.org/c");
    judge_by(NULL, "replayed", "2 of 2 answers");
}

static const struct sample_answer empty[] = {
    GOOD, {.scheme = "https", .host = "a.example.org", .path = "/e"}};
static const struct sample_answer other_status[] = {
    GOOD, {.scheme = "https", .host = "a.example.org", .path = "/e", .status = 204}};
static const struct sample_answer other_field[] = {
    GOOD, {.scheme = "https", .host = "a.example.org", .path = "/e", .location = "/c"}};
static const struct sample_answer other_date[] = {
    GOOD, {.scheme = "https", .host = "a.example.org", .path = "/e", .date = "later"}};
static const struct sample_answer other_question[] = {
    GOOD, {.scheme = "https", .host = "a.example.org", .path = "/e", .question = 1}};
static const struct sample_answer cut[] = {
    GOOD, {.scheme = "https", .host = "a.example.org", .path = "/e", .cut = true}};
static void make_empty(struct sample_parts *parts)
{
    sample_network(parts, empty, 3, false);
}
static void make_other_status(struct sample_parts *parts)
{
    sample_network(parts, other_status, 3, true);
}
static void make_other_field(struct sample_parts *parts)
{
    sample_network(parts, other_field, 3, true);
}
static void make_other_date(struct sample_parts *parts)
{
    sample_network(parts, other_date, 3, true);
}
static void make_other_question(struct sample_parts *parts)
{
    sample_network(parts, other_question, 3, true);
}
static void make_cut(struct sample_parts *parts)
{
    sample_network(parts, cut, 3, false);
}
static void replay_cut(struct sample_parts *parts)
{
    sample_network(parts, cut, 3, true);
}
static void replay_empty(struct sample_parts *parts)
{
    sample_network(parts, empty, 3, true);
}
/* Answers without a body are in the transcript alone. */
static void hide_archive(struct sample_parts *parts)
{
    sample_network(parts, empty + 2, 1, true);
    parts->statement.network.replayed = false;
}
static void add_ca(struct sample_parts *parts);
static void replay_ca(struct sample_parts *parts)
{
    add_ca(parts);
    parts->statement.network.replayed = true;
    memset(parts->statement.network.archive.bytes, 0xaf, TC_SHA256_SIZE);
    for (size_t i = 0; i < parts->statement.dependencies_count; i++)
        parts->statement.dependencies[i].from_archive = true;
    sample_transcript(parts, good, 2, true);
}
static void replay_other_ca(struct sample_parts *parts)
{
    replay_ca(parts);
    parts->statement.network.ca[0].digest.bytes[0] ^= 1;
}

/* Whoever writes an archive chooses all of an answer, and whoever writes a source whom its
 * build trusts: neither may pass for what the network said to this one. */
static void test_forged_replays(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct tc_verify_options options = usual();
    judge(hide_archive, &options, "network", "1 of 1 answers out of an archive in a live build");
    static const struct {
        sample_change *live, *replayed;
        const char *seen;
    } cases[] = {
        {make_empty, replay_empty, NULL},
        {make_empty, make_other_date, NULL},
        {make_empty, make_other_question, "the first for https://a.example.org/e"},
        {make_empty, replay_cut, "the first for https://a.example.org/e"},
        {make_cut, replay_empty, "the first for https://a.example.org/e"},
        {make_cut, replay_cut, "the first for https://a.example.org/e"},
        {make_empty, make_other_status, "the first for https://a.example.org/e"},
        {make_empty, make_other_field, "the first for https://a.example.org/e"},
        {add_ca, replay_ca, NULL},
        {make_good, replay_ca, NULL},
        {add_ca, make_replayed, "trust anchor for registry.corp"},
        {add_ca, replay_other_ca, "trust anchor for registry.corp"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tc_live *live = NULL;
        options = usual();
        int fd = make_bundle(cases[i].live);
        assert_ok(tc_live_read(fd, &options, &live, &err));
        (void)close(fd);
        options.live = live;
        judge(cases[i].replayed, &options, cases[i].seen ? "replayed" : NULL, cases[i].seen);
        tc_live_free(live);
    }
}

static void expect_no_live(sample_change *before, sample_change *after,
                           const struct tc_verify_options *options, const char *message)
{
    struct tc_error err = {0};
    struct tc_live *live = NULL;
    struct sample_parts parts;
    sample_parts_make(&parts, &root, before, after);
    int fd = sample_bundle_fd(&parts);
    sample_parts_free(&parts);
    assert_int_equal(tc_live_read(fd, options, &live, &err), TC_REFUSED);
    (void)close(fd);
    if (!strstr(err.message, message)) fail_msg("%s", err.message);
}

static void test_no_live(void **state)
{
    (void)state;
    struct tc_verify_options options = usual();
    expect_no_live(make_replayed, NULL, &options, "replayed");
    expect_no_live(make_good, flip_line, &options, "transcript");
    options.allow_replayed = true;
    expect_no_live(make_replayed, NULL, &options, "replayed");
    struct tc_trust nobody = {0};
    options.trust = &nobody;
    expect_no_live(make_good, NULL, &options, "image");

    options = usual();
    options.live_problem = "the live bundle is refused: because";
    judge(make_replayed, &options, "replayed", "because");
    judge(make_good, &options, "replayed", "because");
}

static void debug_mode(struct sample_parts *parts)
{
    make_good(parts);
    memset(parts->pcrs, 0, sizeof parts->pcrs);
    memset(parts->statement.platform.pcr, 0, sizeof parts->statement.platform.pcr);
}
static void unmeasured(struct sample_parts *parts)
{
    struct tc_error err = {0};
    make_good(parts);
    for (size_t i = 0; i < 3; i++)
        assert_ok(tc_pcr_unmeasured(&parts->pcrs[i], &err));
    memcpy(parts->statement.platform.pcr, parts->pcrs, sizeof parts->pcrs);
    parts->statement.platform.measured = false;
    tc_part_image_free(&parts->statement.image);
}

/* A yes is no better than the live bundle that it stands on. */
static void test_weak_live(void **state)
{
    (void)state;
    static const struct {
        sample_change *before;
        bool is_hardware;
        enum tc_verdict_kind kind;
        enum tc_check_result replayed;
        const char *seen;
    } cases[] = {
        {make_good, true, TC_VERDICT_AUTHENTIC, TC_CHECK_PASS, "in the live bundle"},
        {make_good, false, TC_VERDICT_DEVELOPMENT, TC_CHECK_PASS, "a development one"},
        {debug_mode, true, TC_VERDICT_DEVELOPMENT, TC_CHECK_PASS, "a development one"},
        {unmeasured, true, TC_VERDICT_AUTHENTIC, TC_CHECK_ALLOWED, "not measured"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tc_error err = {0};
        struct tc_verify_options options = usual();
        struct tc_verdict verdict;
        struct tc_live *live = NULL;
        options.allow_debug = options.allow_unmeasured = true;
        is_hardware = cases[i].is_hardware;
        int fd = make_bundle(cases[i].before);
        assert_ok(tc_live_read(fd, &options, &live, &err));
        (void)close(fd);
        is_hardware = true;
        options.live = live;
        fd = make_bundle(make_replayed);
        assert_ok(tc_verify_bundle(fd, &options, &verdict, &err));
        (void)close(fd);
        is_hardware = false;
        bool authentic = cases[i].kind == TC_VERDICT_AUTHENTIC;
        if (verdict.kind != cases[i].kind) fail_msg("case %zu: kind %d", i, (int)verdict.kind);
        assert_int_equal(verdict.hardware, authentic);
        assert_int_equal(verdict.weak_live, !authentic);
        const struct tc_check *check = find(&verdict, "replayed");
        assert_int_equal(check->result, cases[i].replayed);
        if (!strstr(check->seen, cases[i].seen)) fail_msg("%s", check->seen);
        tc_verdict_free(&verdict);
        /* Of a bundle that is live itself, none of this is asked. */
        is_hardware = true;
        fd = make_bundle(make_good);
        assert_ok(tc_verify_bundle(fd, &options, &verdict, &err));
        (void)close(fd);
        is_hardware = false;
        assert_int_equal(verdict.kind, TC_VERDICT_AUTHENTIC);
        tc_verdict_free(&verdict);
        tc_live_free(live);
    }
}

/* What stands for more than one URL is told, unless the source says which body it is. */
static const struct sample_answer hidden[] = {
    {"https", "a.example.org", "/b?token=[redacted]", 0x0b, NULL},
    {"https", "a.example.org", "/c?token=[redacted]", 0x0c, "Cargo.lock"},
    {"https", "a.example.org", "/d", 0x0d, NULL}};
static void make_hidden(struct sample_parts *parts)
{
    sample_network(parts, hidden, 3, false);
}
static void replay_hidden(struct sample_parts *parts)
{
    sample_network(parts, hidden, 3, true);
}
static void replay_pinned(struct sample_parts *parts)
{
    sample_network(parts, hidden + 1, 2, true);
}

static void test_hidden(void **state)
{
    (void)state;
    sample_change *const replays[] = {replay_hidden, replay_pinned};
    struct tc_error err = {0};
    struct tc_verify_options options = usual();
    struct tc_live *live = NULL;
    struct tc_verdict verdict;
    int fd = make_bundle(make_hidden);
    assert_ok(tc_live_read(fd, &options, &live, &err));
    (void)close(fd);
    options.live = live;
    for (size_t i = 0; i < 2; i++) {
        fd = make_bundle(replays[i]);
        assert_ok(tc_verify_bundle(fd, &options, &verdict, &err));
        (void)close(fd);
        assert_int_equal(verdict.kind, TC_VERDICT_DEVELOPMENT);
        assert_int_equal(verdict.warnings_count, i == 0 ? 1 : 0);
        if (i == 0 && !strstr(verdict.warnings[0], "1 answers that no file of the source pins, the "
                                                   "first for https://a.example.org/b?token="))
            fail_msg("%s", verdict.warnings[0]);
        tc_verdict_free(&verdict);
    }
    tc_live_free(live);
}

static tc_status stop(void *context, struct tc_error *err)
{
    (void)context;
    return tc_fail(err, TC_INTERRUPTED, "stopped");
}

/* What could not be judged is no live bundle, and no refused one either. */
static void test_live_undecided(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct tc_verify_options options = usual();
    struct tc_live *live = NULL;
    options.go_on = stop;
    int fd = make_bundle(make_good);
    assert_int_equal(tc_live_read(fd, &options, &live, &err), TC_UNAVAILABLE);
    (void)close(fd);
    assert_null(live);
    if (!strstr(err.message, "could not be judged")) fail_msg("%s", err.message);
}

static void test_live_limit(void **state)
{
    (void)state;
    struct tc_error err = {0};
    char method[] = "GET", url[] = "https://a.example.org/";
    struct tc_exchange exchange = {
        .outcome = TC_EXCHANGE_OK, .method = method, .url = url, .status = 404};
    struct tc_live *live = tc_live_new();
    assert_non_null(live);
    for (size_t i = 0; i < TC_LIVE_MAX; i++)
        assert_ok(tc_live_add(live, &exchange, &err));
    assert_int_equal(tc_live_add(live, &exchange, &err), TC_LIMIT);
    tc_live_free(live);
}

/* --- the policy's network --- */

static void add_ca(struct sample_parts *parts)
{
    make_good(parts);
    struct tc_part_network *network = &parts->statement.network;
    network->ca = calloc(1, sizeof *network->ca);
    if (!network->ca) abort();
    network->ca_count = 1;
    network->ca[0] = (struct tc_extra_ca){strdup("registry.corp"), strdup("certs/ca.pem"), {{1}}};
}
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
        struct tc_verify_options options = usual();
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
    int fd = make_bundle(make_plain);
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
        cmocka_unit_test(test_unauthenticated), cmocka_unit_test(test_same),
        cmocka_unit_test(test_replayed),        cmocka_unit_test(test_no_live),
        cmocka_unit_test(test_policy),          cmocka_unit_test(test_view),
        cmocka_unit_test(test_forged_replays),  cmocka_unit_test(test_weak_live),
        cmocka_unit_test(test_live_undecided),  cmocka_unit_test(test_live_limit),
        cmocka_unit_test(test_hidden),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
