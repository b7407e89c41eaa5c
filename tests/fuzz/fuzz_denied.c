/* A deny list. What it names is found in it; the same list with a comment in front names
 * the same things; and without its last byte there is no list. */
#include "fuzz.h"

#include <string.h>

#include "base/cleanup.h"
#include "core/denied.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_error err = {0};
    struct tc_denied denied = {0}, again = {0};
    tc_status status = tc_denied_read((struct tc_span){data, size}, &denied, &err);
    if (status != TC_OK) {
        FUZZ_CHECK((status == TC_MALFORMED || status == TC_LIMIT) && err.message[0] != '\0');
        return 0;
    }
    for (size_t i = 0; i < denied.count; i++)
        FUZZ_CHECK(tc_denied_has(&denied, denied.list[i].kind, &denied.list[i].digest));
    TC_AUTO_BUF struct tc_buf longer = tc_buf_new(TC_DENIED_MAX + 16);
    tc_buf_add_text(&longer, "# comment\n");
    tc_buf_add(&longer, data, size);
    if (longer.size <= TC_DENIED_MAX) {
        FUZZ_CHECK(tc_denied_read(tc_buf_span(&longer), &again, &err) == TC_OK);
        FUZZ_CHECK(again.count == denied.count);
        FUZZ_CHECK(denied.count == 0 ||
                   memcmp(again.list, denied.list, denied.count * sizeof *denied.list) == 0);
    }
    tc_denied_free(&again);
    if (size > 1 && data[size - 2] != '\n')
        FUZZ_CHECK(tc_denied_read((struct tc_span){data, size - 1}, &again, &err) == TC_MALFORMED);
    tc_denied_free(&denied);
    return 0;
}
