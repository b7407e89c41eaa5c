/* Lists of images, own images and signers: what is written reads as the same,
 * and everything that the format does not have is refused by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/pem.h>

#include "assert_ok.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "core/ownimages.h"
#include "trust_sample.h"
#include "verify/project_trust.h"

#define P10 "101010101010101010101010101010101010101010101010"
#define P40 "404040404040404040404040404040404040404040404040"
#define P00 "000000000000000000000000000000000000000000000000"
#define REST                                                                                       \
    "\"pcr1\":\"" P10 P10 "\",\"pcr2\":\"" P10 P10                                                 \
    "\",\"recipe\":\"4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e4e\","           \
    "\"valid_from\":\"2026-01-01T00:00:00Z\",\"valid_until\":\"2027-01-01T00:00:00Z\""
#define NAMED "\"name\":\"c\",\"version\":\"1\",\"architecture\":\"x86_64\","
#define IMAGE(pcr0, more) "{" NAMED "\"pcr0\":\"" pcr0 "\"," REST more "}"
#define HEAD                                                                                       \
    "{\"type\":\"tee-compile/images/1\",\"sequence\":7,\"issued\":\"2026-01-01T00:00:00Z\","       \
    "\"next_update\":\"2026-02-01T00:00:00Z\","
#define LIST(images) HEAD "\"images\":[" images "]}"
#define GOOD IMAGE(P10 P10, "")

static tc_status read_list(const char *text, enum tc_imagelist_kind kind, struct tc_error *err)
{
    struct tc_imagelist list;
    tc_status status = tc_imagelist_read(tc_span_of_text(text), "images.json", kind, &list, err);
    if (status == TC_OK) tc_imagelist_free(&list);
    return status;
}

static void test_read(void **state)
{
    (void)state;
    struct tc_error err = {0};
    static const char text[] =
        LIST(IMAGE(P10 P10, "") "," IMAGE(P40 P40, ",\"revoked\":{\"reason\":\"leaked\",\"from\":"
                                                   "\"2026-03-01T00:00:00Z\"}"));
    TC_AUTO_IMAGELIST struct tc_imagelist list = {0};
    assert_ok(tc_imagelist_read(tc_span_of_text(text), "x", TC_IMAGELIST_SIGNED, &list, &err));
    assert_int_equal(list.sequence, 7);
    assert_int_equal(list.images_count, 2);
    assert_int_equal(list.issued, 1767225600);
    struct tc_sha384 pcr0;
    memset(pcr0.bytes, 0x40, sizeof pcr0.bytes);
    const struct tc_image *image = tc_imagelist_find(&list, &pcr0);
    assert_non_null(image);
    assert_string_equal(image->reason, "leaked");
    assert_false(image->revoked_for_all);
    assert_true(tc_image_is_revoked(image, image->revoked_from));
    assert_false(tc_image_is_revoked(image, image->revoked_from - 1));
    pcr0.bytes[47] ^= 1;
    assert_null(tc_imagelist_find(&list, &pcr0));
    /* Found by PCR0 and by nothing else: this is the entries' PCR1. */
    memcpy(pcr0.bytes, list.images[0].pcr[1].bytes, sizeof pcr0.bytes);
    pcr0.bytes[0] ^= 1;
    assert_null(tc_imagelist_find(&list, &pcr0));
    /* One spelling: the text above is the writer's. */
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_IMAGELIST_MAX);
    assert_ok(tc_imagelist_write(&list, &buf, &err));
    assert_true(tc_span_equal(tc_buf_span(&buf), tc_span_of_text(text)));
    struct tc_imagelist empty = {0};
    assert_null(tc_imagelist_find(&empty, &pcr0));
    assert_int_equal(read_list(LIST(""), TC_IMAGELIST_SIGNED, &err), TC_OK);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "images.json"},
        {"[]", "object"},
        {"{\"type\":\"tee-compile/images/2\",\"more\":1}", "must be tee-compile/images/1"},
        {HEAD "\"image\":[]}", "did you mean \"images\"?"},
        {HEAD "\"images\":[],\"images\":[]}", "duplicate"},
        {HEAD "\"images\":{}}", "list"},
        {"{\"type\":\"tee-compile/images/1\",\"sequence\":0,\"issued\":\"2026-01-01T00:00:00Z\","
         "\"next_update\":\"2026-02-01T00:00:00Z\",\"images\":[]}",
         "sequence: must be 1 or more"},
        {"{\"type\":\"tee-compile/images/1\",\"sequence\":9007199254740992,\"issued\":"
         "\"2026-01-01T00:00:00Z\",\"next_update\":\"2026-02-01T00:00:00Z\",\"images\":[]}",
         "sequence: is 9007199254740992"},
        {"{\"type\":\"tee-compile/images/1\",\"sequence\":1.0,\"issued\":\"2026-01-01T00:00:00Z\","
         "\"next_update\":\"2026-02-01T00:00:00Z\",\"images\":[]}",
         "whole number"},
        {"{\"type\":\"tee-compile/images/1\",\"sequence\":1,\"issued\":\"2026-03-01T00:00:00Z\","
         "\"next_update\":\"2026-02-01T00:00:00Z\",\"images\":[]}",
         "next_update: is before issued"},
        {"{\"type\":\"tee-compile/images/1\",\"sequence\":1,\"issued\":\"yesterday\","
         "\"next_update\":\"2026-02-01T00:00:00Z\",\"images\":[]}",
         "issued: must be a time"},
        {LIST(GOOD "," GOOD), "two entries have PCR0 1010"},
        {LIST(IMAGE(P40 P40, "") "," GOOD), "ascending order of pcr0"},
        {LIST(IMAGE(P00 P00, "")), "images[0].pcr0: is all zero"},
        {LIST(IMAGE(P10, "")), "pcr0: must be 96 lower-case hex digits"},
        {LIST("{" NAMED "\"PCR0\":\"" P10 P10 "\"," REST "}"), "PCR0: unknown key"},
        {LIST("{" NAMED REST "}"), "pcr0: is missing"},
        {LIST(IMAGE(P10 P10, ",\"revoked\":true")), "revoked: must be an object"},
        {LIST(IMAGE(P10 P10, ",\"revoked\":{}")), "revoked.reason: is missing"},
        {LIST(IMAGE(P10 P10, ",\"revoked\":{\"reason\":\"\"}")), "must say why"},
        {LIST(IMAGE(P10 P10, ",\"revoked\":{\"reason\":\"x\",\"form\":\"\"}")),
         "did you mean \"from\"?"},
        {LIST(IMAGE(P10 P10, ",\"revoked\":{\"reason\":\"x\",\"from\":1}")), "string"},
        {LIST("{\"name\":\"a b\",\"version\":\"1\",\"architecture\":\"x86_64\",\"pcr0\":\"" P10 P10
              "\"," REST "}"),
         "name: must be a name"},
        {LIST("{\"name\":\"c\",\"version\":\"1\",\"architecture\":\"sixteen-letters-\",\"pcr0\":\""
              P10 P10 "\"," REST "}"),
         "architecture: has 16 bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tc_error err = {0};
        if (read_list(cases[i].text, TC_IMAGELIST_SIGNED, &err) != TC_MALFORMED)
            fail_msg("accepted: %s", cases[i].text);
        if (!strstr(err.message, cases[i].says))
            fail_msg("%s: expected \"%s\" in \"%s\"", cases[i].text, cases[i].says, err.message);
    }
    struct tc_error err = {0};
    /* A draft may have another order, but no image twice. */
    assert_int_equal(read_list(LIST(IMAGE(P40 P40, "") "," GOOD), TC_IMAGELIST_DRAFT, &err), TC_OK);
    assert_int_equal(read_list(LIST(GOOD "," IMAGE(P40 P40, "") "," GOOD), TC_IMAGELIST_DRAFT, &err),
                     TC_MALFORMED);
    assert_non_null(strstr(err.message, "two entries"));
}

static void test_backwards(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct tc_image image = sample_image("c", 0x10);
    image.valid_until = image.valid_from - 1;
    TC_AUTO_IMAGELIST struct tc_imagelist list = {0};
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_IMAGELIST_MAX);
    sample_list_of(1, &image, 1, &list);
    assert_ok(tc_imagelist_write(&list, &buf, &err));
    struct tc_imagelist read;
    assert_int_equal(tc_imagelist_read(tc_buf_span(&buf), "x", TC_IMAGELIST_SIGNED, &read, &err),
                     TC_MALFORMED);
    assert_non_null(strstr(err.message, "valid_until: is before valid_from"));
}

static void test_bounds(void **state)
{
    (void)state;
    struct tc_error err = {0};
    size_t count = TC_IMAGELIST_ENTRIES_MAX + 1;
    struct tc_image *images = calloc(count, sizeof *images);
    assert_non_null(images);
    for (size_t i = 0; i < count; i++) {
        images[i] = sample_image("c", 0x10);
        images[i].pcr[0].bytes[0] = (uint8_t)(i >> 8);
        images[i].pcr[0].bytes[1] = (uint8_t)i;
    }
    for (size_t wanted = count - 1; wanted <= count; wanted++) {
        TC_AUTO_IMAGELIST struct tc_imagelist list = {0}, read = {0};
        TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_IMAGELIST_MAX);
        sample_list_of(1, images, wanted, &list);
        assert_ok(tc_imagelist_write(&list, &buf, &err));
        tc_status status =
            tc_imagelist_read(tc_buf_span(&buf), "x", TC_IMAGELIST_SIGNED, &read, &err);
        assert_int_equal(status, wanted == count ? TC_MALFORMED : TC_OK);
    }
    free(images);
    struct tc_imagelist read;
    TC_AUTO_BUF struct tc_buf spaces = tc_buf_new(TC_IMAGELIST_MAX + 1);
    static const uint8_t space[4096] = {' '};
    while (spaces.size < TC_IMAGELIST_MAX)
        tc_buf_add(&spaces, space, sizeof space);
    tc_buf_add_text(&spaces, "x");
    assert_int_equal(tc_imagelist_read(tc_buf_span(&spaces), "x", TC_IMAGELIST_SIGNED, &read, &err),
                     TC_MALFORMED);
    assert_non_null(strstr(err.message, "at most"));
}

static void test_own(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct tc_own_image images[2] = {{.name = "c"}, {.name = "rust", .version = "1", .has_recipe = true}};
    memset(images[0].pcr0.bytes, 1, TC_SHA384_SIZE);
    memset(images[1].pcr0.bytes, 2, TC_SHA384_SIZE);
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_OWNIMAGES_MAX);
    assert_ok(tc_ownimages_write(images, 2, &buf, &err));
    TC_AUTO_FREE struct tc_own_image *read = NULL;
    size_t count = 0;
    assert_ok(tc_ownimages_read(tc_buf_span(&buf), "own.json", &read, &count, &err));
    assert_int_equal(count, 2);
    assert_memory_equal(read, images, sizeof images);
    struct tc_own_image *none = NULL;
    for (size_t size = 0; size < buf.size; size++)
        if (tc_ownimages_read((struct tc_span){buf.data, size}, "own.json", &none, &count, &err) ==
            TC_OK)
            fail_msg("a file cut at %zu reads", size);
    struct tc_own_image swapped[2] = {images[1], images[0]}, twice[2] = {images[0], images[0]};
    struct tc_own_image zero = {.name = "c"};
    const struct tc_own_image *bad[] = {swapped, twice, &zero};
    for (size_t i = 0; i < 3; i++) {
        tc_buf_reset(&buf);
        assert_ok(tc_ownimages_write(bad[i], i < 2 ? 2 : 1, &buf, &err));
        assert_int_equal(tc_ownimages_read(tc_buf_span(&buf), "own.json", &none, &count, &err),
                         TC_MALFORMED);
    }
}

static void refuse_signer(struct tc_span pem, tc_status expected, const char *says)
{
    struct tc_error err = {0};
    struct tc_signer signer;
    tc_status status = tc_signer_read(pem, "key.pem", &signer, &err);
    if (status != expected || !strstr(err.message, says))
        fail_msg("expected \"%s\", got %s: %s", says, tc_status_name(status), err.message);
}

static void test_signers(void **state)
{
    (void)state;
    for (int kind = SAMPLE_ED25519; kind < SAMPLE_KINDS; kind++) {
        EVP_PKEY *key = sample_key((enum sample_key_kind)kind);
        TC_AUTO_BUF struct tc_buf pem = {0}, certificate = {0};
        sample_key_pem(key, &pem);
        sample_certificate_pem(key, &certificate);
        if (kind == SAMPLE_P521) {
            refuse_signer(tc_buf_span(&pem), TC_REFUSED, "not a ed25519, P-256 or P-384 key");
        } else {
            TC_AUTO_SIGNER struct tc_signer signer = {0};
            sample_signer(tc_buf_span(&pem), &signer);
            assert_false(signer.by_certificate);
        }
        if (kind == SAMPLE_P384) {
            TC_AUTO_SIGNER struct tc_signer signer = {0};
            sample_signer(tc_buf_span(&certificate), &signer);
            assert_true(signer.by_certificate);
        } else {
            refuse_signer(tc_buf_span(&certificate), TC_REFUSED, "not a P-384 key");
        }
        tc_buf_add_span(&pem, tc_buf_span(&certificate));
        refuse_signer(tc_buf_span(&pem), TC_MALFORMED, "several blocks");
        EVP_PKEY_free(key);
    }
    refuse_signer(tc_span_of_text("hello\n"), TC_MALFORMED, "found none");
    refuse_signer((struct tc_span){0}, TC_MALFORMED, "expected one PUBLIC KEY");
    refuse_signer(tc_span_of_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
                  TC_REFUSED, "in DER");
    refuse_signer(tc_span_of_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
                  TC_MALFORMED, "no certificate");
    refuse_signer(tc_span_of_text("-----BEGIN X-----\nAAAA\n-----END X-----\n"), TC_MALFORMED,
                  "PUBLIC KEY or a CERTIFICATE");
    EVP_PKEY *key = sample_key(SAMPLE_ED25519);
    BIO *bio = BIO_new(BIO_s_mem());
    assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    char *data;
    long size = BIO_get_mem_data(bio, &data);
    refuse_signer((struct tc_span){(const uint8_t *)data, (size_t)size}, TC_REFUSED, "private key");
    BIO_free(bio);
    EVP_PKEY_free(key);
}

/* Computed with openssl x509 -outform DER and Python's hashlib by the recipe of
 * docs/formats.md. */
static void test_pcr8(void **state)
{
    (void)state;
    static const char pem[] =
#include "certificate_sample.inc"
        ;
    TC_AUTO_SIGNER struct tc_signer signer = {0};
    sample_signer(tc_span_of_text(pem), &signer);
    char hex[TC_SHA384_HEX];
    tc_hex((struct tc_span){signer.pcr8.bytes, TC_SHA384_SIZE}, hex);
    assert_string_equal(hex, CERTIFICATE_PCR8);
    assert_string_equal(signer.id, CERTIFICATE_KEY_ID);
}

/* What a release carries must be good, or every user's first command fails. */
static void test_project(void **state)
{
    (void)state;
    struct tc_error err = {0};
    TC_AUTO_SIGNER struct tc_signer signer = {0};
    TC_AUTO_DSSE struct tc_dsse dsse = {0};
    TC_AUTO_IMAGELIST struct tc_imagelist list = {0};
    assert_ok(tc_signer_read(tc_project_list_key(), "trust/list-key.pem", &signer, &err));
    assert_ok(tc_dsse_read(tc_project_list(), "trust/images.json", &tc_imagelist_form, &dsse, &err));
    assert_ok(tc_dsse_check(&dsse, &tc_imagelist_form, tc_buf_span(&signer.spki), &err));
    assert_ok(tc_imagelist_read(tc_buf_span(&dsse.payload), "trust/images.json",
                                TC_IMAGELIST_SIGNED, &list, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),    cmocka_unit_test(test_refused),
        cmocka_unit_test(test_backwards), cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_own),     cmocka_unit_test(test_signers),
        cmocka_unit_test(test_pcr8),    cmocka_unit_test(test_project),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
