/* The transcript as it is written: each line gets its number, its place in the chain and
 * its bytes under one lock, so that the file is in the order of the numbers. */
#include "worker/recorder_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

static tc_status write_line(struct tc_rec_book *book, struct tc_span line, struct tc_error *err)
{
    tc_hash_restart(book->chain);
    if (book->count > 0) tc_hash_add(book->chain, book->last.bytes, sizeof book->last.bytes);
    tc_hash_add(book->chain, line.data, line.size);
    tc_hash_add(book->file, line.data, line.size);
    TC_TRY(tc_hash_finish(book->chain, book->last.bytes, sizeof book->last.bytes, err));
    while (line.size > 0) {
        ssize_t sent = write(book->fd, line.data, line.size);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot write the network's transcript");
        line.data += sent;
        line.size -= (size_t)sent;
    }
    return TC_OK;
}

tc_status tc_rec_book_open(struct tc_rec_book *book, int fd, struct tc_error *err)
{
    book->fd = fd;
    book->file = tc_hash_new(TC_HASH_SHA256);
    book->chain = tc_hash_new(TC_HASH_SHA256);
    (void)pthread_mutex_init(&book->lock, NULL);
    if (!book->file || !book->chain)
        return tc_fail(err, TC_SYSTEM, "out of memory for the network's transcript");
    return write_line(book, tc_span_of_text(TC_TRANSCRIPT_HEADER), err);
}

void tc_rec_book_done(struct tc_rec_book *book)
{
    free(book->told);
    if (!book->file && !book->chain) return;
    tc_hash_free(book->file);
    tc_hash_free(book->chain);
    (void)pthread_mutex_destroy(&book->lock);
}

static tc_status add_locked(struct tc_rec_book *book, struct tc_exchange *exchange,
                            struct tc_buf *buf, struct tc_error *err)
{
    if (book->closed) return tc_fail(err, TC_REFUSED, "the transcript is closed already");
    if (book->count >= TC_REC_LINES_MAX)
        return tc_fail(err, TC_LIMIT, "the build made more than %d requests and refusals",
                       TC_REC_LINES_MAX);
    exchange->sequence = book->count + 1;
    TC_TRY(tc_exchange_write(exchange, buf, err));
    book->count++;
    return write_line(book, tc_buf_span(buf), err);
}

tc_status tc_rec_book_add(struct tc_rec_book *book, struct tc_exchange *exchange,
                          struct tc_error *err)
{
    struct tc_buf buf TC_AUTO_BUF = tc_buf_new(TC_TRANSCRIPT_LINE_MAX);
    (void)pthread_mutex_lock(&book->lock);
    tc_status status = add_locked(book, exchange, &buf, err);
    (void)pthread_mutex_unlock(&book->lock);
    return status;
}

static tc_status close_locked(struct tc_rec_book *book, struct tc_transcript_summary *ret_summary,
                              struct tc_error *err)
{
    struct tc_transcript_summary summary = {.last = book->last, .count = book->count};
    if (book->closed) return tc_fail(err, TC_USAGE, "the transcript is closed already");
    TC_TRY(tc_hash_finish(book->file, summary.digest.bytes, sizeof summary.digest.bytes, err));
    book->closed = true;
    *ret_summary = summary;
    return TC_OK;
}

tc_status tc_rec_book_close(struct tc_rec_book *book, struct tc_transcript_summary *ret_summary,
                            struct tc_error *err)
{
    (void)pthread_mutex_lock(&book->lock);
    tc_status status = close_locked(book, ret_summary, err);
    (void)pthread_mutex_unlock(&book->lock);
    return status;
}
