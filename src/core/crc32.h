/* CRC-32 as zlib has it, several times as fast as zlib where the processor can
 * multiply without carries. An image's CRC is computed beside its digests, and
 * would be the longest of them. It protects against accidents alone. */
#ifndef TC_CORE_CRC32_H
#define TC_CORE_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* Of all bytes so far: begin with 0. */
uint32_t tc_crc32(uint32_t crc, const uint8_t *data, size_t size);

#endif
