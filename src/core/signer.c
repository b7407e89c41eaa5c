#include "core/signer.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/pcr.h"

/* One block of a PEM text; the library's memory. */
struct block {
    char *name, *header;
    unsigned char *data;
    long size;
};

static void block_free(struct block *block)
{
    OPENSSL_free(block->name);
    OPENSSL_free(block->header);
    /* It may have been a private key, given by mistake. */
    if (block->data) OPENSSL_clear_free(block->data, (size_t)block->size);
    *block = (struct block){0};
}

static void bio_free(BIO **bio)
{
    BIO_free(*bio);
}

static void x509_free(X509 **certificate)
{
    X509_free(*certificate);
}

void tc_signer_free(struct tc_signer *signer)
{
    if (!signer) return;
    tc_buf_free(&signer->spki);
    *signer = (struct tc_signer){0};
}

static bool next_block(BIO *bio, struct block *block)
{
    return PEM_read_bio(bio, &block->name, &block->header, &block->data, &block->size) == 1;
}

static tc_status read_block(struct tc_span pem, const char *name, struct block *block,
                            struct tc_error *err)
{
    static const char wanted[] = "expected one PUBLIC KEY or CERTIFICATE in PEM form";
    __attribute__((cleanup(block_free))) struct block second = {0};
    if (pem.size == 0 || pem.size > TC_SIGNER_PEM_MAX)
        return tc_fail(err, TC_MALFORMED, "%s: %s, of at most %d bytes; it has %zu", name, wanted,
                       TC_SIGNER_PEM_MAX, pem.size);
    __attribute__((cleanup(bio_free))) BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.size);
    if (!bio) return tc_fail(err, TC_SYSTEM, "out of memory for %s", name);
    bool one = next_block(bio, block), more = one && next_block(bio, &second);
    ERR_clear_error(); /* the end of the text is one to the library */
    if (!one) return tc_fail(err, TC_MALFORMED, "%s: %s, found none", name, wanted);
    if (strstr(block->name, "PRIVATE KEY"))
        return tc_fail(err, TC_REFUSED,
                       "%s: is a private key, which nobody else may have: give its public key "
                       "(openssl pkey -pubout)",
                       name);
    if (more) return tc_fail(err, TC_MALFORMED, "%s: %s, found several blocks", name, wanted);
    return TC_OK;
}

static tc_status take_key(struct tc_span spki, unsigned kinds, const char *what,
                          struct tc_signer *signer, struct tc_error *err)
{
    TC_CLEANUP(tc_key_free_ptr) EVP_PKEY *key = NULL;
    TC_TRY(tc_pubkey_read(spki, kinds, what, &key, err));
    if (!tc_key_kind(key, &signer->kind))
        return tc_fail(err, TC_REFUSED, "%s is of no known kind", what);
    TC_TRY(tc_key_id(spki, signer->id, err));
    tc_buf_add_span(&signer->spki, spki);
    return tc_buf_check(&signer->spki, what, err);
}

static tc_status take_certificate(struct tc_span der, const char *name, struct tc_signer *signer,
                                  struct tc_error *err)
{
    const unsigned char *next = der.data;
    __attribute__((cleanup(x509_free))) X509 *certificate = d2i_X509(NULL, &next, (long)der.size);
    ERR_clear_error();
    if (!certificate || next != der.data + der.size)
        return tc_fail(err, TC_MALFORMED, "%s: is no certificate in DER", name);
    const EVP_PKEY *key = X509_get0_pubkey(certificate);
    TC_AUTO_BUF struct tc_buf spki = tc_buf_new(TC_PUBKEY_MAX);
    if (!key)
        return tc_fail(err, TC_REFUSED, "%s: the certificate's key is of no known kind", name);
    TC_TRY(tc_key_public(key, &spki, err));
    TC_TRY(take_key(tc_buf_span(&spki), TC_KEY_P384, "the certificate's key", signer, err));
    struct tc_sha384 digest;
    signer->by_certificate = true;
    TC_TRY(tc_sha384_of(der, &digest, err));
    return tc_pcr_extend(&signer->pcr8, (struct tc_span){digest.bytes, sizeof digest.bytes}, err);
}

tc_status tc_signer_read(struct tc_span pem, const char *name, struct tc_signer *ret_signer,
                         struct tc_error *err)
{
    __attribute__((cleanup(block_free))) struct block block = {0};
    TC_AUTO_SIGNER struct tc_signer signer = {.spki = tc_buf_new(TC_PUBKEY_MAX)};
    TC_TRY(read_block(pem, name, &block, err));
    struct tc_span der = {block.data, (size_t)block.size};
    tc_status status;
    if (block.header && *block.header)
        status = tc_fail(err, TC_MALFORMED, "%s: a PEM header is not expected", name);
    else if (strcmp(block.name, "PUBLIC KEY") == 0)
        status = take_key(der, TC_KEYS_ALL, "the key", &signer, err);
    else if (strcmp(block.name, "CERTIFICATE") == 0)
        status = take_certificate(der, name, &signer, err);
    else
        status = tc_fail(err, TC_MALFORMED, "%s: expected a PUBLIC KEY or a CERTIFICATE", name);
    if (status == TC_REFUSED) return tc_wrap(err, "%s", name);
    if (status != TC_OK) return status;
    *ret_signer = signer;
    signer = (struct tc_signer){0};
    return TC_OK;
}
