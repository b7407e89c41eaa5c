/* The first byte chooses: 0 is a request, n an answer to operation n. What
 * decodes is encoded again, and that must decode again and encode to the same. */
#include "core/nsmproto.h"
#include "fuzz.h"

static void check_request(struct tc_span bytes)
{
    struct tc_error err = {0};
    struct tc_nsm_request request, again;
    if (tc_nsm_request_decode(bytes, &request, &err) != TC_OK) return;
    struct tc_buf first = tc_buf_new(TC_NSM_REQUEST_MAX * 2);
    struct tc_buf second = tc_buf_new(TC_NSM_REQUEST_MAX * 2);
    tc_nsm_request_encode(&request, &first);
    /* Null for what was left out can make it longer than a request may be. */
    if (first.size <= TC_NSM_REQUEST_MAX) {
        FUZZ_CHECK(tc_nsm_request_decode(tc_buf_span(&first), &again, &err) == TC_OK);
        tc_nsm_request_encode(&again, &second);
        FUZZ_CHECK(tc_span_equal(tc_buf_span(&first), tc_buf_span(&second)));
    }
    tc_buf_free(&first);
    tc_buf_free(&second);
}

static void check_response(struct tc_span bytes, enum tc_nsm_op op)
{
    struct tc_error err = {0};
    struct tc_nsm_response response, again;
    if (tc_nsm_response_decode(bytes, op, &response, &err) != TC_OK) return;
    struct tc_buf first = tc_buf_new(TC_NSM_RESPONSE_MAX * 2);
    struct tc_buf second = tc_buf_new(TC_NSM_RESPONSE_MAX * 2);
    tc_nsm_response_encode(&response, &first);
    if (first.size <= TC_NSM_RESPONSE_MAX) {
        FUZZ_CHECK(tc_nsm_response_decode(tc_buf_span(&first), op, &again, &err) == TC_OK);
        tc_nsm_response_encode(&again, &second);
        FUZZ_CHECK(tc_span_equal(tc_buf_span(&first), tc_buf_span(&second)));
    }
    tc_buf_free(&first);
    tc_buf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    struct tc_span rest = {data + 1, size - 1};
    unsigned choice = data[0] % (TC_NSM_GET_RANDOM + 1);
    if (choice == 0)
        check_request(rest);
    else
        check_response(rest, (enum tc_nsm_op)choice);
    return 0;
}
