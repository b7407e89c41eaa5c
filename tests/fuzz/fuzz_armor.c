/* Whatever form the input has: a document in it begins with 0x84 and is bounded,
 * and comes back the same from the other two forms. */
#include <string.h>

#include "base/text.h"
#include "core/armor.h"
#include "fuzz.h"

static void check_again(struct tc_span text, enum tc_armor form, struct tc_span document)
{
    struct tc_buf again;
    struct tc_error err = {0};
    enum tc_armor seen = TC_ARMOR_RAW;
    FUZZ_CHECK(tc_armor_decode(text, &again, &seen, &err) == TC_OK);
    FUZZ_CHECK(seen == form && tc_span_equal(tc_buf_span(&again), document));
    tc_buf_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_buf document;
    struct tc_error err = {0};
    enum tc_armor form = TC_ARMOR_RAW;
    tc_status status = tc_armor_decode((struct tc_span){data, size}, &document, &form, &err);
    FUZZ_CHECK(status == TC_OK || status == TC_MALFORMED || status == TC_LIMIT);
    if (status == TC_OK) {
        struct tc_span bytes = tc_buf_span(&document);
        FUZZ_CHECK(bytes.size > 0 && bytes.size <= TC_NITRODOC_MAX && bytes.data[0] == 0x84);
        FUZZ_CHECK(bytes.size <= size);
        FUZZ_CHECK((form == TC_ARMOR_RAW) == (data[0] == 0x84));
        char *hex = malloc(2 * bytes.size + 1);
        struct tc_buf base64 = tc_buf_new(2 * bytes.size + 4);
        FUZZ_CHECK(hex);
        tc_hex(bytes, hex);
        tc_base64_add(&base64, bytes);
        check_again(tc_span_of_text(hex), TC_ARMOR_HEX, bytes);
        check_again(tc_buf_span(&base64), TC_ARMOR_BASE64, bytes);
        check_again(bytes, TC_ARMOR_RAW, bytes);
        tc_buf_free(&base64);
        free(hex);
    }
    tc_buf_free(&document);
    return 0;
}
