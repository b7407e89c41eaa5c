/* What follows from network of build.json for one connection. A refusal says host, rule
 * and what to write to allow it, since the build's own log is where people read it. */
#include "core/netpolicy.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

void tc_network_free(struct tc_network *network)
{
    if (!network) return;
    for (size_t i = 0; i < network->allow_count; i++)
        free(network->allow[i]);
    for (size_t i = 0; i < network->plain_http_count; i++)
        free(network->plain_http[i]);
    for (size_t i = 0; i < network->opaque_count; i++)
        free(network->opaque[i].host);
    for (size_t i = 0; i < network->ca_count; i++) {
        free(network->ca[i].host);
        free(network->ca[i].path);
    }
    for (size_t i = 0; i < network->pinned_count; i++)
        free(network->pinned[i].url);
    free(network->allow);
    free(network->plain_http);
    free(network->opaque);
    free(network->ca);
    free(network->pinned);
    *network = (struct tc_network){0};
}

bool tc_host_matches(const char *pattern, struct tc_span name)
{
    if (strncmp(pattern, "*.", 2) != 0) return tc_span_equal(tc_span_of_text(pattern), name);
    struct tc_span end = tc_span_of_text(pattern + 1); /* with its dot */
    return name.size > end.size &&
           memcmp(name.data + (name.size - end.size), end.data, end.size) == 0;
}

static bool is_in(char *const *list, size_t count, struct tc_span host)
{
    for (size_t i = 0; i < count; i++)
        if (tc_host_matches(list[i], host)) return true;
    return false;
}

/* The host of scheme://host[:port]/...; the reader has checked the form. */
static struct tc_span host_of(const char *url)
{
    const char *host = strstr(url, "://") + 3;
    return (struct tc_span){(const uint8_t *)host, strcspn(host, ":/")};
}

static bool has_pinned_host(const struct tc_network *network, struct tc_span host)
{
    for (size_t i = 0; i < network->pinned_count; i++)
        if (tc_span_equal(host_of(network->pinned[i].url), host)) return true;
    return false;
}

tc_status tc_network_check(const struct tc_network *network, enum tc_scheme scheme,
                           struct tc_span host, uint16_t port, struct tc_error *err)
{
    char name[TC_HOST_NAME_MAX + 16];
    tc_printable(host, name, sizeof name);
    if (network->mode == TC_NETWORK_OFFLINE)
        return tc_fail(err, TC_REFUSED,
                       "%s:%u: network.mode of build.json is \"offline\": use \"record\" or "
                       "\"pinned\"",
                       name, (unsigned)port);
    if (scheme == TC_SCHEME_OPAQUE) {
        for (size_t i = 0; i < network->opaque_count; i++)
            if (network->opaque[i].port == port &&
                tc_span_equal(tc_span_of_text(network->opaque[i].host), host))
                return TC_OK;
        return tc_fail(
            err, TC_REFUSED,
            "%s:%u: neither HTTP nor HTTPS, and not in network.opaque of build.json: add "
            "\"%s:%u\", and nobody can say what came from there",
            name, (unsigned)port, name, (unsigned)port);
    }
    if (scheme == TC_SCHEME_HTTP) {
        if (is_in(network->plain_http, network->plain_http_count, host)) return TC_OK;
        return tc_fail(
            err, TC_REFUSED,
            "%s:%u: plain HTTP, and not in network.plain_http of build.json: use https, or "
            "add \"%s\"",
            name, (unsigned)port, name);
    }
    if (network->has_allow) {
        if (is_in(network->allow, network->allow_count, host)) return TC_OK;
        return tc_fail(err, TC_REFUSED, "%s:%u: not in network.allow of build.json: add \"%s\"",
                       name, (unsigned)port, name);
    }
    if (network->mode == TC_NETWORK_RECORD || has_pinned_host(network, host)) return TC_OK;
    return tc_fail(
        err, TC_REFUSED,
        "%s:%u: no URL of network.pinned of build.json is there: add its URL and SHA-256", name,
        (unsigned)port);
}

const struct tc_sha256 *tc_network_pin(const struct tc_network *network, struct tc_span url)
{
    for (size_t i = 0; i < network->pinned_count; i++)
        if (tc_span_equal(tc_span_of_text(network->pinned[i].url), url))
            return &network->pinned[i].digest;
    return NULL;
}

/* The name itself goes before "*.NAME", and a longer pattern before a shorter one. */
const struct tc_host_ca *tc_network_ca(const struct tc_network *network, struct tc_span host)
{
    const struct tc_host_ca *best = NULL;
    for (size_t i = 0; i < network->ca_count; i++) {
        const struct tc_host_ca *ca = &network->ca[i];
        if (!tc_host_matches(ca->host, host)) continue;
        if (ca->host[0] != '*') return ca;
        if (!best || strlen(ca->host) > strlen(best->host)) best = ca;
    }
    return best;
}
