/* Bodies are appended and, whenever twice the cap is reached, sorted and merged: a build
 * may ask for one thing a million times. Merging does not depend on the order. */
#include "core/resolved.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum { ROOM = 2 * TC_DEPENDENCIES_MAX };

struct hosts {
    char **list;
    size_t count;
};

struct tc_resolved {
    struct tc_dependency *list; /* room for ROOM */
    size_t count;
    struct hosts plain_http, opaque;
};

struct tc_resolved *tc_resolved_new(void)
{
    struct tc_resolved *resolved = calloc(1, sizeof *resolved);
    if (!resolved) return NULL;
    /* Whole pages, which cost nothing before they are used. */
    resolved->list = calloc(ROOM, sizeof *resolved->list);
    resolved->plain_http.list = calloc(TC_UNAUTHENTICATED_MAX, sizeof(char *));
    resolved->opaque.list = calloc(TC_UNAUTHENTICATED_MAX, sizeof(char *));
    if (resolved->list && resolved->plain_http.list && resolved->opaque.list) return resolved;
    tc_resolved_free(resolved);
    return NULL;
}

void tc_resolved_free(struct tc_resolved *resolved)
{
    if (!resolved) return;
    tc_dependencies_free(resolved->list, resolved->count);
    tc_text_list_free(resolved->plain_http.list, resolved->plain_http.count);
    tc_text_list_free(resolved->opaque.list, resolved->opaque.count);
    free(resolved);
}

static tc_status add_host(struct hosts *hosts, const char *host, struct tc_error *err)
{
    for (size_t i = 0; i < hosts->count; i++)
        if (strcmp(hosts->list[i], host) == 0) return TC_OK;
    if (hosts->count == TC_UNAUTHENTICATED_MAX)
        return tc_fail(err, TC_LIMIT,
                       "the build asked more than %d hosts without TLS: name fewer of them in "
                       "network.plain_http and network.opaque",
                       TC_UNAUTHENTICATED_MAX);
    hosts->list[hosts->count] = strdup(host);
    if (!hosts->list[hosts->count]) return tc_fail(err, TC_SYSTEM, "out of memory for a host");
    hosts->count++;
    return TC_OK;
}

static int compare(const void *a, const void *b)
{
    const struct tc_dependency *first = a, *second = b;
    int order = strcmp(first->url, second->url);
    return order ? order : memcmp(&first->digest, &second->digest, sizeof first->digest);
}

static int compare_hosts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Takes what is in the second into the first, which is the same body, and frees the rest. */
static void merge(struct tc_dependency *kept, struct tc_dependency *other)
{
    kept->from_archive = kept->from_archive || other->from_archive;
    if (!kept->pinned_by || (other->pinned_by && strcmp(other->pinned_by, kept->pinned_by) < 0)) {
        free(kept->pinned_by);
        kept->pinned_by = TC_TAKE(other->pinned_by);
    }
    free(other->pinned_by);
    free(other->url);
}

static tc_status settle(struct tc_resolved *resolved, struct tc_error *err)
{
    struct tc_dependency *list = resolved->list;
    size_t kept = 0;
    qsort(list, resolved->count, sizeof *list, compare);
    for (size_t i = 0; i < resolved->count; i++) {
        if (kept > 0 && compare(&list[kept - 1], &list[i]) == 0)
            merge(&list[kept - 1], &list[i]);
        else
            list[kept++] = list[i];
    }
    resolved->count = kept;
    if (kept <= TC_DEPENDENCIES_MAX) return TC_OK;
    return tc_fail(err, TC_LIMIT,
                   "the build was given more than %d different bodies, which is what a report can "
                   "name; put some of what it downloads into the source or the image",
                   TC_DEPENDENCIES_MAX);
}

static tc_status add_body(struct tc_resolved *resolved, const struct tc_exchange *exchange,
                          struct tc_error *err)
{
    if (resolved->count == ROOM) TC_TRY(settle(resolved, err));
    char *url = strdup(exchange->url);
    char *pinned_by = exchange->pinned_by ? strdup(exchange->pinned_by) : NULL;
    if (!url || (exchange->pinned_by && !pinned_by)) {
        free(url);
        free(pinned_by);
        return tc_fail(err, TC_SYSTEM, "out of memory for a dependency");
    }
    resolved->list[resolved->count++] =
        (struct tc_dependency){.url = url,
                               .digest = exchange->response_digest,
                               .size = exchange->response_size,
                               .from_archive = exchange->from_archive,
                               .unauthenticated = strcmp(exchange->scheme, "http") == 0,
                               .pinned_by = pinned_by};
    return TC_OK;
}

tc_status tc_resolved_add(struct tc_resolved *resolved, const struct tc_exchange *exchange,
                          struct tc_error *err)
{
    bool answered = exchange->outcome == TC_EXCHANGE_OK || exchange->outcome == TC_EXCHANGE_CUT;
    if (exchange->outcome == TC_EXCHANGE_OPAQUE) {
        TC_AUTO_BUF struct tc_buf buf = tc_buf_new(1024);
        tc_buf_add_format(&buf, "%s:%u", exchange->host, (unsigned)exchange->port);
        TC_AUTO_FREE char *text = tc_buf_take_text(&buf);
        if (!text) return tc_fail(err, TC_SYSTEM, "out of memory for a host");
        TC_TRY(add_host(&resolved->opaque, text, err));
    }
    if (answered && exchange->status > 0 && strcmp(exchange->scheme, "http") == 0)
        TC_TRY(add_host(&resolved->plain_http, exchange->host, err));
    return tc_exchange_has_body(exchange) ? add_body(resolved, exchange, err) : TC_OK;
}

static void hand_over(struct hosts *hosts, char ***ret_list, size_t *ret_count)
{
    if (hosts->count == 0) return;
    qsort(hosts->list, hosts->count, sizeof *hosts->list, compare_hosts);
    *ret_list = TC_TAKE(hosts->list);
    *ret_count = hosts->count;
    hosts->count = 0;
}

tc_status tc_resolved_finish(struct tc_resolved *resolved, struct tc_part_network *network,
                             struct tc_dependency **ret_list, size_t *ret_count,
                             struct tc_error *err)
{
    TC_TRY(settle(resolved, err));
    hand_over(&resolved->plain_http, &network->plain_http, &network->plain_http_count);
    hand_over(&resolved->opaque, &network->opaque, &network->opaque_count);
    *ret_list = TC_TAKE(resolved->list);
    *ret_count = resolved->count;
    resolved->count = 0;
    return TC_OK;
}
