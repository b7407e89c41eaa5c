/* The second ramdisk of an image: a cpio archive (newc, as the kernel unpacks it) of
 * exactly these members, not compressed, the same bytes for the same contents:
 *
 *   toolchain                folder, 0755
 *   toolchain/image          what the image says of itself (imagetext.h)
 *   toolchain/root.verity    the toolchain's description (verity.h), or
 *   toolchain/root.erofs     the file system itself: a self-contained image
 *   toolchain/complete       the mark, the same text in every image
 *   TRAILER!!!
 *
 * inode numbers count from 1, owner 0, time 0, files 0644, padded with zeros to a
 * multiple of 512 bytes. It must begin at a multiple of 4 bytes of all ramdisks. */
#ifndef TC_CORE_TOOLRAMDISK_H
#define TC_CORE_TOOLRAMDISK_H

#include "core/imagetext.h"
#include "core/verity.h"

#define TC_RAMDISK_MARK_TEXT "tee-compile: this ramdisk is complete\n"

enum { TC_TOOLRAMDISK_HEAD_MAX = TC_IMAGE_TEXT_MAX + 4096 };

/* What stands before the toolchain and what behind it, so that a file system of any
 * size can be streamed in between. root_size: bytes of root.erofs. */
tc_status tc_toolramdisk_head(const struct tc_image_text *text, uint64_t root_size, struct tc_buf *buf,
                              struct tc_error *err) TC_MUST_USE;
void tc_toolramdisk_tail(uint64_t head_and_root_size, struct tc_buf *buf);

/* The whole of it with root.verity. */
tc_status tc_toolramdisk_encode(const struct tc_image_text *text, const struct tc_verity *verity,
                                struct tc_buf *buf, struct tc_error *err) TC_MUST_USE;

struct tc_toolramdisk {
    struct tc_image_text text;
    bool self_contained;
    struct tc_verity verity;          /* unless self_contained */
    uint64_t root_offset, root_size;  /* of root.erofs in the ramdisk, when self_contained */
};
void tc_toolramdisk_free(struct tc_toolramdisk *ramdisk);
#define TC_AUTO_TOOLRAMDISK TC_CLEANUP(tc_toolramdisk_free)

/* Strict: the archive is what this module would write again from what it read.
 * head holds the ramdisk's first bytes, TC_TOOLRAMDISK_HEAD_MAX of them or all;
 * size is the whole ramdisk's. TC_MALFORMED; TC_USAGE when head is not that. For a self-contained image the bytes behind the
 * root are the caller's to compare with tc_toolramdisk_tail. */
tc_status tc_toolramdisk_decode(struct tc_span head, uint64_t size, struct tc_toolramdisk *ret_ramdisk,
                                struct tc_error *err) TC_MUST_USE;

#endif
