/* The signature section of images: each algorithm, and each rule by a section
 * that breaks it alone. Sections are put together here, byte for byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "base/cleanup.h"
#include "core/cbor.h"
#include "core/eifsig.h"

struct kind {
    const char *group, *digest;
    int64_t algorithm;
    size_t scalar_size;
    EVP_PKEY *key;
    struct tc_buf der;
    char pem[4096];
};
static struct kind kinds[] = {
    {.group = "P-384", .digest = "SHA384", .algorithm = -35, .scalar_size = 48},
    {.group = "P-256", .digest = "SHA256", .algorithm = -7, .scalar_size = 32},
    {.group = "P-521", .digest = "SHA512", .algorithm = -36, .scalar_size = 66}};
enum { KINDS = 3 };

static struct tc_sha384 register_value(void)
{
    struct tc_sha384 pcr0;
    for (size_t i = 0; i < sizeof pcr0.bytes; i++)
        pcr0.bytes[i] = (uint8_t)(7 * i + 1); /* below and above 24, one and two bytes in CBOR */
    return pcr0;
}

static void make_certificate(struct kind *kind)
{
    X509 *certificate = X509_new();
    kind->key = EVP_EC_gen(kind->group);
    assert_non_null(kind->key);
    X509_set_version(certificate, X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 5);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                               (const unsigned char *)"signer", -1, -1, 0);
    X509_set_issuer_name(certificate, X509_get_subject_name(certificate));
    ASN1_TIME_set(X509_getm_notBefore(certificate), 1700000000);
    ASN1_TIME_set(X509_getm_notAfter(certificate), 1800000000);
    X509_set_pubkey(certificate, kind->key);
    assert_true(X509_sign(certificate, kind->key, EVP_sha384()) > 0);
    uint8_t *der = NULL;
    int size = i2d_X509(certificate, &der);
    kind->der = tc_buf_new(4096);
    tc_buf_add(&kind->der, der, (size_t)size);
    OPENSSL_free(der);
    BIO *memory = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(memory, certificate);
    char *text;
    long text_size = BIO_get_mem_data(memory, &text);
    memcpy(kind->pem, text, (size_t)text_size);
    BIO_free(memory);
    X509_free(certificate);
}

static int start(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++)
        make_certificate(&kinds[i]);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        EVP_PKEY_free(kinds[i].key);
        tc_buf_free(&kinds[i].der);
    }
    return 0;
}

/* What a section is made of; each break is one field. */
struct recipe {
    const struct kind *kind; /* signs */
    const char *pem;         /* NULL: the kind's */
    int64_t algorithm;       /* 0: the kind's */
    uint64_t index;
    size_t value_size;                                          /* 0: 48 */
    const char *first_key, *second_key, *index_key, *value_key; /* NULL: right */
    size_t count;                                               /* elements; 0: one */
    bool swap, tag, byte_string, big_integer, extra_key, extra_payload_key, trailing,
        trailing_payload, unprotected, long_head, break_signature, cut_signature;
};

static void add_integers(struct tc_buf *buf, struct tc_span bytes, const struct recipe *recipe)
{
    if (recipe->byte_string) {
        tc_cbor_add_bytes(buf, bytes);
        return;
    }
    tc_cbor_add_array(buf, bytes.size);
    for (size_t i = 0; i < bytes.size; i++)
        tc_cbor_add_unsigned(buf, bytes.data[i] + (recipe->big_integer && i == 3 ? 256U : 0U));
}

static void add_payload(struct tc_buf *buf, const struct recipe *recipe)
{
    struct tc_sha384 pcr0 = register_value();
    uint8_t value[64] = {0};
    memcpy(value, pcr0.bytes, sizeof pcr0.bytes);
    tc_cbor_add_map(buf, recipe->extra_payload_key ? 3 : 2);
    tc_cbor_add_name(buf, recipe->index_key ? recipe->index_key : "register_index");
    tc_cbor_add_unsigned(buf, recipe->index);
    tc_cbor_add_name(buf, recipe->value_key ? recipe->value_key : "register_value");
    tc_cbor_add_array(buf, recipe->value_size ? recipe->value_size : 48);
    for (size_t i = 0; i < (recipe->value_size ? recipe->value_size : 48); i++)
        tc_cbor_add_unsigned(buf, value[i]);
    if (recipe->extra_payload_key) {
        tc_cbor_add_name(buf, "more");
        tc_cbor_add_null(buf);
    }
    if (recipe->trailing_payload) tc_cbor_add_null(buf);
}

static void sign(const struct kind *kind, struct tc_span header, struct tc_span payload,
                 uint8_t raw[132])
{
    TC_AUTO_BUF struct tc_buf covered = tc_buf_new(4096);
    tc_cbor_add_array(&covered, 4);
    tc_cbor_add_name(&covered, "Signature1");
    tc_cbor_add_bytes(&covered, header);
    tc_cbor_add_bytes(&covered, (struct tc_span){NULL, 0});
    tc_cbor_add_bytes(&covered, payload);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    uint8_t der[160];
    size_t size = sizeof der;
    assert_int_equal(
        EVP_DigestSignInit_ex(context, NULL, kind->digest, NULL, NULL, kind->key, NULL), 1);
    assert_int_equal(EVP_DigestSign(context, der, &size, covered.data, covered.size), 1);
    EVP_MD_CTX_free(context);
    const uint8_t *next = der;
    ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &next, (long)size);
    BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, (int)kind->scalar_size);
    BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + kind->scalar_size, (int)kind->scalar_size);
    ECDSA_SIG_free(signature);
}

static void add_message(struct tc_buf *buf, const struct recipe *recipe)
{
    const struct kind *kind = recipe->kind;
    TC_AUTO_BUF struct tc_buf header = tc_buf_new(64), payload = tc_buf_new(1024);
    uint8_t raw[132];
    size_t raw_size = 2 * kind->scalar_size;
    tc_cbor_add_map(&header, 1);
    tc_cbor_add_integer(&header, 1);
    tc_cbor_add_integer(&header, recipe->algorithm ? recipe->algorithm : kind->algorithm);
    add_payload(&payload, recipe);
    sign(kind, tc_buf_span(&header), tc_buf_span(&payload), raw);
    if (recipe->break_signature) raw[5] ^= 1;
    if (recipe->cut_signature) raw_size--;
    if (recipe->tag) tc_buf_add_u8(buf, 0xd2);
    tc_cbor_add_array(buf, 4);
    tc_cbor_add_bytes(buf, tc_buf_span(&header));
    tc_cbor_add_map(buf, recipe->unprotected ? 1 : 0);
    if (recipe->unprotected) {
        tc_cbor_add_integer(buf, 4);
        tc_cbor_add_null(buf);
    }
    tc_cbor_add_bytes(buf, tc_buf_span(&payload));
    tc_cbor_add_bytes(buf, (struct tc_span){raw, raw_size});
}

static void add_certificate(struct tc_buf *buf, const struct recipe *recipe)
{
    tc_cbor_add_name(buf, recipe->first_key ? recipe->first_key : "signing_certificate");
    add_integers(buf, tc_span_of_text(recipe->pem ? recipe->pem : recipe->kind->pem), recipe);
}

static struct tc_buf section_of(const struct recipe *recipe)
{
    struct tc_buf buf = tc_buf_new(32768);
    TC_AUTO_BUF struct tc_buf message = tc_buf_new(2048);
    add_message(&message, recipe);
    size_t count = recipe->count ? recipe->count : 1;
    if (recipe->long_head) {
        tc_buf_add_u8(&buf, 0x98);
        tc_buf_add_u8(&buf, 1);
    } else {
        tc_cbor_add_array(&buf, count);
    }
    for (size_t i = 0; i < count; i++) {
        tc_cbor_add_map(&buf, recipe->extra_key ? 3 : 2);
        if (!recipe->swap) add_certificate(&buf, recipe);
        tc_cbor_add_name(&buf, recipe->second_key ? recipe->second_key : "signature");
        struct recipe plain = *recipe;
        plain.big_integer = false;
        add_integers(&buf, tc_buf_span(&message), &plain);
        if (recipe->swap) add_certificate(&buf, recipe);
        if (recipe->extra_key) {
            tc_cbor_add_name(&buf, "more");
            tc_cbor_add_null(&buf);
        }
    }
    if (recipe->trailing) tc_cbor_add_null(&buf);
    return buf;
}

static tc_status judge(struct tc_span section, const struct tc_sha384 *pcr0, struct tc_error *err)
{
    TC_AUTO_EIFSIG struct tc_eifsig signature = {0};
    TC_TRY(tc_eifsig_decode(section, &signature, err));
    return tc_eifsig_verify(&signature, pcr0, err);
}

static void assert_judged(const struct recipe *recipe, tc_status expected, const char *words)
{
    TC_AUTO_BUF struct tc_buf section = section_of(recipe);
    struct tc_sha384 pcr0 = register_value();
    struct tc_error err = {0};
    tc_status status = judge(tc_buf_span(&section), &pcr0, &err);
    if (status != expected || !strstr(err.message, words))
        fail_msg("expected %s \"%s\", got %s: %s", tc_status_name(expected), words,
                 tc_status_name(status), err.message);
}

static void test_each_algorithm(void **state)
{
    (void)state;
    for (size_t i = 0; i < KINDS; i++) {
        assert_judged(&(struct recipe){.kind = &kinds[i]}, TC_OK, "");
        assert_judged(&(struct recipe){.kind = &kinds[i], .break_signature = true}, TC_REFUSED,
                      "is not by the key of its signing certificate");
        assert_judged(&(struct recipe){.kind = &kinds[i], .cut_signature = true}, TC_MALFORMED,
                      "COSE signature");
        for (size_t k = 0; k < KINDS; k++)
            if (k != i) {
                assert_judged(&(struct recipe){.kind = &kinds[i], .pem = kinds[k].pem}, TC_REFUSED,
                              "is not by the key");
                assert_judged(&(struct recipe){.kind = &kinds[i], .algorithm = kinds[k].algorithm},
                              TC_MALFORMED, "COSE signature");
            }
    }
    assert_judged(&(struct recipe){.kind = &kinds[0], .algorithm = -8}, TC_REFUSED, "algorithm -8");
}

static void test_contents(void **state)
{
    (void)state;
    struct recipe recipe = {.kind = &kinds[0]};
    TC_AUTO_BUF struct tc_buf section = section_of(&recipe);
    TC_AUTO_EIFSIG struct tc_eifsig signature = {0};
    struct tc_error err = {0};
    struct tc_sha384 pcr0 = register_value(), digest, pcr8 = {{0}};
    assert_int_equal(tc_eifsig_decode(tc_buf_span(&section), &signature, &err), TC_OK);
    assert_true(tc_span_equal(tc_buf_span(&signature.certificate), tc_buf_span(&kinds[0].der)));
    assert_memory_equal(&signature.pcr0, &pcr0, sizeof pcr0);
    assert_int_equal(signature.not_before, 1700000000);
    assert_int_equal(signature.not_after, 1800000000);
    /* SHA-384(48 zero bytes || SHA-384(DER)), by hand. */
    uint8_t both[96] = {0};
    assert_int_equal(tc_sha384_of(tc_buf_span(&kinds[0].der), &digest, &err), TC_OK);
    memcpy(both + 48, digest.bytes, 48);
    assert_int_equal(tc_sha384_of((struct tc_span){both, sizeof both}, &pcr8, &err), TC_OK);
    assert_memory_equal(&signature.pcr8, &pcr8, sizeof pcr8);
    pcr0.bytes[47] ^= 1;
    assert_int_equal(tc_eifsig_verify(&signature, &pcr0, &err), TC_REFUSED);
    assert_non_null(strstr(err.message, "is for another image"));
}

static void test_form(void **state)
{
    (void)state;
    const struct kind *kind = &kinds[0];
#define BREAK(words, ...)                                                                          \
    assert_judged(&(struct recipe){.kind = kind, __VA_ARGS__}, TC_MALFORMED, words)
    BREAK("has 2 signatures", .count = 2);
    BREAK("expected the key \"signing_certificate\"", .swap = true);
    BREAK("expected the key \"signing_certificate\"", .first_key = "signing_certificatE");
    BREAK("expected the key \"signature\"", .second_key = "signatures");
    BREAK("expected the key \"register_index\"", .index_key = "index");
    BREAK("expected the key \"register_value\"", .value_key = "value");
    BREAK("", .tag = true);
    BREAK("the image's signing certificate", .byte_string = true);
    BREAK("the image's signing certificate", .big_integer = true);
    BREAK("the image's signature section", .extra_key = true);
    BREAK("the image's signed register", .extra_payload_key = true);
    BREAK("the image's signature section", .trailing = true);
    BREAK("the image's signed register", .trailing_payload = true);
    BREAK("unprotected", .unprotected = true);
    BREAK("the image's signature section", .long_head = true);
    BREAK("has 47 bytes", .value_size = 47);
    BREAK("", .value_size = 49);
#undef BREAK
    assert_judged(&(struct recipe){.kind = kind, .index = 1}, TC_REFUSED, "expected 0, for PCR0");
    struct tc_sha384 pcr0 = register_value();
    struct tc_error err = {0};
    assert_int_equal(judge(tc_span_of_text("\x80"), &pcr0, &err), TC_MALFORMED);
    assert_int_equal(judge(tc_span_of_text(""), &pcr0, &err), TC_MALFORMED);
}

static struct tc_span part(const char *text, size_t from, size_t until)
{
    size_t size = strlen(text);
    if (until > size) until = size;
    return (struct tc_span){(const uint8_t *)text + from, until - from};
}

static void with_pem(struct tc_span first, struct tc_span second, struct tc_span third)
{
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(20000);
    tc_buf_add_span(&buf, first);
    tc_buf_add_span(&buf, second);
    tc_buf_add_span(&buf, third);
    TC_AUTO_FREE char *pem = tc_buf_take_text(&buf);
    assert_non_null(pem);
    assert_judged(&(struct recipe){.kind = &kinds[0], .pem = pem}, TC_MALFORMED, "certificate");
}

/* Two readers must not find two certificates. */
static void test_certificate_form(void **state)
{
    (void)state;
    static const char begin[] = "-----BEGIN CERTIFICATE-----\n",
                      end[] = "-----END CERTIFICATE-----\n";
    const struct tc_span none = tc_span_of_text("");
    const char *pem = kinds[0].pem;
    struct tc_span whole = tc_span_of_text(pem), other = tc_span_of_text(kinds[1].pem);
    with_pem(tc_span_of_text("text\n"), whole, none);
    with_pem(tc_span_of_text("\n"), whole, none);
    with_pem(whole, tc_span_of_text("\n"), none);
    with_pem(whole, tc_span_of_text("text"), none);
    with_pem(whole, other, none);
    with_pem(other, whole, none);
    with_pem(part(pem, 0, 40), tc_span_of_text("\n"), part(pem, 40, 9999)); /* short lines */
    with_pem(part(pem, 0, 40), tc_span_of_text(" "), part(pem, 41, 9999));  /* a space */
    with_pem(part(pem, 0, 60), tc_span_of_text(end), none);                 /* no line's end */
    with_pem(part(pem, 0, 28 + 65), tc_span_of_text(end), none);            /* cut off */
    with_pem(tc_span_of_text(begin), tc_span_of_text(end), none);
    with_pem(tc_span_of_text(begin), tc_span_of_text("AAAA\n"), tc_span_of_text(end));
    with_pem(tc_span_of_text("-----BEGIN CERTIFICATE____-\n"), part(pem, 28, 9999), none);
    with_pem(part(pem, 0, strlen(pem) - 26), tc_span_of_text("-----END CERTIFICATE____-\n"), none);
    with_pem(none, none, none);
    char bare[4096]; /* the last newline may be missing */
    (void)snprintf(bare, sizeof bare, "%.*s", (int)strlen(pem) - 1, pem);
    assert_judged(&(struct recipe){.kind = &kinds[0], .pem = bare}, TC_OK, "");
}

static void test_certificate_der(void **state)
{
    (void)state;
    /* A byte behind the certificate, inside the base64. */
    BIO *memory = BIO_new(BIO_s_mem());
    uint8_t der[4096];
    memcpy(der, kinds[0].der.data, kinds[0].der.size);
    der[kinds[0].der.size] = 0;
    PEM_write_bio(memory, "CERTIFICATE", "", der, (long)kinds[0].der.size + 1);
    char *text, pem[4096];
    long size = BIO_get_mem_data(memory, &text);
    (void)snprintf(pem, sizeof pem, "%.*s", (int)size, text);
    BIO_free(memory);
    assert_judged(&(struct recipe){.kind = &kinds[0], .pem = pem}, TC_MALFORMED, "no X.509");
}

static void test_create(void **state)
{
    (void)state;
    TC_AUTO_BUF struct tc_buf section = tc_buf_new(32768);
    struct tc_sha384 pcr0 = register_value();
    struct tc_error err = {0};
    if (tc_eifsig_create(tc_buf_span(&kinds[0].der), kinds[0].key, &pcr0, &section, &err) != TC_OK)
        fail_msg("%s", err.message);
    assert_int_equal(judge(tc_buf_span(&section), &pcr0, &err), TC_OK);
    /* As the sections made here, but for the signature's 96 bytes of one or two each. */
    struct recipe recipe = {.kind = &kinds[0]};
    TC_AUTO_BUF struct tc_buf by_hand = section_of(&recipe);
    size_t common = 0;
    while (common < section.size && section.data[common] == by_hand.data[common])
        common++;
    assert_true(common + 2 * 96 + 2 >= section.size);
    /* Every cut of it is malformed. */
    for (size_t cut = 0; cut < section.size; cut++)
        assert_int_equal(judge((struct tc_span){section.data, cut}, &pcr0, &err), TC_MALFORMED);
}

static void test_create_refuses(void **state)
{
    (void)state;
    TC_AUTO_BUF struct tc_buf section = tc_buf_new(32768);
    struct tc_sha384 pcr0 = register_value();
    struct tc_error err = {0};
    assert_int_equal(
        tc_eifsig_create(tc_buf_span(&kinds[0].der), kinds[1].key, &pcr0, &section, &err),
        TC_REFUSED);
    assert_non_null(strstr(err.message, "not on P-384"));
    assert_int_equal(
        tc_eifsig_create(tc_buf_span(&kinds[1].der), kinds[1].key, &pcr0, &section, &err),
        TC_REFUSED);
    assert_non_null(strstr(err.message, "not on P-384"));
    EVP_PKEY *other = EVP_EC_gen("P-384");
    assert_int_equal(tc_eifsig_create(tc_buf_span(&kinds[0].der), other, &pcr0, &section, &err),
                     TC_REFUSED);
    assert_non_null(strstr(err.message, "public keys differ"));
    EVP_PKEY_free(other);
    assert_int_equal(section.size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_algorithm),
        cmocka_unit_test(test_contents),
        cmocka_unit_test(test_form),
        cmocka_unit_test(test_certificate_form),
        cmocka_unit_test(test_certificate_der),
        cmocka_unit_test(test_create),
        cmocka_unit_test(test_create_refuses),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
