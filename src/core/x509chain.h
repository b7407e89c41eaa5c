/* Certificate chains as Nitro documents carry them: a cabundle from the root
 * down, and a leaf. One order, one algorithm, no building of paths, no trust in
 * names.
 *
 * libcrypto parses a certificate and verifies one signature at a time; the rules
 * are here, because its chain builder looks for some path through a heap of
 * certificates: it accepts a reversed bundle, strangers in it, a leaf that may
 * not sign, SHA-1 and other curves, while its strict mode refuses real leaves,
 * which have no authority key id. */
#ifndef TC_CORE_X509CHAIN_H
#define TC_CORE_X509CHAIN_H

#include <openssl/types.h>

#include "base/bytes.h"

enum { TC_X509CHAIN_MAX = 16 }; /* certificates, with the leaf */

struct tc_x509chain {
    struct tc_span root;          /* DER, pinned by the caller */
    const struct tc_span *bundle; /* DER, bundle[0] is the root, each signs the next */
    size_t bundle_count;
    struct tc_span leaf; /* DER, signed by the last of bundle */
};

/* Checks, for every certificate: DER with nothing behind it, X.509 v3, P-384
 * key, ecdsa-with-SHA384 by the one before, names that join, valid from `from`
 * until `until` (seconds since the epoch; both ends inclusive, RFC 5280 section
 * 4.1.2.5), no unknown critical extension; for CAs basicConstraints, path length
 * and keyCertSign; for the leaf digitalSignature and that it is no CA; bundle[0]
 * is root byte for byte; no certificate twice; only the root is self-issued.
 * TC_MALFORMED or TC_REFUSED. *ret_leaf_key is owned (EVP_PKEY_free). */
tc_status tc_x509chain_verify(const struct tc_x509chain *chain, int64_t from, int64_t until,
                              EVP_PKEY **ret_leaf_key, struct tc_error *err) TC_MUST_USE;

#endif
