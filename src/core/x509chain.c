/* Read every certificate by itself (form, algorithms, extensions), then what its
 * place in the chain asks (root, intermediate, leaf), then the links between
 * neighbours. Each rule is one small function that names the certificate by its
 * place: number 1 is the root. */
#include "core/x509chain.h"

#include <stdio.h>

#include <openssl/err.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/der.h"

enum {
    KEY_USAGE_DIGITAL_SIGNATURE = 0, /* bit numbers of RFC 5280 section 4.2.1.3 */
    KEY_USAGE_CERT_SIGN = 5,
    X509_V3 = 2,
    SERIAL_MAX = 20,
};

struct certificate {
    X509 *x509;
    struct tc_span der;
    char name[48];
    bool has_constraints, ca, has_path_length;
    long path_length;
    bool has_usage, may_sign_data, may_sign_certificates;
};

struct certificates {
    size_t count;
    struct certificate list[TC_X509CHAIN_MAX];
};

static void free_certificates(struct certificates *all)
{
    for (size_t i = 0; i < all->count; i++)
        X509_free(all->list[i].x509);
    /* Failed checks leave entries in the thread's queue, where the next user of
     * the library would take them for its own. */
    ERR_clear_error();
}

static void free_constraints(BASIC_CONSTRAINTS **constraints)
{
    BASIC_CONSTRAINTS_free(*constraints);
}

static void free_bits(ASN1_BIT_STRING **bits)
{
    ASN1_BIT_STRING_free(*bits);
}

static void free_spki(uint8_t **bytes)
{
    OPENSSL_free(*bytes);
}

static tc_status refuse(const struct certificate *certificate, const char *why,
                        struct tc_error *err)
{
    return tc_fail(err, TC_REFUSED, "%s %s", certificate->name, why);
}

/* --- one certificate --- */

static bool is_ecdsa_sha384(const X509_ALGOR *algorithm)
{
    const ASN1_OBJECT *object = NULL;
    int parameter = 0;
    X509_ALGOR_get0(&object, &parameter, NULL, algorithm);
    return OBJ_obj2nid(object) == NID_ecdsa_with_SHA384 && parameter == V_ASN1_UNDEF;
}

/* Both places that name the algorithm: only the inner one is signed, only the
 * outer one would be obeyed. */
static tc_status check_algorithm(const struct certificate *certificate, struct tc_error *err)
{
    const X509_ALGOR *outer = NULL;
    const ASN1_BIT_STRING *signature = NULL;
    X509_get0_signature(&signature, &outer, certificate->x509);
    if (!is_ecdsa_sha384(outer) || !is_ecdsa_sha384(X509_get0_tbs_sigalg(certificate->x509)))
        return refuse(certificate, "is not signed with ecdsa-with-SHA384", err);
    return TC_OK;
}

/* A P-384 key has one accepted encoding: named curve, uncompressed point. So
 * the head of SubjectPublicKeyInfo is a constant; explicit parameters, other
 * curves and other point forms differ in it. That the point is on the curve is
 * checked when libcrypto loads the key. */
static tc_status check_key(const struct certificate *certificate, struct tc_error *err)
{
    static const uint8_t head[] = {0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86,
                                   0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
                                   0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00, 0x04};
    enum { SPKI_SIZE = sizeof head + 96 };
    uint8_t *spki TC_CLEANUP(free_spki) = NULL;
    int size = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate->x509), &spki);
    if (size != SPKI_SIZE ||
        !tc_span_equal((struct tc_span){spki, sizeof head}, (struct tc_span){head, sizeof head}) ||
        !X509_get0_pubkey(certificate->x509))
        return refuse(certificate, "has a key other than an uncompressed point of P-384", err);
    return TC_OK;
}

static tc_status read_constraints(struct certificate *certificate, X509_EXTENSION *extension,
                                  struct tc_error *err)
{
    BASIC_CONSTRAINTS *constraints TC_CLEANUP(free_constraints) = X509V3_EXT_d2i(extension);
    if (!constraints) return refuse(certificate, "has unreadable basicConstraints", err);
    certificate->has_constraints = true;
    certificate->ca = constraints->ca != 0;
    certificate->has_path_length = constraints->pathlen != NULL;
    if (constraints->pathlen) {
        certificate->path_length = ASN1_INTEGER_get(constraints->pathlen);
        if (certificate->path_length < 0)
            return refuse(certificate, "has a path length that is no small number", err);
    }
    return TC_OK;
}

static tc_status read_usage(struct certificate *certificate, X509_EXTENSION *extension,
                            struct tc_error *err)
{
    ASN1_BIT_STRING *bits TC_CLEANUP(free_bits) = X509V3_EXT_d2i(extension);
    if (!bits) return refuse(certificate, "has an unreadable keyUsage", err);
    certificate->has_usage = true;
    certificate->may_sign_data =
        ASN1_BIT_STRING_get_bit(bits, KEY_USAGE_DIGITAL_SIGNATURE) == 1;
    certificate->may_sign_certificates = ASN1_BIT_STRING_get_bit(bits, KEY_USAGE_CERT_SIGN) == 1;
    return TC_OK;
}

static tc_status read_extension(struct certificate *certificate, int index, struct tc_error *err)
{
    X509_EXTENSION *extension = X509_get_ext(certificate->x509, index);
    const ASN1_OBJECT *object = X509_EXTENSION_get_object(extension);
    if (X509_get_ext_by_OBJ(certificate->x509, object, index) >= 0)
        return refuse(certificate, "has the same extension twice", err);
    const ASN1_OCTET_STRING *value = X509_EXTENSION_get_data(extension);
    struct tc_span bytes = {ASN1_STRING_get0_data(value), (size_t)ASN1_STRING_length(value)};
    TC_TRY(tc_der_check(bytes, certificate->name, err));
    int kind = OBJ_obj2nid(object);
    if (kind == NID_basic_constraints) return read_constraints(certificate, extension, err);
    if (kind == NID_key_usage) return read_usage(certificate, extension, err);
    if (X509_EXTENSION_get_critical(extension))
        return refuse(certificate, "has a critical extension that this program does not know", err);
    return TC_OK;
}

static tc_status check_names(const struct certificate *certificate, struct tc_error *err)
{
    if (X509_NAME_entry_count(X509_get_subject_name(certificate->x509)) == 0 ||
        X509_NAME_entry_count(X509_get_issuer_name(certificate->x509)) == 0)
        return refuse(certificate, "has an empty subject or issuer", err);
    const ASN1_INTEGER *serial = X509_get0_serialNumber(certificate->x509);
    if (ASN1_STRING_length(serial) > SERIAL_MAX)
        return refuse(certificate, "has a serial number of more than 20 bytes", err);
    return TC_OK;
}

static tc_status read_certificate(struct certificate *certificate, struct tc_error *err)
{
    TC_TRY(tc_der_check(certificate->der, certificate->name, err));
    const uint8_t *next = certificate->der.data;
    certificate->x509 = d2i_X509(NULL, &next, (long)certificate->der.size);
    if (!certificate->x509 || next != certificate->der.data + certificate->der.size)
        return tc_fail(err, TC_MALFORMED, "%s is not an X.509 certificate", certificate->name);
    if (X509_get_version(certificate->x509) != X509_V3)
        return refuse(certificate, "is not X.509 version 3", err);
    TC_TRY(check_algorithm(certificate, err));
    TC_TRY(check_key(certificate, err));
    TC_TRY(check_names(certificate, err));
    int count = X509_get_ext_count(certificate->x509);
    for (int i = 0; i < count; i++)
        TC_TRY(read_extension(certificate, i, err));
    return TC_OK;
}

/* --- its place in the chain --- */

static bool names_equal(const X509_NAME *a, const X509_NAME *b)
{
    struct tc_span a_der = {NULL, 0}, b_der = {NULL, 0};
    if (X509_NAME_get0_der(a, &a_der.data, &a_der.size) != 1 ||
        X509_NAME_get0_der(b, &b_der.data, &b_der.size) != 1)
        return false;
    return tc_span_equal(a_der, b_der);
}

static bool is_self_issued(const struct certificate *certificate)
{
    return names_equal(X509_get_subject_name(certificate->x509),
                       X509_get_issuer_name(certificate->x509));
}

static tc_status format_window(const struct certificate *certificate, int64_t at,
                               struct tc_error *err)
{
    char when[TC_TIME_TEXT_SIZE];
    tc_format_time(at, when);
    const ASN1_TIME *ends[2] = {X509_get0_notBefore(certificate->x509),
                                X509_get0_notAfter(certificate->x509)};
    return tc_fail(err, TC_REFUSED, "%s is not valid at %s: it is from %.*s until %.*s",
                   certificate->name, when, ASN1_STRING_length(ends[0]),
                   (const char *)ASN1_STRING_get0_data(ends[0]), ASN1_STRING_length(ends[1]),
                   (const char *)ASN1_STRING_get0_data(ends[1]));
}

/* ASN1_TIME_cmp_time_t returns -2 for a time that is none, such as month 13. */
static tc_status check_time(const struct certificate *certificate, int64_t at,
                            struct tc_error *err)
{
    int from = ASN1_TIME_cmp_time_t(X509_get0_notBefore(certificate->x509), (time_t)at);
    int until = ASN1_TIME_cmp_time_t(X509_get0_notAfter(certificate->x509), (time_t)at);
    if (from == -2 || until == -2) return refuse(certificate, "has an impossible date", err);
    if (from > 0 || until < 0) return format_window(certificate, at, err);
    return TC_OK;
}

/* below: how many CAs follow. RFC 5280 lets self-issued ones go uncounted; there
 * are none here. */
static tc_status check_ca(const struct certificate *certificate, size_t below,
                          struct tc_error *err)
{
    if (!certificate->has_constraints || !certificate->ca)
        return refuse(certificate, "signs another one but is no CA (basicConstraints)", err);
    if (!certificate->has_usage || !certificate->may_sign_certificates)
        return refuse(certificate, "signs another one without keyCertSign in its keyUsage", err);
    if (certificate->has_path_length && (size_t)certificate->path_length < below)
        return refuse(certificate, "has a shorter path length than the CAs that follow it", err);
    return TC_OK;
}

static tc_status check_leaf(const struct certificate *certificate, struct tc_error *err)
{
    if (certificate->ca || certificate->has_path_length)
        return refuse(certificate, "is the leaf but a CA (basicConstraints)", err);
    if (!certificate->has_usage || !certificate->may_sign_data)
        return refuse(certificate, "is the leaf but lacks digitalSignature in its keyUsage", err);
    if (certificate->may_sign_certificates)
        return refuse(certificate, "is the leaf but has keyCertSign in its keyUsage", err);
    return TC_OK;
}

static tc_status check_link(const struct certificate *issuer, const struct certificate *subject,
                            struct tc_error *err)
{
    if (!names_equal(X509_get_subject_name(issuer->x509), X509_get_issuer_name(subject->x509)))
        return refuse(subject, "names another issuer than the certificate before it", err);
    const ASN1_OCTET_STRING *said = X509_get0_authority_key_id(subject->x509);
    const ASN1_OCTET_STRING *real = X509_get0_subject_key_id(issuer->x509);
    if (said && real && ASN1_OCTET_STRING_cmp(said, real) != 0)
        return refuse(subject, "names another issuer key than that of the certificate before it",
                      err);
    /* The root is trusted by its bytes; its signature by itself says nothing more,
     * and would cost a sixth of the whole. */
    if (subject != issuer && X509_verify(subject->x509, X509_get0_pubkey(issuer->x509)) != 1)
        return refuse(subject, "was not signed by the certificate before it", err);
    return TC_OK;
}

/* --- the chain --- */

static tc_status check_repeats(const struct certificates *all, struct tc_error *err)
{
    for (size_t i = 0; i < all->count; i++)
        for (size_t j = 0; j < i; j++)
            if (tc_span_equal(all->list[i].der, all->list[j].der))
                return refuse(&all->list[i], "is in the chain twice", err);
    return TC_OK;
}

/* Before the path lengths, which one certificate too many breaks as well. */
static tc_status check_self_issued(const struct certificates *all, struct tc_error *err)
{
    for (size_t i = 1; i < all->count; i++)
        if (is_self_issued(&all->list[i]))
            return refuse(&all->list[i], "is issued by itself; only the root may be", err);
    return TC_OK;
}

static tc_status read_chain(const struct tc_x509chain *chain, struct certificates *all,
                            struct tc_error *err)
{
    if (chain->bundle_count == 0 || chain->bundle_count >= TC_X509CHAIN_MAX)
        return tc_fail(err, TC_MALFORMED, "a chain of %zu CA certificates; expected 1 to %d",
                       chain->bundle_count, TC_X509CHAIN_MAX - 1);
    if (!tc_span_equal(chain->bundle[0], chain->root))
        return tc_fail(err, TC_REFUSED,
                       "the chain starts at another root than the trusted one: whoever signed this "
                       "is not who was named");
    for (size_t i = 0; i <= chain->bundle_count; i++) {
        struct certificate *certificate = &all->list[i];
        bool leaf = i == chain->bundle_count;
        certificate->der = leaf ? chain->leaf : chain->bundle[i];
        (void)snprintf(certificate->name, sizeof certificate->name, "certificate %zu of %zu", i + 1,
                       chain->bundle_count + 1);
        all->count = i + 1;
        TC_TRY(read_certificate(certificate, err));
    }
    return TC_OK;
}

tc_status tc_x509chain_verify(const struct tc_x509chain *chain, int64_t from, int64_t until,
                              EVP_PKEY **ret_leaf_key, struct tc_error *err)
{
    struct certificates all TC_CLEANUP(free_certificates) = {0};
    TC_TRY(read_chain(chain, &all, err));
    TC_TRY(check_repeats(&all, err));
    TC_TRY(check_self_issued(&all, err));
    for (size_t i = 0; i < all.count; i++) {
        const struct certificate *certificate = &all.list[i];
        const struct certificate *issuer = i == 0 ? certificate : &all.list[i - 1];
        bool leaf = i + 1 == all.count;
        TC_TRY(leaf ? check_leaf(certificate, err) : check_ca(certificate, all.count - 2 - i, err));
        TC_TRY(check_link(issuer, certificate, err));
        TC_TRY(check_time(certificate, from, err));
        TC_TRY(check_time(certificate, until, err));
    }
    EVP_PKEY *key = X509_get_pubkey(all.list[all.count - 1].x509);
    if (!key) return tc_fail(err, TC_SYSTEM, "the leaf's key could not be loaded");
    *ret_leaf_key = key;
    return TC_OK;
}
