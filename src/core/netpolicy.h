/* What build.json says about the network, and what follows for one connection
 * (docs/formats.md, "The network of a build"). Pure.
 *
 *   "network": {
 *     "mode": "offline" | "record" | "pinned",      default "record"
 *     "allow": ["example.org", "*.example.org"],     hosts; absent: every host
 *     "plain_http": ["deb.example.org"],             hosts that may be asked without TLS
 *     "opaque": ["git.example.org:22"],              host:port, neither read nor recorded
 *     "ca": {"registry.corp": "certs/ca.pem"},       host -> file of the source
 *     "pinned": [{"url": "https://...", "sha256": "HEX"}],   mode "pinned" alone
 *     "witness": true                                worker reads the ref itself; default false
 *   }
 *
 * A host is a name in lower case; "*.NAME" covers the names below NAME, not NAME. In
 * plain_http and opaque a host is allowed by being named there, for that alone: for
 * HTTPS, allow decides. In mode "pinned" without allow, the hosts of the listed URLs are
 * allowed. */
#ifndef TC_CORE_NETPOLICY_H
#define TC_CORE_NETPOLICY_H

#include "core/digest.h"
#include "core/egress.h"

enum tc_network_mode {
    TC_NETWORK_OFFLINE = 1,
    TC_NETWORK_RECORD,
    TC_NETWORK_PINNED,
};

struct tc_host_port {
    char *host;
    uint16_t port;
};
struct tc_host_ca {
    char *host; /* or "*.NAME" */
    char *path; /* safe path in the source */
};
struct tc_pinned {
    char *url;
    struct tc_sha256 digest;
};

struct tc_network { /* owns everything */
    enum tc_network_mode mode;
    bool has_allow; /* an empty list allows no host */
    char **allow;
    size_t allow_count;
    char **plain_http;
    size_t plain_http_count;
    struct tc_host_port *opaque;
    size_t opaque_count;
    struct tc_host_ca *ca;
    size_t ca_count;
    struct tc_pinned *pinned;
    size_t pinned_count;
    bool witness;
};
void tc_network_free(struct tc_network *network); /* accepts NULL and a zeroed one */

/* A host name in lower case, or "*." and one? */
bool tc_host_pattern_is_good(const char *text);
bool tc_host_matches(const char *pattern, struct tc_span name);

enum tc_scheme { TC_SCHEME_HTTPS, TC_SCHEME_HTTP, TC_SCHEME_OPAQUE };

/* A map or a list of build.json has at most TC_BUILDSPEC_LIST_MAX entries, the list of
 * "pinned" this many. */
enum { TC_PINNED_MAX = 1024 };

struct tc_json;
/* Reads the value of "network" of build.json strictly; messages name the place. */
tc_status tc_network_read(const struct tc_json *at, struct tc_network *ret_network,
                          struct tc_error *err) TC_MUST_USE;

/* May this connection be made? TC_REFUSED with a message that names host, rule and how
 * to allow it: `example.org:443: not in network.allow of build.json: add "example.org"`. */
tc_status tc_network_check(const struct tc_network *network, enum tc_scheme scheme, struct tc_span host,
                           uint16_t port, struct tc_error *err) TC_MUST_USE;

/* Mode "pinned": what the body of this URL must be; NULL: the URL is not listed. The URL
 * is as the build asked, nothing redacted: scheme://host[:port]/..., the port only when
 * it is not the scheme's. */
const struct tc_sha256 *tc_network_pin(const struct tc_network *network, struct tc_span url);

/* The CA file of a host; NULL: the image's bundle alone. */
const struct tc_host_ca *tc_network_ca(const struct tc_network *network, struct tc_span host);

#endif
