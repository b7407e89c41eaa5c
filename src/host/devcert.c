#include "host/devcert.h"

#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/cleanup.h"

enum {
    X509_V3 = 2,
    SERIAL_BITS = 127, /* positive in 16 bytes */
};

void tc_devcert_free_key(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
    *key = NULL;
}

void tc_devcert_free(X509 **certificate)
{
    X509_free(*certificate);
    *certificate = NULL;
}

static void free_number(BIGNUM **number)
{
    BN_free(*number);
}

static void free_name(X509_NAME **name)
{
    X509_NAME_free(*name);
}

static void free_constraints(BASIC_CONSTRAINTS **constraints)
{
    BASIC_CONSTRAINTS_free(*constraints);
}

static void free_bits(ASN1_BIT_STRING **bits)
{
    ASN1_BIT_STRING_free(*bits);
}

tc_status tc_devcert_key(EVP_PKEY **ret_key, struct tc_error *err)
{
    EVP_PKEY *key = EVP_EC_gen("P-384");
    if (!key) {
        ERR_clear_error();
        return tc_fail(err, TC_SYSTEM, "the cryptographic library could not make a P-384 key");
    }
    *ret_key = key;
    return TC_OK;
}

static bool set_serial(X509 *certificate)
{
    BIGNUM *number TC_CLEANUP(free_number) = BN_new();
    return number && BN_rand(number, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1 &&
           BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
}

static bool set_names(X509 *certificate, const struct tc_devcert_spec *spec)
{
    X509_NAME *name TC_CLEANUP(free_name) = X509_NAME_new();
    if (!name || X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                            (const unsigned char *)spec->name, -1, -1, 0) != 1)
        return false;
    const X509_NAME *issuer =
        spec->issuer ? X509_get_subject_name(spec->issuer->certificate) : name;
    return X509_set_subject_name(certificate, name) == 1 &&
           X509_set_issuer_name(certificate, issuer) == 1;
}

static bool set_window(X509 *certificate, const struct tc_devcert_spec *spec)
{
    return ASN1_TIME_set(X509_getm_notBefore(certificate), (time_t)spec->from) &&
           ASN1_TIME_set(X509_getm_notAfter(certificate), (time_t)spec->until);
}

static bool add_constraints(X509 *certificate, const struct tc_devcert_spec *spec)
{
    BASIC_CONSTRAINTS *constraints TC_CLEANUP(free_constraints) = BASIC_CONSTRAINTS_new();
    if (!constraints) return false;
    /* The byte itself goes out, and DER's TRUE is this one only. */
    constraints->ca = spec->ca ? 0xff : 0;
    if (spec->ca && spec->path_length >= 0) {
        constraints->pathlen = ASN1_INTEGER_new();
        if (!constraints->pathlen || ASN1_INTEGER_set(constraints->pathlen, spec->path_length) != 1)
            return false;
    }
    return X509_add1_ext_i2d(certificate, NID_basic_constraints, constraints, 1,
                             X509V3_ADD_DEFAULT) == 1;
}

/* Bits of RFC 5280 section 4.2.1.3. Critical for a CA and not for a leaf, as in
 * real documents. */
static bool add_usage(X509 *certificate, bool ca)
{
    enum { DIGITAL_SIGNATURE = 0, KEY_CERT_SIGN = 5, CRL_SIGN = 6 };
    ASN1_BIT_STRING *bits TC_CLEANUP(free_bits) = ASN1_BIT_STRING_new();
    if (!bits || ASN1_BIT_STRING_set_bit(bits, DIGITAL_SIGNATURE, 1) != 1) return false;
    if (ca && (ASN1_BIT_STRING_set_bit(bits, KEY_CERT_SIGN, 1) != 1 ||
               ASN1_BIT_STRING_set_bit(bits, CRL_SIGN, 1) != 1))
        return false;
    return X509_add1_ext_i2d(certificate, NID_key_usage, bits, ca, X509V3_ADD_DEFAULT) == 1;
}

static bool build(X509 *certificate, const struct tc_devcert_spec *spec)
{
    EVP_PKEY *signer = spec->issuer ? spec->issuer->key : spec->key;
    return X509_set_version(certificate, X509_V3) == 1 && set_serial(certificate) &&
           set_names(certificate, spec) && set_window(certificate, spec) &&
           X509_set_pubkey(certificate, spec->key) == 1 && add_constraints(certificate, spec) &&
           add_usage(certificate, spec->ca) && X509_sign(certificate, signer, EVP_sha384()) > 0;
}

tc_status tc_devcert_make(const struct tc_devcert_spec *spec, X509 **ret_certificate,
                          struct tc_error *err)
{
    X509 *certificate TC_CLEANUP(tc_devcert_free) = X509_new();
    if (!certificate || !build(certificate, spec)) {
        ERR_clear_error();
        return tc_fail(err, TC_SYSTEM, "the certificate \"%s\" could not be made", spec->name);
    }
    *ret_certificate = TC_TAKE(certificate);
    return TC_OK;
}
