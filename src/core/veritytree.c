/* Each level of the tree has one block in the making. A digest goes into the block
 * of the level above its block; a block that is full, or the last of its level, is
 * padded, handed out, and its own digest goes one level up. What would go above the
 * highest level is the root. So a block is finished as soon as its last digest is
 * known, and nothing is kept of what is finished. */
#include "core/veritytree.h"

#include <stdlib.h>
#include <string.h>

enum {
    DIGESTS_BITS = 7, /* a block holds 2^7 digests */
    DIGESTS = 1 << DIGESTS_BITS,
    LEVELS_MAX = 6, /* of 2^40 blocks */
};
_Static_assert(DIGESTS * TC_SHA256_SIZE == TC_VERITY_BLOCK, "a block is full of digests");

static const uint64_t blocks_max = UINT64_C(1) << 40;

struct level {
    uint64_t next;  /* where the block in the making goes */
    size_t digests; /* in it */
    uint8_t bytes[TC_VERITY_BLOCK];
};

struct tc_veritytree {
    uint64_t expected, seen; /* data blocks */
    struct tc_hash *hash;
    tc_veritytree_block_fn on_block;
    void *context;
    uint8_t salt[32];
    bool failed, finished;
    struct tc_sha256 root;
    size_t levels_count;
    struct level levels[LEVELS_MAX]; /* the lowest, over the data, first */
};

static size_t count_levels(uint64_t data_blocks)
{
    size_t levels = 0;
    while (levels < LEVELS_MAX && (data_blocks - 1) >> (DIGESTS_BITS * levels) != 0)
        levels++;
    return levels;
}

static uint64_t level_size(uint64_t data_blocks, size_t level)
{
    size_t bits = DIGESTS_BITS * (level + 1);
    return ((data_blocks - 1) >> bits) + 1;
}

uint64_t tc_veritytree_total(uint64_t data_blocks)
{
    uint64_t total = data_blocks;
    for (size_t i = 0; i < count_levels(data_blocks); i++)
        total += level_size(data_blocks, i);
    return total;
}

struct tc_veritytree *tc_veritytree_new(uint64_t data_blocks, const uint8_t salt[32],
                                        tc_veritytree_block_fn on_block, void *context)
{
    struct tc_veritytree *tree = NULL;
    if (data_blocks == 0 || data_blocks > blocks_max || !(tree = calloc(1, sizeof *tree)))
        return NULL;
    tree->expected = data_blocks;
    tree->on_block = on_block;
    tree->context = context;
    memcpy(tree->salt, salt, sizeof tree->salt);
    tree->levels_count = count_levels(data_blocks);
    uint64_t place = data_blocks;
    for (size_t i = tree->levels_count; i-- > 0;) {
        tree->levels[i].next = place;
        place += level_size(data_blocks, i);
    }
    tree->hash = tc_hash_new(TC_HASH_SHA256);
    if (!tree->hash) tc_veritytree_free_ptr(&tree);
    return tree;
}

void tc_veritytree_free(struct tc_veritytree *tree)
{
    if (!tree) return;
    tc_hash_free(tree->hash);
    free(tree);
}

void tc_veritytree_free_ptr(struct tc_veritytree **tree)
{
    tc_veritytree_free(*tree);
    *tree = NULL;
}

static tc_status digest_of(struct tc_veritytree *tree, const uint8_t *block,
                           struct tc_sha256 *ret_digest, struct tc_error *err)
{
    tc_hash_restart(tree->hash);
    tc_hash_add(tree->hash, tree->salt, sizeof tree->salt);
    tc_hash_add(tree->hash, block, TC_VERITY_BLOCK);
    return tc_hash_finish(tree->hash, ret_digest->bytes, sizeof ret_digest->bytes, err);
}

/* The block in the making of a level is complete: hands it out, and turns digest
 * into its own. */
static tc_status finish_block(struct tc_veritytree *tree, struct level *level,
                              struct tc_sha256 *digest, struct tc_error *err)
{
    memset(level->bytes + level->digests * TC_SHA256_SIZE, 0,
           (DIGESTS - level->digests) * TC_SHA256_SIZE);
    if (tree->on_block) TC_TRY(tree->on_block(tree->context, level->next, level->bytes, err));
    level->next++;
    level->digests = 0;
    return digest_of(tree, level->bytes, digest, err);
}

/* A data block's digest, and what it completes above. */
static tc_status add_digest(struct tc_veritytree *tree, struct tc_sha256 digest, bool last,
                            struct tc_error *err)
{
    for (size_t i = 0; i < tree->levels_count; i++) {
        struct level *level = &tree->levels[i];
        memcpy(level->bytes + level->digests * TC_SHA256_SIZE, digest.bytes, TC_SHA256_SIZE);
        level->digests++;
        if (level->digests < DIGESTS && !last) return TC_OK;
        TC_TRY(finish_block(tree, level, &digest, err));
    }
    tree->root = digest;
    tree->finished = true;
    return TC_OK;
}

static tc_status add_blocks(struct tc_veritytree *tree, const uint8_t *blocks, size_t count,
                            struct tc_error *err)
{
    if (count > tree->expected - tree->seen)
        return tc_fail(err, TC_USAGE, "the file system has more than %llu blocks",
                       (unsigned long long)tree->expected);
    for (size_t i = 0; i < count; i++) {
        struct tc_sha256 digest;
        TC_TRY(digest_of(tree, blocks + i * TC_VERITY_BLOCK, &digest, err));
        tree->seen++;
        TC_TRY(add_digest(tree, digest, tree->seen == tree->expected, err));
    }
    return TC_OK;
}

tc_status tc_veritytree_add(struct tc_veritytree *tree, const uint8_t *blocks, size_t count,
                            struct tc_error *err)
{
    if (tree->failed) return tc_fail(err, TC_USAGE, "this hash tree has failed before");
    tc_status status = add_blocks(tree, blocks, count, err);
    tree->failed = status != TC_OK;
    return status;
}

tc_status tc_veritytree_root(struct tc_veritytree *tree, struct tc_sha256 *ret_root,
                             struct tc_error *err)
{
    if (tree->failed || !tree->finished)
        return tc_fail(err, TC_USAGE, "the file system has %llu blocks; expected %llu",
                       (unsigned long long)tree->seen, (unsigned long long)tree->expected);
    *ret_root = tree->root;
    return TC_OK;
}
