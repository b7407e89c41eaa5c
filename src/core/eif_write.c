/* Writer of enclave image files: it feeds a reader with all that its caller
 * writes, so the rules and the CRC exist once, in eif.c. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "core/eif.h"

struct tc_eif_writer {
    struct tc_eif_reader *reader;
    struct tc_eif_header header;
    uint8_t head[TC_EIF_HEADER_SIZE]; /* without the CRC */
    size_t begun;                     /* sections */
    uint64_t left;                    /* of the last one */
};

static void put_header(const struct tc_eif_header *header, struct tc_buf *buf)
{
    uint64_t at = TC_EIF_HEADER_SIZE;
    tc_buf_add_text(buf, TC_EIF_MAGIC);
    tc_buf_add_u16(buf, TC_EIF_VERSION);
    tc_buf_add_u16(buf, header->aarch64 ? 1 : 0);
    tc_buf_add_u64(buf, header->default_memory);
    tc_buf_add_u64(buf, header->default_cpus);
    tc_buf_add_u16(buf, 0);
    tc_buf_add_u16(buf, (uint16_t)header->sections_count);
    for (size_t i = 0; i < TC_EIF_SECTIONS_MAX; i++) {
        bool used = i < header->sections_count;
        tc_buf_add_u64(buf, used ? at : 0);
        if (used) at += TC_EIF_SECTION_HEADER_SIZE + header->sizes[i];
    }
    for (size_t i = 0; i < TC_EIF_SECTIONS_MAX; i++)
        tc_buf_add_u64(buf, i < header->sections_count ? header->sizes[i] : 0);
    tc_buf_add_u32(buf, 0);
    tc_buf_add_u32(buf, 0); /* the CRC, known at the end */
}

static tc_status start(struct tc_eif_writer *writer, struct tc_error *err)
{
    static const struct tc_eif_handler nobody = {0};
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_EIF_HEADER_SIZE);
    put_header(&writer->header, &buf);
    TC_TRY(tc_buf_check(&buf, "an image's header", err));
    memcpy(writer->head, buf.data, sizeof writer->head);
    writer->reader = tc_eif_reader_new(&nobody, TC_EIF_CRC_CHECKED);
    if (!writer->reader) return tc_fail(err, TC_SYSTEM, "out of memory for an image");
    return tc_eif_reader_add(writer->reader, tc_buf_span(&buf), err);
}

tc_status tc_eif_writer_new(const struct tc_eif_header *header, struct tc_eif_writer **ret_writer,
                            struct tc_error *err)
{
    if (header->sections_count > TC_EIF_SECTIONS_MAX)
        return tc_fail(err, TC_LIMIT, "an image has at most %d sections, not %zu",
                       TC_EIF_SECTIONS_MAX, header->sections_count);
    struct tc_eif_writer *writer = calloc(1, sizeof *writer);
    if (!writer) return tc_fail(err, TC_SYSTEM, "out of memory for an image");
    writer->header = *header;
    tc_status status = start(writer, err);
    if (status == TC_OK)
        *ret_writer = writer;
    else
        tc_eif_writer_free(writer);
    return status;
}

void tc_eif_writer_free(struct tc_eif_writer *writer)
{
    if (!writer) return;
    tc_eif_reader_free(writer->reader);
    free(writer);
}

tc_status tc_eif_writer_begin(struct tc_eif_writer *writer, enum tc_eif_kind kind,
                              struct tc_buf *buf, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf head = tc_buf_new(TC_EIF_SECTION_HEADER_SIZE);
    if (writer->left > 0)
        return tc_fail(err, TC_USAGE,
                       "an image's section is begun while the one before lacks %llu bytes",
                       (unsigned long long)writer->left);
    if (writer->begun == writer->header.sections_count)
        return tc_fail(err, TC_USAGE, "an image has more sections than were announced");
    uint64_t size = writer->header.sizes[writer->begun];
    tc_buf_add_u16(&head, (uint16_t)kind);
    tc_buf_add_u16(&head, 0);
    tc_buf_add_u64(&head, size);
    TC_TRY(tc_buf_check(&head, "a section's header", err));
    TC_TRY(tc_eif_reader_add(writer->reader, tc_buf_span(&head), err));
    writer->begun++;
    writer->left = size;
    tc_buf_add_span(buf, tc_buf_span(&head));
    return tc_buf_check(buf, "a section's header", err);
}

tc_status tc_eif_writer_data(struct tc_eif_writer *writer, struct tc_span bytes,
                             struct tc_error *err)
{
    if (bytes.size > writer->left)
        return tc_fail(err, TC_USAGE, "an image's section has more bytes than were announced");
    TC_TRY(tc_eif_reader_add(writer->reader, bytes, err));
    writer->left -= bytes.size;
    if (tc_eif_reader_warnings(writer->reader) & TC_EIF_WARNING_UNALIGNED)
        return tc_fail(err, TC_REFUSED,
                       "an uncompressed ramdisk follows ramdisks whose length is no multiple of "
                       "%d: Linux would leave it out without a word; append zero bytes to the one "
                       "before it, or compress it",
                       TC_EIF_ALIGNMENT);
    return TC_OK;
}

tc_status tc_eif_writer_finish(struct tc_eif_writer *writer, uint8_t ret_header[TC_EIF_HEADER_SIZE],
                               struct tc_error *err)
{
    /* The reader was given no CRC: that it finds a wrong one is no news. */
    tc_status status = tc_eif_reader_finish(writer->reader, err);
    if (status != TC_OK && status != TC_REFUSED) return status;
    uint32_t crc = tc_eif_reader_crc(writer->reader);
    memcpy(ret_header, writer->head, TC_EIF_HEADER_SIZE);
    for (size_t i = 0; i < sizeof crc; i++)
        ret_header[TC_EIF_HEADER_SIZE - 1 - i] = (uint8_t)(crc >> (8 * i));
    return TC_OK;
}
