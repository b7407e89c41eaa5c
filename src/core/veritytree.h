/* The root hash of a dm-verity tree (SHA-256, format 1, blocks of 4096 bytes, salt
 * before the block, no superblock), computed in one pass over the data in constant
 * memory: a block for each level.
 *
 * Where the tree stands in the file: behind the data, the highest level first, each
 * level padded with zeros to whole blocks. One block of data has no tree: its own
 * hash is the root. */
#ifndef TC_CORE_VERITYTREE_H
#define TC_CORE_VERITYTREE_H

#include "core/verity.h"

struct tc_veritytree;
#define TC_AUTO_VERITYTREE TC_CLEANUP(tc_veritytree_free_ptr)

/* Gets each finished block of the tree and its place in the file, in blocks. A
 * failure is passed on. May be NULL: then only the root counts. */
typedef tc_status (*tc_veritytree_block_fn)(void *context, uint64_t block,
                                            const uint8_t bytes[TC_VERITY_BLOCK],
                                            struct tc_error *err);

/* data_blocks: 1 to 2^40. NULL: no memory. */
struct tc_veritytree *tc_veritytree_new(uint64_t data_blocks, const uint8_t salt[32],
                                        tc_veritytree_block_fn on_block, void *context) TC_MUST_USE;
void tc_veritytree_free(struct tc_veritytree *tree); /* accepts NULL */
void tc_veritytree_free_ptr(struct tc_veritytree **tree);

/* Blocks of the whole file: data and tree. */
uint64_t tc_veritytree_total(uint64_t data_blocks);

/* Whole blocks, one after the other, data_blocks of them in all. */
tc_status tc_veritytree_add(struct tc_veritytree *tree, const uint8_t *blocks, size_t count,
                            struct tc_error *err) TC_MUST_USE;
/* After the last block. TC_USAGE when some are missing, or one failed. */
tc_status tc_veritytree_root(struct tc_veritytree *tree, struct tc_sha256 *ret_root,
                             struct tc_error *err) TC_MUST_USE;

#endif
