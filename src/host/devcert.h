/* Certificates of the development attester: P-384, ecdsa-with-SHA384, shaped as
 * the chains of real Nitro documents, and each with a name that says it is no
 * TEE. */
#ifndef TC_HOST_DEVCERT_H
#define TC_HOST_DEVCERT_H

#include <stdbool.h>
#include <stdint.h>

#include <openssl/types.h>

#include "base/status.h"

struct tc_devcert_issuer {
    X509 *certificate;
    EVP_PKEY *key;
};

struct tc_devcert_spec {
    const char *name;                       /* common name, at most 64 bytes */
    EVP_PKEY *key;                          /* the subject's */
    const struct tc_devcert_issuer *issuer; /* NULL: signs itself */
    int64_t from, until;                    /* seconds since the epoch */
    bool ca;
    long path_length; /* of a CA; negative: no limit */
};

/* Both results are owned (EVP_PKEY_free, X509_free). */
tc_status tc_devcert_key(EVP_PKEY **ret_key, struct tc_error *err) TC_MUST_USE;
tc_status tc_devcert_make(const struct tc_devcert_spec *spec, X509 **ret_certificate,
                          struct tc_error *err) TC_MUST_USE;

/* For TC_CLEANUP. */
void tc_devcert_free_key(EVP_PKEY **key);
void tc_devcert_free(X509 **certificate);

#endif
