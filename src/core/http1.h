/* HTTP/1.1 heads and bodies as the recorder speaks them: read into a model, written
 * anew from it (RFC 9110, RFC 9112), in a profile that leaves no room for two readings.
 * Pure and bounded; nothing is allocated.
 *
 * A message is refused (TC_MALFORMED), never repaired, for: a bare LF or CR, a NUL or
 * another control character, an empty line before it, white space before a colon, a folded
 * line, an empty name, a line over the caps, a version other than HTTP/1.1 or 1.0, a
 * Transfer-Encoding that is not one field "chunked" (in any case), Transfer-Encoding beside
 * Content-Length or in HTTP/1.0, a Content-Length that is repeated, signed, a list, begins
 * with a needless zero or is above 2^53 - 1, a Connection that is no list of tokens; a
 * request for no Host or two or one that is neither name nor address, a target that is not
 * in origin form ("/..." in visible ASCII without fragment, "*" only for OPTIONS), a method
 * that is no token, CONNECT, TRACE (which would echo a credential that the worker added),
 * HEAD in other letters, an Expect other than 100-continue; a response for status 101, or
 * for announcing a body with 1xx or 204. Upgrades are left out as below. */
#ifndef TC_CORE_HTTP1_H
#define TC_CORE_HTTP1_H

#include "base/bytes.h"

enum {
    TC_HTTP_HEAD_MAX = 65536, /* bytes, its last empty line included */
    TC_HTTP_FIELDS_MAX = 256,
    TC_HTTP_TARGET_MAX = 16384,   /* bytes */
    TC_HTTP_METHOD_MAX = 32,      /* bytes */
    TC_HTTP_OPTIONS_MAX = 32,     /* of Connection */
    TC_HTTP_CHUNK_LINE_MAX = 256, /* bytes: a chunk's size, its extensions, CR LF */
    TC_HTTP_TRAILERS_MAX = 16384, /* bytes, all of them with the empty line */
};
#define TC_HTTP_LENGTH_MAX ((UINT64_C(1) << 53) - 1) /* of a body or a chunk */

/* Both borrow from the head. The value is without the white space around it. */
struct tc_http_field {
    struct tc_span name, value;
};

enum tc_http_framing {
    TC_HTTP_NO_BODY,
    TC_HTTP_LENGTH,
    TC_HTTP_CHUNKED,
    TC_HTTP_UNTIL_CLOSE, /* responses alone */
};

/* Spans borrow from the bytes that were parsed. */
struct tc_http_head {
    struct tc_span method, target; /* of a request */
    struct tc_span host;           /* of a request: as sent (any case), without port;
                                    * may be an address, of IPv6 in its brackets */
    unsigned port;                 /* that Host says; 0: none */
    unsigned status;               /* of a response, 100 to 599 */
    struct tc_span reason;         /* of a response; may be empty */
    struct tc_http_field fields[TC_HTTP_FIELDS_MAX]; /* all, in their order */
    size_t fields_count;
    enum tc_http_framing framing;
    uint64_t length;      /* of TC_HTTP_LENGTH, and with has_length */
    bool has_length;      /* a response to HEAD that says what length GET would have */
    bool http10;          /* version 1.0: whoever sent it knows neither chunks nor 1xx */
    bool close;           /* this side ends the connection after the message; always with
                           * HTTP/1.0 and TC_HTTP_UNTIL_CLOSE */
    bool expect_continue; /* a request with Expect: 100-continue */
};

/* Does a head end in these bytes? *ret_size is its size, 0 when it does not end yet.
 * TC_MALFORMED as soon as its bytes cannot become one; TC_LIMIT when TC_HTTP_HEAD_MAX bytes
 * hold no end. *scanned is where the last call stopped (0 at first), for the same bytes and
 * more; it saves reading bytes twice. */
tc_status tc_http_head_size(struct tc_span bytes, size_t *scanned, size_t *ret_size,
                            struct tc_error *err) TC_MUST_USE;

/* head is exactly one head with its empty line. */
tc_status tc_http_request_parse(struct tc_span head, struct tc_http_head *ret_head,
                                struct tc_error *err) TC_MUST_USE;
/* method is the request's: with the status (1xx, 204, 304) it decides whether there is a
 * body (HEAD). A response without framing lasts until the connection ends. */
tc_status tc_http_response_parse(struct tc_span head, struct tc_span method,
                                 struct tc_http_head *ret_head, struct tc_error *err) TC_MUST_USE;

/* The value of the field of this name (any case); false when there is none or more
 * than one. */
bool tc_http_field_find(const struct tc_http_head *head, const char *name,
                        struct tc_span *ret_value);

/* Appends the head for the other side, as HTTP/1.1. Left out, whatever is in the model:
 * Connection and what it names, Keep-Alive, Proxy-*, TE, Trailer, Upgrade, HTTP2-Settings,
 * Expect, Content-Length, Transfer-Encoding, Host; in responses also Alt-Svc,
 * Strict-Transport-Security and Public-Key-Pins*. Written anew: framing by the model (who
 * delivers a body in another one changes it there first), "Connection: close" when asked
 * and always with TC_HTTP_UNTIL_CLOSE. host is the value of Host: with the port unless it is
 * the scheme's. extra is added as it is (whole lines with CR LF; a field that it names is
 * left out of the model's). */
void tc_http_request_write(const struct tc_http_head *head, struct tc_span host,
                           struct tc_span extra, bool close, struct tc_buf *buf);
void tc_http_response_write(const struct tc_http_head *head, bool close, struct tc_buf *buf);

/* A body as it comes in: feed bytes, get runs of data that borrow from them. Bytes behind
 * the end of the body are not taken. Trailers are checked as fields are, those that would
 * say where a message ends or whose it is are refused, and all are dropped. */
struct tc_http_body {
    enum tc_http_framing framing;
    uint64_t left;     /* of the length, or of the chunk */
    unsigned state;    /* of the chunked grammar */
    unsigned line;     /* bytes of the chunk's line so far, of the trailers together */
    unsigned name;     /* bytes of the trailer's name so far */
    unsigned suspects; /* which forbidden names it may still become, one bit each */
    bool done;
};
void tc_http_body_begin(const struct tc_http_head *head, struct tc_http_body *ret_body);
/* *ret_used bytes were taken, of which *ret_data (may be empty) are the next of the body.
 * Call again with the rest until all is taken or body->done. Refused (TC_MALFORMED): a
 * chunk's line over TC_HTTP_CHUNK_LINE_MAX, a size of more than 16 digits or above 2^53 - 1,
 * a bare LF or CR, white space around a size. After an error the body is of no use. */
tc_status tc_http_body_take(struct tc_http_body *body, struct tc_span bytes, size_t *ret_used,
                            struct tc_span *ret_data, struct tc_error *err) TC_MUST_USE;
/* The stream ended: fine for UNTIL_CLOSE and after the end, TC_PEER in between. */
tc_status tc_http_body_end(struct tc_http_body *body, struct tc_error *err) TC_MUST_USE;

enum { TC_HTTP_CHUNK_HEAD_SIZE = 20 };
/* "SIZE CR LF" of a chunk of size > 0; returns its length. The chunk is followed by CR LF;
 * the last one is "0 CR LF CR LF". */
size_t tc_http_chunk_head(uint64_t size, char out[TC_HTTP_CHUNK_HEAD_SIZE]);

#endif
