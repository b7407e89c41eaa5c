/* A URL: redacted twice it is the same as once, and what is left out never comes back. */
#include "base/cleanup.h"
#include "core/transcript.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_error err = {0};
    if (size > 16384) return 0;
    TC_AUTO_BUF struct tc_buf once = tc_buf_new(1 << 20);
    TC_AUTO_BUF struct tc_buf twice = tc_buf_new(1 << 20);
    if (tc_url_redact((struct tc_span){data, size}, &once, &err) != TC_OK) return 0;
    FUZZ_CHECK(tc_url_redact(tc_buf_span(&once), &twice, &err) == TC_OK);
    FUZZ_CHECK(tc_span_equal(tc_buf_span(&once), tc_buf_span(&twice)));
    return 0;
}
