/* The same order of weight as in checks_image.c, of a file where there is no
 * document yet: a revocation by any list that counts refuses, whoever else vouches;
 * then PCR1 or 2, a name or a recipe that differ from the entry's; then one good entry
 * is enough. */
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

/* What of the file is not what the entry says of it; NULL: nothing. */
static const char *find_difference(const struct tc_image *image,
                                   const struct tc_trust_question *question)
{
    if (!is_same(&image->pcr[1], &question->pcr[1])) return "PCR1";
    if (!is_same(&image->pcr[2], &question->pcr[2])) return "PCR2";
    if (strcmp(image->name, question->name) != 0) return "the image's name";
    if (memcmp(image->recipe.bytes, question->recipe->bytes, sizeof image->recipe.bytes) != 0)
        return "the image's recipe";
    return NULL;
}

static enum tc_trust_answer ask_list(const struct tc_trusted_list *list, uint64_t least,
                                     const struct tc_trust_question *question, int64_t now,
                                     char *out, size_t size)
{
    const struct tc_image *image = tc_imagelist_find(&list->list, &question->pcr[0]);
    if (!image) return TC_TRUST_UNKNOWN;
    if (tc_image_is_revoked(image, now)) {
        char reason[TC_IMAGE_REASON_MAX];
        (void)snprintf(out, size, "%s %s is revoked by the list of %s: %s", image->name,
                       image->version, list->signer,
                       tc_printable(tc_span_of_text(image->reason), reason, sizeof reason));
        return TC_TRUST_REVOKED;
    }
    if (!list->vouches) return TC_TRUST_UNKNOWN;
    const char *difference = find_difference(image, question);
    if (difference) {
        (void)snprintf(out, size,
                       "PCR0 is that of %s %s in the list of %s, but %s is not the entry's",
                       image->name, image->version, list->signer, difference);
        return TC_TRUST_AGAINST;
    }
    if (now < image->valid_from || now > image->valid_until || list->list.sequence < least)
        return TC_TRUST_UNKNOWN;
    (void)snprintf(out, size, "%s %s, by the list of %s, sequence %llu", image->name,
                   image->version, list->signer, (unsigned long long)list->list.sequence);
    return TC_TRUST_NAMED;
}

static enum tc_trust_answer ask_own(const struct tc_own_image *own,
                                    const struct tc_trust_question *question, char *out,
                                    size_t size)
{
    if (!is_same(&own->pcr0, &question->pcr[0])) return TC_TRUST_UNKNOWN;
    if (own->has_recipe &&
        memcmp(own->recipe.bytes, question->recipe->bytes, sizeof own->recipe.bytes) != 0) {
        (void)snprintf(out, size,
                       "PCR0 is that of %s by your own word, but the image's recipe is not the one "
                       "you gave",
                       own->name);
        return TC_TRUST_AGAINST;
    }
    (void)snprintf(out, size, "%s%s%s, by your own word", own->name, *own->version ? " " : "",
                   own->version);
    return TC_TRUST_NAMED;
}

enum tc_trust_answer tc_trust_ask(const struct tc_trust *trust,
                                  const struct tc_trust_question *question, int64_t now, char *out,
                                  size_t size)
{
    enum tc_trust_answer answer = TC_TRUST_UNKNOWN;
    for (size_t i = 0; i < trust->lists_count + trust->own_count; i++) {
        char said[TC_ERROR_MAX / 2];
        enum tc_trust_answer one = TC_TRUST_UNKNOWN;
        if (i >= trust->lists_count)
            one = ask_own(&trust->own[i - trust->lists_count], question, said, sizeof said);
        else if (counts(&trust->lists[i], question->pcr8))
            one = ask_list(&trust->lists[i], trust->min_sequence, question, now, said, sizeof said);
        if (one <= answer) continue;
        answer = one;
        (void)snprintf(out, size, "%s", said);
    }
    if (answer == TC_TRUST_UNKNOWN)
        (void)snprintf(out, size, "no list that you trust names it, and neither do you");
    return answer;
}
