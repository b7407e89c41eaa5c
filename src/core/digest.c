#include "core/digest.h"

#include <stdlib.h>

#include <openssl/evp.h>

struct tc_hash {
    EVP_MD_CTX *context;
    const EVP_MD *method;
    bool failed;
};

struct tc_hash *tc_hash_new(enum tc_hash_kind kind)
{
    struct tc_hash *hash = calloc(1, sizeof *hash);
    if (!hash) return NULL;
    hash->context = EVP_MD_CTX_new();
    hash->method = kind == TC_HASH_SHA1     ? EVP_sha1()
                   : kind == TC_HASH_SHA256 ? EVP_sha256()
                                            : EVP_sha384();
    if (!hash->context) {
        free(hash);
        return NULL;
    }
    tc_hash_restart(hash);
    return hash;
}

void tc_hash_free(struct tc_hash *hash)
{
    if (!hash) return;
    EVP_MD_CTX_free(hash->context);
    free(hash);
}

void tc_hash_free_ptr(struct tc_hash **hash)
{
    tc_hash_free(*hash);
    *hash = NULL;
}

struct tc_hash *tc_hash_copy(const struct tc_hash *hash)
{
    struct tc_hash *copy = calloc(1, sizeof *copy);
    if (!copy) return NULL;
    copy->context = EVP_MD_CTX_new();
    copy->method = hash->method;
    copy->failed = hash->failed;
    if (!copy->context || EVP_MD_CTX_copy_ex(copy->context, hash->context) != 1) {
        tc_hash_free(copy);
        return NULL;
    }
    return copy;
}

void tc_hash_restart(struct tc_hash *hash)
{
    hash->failed = EVP_DigestInit_ex(hash->context, hash->method, NULL) != 1;
}

void tc_hash_add(struct tc_hash *hash, const void *data, size_t size)
{
    if (size > 0 && EVP_DigestUpdate(hash->context, data, size) != 1) hash->failed = true;
}

tc_status tc_hash_finish(struct tc_hash *hash, uint8_t *out, size_t size, struct tc_error *err)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned digest_size = 0;
    if (hash->failed || EVP_DigestFinal_ex(hash->context, digest, &digest_size) != 1 ||
        digest_size != size) {
        hash->failed = true;
        return tc_fail(err, TC_SYSTEM, "the cryptographic library could not compute a digest");
    }
    for (size_t i = 0; i < size; i++)
        out[i] = digest[i];
    return TC_OK;
}

static tc_status digest_of(enum tc_hash_kind kind, struct tc_span span, uint8_t *out, size_t size,
                           struct tc_error *err)
{
    struct tc_hash *hash = tc_hash_new(kind);
    if (!hash) return tc_fail(err, TC_SYSTEM, "out of memory for a digest");
    tc_hash_add(hash, span.data, span.size);
    tc_status status = tc_hash_finish(hash, out, size, err);
    tc_hash_free(hash);
    return status;
}

tc_status tc_sha256_of(struct tc_span span, struct tc_sha256 *ret, struct tc_error *err)
{
    return digest_of(TC_HASH_SHA256, span, ret->bytes, sizeof ret->bytes, err);
}

tc_status tc_sha384_of(struct tc_span span, struct tc_sha384 *ret, struct tc_error *err)
{
    return digest_of(TC_HASH_SHA384, span, ret->bytes, sizeof ret->bytes, err);
}
