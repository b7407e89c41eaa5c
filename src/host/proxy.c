#include "host/proxy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/text.h"

enum {
    DEFAULT_PORT = 80,
    HOST_MAX = 255,
    SECRET_MAX = 4096, /* user, colon, password */
};

void tc_proxy_done(struct tc_proxy *proxy)
{
    free(proxy->host);
    free(proxy->authorization);
    free(proxy->except);
    *proxy = (struct tc_proxy){0};
}

static tc_status bad_proxy(const char *why, struct tc_error *err)
{
    return tc_fail(err, TC_USAGE,
                   "the proxy in the environment %s: expected http://[USER:PASSWORD@]HOST[:PORT]",
                   why);
}

static bool parse_port(struct tc_span text, uint16_t *ret_port)
{
    unsigned value = 0;
    if (text.size == 0 || text.size > 5) return false;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return false;
        value = value * 10 + (unsigned)(text.data[i] - '0');
    }
    if (value == 0 || value > UINT16_MAX) return false;
    *ret_port = (uint16_t)value;
    return true;
}

/* "USER:PASSWORD" into "Basic BASE64". */
static tc_status take_secret(struct tc_span text, struct tc_proxy *proxy, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf plain = tc_buf_new(SECRET_MAX);
    TC_AUTO_BUF struct tc_buf value = tc_buf_new(2 * SECRET_MAX);
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (byte == '%') {
            char hex[3] = {0};
            if (text.size - i < 3) return bad_proxy("has a % without two digits", err);
            memcpy(hex, text.data + i + 1, 2);
            if (!tc_unhex(hex, &byte, 1)) return bad_proxy("has a % without two digits", err);
            i += 2;
        }
        if (byte < 0x20 || byte == 0x7f)
            return bad_proxy("has a control character in its password", err);
        tc_buf_add_u8(&plain, byte);
    }
    if (!memchr(text.data, ':', text.size)) tc_buf_add_u8(&plain, ':');
    TC_TRY(tc_buf_check(&plain, "the proxy's password", err));
    tc_buf_add_text(&value, "Basic ");
    tc_base64_add(&value, tc_buf_span(&plain));
    proxy->authorization = tc_buf_take_text(&value);
    return proxy->authorization ? TC_OK : tc_fail(err, TC_SYSTEM, "out of memory");
}

/* HOST, HOST:PORT, [ADDRESS] or [ADDRESS]:PORT. */
static tc_status take_place(struct tc_span text, struct tc_proxy *proxy, struct tc_error *err)
{
    struct tc_span host = text, port = {0};
    const uint8_t *colon;
    if (text.size > 0 && text.data[0] == '[') {
        const uint8_t *end = memchr(text.data, ']', text.size);
        if (!end) return bad_proxy("has a [ without a ]", err);
        host = (struct tc_span){text.data + 1, (size_t)(end - text.data) - 1};
        port = (struct tc_span){end + 1, text.size - host.size - 2};
        if (port.size > 0 && port.data[0] != ':') return bad_proxy("has text behind a ]", err);
    } else if ((colon = memchr(text.data, ':', text.size))) {
        host.size = (size_t)(colon - text.data);
        port = (struct tc_span){colon, text.size - host.size};
    }
    if (host.size == 0 || host.size > HOST_MAX) return bad_proxy("names no host", err);
    for (size_t i = 0; i < host.size; i++)
        if (host.data[i] <= 0x20 || host.data[i] >= 0x7f)
            return bad_proxy("has a host with white space or other strange characters", err);
    proxy->port = DEFAULT_PORT;
    if (port.size > 0 && !parse_port((struct tc_span){port.data + 1, port.size - 1}, &proxy->port))
        return bad_proxy("has no port from 1 to 65535", err);
    proxy->host = tc_span_to_text(host);
    return proxy->host ? TC_OK : tc_fail(err, TC_SYSTEM, "out of memory");
}

static tc_status parse(const char *url, struct tc_proxy *proxy, struct tc_error *err)
{
    const char *scheme = strstr(url, "://");
    if (scheme && (scheme - url != 4 || strncasecmp(url, "http", 4) != 0))
        return bad_proxy("is of another kind than http", err);
    const char *start = scheme ? scheme + 3 : url;
    size_t size = strcspn(start, "/?#");
    if (start[size] != '\0' && strcmp(start + size, "/") != 0) return bad_proxy("has a path", err);
    struct tc_span place = {(const uint8_t *)start, size};
    const uint8_t *at = size > 0 ? memrchr(start, '@', size) : NULL;
    if (at) {
        struct tc_span secret = {place.data, (size_t)(at - place.data)};
        TC_TRY(take_secret(secret, proxy, err));
        place = (struct tc_span){at + 1, size - secret.size - 1};
    }
    return take_place(place, proxy, err);
}

tc_status tc_proxy_parse(const char *url, const char *except, struct tc_proxy *ret_proxy,
                         struct tc_error *err)
{
    TC_AUTO_PROXY struct tc_proxy proxy = {0};
    TC_TRY(parse(url, &proxy, err));
    if (except && !(proxy.except = strdup(except))) return tc_fail(err, TC_SYSTEM, "out of memory");
    *ret_proxy = proxy;
    proxy = (struct tc_proxy){0};
    return TC_OK;
}

static const char *first_of(const char *const *names)
{
    for (; *names; names++) {
        const char *value = getenv(*names);
        if (value && *value) return value;
    }
    return NULL;
}

tc_status tc_proxy_of_environment(struct tc_proxy *ret_proxy, struct tc_error *err)
{
    static const char *const urls[] = {"https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY",
                                       NULL};
    static const char *const excepts[] = {"no_proxy", "NO_PROXY", NULL};
    const char *url = first_of(urls);
    if (url) return tc_proxy_parse(url, first_of(excepts), ret_proxy, err);
    *ret_proxy = (struct tc_proxy){0};
    return TC_OK;
}

static bool entry_names(struct tc_span entry, const char *name, uint16_t port)
{
    size_t size = strlen(name);
    const uint8_t *colon = memchr(entry.data, ':', entry.size);
    if (entry.size == 1 && entry.data[0] == '*') return true;
    if (colon) {
        uint16_t wanted;
        size_t before = (size_t)(colon - entry.data);
        if (!parse_port((struct tc_span){colon + 1, entry.size - before - 1}, &wanted) ||
            wanted != port)
            return false;
        entry.size = before;
    }
    if (entry.size > 0 && entry.data[0] == '.') {
        entry.data++;
        entry.size--;
    }
    if (entry.size == 0 || entry.size > size) return false;
    size_t skip = size - entry.size;
    return strncasecmp(name + skip, (const char *)entry.data, entry.size) == 0 &&
           (skip == 0 || name[skip - 1] == '.');
}

bool tc_proxy_covers(const struct tc_proxy *proxy, const char *name, uint16_t port)
{
    static const char between[] = ", \t";
    if (!proxy->host) return false;
    for (const char *at = proxy->except; at && *at;) {
        at += strspn(at, between);
        size_t size = strcspn(at, between);
        if (entry_names((struct tc_span){(const uint8_t *)at, size}, name, port)) return false;
        at += size;
    }
    return true;
}
