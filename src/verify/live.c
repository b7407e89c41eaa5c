/* The bundle passes once: its answers are kept as keys while it is judged like any other
 * by the caller's own trust, and the keys count only if the verdict is good. What the
 * caller compares the replayed bundle with (source, artifacts, nonce, age, policy) is not
 * asked of this one. */
#include "verify/live.h"

#include <stdlib.h>
#include <string.h>

#include "verify/traffic.h"

struct tc_live {
    struct tc_sha256 *keys; /* sorted */
    size_t count, room;
    struct tc_part_network network; /* of its statement */
    enum tc_verdict_kind kind;
    bool measured;
};

void tc_live_free(struct tc_live *live)
{
    if (!live) return;
    free(live->keys);
    tc_part_network_free(&live->network);
    free(live);
}

struct tc_live *tc_live_new(void)
{
    return calloc(1, sizeof(struct tc_live));
}

tc_status tc_live_add(void *context, const struct tc_exchange *exchange, struct tc_error *err)
{
    struct tc_live *live = context;
    if (exchange->outcome != TC_EXCHANGE_OK) return TC_OK;
    if (live->count == TC_LIVE_MAX)
        return tc_fail(err, TC_LIMIT, "the live bundle has more than %d answers", TC_LIVE_MAX);
    if (live->count == live->room) {
        size_t room = live->room ? 2 * live->room : 64;
        struct tc_sha256 *grown = reallocarray(live->keys, room, sizeof *grown);
        if (!grown) return tc_fail(err, TC_SYSTEM, "out of memory for the live bundle");
        live->keys = grown;
        live->room = room;
    }
    TC_TRY(tc_answer_key(exchange, &live->keys[live->count], err));
    live->count++;
    return TC_OK;
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct tc_sha256));
}

bool tc_live_has(const struct tc_live *live, const struct tc_sha256 *key)
{
    return live->count > 0 && bsearch(key, live->keys, live->count, sizeof *key, compare);
}

enum tc_verdict_kind tc_live_kind(const struct tc_live *live)
{
    return live->kind;
}

bool tc_live_is_measured(const struct tc_live *live)
{
    return live->measured;
}

static bool has_ca(const struct tc_part_network *network, const struct tc_extra_ca *ca)
{
    for (size_t i = 0; i < network->ca_count; i++)
        if (strcmp(network->ca[i].host, ca->host) == 0 &&
            memcmp(&network->ca[i].digest, &ca->digest, sizeof ca->digest) == 0)
            return true;
    return false;
}

const char *tc_live_other_ca(const struct tc_live *live, const struct tc_part_network *network)
{
    for (size_t i = 0; i < live->network.ca_count; i++)
        if (!has_ca(network, &live->network.ca[i])) return live->network.ca[i].host;
    return NULL;
}

tc_status tc_live_read(int fd, const struct tc_verify_options *options, struct tc_live **ret_live,
                       struct tc_error *err)
{
    struct tc_live *live = tc_live_new();
    if (!live) return tc_fail(err, TC_SYSTEM, "out of memory for the live bundle");
    struct tc_verify_options asked = {.root = options->root,
                                      .allow_unmeasured = options->allow_unmeasured,
                                      .allow_debug = options->allow_debug,
                                      .allow_unauthenticated = true, /* the replayed one is asked */
                                      .transcript_alone = true,
                                      .go_on_context = options->go_on_context,
                                      .go_on = options->go_on,
                                      .pcrs_asked = options->pcrs_asked,
                                      .now = options->now,
                                      .trust = options->trust,
                                      .tell_context = live,
                                      .tell = tc_live_add};
    struct tc_verdict verdict;
    tc_status status = tc_verify_bundle(fd, &asked, &verdict, err);
    if (status == TC_OK) {
        if (verdict.kind == TC_VERDICT_REFUSED)
            status = tc_fail(err, TC_REFUSED, "the live bundle is refused: %s", verdict.reason);
        else if (verdict.kind == TC_VERDICT_UNDECIDED)
            status = tc_fail(err, TC_UNAVAILABLE, "the live bundle could not be judged: %s",
                             verdict.reason);
        live->kind = verdict.kind;
        live->measured = verdict.have_statement && verdict.statement.platform.measured;
        live->network = verdict.statement.network;
        verdict.statement.network = (struct tc_part_network){0};
        tc_verdict_free(&verdict);
    }
    if (status != TC_OK) {
        tc_live_free(live);
        return status;
    }
    if (live->count > 0) qsort(live->keys, live->count, sizeof *live->keys, compare);
    *ret_live = live;
    return TC_OK;
}
