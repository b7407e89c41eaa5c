/* A URL is read once, left to right: the authority without what stands before its '@',
 * then the rest, in which the value of NAME=value is hidden when the name says so, and a
 * well-known token wherever a word begins. A name counts as it reads with its %XX
 * decoded. As with the log (redact.h), a net for accidents. */
#include "core/redact_internal.h"
#include "core/transcript.h"

/* Names of parameters that are secrets by themselves, beside the words of the log. */
static bool is_secret_parameter(struct tc_span name)
{
    static const char *const names[] = {"auth",    "authorization", "cookie", "jsessionid", "jwt",
                                        "key",     "pass",          "pwd",    "sid",        "sig",
                                        "session", "sessionid",     NULL};
    for (size_t i = 0; names[i]; i++)
        if (name.size == strlen(names[i]) && starts_like(name, names[i])) return true;
    return tc_redact_names_a_secret(name);
}

static unsigned hex_digit(uint8_t c)
{
    if (is_digit(c)) return c - (unsigned)'0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - (unsigned)'a' + 10 : 16;
}

static bool names_a_secret(struct tc_span name)
{
    uint8_t plain[128];
    size_t size = 0;
    for (size_t i = 0; i < name.size && size < sizeof plain; i++) {
        uint8_t c = name.data[i];
        if (c == '%' && i + 2 < name.size) {
            unsigned high = hex_digit(name.data[i + 1]), low = hex_digit(name.data[i + 2]);
            if (high < 16 && low < 16) {
                c = (uint8_t)(high << 4 | low);
                i += 2;
            }
        }
        plain[size++] = c;
    }
    return is_secret_parameter((struct tc_span){plain, size});
}

static bool splits(uint8_t c)
{
    return c == '?' || c == '&' || c == ';' || c == '#';
}

static bool goes_on(uint8_t c)
{
    return !splits(c) && c != '=' && c != '/';
}

static bool is_value(uint8_t c)
{
    return !splits(c);
}

static size_t authority_size(struct tc_span text)
{
    size_t size = 0;
    while (size < text.size && text.data[size] != '/' && !splits(text.data[size]))
        size++;
    return size;
}

/* Writes scheme and authority; returns how much of url that was. A Location may leave the
 * scheme to the request's. */
static size_t write_authority(struct tc_span url, struct tc_buf *buf)
{
    size_t scheme = run_of(url, is_name);
    bool whole = starts_with(from(url, scheme), "://");
    if (!whole && !starts_with(url, "//")) return 0;
    size_t start = whole ? scheme + 3 : 2, size = authority_size(from(url, start)), host = start;
    for (size_t i = start; i < start + size; i++)
        if (url.data[i] == '@') host = i + 1;
    tc_buf_add(buf, url.data, start);
    tc_buf_add(buf, url.data + host, start + size - host);
    return start + size;
}

static void write_rest(struct tc_span rest, struct tc_buf *buf)
{
    uint8_t before = '/';
    while (rest.size > 0) {
        size_t name = splits(before) ? run_of(rest, goes_on) : 0;
        size_t token = is_alnum(before) ? 0 : tc_redact_token_size(rest);
        size_t size = 1;
        if (name > 0 && name + 1 < rest.size && rest.data[name] == '=' &&
            is_value(rest.data[name + 1]) && names_a_secret((struct tc_span){rest.data, name})) {
            tc_buf_add(buf, rest.data, name + 1);
            tc_buf_add_text(buf, TC_REDACT_HIDDEN);
            size = name + 1 + run_of(from(rest, name + 1), is_value);
        } else if (token > 0) {
            tc_buf_add_text(buf, TC_REDACT_HIDDEN);
            size = token;
        } else {
            tc_buf_add_u8(buf, rest.data[0]);
        }
        before = rest.data[size - 1];
        rest = from(rest, size);
    }
}

tc_status tc_url_redact(struct tc_span url, struct tc_buf *buf, struct tc_error *err)
{
    for (size_t i = 0; i < url.size; i++)
        if (url.data[i] <= ' ' || url.data[i] >= 0x7f)
            return tc_fail(err, TC_MALFORMED, "a URL must be printable ASCII without spaces");
    write_rest(from(url, write_authority(url, buf)), buf);
    return tc_buf_check(buf, "a URL", err);
}

bool tc_url_is_redacted(const char *url)
{
    return strstr(url, TC_REDACT_HIDDEN) != NULL;
}
