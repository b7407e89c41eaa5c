/* What the worker's recorder asks of the host outside of the session: one stream for
 * each question, opened by the recorder, which speaks first (docs/formats.md, "The streams
 * of the network"). Integers are big-endian.
 *
 *   recorder -> host   kind:u8 zero:u8 size:u16 payload
 *   host -> recorder   status:u8 zero:u8 size:u16 payload     status 0: yes, payload below;
 *                                                             else payload is a text (UTF-8)
 *   DIAL     payload: port:u16 name            yes: address that was dialled, as text ("192.0.2.1");
 *                                                   then the connection's bytes, both ways
 *   STORE    payload: empty                    yes: empty; then one response goes to the archive:
 *                                                   frames below, ended by END, answered by one
 *                                                   status as above. HEAD is its line (archive.h)
 *                                                   with the digest and the size of no body
 *   REPLAY   payload: SHA-256 of a line of     yes: the response: frames below, ended by END; HEAD
 *            archive.jsonl with its LF              is the line
 *            or 32 bytes of zero               yes: archive.jsonl itself: DATA*, END
 *
 *   frame = kind:u8 zero:u8 size:u16 payload     HEAD, DATA (1 to 65535 bytes)*, END (empty)
 *
 * The host believes nothing either: a name is one of DNS, a port is not 0, sizes are
 * capped. Everything that it says is hostile: a wrong answer ends as a failed connection. */
#ifndef TC_CORE_EGRESS_H
#define TC_CORE_EGRESS_H

#include "core/digest.h"

enum tc_egress_kind {
    TC_EGRESS_DIAL = 1,
    TC_EGRESS_STORE = 2,
    TC_EGRESS_REPLAY = 3,
    TC_EGRESS_HEAD = 16,
    TC_EGRESS_DATA = 17,
    TC_EGRESS_END = 18,
};

enum {
    TC_EGRESS_HEADER_SIZE = 4,
    TC_EGRESS_PAYLOAD_MAX = 65535,
    TC_EGRESS_TEXT_MAX = 512,
    TC_HOST_NAME_MAX = 253, /* RFC 1035, without the last dot */
};

struct tc_egress_header {
    uint8_t kind; /* of a request or a frame; the status of an answer */
    uint16_t size;
};
void tc_egress_header_encode(const struct tc_egress_header *header, uint8_t out[TC_EGRESS_HEADER_SIZE]);
/* The zero byte alone is checked: what a kind and a size may be depends on the place. */
tc_status tc_egress_header_decode(const uint8_t bytes[TC_EGRESS_HEADER_SIZE],
                                  struct tc_egress_header *ret_header, struct tc_error *err) TC_MUST_USE;

struct tc_egress_dial {
    uint16_t port;
    struct tc_span name; /* borrows; tc_host_name_is_good */
};
void tc_egress_dial_encode(const struct tc_egress_dial *dial, struct tc_buf *buf);
tc_status tc_egress_dial_decode(struct tc_span payload, struct tc_egress_dial *ret_dial,
                                struct tc_error *err) TC_MUST_USE;

/* Letters in lower case, digits, '_', and '-' but first and last, in labels of 1 to 63 bytes
 * with dots between them; a last label that is no number, decimal or "0x...", since resolvers
 * read such names as addresses of IPv4; at most TC_HOST_NAME_MAX. */
bool tc_host_name_is_good(struct tc_span name) TC_MUST_USE;

/* The key of an exchange: SHA-256 over the texts method LF url LF (as the transcript has
 * them) and the request body's digest in hex, LF. Two exchanges of the same key are told
 * apart by their order (archive.h). */
tc_status tc_exchange_key(struct tc_span method, struct tc_span url, const struct tc_sha256 *request,
                          struct tc_sha256 *ret_key, struct tc_error *err) TC_MUST_USE;

#endif
