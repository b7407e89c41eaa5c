/* What an enclave image says about a toolchain that stays outside of it: a small
 * text in the second ramdisk, measured into PCR0 and PCR2.
 *
 *   "tee-compile/verity/1\n"
 *   "data " N "\n"      blocks of 4096 bytes of the EROFS image
 *   "total " N "\n"     blocks of the file, the hash tree included, which follows
 *                       the data
 *   "root " HEX "\n"    SHA-256, the root of the tree
 *   "salt " HEX "\n"    32 bytes
 *
 * Numbers in decimal without leading zeros, hex in lower case: one text for one
 * image. */
#ifndef TC_CORE_VERITY_H
#define TC_CORE_VERITY_H

#include "core/digest.h"

enum { TC_VERITY_BLOCK = 4096, TC_VERITY_TEXT_MAX = 256, TC_VERITY_PARAMETERS_MAX = 512 };

struct tc_verity {
    uint64_t data_blocks, total_blocks; /* 1 to 2^40; total is larger than data */
    struct tc_sha256 root;
    uint8_t salt[32];
};

void tc_verity_encode(const struct tc_verity *verity, struct tc_buf *buf);
tc_status tc_verity_decode(struct tc_span text, struct tc_verity *ret_verity, struct tc_error *err)
    TC_MUST_USE;

/* The parameters of the kernel's target "verity" for a device that holds data and
 * tree. A block that cannot be read or does not match is a panic and never an error:
 * a build that meets EIO in a probe could end well with another result. */
void tc_verity_parameters(const struct tc_verity *verity, const char *device, struct tc_buf *buf);

#endif
