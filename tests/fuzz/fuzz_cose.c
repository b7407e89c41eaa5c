/* A P-384 point of 97 bytes, then a COSE_Sign1 that its key should have signed.
 * What is good is signed bytes: with one bit of the payload changed it must not
 * be good any more. */
#include <string.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "core/cose.h"
#include "core/nitrodoc.h"
#include "fuzz.h"

enum { POINT_SIZE = 97 };

static EVP_PKEY *read_key(const uint8_t *point)
{
    static const uint8_t head[] = {0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d,
                                   0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62,
                                   0x00};
    uint8_t spki[sizeof head + POINT_SIZE];
    const uint8_t *next = spki;
    memcpy(spki, head, sizeof head);
    memcpy(spki + sizeof head, point, POINT_SIZE);
    return d2i_PUBKEY(NULL, &next, sizeof spki);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_cose_sign1 sign1;
    struct tc_error err = {0};
    if (size < POINT_SIZE) return 0;
    struct tc_span bytes = {data + POINT_SIZE, size - POINT_SIZE};
    tc_status status = tc_cose_sign1_decode(bytes, TC_NITRODOC_PAYLOAD_MAX, &sign1, &err);
    FUZZ_CHECK(status == TC_OK || status == TC_MALFORMED || status == TC_REFUSED);
    if (status != TC_OK) return 0;
    FUZZ_CHECK(sign1.payload.size > 0 && sign1.payload.size <= TC_NITRODOC_PAYLOAD_MAX);
    FUZZ_CHECK(sign1.signature.size == TC_COSE_SIGNATURE_SIZE);
    FUZZ_CHECK(sign1.signature.data + sign1.signature.size == data + size);
    EVP_PKEY *key = read_key(data);
    if (!key) return 0;
    status = tc_cose_sign1_verify(&sign1, key, &err);
    FUZZ_CHECK(status == TC_OK || status == TC_REFUSED);
    if (status == TC_OK) {
        uint8_t *other = malloc(sign1.payload.size);
        FUZZ_CHECK(other);
        memcpy(other, sign1.payload.data, sign1.payload.size);
        other[sign1.payload.size / 2] ^= 1;
        sign1.payload.data = other;
        FUZZ_CHECK(tc_cose_sign1_verify(&sign1, key, &err) == TC_REFUSED);
        free(other);
    }
    EVP_PKEY_free(key);
    return 0;
}
