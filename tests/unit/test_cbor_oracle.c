/* Our CBOR reader against another implementation, libcbor, over generated
 * inputs: what ours accepts, libcbor must accept, to the same end, and write
 * back as the same bytes; what ours refuses, libcbor must refuse too, or read
 * something that the profile leaves out (a tag, a float, an indefinite length,
 * a longer head, too deep, bad text). The generator is seeded with a constant:
 * the same inputs each time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cbor.h>
#include <cmocka.h>

#include "base/text.h"
#include "core/cbor.h"

enum { INPUT_MAX = 48, INPUTS = 400000 };

/* xorshift: small, and the same everywhere. */
static uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

/* Heads with small counts, so that a good part of the inputs is well-formed;
 * sometimes any byte at all. */
static size_t generate(uint32_t *seed, uint8_t *out)
{
    size_t size = next_random(seed) % INPUT_MAX + 1;
    for (size_t i = 0; i < size; i++) {
        uint32_t random = next_random(seed);
        uint32_t kind = random >> 8 & 7;
        /* Any byte but the heads of four- and eight-byte lengths: for those
         * libcbor allocates what they claim, before it looks. */
        uint8_t any = (uint8_t)(random >> 16);
        if (random % 16 == 0 && ((any & 31) < 26 || (any & 31) > 27))
            out[i] = any;
        else if (kind == TC_CBOR_SIMPLE)
            out[i] = (uint8_t)(0xf4 + (random >> 16) % 3);
        else if (random % 16 < 3 && kind < 2)
            out[i] = (uint8_t)(kind << 5 | (24 + (random >> 16) % 2));
        else
            out[i] = (uint8_t)((kind == TC_CBOR_TAG ? 0 : kind) << 5 | (random >> 16) % 5);
    }
    return size;
}

/* Whether the item, as libcbor read it, is inside the profile. Its depth counts
 * containers with something in them. */
static bool in_profile(const cbor_item_t *item, size_t depth)
{
    switch (cbor_typeof(item)) {
    case CBOR_TYPE_UINT:
    case CBOR_TYPE_NEGINT: return true;
    case CBOR_TYPE_BYTESTRING: return cbor_bytestring_is_definite(item);
    case CBOR_TYPE_STRING:
        return cbor_string_is_definite(item) &&
               tc_is_utf8((struct tc_span){cbor_string_handle(item), cbor_string_length(item)});
    case CBOR_TYPE_ARRAY:
        if (!cbor_array_is_definite(item) || (depth == 0 && cbor_array_size(item) > 0))
            return false;
        for (size_t i = 0; i < cbor_array_size(item); i++)
            if (!in_profile(cbor_array_handle(item)[i], depth - 1)) return false;
        return true;
    case CBOR_TYPE_MAP:
        if (!cbor_map_is_definite(item) || (depth == 0 && cbor_map_size(item) > 0)) return false;
        for (size_t i = 0; i < cbor_map_size(item); i++)
            if (!in_profile(cbor_map_handle(item)[i].key, depth - 1) ||
                !in_profile(cbor_map_handle(item)[i].value, depth - 1))
                return false;
        return true;
    case CBOR_TYPE_TAG: return false;
    case CBOR_TYPE_FLOAT_CTRL:
        return cbor_float_ctrl_is_ctrl(item) && (cbor_is_bool(item) || cbor_is_null(item));
    }
    return false;
}

static void compare(const uint8_t *bytes, size_t size, size_t *accepted)
{
    struct tc_error err = {0};
    struct tc_cursor cursor = tc_cursor_of((struct tc_span){bytes, size});
    bool ours = tc_cbor_skip(&cursor, "item", &err) == TC_OK;
    struct cbor_load_result result;
    cbor_item_t *item = cbor_load(bytes, size, &result);
    if (ours) {
        uint8_t again[INPUT_MAX];
        assert_non_null(item);
        assert_int_equal(result.read, cursor.next - bytes);
        /* libcbor keeps the width of integers, so that only the profile check
         * and the lengths tell a longer head; both ways are compared below. */
        assert_true(in_profile(item, TC_CBOR_DEPTH_MAX));
        assert_int_equal(cbor_serialize(item, again, sizeof again), result.read);
        assert_memory_equal(again, bytes, result.read);
        (*accepted)++;
    } else if (item && in_profile(item, TC_CBOR_DEPTH_MAX)) {
        /* Ours refused a value of the profile: only a longer head explains it. */
        assert_non_null(strstr(err.message, "shortest form"));
    }
    if (item) cbor_decref(&item);
}

static void test_generated(void **state)
{
    (void)state;
    uint32_t seed = 20250101;
    size_t accepted = 0;
    for (size_t i = 0; i < INPUTS; i++) {
        uint8_t bytes[INPUT_MAX];
        size_t size = generate(&seed, bytes);
        compare(bytes, size, &accepted);
    }
    /* The comparison is worth nothing if nearly all are refused. */
    assert_true(accepted > INPUTS / 4);
    assert_true(accepted < INPUTS - INPUTS / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_generated)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
