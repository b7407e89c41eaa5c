/* The policy's expectations, each a check of its own: what it expects, what the
 * report has. They are judged beside all the others and replace none of them: a
 * commit that agrees means nothing in a report that is not authentic, and the
 * verdict counts every check. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "core/policy.h"
#include "verify/judge.h"

/* "one of a, b and 3 more", escaped; out holds TC_ERROR_MAX bytes. */
struct list_text {
    char text[TC_ERROR_MAX];
    size_t used, left;
};

static struct list_text begin_list(const char *what, size_t count)
{
    struct list_text list = {.left = count};
    int size = snprintf(list.text, sizeof list.text, "%s%s", what, count > 1 ? "one of " : "");
    list.used = size > 0 && (size_t)size < sizeof list.text ? (size_t)size : 0;
    return list;
}

static void add_to_list(struct list_text *list, const char *text)
{
    enum { ROOM_FOR_MORE = 32 };
    char shown[256];
    tc_printable(tc_span_of_text(text), shown, sizeof shown);
    size_t room = sizeof list->text - list->used;
    if (list->left == 0) return;
    if (strlen(shown) + 2 + ROOM_FOR_MORE > room) {
        (void)snprintf(list->text + list->used, room, " and %zu more", list->left);
        list->left = 0; /* nothing is added after this */
        return;
    }
    list->left--;
    int size = snprintf(list->text + list->used, room, "%s%s", shown, list->left > 0 ? ", " : "");
    list->used += size > 0 ? (size_t)size : 0;
}

static void check_commit(struct tc_judge *judge, const struct tc_policy *policy)
{
    struct list_text expected = begin_list("", policy->commits_count);
    const struct tc_part_source *source = judge->statement ? &judge->statement->source : NULL;
    char hex[2 * TC_SHA1_SIZE + 1];
    bool same = false;
    for (size_t i = 0; i < policy->commits_count; i++) {
        const struct tc_sha1 *commit = &policy->commits[i];
        tc_hex((struct tc_span){commit->bytes, sizeof commit->bytes}, hex);
        add_to_list(&expected, hex);
        same |= source && source->has_commit &&
                memcmp(commit->bytes, source->commit.bytes, sizeof commit->bytes) == 0;
    }
    if (!source) {
        tc_judge_add_unjudged(judge, "policy-commit", expected.text);
        return;
    }
    tc_hex((struct tc_span){source->commit.bytes, sizeof source->commit.bytes}, hex);
    tc_judge_add_bool(judge, "policy-commit", same, expected.text,
                      source->has_commit ? hex : "a source that is no git commit");
}

static void check_source(struct tc_judge *judge, const struct tc_policy *policy)
{
    struct list_text expected = begin_list("", policy->sources_count);
    const struct tc_part_source *source = judge->statement ? &judge->statement->source : NULL;
    char hex[TC_SHA256_HEX];
    bool same = false;
    for (size_t i = 0; i < policy->sources_count; i++) {
        const struct tc_sha256 *digest = &policy->sources[i];
        tc_hex((struct tc_span){digest->bytes, sizeof digest->bytes}, hex);
        add_to_list(&expected, hex);
        same |= source && memcmp(digest->bytes, source->digest.bytes, sizeof digest->bytes) == 0;
    }
    if (!source) {
        tc_judge_add_unjudged(judge, "policy-source", expected.text);
        return;
    }
    tc_hex((struct tc_span){source->digest.bytes, sizeof source->digest.bytes}, hex);
    tc_judge_add_bool(judge, "policy-source", same, expected.text, hex);
}

static void check_build_file(struct tc_judge *judge, const struct tc_policy *policy)
{
    struct list_text expected = begin_list("", 1);
    add_to_list(&expected, policy->build_file);
    if (!judge->statement) {
        tc_judge_add_unjudged(judge, "policy-build-file", expected.text);
        return;
    }
    const char *path = judge->statement->recipe.build_file;
    char seen[512];
    tc_judge_add_bool(judge, "policy-build-file", strcmp(path, policy->build_file) == 0,
                      expected.text, tc_printable(tc_span_of_text(path), seen, sizeof seen));
}

/* The name under which the image is trusted (checks_image.c), or none, and why. An
 * image that an --allow option let through, or that --pcr names, has none. */
static const char *trusted_image(const struct tc_judge *judge, const char **ret_why)
{
    const struct tc_image_fact *image = &judge->verdict->image;
    if (image->known) return image->name;
    *ret_why = "no trusted list, and no word of your own, names the image of this report";
    return NULL;
}

static bool is_among(const char *text, char *const *list, size_t count)
{
    for (size_t i = 0; text && i < count; i++)
        if (strcmp(text, list[i]) == 0) return true;
    return false;
}

static void check_images(struct tc_judge *judge, const struct tc_policy *policy)
{
    struct list_text expected = begin_list("a trusted image: ", policy->images_count);
    for (size_t i = 0; i < policy->images_count; i++)
        add_to_list(&expected, policy->images[i]);
    const char *why = NULL;
    const char *name = trusted_image(judge, &why);
    char seen[256];
    tc_judge_add_bool(judge, "policy-images", is_among(name, policy->images, policy->images_count),
                      expected.text,
                      name ? tc_printable(tc_span_of_text(name), seen, sizeof seen) : why);
}

static void check_version(struct tc_judge *judge, const struct tc_policy *policy)
{
    struct list_text expected = begin_list("tee-compile ", policy->versions_count);
    for (size_t i = 0; i < policy->versions_count; i++)
        add_to_list(&expected, policy->versions[i]);
    if (!judge->statement) {
        tc_judge_add_unjudged(judge, "policy-builder-version", expected.text);
        return;
    }
    const char *version = judge->statement->platform.version;
    char shown[256], seen[320];
    (void)snprintf(seen, sizeof seen, "tee-compile %s",
                   tc_printable(tc_span_of_text(version), shown, sizeof shown));
    tc_judge_add_bool(judge, "policy-builder-version",
                      is_among(version, policy->versions, policy->versions_count), expected.text,
                      seen);
}

static void check_nonce(struct tc_judge *judge, const struct tc_policy *policy)
{
    char expected[2 * TC_WIRE_NONCE_MAX + 1], seen[2 * TC_NITRODOC_FIELD_MAX + 1] = "none";
    struct tc_span wanted = {policy->nonce, policy->nonce_size};
    tc_hex(wanted, expected);
    if (!judge->document) {
        tc_judge_add_unjudged(judge, "policy-nonce", expected);
        return;
    }
    bool has = judge->document->has_nonce && judge->document->nonce.size > 0;
    if (has) tc_hex(judge->document->nonce, seen);
    tc_judge_add_bool(judge, "policy-nonce", has && tc_span_equal(wanted, judge->document->nonce),
                      expected, seen);
}

static void check_max_age(struct tc_judge *judge, const struct tc_policy *policy)
{
    char expected[64], stamp[TC_TIME_TEXT_SIZE], now[TC_TIME_TEXT_SIZE], seen[96];
    (void)snprintf(expected, sizeof expected, "signed within the last %llu seconds",
                   (unsigned long long)policy->max_age);
    if (!judge->document) {
        tc_judge_add_unjudged(judge, "policy-max-age", expected);
        return;
    }
    tc_format_time((int64_t)(judge->document->timestamp / 1000), stamp);
    tc_format_time(judge->options->now, now);
    (void)snprintf(seen, sizeof seen, "signed %s; it is %s here", stamp, now);
    tc_judge_add_bool(judge, "policy-max-age", tc_judge_is_recent(judge, policy->max_age), expected,
                      seen);
}

/* What the host said of repository and ref is a claim, which is never enough, even a true
 * one; what the worker read itself is witnessed. */
static void check_witnessed(struct tc_judge *judge, const char *name, const char *wanted,
                            const char *witnessed, const char *claimed)
{
    char shown[256], expected[320], seen[400];
    (void)snprintf(expected, sizeof expected, "%s, witnessed by the worker",
                   tc_printable(tc_span_of_text(wanted), shown, sizeof shown));
    if (!judge->statement) {
        tc_judge_add_unjudged(judge, name, expected);
        return;
    }
    if (witnessed)
        (void)snprintf(seen, sizeof seen, "%s, witnessed by the worker",
                       tc_printable(tc_span_of_text(witnessed), shown, sizeof shown));
    else if (claimed)
        (void)snprintf(seen, sizeof seen,
                       "%s, claimed by the builder and not witnessed: compare the commit or the "
                       "source digest instead",
                       tc_printable(tc_span_of_text(claimed), shown, sizeof shown));
    else
        (void)snprintf(seen, sizeof seen, "none, neither witnessed nor claimed");
    tc_judge_add_bool(judge, name, witnessed && strcmp(wanted, witnessed) == 0, expected, seen);
}

void tc_check_policy(struct tc_judge *judge)
{
    const struct tc_policy *policy = judge->options->policy;
    if (!policy) {
        tc_judge_add(judge, "policy", TC_CHECK_NOT_ASKED, "none given", "no policy");
        return;
    }
    const struct tc_part_source *source = judge->statement ? &judge->statement->source : NULL;
    const struct tc_part_witness *witness = judge->statement ? &judge->statement->witness : NULL;
    if (policy->commits) check_commit(judge, policy);
    if (policy->sources) check_source(judge, policy);
    if (policy->build_file) check_build_file(judge, policy);
    if (policy->images) check_images(judge, policy);
    if (policy->versions) check_version(judge, policy);
    if (policy->nonce_size > 0) check_nonce(judge, policy);
    if (policy->has_max_age) check_max_age(judge, policy);
    if (policy->repository)
        check_witnessed(judge, "policy-repository", policy->repository,
                        witness ? witness->repository : NULL, source ? source->repository : NULL);
    if (policy->ref)
        check_witnessed(judge, "policy-ref", policy->ref, witness ? witness->ref : NULL,
                        source ? source->ref : NULL);
    tc_check_policy_network(judge);
}
