#include "verify_lab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/pcr.h"

struct sample_root root;
const struct outcome development = {{NULL}, TC_VERDICT_DEVELOPMENT};

static struct tc_own_image own_image = {.name = "c"};
static struct tc_trust trust = {.own = &own_image, .own_count = 1};

int make_root(void **state)
{
    (void)state;
    return sample_root_make(&root);
}

int remove_root(void **state)
{
    (void)state;
    return sample_root_remove(&root);
}

int bundle_fd(sample_change *before, sample_change *after)
{
    struct sample_parts parts;
    sample_parts_make(&parts, &root, before, after);
    int fd = sample_bundle_fd(&parts);
    sample_parts_free(&parts);
    return fd;
}

struct tc_verify_options default_options(void)
{
    memset(own_image.pcr0.bytes, 0x10, sizeof own_image.pcr0.bytes);
    return (struct tc_verify_options){.root = tc_buf_span(&root.der), .trust = &trust};
}

const struct tc_check *find_check(const struct tc_verdict *verdict, const char *name)
{
    for (size_t i = 0; i < verdict->checks_count; i++)
        if (strcmp(verdict->checks[i].name, name) == 0) return &verdict->checks[i];
    return NULL;
}

const struct tc_check *check_named(const struct tc_verdict *verdict, const char *name)
{
    const struct tc_check *check = find_check(verdict, name);
    if (!check) fail_msg("no check %s", name);
    return check;
}

bool has_failed(const struct tc_check *check)
{
    return check->result == TC_CHECK_FAIL || check->result == TC_CHECK_NOT_JUDGED;
}

static bool is_expected(const struct outcome *outcome, const char *name)
{
    for (size_t i = 0; outcome->failed[i]; i++)
        if (strcmp(outcome->failed[i], name) == 0) return true;
    return false;
}

static void assert_outcome(const struct tc_verdict *verdict, const struct outcome *outcome)
{
    for (size_t i = 0; i < verdict->checks_count; i++) {
        const struct tc_check *check = &verdict->checks[i];
        bool failed = has_failed(check);
        if (failed != is_expected(outcome, check->name))
            fail_msg("%s %s: expected %s, saw %s", check->name,
                     failed ? "failed" : "passed or was not asked", check->expected, check->seen);
    }
    for (size_t i = 0; outcome->failed[i]; i++)
        (void)check_named(verdict, outcome->failed[i]);
    assert_int_equal(verdict->kind, outcome->kind);
    assert_int_equal(verdict->reason[0] != '\0', outcome->failed[0] != NULL);
}

void expect_outcome(sample_change *before, sample_change *after,
                    const struct tc_verify_options *options, const struct outcome *outcome,
                    struct tc_verdict *ret_verdict)
{
    struct tc_error err = {0};
    int fd = bundle_fd(before, after);
    struct tc_verify_options usual = default_options();
    struct tc_verdict verdict;
    assert_ok(tc_verify_bundle(fd, options ? options : &usual, &verdict, &err));
    (void)close(fd);
    assert_outcome(&verdict, outcome);
    if (ret_verdict)
        *ret_verdict = verdict;
    else
        tc_verdict_free(&verdict);
}

/* --- changes --- */

void debug_mode(struct sample_parts *parts)
{
    memset(parts->pcrs, 0, sizeof parts->pcrs);
    memset(parts->statement.platform.pcr, 0, sizeof parts->statement.platform.pcr);
}
void falsely_measured(struct sample_parts *parts)
{
    struct tc_error err = {0};
    for (size_t i = 0; i < 3; i++)
        assert_ok(tc_pcr_unmeasured(&parts->pcrs[i], &err));
    memcpy(parts->statement.platform.pcr, parts->pcrs, sizeof parts->pcrs);
}
void unmeasured(struct sample_parts *parts)
{
    falsely_measured(parts);
    parts->statement.platform.measured = false;
    tc_part_image_free(&parts->statement.image);
}

void detach(struct sample_parts *parts)
{
    parts->omit_output[0] = parts->omit_output[1] = true;
}

void add_output(struct sample_parts *parts)
{
    parts->extra_output = "outputs/another";
}
