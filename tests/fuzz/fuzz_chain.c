/* A time of eight bytes, then certificates, each with its length in two bytes in
 * front; the first is the root that is trusted, the last the leaf. */
#include <openssl/evp.h>

#include "core/nitrodoc.h"
#include "core/x509chain.h"
#include "core/x509text.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_cursor cursor = tc_cursor_of((struct tc_span){data, size});
    struct tc_span list[TC_X509CHAIN_MAX + 2];
    struct tc_error err = {0};
    size_t count = 0;
    uint64_t time = 0;
    uint16_t length = 0;
    if (!tc_cursor_u64(&cursor, &time)) return 0;
    time &= (UINT64_C(1) << 38) - 1;
    while (count < sizeof list / sizeof *list && tc_cursor_u16(&cursor, &length) &&
           tc_cursor_take(&cursor, length, &list[count])) {
        struct tc_x509text text;
        tc_status status = tc_x509text_read(list[count], &text, &err);
        FUZZ_CHECK(status == TC_OK || status == TC_MALFORMED);
        count++;
    }
    if (count == 0) return 0;
    struct tc_x509chain chain = {list[0], list, count - 1, list[count - 1]};
    EVP_PKEY *key = NULL;
    int64_t at = (int64_t)time;
    tc_status status = tc_x509chain_verify(&chain, at, at, &key, &err);
    FUZZ_CHECK(status == TC_OK || status == TC_MALFORMED || status == TC_REFUSED);
    FUZZ_CHECK((status == TC_OK) == (key != NULL));
    EVP_PKEY_free(key);
    if (status == TC_OK) {
        /* Any other root, and the leaf as its own CA, are never good. */
        EVP_PKEY *none = NULL;
        chain.root = tc_aws_root();
        FUZZ_CHECK(tc_x509chain_verify(&chain, at, at, &none, &err) == TC_REFUSED && !none);
        chain.root = list[0];
        if (count > 2) chain.bundle_count--;
        if (count > 2)
            FUZZ_CHECK(tc_x509chain_verify(&chain, at, at, &none, &err) == TC_REFUSED && !none);
    }
    return 0;
}
