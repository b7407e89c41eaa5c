/* Whatever the reader accepts can be written, and what was written is read back
 * to the same bytes, the same output digest and the same binding. */
#include "core/statement.h"

#include <string.h>

#include "base/cleanup.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_error err = {0};
    TC_AUTO_STATEMENT struct tc_statement first = {0};
    if (tc_statement_read((struct tc_span){data, size}, &first, &err) != TC_OK) return 0;
    TC_AUTO_BUF struct tc_buf once = tc_buf_new(TC_STATEMENT_MAX);
    TC_AUTO_BUF struct tc_buf twice = tc_buf_new(TC_STATEMENT_MAX);
    FUZZ_CHECK(tc_statement_write(&first, &once, &err) == TC_OK);
    TC_AUTO_STATEMENT struct tc_statement second = {0};
    FUZZ_CHECK(tc_statement_read(tc_buf_span(&once), &second, &err) == TC_OK);
    FUZZ_CHECK(tc_statement_write(&second, &twice, &err) == TC_OK);
    FUZZ_CHECK(tc_span_equal(tc_buf_span(&once), tc_buf_span(&twice)));

    struct tc_sha256 outputs[2];
    struct tc_sha384 bindings[2];
    FUZZ_CHECK(tc_statement_output_digest(&first, &outputs[0], &err) == TC_OK);
    FUZZ_CHECK(tc_statement_output_digest(&second, &outputs[1], &err) == TC_OK);
    FUZZ_CHECK(memcmp(&outputs[0], &outputs[1], sizeof outputs[0]) == 0);
    FUZZ_CHECK(tc_statement_binding(&first, &bindings[0], &err) == TC_OK);
    FUZZ_CHECK(tc_statement_binding(&second, &bindings[1], &err) == TC_OK);
    FUZZ_CHECK(memcmp(&bindings[0], &bindings[1], sizeof bindings[0]) == 0);
    return 0;
}
