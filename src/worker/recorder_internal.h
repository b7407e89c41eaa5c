/* What the files of the recorder share; recorder.h is the contract for everybody else.
 *
 *   recorder.c       life, threads, refusals       recorder_book.c      the transcript
 *   recorder_conn.c  one connection of the build   recorder_stream.c    bytes with deadlines
 *   recorder_ask.c   one request: rules, body      recorder_ca.c        the per-build CA
 *   recorder_run.c   its attempts at upstream      recorder_trust.c     who upstream must be
 *   recorder_body.c  the response on its way       recorder_upstream.c  connections there
 *   recorder_archive.c  STORE and REPLAY           recorder_opaque.c    what is relayed unread
 *   recorder_pins.c  bodies that lock files name */
#ifndef TC_WORKER_RECORDER_INTERNAL_H
#define TC_WORKER_RECORDER_INTERNAL_H

#include <poll.h>
#include <pthread.h>

#include <openssl/ssl.h>

#include "core/archive.h"
#include "core/gozip.h"
#include "core/http1.h"
#include "os/clock.h"
#include "worker/recorder.h"

enum {
    TC_REC_IN_SIZE = TC_HTTP_HEAD_MAX, /* a head must fit */
    TC_REC_OUT_SIZE = 128 << 10,
    TC_REC_BODY_KEPT = 256 << 10, /* of a request's body: what can be sent once more */
    TC_REC_PIECE = 64 << 10,      /* what is worked on at a time */
    TC_REC_DRIP = 256,            /* bytes that each stall_ms must bring at least */
    TC_REC_LINES_MAX = 1 << 18,   /* exchanges of one build */
    TC_REC_IDLE_MS = 10 * 1000,   /* of a connection to upstream that nobody uses */
    TC_REC_IDLE_MAX = 64,
    TC_REC_ADDRESS_MAX = 64,
};

/* Nothing is unpacked before it is verified: OpenSSL would otherwise, from 3.2 on, offer
 * to take certificates compressed. */
#ifndef SSL_OP_NO_RX_CERTIFICATE_COMPRESSION
#define SSL_OP_NO_RX_CERTIFICATE_COMPRESSION 0
#define SSL_OP_NO_TX_CERTIFICATE_COMPRESSION 0
#endif
#define TC_REC_TLS_OPTIONS                                                                         \
    (SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |                          \
     SSL_OP_NO_RX_CERTIFICATE_COMPRESSION | SSL_OP_NO_TX_CERTIFICATE_COMPRESSION)

/* --- streams --- */

/* What a build is kept waiting for. Shared by the streams of one exchange. */
struct tc_rec_wait {
    int watch_fd;      /* the build's connection; -1: nobody waits */
    int64_t waited_ms; /* in sum */
    bool hung_up;      /* the build did, while it was kept waiting */
};

/* A connection with a buffer each way, plain or TLS. One thread at a time. Errors:
 * TC_PEER (hung up, stalled, broke TLS), TC_INTERRUPTED (the recorder ends), TC_SYSTEM. */
struct tc_rec_stream {
    const struct tc_recorder *recorder;
    const char *who; /* in messages */
    int fd;
    SSL *ssl;
    size_t piece;             /* most bytes of one write; 0: no cap */
    struct tc_rec_wait *wait; /* NULL: waiting is nobody's loss */
    int64_t idle_ms;          /* longest time without a byte */
    int64_t deadline;         /* by tc_clock_ms; 0: none */
    uint8_t *in, *out;
    size_t in_start, in_end, out_size;
    bool ended;   /* the other side ended it as it should */
    bool eof;     /* of the bytes below TLS */
    bool failed;  /* some error came from this side */
    bool stalled; /* the error was that it took too long */
};


/* Takes fd, also on failure. who outlives the stream. */
tc_status tc_rec_stream_open(const struct tc_recorder *recorder, int fd, const char *who,
                             struct tc_rec_stream *ret_stream, struct tc_error *err) TC_MUST_USE;
void tc_rec_stream_close(struct tc_rec_stream *stream); /* accepts a zeroed or closed one */
/* Takes ssl (which is fresh) and shakes hands; until deadline at most. */
tc_status tc_rec_stream_tls(struct tc_rec_stream *stream, SSL *ssl, bool accept,
                            struct tc_error *err) TC_MUST_USE;
/* Says that no more comes, and lets the other side read what it was sent. */
void tc_rec_stream_end(struct tc_rec_stream *stream, bool linger);

struct tc_span tc_rec_stream_have(const struct tc_rec_stream *stream);
void tc_rec_stream_used(struct tc_rec_stream *stream, size_t size);
/* Waits for at least one byte more than there are, or ended. TC_LIMIT: the buffer is full. */
tc_status tc_rec_stream_fill(struct tc_rec_stream *stream, struct tc_error *err) TC_MUST_USE;
/* Is there anything to read (an end and an error are), without waiting? */
bool tc_rec_stream_poke(struct tc_rec_stream *stream);
tc_status tc_rec_stream_read(struct tc_rec_stream *stream, void *out, size_t size,
                             struct tc_error *err) TC_MUST_USE; /* exactly */
/* What was put is sent at the latest by the flush. */
tc_status tc_rec_stream_put(struct tc_rec_stream *stream, struct tc_span span,
                            struct tc_error *err) TC_MUST_USE;
tc_status tc_rec_stream_flush(struct tc_rec_stream *stream, struct tc_error *err) TC_MUST_USE;
/* Waits for events on the stream's descriptor, as a read or a write does. */
tc_status tc_rec_stream_wait(struct tc_rec_stream *stream, short events, struct tc_error *err)
    TC_MUST_USE;
/* How the streams of a recorder reach TLS. NULL: no memory. */
BIO_METHOD *tc_rec_stream_method(void) TC_MUST_USE;

/* A whole head at the start of what the stream has; reads as much as it takes. size 0:
 * the stream ended before its first byte. */
tc_status tc_rec_stream_head(struct tc_rec_stream *stream, size_t *ret_size, struct tc_error *err)
    TC_MUST_USE;

/* --- the per-build CA --- */

struct tc_rec_ca;
tc_status tc_rec_ca_new(struct tc_rec_ca **ret_ca, struct tc_error *err) TC_MUST_USE;
void tc_rec_ca_free(struct tc_rec_ca *ca);
struct tc_span tc_rec_ca_pem(const struct tc_rec_ca *ca);
struct tc_span tc_rec_ca_p12(const struct tc_rec_ca *ca);
/* The server's side of TLS for name, which outlives it: another SNI is refused, and
 * *ret_said holds it then. Owned by the caller. */
struct tc_rec_said {
    const char *name;
    char other[TC_HOST_NAME_MAX + 1];
};
tc_status tc_rec_ca_server(struct tc_rec_ca *ca, struct tc_rec_said *said, SSL **ret_ssl,
                           struct tc_error *err) TC_MUST_USE;

/* --- who upstream must be --- */

struct tc_rec_trust;
tc_status tc_rec_trust_new(const struct tc_recorder_config *config, struct tc_rec_trust **ret_trust,
                           struct tc_error *err) TC_MUST_USE;
void tc_rec_trust_free(struct tc_rec_trust *trust);
tc_status tc_rec_trust_client(const struct tc_rec_trust *trust, const char *host, SSL **ret_ssl,
                              struct tc_error *err) TC_MUST_USE;

struct tc_rec_proof { /* after a handshake */
    char tls[16];
    struct tc_sha256 certificate, anchor;
    const char *ca; /* path in the source; NULL: the image's */
};
tc_status tc_rec_trust_proof(const struct tc_rec_trust *trust, const char *host, SSL *ssl,
                             struct tc_rec_proof *ret_proof, struct tc_error *err) TC_MUST_USE;
/* What OpenSSL says of the last failure of this connection, in one line; empties its queue. */
const char *tc_rec_tls_reason(SSL *ssl, char *out, size_t size);

/* --- connections to upstream --- */

struct tc_upstream {
    struct tc_rec_stream stream;
    char host[TC_HOST_NAME_MAX + 1];
    uint16_t port;
    bool tls, reused;
    char address[TC_REC_ADDRESS_MAX];
    struct tc_rec_proof proof; /* with tls */
    int64_t idle_since;
    struct tc_upstream *next; /* in the pool */
};
struct tc_rec_pool {
    pthread_mutex_t lock;
    struct tc_upstream *first;
    unsigned count;
};
struct tc_rec_target {
    const char *host;
    uint16_t port;
    bool tls;
};

/* From the pool, unless fresh is asked for. wait is set on the stream. */
tc_status tc_upstream_take(struct tc_recorder *recorder, const struct tc_rec_target *target,
                           bool fresh, struct tc_rec_wait *wait, struct tc_upstream **ret_upstream,
                           struct tc_error *err) TC_MUST_USE;
void tc_upstream_give(struct tc_recorder *recorder, struct tc_upstream *upstream);
void tc_upstream_free(struct tc_upstream *upstream); /* accepts NULL */
void tc_rec_pool_empty(struct tc_rec_pool *pool);
/* A stream to the host that has had kind and payload answered with yes. The answer's
 * payload goes to text, which has size bytes. */
tc_status tc_rec_ask_host(const struct tc_recorder *recorder, unsigned kind, struct tc_span payload,
                          struct tc_rec_wait *wait, struct tc_rec_stream *ret_stream, char *text,
                          size_t size, struct tc_error *err) TC_MUST_USE;

/* --- the books --- */

struct tc_rec_book {
    pthread_mutex_t lock;
    int fd;
    uint64_t count;
    struct tc_hash *file, *chain;
    struct tc_sha256 last;
    struct tc_sha256 *told; /* refusals without a connection, by what they say */
    size_t told_count;
    bool closed;
};
tc_status tc_rec_book_open(struct tc_rec_book *book, int fd, struct tc_error *err) TC_MUST_USE;
void tc_rec_book_done(struct tc_rec_book *book);
/* Gives the exchange its sequence and writes it. */
tc_status tc_rec_book_add(struct tc_rec_book *book, struct tc_exchange *exchange,
                          struct tc_error *err) TC_MUST_USE;
tc_status tc_rec_book_close(struct tc_rec_book *book, struct tc_transcript_summary *ret_summary,
                            struct tc_error *err) TC_MUST_USE;

/* --- the recorder --- */

struct tc_recorder {
    const struct tc_recorder_config *config;
    int64_t stall_ms;
    BIO_METHOD *method;
    struct tc_rec_ca *ca;
    struct tc_rec_trust *trust;
    struct tc_rec_pool pool;
    struct tc_rec_book book;
    int stop_fd;   /* readable: end at once */
    int broken_fd; /* readable: nothing will be signed */
    int room_fd;   /* one for each connection that waits for another one to end */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned active;    /* threads; the lock guards these */
    bool stopping;      /* free was called */
    bool finishing;     /* finish was called */
    bool broken;
    int64_t late_until; /* connections taken before had to wait in the queue for long */
    struct tc_error reason;

    /* of a replay */
    struct tc_archive_index *index;
    struct tc_sha256 archive_digest;
    size_t *served; /* by the first line of a key: how many were asked for; lock */
};

/* Nothing is signed any more; ends every connection. The first reason counts. */
void tc_recorder_break(struct tc_recorder *recorder, const struct tc_error *reason);
bool tc_recorder_is_finishing(struct tc_recorder *recorder);

/* One connection of the build. Takes fd. */
struct tc_rec_conn {
    struct tc_recorder *recorder;
    int fd;
    char name[TC_HOST_NAME_MAX + 1];
    char address[TC_REC_ADDRESS_MAX];
    uint16_t port;
    bool late; /* it waited long before it was taken */
};
void tc_rec_conn_serve(struct tc_rec_conn *conn);
void tc_rec_opaque(struct tc_rec_conn *conn, struct tc_rec_stream *build);

/* --- one exchange --- */

/* What a response's head says, as two digests: of everything but when it was sent and how
 * it was framed, and of what it says about the body. */
struct tc_rec_seal {
    struct tc_sha256 all, content;
};
tc_status tc_rec_seal_head(const struct tc_http_head *head, struct tc_rec_seal *ret_seal,
                           struct tc_error *err) TC_MUST_USE;

struct tc_rec_ask {
    struct tc_recorder *recorder;
    struct tc_rec_target target;
    struct tc_rec_stream *build; /* NULL: the worker asks for itself */
    struct tc_buf *own;          /* gets the body then */
    struct tc_buf head_bytes;    /* that head borrows from */
    struct tc_http_head head;
    char *url;                   /* as asked */
    struct tc_sha256 key;        /* in the archive */
    struct tc_exchange record;
    struct tc_rec_wait wait;

    struct tc_http_body rest; /* the request's body, as it comes from the build */
    struct tc_buf body;       /* what of it is kept */
    struct tc_hash *request_hash;
    uint64_t request_size;
    bool body_whole; /* body has all of it: it can be sent again */
    bool body_begun; /* more than `body` was asked of the build and sent */

    /* the response, once its head was passed on */
    bool head_passed, chunked, close, bodiless;
    unsigned status;
    uint64_t delivered; /* bytes of the body */
    struct tc_hash *hash;
    char *etag;         /* strong; NULL: none */
    struct tc_rec_seal seal; /* of the head that was passed */
    bool has_length;
    uint64_t length;

    /* a later attempt's bytes that were delivered already */
    uint64_t skip;
    struct tc_hash *skip_hash;
    struct tc_rec_stream store; /* to the archive */
    bool storing;
    EVP_MD_CTX *sha512;   /* digests that lock files name; NULL: none does */
    struct tc_gozip *zip;
};
/* Answers one request, whose head of this size the build's stream begins with; false: the
 * connection ends. */
bool tc_rec_ask_serve(struct tc_recorder *recorder, const struct tc_rec_target *target,
                      struct tc_rec_stream *build, size_t head_size);
/* The worker asks for itself: head is the whole request, which has no body. */
tc_status tc_rec_ask_own(struct tc_recorder *recorder, const struct tc_rec_target *target,
                         struct tc_span head, struct tc_buf *buf, struct tc_error *err) TC_MUST_USE;
/* Reads what is left of the request's body into the digest; sends it on with upstream. */
tc_status tc_rec_ask_pump(struct tc_rec_ask *ask, struct tc_upstream *upstream,
                          struct tc_error *err) TC_MUST_USE;
/* Attempts at upstream until the record says how it ended; false: the build's connection
 * cannot be used any more. */
bool tc_rec_run(struct tc_rec_ask *ask);
/* Digests of what has passed of both bodies. */
tc_status tc_rec_ask_request(const struct tc_rec_ask *ask, struct tc_sha256 *ret_digest,
                             struct tc_error *err) TC_MUST_USE;
tc_status tc_rec_ask_response(const struct tc_rec_ask *ask, struct tc_sha256 *ret_digest,
                              struct tc_error *err) TC_MUST_USE;
/* Writes the record down. */
void tc_rec_ask_note(struct tc_rec_ask *ask, enum tc_exchange_outcome outcome,
                     const struct tc_error *reason);
/* Answer of our own: a text with this status, and the end of the connection. */
void tc_rec_answer(struct tc_rec_stream *build, struct tc_span method, unsigned status,
                   const char *text);

/* The response's head goes to the build (and to the archive). */
tc_status tc_rec_body_head(struct tc_rec_ask *ask, struct tc_http_head *head, struct tc_error *err)
    TC_MUST_USE;
/* Some bytes of its body. */
tc_status tc_rec_body_data(struct tc_rec_ask *ask, struct tc_span data, struct tc_error *err)
    TC_MUST_USE;
/* Its end; after the checks that need the whole. */
tc_status tc_rec_body_end(struct tc_rec_ask *ask, struct tc_error *err) TC_MUST_USE;

/* --- what the source's lock files say --- */

tc_status tc_rec_pins_begin(struct tc_rec_ask *ask, struct tc_error *err) TC_MUST_USE;
tc_status tc_rec_pins_add(struct tc_rec_ask *ask, struct tc_span data, struct tc_error *err)
    TC_MUST_USE;
/* Notes the file that names the body, whose SHA-256 is digest. */
tc_status tc_rec_pins_end(struct tc_rec_ask *ask, const struct tc_sha256 *digest,
                          struct tc_error *err) TC_MUST_USE;
void tc_rec_pins_done(struct tc_rec_ask *ask);

/* --- archive --- */

tc_status tc_rec_store_begin(struct tc_rec_ask *ask, const struct tc_http_head *head,
                             struct tc_error *err) TC_MUST_USE;
tc_status tc_rec_store_data(struct tc_rec_ask *ask, struct tc_span data, struct tc_error *err)
    TC_MUST_USE;
tc_status tc_rec_store_end(struct tc_rec_ask *ask, struct tc_error *err) TC_MUST_USE;
/* Asks for the index of the archive to replay. */
tc_status tc_rec_index_load(struct tc_recorder *recorder, struct tc_error *err) TC_MUST_USE;
/* The exchange from the archive. */
tc_status tc_rec_replay(struct tc_rec_ask *ask, struct tc_error *err) TC_MUST_USE;

#endif
