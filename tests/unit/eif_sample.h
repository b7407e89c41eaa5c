/* Enclave images laid out by hand, apart from the product's writer. */
#ifndef TC_TESTS_EIF_SAMPLE_H
#define TC_TESTS_EIF_SAMPLE_H

#include "core/eif.h"

struct eif_piece {
    uint16_t kind;
    struct tc_span data;
};

/* The file with these sections and a right CRC; the caller frees it. */
struct tc_buf eif_sample_of(const struct eif_piece *pieces, size_t count);
/* kernel "KERNEL", command line "reboot=t", metadata {"a":1}, ramdisks "0707one." and
 * "0707two"; no signature. */
struct tc_buf eif_sample(void);
void eif_sample_fix_crc(struct tc_buf *image);
void eif_put(struct tc_buf *image, size_t at, unsigned bytes, uint64_t value);

#endif
