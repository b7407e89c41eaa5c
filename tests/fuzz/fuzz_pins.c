/* Lock files of the source, and what session sends to recorder of them. The first byte
 * says what the others are. What was read goes through both codecs as the same bytes; a
 * file that is refused leaves nothing behind. */
#include "fuzz.h"

#include <string.h>

#include "base/cleanup.h"
#include "core/pins.h"

enum { ENCODED_MAX = 1 << 24 };

static void check_same(struct tc_pins *pins)
{
    struct tc_error err = {0};
    TC_AUTO_BUF struct tc_buf bytes = tc_buf_new(ENCODED_MAX);
    TC_AUTO_BUF struct tc_buf again = tc_buf_new(ENCODED_MAX);
    TC_AUTO_PINS struct tc_pins *other = NULL;
    tc_pins_ready(pins);
    tc_pins_encode(pins, &bytes);
    FUZZ_CHECK(tc_buf_ok(&bytes));
    FUZZ_CHECK(tc_pins_decode(tc_buf_span(&bytes), &other, &err) == TC_OK);
    tc_pins_encode(other, &again);
    FUZZ_CHECK(tc_span_equal(tc_buf_span(&bytes), tc_buf_span(&again)));
}

static void decode(struct tc_span bytes)
{
    struct tc_error err = {0};
    TC_AUTO_PINS struct tc_pins *pins = NULL;
    TC_AUTO_BUF struct tc_buf again = tc_buf_new(ENCODED_MAX);
    if (tc_pins_decode(bytes, &pins, &err) != TC_OK) {
        FUZZ_CHECK(!pins && err.message[0] != '\0');
        return;
    }
    tc_pins_encode(pins, &again);
    FUZZ_CHECK(tc_span_equal(bytes, tc_buf_span(&again)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const paths[] = {"Cargo.lock", "package-lock.json", "a/go.sum",
                                        "requirements.txt"};
    struct tc_error err = {0};
    if (size == 0) return 0;
    struct tc_span bytes = {data + 1, size - 1};
    size_t choice = data[0] % 5;
    if (choice == 4) {
        decode(bytes);
        return 0;
    }
    TC_AUTO_PINS struct tc_pins *pins = tc_pins_new();
    FUZZ_CHECK(pins != NULL);
    if (tc_pins_add(pins, paths[choice], bytes, &err) != TC_OK) {
        FUZZ_CHECK(err.message[0] != '\0');
        for (int kind = TC_PIN_SHA256; kind <= TC_PIN_GO_ZIP; kind++)
            FUZZ_CHECK(!tc_pins_has(pins, (enum tc_pin_kind)kind));
    }
    check_same(pins);
    return 0;
}
