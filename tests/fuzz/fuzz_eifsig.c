/* The signature section of an image: what is accepted is for the PCR0 that it
 * names, if it verifies at all, and for no other. */
#include "core/eifsig.h"

#include "core/eif.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_eifsig signature = {0};
    struct tc_error err = {0};
    if (size > TC_EIF_SIGNATURE_MAX) return 0;
    tc_status status = tc_eifsig_decode((struct tc_span){data, size}, &signature, &err);
    FUZZ_CHECK(status == TC_OK || status == TC_MALFORMED || status == TC_REFUSED);
    if (status == TC_OK) {
        struct tc_sha384 other = signature.pcr0;
        other.bytes[17] ^= 1;
        status = tc_eifsig_verify(&signature, &signature.pcr0, &err);
        FUZZ_CHECK(status == TC_OK || status == TC_REFUSED);
        FUZZ_CHECK(tc_eifsig_verify(&signature, &other, &err) == TC_REFUSED);
        FUZZ_CHECK(signature.not_before >= 0 && signature.not_after >= 0);
    }
    tc_eifsig_free(&signature);
    return 0;
}
