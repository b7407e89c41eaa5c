/* A Nitro attestation document of anyone's enclave, by itself. Part of
 * verify/verify.h, which has the types used here: include that one. Pure over
 * bytes and options, thread-safe. */
#ifndef TC_VERIFY_ATTESTATION_H
#define TC_VERIFY_ATTESTATION_H

#include "core/armor.h"

struct tc_verdict;
struct tc_pcrs_asked;

struct tc_attestation_options {
    struct tc_span root; /* DER; the AWS root when empty */
    /* Seconds since the epoch. A chain is judged at the document's signed time;
     * with judge_at at this time too, and every certificate must be valid at both. */
    bool judge_at;
    int64_t at;
    bool allow_debug;
    const struct tc_pcrs_asked *pcrs_asked; /* NULL: none */
    bool compare_nonce, compare_user_data;
    struct tc_span nonce, user_data;
};

/* A document out of any form of core/armor.h, with the bytes that it borrows from. */
struct tc_attestation {
    enum tc_armor form;
    struct tc_buf bytes;
    struct tc_nitrodoc document;
};
void tc_attestation_free(struct tc_attestation *attestation);

/* What it says, trusting nothing: nothing but the form is checked. */
tc_status tc_attestation_read(struct tc_span input, struct tc_attestation *ret_attestation,
                              struct tc_error *err) TC_MUST_USE;

/* Checks, in this order: document, issuer, debug, pcrN for each asked (pcr0
 * always), nonce, user-data. Input in no form of core/armor.h is refused, as is a
 * document that breaks a rule. Fills ret_verdict (tc_verdict_free) for any of
 * these; an error only when memory ran out. ret_attestation may be NULL;
 * else it holds the document where it could be decoded, and is zeroed where not. */
tc_status tc_attestation_verify(struct tc_span input, const struct tc_attestation_options *options,
                                struct tc_verdict *ret_verdict,
                                struct tc_attestation *ret_attestation,
                                struct tc_error *err) TC_MUST_USE;

#endif
