/* Streaming reader of network.jsonl: bytes come in any pieces, lines are
 * gathered up to a cap, checked and put into the chain one by one. */
#include "core/transcript.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
struct tc_transcript_reader {
    struct tc_hash *file;  /* over all bytes */
    struct tc_hash *chain; /* scratch */
    struct tc_buf line;
    struct tc_sha256 last;
    uint64_t lines; /* complete ones, the header among them */
    tc_exchange_fn *tell;
    void *context;
};

struct tc_transcript_reader *tc_transcript_reader_new(void)
{
    struct tc_transcript_reader *reader = calloc(1, sizeof *reader);
    if (!reader) return NULL;
    reader->file = tc_hash_new(TC_HASH_SHA256);
    reader->chain = tc_hash_new(TC_HASH_SHA256);
    reader->line = tc_buf_new(TC_TRANSCRIPT_LINE_MAX);
    if (!reader->file || !reader->chain) {
        tc_transcript_reader_free(reader);
        return NULL;
    }
    return reader;
}

void tc_transcript_reader_free(struct tc_transcript_reader *reader)
{
    if (!reader) return;
    tc_hash_free(reader->file);
    tc_hash_free(reader->chain);
    tc_buf_free(&reader->line);
    free(reader);
}

void tc_transcript_reader_tell(struct tc_transcript_reader *reader, tc_exchange_fn *tell,
                               void *context)
{
    reader->tell = tell;
    reader->context = context;
}

static tc_status check_exchange(const struct tc_transcript_reader *reader,
                                const struct tc_exchange *exchange, struct tc_error *err)
{
    if (exchange->sequence != reader->lines)
        return tc_fail(err, TC_MALFORMED, "the number is %llu where %llu is next",
                       (unsigned long long)exchange->sequence, (unsigned long long)reader->lines);
    return reader->tell ? reader->tell(reader->context, exchange, err) : TC_OK;
}

static tc_status check_line(const struct tc_transcript_reader *reader, struct tc_error *err)
{
    struct tc_span line = tc_buf_span(&reader->line);
    if (reader->lines == 0) {
        if (tc_span_equal(line, tc_span_of_text(TC_TRANSCRIPT_HEADER))) return TC_OK;
        return tc_fail(err, TC_MALFORMED,
                       "the transcript does not begin with the line of tee-compile/network/1");
    }
    struct tc_exchange exchange = {0};
    tc_status status = tc_exchange_read(line, &exchange, err);
    if (status == TC_OK) status = check_exchange(reader, &exchange, err);
    tc_exchange_free(&exchange);
    if (status == TC_OK) return TC_OK;
    return tc_wrap(err, "the transcript's line %llu", (unsigned long long)reader->lines + 1);
}

static tc_status end_line(struct tc_transcript_reader *reader, struct tc_error *err)
{
    TC_TRY(check_line(reader, err));
    tc_hash_restart(reader->chain);
    if (reader->lines > 0)
        tc_hash_add(reader->chain, reader->last.bytes, sizeof reader->last.bytes);
    tc_hash_add(reader->chain, reader->line.data, reader->line.size);
    TC_TRY(tc_hash_finish(reader->chain, reader->last.bytes, sizeof reader->last.bytes, err));
    reader->lines++;
    tc_buf_reset(&reader->line);
    return TC_OK;
}

tc_status tc_transcript_reader_add(struct tc_transcript_reader *reader, struct tc_span bytes,
                                   struct tc_error *err)
{
    tc_hash_add(reader->file, bytes.data, bytes.size);
    while (bytes.size > 0) {
        const uint8_t *feed = memchr(bytes.data, '\n', bytes.size);
        size_t taken = feed ? (size_t)(feed - bytes.data) + 1 : bytes.size;
        tc_buf_add(&reader->line, bytes.data, taken);
        TC_TRY(tc_buf_check(&reader->line, "a line of the transcript", err));
        if (feed) TC_TRY(end_line(reader, err));
        bytes.data += taken;
        bytes.size -= taken;
    }
    return TC_OK;
}

tc_status tc_transcript_reader_finish(struct tc_transcript_reader *reader,
                                      struct tc_transcript_summary *ret, struct tc_error *err)
{
    if (reader->line.size > 0 || reader->lines == 0)
        return tc_fail(err, TC_MALFORMED, "the transcript %s",
                       reader->lines == 0 ? "has no header line" : "ends within a line");
    struct tc_transcript_summary summary = {.last = reader->last, .count = reader->lines - 1};
    TC_TRY(tc_hash_finish(reader->file, summary.digest.bytes, sizeof summary.digest.bytes, err));
    *ret = summary;
    return TC_OK;
}
