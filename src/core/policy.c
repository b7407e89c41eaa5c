/* Reader of the policy. Order matters for the messages: first the type, so that a
 * file of a later version is told from a wrong one, then the keys, then values. */
#include "core/policy.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/buildspec.h"
#include "core/entry.h"
#include "core/json.h"

static const char *const known[] = {
    "type",  "commit",  "source",     "build_file", "images",  "builder_version",
    "nonce", "max_age", "repository", "ref",        "network", NULL};

void tc_policy_free(struct tc_policy *policy)
{
    if (!policy) return;
    free(policy->commits);
    free(policy->sources);
    free(policy->build_file);
    tc_text_list_free(policy->images, policy->images_count);
    tc_text_list_free(policy->versions, policy->versions_count);
    free(policy->repository);
    free(policy->ref);
    tc_text_list_free(policy->network.allow, policy->network.allow_count);
    tc_text_list_free(policy->network.pinned_hosts, policy->network.pinned_hosts_count);
    *policy = (struct tc_policy){0};
}

static tc_status check_type(const struct tc_json *top, struct tc_error *err)
{
    struct tc_json value;
    const char *text;
    TC_TRY(tc_json_get(top, "type", &value, err));
    TC_TRY(tc_json_string(&value, TC_POLICY_TEXT_MAX, &text, err));
    if (strcmp(text, TC_POLICY_TYPE) == 0) return TC_OK;
    char shown[128];
    return tc_json_fail(&value, err, "must be \"" TC_POLICY_TYPE "\", is \"%s\"",
                        tc_printable(tc_span_of_text(text), shown, sizeof shown));
}

/* A list that allows nothing is a mistake, whichever way it was meant. */
static tc_status begin_list(const struct tc_json *at, size_t *ret_count, struct tc_error *err)
{
    TC_TRY(tc_json_array(at, TC_POLICY_LIST_MAX, ret_count, err));
    if (*ret_count > 0) return TC_OK;
    return tc_json_fail(at, err, "is empty; leave the key out to allow any");
}

/* One digest, or a list of them; *ret_list is the policy's own. */
static tc_status read_digests(const struct tc_json *top, const char *key, size_t size,
                              void **ret_list, size_t *ret_count, struct tc_error *err)
{
    struct tc_json at;
    size_t count = 1;
    if (!tc_json_find(top, key, &at)) return TC_OK;
    bool list = tc_json_is_array(&at);
    if (list) TC_TRY(begin_list(&at, &count, err));
    if (!list && !tc_json_is_text(&at))
        return tc_json_fail(&at, err, "must be %zu lower-case hex digits, or a list of such",
                            2 * size);
    TC_AUTO_FREE uint8_t *digests = calloc(count, size);
    if (!digests) return tc_fail(err, TC_SYSTEM, "out of memory for the policy");
    for (size_t i = 0; i < count; i++) {
        struct tc_json entry = list ? tc_json_at(&at, i) : at;
        TC_TRY(tc_json_hex(&entry, digests + i * size, size, err));
    }
    *ret_list = TC_TAKE(digests);
    *ret_count = count;
    return TC_OK;
}

static tc_status copy_text(const struct tc_json *at, char **ret_text, struct tc_error *err)
{
    const char *text;
    TC_TRY(tc_json_string(at, TC_POLICY_TEXT_MAX, &text, err));
    if (!*text) return tc_json_fail(at, err, "is empty");
    return tc_json_copy(at, TC_POLICY_TEXT_MAX, ret_text, err);
}

static tc_status read_text(const struct tc_json *top, const char *key, char **ret_text,
                           struct tc_error *err)
{
    struct tc_json at;
    if (!tc_json_find(top, key, &at)) return TC_OK;
    return copy_text(&at, ret_text, err);
}

/* The list is in its owner, with the right count, at every moment. */
static tc_status read_texts(const struct tc_json *top, const char *key, char ***list, size_t *count,
                            struct tc_error *err)
{
    struct tc_json at;
    size_t entries;
    if (!tc_json_find(top, key, &at)) return TC_OK;
    TC_TRY(begin_list(&at, &entries, err));
    *list = calloc(entries, sizeof **list);
    if (!*list) return tc_fail(err, TC_SYSTEM, "out of memory for the policy");
    for (size_t i = 0; i < entries; i++) {
        struct tc_json entry = tc_json_at(&at, i);
        TC_TRY(copy_text(&entry, &(*list)[i], err));
        *count = i + 1;
    }
    return TC_OK;
}

static tc_status read_build_file(const struct tc_json *top, struct tc_policy *policy,
                                 struct tc_error *err)
{
    struct tc_json at;
    if (!tc_json_find(top, "build_file", &at)) return TC_OK;
    TC_TRY(copy_text(&at, &policy->build_file, err));
    if (tc_path_is_safe(tc_span_of_text(policy->build_file))) return TC_OK;
    return tc_json_fail(&at, err, "must be a path inside the source, like build.json");
}

static tc_status read_nonce(const struct tc_json *top, struct tc_policy *policy,
                            struct tc_error *err)
{
    struct tc_json at;
    const char *text;
    if (!tc_json_find(top, "nonce", &at)) return TC_OK;
    TC_TRY(tc_json_string(&at, 2 * TC_WIRE_NONCE_MAX, &text, err));
    size_t digits = strlen(text);
    if (digits == 0 || digits % 2 != 0)
        return tc_json_fail(&at, err, "must be 1 to %d bytes in lower-case hex", TC_WIRE_NONCE_MAX);
    TC_TRY(tc_json_hex(&at, policy->nonce, digits / 2, err));
    policy->nonce_size = digits / 2;
    return TC_OK;
}

static tc_status read_max_age(const struct tc_json *top, struct tc_policy *policy,
                              struct tc_error *err)
{
    struct tc_json at;
    const char *text;
    if (!tc_json_find(top, "max_age", &at)) return TC_OK;
    TC_TRY(tc_json_string(&at, TC_POLICY_TEXT_MAX, &text, err));
    if (!tc_parse_duration(text, &policy->max_age))
        return tc_json_fail(&at, err, "must be like \"90s\", \"15m\" or \"24h\", at most 30 days");
    policy->has_max_age = true;
    return TC_OK;
}

static tc_status check_pattern(const struct tc_json *at, const char *text, struct tc_error *err)
{
    if (tc_host_pattern_is_good(text)) return TC_OK;
    return tc_json_fail(at, err, "must be a host name in lower case, or \"*.\" and one");
}

/* It may be empty. */
static tc_status read_hosts(const struct tc_json *at, char ***list, size_t *count,
                            struct tc_error *err)
{
    return tc_json_texts(at, TC_POLICY_LIST_MAX, TC_POLICY_TEXT_MAX, check_pattern, list, count,
                         err);
}

/* A policy forbids. What it does not forbid, --allow-unauthenticated may let pass. */
static tc_status read_forbidden(const struct tc_json *at, const char *key, bool *ret_forbidden,
                                struct tc_error *err)
{
    struct tc_json value;
    bool allowed;
    if (!tc_json_find(at, key, &value)) return TC_OK;
    TC_TRY(tc_json_bool(&value, &allowed, err));
    if (allowed) return tc_json_fail(&value, err, "must be false; leave the key out to allow it");
    *ret_forbidden = true;
    return TC_OK;
}

static tc_status read_pinned(const struct tc_json *at, struct tc_policy_network *network,
                             struct tc_error *err)
{
    struct tc_json value;
    if (!tc_json_find(at, "pinned_only", &value)) return TC_OK;
    if (!tc_json_is_array(&value)) {
        TC_TRY(tc_json_bool(&value, &network->pinned_only, err));
        if (network->pinned_only) return TC_OK;
        return tc_json_fail(&value, err,
                            "must be true, or a list of hosts; leave the key out to "
                            "allow others");
    }
    TC_TRY(read_hosts(&value, &network->pinned_hosts, &network->pinned_hosts_count, err));
    network->pinned_only = network->pinned_hosts_count > 0;
    return network->pinned_only ? TC_OK : tc_json_fail(&value, err, "is empty; leave the key out");
}

static tc_status read_network(const struct tc_json *top, struct tc_policy_network *network,
                              struct tc_error *err)
{
    static const char *const keys[] = {"allow", "plain_http", "opaque", "ca", "pinned_only", NULL};
    struct tc_json at, value;
    if (!tc_json_find(top, "network", &at)) return TC_OK;
    TC_TRY(tc_json_check_keys(&at, keys, err));
    network->has_allow = tc_json_find(&at, "allow", &value);
    if (network->has_allow) TC_TRY(read_hosts(&value, &network->allow, &network->allow_count, err));
    TC_TRY(read_forbidden(&at, "plain_http", &network->no_plain_http, err));
    TC_TRY(read_forbidden(&at, "opaque", &network->no_opaque, err));
    TC_TRY(read_forbidden(&at, "ca", &network->no_ca, err));
    TC_TRY(read_pinned(&at, network, err));
    network->given = network->has_allow || network->no_plain_http || network->no_opaque ||
                     network->no_ca || network->pinned_only;
    return network->given ? TC_OK : tc_json_fail(&at, err, "expects nothing: it needs a key");
}

static tc_status read_all(const struct tc_json *top, struct tc_policy *policy, struct tc_error *err)
{
    void *list = NULL;
    TC_TRY(tc_json_object(top, err));
    TC_TRY(check_type(top, err));
    TC_TRY(tc_json_check_keys(top, known, err));
    TC_TRY(
        read_digests(top, "commit", sizeof *policy->commits, &list, &policy->commits_count, err));
    policy->commits = TC_TAKE(list);
    TC_TRY(
        read_digests(top, "source", sizeof *policy->sources, &list, &policy->sources_count, err));
    policy->sources = TC_TAKE(list);
    TC_TRY(read_build_file(top, policy, err));
    TC_TRY(read_texts(top, "images", &policy->images, &policy->images_count, err));
    TC_TRY(read_texts(top, "builder_version", &policy->versions, &policy->versions_count, err));
    TC_TRY(read_nonce(top, policy, err));
    TC_TRY(read_max_age(top, policy, err));
    TC_TRY(read_text(top, "repository", &policy->repository, err));
    TC_TRY(read_text(top, "ref", &policy->ref, err));
    TC_TRY(read_network(top, &policy->network, err));
    bool any = policy->commits || policy->sources || policy->build_file || policy->images ||
               policy->versions || policy->nonce_size > 0 || policy->has_max_age ||
               policy->repository || policy->ref || policy->network.given;
    if (any) return TC_OK;
    return tc_json_fail(top, err, "expects nothing: it needs a key beside \"type\"");
}

tc_status tc_policy_parse(struct tc_span json, struct tc_policy *ret_policy, struct tc_error *err)
{
    TC_AUTO_JSON struct tc_json_text *text = NULL;
    TC_TRY(tc_json_parse(json, "the policy", TC_POLICY_SIZE_MAX, &text, err));
    struct tc_json top = tc_json_top(text, "the policy");
    struct tc_policy policy = {0};
    tc_status status = read_all(&top, &policy, err);
    if (status != TC_OK) {
        tc_policy_free(&policy);
        return status;
    }
    *ret_policy = policy;
    return TC_OK;
}
