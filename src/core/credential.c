#include "core/credential.h"

#include <string.h>

#include "core/http1_internal.h"

static bool is_a_request_s_own(struct tc_span name)
{
    static const char *const own[] = {"connection",     "content-encoding",
                                      "content-length", "content-range",
                                      "expect",         "host",
                                      "http2-settings", "keep-alive",
                                      "range",          "te",
                                      "trailer",        "transfer-encoding",
                                      "upgrade",        "via"};
    static const char proxy[] = "proxy-";
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        if (tc_http_is_word(name, own[i])) return true;
    if (name.size < sizeof proxy - 1) return false;
    return tc_http_is_word((struct tc_span){name.data, sizeof proxy - 1}, proxy);
}

static bool is_value(struct tc_span value)
{
    bool gap = true; /* none at the ends, and no two */
    if (value.size == 0 || value.size > TC_CREDENTIAL_VALUE_MAX) return false;
    for (size_t i = 0; i < value.size; i++) {
        bool blank = value.data[i] == ' ' || value.data[i] == '\t';
        if (blank ? gap : value.data[i] < 0x21 || value.data[i] > 0x7e) return false;
        gap = blank;
    }
    return !gap;
}

tc_status tc_wire_credential_check(const struct tc_wire_credential *credential,
                                   struct tc_error *err)
{
    if (!tc_host_name_is_good(credential->host))
        return tc_fail(err, TC_REFUSED,
                       "a credential is for a host that is no name of DNS in lower case");
    if (!tc_http_is_token(credential->name) || credential->name.size > TC_CREDENTIAL_NAME_MAX)
        return tc_fail(err, TC_REFUSED,
                       "a credential's name is not 1 to %d characters of a field's name",
                       TC_CREDENTIAL_NAME_MAX);
    if (is_a_request_s_own(credential->name))
        return tc_fail(err, TC_REFUSED,
                       "a credential's name is that of a field which requests have for themselves; "
                       "expected one such as Authorization");
    if (!is_value(credential->value))
        return tc_fail(
            err, TC_REFUSED,
            "a credential's value is not 1 to %d visible characters of ASCII with single "
            "spaces between",
            TC_CREDENTIAL_VALUE_MAX);
    return TC_OK;
}

void tc_wire_credential_encode(const struct tc_wire_credential *credential, struct tc_buf *buf)
{
    tc_buf_add_block(buf, credential->host);
    tc_buf_add_block(buf, credential->name);
    tc_buf_add_block(buf, credential->value);
}

tc_status tc_wire_credential_decode(struct tc_span payload,
                                    struct tc_wire_credential *ret_credential, struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(payload);
    struct tc_wire_credential credential;
    if (!tc_cursor_block(&cursor, TC_HOST_NAME_MAX, &credential.host) ||
        !tc_cursor_block(&cursor, TC_CREDENTIAL_NAME_MAX, &credential.name) ||
        !tc_cursor_block(&cursor, TC_CREDENTIAL_VALUE_MAX, &credential.value) ||
        tc_cursor_left(&cursor) != 0)
        return tc_fail(err, TC_MALFORMED, "CREDENTIAL is cut short or holds a length out of range");
    TC_TRY(tc_wire_credential_check(&credential, err));
    *ret_credential = credential;
    return TC_OK;
}

tc_status tc_wire_credential_read_line(struct tc_span text, struct tc_span *ret_name,
                                       struct tc_span *ret_value, struct tc_error *err)
{
    if (text.size > 0 && text.data[text.size - 1] == '\n') text.size--;
    if (text.size > 0 && text.data[text.size - 1] == '\r') text.size--;
    const uint8_t *colon = text.size > 0 ? memchr(text.data, ':', text.size) : NULL;
    if (!colon || memchr(text.data, '\n', text.size))
        return tc_fail(err, TC_MALFORMED, "expected one line \"Name: value\"");
    size_t size = (size_t)(colon - text.data);
    *ret_name = (struct tc_span){text.data, size};
    *ret_value = tc_http_trim((struct tc_span){colon + 1, text.size - size - 1});
    return TC_OK;
}
