/* The image reader, fed whole and in pieces, must see the same sections; whatever
 * it accepts, the writer makes again byte for byte, and it measures the same on
 * one thread and on two.
 *
 * The first byte chooses: 0 the bytes as they are; 1 with the CRC put right, which
 * no mutation finds; 2 a list of sections (kind, u16 size, data) that is laid out
 * here, so that mutants reach what is in them. */
#include "core/eif.h"

#include <string.h>
#include <zlib.h>

#include "base/cleanup.h"
#include "core/eifmeasure.h"
#include "fuzz.h"

enum { IMAGE_MAX = 1 << 20, MODES = 3 };

struct made {
    struct tc_buf log;
    struct tc_eif_header header;
    struct tc_eif_writer *writer; /* NULL: not wanted */
    struct tc_buf image;          /* that it wrote */
    struct tc_eifmeasure *measure;
    struct tc_eif_section section;
    uint64_t left;
    bool unwritable; /* the writer refuses what the reader only warns of */
};

static tc_status on_header(void *context, const struct tc_eif_header *header, struct tc_error *err)
{
    struct made *made = context;
    static const uint8_t zeros[TC_EIF_HEADER_SIZE];
    FUZZ_CHECK(header->sections_count >= TC_EIF_SECTIONS_MIN &&
               header->sections_count <= TC_EIF_SECTIONS_MAX &&
               header->file_size <= TC_EIF_SIZE_MAX);
    made->header = *header;
    tc_buf_add(&made->image, zeros, sizeof zeros);
    return tc_eif_writer_new(header, &made->writer, err);
}

static tc_status on_begin(void *context, const struct tc_eif_section *section, struct tc_error *err)
{
    struct made *made = context;
    FUZZ_CHECK(made->left == 0 && section->index < made->header.sections_count);
    made->section = *section;
    made->left = section->size;
    tc_buf_add_format(&made->log, "%s %zu %zu %llu %llu ", tc_eif_kind_name(section->kind),
                      section->index, section->ramdisk, (unsigned long long)section->offset,
                      (unsigned long long)section->size);
    tc_eifmeasure_begin(made->measure, section);
    if (made->unwritable) return TC_OK;
    return tc_eif_writer_begin(made->writer, section->kind, &made->image, err);
}

static tc_status on_data(void *context, struct tc_span bytes, struct tc_error *err)
{
    struct made *made = context;
    FUZZ_CHECK(bytes.size > 0 && bytes.size <= made->left);
    made->left -= bytes.size;
    tc_buf_add_span(&made->log, bytes);
    tc_buf_add_span(&made->image, bytes);
    tc_eifmeasure_data(made->measure, bytes);
    if (made->unwritable) return TC_OK;
    tc_status status = tc_eif_writer_data(made->writer, bytes, err);
    if (status == TC_OK) return TC_OK;
    if (status == TC_REFUSED) {
        made->unwritable = true;
        return TC_OK;
    }
    /* The writer reads with the reader's rules, before its caller's reader does. */
    FUZZ_CHECK(status == TC_MALFORMED && made->section.kind == TC_EIF_METADATA);
    return status;
}

static tc_status on_end(void *context, struct tc_error *err)
{
    struct made *made = context;
    FUZZ_CHECK(made->left == 0);
    tc_buf_add_text(&made->log, ";");
    return tc_eifmeasure_end(made->measure, err);
}

static tc_status feed(struct tc_span image, size_t piece, struct made *made, unsigned *ret_warnings)
{
    struct tc_error err = {0};
    struct tc_eif_handler handler = {made, on_header, on_begin, on_data, on_end};
    struct tc_eif_reader *reader = tc_eif_reader_new(&handler, TC_EIF_CRC_CHECKED);
    FUZZ_CHECK(reader);
    tc_status status = TC_OK;
    while (status == TC_OK && image.size > 0) {
        size_t now = image.size < piece ? image.size : piece;
        status = tc_eif_reader_add(reader, (struct tc_span){image.data, now}, &err);
        image.data += now;
        image.size -= now;
    }
    if (status == TC_OK) status = tc_eif_reader_finish(reader, &err);
    FUZZ_CHECK(status == TC_OK || status == TC_MALFORMED || status == TC_REFUSED);
    *ret_warnings = tc_eif_reader_warnings(reader);
    tc_eif_reader_free(reader);
    return status;
}

static void put(uint8_t *at, unsigned bytes, uint64_t value)
{
    for (unsigned i = 0; i < bytes; i++)
        at[bytes - 1 - i] = (uint8_t)(value >> (8 * i));
}

static void fix_crc(struct tc_buf *image)
{
    if (image->size < TC_EIF_HEADER_SIZE) return;
    uLong crc = crc32(0, image->data, TC_EIF_CRC_AT);
    crc = crc32(crc, image->data + TC_EIF_HEADER_SIZE, (uInt)(image->size - TC_EIF_HEADER_SIZE));
    put(image->data + TC_EIF_CRC_AT, 4, crc);
}

static void lay_out(struct tc_span bytes, struct tc_buf *image)
{
    static const uint8_t start[TC_EIF_HEADER_SIZE] = {'.', 'e', 'i', 'f', 0, 4};
    struct tc_cursor cursor = tc_cursor_of(bytes);
    struct tc_span data;
    uint8_t kind;
    uint16_t size;
    unsigned count = 0;
    tc_buf_add(image, start, sizeof start);
    while (count < 40 && tc_cursor_u8(&cursor, &kind) && tc_cursor_u16(&cursor, &size) &&
           tc_cursor_take(&cursor, size, &data)) {
        if (count < TC_EIF_SECTIONS_MAX) {
            put(image->data + 28 + 8 * count, 8, image->size);
            put(image->data + 284 + 8 * count, 8, size);
        }
        count++;
        tc_buf_add_u16(image, kind);
        tc_buf_add_u16(image, 0);
        tc_buf_add_u64(image, size);
        tc_buf_add_span(image, data);
    }
    put(image->data + 26, 2, count);
}

static void made_done(struct made *made)
{
    tc_buf_free(&made->log);
    tc_buf_free(&made->image);
    tc_eif_writer_free(made->writer);
    tc_eifmeasure_free(made->measure);
}

static struct made made_new(unsigned which)
{
    struct made made = {.log = tc_buf_new(2 * IMAGE_MAX),
                        .image = tc_buf_new(2 * IMAGE_MAX),
                        .measure = tc_eifmeasure_new(which)};
    FUZZ_CHECK(made.measure);
    return made;
}

static void check_accepted(struct tc_span image, struct made *whole, struct made *pieces,
                           unsigned warnings)
{
    struct tc_sha384 one[3] = {0}, two[3] = {0};
    struct tc_error err = {0};
    uint8_t header[TC_EIF_HEADER_SIZE];
    FUZZ_CHECK(whole->header.file_size == image.size);
    FUZZ_CHECK(tc_eifmeasure_finish(whole->measure, one, &err) == TC_OK);
    FUZZ_CHECK(tc_eifmeasure_finish(pieces->measure, two, &err) == TC_OK);
    FUZZ_CHECK(memcmp(&one[0], &two[0], 2 * sizeof *one) == 0);
    FUZZ_CHECK(whole->unwritable == ((warnings & TC_EIF_WARNING_UNALIGNED) != 0));
    if (whole->unwritable) return;
    FUZZ_CHECK(tc_eif_writer_finish(whole->writer, header, &err) == TC_OK);
    FUZZ_CHECK(tc_buf_ok(&whole->image) && whole->image.size == image.size);
    memcpy(whole->image.data, header, sizeof header);
    FUZZ_CHECK(tc_span_equal(tc_buf_span(&whole->image), image));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > IMAGE_MAX / 2) return 0;
    struct tc_buf image = tc_buf_new(IMAGE_MAX);
    struct tc_span rest = {data + 1, size - 1};
    unsigned mode = data[0] % MODES, warnings = 0, warnings_again = 0;
    if (mode == 2)
        lay_out(rest, &image);
    else
        tc_buf_add_span(&image, rest);
    if (mode != 0) fix_crc(&image);
    struct made whole = made_new(TC_EIFMEASURE_BOOT | TC_EIFMEASURE_REST);
    struct made pieces = made_new(TC_EIFMEASURE_BOOT);
    tc_status status = feed(tc_buf_span(&image), image.size + 1, &whole, &warnings);
    FUZZ_CHECK(feed(tc_buf_span(&image), 7, &pieces, &warnings_again) == status);
    if (status == TC_OK) {
        FUZZ_CHECK(warnings == warnings_again);
        FUZZ_CHECK(tc_span_equal(tc_buf_span(&whole.log), tc_buf_span(&pieces.log)));
        check_accepted(tc_buf_span(&image), &whole, &pieces, warnings);
    }
    made_done(&whole);
    made_done(&pieces);
    tc_buf_free(&image);
    return 0;
}
