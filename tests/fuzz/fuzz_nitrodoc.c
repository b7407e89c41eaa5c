/* Decodes, then authenticates against the root that the document itself brings,
 * so that seeds and their mutants reach the chain and the signature; against
 * AWS's root, which no input can be signed under, it must always fail. */
#include "core/nitrodoc.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_nitrodoc document;
    struct tc_error err = {0};
    tc_status status = tc_nitrodoc_decode((struct tc_span){data, size}, &document, &err);
    if (status != TC_OK) {
        FUZZ_CHECK(status == TC_MALFORMED || status == TC_REFUSED);
        return 0;
    }
    FUZZ_CHECK(document.cabundle_count > 0 && document.cabundle_count <= TC_NITRODOC_CHAIN_MAX);
    int64_t at = (int64_t)(document.timestamp / 1000);
    status = tc_nitrodoc_authenticate(&document, document.cabundle[0], at, &err);
    FUZZ_CHECK(status == TC_OK || status == TC_MALFORMED || status == TC_REFUSED);
    FUZZ_CHECK(tc_nitrodoc_authenticate(&document, tc_aws_root(), at, &err) != TC_OK);

    struct tc_buf payload = tc_buf_new(TC_NITRODOC_PAYLOAD_MAX);
    tc_nitrodoc_encode_payload(&document, &payload);
    tc_buf_free(&payload);
    return 0;
}
