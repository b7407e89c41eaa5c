/* The log's redaction: how the bytes were cut into pieces must not show, and what
 * was hidden once stays as it is in size: nothing grows without bound. The first
 * byte is the size of the pieces. */
#include "fuzz.h"

#include "base/cleanup.h"
#include "core/redact.h"

enum { GROWTH_MAX = 16 };

static void redact(struct tc_span text, size_t piece, struct tc_buf *out)
{
    struct tc_redactor *redactor = tc_redactor_new();
    FUZZ_CHECK(redactor);
    while (text.size > 0) {
        struct tc_span part = {text.data, text.size < piece ? text.size : piece};
        tc_redactor_add(redactor, part, out);
        text.data += part.size;
        text.size -= part.size;
    }
    tc_redactor_flush(redactor, out);
    tc_redactor_free(redactor);
    FUZZ_CHECK(tc_buf_ok(out));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    struct tc_span text = {data + 1, size - 1};
    TC_AUTO_BUF struct tc_buf whole = tc_buf_new(GROWTH_MAX * size);
    TC_AUTO_BUF struct tc_buf pieces = tc_buf_new(GROWTH_MAX * size);
    redact(text, text.size, &whole);
    redact(text, (size_t)data[0] + 1, &pieces);
    FUZZ_CHECK(tc_span_equal(tc_buf_span(&whole), tc_buf_span(&pieces)));
    return 0;
}
