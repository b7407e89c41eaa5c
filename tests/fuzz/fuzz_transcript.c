/* A transcript, whole and byte by byte: the same summary or the same refusal. */
#include "core/resolved.h"

#include <string.h>

#include "base/cleanup.h"
#include "fuzz.h"

/* Lines that are taken are spelled as our writer spells them, and make a report's entries. */
static tc_status look(void *context, const struct tc_exchange *exchange, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf again = tc_buf_new(TC_TRANSCRIPT_LINE_MAX);
    FUZZ_CHECK(tc_exchange_write(exchange, &again, err) == TC_OK);
    return tc_resolved_add(context, exchange, err);
}

static tc_status read_all(struct tc_span bytes, size_t piece, struct tc_transcript_summary *ret)
{
    struct tc_error err = {0};
    struct tc_transcript_reader *reader = tc_transcript_reader_new();
    struct tc_resolved *resolved = tc_resolved_new();
    FUZZ_CHECK(reader && resolved);
    tc_transcript_reader_tell(reader, look, resolved);
    tc_status status = TC_OK;
    while (status == TC_OK && bytes.size > 0) {
        size_t now = bytes.size < piece ? bytes.size : piece;
        status = tc_transcript_reader_add(reader, (struct tc_span){bytes.data, now}, &err);
        bytes.data += now;
        bytes.size -= now;
    }
    if (status == TC_OK) status = tc_transcript_reader_finish(reader, ret, &err);
    tc_transcript_reader_free(reader);
    tc_resolved_free(resolved);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_transcript_summary whole, pieces;
    tc_status status = read_all((struct tc_span){data, size}, size + 1, &whole);
    FUZZ_CHECK(read_all((struct tc_span){data, size}, 1, &pieces) == status);
    if (status != TC_OK) return 0;
    FUZZ_CHECK(whole.count == pieces.count);
    FUZZ_CHECK(memcmp(&whole.last, &pieces.last, sizeof whole.last) == 0);
    FUZZ_CHECK(memcmp(&whole.digest, &pieces.digest, sizeof whole.digest) == 0);
    return 0;
}
