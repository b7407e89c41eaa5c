/* The same order of weight as in checks_image.c, of a file where there is no
 * document yet: a revocation by any list that counts refuses, whoever else vouches;
 * then PCR1 or 2 that differ from the entry's; then one good entry is enough. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "verify/trust.h"

static bool is_same(const struct tc_sha384 *a, const struct tc_sha384 *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static bool counts(const struct tc_trusted_list *list, const struct tc_sha384 *pcr8)
{
    return !list->by_certificate || (pcr8 && is_same(&list->pcr8, pcr8));
}

static enum tc_trust_answer ask_list(const struct tc_trusted_list *list, uint64_t least,
                                     const struct tc_sha384 pcr[3], int64_t now, char *out,
                                     size_t size)
{
    const struct tc_image *image = tc_imagelist_find(&list->list, &pcr[0]);
    if (!image) return TC_TRUST_UNKNOWN;
    if (tc_image_is_revoked(image, now)) {
        char reason[TC_IMAGE_REASON_MAX];
        (void)snprintf(out, size, "%s %s is revoked by the list of %s: %s", image->name,
                       image->version, list->signer,
                       tc_printable(tc_span_of_text(image->reason), reason, sizeof reason));
        return TC_TRUST_AGAINST;
    }
    if (!list->vouches) return TC_TRUST_UNKNOWN;
    for (unsigned i = 1; i < 3; i++)
        if (!is_same(&image->pcr[i], &pcr[i])) {
            (void)snprintf(out, size,
                           "PCR0 is that of %s %s in the list of %s, but PCR%u is not the entry's",
                           image->name, image->version, list->signer, i);
            return TC_TRUST_AGAINST;
        }
    if (now < image->valid_from || now > image->valid_until || list->list.sequence < least)
        return TC_TRUST_UNKNOWN;
    (void)snprintf(out, size, "%s %s, by the list of %s, sequence %llu", image->name,
                   image->version, list->signer, (unsigned long long)list->list.sequence);
    return TC_TRUST_NAMED;
}

enum tc_trust_answer tc_trust_ask(const struct tc_trust *trust, const struct tc_sha384 pcr[3],
                                  const struct tc_sha384 *pcr8, int64_t now, char *out, size_t size)
{
    enum tc_trust_answer answer = TC_TRUST_UNKNOWN;
    for (size_t i = 0; i < trust->lists_count && answer != TC_TRUST_AGAINST; i++) {
        char said[TC_ERROR_MAX / 2];
        if (!counts(&trust->lists[i], pcr8)) continue;
        enum tc_trust_answer one =
            ask_list(&trust->lists[i], trust->min_sequence, pcr, now, said, sizeof said);
        if (one <= answer) continue;
        answer = one;
        (void)snprintf(out, size, "%s", said);
    }
    for (size_t i = 0; i < trust->own_count && answer == TC_TRUST_UNKNOWN; i++) {
        const struct tc_own_image *own = &trust->own[i];
        if (!is_same(&own->pcr0, &pcr[0])) continue;
        answer = TC_TRUST_NAMED;
        (void)snprintf(out, size, "%s%s%s, by your own word", own->name, *own->version ? " " : "",
                       own->version);
    }
    if (answer == TC_TRUST_UNKNOWN)
        (void)snprintf(out, size, "no list that you trust names it, and neither do you");
    return answer;
}
