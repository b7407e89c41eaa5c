/* Reader of enclave image files.
 *
 *   HEADER -> SECTION -> DATA -> SECTION -> DATA ... -> DONE
 *
 * The header's table says where each section is and how long, and each section
 * says its kind and its length again. Everything that can be said of the table
 * alone is checked before the first section, so that from then on the position
 * in the file follows from the sizes and no offset is ever used. */
#include "core/eif.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "core/crc32.h"
#include "core/json.h"

enum { FLAG_AARCH64 = 1, MAGIC_SIZE = 2 };

const char *tc_eif_kind_name(enum tc_eif_kind kind)
{
    switch (kind) {
    case TC_EIF_KERNEL:
        return "kernel";
    case TC_EIF_CMDLINE:
        return "cmdline";
    case TC_EIF_RAMDISK:
        return "ramdisk";
    case TC_EIF_SIGNATURE:
        return "signature";
    case TC_EIF_METADATA:
        return "metadata";
    }
    return "unknown";
}

enum state { STATE_HEADER, STATE_SECTION, STATE_DATA, STATE_DONE };

struct tc_eif_reader {
    struct tc_eif_handler handler;
    bool check_crc;
    enum state state;
    uint64_t wanted; /* bytes until the state is complete */
    uint64_t at;     /* bytes taken */
    uint32_t crc;
    unsigned warnings;
    uint8_t head[TC_EIF_HEADER_SIZE]; /* the header at hand, as it comes */
    size_t head_size;
    struct tc_eif_header header;
    struct tc_eif_section section;
    size_t sections_done;
    uint64_t ramdisk_bytes;    /* of the ramdisks before the one at hand */
    uint8_t first[MAGIC_SIZE]; /* of the ramdisk at hand */
    size_t first_size;
    struct tc_buf metadata;
};

struct tc_eif_reader *tc_eif_reader_new(const struct tc_eif_handler *handler, enum tc_eif_crc crc)
{
    struct tc_eif_reader *reader = calloc(1, sizeof *reader);
    if (!reader) return NULL;
    reader->handler = *handler;
    reader->check_crc = crc == TC_EIF_CRC_CHECKED;
    reader->state = STATE_HEADER;
    reader->wanted = TC_EIF_HEADER_SIZE;
    reader->metadata = tc_buf_new(TC_EIF_METADATA_MAX);
    return reader;
}

void tc_eif_reader_free(struct tc_eif_reader *reader)
{
    if (!reader) return;
    tc_buf_free(&reader->metadata);
    free(reader);
}

unsigned tc_eif_reader_warnings(const struct tc_eif_reader *reader)
{
    return reader->warnings;
}

uint32_t tc_eif_reader_crc(const struct tc_eif_reader *reader)
{
    return reader->crc;
}

/* The table: sections one after the other from the header on, zeros behind them. */
static tc_status check_table(const uint64_t *offsets, struct tc_eif_header *header,
                             struct tc_error *err)
{
    uint64_t at = TC_EIF_HEADER_SIZE;
    for (size_t i = 0; i < TC_EIF_SECTIONS_MAX; i++) {
        if (i >= header->sections_count) {
            if (offsets[i] == 0 && header->sizes[i] == 0) continue;
            return tc_fail(err, TC_MALFORMED,
                           "the image's header: slot %zu of its table is set, but it has %zu "
                           "sections; expected zeros",
                           i, header->sections_count);
        }
        if (offsets[i] != at)
            return tc_fail(err, TC_MALFORMED,
                           "the image's header: section %zu is at %llu; expected %llu, with "
                           "neither gap nor overlap",
                           i, (unsigned long long)offsets[i], (unsigned long long)at);
        if (header->sizes[i] > TC_EIF_SIZE_MAX ||
            at + TC_EIF_SECTION_HEADER_SIZE + header->sizes[i] > TC_EIF_SIZE_MAX)
            return tc_fail(err, TC_MALFORMED,
                           "the image's header: section %zu claims %llu bytes; an image has at "
                           "most 1 TiB",
                           i, (unsigned long long)header->sizes[i]);
        at += TC_EIF_SECTION_HEADER_SIZE + header->sizes[i];
    }
    header->file_size = at;
    return TC_OK;
}

static tc_status check_fixed(uint16_t version, uint16_t flags, uint16_t reserved, uint16_t count,
                             uint32_t unused, struct tc_error *err)
{
    if (version != TC_EIF_VERSION)
        return tc_fail(err, TC_MALFORMED, "the image's header: version %u; expected %d",
                       (unsigned)version, TC_EIF_VERSION);
    if ((flags & ~(unsigned)FLAG_AARCH64) != 0)
        return tc_fail(err, TC_MALFORMED,
                       "the image's header: flags 0x%04x; expected 0 (x86_64) or 1 (aarch64)",
                       (unsigned)flags);
    if (reserved != 0 || unused != 0)
        return tc_fail(err, TC_MALFORMED,
                       "the image's header: a reserved field is not zero (%u, %u)",
                       (unsigned)reserved, (unsigned)unused);
    if (count < TC_EIF_SECTIONS_MIN || count > TC_EIF_SECTIONS_MAX)
        return tc_fail(err, TC_MALFORMED,
                       "the image's header: %u sections; expected %d to %d (kernel, cmdline, "
                       "metadata and at least one ramdisk)",
                       (unsigned)count, TC_EIF_SECTIONS_MIN, TC_EIF_SECTIONS_MAX);
    return TC_OK;
}

static tc_status end_header(struct tc_eif_reader *reader, struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of((struct tc_span){reader->head, reader->head_size});
    struct tc_eif_header header = {0};
    struct tc_span found;
    uint16_t version = 0, flags = 0, reserved = 0, count = 0;
    uint32_t unused = 0;
    uint64_t offsets[TC_EIF_SECTIONS_MAX] = {0};
    bool whole = tc_cursor_take(&cursor, strlen(TC_EIF_MAGIC), &found) &&
                 tc_cursor_u16(&cursor, &version) && tc_cursor_u16(&cursor, &flags) &&
                 tc_cursor_u64(&cursor, &header.default_memory) &&
                 tc_cursor_u64(&cursor, &header.default_cpus) &&
                 tc_cursor_u16(&cursor, &reserved) && tc_cursor_u16(&cursor, &count);
    for (size_t i = 0; whole && i < TC_EIF_SECTIONS_MAX; i++)
        whole = tc_cursor_u64(&cursor, &offsets[i]);
    for (size_t i = 0; whole && i < TC_EIF_SECTIONS_MAX; i++)
        whole = tc_cursor_u64(&cursor, &header.sizes[i]);
    if (!whole || !tc_cursor_u32(&cursor, &unused) || !tc_cursor_u32(&cursor, &header.crc) ||
        tc_cursor_left(&cursor) != 0)
        return tc_fail(err, TC_MALFORMED, "the image's header is not of %d bytes",
                       TC_EIF_HEADER_SIZE);
    if (!tc_span_equal(found, tc_span_of_text(TC_EIF_MAGIC)))
        return tc_fail(err, TC_MALFORMED, "this is no enclave image: it does not begin with .eif");
    TC_TRY(check_fixed(version, flags, reserved, count, unused, err));
    header.aarch64 = (flags & FLAG_AARCH64) != 0;
    header.sections_count = count;
    TC_TRY(check_table(offsets, &header, err));
    reader->header = header;
    if (reader->handler.header)
        TC_TRY(reader->handler.header(reader->handler.context, &header, err));
    reader->state = STATE_SECTION;
    reader->wanted = TC_EIF_SECTION_HEADER_SIZE;
    return TC_OK;
}

/* The one kind that may stand at a place; the last may also be a signature. */
static bool kind_fits(uint16_t kind, size_t index, size_t count)
{
    switch (index) {
    case 0:
        return kind == TC_EIF_KERNEL;
    case 1:
        return kind == TC_EIF_CMDLINE;
    case 2:
        return kind == TC_EIF_METADATA;
    case 3:
        return kind == TC_EIF_RAMDISK;
    default:
        return kind == TC_EIF_RAMDISK || (kind == TC_EIF_SIGNATURE && index == count - 1);
    }
}

static tc_status check_size(const struct tc_eif_section *section, struct tc_error *err)
{
    uint64_t max = section->kind == TC_EIF_CMDLINE     ? TC_EIF_CMDLINE_MAX
                   : section->kind == TC_EIF_METADATA  ? TC_EIF_METADATA_MAX
                   : section->kind == TC_EIF_SIGNATURE ? TC_EIF_SIGNATURE_MAX
                                                       : TC_EIF_SIZE_MAX;
    if (section->size > max)
        return tc_fail(err, TC_MALFORMED,
                       "the image's section %zu (%s) has %llu bytes; expected at most %llu",
                       section->index, tc_eif_kind_name(section->kind),
                       (unsigned long long)section->size, (unsigned long long)max);
    if (section->size == 0 && section->kind != TC_EIF_CMDLINE)
        return tc_fail(err, TC_MALFORMED, "the image's section %zu (%s) is empty", section->index,
                       tc_eif_kind_name(section->kind));
    return TC_OK;
}

static tc_status end_section_header(struct tc_eif_reader *reader, struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of((struct tc_span){reader->head, reader->head_size});
    size_t index = reader->sections_done, count = reader->header.sections_count;
    uint16_t kind = 0, flags = 0;
    uint64_t size = 0;
    if (!tc_cursor_u16(&cursor, &kind) || !tc_cursor_u16(&cursor, &flags) ||
        !tc_cursor_u64(&cursor, &size))
        return tc_fail(err, TC_MALFORMED, "the image's section %zu has no header", index);
    if (!kind_fits(kind, index, count))
        return tc_fail(err, TC_MALFORMED,
                       "the image's section %zu of %zu has kind %u (%s); expected kernel, cmdline, "
                       "metadata, ramdisks and at most one signature, in this order",
                       index, count, (unsigned)kind, tc_eif_kind_name((enum tc_eif_kind)kind));
    if (flags != 0)
        return tc_fail(err, TC_MALFORMED, "the image's section %zu has flags 0x%04x; expected 0",
                       index, (unsigned)flags);
    if (size != reader->header.sizes[index])
        return tc_fail(err, TC_MALFORMED,
                       "the image's section %zu says %llu bytes, and the header's table %llu",
                       index, (unsigned long long)size,
                       (unsigned long long)reader->header.sizes[index]);
    struct tc_eif_section section = {.kind = (enum tc_eif_kind)kind,
                                     .index = index,
                                     .ramdisk = kind == TC_EIF_RAMDISK ? index - 3 : 0,
                                     .offset = reader->at,
                                     .size = size};
    TC_TRY(check_size(&section, err));
    reader->section = section;
    reader->first_size = 0;
    if (reader->handler.begin)
        TC_TRY(reader->handler.begin(reader->handler.context, &section, err));
    reader->state = STATE_DATA;
    reader->wanted = size;
    return TC_OK;
}

static tc_status check_cmdline(struct tc_span bytes, struct tc_error *err)
{
    for (size_t i = 0; i < bytes.size; i++)
        if (bytes.data[i] < 0x20 || bytes.data[i] > 0x7e)
            return tc_fail(err, TC_MALFORMED,
                           "the image's command line has the byte 0x%02x; expected printable "
                           "ASCII alone",
                           (unsigned)bytes.data[i]);
    return TC_OK;
}

static tc_status check_metadata(const struct tc_eif_reader *reader, struct tc_error *err)
{
    static const char name[] = "the image's metadata";
    TC_AUTO_JSON struct tc_json_text *text = NULL;
    TC_TRY(tc_json_parse(tc_buf_span(&reader->metadata), name, TC_EIF_METADATA_MAX, &text, err));
    struct tc_json top = tc_json_top(text, name);
    return tc_json_object(&top, err);
}

/* By the two bytes that Linux tells its decompressors apart. */
static bool is_compressed(const uint8_t first[MAGIC_SIZE])
{
    static const uint8_t known[][MAGIC_SIZE] = {
        {0x1f, 0x8b}, {0x1f, 0x9e}, /* gzip */
        {0x42, 0x5a},               /* bzip2 */
        {0x5d, 0x00},               /* lzma */
        {0xfd, 0x37},               /* xz */
        {0x89, 0x4c},               /* lzo */
        {0x02, 0x21},               /* lz4 */
        {0x28, 0xb5},               /* zstd */
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (memcmp(first, known[i], MAGIC_SIZE) == 0) return true;
    return false;
}

static void watch_ramdisk(struct tc_eif_reader *reader, struct tc_span bytes)
{
    for (size_t i = 0; i < bytes.size && reader->first_size < MAGIC_SIZE; i++)
        reader->first[reader->first_size++] = bytes.data[i];
}

static void end_ramdisk(struct tc_eif_reader *reader)
{
    bool compressed = reader->first_size == MAGIC_SIZE && is_compressed(reader->first);
    if (reader->ramdisk_bytes % TC_EIF_ALIGNMENT != 0 && !compressed)
        reader->warnings |= TC_EIF_WARNING_UNALIGNED;
    reader->ramdisk_bytes += reader->section.size;
}

static tc_status end_data(struct tc_eif_reader *reader, struct tc_error *err)
{
    if (reader->section.kind == TC_EIF_METADATA) TC_TRY(check_metadata(reader, err));
    if (reader->section.kind == TC_EIF_RAMDISK) end_ramdisk(reader);
    if (reader->handler.end) TC_TRY(reader->handler.end(reader->handler.context, err));
    bool last = ++reader->sections_done == reader->header.sections_count;
    reader->state = last ? STATE_DONE : STATE_SECTION;
    reader->wanted = last ? 0 : TC_EIF_SECTION_HEADER_SIZE;
    return TC_OK;
}

static tc_status take_data(struct tc_eif_reader *reader, struct tc_span bytes, struct tc_error *err)
{
    switch (reader->section.kind) {
    case TC_EIF_CMDLINE:
        TC_TRY(check_cmdline(bytes, err));
        break;
    case TC_EIF_METADATA:
        tc_buf_add_span(&reader->metadata, bytes);
        TC_TRY(tc_buf_check(&reader->metadata, "the image's metadata", err));
        break;
    case TC_EIF_RAMDISK:
        watch_ramdisk(reader, bytes);
        break;
    case TC_EIF_KERNEL:
    case TC_EIF_SIGNATURE:
        break;
    }
    return reader->handler.data ? reader->handler.data(reader->handler.context, bytes, err) : TC_OK;
}

static tc_status take(struct tc_eif_reader *reader, struct tc_span bytes, struct tc_error *err)
{
    switch (reader->state) {
    case STATE_HEADER:
    case STATE_SECTION:
        memcpy(reader->head + reader->head_size, bytes.data, bytes.size);
        reader->head_size += bytes.size;
        return TC_OK;
    case STATE_DATA:
        return take_data(reader, bytes, err);
    case STATE_DONE:
        break;
    }
    return tc_fail(err, TC_MALFORMED,
                   "the image has bytes after its last section, which ends at %llu",
                   (unsigned long long)reader->header.file_size);
}

/* The state has all its bytes: on to the next one. */
static tc_status advance(struct tc_eif_reader *reader, struct tc_error *err)
{
    tc_status status = TC_OK;
    switch (reader->state) {
    case STATE_HEADER:
        status = end_header(reader, err);
        break;
    case STATE_SECTION:
        status = end_section_header(reader, err);
        break;
    case STATE_DATA:
        status = end_data(reader, err);
        break;
    case STATE_DONE:
        break;
    }
    reader->head_size = 0;
    return status;
}

/* The CRC leaves out its own four bytes, the last of the header. */
static void add_crc(struct tc_eif_reader *reader, struct tc_span bytes)
{
    if (!reader->check_crc) return;
    if (reader->state == STATE_HEADER) {
        size_t left = reader->at < TC_EIF_CRC_AT ? TC_EIF_CRC_AT - (size_t)reader->at : 0;
        if (bytes.size > left) bytes.size = left;
    }
    reader->crc = tc_crc32(reader->crc, bytes.data, bytes.size);
}

tc_status tc_eif_reader_add(struct tc_eif_reader *reader, struct tc_span bytes,
                            struct tc_error *err)
{
    while (bytes.size > 0) {
        size_t now = bytes.size;
        if (reader->state != STATE_DONE && now > reader->wanted) now = (size_t)reader->wanted;
        struct tc_span piece = {bytes.data, now};
        add_crc(reader, piece);
        TC_TRY(take(reader, piece, err));
        reader->at += now;
        reader->wanted -= now;
        bytes.data += now;
        bytes.size -= now;
        /* An empty command line goes through DATA without a byte. */
        while (reader->state != STATE_DONE && reader->wanted == 0)
            TC_TRY(advance(reader, err));
    }
    return TC_OK;
}

static tc_status check_whole(const struct tc_eif_reader *reader, struct tc_error *err)
{
    if (reader->state == STATE_DONE) return TC_OK;
    if (reader->state == STATE_HEADER)
        return tc_fail(err, TC_MALFORMED,
                       "this is no enclave image: it has %llu bytes, and the header alone %d",
                       (unsigned long long)reader->at, TC_EIF_HEADER_SIZE);
    return tc_fail(err, TC_MALFORMED,
                   "the image is cut off: it has %llu bytes, and its header speaks of %llu",
                   (unsigned long long)reader->at, (unsigned long long)reader->header.file_size);
}

tc_status tc_eif_reader_finish(struct tc_eif_reader *reader, struct tc_error *err)
{
    TC_TRY(check_whole(reader, err));
    if (reader->check_crc && reader->crc != reader->header.crc)
        return tc_fail(err, TC_REFUSED,
                       "the image is damaged: its CRC-32 is %08x, and its header says %08x; fetch "
                       "or build it again",
                       (unsigned)reader->crc, (unsigned)reader->header.crc);
    return TC_OK;
}
