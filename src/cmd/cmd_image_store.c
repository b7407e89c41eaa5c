/* tee-compile image list, remove: the images on this machine. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/commands.h"
#include "cmd/print.h"
#include "cmd/trust.h"
#include "host/imagestore.h"

static const char list_usage[] =
    "usage: tee-compile image list [--json]\n"
    "  the images that builds can name: measured now, their file systems not yet read\n";
static const char remove_usage[] = "usage: tee-compile image remove PCR0|NAME [--json]\n"
                                   "  a name stands for the newest image that has it\n";

enum option_code { OPTION_JSON = 1, OPTION_HELP };

struct request {
    bool json, help;
    const char *word;
};

static tc_status parse(int argc, char **argv, int words, struct request *request,
                       struct tc_error *err)
{
    static const struct option options[] = {{"json", no_argument, NULL, OPTION_JSON},
                                            {"help", no_argument, NULL, OPTION_HELP},
                                            {NULL, 0, NULL, 0}};
    int option;
    opterr = 0;
    optind = 0; /* GNU: start anew, whatever main has parsed before */
    while (!request->help && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == '?')
            return tc_fail(err, TC_USAGE, "%s is unknown or ambiguous", argv[optind - 1]);
        *(option == OPTION_JSON ? &request->json : &request->help) = true;
    }
    if (!request->help && argc - optind != words)
        return tc_fail(err, TC_USAGE, "expected %s, got %d words",
                       words == 0 ? "no word" : "a PCR0 or a name", argc - optind);
    request->word = words > 0 && optind < argc ? argv[optind] : NULL;
    return TC_OK;
}

static tc_status open_store(struct tc_imagestore **ret_store, struct tc_error *err)
{
    TC_AUTO_FREE char *folder = NULL;
    TC_TRY(tc_imagestore_folder(&folder, err));
    return tc_imagestore_open(folder, ret_store, err);
}

/* --- list --- */

/* Does a trusted list revoke it? Then out says which, and why. */
static bool is_revoked(const struct tc_trust *trust, const struct tc_stored_image *image, char *out,
                       size_t size)
{
    const struct tc_trust_question question = {.pcr = image->pcr,
                                               .pcr8 = image->is_signed ? &image->pcr8 : NULL,
                                               .name = image->name,
                                               .recipe = &image->recipe};
    return tc_trust_ask(trust, &question, (int64_t)time(NULL), out, size) == TC_TRUST_REVOKED;
}

static void show_image(const struct tc_trust *trust, const struct tc_stored_image *image)
{
    char hex[TC_SHA384_HEX], recipe[TC_SHA256_HEX], size[16], shown[TC_ERROR_MAX];
    tc_hex((struct tc_span){image->pcr0.bytes, sizeof image->pcr0.bytes}, hex);
    if (!image->good) {
        (void)printf("DAMAGED\n  PCR0    %s\n  because %s\n", hex,
                     tc_printable_again(tc_span_of_text(image->problem), shown, sizeof shown));
        return;
    }
    tc_hex((struct tc_span){image->recipe.bytes, sizeof image->recipe.bytes}, recipe);
    (void)printf("%s%s\n  PCR0    %s\n  recipe  %s, %zu packages\n  size    %s%s\n", image->name,
                 image->newest ? "" : " (not the newest: name it by its PCR0)", hex, recipe,
                 image->packages_count, tc_human_size(image->size, size),
                 image->self_contained ? ", self-contained" : "");
    if (is_revoked(trust, image, shown, sizeof shown)) (void)printf("  REVOKED %s\n", shown);
}

static void write_image(struct tc_jsonw *w, const struct tc_trust *trust,
                        const struct tc_stored_image *image)
{
    static const char *const keys[] = {"pcr0", "pcr1", "pcr2"};
    char shown[TC_ERROR_MAX];
    tc_jsonw_object(w, NULL);
    tc_jsonw_bool(w, "good", image->good);
    if (!image->good) {
        tc_jsonw_hex(w, "pcr0", image->pcr0.bytes, sizeof image->pcr0.bytes);
        tc_jsonw_text(w, "problem",
                      tc_printable_again(tc_span_of_text(image->problem), shown, sizeof shown));
        tc_jsonw_end_object(w);
        return;
    }
    tc_jsonw_text(w, "name", image->name);
    tc_jsonw_bool(w, "newest", image->newest);
    for (size_t i = 0; i < 3; i++)
        tc_jsonw_hex(w, keys[i], image->pcr[i].bytes, sizeof image->pcr[i].bytes);
    tc_jsonw_hex(w, "recipe", image->recipe.bytes, sizeof image->recipe.bytes);
    tc_jsonw_u64(w, "packages", image->packages_count);
    tc_jsonw_u64(w, "size", image->size);
    tc_jsonw_bool(w, "self_contained", image->self_contained);
    bool revoked = is_revoked(trust, image, shown, sizeof shown);
    tc_jsonw_bool(w, "revoked", revoked);
    if (revoked) tc_jsonw_text(w, "revocation", shown);
    tc_jsonw_end_object(w);
}

static tc_status show_json(const struct tc_trust *trust, const struct tc_stored_list *list,
                           bool good, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(16384 + list->count * 8 * TC_ERROR_MAX);
    struct tc_jsonw w = tc_jsonw_new(&buf);
    tc_jsonw_object(&w, NULL);
    tc_jsonw_text(&w, "verdict", good ? "done" : "failed");
    tc_jsonw_array(&w, "checks");
    tc_jsonw_end_array(&w);
    tc_jsonw_array(&w, "images");
    for (size_t i = 0; i < list->count; i++)
        write_image(&w, trust, &list->images[i]);
    tc_jsonw_end_array(&w);
    tc_jsonw_end_object(&w);
    TC_TRY(tc_buf_check(&buf, "the list", err));
    return tc_print_buf(stdout, &buf, err);
}

static tc_status list(const struct request *request, bool *ret_good, struct tc_error *err)
{
    TC_AUTO_IMAGESTORE struct tc_imagestore *store = NULL;
    TC_AUTO_STORED struct tc_stored_list images = {0};
    TC_AUTO_TRUST struct tc_trust trust = {0};
    const struct tc_trust_request nothing = {0};
    TC_TRY(tc_load_trust(&nothing, &trust, err));
    TC_TRY(open_store(&store, err));
    TC_TRY(tc_imagestore_list(store, &images, err));
    *ret_good = true;
    for (size_t i = 0; i < images.count; i++)
        *ret_good = *ret_good && images.images[i].good;
    if (request->json) return show_json(&trust, &images, *ret_good, err);
    for (size_t i = 0; i < images.count; i++)
        show_image(&trust, &images.images[i]);
    if (images.count == 0)
        (void)puts("no images yet: tee-compile image build, tee-compile image pull");
    return tc_print_flush(stdout, err);
}

int tc_cmd_image_list(int argc, char **argv)
{
    struct tc_error err = {0};
    struct request request = {0};
    bool good = false;
    tc_status status = parse(argc, argv, 0, &request, &err);
    if (status == TC_OK && request.help)
        return tc_print_usage(stdout, list_usage) ? TC_EXIT_YES : TC_EXIT_UNDECIDED;
    if (status == TC_OK) status = list(&request, &good, &err);
    if (status == TC_OK) return good ? TC_EXIT_YES : TC_EXIT_NO;
    (void)tc_print_failure("image list", &err, tc_wants_json(argc, argv));
    if (status == TC_USAGE) (void)tc_print_usage(stderr, list_usage);
    return (int)tc_exit_of(status);
}

/* --- remove --- */

static tc_status take_off(const struct request *request, struct tc_error *err)
{
    TC_AUTO_IMAGESTORE struct tc_imagestore *store = NULL;
    struct tc_sha384 pcr0;
    char shown[128], hex[TC_SHA384_HEX];
    bool found = false;
    TC_TRY(open_store(&store, err));
    TC_TRY(tc_imagestore_find(store, request->word, &found, &pcr0, err));
    if (!found)
        return tc_fail(err, TC_UNAVAILABLE,
                       "image %s is not on this machine: tee-compile image list",
                       tc_printable(tc_span_of_text(request->word), shown, sizeof shown));
    TC_TRY(tc_imagestore_remove(store, &pcr0, err));
    tc_hex((struct tc_span){pcr0.bytes, sizeof pcr0.bytes}, hex);
    if (!request->json) {
        (void)printf("removed: PCR0 %s\n", hex);
        return tc_print_flush(stdout, err);
    }
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(1024);
    struct tc_jsonw w = tc_jsonw_new(&buf);
    tc_jsonw_object(&w, NULL);
    tc_jsonw_text(&w, "verdict", "done");
    tc_jsonw_array(&w, "checks");
    tc_jsonw_end_array(&w);
    tc_jsonw_text(&w, "pcr0", hex);
    tc_jsonw_end_object(&w);
    TC_TRY(tc_buf_check(&buf, "the result", err));
    return tc_print_buf(stdout, &buf, err);
}

int tc_cmd_image_remove(int argc, char **argv)
{
    struct tc_error err = {0};
    struct request request = {0};
    tc_status status = parse(argc, argv, 1, &request, &err);
    if (status == TC_OK && request.help)
        return tc_print_usage(stdout, remove_usage) ? TC_EXIT_YES : TC_EXIT_UNDECIDED;
    if (status == TC_OK) status = take_off(&request, &err);
    if (status == TC_OK) return TC_EXIT_YES;
    (void)tc_print_failure("image remove", &err, tc_wants_json(argc, argv));
    if (status == TC_USAGE) (void)tc_print_usage(stderr, remove_usage);
    return (int)tc_exit_of(status);
}
