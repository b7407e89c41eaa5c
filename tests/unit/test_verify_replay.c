/* Bundles of replayed builds: each needs a live one, which must have got the same answers, and
 * is believed no more than that. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "network_lab.h"
#include "verify/live.h"

/* The sample's root passes for AWS's while this is set. */
static bool is_hardware;
bool __wrap_tc_is_aws_root(struct tc_span root_der);
bool __wrap_tc_is_aws_root(struct tc_span root_der)
{
    return is_hardware && tc_span_equal(root_der, tc_buf_span(&root.der));
}

static void make_replayed(struct sample_parts *parts)
{
    sample_network(parts, good, 2, true);
}

static const struct sample_answer other_body[] = {{"https", "a.example.org", "/b", 0x0b, NULL},
                                                  {"https", "a.example.org", "/c", 0x0e, NULL}};
static void make_other_body(struct sample_parts *parts)
{
    sample_network(parts, other_body, 2, false);
}

static void make_detached(struct sample_parts *parts)
{
    make_good(parts);
    detach(parts);
}

static void flip_line(struct sample_parts *parts)
{
    parts->transcript.data[parts->transcript.size - 10] ^= 1;
}

/* The caller frees. */
static struct tc_live *read_live(sample_change *before)
{
    struct tc_error err = {0};
    struct tc_verify_options options = default_options();
    struct tc_live *live = NULL;
    int fd = bundle_fd(before, NULL);
    assert_ok(tc_live_read(fd, &options, &live, &err));
    (void)close(fd);
    return live;
}

/* The replayed bundle, judged by a live one of `before`. */
static void judge_by(sample_change *before, const char *failed, const char *seen)
{
    struct tc_verify_options options = default_options();
    struct tc_live *live = read_live(before);
    options.live = live;
    judge(make_replayed, &options, failed, seen);
    tc_live_free(live);
}

static void test_replayed(void **state)
{
    (void)state;
    struct tc_verify_options options = default_options();
    judge(make_replayed, &options, "replayed", "from the archive afafaf");
    options.allow_replayed = true;
    judge(make_replayed, &options, NULL, NULL);
    judge_by(make_good, NULL, NULL);
    judge_by(make_detached, NULL, NULL);
    judge_by(make_other_body, "replayed",
             "1 of 2 answers are not in the live bundle, the first for "
             "https://a.example.org/c");
    judge_by(NULL, "replayed", "2 of 2 answers");
}

/* --- forged ones --- */

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
    struct tc_verify_options options = default_options();
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
        struct tc_live *live = read_live(cases[i].live);
        options.live = live;
        judge(cases[i].replayed, &options, cases[i].seen ? "replayed" : NULL, cases[i].seen);
        tc_live_free(live);
    }
}

/* --- live bundles --- */

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
    struct tc_verify_options options = default_options();
    expect_no_live(make_replayed, NULL, &options, "replayed");
    expect_no_live(make_good, flip_line, &options, "transcript");
    options.allow_replayed = true;
    expect_no_live(make_replayed, NULL, &options, "replayed");
    struct tc_trust nobody = {0};
    options.trust = &nobody;
    expect_no_live(make_good, NULL, &options, "image");

    options = default_options();
    options.live_problem = "the live bundle is refused: because";
    judge(make_replayed, &options, "replayed", "because");
    judge(make_good, &options, "replayed", "because");
}

static void make_debug(struct sample_parts *parts)
{
    make_good(parts);
    debug_mode(parts);
}
static void make_unmeasured(struct sample_parts *parts)
{
    make_good(parts);
    unmeasured(parts);
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
        {make_debug, true, TC_VERDICT_DEVELOPMENT, TC_CHECK_PASS, "a development one"},
        {make_unmeasured, true, TC_VERDICT_AUTHENTIC, TC_CHECK_ALLOWED, "not measured"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tc_error err = {0};
        struct tc_verify_options options = default_options();
        struct tc_verdict verdict;
        struct tc_live *live = NULL;
        options.allow_debug = options.allow_unmeasured = true;
        is_hardware = cases[i].is_hardware;
        int fd = bundle_fd(cases[i].before, NULL);
        assert_ok(tc_live_read(fd, &options, &live, &err));
        (void)close(fd);
        is_hardware = true;
        options.live = live;
        fd = bundle_fd(make_replayed, NULL);
        assert_ok(tc_verify_bundle(fd, &options, &verdict, &err));
        (void)close(fd);
        is_hardware = false;
        bool authentic = cases[i].kind == TC_VERDICT_AUTHENTIC;
        if (verdict.kind != cases[i].kind) fail_msg("case %zu: kind %d", i, (int)verdict.kind);
        assert_int_equal(verdict.hardware, authentic);
        assert_int_equal(verdict.weak_live, !authentic);
        const struct tc_check *check = check_named(&verdict, "replayed");
        assert_int_equal(check->result, cases[i].replayed);
        if (!strstr(check->seen, cases[i].seen)) fail_msg("%s", check->seen);
        tc_verdict_free(&verdict);
        /* Of a bundle that is live itself, none of this is asked. */
        is_hardware = true;
        fd = bundle_fd(make_good, NULL);
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
    struct tc_verify_options options = default_options();
    struct tc_live *live = read_live(make_hidden);
    struct tc_verdict verdict;
    options.live = live;
    for (size_t i = 0; i < 2; i++) {
        int fd = bundle_fd(replays[i], NULL);
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
    struct tc_verify_options options = default_options();
    struct tc_live *live = NULL;
    options.go_on = stop;
    int fd = bundle_fd(make_good, NULL);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replayed),   cmocka_unit_test(test_forged_replays),
        cmocka_unit_test(test_no_live),    cmocka_unit_test(test_weak_live),
        cmocka_unit_test(test_hidden),     cmocka_unit_test(test_live_undecided),
        cmocka_unit_test(test_live_limit),
    };
    return cmocka_run_group_tests(tests, make_root, remove_root);
}
