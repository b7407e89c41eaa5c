#include "verify/traffic.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "verify/live.h"

enum { ANCHORS_MAX = 4096 };

tc_status tc_traffic_begin(struct tc_traffic *traffic, const struct tc_verify_options *options,
                           struct tc_error *err)
{
    *traffic = (struct tc_traffic){.live = options ? options->live : NULL,
                                   .policy = options ? options->policy : NULL,
                                   .resolved = tc_resolved_new(),
                                   .hosts = calloc(TC_TRAFFIC_HOSTS_MAX, sizeof *traffic->hosts)};
    if (traffic->resolved && traffic->hosts) return TC_OK;
    return tc_fail(err, TC_SYSTEM, "out of memory for the transcript");
}

void tc_host_traffic_free(struct tc_host_traffic *hosts, size_t count)
{
    for (size_t i = 0; hosts && i < count; i++)
        free(hosts[i].host);
    free(hosts);
}

void tc_traffic_free(struct tc_traffic *traffic)
{
    tc_resolved_free(traffic->resolved);
    tc_part_network_free(&traffic->network);
    tc_dependencies_free(traffic->dependencies, traffic->dependencies_count);
    tc_host_traffic_free(traffic->hosts, traffic->hosts_count);
    for (size_t i = 0; i < traffic->anchors_count; i++) {
        free(traffic->anchors[i].host);
        free(traffic->anchors[i].path);
    }
    free(traffic->anchors);
    *traffic = (struct tc_traffic){0};
}

/* What says when and by which machine it was answered, and not what. */
static bool is_passing(const char *name)
{
    return strcmp(name, "date") == 0 || strcmp(name, "server") == 0 || strcmp(name, "via") == 0;
}

tc_status tc_answer_key(const struct tc_exchange *exchange, struct tc_sha256 *ret_key,
                        struct tc_error *err)
{
    char request[TC_SHA256_HEX], response[TC_SHA256_HEX];
    /* The line had all of it, and more between than is between here, but for the sizes. */
    TC_AUTO_BUF struct tc_buf text = tc_buf_new((size_t)2 * TC_TRANSCRIPT_LINE_MAX);
    tc_hex((struct tc_span){exchange->request_digest.bytes, TC_SHA256_SIZE}, request);
    tc_hex((struct tc_span){exchange->response_digest.bytes, TC_SHA256_SIZE}, response);
    tc_buf_add_format(&text, "%s\n%s\n%s\n%s\n%u\n", exchange->method, exchange->url, request,
                      response, exchange->status);
    for (size_t i = 0; i < exchange->fields_count; i++) {
        const char *name = exchange->fields[i].name, *value = exchange->fields[i].value;
        if (is_passing(name)) continue;
        tc_buf_add_format(&text, "%zu:%s%zu:%s\n", strlen(name), name, strlen(value), value);
    }
    TC_TRY(tc_buf_check(&text, "an exchange", err));
    return tc_sha256_of(tc_buf_span(&text), ret_key, err);
}

static void count(struct tc_traffic_count *what, const char *first)
{
    if (what->count++ == 0)
        (void)tc_printable(tc_span_of_text(first), what->first, sizeof what->first);
}

/* The last row is for all hosts that found no room. */
static struct tc_host_traffic *find_host(struct tc_traffic *traffic, const char *host)
{
    for (size_t i = 0; i < traffic->hosts_count; i++)
        if (strcmp(traffic->hosts[i].host, host) == 0) return &traffic->hosts[i];
    if (traffic->hosts_count == TC_TRAFFIC_HOSTS_MAX)
        return &traffic->hosts[TC_TRAFFIC_HOSTS_MAX - 1];
    bool last = traffic->hosts_count + 1 == TC_TRAFFIC_HOSTS_MAX;
    struct tc_host_traffic *row = &traffic->hosts[traffic->hosts_count];
    row->host = strdup(last ? "(others)" : host);
    if (!row->host) return NULL;
    traffic->hosts_count++;
    return row;
}

static tc_status add_to_host(struct tc_traffic *traffic, const struct tc_exchange *exchange,
                             bool answered, struct tc_error *err)
{
    struct tc_host_traffic *row = find_host(traffic, exchange->host);
    if (!row) return tc_fail(err, TC_SYSTEM, "out of memory for the transcript");
    row->exchanges++;
    row->bytes += exchange->response_size;
    if (exchange->outcome == TC_EXCHANGE_DENIED) row->denied++;
    if (exchange->outcome == TC_EXCHANGE_OPAQUE) row->opaque = true;
    if (answered && strcmp(exchange->scheme, "http") == 0) row->plain_http = true;
    if (!tc_exchange_has_body(exchange)) return TC_OK;
    row->bodies++;
    if (exchange->pinned_by) row->pinned++;
    return TC_OK;
}

static bool is_allowed(const struct tc_policy *policy, const char *host)
{
    for (size_t i = 0; i < policy->network.allow_count; i++)
        if (tc_host_matches(policy->network.allow[i], tc_span_of_text(host))) return true;
    return false;
}

static int compare_anchor(const struct tc_extra_ca *anchor, const struct tc_exchange *exchange)
{
    int order = strcmp(anchor->host, exchange->host);
    return order != 0 ? order : strcmp(anchor->path, exchange->ca);
}

static bool make_room_for_anchor(struct tc_traffic *traffic)
{
    if (traffic->anchors_count < traffic->anchors_room) return true;
    size_t room = traffic->anchors_room > 0 ? 2 * traffic->anchors_room : 16;
    struct tc_extra_ca *grown = reallocarray(traffic->anchors, room, sizeof *grown);
    if (!grown) return false;
    traffic->anchors = grown;
    traffic->anchors_room = room;
    return true;
}

static tc_status add_anchor(struct tc_traffic *traffic, const struct tc_exchange *exchange,
                            struct tc_error *err)
{
    size_t low = 0, high = traffic->anchors_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_anchor(&traffic->anchors[middle], exchange);
        if (order == 0) return TC_OK;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (traffic->anchors_count == ANCHORS_MAX)
        return tc_fail(err, TC_LIMIT,
                       "trust anchors of the source verified more than %d hosts, which is what is "
                       "compared with the statement",
                       ANCHORS_MAX);
    struct tc_extra_ca anchor = {.host = strdup(exchange->host), .path = strdup(exchange->ca)};
    if (!anchor.host || !anchor.path || !make_room_for_anchor(traffic)) {
        free(anchor.host);
        free(anchor.path);
        return tc_fail(err, TC_SYSTEM, "out of memory for the transcript");
    }
    memmove(&traffic->anchors[low + 1], &traffic->anchors[low],
            (traffic->anchors_count - low) * sizeof anchor);
    traffic->anchors[low] = anchor;
    traffic->anchors_count++;
    return TC_OK;
}

/* What the statement has in short. */
static tc_status resolve(struct tc_traffic *traffic, const struct tc_exchange *exchange,
                         struct tc_error *err)
{
    if (exchange->ca) TC_TRY(add_anchor(traffic, exchange, err));
    return tc_resolved_add(traffic->resolved, exchange, err);
}

tc_status tc_traffic_add(void *context, const struct tc_exchange *exchange, struct tc_error *err)
{
    struct tc_traffic *traffic = context;
    bool opaque = exchange->outcome == TC_EXCHANGE_OPAQUE;
    bool answered = exchange->status > 0 &&
                    (exchange->outcome == TC_EXCHANGE_OK || exchange->outcome == TC_EXCHANGE_CUT);
    TC_TRY(add_to_host(traffic, exchange, answered, err));
    if (traffic->resolved && resolve(traffic, exchange, &traffic->error) != TC_OK) {
        tc_resolved_free(traffic->resolved);
        traffic->resolved = NULL;
    }
    if (traffic->policy && traffic->policy->network.has_allow && (answered || opaque) &&
        !is_allowed(traffic->policy, exchange->host))
        count(&traffic->outside, exchange->host);
    if (exchange->outcome == TC_EXCHANGE_FAILED) count(&traffic->failed, exchange->host);
    if (!answered) return TC_OK;
    traffic->answers++;
    if (exchange->from_archive) traffic->archived++;
    /* Also one without a body: its status is what somebody on the way chose. */
    if (strcmp(exchange->scheme, "http") == 0 && !exchange->pinned_by)
        count(&traffic->plain, exchange->url);
    if (!traffic->live) return TC_OK;
    struct tc_sha256 key;
    TC_TRY(tc_answer_key(exchange, &key, err));
    if (exchange->outcome != TC_EXCHANGE_OK || !tc_live_has(traffic->live, &key))
        count(&traffic->unseen, exchange->url);
    else if (tc_url_is_redacted(exchange->url) && !exchange->pinned_by)
        count(&traffic->hidden, exchange->url);
    return TC_OK;
}

static int compare_hosts(const void *a, const void *b)
{
    const struct tc_host_traffic *first = a, *second = b;
    if (first->bytes != second->bytes) return first->bytes < second->bytes ? 1 : -1;
    return strcmp(first->host, second->host);
}

void tc_traffic_finish(struct tc_traffic *traffic)
{
    if (traffic->hosts_count > 0)
        qsort(traffic->hosts, traffic->hosts_count, sizeof *traffic->hosts, compare_hosts);
    if (!traffic->resolved) return;
    traffic->is_resolved =
        tc_resolved_finish(traffic->resolved, &traffic->network, &traffic->dependencies,
                           &traffic->dependencies_count, &traffic->error) == TC_OK;
    tc_resolved_free(traffic->resolved);
    traffic->resolved = NULL;
}
