/* Which image signed, and whether the caller trusts it.
 *
 * `image`: was an image measured at all? `image-trust`: does a trusted list, or
 * the user's own word, name this PCR0? `image-name`: is it the one that build.json
 * asks for? PCR0 alone finds an entry: a later ramdisk can replace /init under an
 * unchanged PCR1, so PCR1 and 2 can only contradict an entry, never make one.
 *
 * Every list that counts is asked, in this order of weight: a revocation by any
 * of them refuses, whoever else vouches; then PCR1 or 2 that differ from the
 * entry's, or a name or recipe that differs from the image's own text, since two
 * images cannot have one PCR0 and something is wrong; then one good entry is enough; else the first entry's problem is told. A list whose
 * signer is a certificate counts only where PCR8 is that certificate's. Validity
 * is judged at the document's own signed time, as its certificates are. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "core/pcr.h"
#include "verify/judge.h"

enum { PCR8 = 8 };

static const char trust_expected[] =
    "an image that you trust, by a signed list or by your own word, valid when the document was "
    "signed";

static struct tc_sha384 pcr_of(const struct tc_nitrodoc *document, unsigned index)
{
    struct tc_sha384 pcr = {{0}};
    if (document->pcr_present >> index & 1) memcpy(pcr.bytes, document->pcr[index], TC_PCR_SIZE);
    return pcr;
}

static bool is_same(const struct tc_sha384 *a, const struct tc_sha384 *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static void hex_of(const struct tc_sha384 *pcr, char out[TC_SHA384_HEX])
{
    tc_hex((struct tc_span){pcr->bytes, sizeof pcr->bytes}, out);
}

/* What kind of image it is that no list can name. */
enum anonymous { NAMED, UNMEASURED, DEBUG };

static tc_status find_kind(const struct tc_nitrodoc *document, enum anonymous *ret_kind,
                           struct tc_error *err)
{
    struct tc_sha384 constant, pcr0 = pcr_of(document, 0);
    TC_TRY(tc_pcr_unmeasured(&constant, err));
    *ret_kind = is_same(&pcr0, &constant)        ? UNMEASURED
                : tc_nitrodoc_is_debug(document) ? DEBUG
                                                 : NAMED;
    return TC_OK;
}

static enum tc_check_result allowed_if(bool allowed)
{
    return allowed ? TC_CHECK_ALLOWED : TC_CHECK_FAIL;
}

void tc_check_image(struct tc_judge *judge)
{
    static const char expected[] = "an image that was measured";
    if (!judge->document || !judge->statement) {
        tc_judge_add_unjudged(judge, "image", expected);
        return;
    }
    struct tc_error err = {0};
    enum anonymous kind;
    if (find_kind(judge->document, &kind, &err) != TC_OK) {
        tc_judge_add(judge, "image", TC_CHECK_FAIL, expected, err.message);
        return;
    }
    struct tc_sha384 pcr0 = pcr_of(judge->document, 0);
    char hex[TC_SHA384_HEX];
    hex_of(&pcr0, hex);
    if (judge->statement->platform.measured == (kind == UNMEASURED))
        tc_judge_add(judge, "image", TC_CHECK_FAIL, expected,
                     "the statement and PCR0 disagree about whether the image was measured");
    else if (kind == UNMEASURED)
        tc_judge_add(judge, "image", allowed_if(judge->options->allow_unmeasured), expected,
                     judge->options->allow_unmeasured
                         ? "the toolchain was the building machine's own and was not measured"
                         : "the toolchain was the building machine's own and was not measured; "
                           "--allow-unmeasured accepts that");
    else if (kind == DEBUG)
        tc_judge_add(judge, "image", allowed_if(judge->options->allow_debug), expected,
                     "a debug enclave does not say which image it ran");
    else
        tc_judge_add(judge, "image", TC_CHECK_PASS, expected, hex);
}

/* --- image-trust --- */

enum finding { UNKNOWN, OTHER_SIGNER, OUT_OF_FORCE, GOOD, CONTRADICTED, REVOKED }; /* by weight */

struct search {
    struct tc_judge *judge;
    struct tc_sha384 pcr[3];
    char hex[TC_SHA384_HEX]; /* of PCR0 */
    int64_t at;              /* the document's signed time */
    const char *wanted;      /* the name in build.json */
    enum finding finding;
    char problem[TC_ERROR_MAX];
    char name[TC_IMAGE_NAME_MAX + 1]; /* of the entry behind the finding; may be empty */
    size_t images;                    /* in all lists that could vouch */
    size_t lists;
    bool named_by_pcr; /* no list knows it, and --pcr 0 is its PCR0 */
};

static bool counts(const struct search *search, const struct tc_trusted_list *list)
{
    if (!list->by_certificate) return true;
    const struct tc_nitrodoc *document = search->judge->document;
    struct tc_sha384 pcr8 = pcr_of(document, PCR8);
    return (document->pcr_present >> PCR8 & 1) != 0 && is_same(&pcr8, &list->pcr8);
}

/* Weightier than what was found so far? Of equal ones the first is kept. */
static bool outweighs(const struct search *search, enum finding finding)
{
    return finding > search->finding;
}

static void TC_PRINTF(5, 6) report(struct search *search, enum finding finding, const char *name,
                                   const struct tc_trusted_list *list, const char *format, ...)
{
    if (!outweighs(search, finding)) return;
    char text[TC_ERROR_MAX / 2];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    search->finding = finding;
    (void)snprintf(search->problem, sizeof search->problem,
                   "PCR0 %s %s (the list of %s, sequence %llu)", search->hex, text, list->signer,
                   (unsigned long long)list->list.sequence);
    (void)snprintf(search->name, sizeof search->name, "%s", name);
}

static void report_revoked(struct search *search, const struct tc_trusted_list *list,
                           const struct tc_image *image)
{
    char reason[TC_IMAGE_REASON_MAX], from[TC_TIME_TEXT_SIZE] = "";
    tc_printable(tc_span_of_text(image->reason), reason, sizeof reason);
    if (!image->revoked_for_all) tc_format_time(image->revoked_from, from);
    report(search, REVOKED, image->name, list, "(%s %s) is revoked %s%s: %s", image->name,
           image->version, image->revoked_for_all ? "for all times" : "from ", from, reason);
}

static bool is_in_force(struct search *search, const struct tc_trusted_list *list,
                        const struct tc_image *image)
{
    char limit[TC_TIME_TEXT_SIZE], at[TC_TIME_TEXT_SIZE];
    tc_format_time(search->at, at);
    if (search->at < image->valid_from || search->at > image->valid_until) {
        bool early = search->at < image->valid_from;
        tc_format_time(early ? image->valid_from : image->valid_until, limit);
        report(search, OUT_OF_FORCE, image->name, list,
               "(%s %s) %s; the document was signed at %s: %s%s", image->name, image->version,
               early ? "was not yet valid" : "has expired", at,
               early ? "valid from " : "valid until ", limit);
        return false;
    }
    const char *architecture = search->judge->statement->platform.architecture;
    if (strcmp(image->architecture, architecture) != 0) {
        char shown[64];
        report(search, OUT_OF_FORCE, image->name, list,
               "(%s %s) is an image for %s, and the statement says %s", image->name, image->version,
               image->architecture,
               tc_printable(tc_span_of_text(architecture), shown, sizeof shown));
        return false;
    }
    uint64_t least = search->judge->options->trust->min_sequence;
    if (list->list.sequence < least) {
        report(search, OUT_OF_FORCE, image->name, list,
               "(%s %s) is named by a list older than --min-list-version %llu allows", image->name,
               image->version, (unsigned long long)least);
        return false;
    }
    return true;
}

/* Of several good entries the one that has the wanted name counts. */
static bool takes_over(const struct search *search, const char *name)
{
    return outweighs(search, GOOD) ||
           (search->finding == GOOD && strcmp(search->name, search->wanted) != 0 &&
            strcmp(name, search->wanted) == 0);
}

static void accept_listed(struct search *search, const struct tc_trusted_list *list,
                          const struct tc_image *image)
{
    if (!takes_over(search, image->name)) return;
    search->finding = GOOD;
    memcpy(search->name, image->name, sizeof search->name);
    struct tc_image_fact *fact = &search->judge->verdict->image;
    int64_t now = search->judge->options->now;
    *fact = (struct tc_image_fact){.known = true,
                                   .pcr0 = search->pcr[0],
                                   .has_recipe = true,
                                   .recipe = image->recipe,
                                   .sequence = list->list.sequence,
                                   .issued = list->list.issued,
                                   .next_update = list->list.next_update,
                                   .stale = now > list->list.next_update};
    memcpy(fact->name, image->name, sizeof fact->name);
    memcpy(fact->version, image->version, sizeof fact->version);
    memcpy(fact->signer, list->signer, sizeof fact->signer);
}

/* A list by a certificate speaks of images that were signed with it. */
static void report_other_signer(struct search *search, const struct tc_trusted_list *list)
{
    const struct tc_nitrodoc *document = search->judge->document;
    const struct tc_image *image = tc_imagelist_find(&list->list, &search->pcr[0]);
    struct tc_sha384 pcr8 = pcr_of(document, PCR8);
    char expected[TC_SHA384_HEX], seen[TC_SHA384_HEX] = "none";
    if (!image || !list->vouches) return;
    hex_of(&list->pcr8, expected);
    if (document->pcr_present >> PCR8 & 1) hex_of(&pcr8, seen);
    report(search, OTHER_SIGNER, "", list,
           "is that of %s %s, but the image was not signed with the list's certificate: expected "
           "PCR8 %s, saw %s",
           image->name, image->version, expected, seen);
}

/* One PCR0 is one text: an entry that says otherwise speaks of another image, or its
 * maker was wrong. Unmeasured, there is no text, and nothing that a list can name. */
static bool contradicts_text(struct search *search, const struct tc_trusted_list *list,
                             const struct tc_image *image)
{
    const struct tc_part_image *text = &search->judge->statement->image;
    char expected[TC_SHA256_HEX], seen[TC_SHA256_HEX], shown[TC_IMAGE_TEXT_NAME_MAX + 1];
    if (!text->name) return false;
    if (strcmp(image->name, text->name) != 0) {
        report(search, CONTRADICTED, image->name, list,
               "is that of %s %s, but the image calls itself %s", image->name, image->version,
               tc_printable(tc_span_of_text(text->name), shown, sizeof shown));
        return true;
    }
    if (memcmp(image->recipe.bytes, text->recipe.bytes, sizeof text->recipe.bytes) == 0)
        return false;
    tc_hex((struct tc_span){image->recipe.bytes, sizeof image->recipe.bytes}, expected);
    tc_hex((struct tc_span){text->recipe.bytes, sizeof text->recipe.bytes}, seen);
    report(search, CONTRADICTED, image->name, list,
           "is that of %s %s, but the image's recipe is not the entry's: expected %s, saw %s",
           image->name, image->version, expected, seen);
    return true;
}

static void ask_list(struct search *search, const struct tc_trusted_list *list)
{
    if (!counts(search, list)) {
        report_other_signer(search, list);
        return;
    }
    if (list->vouches) {
        search->lists++;
        search->images += list->list.images_count;
    }
    const struct tc_image *image = tc_imagelist_find(&list->list, &search->pcr[0]);
    if (!image) return;
    if (tc_image_is_revoked(image, search->at)) {
        report_revoked(search, list, image);
        return;
    }
    if (!list->vouches) return;
    for (unsigned i = 1; i < 3; i++)
        if (!is_same(&image->pcr[i], &search->pcr[i])) {
            report(search, CONTRADICTED, image->name, list,
                   "is that of %s %s, but PCR%u of the document is not the entry's", image->name,
                   image->version, i);
            return;
        }
    if (contradicts_text(search, list, image)) return;
    if (is_in_force(search, list, image)) accept_listed(search, list, image);
}

/* The user may give an image a name of their own, but not another recipe. */
static bool own_contradicts_text(struct search *search, const struct tc_own_image *image)
{
    const struct tc_part_image *text = &search->judge->statement->image;
    char expected[TC_SHA256_HEX], seen[TC_SHA256_HEX];
    if (!text->name || !image->has_recipe ||
        memcmp(image->recipe.bytes, text->recipe.bytes, sizeof text->recipe.bytes) == 0)
        return false;
    if (!outweighs(search, CONTRADICTED)) return true;
    tc_hex((struct tc_span){image->recipe.bytes, sizeof image->recipe.bytes}, expected);
    tc_hex((struct tc_span){text->recipe.bytes, sizeof text->recipe.bytes}, seen);
    search->finding = CONTRADICTED;
    (void)snprintf(search->problem, sizeof search->problem,
                   "PCR0 %s is that of %s by your own word, but the image's recipe is not the one "
                   "you gave: expected %s, saw %s",
                   search->hex, image->name, expected, seen);
    (void)snprintf(search->name, sizeof search->name, "%s", image->name);
    return true;
}

static void ask_own(struct search *search, const struct tc_own_image *image)
{
    search->images++;
    if (!is_same(&image->pcr0, &search->pcr[0]) || own_contradicts_text(search, image) ||
        !takes_over(search, image->name))
        return;
    search->finding = GOOD;
    memcpy(search->name, image->name, sizeof search->name);
    struct tc_image_fact *fact = &search->judge->verdict->image;
    *fact = (struct tc_image_fact){.known = true,
                                   .pcr0 = image->pcr0,
                                   .has_recipe = image->has_recipe,
                                   .recipe = image->recipe,
                                   .own = true};
    memcpy(fact->name, image->name, sizeof fact->name);
    memcpy(fact->version, image->version, sizeof fact->version);
}

/* An old list may lack the latest revocation: whoever relies on one is told. */
static void warn_of_stale(struct search *search, const struct tc_trusted_list *list)
{
    int64_t now = search->judge->options->now;
    if (!counts(search, list) || now <= list->list.next_update) return;
    char due[TC_TIME_TEXT_SIZE], text[TC_ERROR_MAX / 2];
    tc_format_time(list->list.next_update, due);
    (void)snprintf(
        text, sizeof text,
        "the list of %s, sequence %llu, is stale: a newer one was due by %s (tee-compile "
        "image trust update FILE)",
        list->signer, (unsigned long long)list->list.sequence, due);
    tc_judge_warn(search->judge, text);
}

/* Which PCR0 to compare, with which recipe, and the two ways to say the result.
 * A name from the statement is put into a command only when it is a plain word. */
static void explain_unknown(struct search *search)
{
    const char *version = search->judge->statement->platform.version;
    bool plain = tc_image_name_is_good(search->wanted);
    const char *name = plain ? search->wanted : "NAME";
    char first[128];
    if (search->images == 0)
        (void)snprintf(first, sizeof first, "no trusted list holds any image");
    else
        (void)snprintf(first, sizeof first, "none of %zu trusted images (%zu lists) has it",
                       search->images, search->lists);
    (void)snprintf(search->problem, sizeof search->problem,
                   "PCR0 %s is unknown: %s. Make the image from its recipe (images/%s of tee-compile "
                   "%s), compare its PCR0 (tee-compile image measure FILE) with this "
                   "one, then: tee-compile image trust add --pcr0 %s --name %s; or give a signed "
                   "list that has it: --images FILE",
                   search->hex, first, name, tc_image_name_is_good(version) ? version : "VERSION",
                   search->hex, name);
}

static void ask_all(struct search *search)
{
    const struct tc_trust *trust = search->judge->options->trust;
    for (size_t i = 0; trust && i < trust->lists_count; i++) {
        ask_list(search, &trust->lists[i]);
        warn_of_stale(search, &trust->lists[i]);
    }
    for (size_t i = 0; trust && i < trust->own_count; i++)
        ask_own(search, &trust->own[i]);
    if (search->finding != GOOD) search->judge->verdict->image = (struct tc_image_fact){0};
    if (search->finding == UNKNOWN) explain_unknown(search);
}

/* --pcr 0=HEX is the user's word about this one document. */
static bool is_named_by_pcr(const struct search *search)
{
    const struct tc_pcrs_asked *pcrs = search->judge->options->pcrs_asked;
    return pcrs && (pcrs->asked & 1) != 0 && is_same(&pcrs->value[0], &search->pcr[0]);
}

/* A list is asked for that is recent enough to know of a revocation: no other word
 * makes up for one that is not there. */
static bool is_too_old(const struct search *search, char *out, size_t out_size)
{
    const struct tc_trust *trust = search->judge->options->trust;
    uint64_t latest = 0;
    if (!trust || trust->min_sequence == 0) return false;
    for (size_t i = 0; i < trust->lists_count; i++)
        if (trust->lists[i].vouches && counts(search, &trust->lists[i]) &&
            trust->lists[i].list.sequence > latest)
            latest = trust->lists[i].list.sequence;
    if (latest >= trust->min_sequence) return false;
    (void)snprintf(out, out_size,
                   "expected a list of sequence %llu or higher (--min-list-version), saw %s%llu: "
                   "tee-compile image trust update FILE",
                   (unsigned long long)trust->min_sequence, latest > 0 ? "" : "none, ",
                   (unsigned long long)latest);
    return true;
}

static void add_trust(struct search *search)
{
    struct tc_judge *judge = search->judge;
    const struct tc_trust *trust = judge->options->trust;
    if (trust && trust->problem[0]) {
        tc_judge_add(judge, "image-trust", TC_CHECK_FAIL, trust_expected, trust->problem);
        return;
    }
    ask_all(search);
    char old[256];
    bool passes = search->finding == GOOD || search->finding == UNKNOWN;
    if (passes && is_too_old(search, old, sizeof old)) {
        judge->verdict->image = (struct tc_image_fact){0};
        tc_judge_add(judge, "image-trust", TC_CHECK_FAIL, trust_expected, old);
        return;
    }
    if (search->finding == UNKNOWN && is_named_by_pcr(search)) {
        search->named_by_pcr = true;
        tc_judge_add(judge, "image-trust", TC_CHECK_PASS, trust_expected, "the PCR0 given with --pcr");
        return;
    }
    if (search->finding != GOOD) {
        tc_judge_add(judge, "image-trust", TC_CHECK_FAIL, trust_expected, search->problem);
        return;
    }
    const struct tc_image_fact *fact = &judge->verdict->image;
    char seen[TC_ERROR_MAX / 2];
    if (fact->own)
        (void)snprintf(seen, sizeof seen, "%s %s, by your own word", fact->name, fact->version);
    else
        (void)snprintf(seen, sizeof seen, "%s %s, by the list of %s, sequence %llu", fact->name,
                       fact->version, fact->signer, (unsigned long long)fact->sequence);
    tc_judge_add(judge, "image-trust", TC_CHECK_PASS, trust_expected, seen);
}

static void add_name(struct search *search)
{
    char shown[TC_IMAGE_NAME_MAX + 64], expected[256], seen[128];
    (void)snprintf(expected, sizeof expected, "the image %s, as build.json names it (%s)",
                   tc_printable(tc_span_of_text(search->wanted), shown, sizeof shown),
                   search->judge->statement->recipe.image ? "image" : "language");
    if (search->named_by_pcr) {
        tc_judge_add(search->judge, "image-name", TC_CHECK_NOT_ASKED, expected,
                     "an image that --pcr names by its PCR0 alone");
        return;
    }
    if (!*search->name) {
        tc_judge_add_unjudged(search->judge, "image-name", expected);
        return;
    }
    (void)snprintf(seen, sizeof seen, "the image %s", search->name);
    tc_judge_add_bool(search->judge, "image-name", strcmp(search->name, search->wanted) == 0,
                      expected, seen);
}

void tc_check_image_trust(struct tc_judge *judge)
{
    static const char name_expected[] = "the image that build.json names";
    struct tc_error err = {0};
    enum anonymous kind = NAMED;
    if (!judge->document || !judge->statement || find_kind(judge->document, &kind, &err) != TC_OK) {
        tc_judge_add_unjudged(judge, "image-trust", trust_expected);
        tc_judge_add_unjudged(judge, "image-name", name_expected);
        return;
    }
    const struct tc_trust *trust = judge->options->trust;
    if (kind != NAMED && trust && trust->problem[0]) {
        tc_judge_add(judge, "image-trust", TC_CHECK_FAIL, trust_expected, trust->problem);
        tc_judge_add_unjudged(judge, "image-name", name_expected);
        return;
    }
    if (kind != NAMED) {
        if (trust && trust->asked)
            tc_judge_warn(judge, "the list of images that was asked for judges nothing here: no list "
                                 "can name this image");
        bool allowed =
            kind == DEBUG ? judge->options->allow_debug : judge->options->allow_unmeasured;
        const char *seen = kind == DEBUG ? "a debug enclave does not say which image it ran"
                                         : "an unmeasured toolchain, which no list can name";
        tc_judge_add(judge, "image-trust", allowed_if(allowed), trust_expected, seen);
        tc_judge_add(judge, "image-name", allowed_if(allowed), name_expected, seen);
        return;
    }
    const struct tc_part_recipe *recipe = &judge->statement->recipe;
    struct search search = {.judge = judge,
                            .at = (int64_t)(judge->document->timestamp / 1000),
                            .wanted = recipe->image ? recipe->image : recipe->language};
    for (unsigned i = 0; i < 3; i++)
        search.pcr[i] = pcr_of(judge->document, i);
    hex_of(&search.pcr[0], search.hex);
    add_trust(&search);
    add_name(&search);
}
