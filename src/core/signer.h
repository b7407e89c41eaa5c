/* Who may sign lists of images: a public key, or the certificate that images
 * are signed with. What a certificate's key signs counts only for enclaves whose
 * PCR8 is that certificate's, since that is what it may speak for. Pure. */
#ifndef TC_CORE_SIGNER_H
#define TC_CORE_SIGNER_H

#include "core/pubkey.h"

enum { TC_SIGNER_PEM_MAX = 16384 };

struct tc_signer {
    char id[TC_SHA256_HEX]; /* tc_key_id of its key */
    enum tc_key_kind kind;
    struct tc_buf spki; /* owned, DER */
    bool by_certificate;
    struct tc_sha384 pcr8; /* with a certificate: SHA384(48 zero bytes || SHA384(its DER)) */
};
#define TC_AUTO_SIGNER TC_CLEANUP(tc_signer_free)
void tc_signer_free(struct tc_signer *signer); /* accepts NULL and a zeroed one */

/* Exactly one PEM block: PUBLIC KEY (ed25519, P-256, P-384) or CERTIFICATE
 * (P-384; its dates and issuer are not judged: whoever trusts it names it).
 * Text around the block is ignored, as PEM has it. TC_MALFORMED or TC_REFUSED;
 * name is how messages call the file. A private key is refused by its name. */
tc_status tc_signer_read(struct tc_span pem, const char *name, struct tc_signer *ret_signer,
                         struct tc_error *err) TC_MUST_USE;

#endif
