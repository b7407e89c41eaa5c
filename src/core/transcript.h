/* The network transcript, network.jsonl: a header line, then one line an
 * exchange, hash-chained. The chain starts with the SHA-256 of the header line
 * (LF included); each further value is SHA-256(previous || line with its LF).
 * A build without network has the header alone: count 0. */
#ifndef TC_CORE_TRANSCRIPT_H
#define TC_CORE_TRANSCRIPT_H

#include "core/digest.h"

#define TC_TRANSCRIPT_HEADER "{\"type\":\"tee-compile/network/1\"}\n"
enum { TC_TRANSCRIPT_LINE_MAX = 65536 };

/* One line, one JSON object (docs/formats.md, "The transcript"). Texts are UTF-8, owned;
 * NULL or 0: not there. What must be there:
 *   always       sequence, time, outcome, host; scheme and port but for what was denied
 *   OK           method, url, status; over TLS the certificate, unless from_archive
 *   DENIED, FAILED   a reason; nothing else has to be known
 *   OPAQUE       no method, url and status; the sizes of both directions, no digests
 * A request's digest stands with a method, a response's with a status. */
enum tc_exchange_outcome {
    TC_EXCHANGE_OK = 1, /* delivered whole, whatever its status */
    TC_EXCHANGE_DENIED, /* by build.json or by the grammar; no byte went out */
    TC_EXCHANGE_FAILED, /* nothing is signed after it */
    TC_EXCHANGE_CUT,    /* the build hung up; the digests are of what passed */
    TC_EXCHANGE_OPAQUE, /* bytes were relayed unread; sizes alone */
};

enum { TC_EXCHANGE_FIELDS_MAX = 32 };

struct tc_exchange {
    uint64_t sequence; /* from 1 */
    int64_t time;      /* of the request, seconds since the epoch, by the enclave's clock */
    enum tc_exchange_outcome outcome;
    char *scheme;      /* "https", "http", "opaque" */
    char *host;        /* as the build named it; an address when there was no name */
    uint16_t port;
    char *address;     /* that the host said it dialled: its claim */
    char *tls;         /* "TLSv1.3" */
    bool has_certificate;
    struct tc_sha256 certificate; /* of the server's, DER */
    struct tc_sha256 anchor;      /* of the trust anchor that its chain ends in, DER */
    char *ca;          /* path in the source, when the anchor came from there */
    char *method, *url; /* redacted (tc_url_redact) */
    struct tc_sha256 request_digest;
    uint64_t request_size;
    unsigned status;
    struct { char *name, *value; } fields[TC_EXCHANGE_FIELDS_MAX]; /* chosen ones of the response */
    size_t fields_count;
    struct tc_sha256 response_digest;
    uint64_t response_size;
    unsigned attempts; /* at upstream; 0: none was made */
    bool from_archive;
    char *pinned_by;   /* path of the file in the source that names the body's digest */
    char *reason;      /* why not TC_EXCHANGE_OK */
};
void tc_exchange_free(struct tc_exchange *exchange);

/* Adds a field of the response if it is one that the transcript keeps: name in lower
 * case, value printable and cut, a Location redacted. Others, and more than
 * TC_EXCHANGE_FIELDS_MAX, are left out. */
tc_status tc_exchange_keep_field(struct tc_exchange *exchange, struct tc_span name,
                                 struct tc_span value, struct tc_error *err) TC_MUST_USE;

/* Did a body come to the build by this exchange? Then it is a dependency. */
bool tc_exchange_has_body(const struct tc_exchange *exchange);

/* The line with its LF, one spelling for one exchange. TC_LIMIT over TC_TRANSCRIPT_LINE_MAX. */
tc_status tc_exchange_write(const struct tc_exchange *exchange, struct tc_buf *buf, struct tc_error *err)
    TC_MUST_USE;
/* Strict: unknown keys, wrong order or another spelling are TC_MALFORMED. */
tc_status tc_exchange_read(struct tc_span line, struct tc_exchange *ret_exchange, struct tc_error *err)
    TC_MUST_USE;

/* A URL, or what of it begins with '/'; printable ASCII, else TC_MALFORMED. Without user
 * and password, and with "[redacted]" for the values of query keys that say
 * token, secret, signature and so on (the words of redact.h) and for path segments that
 * look like a well-known token. */
tc_status tc_url_redact(struct tc_span url, struct tc_buf *buf, struct tc_error *err) TC_MUST_USE;
/* Is something of a URL of a transcript hidden? Then it may stand for several. */
bool tc_url_is_redacted(const char *url) TC_MUST_USE;

struct tc_transcript_summary {
    struct tc_sha256 last;   /* last value of the chain */
    struct tc_sha256 digest; /* of the whole file */
    uint64_t count;          /* exchanges */
};

/* Streaming check of a transcript's bytes. */
struct tc_transcript_reader;
struct tc_transcript_reader *tc_transcript_reader_new(void) TC_MUST_USE; /* NULL: no memory */
void tc_transcript_reader_free(struct tc_transcript_reader *reader);
/* Gets each line after it was checked; an error ends the reading. NULL: nobody asks. */
typedef tc_status tc_exchange_fn(void *context, const struct tc_exchange *exchange, struct tc_error *err);
void tc_transcript_reader_tell(struct tc_transcript_reader *reader, tc_exchange_fn *tell, void *context);
tc_status tc_transcript_reader_add(struct tc_transcript_reader *reader, struct tc_span bytes,
                                   struct tc_error *err) TC_MUST_USE;
tc_status tc_transcript_reader_finish(struct tc_transcript_reader *reader,
                                      struct tc_transcript_summary *ret, struct tc_error *err)
    TC_MUST_USE;

#endif
