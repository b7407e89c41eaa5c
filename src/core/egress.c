#include "core/egress.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

enum { LABEL_MAX = 63 };

void tc_egress_header_encode(const struct tc_egress_header *header,
                             uint8_t out[TC_EGRESS_HEADER_SIZE])
{
    out[0] = header->kind;
    out[1] = 0;
    out[2] = (uint8_t)(header->size >> 8);
    out[3] = (uint8_t)header->size;
}

tc_status tc_egress_header_decode(const uint8_t bytes[TC_EGRESS_HEADER_SIZE],
                                  struct tc_egress_header *ret_header, struct tc_error *err)
{
    if (bytes[1] != 0)
        return tc_fail(err, TC_MALFORMED,
                       "a header of an egress stream has 0x%02x in its second byte; expected 0",
                       bytes[1]);
    *ret_header = (struct tc_egress_header){
        .kind = bytes[0],
        .size = (uint16_t)(bytes[2] << 8 | bytes[3]),
    };
    return TC_OK;
}

/* --- names --- */

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_label(struct tc_span label)
{
    if (label.size == 0 || label.size > LABEL_MAX || label.data[0] == '-' ||
        label.data[label.size - 1] == '-')
        return false;
    for (size_t i = 0; i < label.size; i++) {
        uint8_t c = label.data[i];
        if (!(c >= 'a' && c <= 'z') && !is_digit(c) && c != '-' && c != '_') return false;
    }
    return true;
}

/* Resolvers read "10.1", "017" and "0x7f000001" as addresses of IPv4. */
static bool is_number(struct tc_span label)
{
    bool hex = label.size >= 2 && label.data[0] == '0' && label.data[1] == 'x';
    for (size_t i = hex ? 2 : 0; i < label.size; i++) {
        uint8_t c = label.data[i];
        if (!is_digit(c) && !(hex && c >= 'a' && c <= 'f')) return false;
    }
    return true;
}

bool tc_host_name_is_good(struct tc_span name)
{
    if (name.size == 0 || name.size > TC_HOST_NAME_MAX) return false;
    for (;;) {
        const uint8_t *dot = memchr(name.data, '.', name.size);
        struct tc_span label = {name.data, dot ? (size_t)(dot - name.data) : name.size};
        if (!is_label(label)) return false;
        if (!dot) return !is_number(label);
        name = (struct tc_span){dot + 1, name.size - label.size - 1};
        if (name.size == 0) return false;
    }
}

/* --- DIAL --- */

void tc_egress_dial_encode(const struct tc_egress_dial *dial, struct tc_buf *buf)
{
    tc_buf_add_u16(buf, dial->port);
    tc_buf_add_span(buf, dial->name);
}

tc_status tc_egress_dial_decode(struct tc_span payload, struct tc_egress_dial *ret_dial,
                                struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(payload);
    struct tc_egress_dial dial;
    char shown[80];
    if (!tc_cursor_u16(&cursor, &dial.port) ||
        !tc_cursor_take(&cursor, tc_cursor_left(&cursor), &dial.name))
        return tc_fail(err, TC_MALFORMED, "a request to dial is %zu bytes; expected port and name",
                       payload.size);
    if (dial.port == 0)
        return tc_fail(err, TC_MALFORMED, "a request to dial has port 0; expected 1 to 65535");
    if (!tc_host_name_is_good(dial.name))
        return tc_fail(err, TC_MALFORMED,
                       "a request to dial names \"%s\"; expected a host name of DNS in lower case",
                       tc_printable(dial.name, shown, sizeof shown));
    *ret_dial = dial;
    return TC_OK;
}

/* --- keys --- */

tc_status tc_exchange_key(struct tc_span method, struct tc_span url,
                          const struct tc_sha256 *request, struct tc_sha256 *ret_key,
                          struct tc_error *err)
{
    TC_AUTO_HASH struct tc_hash *hash = tc_hash_new(TC_HASH_SHA256);
    struct tc_sha256 key;
    char hex[TC_SHA256_HEX];
    if (!hash) return tc_fail(err, TC_SYSTEM, "no memory for the key of an exchange");
    tc_hex((struct tc_span){request->bytes, sizeof request->bytes}, hex);
    tc_hash_add(hash, method.data, method.size);
    tc_hash_add(hash, "\n", 1);
    tc_hash_add(hash, url.data, url.size);
    tc_hash_add(hash, "\n", 1);
    tc_hash_add(hash, hex, sizeof hex - 1);
    tc_hash_add(hash, "\n", 1);
    TC_TRY(tc_hash_finish(hash, key.bytes, sizeof key.bytes, err));
    *ret_key = key;
    return TC_OK;
}
