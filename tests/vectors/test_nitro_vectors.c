/* Every published Nitro document that is known, and every way to spoil one that
 * was thought of, against the verifier. Loops over all of two manifests; fails
 * when they are missing or shorter than they were. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/nitrodoc.h"

enum {
    GOOD_COUNT = 74,
    BAD_COUNT = 331,
    FILE_MAX = 4 << 20,
};

/* What this verifier decides where the standards leave room. */
struct decision {
    const char *file;
    bool accept;
    const char *why;
};
static const struct decision decisions[] = {
    {"policy-pcr32bytes.cbor", false, "digest says SHA384, so a PCR has 48 bytes"},
    {"policy-pcrs-only-pcr0.cbor", false, "PCR0, 1 and 2 always exist"},
    {"policy-extra-key.cbor", false, "a field that is not understood may change the meaning"},
    {"policy-high-s.cbor", true, "valid ECDSA; nothing here identifies a document by its bytes"},
    {"policy-nonshortest-ints.cbor", false, "one document, one spelling"},
    {"policy-outer-indef.cbor", false, "one document, one spelling"},
    {"policy-debug-pcr0-zero.cbor", true, "authentic; tc_nitrodoc_is_debug tells, callers refuse"},
    {"policy-timestamp-2h-before-leaf.cbor", false, "its own certificate was not valid yet"},
    {"policy-short-chain.cbor", true, "the root that is trusted may sign a leaf itself"},
    {"aws-ok-at-notafter.cbor", true, "notAfter is inclusive, RFC 5280 section 4.1.2.5"},
    {"policy-aws-debug.cbor", true, "authentic; tc_nitrodoc_is_debug tells, callers refuse"},
};

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

static struct tc_buf read_file(const char *folder, const char *name)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file) {
        (void)fprintf(stderr, "cannot read %s: the vectors must be there; TC_VECTORS names their "
                              "folder\n",
                      path);
        exit(1);
    }
    struct tc_buf buf = tc_buf_new(FILE_MAX);
    uint8_t block[65536];
    size_t size = 0;
    while ((size = fread(block, 1, sizeof block, file)) > 0)
        tc_buf_add(&buf, block, size);
    if (ferror(file) || !tc_buf_ok(&buf)) {
        (void)fprintf(stderr, "cannot read all of %s\n", path);
        exit(1);
    }
    (void)fclose(file);
    return buf;
}

static json_t *read_manifest(const char *folder)
{
    struct tc_buf text TC_AUTO_BUF = read_file(folder, "manifest.json");
    json_error_t error;
    json_t *manifest =
        json_loadb((const char *)text.data, text.size, JSON_REJECT_DUPLICATES, &error);
    if (!manifest) {
        (void)fprintf(stderr, "%s/manifest.json: %s\n", folder, error.text);
        exit(1);
    }
    return manifest;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (!text) {
        (void)fprintf(stderr, "manifest: an entry has no text \"%s\"\n", key);
        exit(1);
    }
    return text;
}

static void check_digest(const char *file, struct tc_span bytes, const char *expected)
{
    struct tc_sha256 digest;
    struct tc_error err = {0};
    char seen[TC_SHA256_HEX];
    if (tc_sha256_of(bytes, &digest, &err) != TC_OK) failed(file, "%s", err.message);
    tc_hex((struct tc_span){digest.bytes, sizeof digest.bytes}, seen);
    if (strcmp(seen, expected) != 0) failed(file, "the file is not the manifest's: %s", seen);
}

static void check_optional(const char *file, const json_t *entry, const char *field, bool present,
                           struct tc_span span)
{
    const char *expected = json_string_value(json_object_get(entry, field));
    char *seen TC_AUTO_FREE = malloc(2 * span.size + 1);
    if (!seen) exit(1);
    tc_hex(span, seen);
    if (present != (expected != NULL) || (present && strcmp(seen, expected) != 0))
        failed(file, "%s differs from the manifest's", field);
}

static void check_fields(const char *file, const json_t *entry, const struct tc_nitrodoc *document)
{
    if (!tc_span_equal(document->module_id, tc_span_of_text(text_of(entry, "module_id"))))
        failed(file, "module_id differs from the manifest's");
    json_int_t timestamp = json_integer_value(json_object_get(entry, "timestamp_ms"));
    if (timestamp <= 0 || document->timestamp != (uint64_t)timestamp)
        failed(file, "timestamp differs from the manifest's");
    if (tc_nitrodoc_is_debug(document) != json_is_true(json_object_get(entry, "debug_mode")))
        failed(file, "debug mode differs from the manifest's");
    const json_t *pcrs = json_object_get(entry, "pcrs");
    size_t present = 0;
    for (unsigned i = 0; i < TC_NITRODOC_PCRS; i++) {
        char index[8], seen[2 * TC_PCR_SIZE + 1];
        if (!(document->pcr_present >> i & 1)) continue;
        present++;
        (void)snprintf(index, sizeof index, "%u", i);
        tc_hex((struct tc_span){document->pcr[i], TC_PCR_SIZE}, seen);
        if (strcmp(text_of(pcrs, index), seen) != 0) failed(file, "PCR%u differs", i);
    }
    if (present != json_object_size(pcrs)) failed(file, "%zu PCRs", present);
    check_optional(file, entry, "user_data", document->has_user_data, document->user_data);
    check_optional(file, entry, "nonce", document->has_nonce, document->nonce);
    check_optional(file, entry, "public_key", document->has_public_key, document->public_key);
}

static void check_real(const char *folder, const json_t *entry)
{
    const char *file = text_of(entry, "file");
    struct tc_buf bytes TC_AUTO_BUF = read_file(folder, file);
    struct tc_nitrodoc document;
    struct tc_error err = {0};
    check_digest(file, tc_buf_span(&bytes), text_of(entry, "sha256"));
    if (tc_nitrodoc_decode(tc_buf_span(&bytes), &document, &err) != TC_OK) {
        failed(file, "a real document is refused: %s", err.message);
        return;
    }
    check_fields(file, entry, &document);
    int64_t at = (int64_t)(document.timestamp / 1000);
    if (tc_nitrodoc_authenticate(&document, tc_aws_root(), at, &err) != TC_OK)
        failed(file, "a real document is refused: %s", err.message);
    /* The payload says the same when our own writer writes it (definite map). */
    struct tc_buf again TC_AUTO_BUF = tc_buf_new(TC_NITRODOC_PAYLOAD_MAX);
    tc_nitrodoc_encode_payload(&document, &again);
    if (document.payload.data[0] != 0xbf && !tc_span_equal(tc_buf_span(&again), document.payload))
        failed(file, "the writer's payload differs from the NSM's");
}

static bool expected_verdict(const char *file, const char *expect)
{
    if (strcmp(expect, "accept") == 0) return true;
    if (strcmp(expect, "reject") == 0) return false;
    for (size_t i = 0; i < sizeof decisions / sizeof *decisions; i++)
        if (strcmp(decisions[i].file, file) == 0) return decisions[i].accept;
    failed(file, "a policy case without a decision in this test");
    return false;
}

static void check_case(const char *folder, const json_t *entry, struct tc_span own_root)
{
    const char *file = text_of(entry, "file"), *reason = text_of(entry, "reason");
    const char *root_name = text_of(entry, "root");
    bool accept = expected_verdict(file, text_of(entry, "expect"));
    bool own = strcmp(root_name, "own") == 0;
    if (!own && strcmp(root_name, "aws") != 0) failed(file, "unknown root %s", root_name);
    struct tc_buf bytes TC_AUTO_BUF = read_file(folder, file);
    check_digest(file, tc_buf_span(&bytes), text_of(entry, "sha256"));
    int64_t at = json_integer_value(json_object_get(entry, "verify_at_unix"));
    struct tc_nitrodoc document;
    struct tc_error err = {0};
    tc_status status = tc_nitrodoc_decode(tc_buf_span(&bytes), &document, &err);
    if (status == TC_OK)
        status = tc_nitrodoc_authenticate(&document, own ? own_root : tc_aws_root(), at, &err);
    if (accept && status != TC_OK) failed(file, "refused (%s): %s", err.message, reason);
    if (!accept && status == TC_OK) failed(file, "accepted: %s", reason);
    if (!accept && status != TC_OK && status != TC_MALFORMED && status != TC_REFUSED)
        failed(file, "%s instead of an answer: %s", tc_status_name(status), err.message);
    if (getenv("TC_VERBOSE"))
        (void)fprintf(stderr, "%s: %s %s\n", file, tc_status_name(status), err.message);
    if (accept && strstr(file, "debug") && !tc_nitrodoc_is_debug(&document))
        failed(file, "a debug enclave is not named as such");
}

static json_t *list_of(json_t *manifest, const char *key, size_t count)
{
    json_t *list = json_object_get(manifest, key);
    if (json_array_size(list) != count)
        failed("manifest.json", "%zu entries in %s; expected %zu", json_array_size(list), key,
               count);
    return list;
}

int main(void)
{
    const char *vectors = getenv("TC_VECTORS");
    char good[4096], bad[4096];
    (void)snprintf(good, sizeof good, "%s/nitro", vectors ? vectors : "../shared/vectors");
    (void)snprintf(bad, sizeof bad, "%s/nitro-bad", vectors ? vectors : "../shared/vectors");
    json_t *entry = NULL;
    size_t i = 0;

    struct tc_buf aws_root TC_AUTO_BUF = read_file(good, "AWS_NitroEnclaves_Root-G1.der");
    if (!tc_span_equal(tc_buf_span(&aws_root), tc_aws_root()) || !tc_is_aws_root(tc_aws_root()))
        failed("AWS_NitroEnclaves_Root-G1.der", "the embedded root differs");

    json_t *documents = read_manifest(good);
    json_array_foreach(list_of(documents, "documents", GOOD_COUNT), i, entry)
        check_real(good, entry);
    json_decref(documents);

    struct tc_buf own_root TC_AUTO_BUF = read_file(bad, "own-root.der");
    if (tc_is_aws_root(tc_buf_span(&own_root))) failed("own-root.der", "taken for AWS's");
    json_t *cases = read_manifest(bad);
    json_array_foreach(list_of(cases, "vectors", BAD_COUNT), i, entry)
        check_case(bad, entry, tc_buf_span(&own_root));
    json_decref(cases);

    (void)fprintf(stderr, "%u failures\n", failures);
    return failures ? 1 : 0;
}
