/* A message is a polynomial over GF(2), its CRC the rest of a division. Sixteen
 * bytes that stand n bits before other sixteen can be replaced by a product that
 * has the same rest and is added to those: high and low half, each multiplied
 * without carries by the rest of x^(n+32) and x^(n-32). So 64 bytes at a time are
 * folded into the 64 that follow, until sixteen are left, and zlib computes the CRC
 * of those. There is no table and no constant but the four rests. */
#include "core/crc32.h"

#include <zlib.h>

enum { LANE = 16, STEP = 4 * LANE };

static uint32_t plain(uint32_t crc, const uint8_t *data, size_t size)
{
    return size > 0 ? (uint32_t)crc32_z(crc, data, size) : crc;
}

#if defined(__x86_64__)

#include <immintrin.h>

/* Rests modulo the polynomial 0x104c11db7, bits in reversed order, as the bits of a
 * byte are in this CRC. */
#define X544 0x154442bd4 /* x^(512 + 32) */
#define X480 0x1c6e41596 /* x^(512 - 32) */
#define X160 0x1751997d0 /* x^(128 + 32) */
#define X96 0x0ccaa009e  /* x^(128 - 32) */

__attribute__((target("pclmul,sse2"))) static inline __m128i fold(__m128i lane, __m128i rests,
                                                                  __m128i onto)
{
    __m128i low = _mm_clmulepi64_si128(lane, rests, 0x00);
    __m128i high = _mm_clmulepi64_si128(lane, rests, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), onto);
}

__attribute__((target("pclmul,sse2"))) static inline __m128i load(const uint8_t *data)
{
    return _mm_loadu_si128((const __m128i *)(const void *)data);
}

/* size is at least STEP; takes a multiple of it. */
__attribute__((target("pclmul,sse2"))) static uint32_t folded(uint32_t crc, const uint8_t *data,
                                                              size_t size)
{
    const __m128i far = _mm_set_epi64x(X480, X544), near = _mm_set_epi64x(X96, X160);
    __m128i a = load(data), b = load(data + LANE), c = load(data + 2 * LANE),
            d = load(data + 3 * LANE);
    a = _mm_xor_si128(a, _mm_cvtsi32_si128((int)~crc)); /* zlib keeps the state inverted */
    for (size_t at = STEP; at < size; at += STEP) {
        a = fold(a, far, load(data + at));
        b = fold(b, far, load(data + at + LANE));
        c = fold(c, far, load(data + at + 2 * LANE));
        d = fold(d, far, load(data + at + 3 * LANE));
    }
    uint8_t left[LANE];
    a = fold(fold(fold(a, near, b), near, c), near, d);
    _mm_storeu_si128((__m128i *)(void *)left, a);
    return plain(UINT32_MAX, left, sizeof left); /* the start is in there already */
}

static int can_fold(void)
{
    return __builtin_cpu_supports("pclmul");
}

#else

static uint32_t folded(uint32_t crc, const uint8_t *data, size_t size)
{
    return plain(crc, data, size);
}

static int can_fold(void)
{
    return 0;
}

#endif

uint32_t tc_crc32(uint32_t crc, const uint8_t *data, size_t size)
{
    size_t whole = size - size % STEP;
    if (whole == 0 || !can_fold()) return plain(crc, data, size);
    return plain(folded(crc, data, whole), data + whole, size - whole);
}
