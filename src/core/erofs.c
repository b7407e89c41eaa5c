/* Fields of the superblock, little-endian, from its start at byte 1024: magic at 0,
 * the block's size as a power of two at 12, the number of blocks at 36, the features
 * that a reader must know at 80, the number of further devices at 86. One bit stands
 * for two features, a table of devices and a second algorithm: neither is used here. */
#include "core/erofs.h"

#include "core/little.h"

enum { SUPER = 1024, BITS_MIN = 9, BITS_MAX = 16, FEATURES_AT = 80 };

static const uint32_t magic = 0xe0f5e1e2;

/* What the builder's mkfs.erofs sets: lz4 with padding in front, clusters of several
 * blocks, ends that are packed with the inode, fragments. */
static const uint32_t known_features = 0x01 | 0x02 | 0x10 | 0x20;

tc_status tc_erofs_check(struct tc_span head, uint64_t size, struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(head);
    struct tc_span skipped;
    uint32_t seen_magic, blocks, features;
    uint16_t devices;
    uint8_t bits;
    if (!tc_cursor_take(&cursor, SUPER, &skipped) || !tc_little_u32(&cursor, &seen_magic) ||
        !tc_cursor_take(&cursor, 12 - 4, &skipped) || !tc_cursor_u8(&cursor, &bits) ||
        !tc_cursor_take(&cursor, 36 - 13, &skipped) || !tc_little_u32(&cursor, &blocks) ||
        !tc_cursor_take(&cursor, FEATURES_AT - 40, &skipped) ||
        !tc_little_u32(&cursor, &features) || !tc_cursor_take(&cursor, 2, &skipped) ||
        !tc_little_u16(&cursor, &devices) || seen_magic != magic)
        return tc_fail(err, TC_REFUSED, "the image's file system is no EROFS");
    if (bits < BITS_MIN || bits > BITS_MAX)
        return tc_fail(err, TC_REFUSED,
                       "the image's EROFS has blocks of 2^%u bytes: expected 2^%d to 2^%d", bits,
                       BITS_MIN, BITS_MAX);
    if ((features & ~known_features) != 0)
        return tc_fail(err, TC_REFUSED,
                       "the image's EROFS needs features that tee-compile's images do not have: "
                       "expected none but 0x%x, saw 0x%x",
                       known_features, features);
    if (devices != 0)
        return tc_fail(err, TC_REFUSED, "the image's EROFS uses %u further devices: expected none",
                       devices);
    if ((uint64_t)blocks << bits > size)
        return tc_fail(err, TC_REFUSED,
                       "the image's EROFS is cut: it claims %u blocks of %u bytes, and has %llu "
                       "bytes",
                       blocks, 1U << bits, (unsigned long long)size);
    return TC_OK;
}
