/* Envelopes that others signed, against our reader of envelopes, with the keys
 * that their certificates carry: what they leave out or write otherwise it must
 * take, and nothing changed. Who they are is not its business: the sample of a
 * wrong signer is a good envelope too. Loops over a manifest, so that a new
 * sample cannot be left out unseen. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <openssl/x509.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/dsse.h"
#include "core/statement.h"

enum { FILES_COUNT = 6, SIGNED_COUNT = 3, FILE_MAX = 1 << 20 };

static unsigned failures;

__attribute__((format(printf, 2, 3))) static void failed(const char *file, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fprintf(stderr, "FAIL %s: ", file);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    failures++;
}

static _Noreturn void stop(const char *what, const char *name)
{
    (void)fprintf(stderr, "%s %s: the vectors must be there; TC_VECTORS names their folder\n", what,
                  name);
    exit(1);
}

static json_t *load(const char *folder, const char *name)
{
    char path[4608];
    json_error_t error;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    json_t *value = json_load_file(path, JSON_REJECT_DUPLICATES, &error);
    if (!value) stop("cannot read", path);
    return value;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (!text) stop("no text", key);
    return text;
}

static struct tc_buf decode(const json_t *object, const char *key)
{
    struct tc_buf buf = tc_buf_new(FILE_MAX);
    if (!tc_base64_decode(tc_span_of_text(text_of(object, key)), &buf)) stop("no base64", key);
    return buf;
}

/* The key of a bundle's certificate, which stands in one of two places. */
static struct tc_buf key_of(const json_t *bundle)
{
    const json_t *material = json_object_get(bundle, "verificationMaterial");
    const json_t *certificate = json_object_get(material, "certificate");
    if (!certificate)
        certificate = json_array_get(
            json_object_get(json_object_get(material, "x509CertificateChain"), "certificates"), 0);
    TC_AUTO_BUF struct tc_buf der = decode(certificate, "rawBytes");
    const uint8_t *next = der.data;
    X509 *x509 = d2i_X509(NULL, &next, (long)der.size);
    uint8_t *spki = NULL;
    int size = x509 ? i2d_PUBKEY(X509_get0_pubkey(x509), &spki) : 0;
    if (size <= 0) stop("no key in", "a certificate");
    struct tc_buf buf = tc_buf_new(TC_DSSE_KEY_MAX);
    tc_buf_add(&buf, spki, (size_t)size);
    OPENSSL_free(spki);
    X509_free(x509);
    return buf;
}

static tc_status verify(const json_t *envelope, struct tc_span payload, struct tc_span spki,
                        struct tc_error *err)
{
    char *text = json_dumps(envelope, JSON_COMPACT);
    if (!text) stop("cannot write", "an envelope");
    tc_status status = tc_dsse_verify(tc_span_of_text(text), payload, spki, err);
    free(text);
    return status;
}

static void set_text(json_t *object, const char *key, struct tc_span bytes)
{
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(FILE_MAX);
    tc_base64_add(&buf, bytes);
    TC_AUTO_FREE char *text = tc_buf_take_text(&buf);
    if (!text || json_object_set_new(object, key, json_string(text)) != 0) stop("no memory", key);
}

/* Signed by a key that is there: good as it is, and bad after any one change. */
static void check_signed(const char *file, const json_t *bundle)
{
    struct tc_error err = {0};
    json_t *envelope = json_deep_copy(json_object_get(bundle, "dsseEnvelope"));
    TC_AUTO_BUF struct tc_buf payload = decode(envelope, "payload");
    TC_AUTO_BUF struct tc_buf spki = key_of(bundle);
    json_t *signature = json_array_get(json_object_get(envelope, "signatures"), 0);
    TC_AUTO_BUF struct tc_buf sig = decode(signature, "sig");
    if (verify(envelope, tc_buf_span(&payload), tc_buf_span(&spki), &err) != TC_OK)
        failed(file, "refused: %s", err.message);

    sig.data[sig.size - 1] ^= 1;
    set_text(signature, "sig", tc_buf_span(&sig));
    if (verify(envelope, tc_buf_span(&payload), tc_buf_span(&spki), &err) != TC_REFUSED)
        failed(file, "taken with another signature");
    sig.data[sig.size - 1] ^= 1;
    set_text(signature, "sig", tc_buf_span(&sig));
    payload.data[payload.size / 2] ^= 1;
    set_text(envelope, "payload", tc_buf_span(&payload));
    if (verify(envelope, tc_buf_span(&payload), tc_buf_span(&spki), &err) != TC_REFUSED)
        failed(file, "taken with another payload");
    json_decref(envelope);
}

/* Signed by a key that is not there: not by that of another sample, in any case. */
static void check_unknown(const char *file, const json_t *envelope, struct tc_span other_key)
{
    struct tc_error err = {0};
    TC_AUTO_BUF struct tc_buf payload = decode(envelope, "payload");
    if (verify(envelope, tc_buf_span(&payload), other_key, &err) != TC_REFUSED)
        failed(file, "taken by another's key");
}

/* Provenance of another builder is read as JSON, and refused for what it is. */
static void check_statement(const char *file, const json_t *statement)
{
    struct tc_error err = {0};
    TC_AUTO_STATEMENT struct tc_statement read = {0};
    char *text = json_dumps(statement, JSON_COMPACT);
    if (!text) stop("cannot write", file);
    if (tc_statement_read(tc_span_of_text(text), &read, &err) != TC_MALFORMED)
        failed(file, "taken for one of ours");
    free(text);
}

int main(void)
{
    const char *vectors = getenv("TC_VECTORS");
    char folder[4096];
    (void)snprintf(folder, sizeof folder, "%s/slsa", vectors ? vectors : "../shared/vectors");
    json_t *manifest = load(folder, "manifest.json");
    if (json_array_size(manifest) < FILES_COUNT) stop("too few entries in", "slsa/manifest.json");

    json_t *entry = NULL;
    size_t i = 0;
    unsigned seen = 0;
    json_t *first = load(folder, "slsa-verifier__MODULE.bazel.intoto.jsonl");
    TC_AUTO_BUF struct tc_buf other_key = key_of(first);
    json_decref(first);
    json_array_foreach(manifest, i, entry) {
        const char *file = text_of(entry, "file"), *kind = text_of(entry, "kind");
        if (strcmp(kind, "other") == 0) continue;
        json_t *sample = load(folder, file);
        if (strcmp(kind, "sigstore-bundle") == 0) {
            check_signed(file, sample);
            seen++;
        } else if (strcmp(kind, "dsse") == 0) {
            check_unknown(file, sample, tc_buf_span(&other_key));
        } else if (strcmp(kind, "statement") == 0) {
            check_statement(file, sample);
        } else {
            failed(file, "no test for samples of kind %s", kind);
        }
        json_decref(sample);
    }
    json_decref(manifest);
    if (seen < SIGNED_COUNT) failed("manifest.json", "only %u signed samples", seen);
    (void)fprintf(stderr, "%u signed samples, %u failures\n", seen, failures);
    return failures ? 1 : 0;
}
