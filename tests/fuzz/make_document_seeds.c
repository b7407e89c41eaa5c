/* Writes the seeds of the targets cose, chain and armor: keys and certificates
 * made here and thrown away. Run by hand when a format changes:
 *     make_document_seeds tests/fuzz/corpus */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "base/text.h"
#include "core/cose.h"
#include "host/devcert.h"

enum { PLACES = 4 };
static const int64_t from = 1700000000, until = 1800000000;

static const char *corpus;

static void die(const char *what)
{
    (void)fprintf(stderr, "%s\n", what);
    exit(1);
}

static void store(const char *format, const char *name, struct tc_span bytes)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s/%s", corpus, format, name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(bytes.data, 1, bytes.size, file) != bytes.size || fclose(file) != 0)
        die(path);
}

/* ca_at: the place whose certificate is turned from a CA to a leaf or back. */
static void store_chain(const char *name, size_t count, size_t ca_at, int64_t at)
{
    static const char *const names[PLACES] = {"root", "first", "second", "leaf"};
    struct tc_error err = {0};
    struct tc_devcert_issuer issuer = {0};
    struct tc_buf out = tc_buf_new(1 << 16);
    tc_buf_add_u64(&out, (uint64_t)at);
    for (size_t i = 0; i < count; i++) {
        EVP_PKEY *key = NULL;
        X509 *certificate = NULL;
        uint8_t *der = NULL;
        if (tc_devcert_key(&key, &err) != TC_OK) die(err.message);
        const struct tc_devcert_spec spec = {
            .name = names[i],
            .key = key,
            .issuer = i == 0 ? NULL : &issuer,
            .from = from,
            .until = until,
            .ca = (i + 1 < count) != (i == ca_at),
            .path_length = (long)(count - i) - 2,
        };
        if (tc_devcert_make(&spec, &certificate, &err) != TC_OK) die(err.message);
        int size = i2d_X509(certificate, &der);
        if (size <= 0) die("no certificate");
        tc_buf_add_u16(&out, (uint16_t)size);
        tc_buf_add(&out, der, (size_t)size);
        OPENSSL_free(der);
        X509_free(issuer.certificate);
        EVP_PKEY_free(issuer.key);
        issuer = (struct tc_devcert_issuer){certificate, key};
    }
    X509_free(issuer.certificate);
    EVP_PKEY_free(issuer.key);
    if (!tc_buf_ok(&out)) die("too large");
    store("chain", name, tc_buf_span(&out));
    tc_buf_free(&out);
}

static void store_cose(void)
{
    struct tc_error err = {0};
    EVP_PKEY *key = NULL;
    uint8_t *spki = NULL;
    struct tc_buf out = tc_buf_new(4096), armor = tc_buf_new(4096);
    if (tc_devcert_key(&key, &err) != TC_OK) die(err.message);
    int size = i2d_PUBKEY(key, &spki);
    if (size < 97) die("no key");
    tc_buf_add(&out, spki + size - 97, 97);
    if (tc_cose_sign1_create(tc_span_of_text("a payload"), key, &out, &err) != TC_OK)
        die(err.message);
    store("cose", "good", tc_buf_span(&out));
    struct tc_span cose = {out.data + 97, out.size - 97};
    char hex[4096];
    store("armor", "raw", cose);
    tc_hex(cose, hex);
    store("armor", "hex", tc_span_of_text(hex));
    tc_base64_add(&armor, cose);
    store("armor", "base64", tc_buf_span(&armor));
    for (size_t i = 0; i < armor.size; i++)
        if (armor.data[i] == '+' || armor.data[i] == '/')
            armor.data[i] = armor.data[i] == '+' ? '-' : '_';
    while (armor.data[armor.size - 1] == '=')
        armor.size--;
    store("armor", "base64-url", tc_buf_span(&armor));
    out.data[out.size - 120] ^= 1; /* in the payload or before it */
    store("cose", "changed", tc_buf_span(&out));
    out.size--;
    store("cose", "cut", tc_buf_span(&out));
    OPENSSL_free(spki);
    EVP_PKEY_free(key);
    tc_buf_free(&out);
    tc_buf_free(&armor);
}

int main(int argc, char **argv)
{
    if (argc != 2) die("usage: make_document_seeds CORPUS-FOLDER");
    corpus = argv[1];
    store_cose();
    store_chain("good", 4, PLACES, from + 1);
    store_chain("short", 2, PLACES, until);
    store_chain("early", 3, PLACES, from - 1);
    store_chain("ca-leaf", 4, 3, from);
    store_chain("no-ca", 4, 1, from);
    return 0;
}
