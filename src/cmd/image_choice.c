#include "cmd/image_choice.h"

#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/trust.h"
#include "host/imagestore.h"
#include "host/packages.h"

void tc_image_choice_done(struct tc_image_choice *choice)
{
    tc_imagecheck_stop(TC_TAKE(choice->check));
    tc_imagefile_done(&choice->file);
}

const char *tc_image_choice_name(const struct tc_image_choice *choice)
{
    return choice->host ? "host" : choice->file.content.text.name;
}

tc_status tc_image_choice_await(struct tc_image_choice *choice, int interrupt_fd,
                                struct tc_error *err)
{
    return choice->host ? TC_OK : tc_imagecheck_await(choice->check, interrupt_fd, err);
}

tc_status tc_image_choice_judge(struct tc_image_choice *choice, tc_status status, int interrupt_fd,
                                struct tc_error *err)
{
    struct tc_error found = {0};
    if (status == TC_INTERRUPTED || status == TC_USAGE) return status;
    tc_status checked = tc_image_choice_await(choice, interrupt_fd, &found);
    if (checked == TC_OK || (status != TC_OK && checked != TC_REFUSED)) return status;
    *err = found;
    return checked;
}

const char *const tc_image_recipes[] = {"c", "rust", "go", "node", "python", "java", NULL};

static bool has_recipe(const char *name)
{
    for (size_t i = 0; tc_image_recipes[i]; i++)
        if (strcmp(tc_image_recipes[i], name) == 0) return true;
    return false;
}

static bool is_path(const char *word)
{
    static const char ending[] = ".eif";
    size_t size = strlen(word), end = sizeof ending - 1;
    return strchr(word, '/') || (size > end && strcmp(word + size - end, ending) == 0);
}

static bool is_pcr0(const char *word)
{
    struct tc_sha384 pcr0;
    return tc_unhex(word, pcr0.bytes, sizeof pcr0.bytes);
}

/* where: who named it, for the message. */
static tc_status fail_missing(const char *word, const char *where, struct tc_error *err)
{
    char shown[128];
    if (is_pcr0(word))
        return tc_fail(
            err, TC_UNAVAILABLE,
            "image %s (%s) is not on this machine; those that are: tee-compile image list; "
            "fetch it: tee-compile image pull URL --pcr0 %s",
            word, where, word);
    size_t size = strlen(word);
    if (size > 6 && strcmp(word + size - 6, ".erofs") == 0)
        return tc_fail(err, TC_USAGE,
                       "%s (%s) is the file system of an image: give the NAME.eif beside it",
                       tc_printable(tc_span_of_text(word), shown, sizeof shown), where);
    if (!tc_image_text_name_is_good(word))
        return tc_fail(err, TC_USAGE,
                       "image %s (%s) can be the name of none: expected a PCR0, or 1 to %d of "
                       "a-z, 0-9, '-' and '.', a letter first, not \"host\" and not ending in "
                       ".eif. Name an image with --image, which takes the path of a NAME.eif too, "
                       "or with \"image\" in the build file (those that are here: tee-compile "
                       "image list); or --image host builds with this machine's own toolchain, "
                       "which the report will call unmeasured",
                       tc_printable(tc_span_of_text(word), shown, sizeof shown), where,
                       TC_IMAGE_TEXT_NAME_MAX);
    if (!has_recipe(word))
        return tc_fail(
            err, TC_UNAVAILABLE,
            "image %s (%s) is not on this machine (those that are: tee-compile image list), and "
            "tee-compile has no recipe of that name. Fetch it: tee-compile image pull "
            "https://.../%s.eif; or make it of a recipe of yours: tee-compile image build FOLDER "
            "-o %s.eif; or --image host builds with this machine's own toolchain, which the "
            "report will call unmeasured",
            word, where, word, word);
    return tc_fail(
        err, TC_UNAVAILABLE,
        "image %s (%s) is not on this machine. Make it: tee-compile image build images/%s "
        "-o %s.eif, then: tee-compile image pull %s.eif --pcr0 PCR0; or fetch it: tee-compile "
        "image pull https://.../%s.eif; or --image host builds with this machine's own "
        "toolchain, which the report will call unmeasured",
        word, where, word, word, word, word);
}

static tc_status open_stored(const char *word, const char *where, struct tc_imagefile *ret_file,
                             struct tc_error *err)
{
    TC_AUTO_FREE char *folder = NULL;
    TC_AUTO_IMAGESTORE struct tc_imagestore *store = NULL;
    struct tc_sha384 pcr0;
    bool found = false;
    if (!is_pcr0(word) && !tc_image_text_name_is_good(word)) return fail_missing(word, where, err);
    TC_TRY(tc_imagestore_folder(&folder, err));
    TC_TRY(tc_imagestore_open(folder, &store, err));
    TC_TRY(tc_imagestore_find(store, word, &found, &pcr0, err));
    if (!found) return fail_missing(word, where, err);
    return tc_imagestore_load(store, &pcr0, ret_file, err);
}

enum tc_trust_answer tc_image_ask_trust(const struct tc_trust *trust,
                                        const struct tc_imagefile *image, char *out, size_t size)
{
    const struct tc_trust_question question = {.pcr = image->pcr,
                                               .pcr8 = image->is_signed ? &image->pcr8 : NULL,
                                               .name = image->content.text.name,
                                               .recipe = &image->content.text.recipe};
    return tc_trust_ask(trust, &question, (int64_t)time(NULL), out, size);
}

/* Whoever builds with an image that nobody will accept any more learns it now. That
 * nobody has named it yet is no reason against it: the build may be the first. */
static tc_status check_trust(const struct tc_imagefile *image, struct tc_error *err)
{
    TC_AUTO_TRUST struct tc_trust trust = {0};
    const struct tc_trust_request request = {0};
    char hex[TC_SHA384_HEX], said[TC_ERROR_MAX / 2];
    TC_TRY(tc_load_trust(&request, &trust, err));
    if (tc_image_ask_trust(&trust, image, said, sizeof said) < TC_TRUST_AGAINST) return TC_OK;
    tc_hex((struct tc_span){image->pcr[0].bytes, sizeof image->pcr[0].bytes}, hex);
    return tc_fail(
        err, TC_REFUSED,
        "PCR0 %s: %s; pull or build another image (tee-compile image list has those that "
        "are here)",
        hex, said);
}

/* Without a place for records every build checks anew. */
static tc_status start_check(struct tc_image_choice *choice, struct tc_error *err)
{
    struct tc_error ignored = {0};
    TC_AUTO_FREE char *records = NULL;
    if (tc_cache_folder("checked", &records, &ignored) != TC_OK) records = NULL;
    return tc_imagecheck_start(&choice->file, records, &choice->check, err);
}

tc_status tc_image_choose(const char *option, const struct tc_buildspec *spec,
                          struct tc_image_choice *ret_choice, struct tc_error *err)
{
    const char *word = option ? option : spec->image ? spec->image : spec->language;
    const char *where = option        ? "--image"
                        : spec->image ? "\"image\" of the build file"
                                      : "\"language\" of the build file, which names no \"image\"";
    struct tc_image_choice choice TC_CLEANUP(tc_image_choice_done) = TC_IMAGE_CHOICE_NONE;
    /* A language of that name is no wish for an unmeasured toolchain. */
    choice.host = (option || spec->image) && strcmp(word, "host") == 0;
    if (!choice.host && option && is_path(option))
        TC_TRY(tc_imagefile_open(option, &choice.file, err));
    else if (!choice.host)
        TC_TRY(open_stored(word, where, &choice.file, err));
    if (!choice.host) {
        TC_TRY(check_trust(&choice.file, err));
        TC_TRY(start_check(&choice, err));
    }
    *ret_choice = choice;
    choice = TC_IMAGE_CHOICE_NONE;
    return TC_OK;
}
