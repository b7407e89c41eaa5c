/* One value, one spelling: what the reader accepts, the writer writes again. */
#include "core/userdata.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_error err = {0};
    struct tc_userdata value;
    if (tc_userdata_read((struct tc_span){data, size}, &value, &err) != TC_OK) return 0;
    struct tc_buf again = tc_buf_new(512);
    tc_userdata_write(&value, &again);
    FUZZ_CHECK(tc_span_equal(tc_buf_span(&again), (struct tc_span){data, size}));
    tc_buf_free(&again);
    return 0;
}
