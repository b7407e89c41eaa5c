/* Bytes with deadlines. A descriptor is non-blocking and every wait is a poll of three:
 * the descriptor itself, the recorder's end, and (while upstream keeps the build waiting)
 * the build's connection, whose hanging up must not go unnoticed: see recorder.h, "cut".
 *
 * TLS reads and writes by a BIO of ours, since OpenSSL's own would raise SIGPIPE, knows no
 * cap on a write, and makes a system call of each record. Ours gathers records in `out`,
 * which a flush sends in one. */
#include "worker/recorder_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sys/socket.h>

#include <openssl/err.h>

#include "base/cleanup.h"

enum {
    OUT_HIGH = TC_REC_PIECE, /* sent before more is put */
    LINGER_MS = 2000,        /* for the other side to read an answer */
    LINGER_BYTES = 1 << 20,
    RECORD = 16 << 10,
};

static tc_status fail(struct tc_rec_stream *stream, tc_status status, struct tc_error *err,
                      const char *what)
{
    stream->failed = true;
    return tc_fail(err, status, "%s %s", stream->who, what);
}

/* --- waiting --- */

static int time_left(const struct tc_rec_stream *stream, int64_t since)
{
    int64_t now = tc_clock_ms(), left = since + stream->idle_ms - now;
    if (stream->deadline != 0 && stream->deadline - now < left) left = stream->deadline - now;
    if (left < 0) return 0;
    return left > INT32_MAX ? INT32_MAX : (int)left;
}

static tc_status judge(struct tc_rec_stream *stream, const struct pollfd polled[3], int64_t waited,
                       struct tc_error *err)
{
    if (polled[1].revents) return tc_fail(err, TC_INTERRUPTED, "the recorder ends its connections");
    /* Who hung up while bytes were at hand finds out when they are written. */
    if (stream->wait && polled[2].revents && (waited > 0 || !polled[0].revents)) {
        stream->wait->hung_up = true;
        return tc_fail(err, TC_PEER, "the build hung up while %s kept it waiting", stream->who);
    }
    return TC_OK;
}

tc_status tc_rec_stream_wait(struct tc_rec_stream *stream, short events, struct tc_error *err)
{
    int64_t since = tc_clock_ms();
    struct pollfd polled[3] = {
        {.fd = stream->fd, .events = events},
        {.fd = stream->recorder->stop_fd, .events = POLLIN},
        {.fd = stream->wait ? stream->wait->watch_fd : -1, .events = POLLRDHUP},
    };
    for (;;) {
        int timeout = time_left(stream, since);
        int ready = poll(polled, 3, timeout);
        if (ready < 0 && errno == EINTR) continue;
        if (ready < 0) {
            stream->failed = true;
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot wait for %s", stream->who);
        }
        if (ready == 0 && timeout > 0 && time_left(stream, since) > 0) continue;
        int64_t waited = tc_clock_ms() - since;
        if (stream->wait) stream->wait->waited_ms += waited;
        if (ready > 0) return judge(stream, polled, waited, err);
        stream->failed = stream->stalled = true;
        return tc_fail(err, TC_PEER, "%s stalled: nothing moved for %lld ms", stream->who,
                       (long long)waited);
    }
}

/* --- below TLS --- */

/* Bytes into out; -1 with errno, 0 at the end. */
static ssize_t receive(struct tc_rec_stream *stream, void *out, size_t size)
{
    ssize_t got;
    do
        got = recv(stream->fd, out, size, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got == 0) stream->eof = true;
    return got;
}

static tc_status send_all(struct tc_rec_stream *stream, struct tc_span span, struct tc_error *err)
{
    while (span.size > 0) {
        size_t size = stream->piece && span.size > stream->piece ? stream->piece : span.size;
        ssize_t sent = send(stream->fd, span.data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno == EAGAIN) {
            TC_TRY(tc_rec_stream_wait(stream, POLLOUT, err));
            continue;
        }
        if (sent < 0) return fail(stream, TC_PEER, err, "hung up before it was sent everything");
        span.data += sent;
        span.size -= (size_t)sent;
    }
    return TC_OK;
}

tc_status tc_rec_stream_flush(struct tc_rec_stream *stream, struct tc_error *err)
{
    struct tc_span span = {stream->out, stream->out_size};
    stream->out_size = 0;
    return span.size > 0 ? send_all(stream, span, err) : TC_OK;
}

static int bio_read(BIO *bio, char *out, int size)
{
    BIO_clear_retry_flags(bio);
    ssize_t got = size > 0 ? receive(BIO_get_data(bio), out, (size_t)size) : 0;
    if (got < 0 && errno == EAGAIN) BIO_set_retry_read(bio);
    return (int)got;
}

static int bio_write(BIO *bio, const char *data, int size)
{
    struct tc_rec_stream *stream = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (size <= 0) return 0;
    if (stream->out_size >= OUT_HIGH) {
        BIO_set_retry_write(bio);
        return -1;
    }
    size_t room = TC_REC_OUT_SIZE - stream->out_size;
    size_t taken = (size_t)size < room ? (size_t)size : room;
    memcpy(stream->out + stream->out_size, data, taken);
    stream->out_size += taken;
    return (int)taken;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)number;
    (void)pointer;
    const struct tc_rec_stream *stream = BIO_get_data(bio);
    if (command == BIO_CTRL_EOF) return stream->eof;
    return command == BIO_CTRL_FLUSH; /* the flush is ours to choose */
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

BIO_METHOD *tc_rec_stream_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "recorder");
    if (method && BIO_meth_set_read(method, bio_read) == 1 &&
        BIO_meth_set_write(method, bio_write) == 1 && BIO_meth_set_ctrl(method, bio_control) == 1 &&
        BIO_meth_set_create(method, bio_create) == 1)
        return method;
    BIO_meth_free(method);
    return NULL;
}

/* --- life --- */

tc_status tc_rec_stream_open(const struct tc_recorder *recorder, int fd, const char *who,
                             struct tc_rec_stream *ret_stream, struct tc_error *err)
{
    struct tc_rec_stream stream = {.recorder = recorder,
                                   .who = who,
                                   .fd = fd,
                                   .idle_ms = recorder->stall_ms,
                                   .in = malloc(TC_REC_IN_SIZE),
                                   .out = malloc(TC_REC_OUT_SIZE)};
    int flags = fcntl(fd, F_GETFL);
    if (!stream.in || !stream.out || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
        tc_rec_stream_close(&stream);
        return tc_fail(err, TC_SYSTEM, "a connection (%s) could not be set up", who);
    }
    *ret_stream = stream;
    return TC_OK;
}

void tc_rec_stream_close(struct tc_rec_stream *stream)
{
    if (!stream->in && !stream->out) return; /* zeroed, or closed already */
    SSL_free(stream->ssl);
    if (stream->fd >= 0) (void)close(stream->fd);
    free(stream->in);
    free(stream->out);
    *stream = (struct tc_rec_stream){.fd = -1};
}

/* The queue of errors belongs to the thread: it is emptied before each call, or an old entry
 * would be taken for that call's. */
static tc_status tls_failed(struct tc_rec_stream *stream, const char *what, struct tc_error *err)
{
    char reason[512];
    stream->failed = true;
    (void)tc_rec_tls_reason(stream->ssl, reason, sizeof reason);
    struct tc_error ignored = {0};
    stream->deadline = tc_clock_ms() + LINGER_MS;
    (void)(tc_rec_stream_flush(stream, &ignored) == TC_OK); /* the alert that says why */
    return tc_fail(err, TC_PEER, "%s %s: %s", stream->who, what, reason);
}

tc_status tc_rec_stream_tls(struct tc_rec_stream *stream, SSL *ssl, bool accept,
                            struct tc_error *err)
{
    stream->ssl = ssl;
    /* Bytes from before the handshake would pass for bytes that came through it. */
    if (tc_rec_stream_have(stream).size > 0)
        return fail(stream, TC_PEER, err, "spoke before TLS began");
    BIO *bio = BIO_new(stream->recorder->method);
    if (!bio) return fail(stream, TC_SYSTEM, err, "could not begin TLS: no memory");
    BIO_set_data(bio, stream);
    SSL_set_bio(ssl, bio, bio);
    if (accept)
        SSL_set_accept_state(ssl);
    else
        SSL_set_connect_state(ssl);
    for (;;) {
        ERR_clear_error();
        int result = SSL_do_handshake(ssl);
        int why = result == 1 ? SSL_ERROR_NONE : SSL_get_error(stream->ssl, result);
        if (why != SSL_ERROR_NONE && why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
            return tls_failed(stream, "did not agree on TLS", err);
        TC_TRY(tc_rec_stream_flush(stream, err));
        if (why == SSL_ERROR_NONE) return TC_OK;
        if (why == SSL_ERROR_WANT_READ) TC_TRY(tc_rec_stream_wait(stream, POLLIN, err));
    }
}

void tc_rec_stream_end(struct tc_rec_stream *stream, bool linger)
{
    struct tc_error ignored = {0};
    if (stream->ssl && !stream->failed) {
        ERR_clear_error();
        (void)SSL_shutdown(stream->ssl);
        ERR_clear_error();
    }
    stream->wait = NULL;
    stream->deadline = tc_clock_ms() + LINGER_MS;
    if (tc_rec_stream_flush(stream, &ignored) != TC_OK) return;
    (void)shutdown(stream->fd, SHUT_WR);
    /* Bytes that nobody read would make the kernel answer with a reset, which throws away
     * what the other side has not read yet. */
    for (size_t total = 0; linger && total < LINGER_BYTES;) {
        ssize_t got = receive(stream, stream->in, TC_REC_IN_SIZE);
        if (got > 0) {
            total += (size_t)got;
        } else if (got == 0 || errno != EAGAIN ||
                   tc_rec_stream_wait(stream, POLLIN, &ignored) != TC_OK) {
            return;
        }
    }
}

/* --- reading --- */

struct tc_span tc_rec_stream_have(const struct tc_rec_stream *stream)
{
    return (struct tc_span){stream->in + stream->in_start, stream->in_end - stream->in_start};
}

void tc_rec_stream_used(struct tc_rec_stream *stream, size_t size)
{
    stream->in_start += size;
    if (stream->in_start == stream->in_end) stream->in_start = stream->in_end = 0;
}

enum step { STEP_BYTES, STEP_WAIT, STEP_END, STEP_ERROR };

/* An error behind bytes waits until they were taken: OpenSSL repeats it. */
static enum step read_tls(struct tc_rec_stream *stream, size_t room, bool has_bytes,
                          struct tc_error *err)
{
    size_t got = 0;
    ERR_clear_error();
    int result = SSL_read_ex(stream->ssl, stream->in + stream->in_end, room, &got);
    if (result == 1) {
        stream->in_end += got;
        return STEP_BYTES;
    }
    int why = SSL_get_error(stream->ssl, result);
    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) return STEP_WAIT;
    if (why == SSL_ERROR_ZERO_RETURN) return STEP_END;
    if (has_bytes) return STEP_WAIT;
    (void)tls_failed(stream, "broke off", err);
    return STEP_ERROR;
}

static enum step read_plain(struct tc_rec_stream *stream, size_t room, struct tc_error *err)
{
    ssize_t got = receive(stream, stream->in + stream->in_end, room);
    if (got > 0) {
        stream->in_end += (size_t)got;
        return STEP_BYTES;
    }
    if (got == 0) return STEP_END;
    if (errno == EAGAIN) return STEP_WAIT;
    (void)fail(stream, TC_PEER, err, "broke off");
    return STEP_ERROR;
}

static void make_room(struct tc_rec_stream *stream)
{
    size_t size = stream->in_end - stream->in_start;
    if (stream->in_start == 0) return;
    memmove(stream->in, stream->in + stream->in_start, size);
    stream->in_start = 0;
    stream->in_end = size;
}

/* What can be read without waiting; there is room. */
static tc_status read_ready(struct tc_rec_stream *stream, struct tc_error *err)
{
    size_t before = stream->in_end;
    for (;;) {
        size_t room = TC_REC_IN_SIZE - stream->in_end;
        enum step step = stream->ssl ? read_tls(stream, room, stream->in_end > before, err)
                                     : read_plain(stream, room, err);
        if (step == STEP_ERROR) return err->status;
        if (step == STEP_END) stream->ended = true;
        /* Whole records as long as there are some: fewer, larger pieces from here on. */
        if (step != STEP_BYTES || !stream->ssl || TC_REC_IN_SIZE - stream->in_end < RECORD)
            return TC_OK;
    }
}

tc_status tc_rec_stream_fill(struct tc_rec_stream *stream, struct tc_error *err)
{
    make_room(stream);
    size_t before = stream->in_end;
    if (stream->ended) return TC_OK;
    if (before == TC_REC_IN_SIZE) return tc_fail(err, TC_LIMIT, "%s: buffer full", stream->who);
    for (;;) {
        TC_TRY(read_ready(stream, err));
        if (stream->in_end > before || stream->ended) return TC_OK;
        /* A key update may have to be answered. */
        TC_TRY(tc_rec_stream_flush(stream, err));
        TC_TRY(tc_rec_stream_wait(stream, POLLIN, err));
    }
}

bool tc_rec_stream_poke(struct tc_rec_stream *stream)
{
    struct tc_error ignored = {0};
    make_room(stream);
    return stream->ended || stream->in_end == TC_REC_IN_SIZE ||
           read_ready(stream, &ignored) != TC_OK || stream->in_end > 0 || stream->ended;
}

tc_status tc_rec_stream_read(struct tc_rec_stream *stream, void *out, size_t size,
                             struct tc_error *err)
{
    uint8_t *next = out;
    while (size > 0) {
        struct tc_span have = tc_rec_stream_have(stream);
        if (have.size == 0) {
            TC_TRY(tc_rec_stream_fill(stream, err));
            if (stream->ended && tc_rec_stream_have(stream).size == 0)
                return fail(stream, TC_PEER, err, "hung up");
            continue;
        }
        size_t taken = have.size < size ? have.size : size;
        memcpy(next, have.data, taken);
        tc_rec_stream_used(stream, taken);
        next += taken;
        size -= taken;
    }
    return TC_OK;
}

tc_status tc_rec_stream_head(struct tc_rec_stream *stream, size_t *ret_size, struct tc_error *err)
{
    size_t scanned = 0, size = 0;
    for (;;) {
        struct tc_span have = tc_rec_stream_have(stream);
        if (have.size > 0) TC_TRY(tc_http_head_size(have, &scanned, &size, err));
        if (size > 0 || (stream->ended && have.size == 0)) {
            *ret_size = size;
            return TC_OK;
        }
        if (stream->ended)
            return fail(stream, TC_PEER, err, "hung up within the head of a message");
        TC_TRY(tc_rec_stream_fill(stream, err));
    }
}

/* --- writing --- */

static tc_status put_tls(struct tc_rec_stream *stream, struct tc_span span, struct tc_error *err)
{
    while (span.size > 0) {
        size_t sent = 0;
        ERR_clear_error();
        int result = SSL_write_ex(stream->ssl, span.data, span.size, &sent);
        int why = result == 1 ? SSL_ERROR_NONE : SSL_get_error(stream->ssl, result);
        if (why == SSL_ERROR_WANT_READ) {
            TC_TRY(tc_rec_stream_wait(stream, POLLIN, err));
        } else if (why != SSL_ERROR_NONE && why != SSL_ERROR_WANT_WRITE) {
            return tls_failed(stream, "broke off", err);
        }
        if (why == SSL_ERROR_WANT_WRITE || stream->out_size >= OUT_HIGH)
            TC_TRY(tc_rec_stream_flush(stream, err));
        span.data += sent;
        span.size -= sent;
    }
    return TC_OK;
}

tc_status tc_rec_stream_put(struct tc_rec_stream *stream, struct tc_span span, struct tc_error *err)
{
    if (span.size == 0) return TC_OK;
    if (stream->ssl) return put_tls(stream, span, err);
    if (span.size > TC_REC_OUT_SIZE - stream->out_size || span.size >= RECORD) {
        TC_TRY(tc_rec_stream_flush(stream, err));
        if (span.size >= RECORD) return send_all(stream, span, err);
    }
    memcpy(stream->out + stream->out_size, span.data, span.size);
    stream->out_size += span.size;
    return TC_OK;
}
