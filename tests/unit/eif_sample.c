#include "eif_sample.h"

#include <zlib.h>

void eif_put(struct tc_buf *image, size_t at, unsigned bytes, uint64_t value)
{
    for (unsigned i = 0; i < bytes; i++)
        image->data[at + bytes - 1 - i] = (uint8_t)(value >> (8 * i));
}

void eif_sample_fix_crc(struct tc_buf *image)
{
    if (image->size < 548) return;
    uLong crc = crc32(0, image->data, 544);
    crc = crc32(crc, image->data + 548, (uInt)(image->size - 548));
    eif_put(image, 544, 4, crc);
}

struct tc_buf eif_sample_of(const struct eif_piece *pieces, size_t count)
{
    struct tc_buf image = tc_buf_new(1 << 22);
    static const uint8_t zeros[548];
    tc_buf_add(&image, zeros, sizeof zeros);
    for (size_t i = 0; i < count; i++) {
        if (i < 32) {
            eif_put(&image, 28 + 8 * i, 8, image.size);
            eif_put(&image, 284 + 8 * i, 8, pieces[i].data.size);
        }
        tc_buf_add_u16(&image, pieces[i].kind);
        tc_buf_add_u16(&image, 0);
        tc_buf_add_u64(&image, pieces[i].data.size);
        tc_buf_add_span(&image, pieces[i].data);
    }
    const uint8_t start[] = {'.', 'e', 'i', 'f', 0, 4, 0, 0};
    for (size_t i = 0; i < sizeof start; i++)
        image.data[i] = start[i];
    eif_put(&image, 8, 8, 1 << 30);
    eif_put(&image, 16, 8, 2);
    eif_put(&image, 26, 2, count);
    eif_sample_fix_crc(&image);
    return image;
}

struct tc_buf eif_sample(void)
{
    const struct eif_piece pieces[] = {{1, tc_span_of_text("KERNEL")},
                                       {2, tc_span_of_text("reboot=t")},
                                       {5, tc_span_of_text("{\"a\":1}")},
                                       {3, tc_span_of_text("0707one.")},
                                       {3, tc_span_of_text("0707two")}};
    return eif_sample_of(pieces, sizeof pieces / sizeof *pieces);
}
