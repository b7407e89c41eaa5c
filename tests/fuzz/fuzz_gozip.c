/* The zip of a Go module: how it was cut into pieces must not show. The first byte is the
 * size of the pieces. */
#include "fuzz.h"

#include <string.h>

#include "base/cleanup.h"
#include "core/gozip.h"

static tc_status digest_of(struct tc_span bytes, size_t piece, struct tc_sha256 *ret_h1,
                           struct tc_error *err)
{
    TC_AUTO_GOZIP struct tc_gozip *zip = tc_gozip_new();
    FUZZ_CHECK(zip != NULL);
    while (bytes.size > 0) {
        struct tc_span part = {bytes.data, bytes.size < piece ? bytes.size : piece};
        tc_gozip_add(zip, part);
        bytes.data += part.size;
        bytes.size -= part.size;
    }
    return tc_gozip_finish(zip, ret_h1, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    struct tc_span bytes = {data + 1, size - 1};
    struct tc_error err = {0}, err_pieces = {0};
    struct tc_sha256 whole, pieces;
    tc_status status = digest_of(bytes, bytes.size, &whole, &err);
    FUZZ_CHECK(digest_of(bytes, (size_t)data[0] + 1, &pieces, &err_pieces) == status);
    if (status == TC_OK)
        FUZZ_CHECK(memcmp(&whole, &pieces, sizeof whole) == 0);
    else
        FUZZ_CHECK(err.message[0] != '\0' && strcmp(err.message, err_pieces.message) == 0);
    return 0;
}
