/* A chain of four, made here, with one thing wrong at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/cleanup.h"
#include "core/der.h"
#include "core/nitrodoc.h"
#include "core/x509chain.h"
#include "host/devcert.h"

enum { PLACES = 4, ROOT = 0, FIRST = 1, SECOND = 2, LEAF = 3 };
static const int64_t from = 1700000000, until = 1800000000;

/* Changes a certificate before it is signed again and signs the next. */
typedef void tweak(X509 *certificate);

struct chain {
    EVP_PKEY *keys[PLACES];
    struct tc_buf der[PLACES];
    struct tc_span spans[PLACES];
};

static void free_chain(struct chain *chain)
{
    for (size_t i = 0; i < PLACES; i++) {
        EVP_PKEY_free(chain->keys[i]);
        tc_buf_free(&chain->der[i]);
    }
}

/* A DER SEQUENCE of 128 to 65535 bytes. */
static void add_sequence(struct tc_buf *buf, struct tc_span content)
{
    assert_in_range(content.size, 128, 65535);
    const uint8_t header[] = {0x30, 0x82, (uint8_t)(content.size >> 8), (uint8_t)content.size};
    const uint8_t short_header[] = {0x30, 0x81, (uint8_t)content.size};
    if (content.size > 255)
        tc_buf_add(buf, header, sizeof header);
    else
        tc_buf_add(buf, short_header, sizeof short_header);
    tc_buf_add_span(buf, content);
}

/* X509_sign of newer OpenSSL makes everything with extensions a version 3: other
 * versions are put into what is signed by hand. */
static X509 *sign_as_version(X509 *certificate, long version, EVP_PKEY *signer,
                             const EVP_MD *digest)
{
    enum { FIELD = 5 };
    uint8_t *tbs = NULL, *algorithm = NULL, signature[256];
    const X509_ALGOR *signed_by = NULL;
    size_t signature_size = sizeof signature;
    int tbs_size = i2d_re_X509_tbs(certificate, &tbs);
    assert_true(tbs_size > 128 && tbs[0] == 0x30 && tbs[1] > 0x80);
    size_t header = 2 + (tbs[1] & 0x7fU);
    static const uint8_t version_three[FIELD] = {0xa0, 3, 2, 1, 2};
    assert_memory_equal(tbs + header, version_three, FIELD);

    struct tc_buf body TC_AUTO_BUF = tc_buf_new(8192), inner TC_AUTO_BUF = tc_buf_new(8192),
                       whole TC_AUTO_BUF = tc_buf_new(8192);
    const uint8_t field[FIELD] = {0xa0, 3, 2, 1, (uint8_t)version};
    /* Version 1 is the default, which DER leaves out. */
    if (version > 0) tc_buf_add(&body, field, sizeof field);
    tc_buf_add(&body, tbs + header + FIELD, (size_t)tbs_size - header - FIELD);
    add_sequence(&inner, tc_buf_span(&body));
    OPENSSL_free(tbs);

    EVP_MD_CTX *context = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(context, NULL, digest, NULL, signer), 1);
    assert_int_equal(
        EVP_DigestSign(context, signature, &signature_size, inner.data, inner.size), 1);
    EVP_MD_CTX_free(context);
    X509_get0_signature(NULL, &signed_by, certificate);
    int algorithm_size = i2d_X509_ALGOR(signed_by, &algorithm);
    assert_true(algorithm_size > 0 && signature_size < 126);
    tc_buf_add(&inner, algorithm, (size_t)algorithm_size);
    OPENSSL_free(algorithm);
    const uint8_t bits[] = {0x03, (uint8_t)(signature_size + 1), 0};
    tc_buf_add(&inner, bits, sizeof bits);
    tc_buf_add(&inner, signature, signature_size);
    add_sequence(&whole, tc_buf_span(&inner));

    const uint8_t *next = whole.data;
    X509 *made = d2i_X509(NULL, &next, (long)whole.size);
    assert_non_null(made);
    assert_int_equal(X509_get_version(made), version);
    X509_free(certificate);
    return made;
}

static void make_chain(struct chain *chain, size_t place, tweak *change, const EVP_MD *digest)
{
    static const char *const names[PLACES] = {"root", "first", "second", "leaf"};
    struct tc_error err = {0};
    struct tc_devcert_issuer issuer = {0};
    for (size_t i = 0; i < PLACES; i++) {
        X509 *certificate = NULL;
        uint8_t *der = NULL;
        assert_int_equal(tc_devcert_key(&chain->keys[i], &err), TC_OK);
        const struct tc_devcert_spec spec = {
            .name = names[i],
            .key = chain->keys[i],
            .issuer = i == ROOT ? NULL : &issuer,
            .from = from,
            .until = until,
            .ca = i != LEAF,
            .path_length = 2 - (long)i,
        };
        assert_int_equal(tc_devcert_make(&spec, &certificate, &err), TC_OK);
        if (i == place) {
            if (change) change(certificate);
            EVP_PKEY *signer = i == ROOT ? chain->keys[i] : issuer.key;
            long version = X509_get_version(certificate);
            assert_int_equal(X509_set_version(certificate, X509_VERSION_3), 1);
            assert_true(X509_sign(certificate, signer, digest) > 0);
            if (version != X509_VERSION_3)
                certificate = sign_as_version(certificate, version, signer, digest);
        }
        int size = i2d_X509(certificate, &der);
        assert_true(size > 0);
        chain->der[i] = tc_buf_new(4096);
        tc_buf_add(&chain->der[i], der, (size_t)size);
        chain->spans[i] = tc_buf_span(&chain->der[i]);
        OPENSSL_free(der);
        X509_free(issuer.certificate);
        issuer = (struct tc_devcert_issuer){certificate, chain->keys[i]};
    }
    X509_free(issuer.certificate);
}

static tc_status judge(const struct chain *chain, int64_t begin, int64_t end, struct tc_error *err)
{
    const struct tc_x509chain given = {chain->spans[ROOT], chain->spans, LEAF, chain->spans[LEAF]};
    EVP_PKEY *key = NULL;
    tc_status status = tc_x509chain_verify(&given, begin, end, &key, err);
    if (status == TC_OK) assert_int_equal(EVP_PKEY_eq(key, chain->keys[LEAF]), 1);
    if (status != TC_OK) assert_null(key);
    EVP_PKEY_free(key);
    return status;
}

static void remove_extension(X509 *certificate, int kind)
{
    int index = X509_get_ext_by_NID(certificate, kind, -1);
    assert_true(index >= 0);
    X509_EXTENSION_free(X509_delete_ext(certificate, index));
}

static void add_extension(X509 *certificate, int kind, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, kind, value);
    assert_non_null(extension);
    assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
    X509_EXTENSION_free(extension);
}

static void no_constraints(X509 *certificate)
{
    remove_extension(certificate, NID_basic_constraints);
}
static void no_usage(X509 *certificate)
{
    remove_extension(certificate, NID_key_usage);
}
static void usage_sign_only(X509 *certificate)
{
    no_usage(certificate);
    add_extension(certificate, NID_key_usage, "critical,digitalSignature");
}
static void usage_both(X509 *certificate)
{
    no_usage(certificate);
    add_extension(certificate, NID_key_usage, "critical,digitalSignature,keyCertSign");
}
static void usage_agreement(X509 *certificate)
{
    no_usage(certificate);
    add_extension(certificate, NID_key_usage, "critical,keyAgreement");
}
static void constraints_ca(X509 *certificate)
{
    no_constraints(certificate);
    add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE");
}
static void path_too_short(X509 *certificate)
{
    no_constraints(certificate);
    add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
}
static void path_longer(X509 *certificate)
{
    no_constraints(certificate);
    add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE,pathlen:7");
}
static void version_one(X509 *certificate)
{
    assert_int_equal(X509_set_version(certificate, 0), 1);
}
static void version_two(X509 *certificate)
{
    assert_int_equal(X509_set_version(certificate, 1), 1);
}
static void critical_purpose(X509 *certificate)
{
    add_extension(certificate, NID_ext_key_usage, "critical,serverAuth");
}
static void critical_constraint(X509 *certificate)
{
    add_extension(certificate, NID_name_constraints, "critical,permitted;DNS:x");
}
static void harmless_extension(X509 *certificate)
{
    add_extension(certificate, NID_netscape_comment, "hello");
}
static void repeated_extension(X509 *certificate)
{
    harmless_extension(certificate);
    harmless_extension(certificate);
}
static void key_id_of_another(X509 *certificate)
{
    add_extension(certificate, NID_subject_key_identifier, "01:02");
}
static void empty_subject(X509 *certificate)
{
    X509_NAME *name = X509_NAME_new();
    assert_int_equal(X509_set_subject_name(certificate, name), 1);
    X509_NAME_free(name);
}
static void own_issuer(X509 *certificate)
{
    assert_int_equal(X509_set_subject_name(certificate, X509_get_issuer_name(certificate)), 1);
}
static void other_issuer(X509 *certificate)
{
    X509_NAME *name = X509_NAME_new();
    assert_int_equal(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                                (const unsigned char *)"other", -1, -1, 0), 1);
    assert_int_equal(X509_set_issuer_name(certificate, name), 1);
    X509_NAME_free(name);
}
static void other_curve(X509 *certificate)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    assert_int_equal(X509_set_pubkey(certificate, key), 1);
    EVP_PKEY_free(key);
}
static void long_serial(X509 *certificate)
{
    static const uint8_t bytes[21] = {1};
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    assert_non_null(BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)));
    BN_free(number);
}
static void ends_early(X509 *certificate)
{
    assert_non_null(ASN1_TIME_set(X509_getm_notAfter(certificate), from + 99));
}
static void starts_late(X509 *certificate)
{
    assert_non_null(ASN1_TIME_set(X509_getm_notBefore(certificate), from + 101));
}
static void starts_in_month_13(X509 *certificate)
{
    assert_int_equal(ASN1_STRING_set(X509_getm_notBefore(certificate), "201300000000Z", 13), 1);
}
static void ends_in_month_13(X509 *certificate)
{
    assert_int_equal(ASN1_STRING_set(X509_getm_notAfter(certificate), "271300000000Z", 13), 1);
}

static void test_rules(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        size_t place;
        tweak *change;
        tc_status expected;
    } cases[] = {
        {"nothing wrong", ROOT, NULL, TC_OK},
        {"harmless extension", LEAF, harmless_extension, TC_OK},
        {"longer path length", FIRST, path_longer, TC_OK},
        {"no path length", FIRST, constraints_ca, TC_OK},
        {"leaf without constraints", LEAF, no_constraints, TC_OK},
        {"subject key id that nobody names", SECOND, key_id_of_another, TC_OK},
        {"root is no CA", ROOT, no_constraints, TC_REFUSED},
        {"intermediate without constraints", FIRST, no_constraints, TC_REFUSED},
        {"intermediate without usage", SECOND, no_usage, TC_REFUSED},
        {"root may not sign certificates", ROOT, usage_sign_only, TC_REFUSED},
        {"intermediate may not sign certificates", SECOND, usage_sign_only, TC_REFUSED},
        {"path length of root", ROOT, path_too_short, TC_REFUSED},
        {"path length of first", FIRST, path_too_short, TC_REFUSED},
        {"leaf is a CA", LEAF, constraints_ca, TC_REFUSED},
        {"leaf without usage", LEAF, no_usage, TC_REFUSED},
        {"leaf may only agree on keys", LEAF, usage_agreement, TC_REFUSED},
        {"leaf may sign certificates", LEAF, usage_both, TC_REFUSED},
        {"leaf of version 1", LEAF, version_one, TC_REFUSED},
        {"intermediate of version 2", FIRST, version_two, TC_REFUSED},
        {"critical purpose", LEAF, critical_purpose, TC_REFUSED},
        {"critical name constraint", FIRST, critical_constraint, TC_REFUSED},
        {"extension twice", LEAF, repeated_extension, TC_REFUSED},
        {"empty subject", LEAF, empty_subject, TC_REFUSED},
        {"intermediate issued by itself", SECOND, own_issuer, TC_REFUSED},
        {"leaf issued by itself", LEAF, own_issuer, TC_REFUSED},
        {"another issuer's name", SECOND, other_issuer, TC_REFUSED},
        {"root names another issuer", ROOT, other_issuer, TC_REFUSED},
        {"another curve", LEAF, other_curve, TC_REFUSED},
        {"serial number of 21 bytes", LEAF, long_serial, TC_REFUSED},
        {"root expired", ROOT, ends_early, TC_REFUSED},
        {"intermediate expired", FIRST, ends_early, TC_REFUSED},
        {"leaf not valid yet", LEAF, starts_late, TC_REFUSED},
        {"impossible start", LEAF, starts_in_month_13, TC_REFUSED},
        {"impossible end", LEAF, ends_in_month_13, TC_REFUSED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chain chain TC_CLEANUP(free_chain) = {0};
        struct tc_error err = {0};
        make_chain(&chain, cases[i].place, cases[i].change, EVP_sha384());
        tc_status status = judge(&chain, from + 100, from + 100, &err);
        if (status != cases[i].expected)
            fail_msg("%s: %s %s", cases[i].name, tc_status_name(status), err.message);
    }
}

static void test_algorithms(void **state)
{
    (void)state;
    for (size_t place = 0; place < PLACES; place++) {
        struct chain chain TC_CLEANUP(free_chain) = {0};
        struct tc_error err = {0};
        make_chain(&chain, place, NULL, EVP_sha256());
        assert_int_equal(judge(&chain, from + 100, from + 100, &err), TC_REFUSED);
        assert_non_null(strstr(err.message, "SHA384"));
    }
}

static void test_windows(void **state)
{
    (void)state;
    struct chain chain TC_CLEANUP(free_chain) = {0};
    struct tc_error err = {0};
    make_chain(&chain, PLACES, NULL, NULL);
    assert_int_equal(judge(&chain, from, until, &err), TC_OK);
    assert_int_equal(judge(&chain, from - 1, until, &err), TC_REFUSED);
    assert_int_equal(judge(&chain, from, until + 1, &err), TC_REFUSED);
    assert_int_equal(judge(&chain, from - 1, from - 1, &err), TC_REFUSED);
    assert_non_null(strstr(err.message, "2023-11-14T22:13:19Z"));
}

static tc_status judge_spans(struct tc_span root, const struct tc_span *bundle, size_t count,
                             struct tc_span leaf)
{
    const struct tc_x509chain given = {root, bundle, count, leaf};
    struct tc_error err = {0};
    EVP_PKEY *key = NULL;
    tc_status status = tc_x509chain_verify(&given, from, from, &key, &err);
    EVP_PKEY_free(key);
    return status;
}

/* Good certificates in the wrong places. */
static void test_order(void **state)
{
    (void)state;
    struct chain chain TC_CLEANUP(free_chain) = {0}, other TC_CLEANUP(free_chain) = {0};
    make_chain(&chain, PLACES, NULL, NULL);
    make_chain(&other, PLACES, NULL, NULL);
    struct tc_span root = chain.spans[ROOT], first = chain.spans[FIRST];
    struct tc_span second = chain.spans[SECOND], leaf = chain.spans[LEAF];
    struct tc_span none = {NULL, 0};
    assert_int_equal(judge_spans(root, (struct tc_span[]){root, first, second}, 3, leaf), TC_OK);
    assert_int_equal(judge_spans(root, &none, 0, leaf), TC_MALFORMED);
    assert_int_equal(judge_spans(root, &root, 1, leaf), TC_REFUSED);
    assert_int_equal(judge_spans(root, (struct tc_span[]){root, second}, 2, leaf), TC_REFUSED);
    assert_int_equal(judge_spans(root, (struct tc_span[]){root, second, first}, 3, leaf),
                     TC_REFUSED);
    assert_int_equal(judge_spans(root, (struct tc_span[]){second, first, root}, 3, leaf),
                     TC_REFUSED);
    assert_int_equal(judge_spans(root, (struct tc_span[]){root, root, first, second}, 4, leaf),
                     TC_REFUSED);
    assert_int_equal(judge_spans(root, (struct tc_span[]){root, first, second, leaf}, 4, leaf),
                     TC_REFUSED);
    assert_int_equal(judge_spans(root, (struct tc_span[]){root, first}, 2, second), TC_REFUSED);
    /* The same names under other keys. */
    const struct tc_span good[] = {root, first, second};
    const struct tc_span mixed[] = {root, first, other.spans[SECOND]};
    assert_int_equal(judge_spans(other.spans[ROOT], good, 3, leaf), TC_REFUSED);
    assert_int_equal(judge_spans(root, mixed, 3, leaf), TC_REFUSED);
    assert_int_equal(judge_spans(root, mixed, 3, other.spans[LEAF]), TC_REFUSED);
    assert_int_equal(judge_spans(root, good, 3, other.spans[LEAF]), TC_REFUSED);
}

/* The leaf names the key of its issuer, and the issuer says which key it has. */
static tc_status judge_key_id(uint8_t id)
{
    struct chain chain TC_CLEANUP(free_chain) = {0};
    struct tc_error err = {0};
    uint8_t *der = NULL;
    make_chain(&chain, SECOND, key_id_of_another, EVP_sha384());
    const uint8_t *next = chain.der[LEAF].data;
    X509 *leaf = d2i_X509(NULL, &next, (long)chain.der[LEAF].size);
    AUTHORITY_KEYID *named = AUTHORITY_KEYID_new();
    const uint8_t bytes[] = {1, id};
    named->keyid = ASN1_OCTET_STRING_new();
    assert_int_equal(ASN1_OCTET_STRING_set(named->keyid, bytes, sizeof bytes), 1);
    assert_int_equal(X509_add1_ext_i2d(leaf, NID_authority_key_identifier, named, 0, 0), 1);
    assert_true(X509_sign(leaf, chain.keys[SECOND], EVP_sha384()) > 0);
    int size = i2d_X509(leaf, &der);
    assert_true(size > 0);
    chain.spans[LEAF] = (struct tc_span){der, (size_t)size};
    tc_status status = judge(&chain, from, from, &err);
    AUTHORITY_KEYID_free(named);
    OPENSSL_free(der);
    X509_free(leaf);
    return status;
}

static void test_key_ids(void **state)
{
    (void)state;
    assert_int_equal(judge_key_id(2), TC_OK);
    assert_int_equal(judge_key_id(3), TC_REFUSED);
}

/* No byte of a certificate can change, go or come without being noticed. */
static void test_every_byte(void **state)
{
    (void)state;
    struct chain chain TC_CLEANUP(free_chain) = {0};
    struct tc_error err = {0};
    make_chain(&chain, PLACES, NULL, NULL);
    for (size_t place = FIRST; place < PLACES; place++) {
        for (size_t i = 0; i < chain.der[place].size; i++) {
            chain.der[place].data[i] ^= 1;
            if (judge(&chain, from, from, &err) == TC_OK)
                fail_msg("byte %zu of certificate %zu", i, place);
            chain.der[place].data[i] ^= 1;
        }
        chain.spans[place].size--;
        assert_int_not_equal(judge(&chain, from, from, &err), TC_OK);
        tc_buf_add_u8(&chain.der[place], 0);
        chain.spans[place] = tc_buf_span(&chain.der[place]);
        assert_int_equal(judge(&chain, from, from, &err), TC_MALFORMED);
        chain.spans[place].size--;
        assert_int_equal(judge(&chain, from, from, &err), TC_OK);
    }
}

static void test_aws_root(void **state)
{
    (void)state;
    struct tc_error err = {0};
    assert_true(tc_is_aws_root(tc_aws_root()));
    assert_int_equal(tc_der_check(tc_aws_root(), "the root", &err), TC_OK);
    struct tc_span cut = tc_aws_root();
    cut.size--;
    assert_false(tc_is_aws_root(cut));
    assert_false(tc_is_aws_root((struct tc_span){NULL, 0}));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),   cmocka_unit_test(test_algorithms),
        cmocka_unit_test(test_windows), cmocka_unit_test(test_order),
        cmocka_unit_test(test_key_ids), cmocka_unit_test(test_aws_root),
        cmocka_unit_test(test_every_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
