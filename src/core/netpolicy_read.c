/* Reader of network in build.json: as buildspec.c, what a value may be is decided where
 * it is read. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/buildspec.h"
#include "core/entry.h"
#include "core/json.h"

/* As the recorder has names; no address. */
static bool is_host(const char *text, size_t size)
{
    return tc_host_name_is_good((struct tc_span){(const uint8_t *)text, size});
}

bool tc_host_pattern_is_good(const char *text)
{
    const char *name = strncmp(text, "*.", 2) == 0 ? text + 2 : text;
    return is_host(name, strlen(name));
}

/* 1 to 65535, without sign and leading zero; the text ends with it. */
static bool read_port(const char *text, uint16_t *ret_port)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 5 || text[0] == '0' || text[digits] != '\0') return false;
    unsigned long port = strtoul(text, NULL, 10);
    if (port > UINT16_MAX) return false;
    *ret_port = (uint16_t)port;
    return true;
}

static tc_status check_pattern(const struct tc_json *at, const char *text, struct tc_error *err)
{
    if (tc_host_pattern_is_good(text)) return TC_OK;
    return tc_json_fail(at, err,
                        "must be a host name in lower case, or \"*.\" and one, without scheme, port "
                        "and path");
}

static tc_status read_hosts(const struct tc_json *at, char ***list, size_t *count,
                            struct tc_error *err)
{
    return tc_json_texts(at, TC_BUILDSPEC_LIST_MAX, TC_BUILDSPEC_TEXT_MAX, check_pattern, list,
                         count, err);
}

static tc_status read_opaque(const struct tc_json *at, struct tc_network *network,
                             struct tc_error *err)
{
    size_t entries;
    TC_TRY(tc_json_array(at, TC_BUILDSPEC_LIST_MAX, &entries, err));
    network->opaque = calloc(entries + 1, sizeof *network->opaque);
    if (!network->opaque) return tc_fail(err, TC_SYSTEM, "out of memory for network.opaque");
    for (size_t i = 0; i < entries; i++) {
        struct tc_json entry = tc_json_at(at, i);
        struct tc_host_port *opaque = &network->opaque[i];
        const char *text;
        TC_TRY(tc_json_string(&entry, TC_BUILDSPEC_TEXT_MAX, &text, err));
        size_t size = strcspn(text, ":");
        if (text[size] != ':' || !is_host(text, size) || !read_port(text + size + 1, &opaque->port))
            return tc_json_fail(&entry, err,
                                "must be \"host:port\" with a host name in lower case");
        opaque->host = strndup(text, size);
        if (!opaque->host) return tc_fail(err, TC_SYSTEM, "out of memory for network.opaque");
        network->opaque_count = i + 1;
        for (size_t j = 0; j < i; j++)
            if (opaque->port == network->opaque[j].port &&
                strcmp(opaque->host, network->opaque[j].host) == 0)
                return tc_json_fail(&entry, err, "repeats entry %zu", j);
    }
    return TC_OK;
}

static tc_status read_ca(const struct tc_json *at, struct tc_network *network, struct tc_error *err)
{
    void *iterator = NULL;
    struct tc_json member;
    TC_TRY(tc_json_object(at, err));
    network->ca = calloc(TC_BUILDSPEC_LIST_MAX, sizeof *network->ca);
    if (!network->ca) return tc_fail(err, TC_SYSTEM, "out of memory for network.ca");
    while (tc_json_next(at, &iterator, &member)) {
        if (network->ca_count == TC_BUILDSPEC_LIST_MAX)
            return tc_json_fail(at, err, "has more than %d entries", TC_BUILDSPEC_LIST_MAX);
        if (!tc_host_pattern_is_good(member.key))
            return tc_json_fail(&member, err,
                                "the key must be a host name in lower case, or \"*.\" and one");
        struct tc_host_ca *ca = &network->ca[network->ca_count++];
        ca->host = strdup(member.key);
        if (!ca->host) return tc_fail(err, TC_SYSTEM, "out of memory for network.ca");
        TC_TRY(tc_json_copy(&member, TC_BUILDSPEC_TEXT_MAX, &ca->path, err));
        if (!tc_path_is_safe(tc_span_of_text(ca->path)))
            return tc_json_fail(&member, err,
                                "must be a path inside the source, like certs/ca.pem");
    }
    return TC_OK;
}

/* scheme://host[:port]/... in the one spelling that the recorder gives a URL. */
static bool is_url(const char *text)
{
    bool https = strncmp(text, "https://", 8) == 0;
    if (!https && strncmp(text, "http://", 7) != 0) return false;
    const char *host = text + (https ? 8 : 7);
    size_t size = strcspn(host, ":/");
    if (!is_host(host, size)) return false;
    const char *rest = host + size;
    if (*rest == ':') {
        char port[6] = "";
        size_t digits = strcspn(++rest, "/");
        uint16_t number;
        if (digits >= sizeof port) return false;
        memcpy(port, rest, digits);
        if (!read_port(port, &number) || number == (https ? 443 : 80)) return false;
        rest += digits;
    }
    if (*rest != '/') return false;
    for (; *rest; rest++)
        if (*rest <= ' ' || *rest >= 0x7f || *rest == '#') return false;
    return true;
}

static tc_status read_pin(const struct tc_json *at, struct tc_pinned *pinned, struct tc_error *err)
{
    static const char *const known[] = {"url", "sha256", NULL};
    struct tc_json value;
    TC_TRY(tc_json_check_keys(at, known, err));
    TC_TRY(tc_json_get(at, "sha256", &value, err));
    TC_TRY(tc_json_hex(&value, pinned->digest.bytes, sizeof pinned->digest.bytes, err));
    TC_TRY(tc_json_get(at, "url", &value, err));
    TC_TRY(tc_json_copy(&value, TC_BUILDSPEC_TEXT_MAX, &pinned->url, err));
    if (is_url(pinned->url)) return TC_OK;
    return tc_json_fail(&value, err,
                        "must be \"https://host/path\" or \"http://host/path\" in printable ASCII, "
                        "the host in lower case, without user, fragment and the scheme's own port");
}

static tc_status read_pinned(const struct tc_json *at, struct tc_network *network,
                             struct tc_error *err)
{
    size_t entries;
    TC_TRY(tc_json_array(at, TC_PINNED_MAX, &entries, err));
    network->pinned = calloc(entries + 1, sizeof *network->pinned);
    if (!network->pinned) return tc_fail(err, TC_SYSTEM, "out of memory for network.pinned");
    for (size_t i = 0; i < entries; i++) {
        struct tc_json entry = tc_json_at(at, i);
        network->pinned_count = i + 1;
        TC_TRY(read_pin(&entry, &network->pinned[i], err));
        for (size_t j = 0; j < i; j++)
            if (strcmp(network->pinned[i].url, network->pinned[j].url) == 0)
                return tc_json_fail(&entry, err, "repeats the URL of entry %zu", j);
    }
    return TC_OK;
}

static tc_status read_mode(const struct tc_json *at, enum tc_network_mode *ret_mode,
                           struct tc_error *err)
{
    static const char *const modes[] = {"offline", "record", "pinned", NULL};
    const char *word;
    TC_TRY(tc_json_string(at, TC_BUILDSPEC_TEXT_MAX, &word, err));
    for (size_t i = 0; modes[i]; i++)
        if (strcmp(modes[i], word) == 0) {
            *ret_mode = (enum tc_network_mode)(TC_NETWORK_OFFLINE + i);
            return TC_OK;
        }
    const char *nearest = tc_nearest_word(word, modes);
    return tc_json_fail(at, err, "must be \"offline\", \"record\" or \"pinned\"%s%s%s",
                        nearest ? "; did you mean \"" : "", nearest ? nearest : "",
                        nearest ? "\"?" : "");
}

/* What has no place beside the mode: it would look as if it did something. */
static tc_status check_mode(const struct tc_json *at, const struct tc_network *network,
                            struct tc_error *err)
{
    static const char *const others[] = {"allow", "plain_http", "opaque", "ca", "pinned", NULL};
    struct tc_json value;
    for (size_t i = 0; network->mode == TC_NETWORK_OFFLINE && others[i]; i++)
        if (tc_json_find(at, others[i], &value))
            return tc_json_fail(&value, err,
                                "contradicts network.mode \"offline\", which opens no connection; "
                                "remove it or choose another mode");
    if (network->mode == TC_NETWORK_OFFLINE && network->witness &&
        tc_json_find(at, "witness", &value))
        return tc_json_fail(
            &value, err,
            "contradicts network.mode \"offline\": the worker would have to read the "
            "ref; remove it or choose another mode");
    if (network->mode == TC_NETWORK_RECORD && tc_json_find(at, "pinned", &value))
        return tc_json_fail(&value, err,
                            "needs network.mode \"pinned\", which refuses all that is not listed");
    if (network->mode != TC_NETWORK_PINNED) return TC_OK;
    if (tc_json_find(at, "opaque", &value))
        return tc_json_fail(&value, err,
                            "contradicts network.mode \"pinned\": what is relayed unread has no "
                            "digest; remove it or use \"record\"");
    return tc_json_get(at, "pinned", &value, err);
}

static tc_status read_all(const struct tc_json *at, struct tc_network *network,
                          struct tc_error *err)
{
    static const char *const known[] = {"mode", "allow",  "plain_http", "opaque",
                                        "ca",   "pinned", "witness",    NULL};
    struct tc_json value;
    TC_TRY(tc_json_check_keys(at, known, err));
    if (tc_json_find(at, "mode", &value)) TC_TRY(read_mode(&value, &network->mode, err));
    network->has_allow = tc_json_find(at, "allow", &value);
    if (network->has_allow) TC_TRY(read_hosts(&value, &network->allow, &network->allow_count, err));
    if (tc_json_find(at, "plain_http", &value))
        TC_TRY(read_hosts(&value, &network->plain_http, &network->plain_http_count, err));
    if (tc_json_find(at, "opaque", &value)) TC_TRY(read_opaque(&value, network, err));
    if (tc_json_find(at, "ca", &value)) TC_TRY(read_ca(&value, network, err));
    if (tc_json_find(at, "pinned", &value)) TC_TRY(read_pinned(&value, network, err));
    if (tc_json_find(at, "witness", &value)) TC_TRY(tc_json_bool(&value, &network->witness, err));
    return check_mode(at, network, err);
}

tc_status tc_network_read(const struct tc_json *at, struct tc_network *ret_network,
                          struct tc_error *err)
{
    struct tc_network network = {.mode = TC_NETWORK_RECORD};
    tc_status status = read_all(at, &network, err);
    if (status != TC_OK) {
        tc_network_free(&network);
        return status;
    }
    *ret_network = network;
    return TC_OK;
}
