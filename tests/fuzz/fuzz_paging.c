/* What an image says of its toolchain, and what a page server and its client read
 * of each other: whatever is accepted has one spelling. */
#include "core/nbd.h"
#include "core/verity.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_error err = {0};
    struct tc_span bytes = {data, size};
    struct tc_verity verity;
    if (tc_verity_decode(bytes, &verity, &err) == TC_OK) {
        struct tc_buf again = tc_buf_new(TC_VERITY_TEXT_MAX);
        struct tc_buf table = tc_buf_new(TC_VERITY_PARAMETERS_MAX);
        tc_verity_encode(&verity, &again);
        FUZZ_CHECK(tc_buf_ok(&again) && tc_span_equal(tc_buf_span(&again), bytes));
        FUZZ_CHECK(verity.data_blocks > 0 && verity.total_blocks > verity.data_blocks);
        tc_verity_parameters(&verity, "/dev/nbd0", &table);
        FUZZ_CHECK(tc_buf_ok(&table));
        tc_buf_free(&again);
        tc_buf_free(&table);
    }
    struct tc_nbd_request request;
    if (tc_nbd_request_decode(bytes, &request, &err) == TC_OK) {
        struct tc_buf again = tc_buf_new(TC_NBD_REQUEST_SIZE);
        tc_nbd_request_encode(&request, &again);
        FUZZ_CHECK(tc_buf_ok(&again) && again.size == size);
        tc_buf_free(&again);
    }
    uint64_t export_size;
    if (tc_nbd_greeting_check(bytes, &err) == TC_OK) FUZZ_CHECK(size == TC_NBD_GREETING_SIZE);
    if (tc_nbd_choice_check(bytes, &err) == TC_OK) FUZZ_CHECK(size == TC_NBD_CHOICE_SIZE);
    if (tc_nbd_export_decode(bytes, &export_size, &err) == TC_OK)
        FUZZ_CHECK(size == TC_NBD_EXPORT_SIZE);
    return 0;
}
