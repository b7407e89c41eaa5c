/* Digests, all by OpenSSL's EVP. SHA-256 names content, SHA-384 names what the
 * NSM measures, SHA-1 exists for git object ids alone. */
#ifndef TC_CORE_DIGEST_H
#define TC_CORE_DIGEST_H

#include "base/bytes.h"

enum {
    TC_SHA1_SIZE = 20,
    TC_SHA256_SIZE = 32,
    TC_SHA384_SIZE = 48,
    TC_SHA1_HEX = 2 * TC_SHA1_SIZE + 1, /* with the NUL */
    TC_SHA256_HEX = 2 * TC_SHA256_SIZE + 1,
    TC_SHA384_HEX = 2 * TC_SHA384_SIZE + 1,
};

struct tc_sha1 { uint8_t bytes[TC_SHA1_SIZE]; };
struct tc_sha256 { uint8_t bytes[TC_SHA256_SIZE]; };
struct tc_sha384 { uint8_t bytes[TC_SHA384_SIZE]; };

enum tc_hash_kind { TC_HASH_SHA1, TC_HASH_SHA256, TC_HASH_SHA384 };

/* A running digest. A failure of the library is sticky and comes out of
 * tc_hash_finish, so that updates need no check each. */
struct tc_hash;
#define TC_AUTO_HASH TC_CLEANUP(tc_hash_free_ptr)

struct tc_hash *tc_hash_new(enum tc_hash_kind kind) TC_MUST_USE; /* NULL: no memory */
void tc_hash_free(struct tc_hash *hash);                        /* accepts NULL */
void tc_hash_free_ptr(struct tc_hash **hash);
/* A second running digest that has taken in the same bytes. NULL: no memory. */
struct tc_hash *tc_hash_copy(const struct tc_hash *hash) TC_MUST_USE;
void tc_hash_restart(struct tc_hash *hash);
void tc_hash_add(struct tc_hash *hash, const void *data, size_t size);
/* Writes the digest; out holds size bytes, which must be the kind's size. */
tc_status tc_hash_finish(struct tc_hash *hash, uint8_t *out, size_t size, struct tc_error *err)
    TC_MUST_USE;

/* One call for bytes that are in memory. */
tc_status tc_sha256_of(struct tc_span span, struct tc_sha256 *ret, struct tc_error *err) TC_MUST_USE;
tc_status tc_sha384_of(struct tc_span span, struct tc_sha384 *ret, struct tc_error *err) TC_MUST_USE;

#endif
