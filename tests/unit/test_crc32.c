/* CRC-32 against zlib's: every length around the steps, every alignment, in pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <zlib.h>

#include "core/crc32.h"

enum { SIZE = 1 << 16 };

static uint8_t *random_bytes(void)
{
    uint8_t *bytes = malloc(SIZE);
    uint32_t value = 1;
    assert_non_null(bytes);
    for (size_t i = 0; i < SIZE; i++) {
        value = value * 1664525 + 1013904223;
        bytes[i] = (uint8_t)(value >> 24);
    }
    return bytes;
}

static void test_known(void **state)
{
    (void)state;
    assert_int_equal(tc_crc32(0, (const uint8_t *)"123456789", 9), 0xcbf43926);
    assert_int_equal(tc_crc32(0, (const uint8_t *)"", 0), 0);
    assert_int_equal(tc_crc32(5, NULL, 0), 5);
}

static void test_lengths_and_alignments(void **state)
{
    (void)state;
    uint8_t *bytes = random_bytes();
    for (size_t at = 0; at < 17; at++)
        for (size_t size = 0; size < 600; size++)
            if (tc_crc32(0, bytes + at, size) != crc32(0, bytes + at, (uInt)size))
                fail_msg("at %zu, %zu bytes", at, size);
    assert_int_equal(tc_crc32(0, bytes, SIZE), crc32(0, bytes, SIZE));
    memset(bytes, 0, SIZE);
    assert_int_equal(tc_crc32(0, bytes, SIZE), crc32(0, bytes, SIZE));
    memset(bytes, 0xff, SIZE);
    assert_int_equal(tc_crc32(0, bytes, SIZE), crc32(0, bytes, SIZE));
    free(bytes);
}

static void test_pieces(void **state)
{
    (void)state;
    uint8_t *bytes = random_bytes();
    uint32_t whole = (uint32_t)crc32(0, bytes, SIZE);
    for (size_t piece = 1; piece < 400; piece += 7) {
        uint32_t crc = 0;
        for (size_t at = 0; at < SIZE; at += piece)
            crc = tc_crc32(crc, bytes + at, SIZE - at < piece ? SIZE - at : piece);
        assert_int_equal(crc, whole);
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),
        cmocka_unit_test(test_lengths_and_alignments),
        cmocka_unit_test(test_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
