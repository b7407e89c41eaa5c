/* A cpio archive of which only four things can differ: the image's text, which of
 * two files describes the toolchain, that file's bytes, and how many they are. So
 * there is a writer, and the reader takes just enough from the bytes to let the
 * writer write them again; what it writes is compared with all that was given. */
#include "core/toolramdisk.h"

#include <string.h>

#include "base/cleanup.h"

/* Of the newc format: magic and thirteen numbers of eight hex digits. */
enum {
    HEADER_SIZE = 110,
    FILE_SIZE_AT = 6 + 6 * 8,
    FILE_SIZE_MAX = 0xfffff000, /* whole blocks in 32 bits */
    ALIGNMENT = 4,
    PADDING = 512,
};
enum { MODE_FOLDER = 0040755, MODE_FILE = 0100644 };

#define FOLDER "toolchain"
#define TEXT_NAME "toolchain/image"
#define VERITY_NAME "toolchain/root.verity"
#define ROOT_NAME "toolchain/root.erofs"
#define MARK_NAME "toolchain/complete"
#define TRAILER "TRAILER!!!"

/* The members' inode numbers, in their order. */
enum { FOLDER_INODE = 1, TEXT_INODE, ROOT_INODE, MARK_INODE, TRAILER_INODE };

static void pad(struct tc_buf *buf, uint64_t size, size_t alignment)
{
    static const uint8_t zeros[PADDING];
    tc_buf_add(buf, zeros, (size_t)((alignment - size % alignment) % alignment));
}

/* Its size is a multiple of four. */
static void add_header(struct tc_buf *buf, const char *name, unsigned inode, unsigned mode,
                       uint32_t size)
{
    unsigned name_size = (unsigned)strlen(name) + 1;
    tc_buf_add_format(buf, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", inode,
                      mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0);
    tc_buf_add(buf, name, name_size);
    pad(buf, HEADER_SIZE + name_size, ALIGNMENT);
}

static void add_file(struct tc_buf *buf, const char *name, unsigned inode, struct tc_span bytes)
{
    add_header(buf, name, inode, MODE_FILE, (uint32_t)bytes.size);
    tc_buf_add_span(buf, bytes);
    pad(buf, bytes.size, ALIGNMENT);
}

/* Folder and text. */
static tc_status add_text(const struct tc_image_text *text, struct tc_buf *buf,
                          struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf bytes = tc_buf_new(TC_IMAGE_TEXT_MAX);
    TC_TRY(tc_image_text_encode(text, &bytes, err));
    add_header(buf, FOLDER, FOLDER_INODE, MODE_FOLDER, 0);
    add_file(buf, TEXT_NAME, TEXT_INODE, tc_buf_span(&bytes));
    return TC_OK;
}

tc_status tc_toolramdisk_head(const struct tc_image_text *text, uint64_t root_size,
                              struct tc_buf *buf, struct tc_error *err)
{
    if (root_size == 0 || root_size % TC_VERITY_BLOCK != 0 || root_size > FILE_SIZE_MAX)
        return tc_fail(err, TC_USAGE,
                       "a toolchain of %llu bytes cannot stand in a ramdisk: expected whole blocks "
                       "of %d bytes and less than 4 GiB; keep it beside the image",
                       (unsigned long long)root_size, TC_VERITY_BLOCK);
    TC_TRY(add_text(text, buf, err));
    add_header(buf, ROOT_NAME, ROOT_INODE, MODE_FILE, (uint32_t)root_size);
    return tc_buf_check(buf, "the head of a ramdisk", err);
}

void tc_toolramdisk_tail(uint64_t head_and_root_size, struct tc_buf *buf)
{
    size_t before = buf->size;
    pad(buf, head_and_root_size, ALIGNMENT);
    add_file(buf, MARK_NAME, MARK_INODE, tc_span_of_text(TC_RAMDISK_MARK_TEXT));
    add_header(buf, TRAILER, TRAILER_INODE, 0, 0);
    pad(buf, head_and_root_size + (buf->size - before), PADDING);
}

tc_status tc_toolramdisk_encode(const struct tc_image_text *text, const struct tc_verity *verity,
                                struct tc_buf *buf, struct tc_error *err)
{
    size_t before = buf->size;
    TC_AUTO_BUF struct tc_buf bytes = tc_buf_new(TC_VERITY_TEXT_MAX);
    tc_verity_encode(verity, &bytes);
    TC_TRY(tc_buf_check(&bytes, "a toolchain's description", err));
    TC_TRY(add_text(text, buf, err));
    add_file(buf, VERITY_NAME, ROOT_INODE, tc_buf_span(&bytes));
    tc_toolramdisk_tail(buf->size - before, buf);
    return tc_buf_check(buf, "a ramdisk", err);
}

/* --- reader --- */

void tc_toolramdisk_free(struct tc_toolramdisk *ramdisk)
{
    if (ramdisk) tc_image_text_free(&ramdisk->text);
}

static tc_status malformed(struct tc_error *err, const char *what)
{
    return tc_fail(err, TC_MALFORMED, "the second ramdisk is not one that this project writes: %s",
                   what);
}

static bool skip(struct tc_cursor *cursor, size_t size)
{
    struct tc_span skipped;
    return tc_cursor_take(cursor, size, &skipped);
}

/* Takes a member's header off and says how many bytes follow. What else it holds is
 * not looked at: it is compared later. */
static bool take_header(struct tc_cursor *cursor, const char *name, uint32_t *ret_size)
{
    struct tc_cursor at = *cursor;
    struct tc_span header, seen;
    size_t name_size = strlen(name) + 1;
    uint32_t size = 0;
    if (!tc_cursor_take(&at, HEADER_SIZE, &header) || !tc_cursor_take(&at, name_size, &seen) ||
        memcmp(seen.data, name, name_size) != 0 ||
        !skip(&at, (ALIGNMENT - (HEADER_SIZE + name_size) % ALIGNMENT) % ALIGNMENT))
        return false;
    for (size_t i = 0; i < 8; i++) {
        uint8_t digit = header.data[FILE_SIZE_AT + i];
        if (!((digit >= '0' && digit <= '9') || (digit >= 'A' && digit <= 'F'))) return false;
        size = size << 4 | (uint32_t)(digit <= '9' ? digit - '0' : digit - 'A' + 10);
    }
    *cursor = at;
    *ret_size = size;
    return true;
}

static bool take_file(struct tc_cursor *cursor, const char *name, struct tc_span *ret_bytes)
{
    struct tc_cursor at = *cursor;
    uint32_t size;
    if (!take_header(&at, name, &size) || !tc_cursor_take(&at, size, ret_bytes) ||
        !skip(&at, (ALIGNMENT - size % ALIGNMENT) % ALIGNMENT))
        return false;
    *cursor = at;
    return true;
}

/* What the writer makes of ramdisk is what there is. */
static tc_status compare(struct tc_span head, uint64_t size, struct tc_toolramdisk *ramdisk,
                         struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf again = tc_buf_new(TC_TOOLRAMDISK_HEAD_MAX);
    if (!ramdisk->self_contained) {
        TC_TRY(tc_toolramdisk_encode(&ramdisk->text, &ramdisk->verity, &again, err));
        return size == head.size && tc_span_equal(tc_buf_span(&again), head)
                   ? TC_OK
                   : malformed(err, "its bytes are not those of its contents");
    }
    TC_AUTO_BUF struct tc_buf tail = tc_buf_new(4 * PADDING);
    TC_TRY(tc_toolramdisk_head(&ramdisk->text, ramdisk->root_size, &again, err));
    ramdisk->root_offset = again.size;
    tc_toolramdisk_tail(ramdisk->root_offset + ramdisk->root_size, &tail);
    TC_TRY(tc_buf_check(&tail, "the end of a ramdisk", err));
    if (again.size > head.size ||
        !tc_span_equal(tc_buf_span(&again), (struct tc_span){head.data, again.size}))
        return malformed(err, "its bytes are not those of its contents");
    return size == ramdisk->root_offset + ramdisk->root_size + tail.size
               ? TC_OK
               : malformed(err, "its size is not that of its contents");
}

static tc_status read_members(struct tc_span head, struct tc_toolramdisk *ramdisk,
                              struct tc_error *err)
{
    struct tc_cursor rest = tc_cursor_of(head);
    struct tc_span bytes;
    uint32_t size;
    if (!take_header(&rest, FOLDER, &size) || size != 0 || !take_file(&rest, TEXT_NAME, &bytes))
        return malformed(err, "expected the folder " FOLDER " and the file " TEXT_NAME);
    TC_TRY(tc_image_text_decode(bytes, &ramdisk->text, err));
    if (take_file(&rest, VERITY_NAME, &bytes))
        return tc_verity_decode(bytes, &ramdisk->verity, err);
    if (!take_header(&rest, ROOT_NAME, &size) || size == 0 || size % TC_VERITY_BLOCK != 0)
        return malformed(err, "expected " VERITY_NAME ", or " ROOT_NAME " of whole blocks");
    ramdisk->self_contained = true;
    ramdisk->root_size = size;
    return TC_OK;
}

tc_status tc_toolramdisk_decode(struct tc_span head, uint64_t size,
                                struct tc_toolramdisk *ret_ramdisk, struct tc_error *err)
{
    TC_AUTO_TOOLRAMDISK struct tc_toolramdisk ramdisk = {0};
    if (head.size != (size < TC_TOOLRAMDISK_HEAD_MAX ? size : TC_TOOLRAMDISK_HEAD_MAX))
        return tc_fail(err, TC_USAGE, "%zu bytes of a ramdisk of %llu were given to be read",
                       head.size, (unsigned long long)size);
    TC_TRY(read_members(head, &ramdisk, err));
    TC_TRY(compare(head, size, &ramdisk, err));
    *ret_ramdisk = ramdisk;
    ramdisk = (struct tc_toolramdisk){0};
    return TC_OK;
}
