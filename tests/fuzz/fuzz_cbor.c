/* The first byte says how many of the next bytes choose readers; the rest is
 * CBOR that the chosen readers take apart. What skip accepts as one item is
 * also walked whole. */
#include "core/cbor.h"
#include "fuzz.h"

enum { MAX = 64 };

static tc_status read_map(struct tc_cursor *cursor, enum tc_cbor_length length,
                          struct tc_error *err)
{
    static const char *const names[] = {"a", "bb", "index", NULL};
    struct tc_cbor_map map = {0};
    uint32_t seen = 0;
    TC_TRY(tc_cbor_map(cursor, "map", MAX, length, &map, err));
    for (unsigned pairs = 0;; pairs++) {
        bool more = false;
        size_t index = 0;
        TC_TRY(tc_cbor_map_next(cursor, &map, &more, err));
        if (!more) return TC_OK;
        FUZZ_CHECK(pairs < MAX);
        TC_TRY(tc_cbor_key(cursor, "key", names, &seen, &index, err));
        FUZZ_CHECK(index < 3);
        TC_TRY(tc_cbor_skip(cursor, "value", err));
    }
}

static tc_status read_one(struct tc_cursor *cursor, unsigned reader, struct tc_error *err)
{
    struct tc_span span = {NULL, 0};
    uint64_t value = 0;
    int64_t integer = 0;
    size_t count = 0;
    bool yes = false;
    switch (reader % 9) {
    case 0: return tc_cbor_unsigned(cursor, "unsigned", 1000, &value, err);
    case 1: return tc_cbor_integer(cursor, "integer", &integer, err);
    case 2: return tc_cbor_bool(cursor, "bool", &yes, err);
    case 3: return tc_cbor_bytes(cursor, "bytes", MAX, &span, err);
    case 4: return tc_cbor_text(cursor, "text", MAX, &span, err);
    case 5: return tc_cbor_bytes_or_null(cursor, "bytes or null", MAX, &yes, &span, err);
    case 6: return tc_cbor_array(cursor, "array", MAX, &count, err);
    case 7: return read_map(cursor, TC_CBOR_MAY_BE_INDEFINITE, err);
    default: return read_map(cursor, TC_CBOR_DEFINITE, err);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_error err = {0};
    struct tc_cursor whole = tc_cursor_of((struct tc_span){data, size});
    if (tc_cbor_skip(&whole, "item", &err) == TC_OK) FUZZ_CHECK(whole.next > data);

    struct tc_cursor cursor = tc_cursor_of((struct tc_span){data, size});
    struct tc_span readers = {NULL, 0};
    uint8_t count = 0;
    if (!tc_cursor_u8(&cursor, &count) || !tc_cursor_take(&cursor, count, &readers)) return 0;
    for (size_t i = 0; i < readers.size; i++) {
        const uint8_t *before = cursor.next;
        tc_status status = read_one(&cursor, readers.data[i], &err);
        FUZZ_CHECK(status == TC_OK || status == TC_MALFORMED);
        FUZZ_CHECK(cursor.next <= cursor.end && cursor.next >= before);
        if (status != TC_OK) break;
        FUZZ_CHECK(cursor.next > before);
    }
    return 0;
}
