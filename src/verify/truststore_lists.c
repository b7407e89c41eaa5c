/* Lists that somebody brings, judged against those that are there. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "verify/truststore_internal.h"

void tc_list_offer_free(struct tc_list_offer *offer)
{
    tc_dsse_free(&offer->dsse);
    tc_imagelist_free(&offer->list);
    *offer = (struct tc_list_offer){0};
}

/* The one word about order: later than what is there, or the same. */
static tc_status check_order(const struct tc_known_signer *known, const struct tc_list_offer *offer,
                             const char *name, struct tc_error *err)
{
    unsigned long long there = known->list.sequence, sequence = offer->list.sequence;
    if (!known->has_list || sequence > there) return TC_OK;
    if (sequence < there)
        return tc_fail(err, TC_REFUSED,
                       "%s is older than the list that is already there by %s: expected sequence "
                       "%llu or higher, saw %llu; get the current list",
                       name, known->signer.id, there, sequence);
    if (tc_span_equal(tc_buf_span(&known->payload), tc_buf_span(&offer->dsse.payload)))
        return TC_OK;
    return tc_fail(err, TC_REFUSED,
                   "%s has sequence %llu, as the list that is already there by %s, but other "
                   "content: one of the two is not the signer's; ask them",
                   name, sequence, known->signer.id);
}

static tc_status refuse_signers(const struct tc_dsse *dsse, const char *name, struct tc_error *err)
{
    char ids[3 * TC_SHA256_HEX] = "";
    for (size_t i = 0, used = 0; i < dsse->signatures_count && i < 2; i++)
        used += (size_t)snprintf(ids + used, sizeof ids - used, "%s%s", i ? ", " : "",
                                 dsse->signatures[i].key);
    return tc_fail(err, TC_REFUSED,
                   "%s is signed by %s%s, whom nobody here trusts: if you do, tee-compile image "
                   "trust add --key PEM",
                   name, ids, dsse->signatures_count > 2 ? ", ..." : "");
}

tc_status tc_list_offer_judge(const struct tc_known *known, struct tc_span envelope,
                              const char *name, uint64_t min_sequence,
                              struct tc_list_offer *ret_offer, struct tc_error *err)
{
    TC_CLEANUP(tc_list_offer_free) struct tc_list_offer offer = {0};
    TC_TRY(tc_dsse_read(envelope, name, &tc_imagelist_form, &offer.dsse, err));
    bool any = false, named = false;
    for (size_t i = 0; i < known->signers_count; i++) {
        const struct tc_signer *signer = &known->signers[i].signer;
        if (!tc_dsse_names(&offer.dsse, signer->id)) continue;
        named = true;
        tc_status status =
            tc_dsse_check(&offer.dsse, &tc_imagelist_form, tc_buf_span(&signer->spki), err);
        if (status == TC_REFUSED) continue; /* another one's may be good */
        if (status != TC_OK) return status;
        offer.by[i] = any = true;
    }
    if (!named) return refuse_signers(&offer.dsse, name, err);
    if (!any)
        return tc_fail(err, TC_REFUSED,
                       "%s names a trusted signer, and the signature is not theirs: it was changed "
                       "or forged",
                       name);
    TC_TRY(tc_imagelist_read(tc_buf_span(&offer.dsse.payload), name, TC_IMAGELIST_SIGNED,
                             &offer.list, err));
    if (offer.list.sequence < min_sequence)
        return tc_fail(err, TC_REFUSED,
                       "%s is older than --min-list-version allows: expected sequence %llu or "
                       "higher, saw %llu",
                       name, (unsigned long long)min_sequence,
                       (unsigned long long)offer.list.sequence);
    for (size_t i = 0; i < known->signers_count; i++)
        if (offer.by[i]) TC_TRY(check_order(&known->signers[i], &offer, name, err));
    *ret_offer = offer;
    offer = (struct tc_list_offer){0};
    return TC_OK;
}

/* Moves every list out of known. */
static tc_status move_lists(struct tc_known *known, const bool *without, bool vouch,
                            struct tc_trust *trust, struct tc_error *err)
{
    for (size_t i = 0; i < known->signers_count; i++) {
        struct tc_known_signer *signer = &known->signers[i];
        if (!signer->has_list || (without && without[i])) continue;
        signer->has_list = false;
        TC_TRY(tc_trust_add(trust, &signer->signer, vouch, &signer->list, err));
    }
    return TC_OK;
}

tc_status tc_known_to_trust(struct tc_known *known, uint64_t min_sequence,
                            struct tc_trust *ret_trust, struct tc_error *err)
{
    TC_AUTO_TRUST struct tc_trust trust = {.min_sequence = min_sequence};
    TC_TRY(move_lists(known, NULL, true, &trust, err));
    trust.own = TC_TAKE(known->own);
    trust.own_count = known->own_count;
    known->own_count = 0;
    *ret_trust = trust;
    trust = (struct tc_trust){0};
    return TC_OK;
}

/* One list for each of its signers that is trusted: a certificate's counts for
 * fewer documents than a key's. */
static tc_status add_offer(const struct tc_known *known, const struct tc_list_offer *offer,
                           const char *name, struct tc_trust *trust, struct tc_error *err)
{
    for (size_t i = 0; i < known->signers_count; i++) {
        if (!offer->by[i]) continue;
        TC_AUTO_IMAGELIST struct tc_imagelist list = {0};
        TC_TRY(tc_imagelist_read(tc_buf_span(&offer->dsse.payload), name, TC_IMAGELIST_SIGNED,
                                 &list, err));
        TC_TRY(tc_trust_add(trust, &known->signers[i].signer, true, &list, err));
    }
    return TC_OK;
}

static tc_status copy_signer(const struct tc_signer *signer, struct tc_signer *ret,
                             struct tc_error *err)
{
    struct tc_signer copy = *signer;
    copy.spki = tc_buf_new(TC_PUBKEY_MAX);
    tc_buf_add_span(&copy.spki, tc_buf_span(&signer->spki));
    if (!tc_buf_ok(&copy.spki)) {
        tc_signer_free(&copy);
        return tc_fail(err, TC_SYSTEM, "out of memory for a signer");
    }
    *ret = copy;
    return TC_OK;
}

/* Whoever names a key for this list means that one alone; what is there by it
 * keeps its say about order. */
static tc_status only_one(struct tc_known *known, const struct tc_signer *only,
                          struct tc_known **ret_judges, struct tc_error *err)
{
    TC_AUTO_KNOWN struct tc_known *judges = calloc(1, sizeof *judges);
    if (!judges) return tc_fail(err, TC_SYSTEM, "out of memory for a signer");
    struct tc_known_signer *one = &judges->signers[0];
    TC_TRY(copy_signer(only, &one->signer, err));
    judges->signers_count = 1;
    for (size_t i = 0; i < known->signers_count; i++) {
        struct tc_known_signer *there = &known->signers[i];
        if (!there->has_list || strcmp(there->signer.id, only->id) != 0) continue;
        one->has_list = true;
        one->list.sequence = there->list.sequence;
        one->payload = tc_buf_new(there->payload.max);
        tc_buf_add_span(&one->payload, tc_buf_span(&there->payload));
        TC_TRY(tc_buf_check(&one->payload, "a list", err));
    }
    *ret_judges = TC_TAKE(judges);
    return TC_OK;
}

static bool offer_is_by(struct tc_span envelope, const char *name, const char *id)
{
    TC_AUTO_DSSE struct tc_dsse dsse = {0};
    struct tc_error ignored = {0};
    return tc_dsse_read(envelope, name, &tc_imagelist_form, &dsse, &ignored) == TC_OK &&
           tc_dsse_names(&dsse, id);
}

tc_status tc_known_with_list(struct tc_known *known, struct tc_span envelope, const char *name,
                             const struct tc_signer *only, uint64_t min_sequence,
                             struct tc_trust *ret_trust, struct tc_error *err)
{
    TC_AUTO_TRUST struct tc_trust trust = {.min_sequence = min_sequence};
    TC_CLEANUP(tc_list_offer_free) struct tc_list_offer offer = {0};
    TC_AUTO_KNOWN struct tc_known *judges = NULL;
    const struct tc_known *who = known;
    if (only) {
        TC_TRY(only_one(known, only, &judges, err));
        if (!judges) return tc_fail(err, TC_SYSTEM, "no signer to judge by"); /* for analysers */
        who = judges;
    }
    struct tc_error refusal = {0};
    tc_status status = tc_list_offer_judge(who, envelope, name, min_sequence, &offer, &refusal);
    if (status == TC_REFUSED && only && !offer_is_by(envelope, name, only->id)) {
        (void)snprintf(trust.problem, sizeof trust.problem,
                       "%s: expected a signature by %s, whose key was given with it, and saw none", name,
                       only->id);
    } else if (status == TC_REFUSED) {
        memcpy(trust.problem, refusal.message, sizeof trust.problem);
    } else if (status != TC_OK) {
        *err = refusal;
        return status;
    } else {
        TC_TRY(add_offer(who, &offer, name, &trust, err));
        /* What this list stands in for has no say beside it. */
        bool without[TC_TRUST_SIGNERS_MAX] = {false};
        for (size_t i = 0; i < known->signers_count; i++)
            without[i] = only ? strcmp(known->signers[i].signer.id, only->id) == 0 : offer.by[i];
        TC_TRY(move_lists(known, without, false, &trust, err));
    }
    *ret_trust = trust;
    trust = (struct tc_trust){0};
    return TC_OK;
}
