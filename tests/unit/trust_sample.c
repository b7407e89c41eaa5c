#include "trust_sample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/text.h"

#define must(expression)                                                                           \
    do {                                                                                           \
        if (!(expression)) {                                                                       \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #expression);                 \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

EVP_PKEY *sample_key(enum sample_key_kind kind)
{
    static const char *const groups[SAMPLE_KINDS] = {NULL, "P-256", "P-384", "P-521"};
    EVP_PKEY *key =
        groups[kind] ? EVP_EC_gen(groups[kind]) : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    must(key != NULL);
    return key;
}

static void take_pem(BIO *bio, struct tc_buf *ret_pem)
{
    char *data;
    long size = BIO_get_mem_data(bio, &data);
    *ret_pem = tc_buf_new(TC_SIGNER_PEM_MAX);
    tc_buf_add(ret_pem, data, (size_t)size);
    must(tc_buf_ok(ret_pem));
    BIO_free(bio);
}

void sample_key_pem(EVP_PKEY *pair, struct tc_buf *ret_pem)
{
    BIO *bio = BIO_new(BIO_s_mem());
    must(bio && PEM_write_bio_PUBKEY(bio, pair) == 1);
    take_pem(bio, ret_pem);
}

void sample_certificate_pem(EVP_PKEY *pair, struct tc_buf *ret_pem)
{
    static int serial = 1;
    X509 *certificate = X509_new();
    must(certificate && X509_set_version(certificate, X509_VERSION_3) == 1);
    must(ASN1_INTEGER_set(X509_get_serialNumber(certificate), serial++) == 1);
    must(X509_gmtime_adj(X509_getm_notBefore(certificate), 0) != NULL);
    must(X509_gmtime_adj(X509_getm_notAfter(certificate), 3600) != NULL);
    must(X509_set_pubkey(certificate, pair) == 1);
    bool hashes = !EVP_PKEY_is_a(pair, "ED25519");
    must(X509_sign(certificate, pair, hashes ? EVP_sha384() : NULL) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    must(bio && PEM_write_bio_X509(bio, certificate) == 1);
    take_pem(bio, ret_pem);
    X509_free(certificate);
}

void sample_signer(struct tc_span pem, struct tc_signer *ret_signer)
{
    struct tc_error err = {0};
    if (tc_signer_read(pem, "sample", ret_signer, &err) == TC_OK) return;
    (void)fprintf(stderr, "%s\n", err.message);
    abort();
}

struct tc_image sample_image(const char *name, uint8_t first)
{
    struct tc_image image = {.version = "1.2", .architecture = "x86_64"};
    (void)snprintf(image.name, sizeof image.name, "%s", name);
    for (size_t i = 0; i < 3; i++)
        memset(image.pcr[i].bytes, first + (int)i, TC_SHA384_SIZE);
    memset(image.recipe.bytes, 0x4e, sizeof image.recipe.bytes);
    must(tc_parse_time("2026-01-01T00:00:00Z", &image.valid_from));
    must(tc_parse_time("2036-01-01T00:00:00Z", &image.valid_until));
    return image;
}

void sample_list_of(uint64_t sequence, const struct tc_image *images, size_t count,
                    struct tc_imagelist *ret_list)
{
    struct tc_imagelist list = {.sequence = sequence, .images_count = count};
    list.images = calloc(count + 1, sizeof *list.images);
    must(list.images != NULL);
    for (size_t i = 0; i < count; i++) {
        list.images[i] = images[i];
        if (images[i].reason) must((list.images[i].reason = strdup(images[i].reason)) != NULL);
    }
    must(tc_parse_time("2026-01-01T00:00:00Z", &list.issued));
    must(tc_parse_time("2036-01-01T00:00:00Z", &list.next_update));
    *ret_list = list;
}

void sample_list(uint64_t sequence, struct tc_imagelist *ret_list)
{
    struct tc_image images[] = {sample_image("c", 0x10), sample_image("rust", 0x40)};
    sample_list_of(sequence, images, 2, ret_list);
}

void sample_sign(const struct tc_imagelist *list, EVP_PKEY *const *pairs, size_t count,
                 struct tc_buf *ret_envelope)
{
    struct tc_error err = {0};
    struct tc_buf payload = tc_buf_new(TC_IMAGELIST_MAX);
    *ret_envelope = tc_buf_new(TC_IMAGELIST_ENVELOPE_MAX);
    must(tc_imagelist_write(list, &payload, &err) == TC_OK);
    must(tc_dsse_sign_by(&tc_imagelist_form, pairs, count, tc_buf_span(&payload), ret_envelope,
                         &err) == TC_OK);
    tc_buf_free(&payload);
}
