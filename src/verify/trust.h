/* Whom and what a relying party trusts, in memory: the lists of images by
 * trusted signers, already verified, and the images that the user named. Made
 * by truststore.h; verify.h borrows it and reads no file itself. */
#ifndef TC_VERIFY_TRUST_H
#define TC_VERIFY_TRUST_H

#include "core/ownimages.h"
#include "core/signer.h"

struct tc_trusted_list {
    char signer[TC_SHA256_HEX]; /* its key's id */
    bool by_certificate;        /* counts only for documents with this PCR8 */
    struct tc_sha384 pcr8;
    /* False for a list that another one stands in for (--images): it can still
     * revoke, but not make an image trusted. */
    bool vouches;
    struct tc_imagelist list;
};

struct tc_trust {
    struct tc_trusted_list *lists;
    size_t lists_count;
    struct tc_own_image *own;
    size_t own_count;
    /* Lists with a lower sequence make no image trusted; they can still revoke. */
    uint64_t min_sequence;
    bool asked; /* the user named a list, or a least sequence, for this one verdict */
    /* Why a list that the user gave counts for nothing; empty when none was
     * refused. Nothing is trusted then. */
    char problem[TC_ERROR_MAX];
};
#define TC_AUTO_TRUST TC_CLEANUP(tc_trust_free)
void tc_trust_free(struct tc_trust *trust); /* accepts NULL and a zeroed one */

/* Takes the list, which is zeroed, also on failure. */
tc_status tc_trust_add(struct tc_trust *trust, const struct tc_signer *signer, bool vouches,
                       struct tc_imagelist *list, struct tc_error *err) TC_MUST_USE;

/* An image's file: what was measured of it, and what its measured text says. */
struct tc_trust_question {
    const struct tc_sha384 *pcr;  /* three */
    const struct tc_sha384 *pcr8; /* NULL: not signed */
    const char *name;
    const struct tc_sha256 *recipe;
};
/* Does anything name it now? out gets one printable line: who names it, or why not.
 * By weight. */
enum tc_trust_answer {
    TC_TRUST_UNKNOWN, /* nothing that is in force */
    TC_TRUST_NAMED,
    TC_TRUST_AGAINST, /* it contradicts its entry */
    TC_TRUST_REVOKED,
};
enum tc_trust_answer tc_trust_ask(const struct tc_trust *trust,
                                  const struct tc_trust_question *question, int64_t now, char *out,
                                  size_t size) TC_MUST_USE;

#endif
