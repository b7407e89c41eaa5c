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

/* What the message of a refusal must name, by the file. The first row that fits
 * holds; * stands for any characters, and in the words % for those that the last
 * * stood for. A file without a row and a row without a file are failures. */
struct blame {
    const char *file;
    const char *words;
};
static const struct blame blames[] = {
    /* header */
    {"hdr-alg-null.cbor", "COSE protected header: expected an unsigned integer"},
    {"hdr-alg-es256.cbor", "algorithm -7; expected ES384"},
    {"hdr-alg-es512.cbor", "algorithm -36; expected ES384"},
    {"hdr-alg-eddsa.cbor", "algorithm -8; expected ES384"},
    {"hdr-alg-none.cbor", "algorithm 0; expected ES384"},
    {"hdr-prot-not-map.cbor", "COSE protected header: expected a map"},
    {"hdr-prot-trailing.cbor", "COSE protected header: 1 bytes follow the end"},
    {"hdr-prot-crit.cbor", "COSE protected header: 2 entries"},
    {"hdr-prot-is-map.cbor", "COSE protected header: expected a byte string, saw a map"},
    {"hdr-unprotected-nonempty.cbor", "COSE unprotected header, which must be empty"},
    {"aws-flip-protected.cbor", "algorithm -36; expected ES384"},
    {"aws-alg-es256.cbor", "algorithm -7; expected ES384"},
    {"aws-alg-none.cbor", "no algorithm; expected ES384"},
    {"aws-unprotected.cbor", "COSE unprotected header, which must be empty"},
    {"aws-protected-nonshortest.cbor", "COSE protected header: a CBOR head"},
    /* signature */
    {"sig-s-zero.cbor", "COSE signature: r or s is outside 1 .. n-1"},
    {"sig-r-n.cbor", "COSE signature: r or s is outside 1 .. n-1"},
    {"sig-s-n.cbor", "COSE signature: r or s is outside 1 .. n-1"},
    {"sig-s-n-r-n.cbor", "COSE signature: r or s is outside 1 .. n-1"},
    {"sig-ones.cbor", "COSE signature: r or s is outside 1 .. n-1"},
    {"sig-len95.cbor", "COSE signature: 95 bytes; ES384 has 96"},
    {"sig-len97-lead.cbor", "COSE signature: 97 bytes"},
    {"sig-len64.cbor", "COSE signature: 64 bytes; ES384 has 96"},
    {"sig-empty.cbor", "COSE signature: 0 bytes; ES384 has 96"},
    {"sig-der.cbor", "COSE signature: 104 bytes"},
    {"sig-text.cbor", "COSE signature: expected a byte string, saw a text string"},
    {"sig-*.cbor", "the document's signature does not verify"},
    {"aws-extra-key.cbor", "payload: unknown key \"x\""},
    {"aws-flip-leaf.cbor", "certificates, at the signed time * certificate 5 of 5"},
    {"aws-flip-*.cbor", "the document's signature does not verify"},
    {"aws-sig-of-other-doc.cbor", "the document's signature does not verify"},
    {"aws-payload-of-other-doc.cbor", "the document's signature does not verify"},
    {"aws-reencoded-*.cbor", "the document's signature does not verify"},
    {"aws-nonce-to-null.cbor", "the document's signature does not verify"},
    /* COSE */
    {"cose-array3.cbor", "COSE_Sign1: an array of 3"},
    {"cose-array5.cbor", "COSE_Sign1: 5 items"},
    {"cose-payload-empty.cbor", "COSE payload: empty"},
    {"cose-payload-map.cbor", "COSE payload: expected a byte string, saw a map"},
    {"cose-tag-*.cbor", "COSE_Sign1: a CBOR tag"},
    {"cose-trailing-00.cbor", "COSE_Sign1: 1 bytes follow the end"},
    {"cose-base64.cbor", "COSE_Sign1: expected an array, saw a text string"},
    {"cose-hex.cbor", "COSE_Sign1: expected an array, saw a negative integer"},
    {"cose-empty.cbor", "COSE_Sign1: the CBOR ends"},
    {"cose-one-byte.cbor", "COSE protected header: the CBOR ends"},
    {"cose-ff.cbor", "COSE_Sign1: CBOR byte 0xff"},
    {"aws-trailing.cbor", "COSE_Sign1: 1 bytes follow the end"},
    {"aws-doubled.cbor", "COSE_Sign1: * bytes follow the end"},
    {"len-payload-2pow63.cbor", "COSE payload: 9223372036854775808 bytes"},
    {"len-prot-u64max.cbor", "COSE protected header: 18446744073709551615 bytes"},
    {"len-array-2pow32.cbor", "COSE_Sign1: 4294967296 items"},
    {"len-array-u64max.cbor", "COSE_Sign1: 18446744073709551615 items"},
    {"deep-arrays-1M.cbor", "1000000 bytes; at most 32768"},
    {"deep-tags-10000.cbor", "COSE_Sign1: a CBOR tag"},
    {"deep-indef-10000.cbor", "COSE_Sign1: an array of indefinite"},
    {"deep-maps-unprot.cbor", "COSE unprotected header, which must be empty"},
    {"trunc/*", "attestation document: COSE"},
    /* payload */
    {"size-1mb.cbor", "bytes; at most 32768"},
    {"pl-missing-*.cbor", "payload: % is missing"},
    {"pl-null-*.cbor", "%: expected * saw a simple value"},
    {"pl-dup-*-differs.cbor", "payload: key % twice"},
    {"pl-dup-*.cbor", "payload: key % twice"},
    {"pl-pcr-len-*.cbor", "PCR0: % bytes"},
    {"pl-pcr-index-32.cbor", "PCR index: 32 is more than 31"},
    {"pl-pcr-index-u64max.cbor", "PCR index: 18446744073709551615 is more than 31"},
    {"pl-pcr-index-neg1.cbor", "PCR index: expected an unsigned integer, saw a negative integer"},
    {"pl-pcr-index-bytes.cbor", "PCR index: expected an unsigned integer, saw a byte string"},
    {"pl-pcrs-array.cbor", "pcrs: expected a map, saw an array"},
    {"pl-pcr-null.cbor", "PCR0: expected a byte string"},
    {"pl-digest-bytes.cbor", "digest: expected a text string"},
    {"pl-digest-nul.cbor", "digest: 7 bytes"},
    {"pl-digest-*.cbor", "digest: expected SHA384"},
    {"pl-timestamp-zero.cbor", "timestamp: zero"},
    {"pl-timestamp-seconds.cbor", "at the signed time 1970-01-21"},
    {"pl-timestamp-*.cbor", "timestamp: "},
    {"pl-module_id-empty.cbor", "module_id: empty"},
    {"pl-module_id-bytes.cbor", "module_id: expected a text string"},
    {"pl-module_id-10k.cbor", "module_id: 10000 bytes; at most 256"},
    {"pl-*-1025.cbor", "%: 1025 bytes; at most 1024"},
    {"pl-*-int.cbor", "%: expected a byte string, saw an unsigned integer"},
    {"pl-*-undefined.cbor", "%: CBOR byte 0xf7"},
    {"pl-user_data-text.cbor", "user_data: expected a byte string, saw a text string"},
    {"pl-user_data-array.cbor", "user_data: expected a byte string, saw an array"},
    {"pl-user_data-claims-*.cbor", "user_data: * bytes; at most 1024"},
    {"pl-cert-trailing.cbor", "certificate 5 of 5: 1 bytes follow the DER"},
    {"pl-cert-pem.cbor", "certificate 5 of 5: not DER"},
    {"pl-cert-ber-indef.cbor", "certificate 5 of 5: not DER: a length"},
    {"pl-cabundle-elem-text.cbor", "cabundle: expected a byte string, saw a text string"},
    {"pl-cabundle-map.cbor", "cabundle: expected an array, saw a map"},
    {"pl-cabundle-500-roots.cbor", "COSE payload: 16954 bytes; at most 16384"},
    {"pl-cabundle-1000-garbage.cbor", "cabundle: 1004 items; at most 8"},
    {"pl-cabundle-claims-2pow61.cbor", "cabundle: 2305843009213693952 items"},
    {"pl-nitrotpm.cbor", "payload: unknown key \"nitrotpm_pcrs\""},
    {"pl-key-case.cbor", "payload: unknown key \"Module_id\""},
    {"pl-key-nul.cbor", "payload: text that is not UTF-8 without NUL"},
    {"pl-array.cbor", "payload: expected a map, saw an array"},
    {"pl-count-short.cbor", "payload: * bytes follow the end"},
    {"pl-over-16384.cbor", "COSE payload: 19330 bytes; at most 16384"},
    {"pl-deep-tags.cbor", "user_data: a CBOR tag"},
    {"pl-reserved-ai28.cbor", "user_data: a byte string of indefinite or reserved length"},
    {"pl-simple-ext.cbor", "user_data: CBOR byte 0xf8"},
    {"pl-map-claims-u64max.cbor", "payload: 18446744073709551615 entries"},
    /* chain */
    {"chain-missing-i3.cbor", "certificate 4 of 4 names another issuer"},
    {"chain-reversed.cbor", "the chain starts at another root"},
    {"chain-extra-selfsigned-end.cbor", "certificate 5 of 6 is issued by itself"},
    {"chain-foreign-root-first.cbor", "the chain starts at another root"},
    {"chain-leaf-in-bundle.cbor", "certificate 6 of 6 is in the chain twice"},
    {"chain-own-root-same-name.cbor", "the chain starts at another root"},
    {"chain-own-chain-aws-root.cbor", "the chain starts at another root"},
    {"chain-aws-root-spliced.cbor", "certificate 2 of 5 names another issuer"},
    {"chain-fake-aws-root.cbor", "the chain starts at another root"},
    {"chain-i2-ca-false.cbor", "certificate 3 of 5 signs another one but is no CA"},
    {"chain-i3-ca-false.cbor", "certificate 4 of 5 signs another one but is no CA"},
    {"chain-i2-pathlen0.cbor", "certificate 3 of 5 has a shorter path length"},
    {"chain-i3-no-certsign.cbor", "certificate 4 of 5 signs another one without keyCertSign"},
    {"chain-i1-no-certsign.cbor", "certificate 2 of 5 signs another one without keyCertSign"},
    {"chain-leaf-no-ds.cbor", "certificate 5 of 5 is the leaf but lacks digitalSignature"},
    {"chain-leaf-pathlen.cbor", "certificate 5 of 5 is the leaf but a CA"},
    {"chain-leaf-expired.cbor", "certificate 5 of 5 is not valid at"},
    {"chain-leaf-future.cbor", "certificate 5 of 5 is not valid at"},
    {"chain-i3-expired.cbor", "certificate 4 of 5 is not valid at"},
    {"chain-i2-expired.cbor", "certificate 3 of 5 is not valid at"},
    {"chain-i1-future.cbor", "certificate 2 of 5 is not valid at"},
    {"chain-issuer-name-mismatch.cbor", "certificate 5 of 5 names another issuer"},
    {"chain-i3-self-signed.cbor", "certificate 4 of 5 was not signed by"},
    {"chain-sibling-key.cbor", "certificate 5 of 5 was not signed by"},
    {"chain-crit-unknown-leaf.cbor", "certificate 5 of 5 has a critical extension"},
    {"chain-i2-sha1.cbor", "certificate 3 of 5 is not signed with ecdsa-with-SHA384"},
    /* Such a key makes signatures of another length, which comes first. */
    {"chain-leaf-p521.cbor", "COSE signature: 132 bytes"},
    {"chain-leaf-secp256k1.cbor", "COSE signature: 64 bytes"},
    {"chain-leaf-brainpool384.cbor", "certificate 5 of 5 has a key other than"},
    {"chain-leaf-rsa.cbor", "certificate 5 of 5 has a key other than"},
    {"chain-leaf-sig-flipped.cbor", "certificate 5 of 5 was not signed by"},
    {"chain-i2-sig-flipped.cbor", "certificate 3 of 5 was not signed by"},
    {"chain-leaf-point-badform.cbor", "certificate 5 of 5 has a key other than"},
    {"chain-leaf-tbs-alg-mismatch.cbor", "certificate 5 of 5 is not signed with ecdsa-with-SHA384"},
    {"chain-leaf-version1.cbor", "certificate 5 of 5 is not X.509 version 3"},
    {"chain-leaf-explicit-params.cbor", "certificate 5 of 5 has a key other than"},
    {"time-own-expired.cbor", "certificate 5 of 5 is not valid at 2026-01-01T14:00:01Z"},
    {"time-own-early.cbor", "certificate 5 of 5 is not valid at 2026-01-01T10:59:59Z"},
    {"root-own-vs-aws.cbor", "the chain starts at another root"},
    {"aws-swap-leaf.cbor", "payload: expected a text string"},
    {"aws-own-leaf.cbor", "certificate 5 of 5 names another issuer"},
    {"aws-time-after.cbor", "certificate 5 of 5 is not valid at"},
    {"aws-time-before.cbor", "certificate 5 of 5 is not valid at"},
    {"aws-time-2026.cbor", "certificate 2 of 5 is not valid at 2026"},
    {"aws-time-2050.cbor", "certificate 1 of 5 is not valid at 2050"},
    /* others' fixtures */
    {"thirdparty-veracruz*", "the document's signature does not verify"},
    {"thirdparty-eternisai*", "the document's signature does not verify"},
    {"thirdparty-marlinprotocol*", "the chain starts at another root"},
    {"thirdparty-blocky*", "COSE unprotected header, which must be empty"},
    {"thirdparty-brave*", "COSE unprotected header, which must be empty"},
    /* policy cases that are refused */
    {"policy-pcr32bytes.cbor", "PCR0: 32 bytes; SHA384 has 48"},
    {"policy-pcrs-only-pcr0.cbor", "PCR0, PCR1 and PCR2 must all be there"},
    {"policy-extra-key.cbor", "payload: unknown key \"zzz\""},
    {"policy-nonshortest-ints.cbor", "PCR index: a CBOR head that is cut or not in shortest form"},
    {"policy-outer-indef.cbor", "COSE_Sign1: an array of indefinite"},
    {"policy-timestamp-2h-before-leaf.cbor", "certificate 5 of 5 is not valid at 2026-01-01T10:00:00Z"},
};
enum { BLAMES = sizeof blames / sizeof *blames };
static unsigned blamed[BLAMES];

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

/* Whether name fits pattern, which has at most one *; what that stood for. */
static bool fits(const char *pattern, const char *name, struct tc_span *ret_star)
{
    const char *star = strchr(pattern, '*');
    if (!star) return strcmp(pattern, name) == 0;
    size_t head = (size_t)(star - pattern), tail = strlen(star + 1), size = strlen(name);
    if (size < head + tail || strncmp(pattern, name, head) != 0 ||
        strcmp(name + size - tail, star + 1) != 0)
        return false;
    *ret_star = (struct tc_span){(const uint8_t *)name + head, size - head - tail};
    return true;
}

/* Whether message holds words: their parts between *, in order. */
static bool holds(const char *message, const char *words)
{
    while (*words) {
        char part[256];
        size_t size = strcspn(words, "*");
        (void)snprintf(part, sizeof part, "%.*s", (int)size, words);
        const char *at = strstr(message, part);
        if (!at) return false;
        message = at + size;
        words += size + (words[size] == '*');
    }
    return true;
}

static void check_blame(const char *file, const char *message)
{
    for (size_t i = 0; i < BLAMES; i++) {
        struct tc_span star = {NULL, 0};
        if (!fits(blames[i].file, file, &star)) continue;
        char words[256];
        const char *percent = strchr(blames[i].words, '%');
        if (percent)
            (void)snprintf(words, sizeof words, "%.*s%.*s%s", (int)(percent - blames[i].words),
                           blames[i].words, (int)star.size, (const char *)star.data, percent + 1);
        else
            (void)snprintf(words, sizeof words, "%s", blames[i].words);
        blamed[i]++;
        if (!holds(message, words))
            failed(file, "the message does not name \"%s\": %s", words, message);
        return;
    }
    failed(file, "no row says what its message must name: %s", message);
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
    if (!accept && status != TC_OK) check_blame(file, err.message);
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
    for (i = 0; i < BLAMES; i++)
        if (blamed[i] == 0) failed(blames[i].file, "a row of this test that no case uses");

    (void)fprintf(stderr, "%u failures\n", failures);
    return failures ? 1 : 0;
}
