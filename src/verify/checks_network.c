/* The network: does the statement say what the transcript says, and what of it does
 * nobody vouch for? */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "verify/judge.h"
#include "verify/live.h"

static bool is_offline(const struct tc_statement *statement)
{
    return statement->recipe.network == TC_NETWORK_OFFLINE;
}

static bool same_hosts(char *const *a, size_t a_count, char *const *b, size_t b_count)
{
    if (a_count != b_count) return false;
    for (size_t i = 0; i < a_count; i++)
        if (strcmp(a[i], b[i]) != 0) return false;
    return true;
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool same_dependency(const struct tc_dependency *a, const struct tc_dependency *b)
{
    return strcmp(a->url, b->url) == 0 && a->size == b->size &&
           memcmp(&a->digest, &b->digest, sizeof a->digest) == 0 &&
           a->from_archive == b->from_archive && a->unauthenticated == b->unauthenticated &&
           same_text(a->pinned_by, b->pinned_by);
}

/* The first entry of one list that is not in the other; both are sorted. */
static const struct tc_dependency *first_difference(const struct tc_statement *statement,
                                                    const struct tc_traffic *traffic)
{
    size_t said = statement->dependencies_count, seen = traffic->dependencies_count;
    for (size_t i = 0; i < said && i < seen; i++)
        if (!same_dependency(&statement->dependencies[i], &traffic->dependencies[i]))
            return &traffic->dependencies[i];
    if (said == seen) return NULL;
    return said > seen ? &statement->dependencies[seen] : &traffic->dependencies[said];
}

/* Which file's anchors count for host beside the image's: an exact name goes before "*.",
 * a longer name before a shorter one, as in the recorder. */
static const struct tc_extra_ca *ca_of(const struct tc_part_network *network, const char *host)
{
    const struct tc_extra_ca *best = NULL;
    for (size_t i = 0; i < network->ca_count; i++) {
        const struct tc_extra_ca *ca = &network->ca[i];
        if (!tc_host_matches(ca->host, tc_span_of_text(host))) continue;
        if (ca->host[0] != '*') return ca;
        if (!best || strlen(ca->host) > strlen(best->host)) best = ca;
    }
    return best;
}

/* The first anchor of the source by which a host was verified, and which is not that host's. */
static const struct tc_extra_ca *first_stranger(const struct tc_statement *statement,
                                                const struct tc_traffic *traffic)
{
    for (size_t i = 0; i < traffic->anchors_count; i++) {
        const struct tc_extra_ca *ca = ca_of(&statement->network, traffic->anchors[i].host);
        if (!ca || strcmp(ca->path, traffic->anchors[i].path) != 0) return &traffic->anchors[i];
    }
    return NULL;
}

void tc_check_network(struct tc_judge *judge)
{
    static const char expected[] =
        "the downloads, hosts and trust anchors that the transcript names, and no others";
    const struct tc_statement *statement = judge->statement;
    const struct tc_traffic *traffic = &judge->intake->traffic;
    if (!statement || !judge->intake->transcript_read) {
        tc_judge_add_unjudged(judge, "network", expected);
        return;
    }
    if (!traffic->is_resolved) {
        tc_judge_add(judge, "network", TC_CHECK_FAIL, expected, traffic->error.message);
        return;
    }
    char seen[TC_ERROR_MAX], shown[512], path[512];
    const struct tc_dependency *other = first_difference(statement, traffic);
    const struct tc_extra_ca *stranger = first_stranger(statement, traffic);
    bool good = !other && !stranger && traffic->failed.count == 0 &&
                same_hosts(statement->network.plain_http, statement->network.plain_http_count,
                           traffic->network.plain_http, traffic->network.plain_http_count) &&
                same_hosts(statement->network.opaque, statement->network.opaque_count,
                           traffic->network.opaque, traffic->network.opaque_count);
    /* Also those without a body, which are among no dependencies. */
    bool origins = traffic->archived == (statement->network.replayed ? traffic->answers : 0);
    if (other)
        (void)snprintf(seen, sizeof seen, "statement and transcript differ at %s",
                       tc_printable(tc_span_of_text(other->url), shown, sizeof shown));
    else if (stranger)
        (void)snprintf(seen, sizeof seen,
                       "%s was verified by %s, which is not its trust anchor in the statement",
                       tc_printable(tc_span_of_text(stranger->host), shown, sizeof shown),
                       tc_printable(tc_span_of_text(stranger->path), path, sizeof path));
    else if (traffic->failed.count > 0)
        (void)snprintf(seen, sizeof seen,
                       "an exchange with %s that failed: no build is signed after one",
                       traffic->failed.first);
    else if (!origins)
        (void)snprintf(seen, sizeof seen, "%llu of %llu answers out of an archive in a %s build",
                       (unsigned long long)traffic->archived, (unsigned long long)traffic->answers,
                       statement->network.replayed ? "replayed" : "live");
    else if (!good)
        (void)snprintf(seen, sizeof seen, "other hosts without TLS");
    else
        (void)snprintf(seen, sizeof seen, "%zu downloads in %llu exchanges",
                       statement->dependencies_count,
                       (unsigned long long)judge->intake->transcript.count);
    tc_judge_add_bool(judge, "network", good && origins, expected, seen);
}

void tc_check_unauthenticated(struct tc_judge *judge)
{
    static const char expected[] =
        "only what came over verified TLS, or has its digest in the source";
    const struct tc_statement *statement = judge->statement;
    const struct tc_traffic_count *plain = &judge->intake->traffic.plain;
    if (!statement || !judge->intake->transcript_read) {
        tc_judge_add_unjudged(judge, "unauthenticated", expected);
        return;
    }
    const struct tc_part_network *network = &statement->network;
    char seen[TC_ERROR_MAX], shown[512];
    if (network->opaque_count > 0)
        (void)snprintf(seen, sizeof seen,
                       "%s was relayed unread (%zu such); accept it with "
                       "--allow-unauthenticated",
                       tc_printable(tc_span_of_text(network->opaque[0]), shown, sizeof shown),
                       network->opaque_count);
    else if (plain->count > 0)
        (void)snprintf(seen, sizeof seen,
                       "plain HTTP that no file of the source pins: %s (%llu such); "
                       "accept it with --allow-unauthenticated",
                       plain->first, (unsigned long long)plain->count);
    else if (network->plain_http_count > 0)
        (void)snprintf(seen, sizeof seen, "plain HTTP, each body pinned by the source");
    else
        (void)snprintf(seen, sizeof seen, "%s", is_offline(statement) ? "offline" : "HTTPS alone");
    bool good = network->opaque_count == 0 && plain->count == 0;
    tc_judge_add(judge, "unauthenticated",
                 good                                    ? TC_CHECK_PASS
                 : judge->options->allow_unauthenticated ? TC_CHECK_ALLOWED
                                                         : TC_CHECK_FAIL,
                 expected, seen);
}

/* A digest of what is hidden would give it away to whoever tries all secrets of its kind, so
 * neither transcript has one: the two may have asked for different things. */
static void warn_of_hidden(struct tc_judge *judge)
{
    const struct tc_traffic_count *hidden = &judge->intake->traffic.hidden;
    char text[TC_ERROR_MAX];
    if (hidden->count == 0) return;
    (void)snprintf(text, sizeof text,
                   "replayed: whether the live build asked with the same secrets is not known of "
                   "%llu answers that no file of the source pins, the first for %s",
                   (unsigned long long)hidden->count, hidden->first);
    tc_judge_warn(judge, text);
}

/* No yes is better than what it stands on. */
static void count_live(struct tc_judge *judge, const struct tc_live *live)
{
    warn_of_hidden(judge);
    if (!judge->verdict->hardware || tc_live_kind(live) == TC_VERDICT_AUTHENTIC) return;
    judge->verdict->weak_live = true;
    judge->verdict->hardware = false;
}

void tc_check_replayed(struct tc_judge *judge)
{
    static const char expected[] = "answers of the network itself, or those of a live bundle";
    const struct tc_statement *statement = judge->statement;
    const struct tc_traffic *traffic = &judge->intake->traffic;
    if (!statement || !judge->intake->transcript_read) {
        tc_judge_add_unjudged(judge, "replayed", expected);
        return;
    }
    if (judge->options->live_problem) {
        tc_judge_add(judge, "replayed",
                     judge->options->allow_replayed ? TC_CHECK_ALLOWED : TC_CHECK_FAIL, expected,
                     judge->options->live_problem);
        return;
    }
    if (!statement->network.replayed) {
        tc_judge_add(judge, "replayed", TC_CHECK_PASS, expected,
                     is_offline(statement) ? "offline" : "live");
        return;
    }
    char seen[TC_ERROR_MAX], shown[512], hex[TC_SHA256_HEX];
    const char *ca = traffic->live ? tc_live_other_ca(traffic->live, &statement->network) : NULL;
    tc_hex((struct tc_span){statement->network.archive.bytes, TC_SHA256_SIZE}, hex);
    if (!traffic->live)
        (void)snprintf(seen, sizeof seen,
                       "replayed from the archive %s, which the builder chose: give the "
                       "bundle of the live build with --live, or --allow-replayed",
                       hex);
    else if (ca)
        (void)snprintf(seen, sizeof seen,
                       "the source of the live build brings a trust anchor for %s, and this one "
                       "does not",
                       tc_printable(tc_span_of_text(ca), shown, sizeof shown));
    else if (traffic->unseen.count > 0)
        (void)snprintf(seen, sizeof seen,
                       "%llu of %llu answers are not in the live bundle, the first for %s",
                       (unsigned long long)traffic->unseen.count,
                       (unsigned long long)traffic->answers, traffic->unseen.first);
    else
        (void)snprintf(
            seen, sizeof seen, "replayed; each of %llu answers is in the live bundle%s%s",
            (unsigned long long)traffic->answers,
            tc_live_kind(traffic->live) == TC_VERDICT_AUTHENTIC ? "" : ", a development one",
            tc_live_is_measured(traffic->live) ? "" : ", of an image that was not measured");
    bool good = traffic->live && !ca && traffic->unseen.count == 0;
    if (good) count_live(judge, traffic->live);
    bool allowed = good ? !tc_live_is_measured(traffic->live) : judge->options->allow_replayed;
    tc_judge_add(judge, "replayed",
                 allowed ? TC_CHECK_ALLOWED
                 : good  ? TC_CHECK_PASS
                         : TC_CHECK_FAIL,
                 expected, seen);
}

/* --- the policy's --- */

static void policy_hosts(struct tc_judge *judge, const struct tc_policy_network *wanted)
{
    const struct tc_traffic_count *outside = &judge->intake->traffic.outside;
    char expected[TC_ERROR_MAX] = "no host at all", seen[TC_ERROR_MAX] = "no other host";
    size_t used = 0;
    for (size_t i = 0; i < wanted->allow_count && used < sizeof expected; i++)
        used += (size_t)snprintf(expected + used, sizeof expected - used, "%s%s",
                                 i > 0 ? ", " : "hosts: ", wanted->allow[i]);
    if (outside->count > 0)
        (void)snprintf(seen, sizeof seen, "%s answered (%llu times others)", outside->first,
                       (unsigned long long)outside->count);
    tc_judge_add_bool(judge, "policy-network-allow", outside->count == 0, expected, seen);
}

static void policy_list(struct tc_judge *judge, const char *name, const char *expected,
                        char *const *list, size_t count)
{
    char seen[TC_ERROR_MAX] = "none", shown[512];
    if (count > 0)
        (void)snprintf(seen, sizeof seen, "%s (%zu in all)",
                       tc_printable(tc_span_of_text(list[0]), shown, sizeof shown), count);
    tc_judge_add_bool(judge, name, count == 0, expected, seen);
}

static void policy_ca(struct tc_judge *judge)
{
    const struct tc_part_network *network = &judge->statement->network;
    char seen[TC_ERROR_MAX] = "none", shown[512];
    if (network->ca_count > 0)
        (void)snprintf(seen, sizeof seen, "one for %s (%zu in all)",
                       tc_printable(tc_span_of_text(network->ca[0].host), shown, sizeof shown),
                       network->ca_count);
    tc_judge_add_bool(judge, "policy-network-ca", network->ca_count == 0,
                      "no trust anchor but those of the image", seen);
}

/* The host of scheme://host[:port] and what follows: a path, or the "*" of OPTIONS. */
static struct tc_span host_of(const char *url)
{
    const char *host = strstr(url, "://") + 3;
    return (struct tc_span){(const uint8_t *)host, strcspn(host, ":/?*")};
}

static bool must_be_pinned(const struct tc_policy_network *wanted, const char *url)
{
    if (wanted->pinned_hosts_count == 0) return true;
    for (size_t i = 0; i < wanted->pinned_hosts_count; i++)
        if (tc_host_matches(wanted->pinned_hosts[i], host_of(url))) return true;
    return false;
}

static void policy_pinned(struct tc_judge *judge, const struct tc_policy_network *wanted)
{
    const struct tc_statement *statement = judge->statement;
    const char *first = NULL;
    size_t count = 0;
    for (size_t i = 0; i < statement->dependencies_count; i++) {
        const struct tc_dependency *dependency = &statement->dependencies[i];
        if (dependency->pinned_by || !must_be_pinned(wanted, dependency->url)) continue;
        if (count++ == 0) first = dependency->url;
    }
    char seen[TC_ERROR_MAX] = "each of them is", shown[512];
    if (first)
        (void)snprintf(seen, sizeof seen, "%s is not (%zu in all)",
                       tc_printable(tc_span_of_text(first), shown, sizeof shown), count);
    bool good = count == 0 && statement->network.opaque_count == 0;
    if (count == 0 && !good)
        (void)snprintf(seen, sizeof seen, "something was relayed unread, which nothing pins");
    tc_judge_add_bool(judge, "policy-network-pinned", good,
                      wanted->pinned_hosts_count == 0
                          ? "downloads that a file of the source pins"
                          : "downloads of the named hosts that a file of the source pins",
                      seen);
}

void tc_check_policy_network(struct tc_judge *judge)
{
    const struct tc_policy_network *wanted = &judge->options->policy->network;
    if (!wanted->given) return;
    if (!judge->statement || !judge->intake->transcript_read) {
        tc_judge_add_unjudged(judge, "policy-network", "what the policy says of the network");
        return;
    }
    const struct tc_part_network *network = &judge->statement->network;
    if (wanted->has_allow) policy_hosts(judge, wanted);
    if (wanted->no_plain_http)
        policy_list(judge, "policy-network-plain-http", "no plain HTTP", network->plain_http,
                    network->plain_http_count);
    if (wanted->no_opaque)
        policy_list(judge, "policy-network-opaque", "nothing that is relayed unread",
                    network->opaque, network->opaque_count);
    if (wanted->no_ca) policy_ca(judge);
    if (wanted->pinned_only) policy_pinned(judge, wanted);
}
