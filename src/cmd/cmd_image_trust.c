/* tee-compile image trust: whom and what the user trusts to be an image. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/commands.h"
#include "cmd/image_sign.h"
#include "cmd/print.h"
#include "cmd/trust.h"
#include "core/jsonw.h"

static const char usage[] =
    "usage: tee-compile image trust add --key PEM\n"
    "       tee-compile image trust add --pcr0 HEX --name NAME [--image-version V] [--recipe HEX]\n"
    "       tee-compile image trust remove ID|PCR0|NAME\n"
    "       tee-compile image trust list [--json]\n"
    "       tee-compile image trust update [--min-list-version N] FILE\n"
    "       tee-compile image trust sign --key PEM... DRAFT.json --output FILE\n\n"
    "  add --key          a signer of lists: public key (ed25519, P-256, P-384) or the\n"
    "                     certificate that images are signed with\n"
    "  add --pcr0         one image, by your own word: you rebuilt it and compared PCR0\n"
    "  remove             a signer and its list, or one image of your own\n"
    "  update             takes a signed list: by a trusted signer, never an older one\n"
    "  sign               makes a signed list; --key is a private key here\n";

struct arguments {
    const char *keys[TC_DSSE_SIGNATURES_MAX];
    size_t keys_count;
    const char *pcr0, *name, *version, *recipe, *output, *min_version;
    bool json, help;
    const char *operand; /* the one word that is no option */
};

enum option_code {
    OPTION_KEY = 1,
    OPTION_PCR0,
    OPTION_NAME,
    OPTION_IMAGE_VERSION,
    OPTION_RECIPE,
    OPTION_MIN_LIST_VERSION,
    OPTION_JSON,
    OPTION_HELP,
    OPTION_OUTPUT = 'o',
};

static const struct option options[] = {
    {"key", required_argument, NULL, OPTION_KEY},
    {"pcr0", required_argument, NULL, OPTION_PCR0},
    {"name", required_argument, NULL, OPTION_NAME},
    {"image-version", required_argument, NULL, OPTION_IMAGE_VERSION},
    {"recipe", required_argument, NULL, OPTION_RECIPE},
    {"min-list-version", required_argument, NULL, OPTION_MIN_LIST_VERSION},
    {"json", no_argument, NULL, OPTION_JSON},
    {"output", required_argument, NULL, OPTION_OUTPUT},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static tc_status take_option(struct arguments *arguments, int option, const char *word,
                             struct tc_error *err)
{
    switch (option) {
    case OPTION_KEY:
        if (arguments->keys_count == TC_DSSE_SIGNATURES_MAX)
            return tc_fail(err, TC_USAGE, "--key can be given at most %d times",
                           TC_DSSE_SIGNATURES_MAX);
        arguments->keys[arguments->keys_count++] = optarg;
        return TC_OK;
    case OPTION_PCR0: arguments->pcr0 = optarg; return TC_OK;
    case OPTION_NAME: arguments->name = optarg; return TC_OK;
    case OPTION_IMAGE_VERSION: arguments->version = optarg; return TC_OK;
    case OPTION_RECIPE: arguments->recipe = optarg; return TC_OK;
    case OPTION_MIN_LIST_VERSION: arguments->min_version = optarg; return TC_OK;
    case OPTION_OUTPUT: arguments->output = optarg; return TC_OK;
    case OPTION_JSON: arguments->json = true; return TC_OK;
    case OPTION_HELP: arguments->help = true; return TC_OK;
    default:
        return tc_fail(err, TC_USAGE, "%s is unknown, ambiguous or lacks its value", word);
    }
}

static tc_status parse(int argc, char **argv, struct arguments *arguments, struct tc_error *err)
{
    int option;
    opterr = 0;
    optind = 0; /* GNU: start anew, whatever main has parsed before */
    while (!arguments->help && (option = getopt_long(argc, argv, "o:", options, NULL)) != -1)
        TC_TRY(take_option(arguments, option, argv[optind - 1], err));
    if (arguments->help) return TC_OK;
    if (argc - optind > 1)
        return tc_fail(err, TC_USAGE, "expected at most one word that is no option, got %d",
                       argc - optind);
    arguments->operand = optind < argc ? argv[optind] : NULL;
    return TC_OK;
}

/* --- add --- */

static tc_status read_image(const struct arguments *arguments, struct tc_own_image *image,
                            struct tc_error *err)
{
    if (!tc_unhex(arguments->pcr0, image->pcr0.bytes, sizeof image->pcr0.bytes))
        return tc_fail(err, TC_USAGE, "--pcr0 must be 96 hex digits");
    if (!arguments->name || !tc_image_name_is_good(arguments->name))
        return tc_fail(err, TC_USAGE,
                       "--name must say what build.json calls the image: 1 to %d letters, digits "
                       "and any of . _ + # -",
                       TC_IMAGE_NAME_MAX);
    memcpy(image->name, arguments->name, strlen(arguments->name) + 1);
    if (arguments->version) {
        if (!tc_image_name_is_good(arguments->version))
            return tc_fail(err, TC_USAGE, "--image-version must be a word as --name is");
        memcpy(image->version, arguments->version, strlen(arguments->version) + 1);
    }
    image->has_recipe = arguments->recipe != NULL;
    if (arguments->recipe &&
        !tc_unhex(arguments->recipe, image->recipe.bytes, sizeof image->recipe.bytes))
        return tc_fail(err, TC_USAGE, "--recipe must be a SHA-256 of 64 hex digits");
    return TC_OK;
}

static tc_status add_key(struct tc_truststore *store, const char *path, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf pem = {0};
    char id[TC_SHA256_HEX];
    TC_TRY(tc_read_signer_file(path, &pem, err));
    TC_TRY(tc_truststore_add_signer(store, tc_buf_span(&pem), path, id, err));
    (void)printf("trusted: lists by %s\n", id);
    return TC_OK;
}

static tc_status run_add(const struct arguments *arguments, struct tc_error *err)
{
    TC_AUTO_TRUSTSTORE struct tc_truststore *store = NULL;
    struct tc_own_image image = {0};
    bool own = arguments->pcr0 || arguments->name || arguments->version || arguments->recipe;
    if (arguments->operand || arguments->keys_count > 1 || own == (arguments->keys_count == 1) ||
        (own && !arguments->pcr0))
        return tc_fail(err, TC_USAGE, "add takes --key PEM, or --pcr0 HEX with --name NAME");
    TC_TRY(tc_open_trust(&store, err));
    if (!own) return add_key(store, arguments->keys[0], err);
    TC_TRY(read_image(arguments, &image, err));
    TC_TRY(tc_truststore_add_image(store, &image, err));
    (void)printf("trusted: the image %s%s%s, by your own word\n", image.name,
                 *image.version ? " " : "", image.version);
    return TC_OK;
}

static tc_status run_remove(const struct arguments *arguments, struct tc_error *err)
{
    TC_AUTO_TRUSTSTORE struct tc_truststore *store = NULL;
    char shown[128];
    if (!arguments->operand)
        return tc_fail(err, TC_USAGE, "remove takes a signer's id, a PCR0 or an image's name");
    TC_TRY(tc_open_trust(&store, err));
    TC_TRY(tc_truststore_remove(store, arguments->operand, err));
    (void)printf("no longer trusted: %s\n",
                 tc_printable(tc_span_of_text(arguments->operand), shown, sizeof shown));
    return TC_OK;
}

static tc_status run_update(const struct arguments *arguments, struct tc_error *err)
{
    TC_AUTO_TRUSTSTORE struct tc_truststore *store = NULL;
    TC_AUTO_BUF struct tc_buf list = {0};
    struct tc_list_update update;
    uint64_t least = 0;
    if (!arguments->operand) return tc_fail(err, TC_USAGE, "update takes a signed list");
    if (arguments->min_version && !tc_parse_list_version(arguments->min_version, &least))
        return tc_fail(err, TC_USAGE, "--min-list-version must be a whole number from 1");
    TC_TRY(tc_read_list_file(arguments->operand, &list, err));
    TC_TRY(tc_open_trust(&store, err));
    TC_TRY(tc_truststore_update(store, tc_buf_span(&list), arguments->operand, least, &update,
                                err));
    (void)printf("%s: the list of %s, sequence %llu, %zu images\n",
                 update.changed ? "taken" : "was there", update.signer,
                 (unsigned long long)update.sequence, update.images);
    return TC_OK;
}

static tc_status run_sign(const struct arguments *arguments, struct tc_error *err)
{
    struct tc_sign_result result;
    struct tc_sign_request request = {.keys_count = arguments->keys_count,
                                      .draft = arguments->operand,
                                      .output = arguments->output};
    if (!arguments->operand || !arguments->output || arguments->keys_count == 0)
        return tc_fail(err, TC_USAGE, "sign takes --key PEM, a draft and --output FILE");
    memcpy(request.keys, arguments->keys, sizeof request.keys);
    TC_TRY(tc_sign_images(&request, &result, err));
    (void)printf("signed: sequence %llu, %zu images\n", (unsigned long long)result.sequence,
                 result.images);
    for (size_t i = 0; i < request.keys_count; i++)
        (void)printf("  by %s\n", result.ids[i]);
    return TC_OK;
}

/* --- list --- */

static void write_time(struct tc_jsonw *w, const char *key, int64_t seconds)
{
    char text[TC_TIME_TEXT_SIZE];
    tc_format_time(seconds, text);
    tc_jsonw_text(w, key, text);
}

static const char *state_of(const struct tc_image *image, int64_t now)
{
    return image->revoked            ? "revoked"
           : now < image->valid_from  ? "not yet valid"
           : now > image->valid_until ? "expired"
                                      : "valid";
}

static void write_image(struct tc_jsonw *w, const struct tc_image *image, int64_t now)
{
    tc_jsonw_object(w, NULL);
    tc_jsonw_text(w, "name", image->name);
    tc_jsonw_text(w, "version", image->version);
    tc_jsonw_text(w, "architecture", image->architecture);
    tc_jsonw_hex(w, "pcr0", image->pcr[0].bytes, TC_SHA384_SIZE);
    tc_jsonw_hex(w, "recipe", image->recipe.bytes, sizeof image->recipe.bytes);
    write_time(w, "valid_from", image->valid_from);
    write_time(w, "valid_until", image->valid_until);
    tc_jsonw_text(w, "state", state_of(image, now));
    if (image->revoked) {
        tc_jsonw_text(w, "reason", image->reason);
        if (!image->revoked_for_all) write_time(w, "revoked_from", image->revoked_from);
    }
    tc_jsonw_end_object(w);
}

static void write_signer(struct tc_jsonw *w, const struct tc_known_signer *known, int64_t now)
{
    tc_jsonw_object(w, NULL);
    tc_jsonw_text(w, "id", known->signer.id);
    tc_jsonw_text(w, "kind", tc_key_kind_name(known->signer.kind));
    tc_jsonw_bool(w, "project", known->builtin);
    if (known->signer.by_certificate)
        tc_jsonw_hex(w, "pcr8", known->signer.pcr8.bytes, TC_SHA384_SIZE);
    if (known->has_list) {
        tc_jsonw_object(w, "list");
        tc_jsonw_u64(w, "sequence", known->list.sequence);
        write_time(w, "issued", known->list.issued);
        write_time(w, "next_update", known->list.next_update);
        tc_jsonw_bool(w, "stale", now > known->list.next_update);
        tc_jsonw_array(w, "images");
        for (size_t i = 0; i < known->list.images_count; i++)
            write_image(w, &known->list.images[i], now);
        tc_jsonw_end_array(w);
        tc_jsonw_end_object(w);
    }
    tc_jsonw_end_object(w);
}

static tc_status print_json(const struct tc_known *known, int64_t now, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new((size_t)TC_TRUST_SIGNERS_MAX * TC_IMAGELIST_MAX);
    struct tc_jsonw w = tc_jsonw_new(&buf);
    tc_jsonw_object(&w, NULL);
    tc_jsonw_text(&w, "verdict", "done");
    tc_jsonw_array(&w, "checks");
    tc_jsonw_end_array(&w);
    tc_jsonw_array(&w, "signers");
    for (size_t i = 0; i < known->signers_count; i++)
        write_signer(&w, &known->signers[i], now);
    tc_jsonw_end_array(&w);
    tc_jsonw_array(&w, "own");
    for (size_t i = 0; i < known->own_count; i++) {
        const struct tc_own_image *image = &known->own[i];
        tc_jsonw_object(&w, NULL);
        tc_jsonw_text(&w, "name", image->name);
        if (*image->version) tc_jsonw_text(&w, "version", image->version);
        tc_jsonw_hex(&w, "pcr0", image->pcr0.bytes, TC_SHA384_SIZE);
        if (image->has_recipe)
            tc_jsonw_hex(&w, "recipe", image->recipe.bytes, sizeof image->recipe.bytes);
        tc_jsonw_end_object(&w);
    }
    tc_jsonw_end_array(&w);
    tc_jsonw_end_object(&w);
    TC_TRY(tc_buf_check(&buf, "the list", err));
    return tc_print_buf(stdout, &buf, err);
}

static void print_pcr0(const char *name, const char *version, const struct tc_sha384 *pcr0,
                       const char *state)
{
    char hex[TC_SHA384_HEX];
    tc_hex((struct tc_span){pcr0->bytes, TC_SHA384_SIZE}, hex);
    (void)printf("  %s %s%s%s\n    PCR0 %s\n", name, version, *state ? ", " : "", state, hex);
}

static void print_list(const struct tc_known_signer *known, int64_t now)
{
    char due[TC_TIME_TEXT_SIZE];
    tc_format_time(known->list.next_update, due);
    (void)printf("  sequence %llu, %zu images, next by %s%s\n",
                 (unsigned long long)known->list.sequence, known->list.images_count, due,
                 now > known->list.next_update ? " (STALE)" : "");
    for (size_t i = 0; i < known->list.images_count; i++) {
        const struct tc_image *image = &known->list.images[i];
        print_pcr0(image->name, image->version, &image->pcr[0], state_of(image, now));
        if (image->revoked) tc_print_field(stdout, "  because", image->reason);
    }
}

static tc_status run_list(const struct arguments *arguments, struct tc_error *err)
{
    TC_AUTO_TRUSTSTORE struct tc_truststore *store = NULL;
    TC_AUTO_KNOWN struct tc_known *known = NULL;
    int64_t now = (int64_t)time(NULL);
    if (arguments->operand) return tc_fail(err, TC_USAGE, "list takes no word");
    TC_TRY(tc_open_trust(&store, err));
    TC_TRY(tc_truststore_read(store, &known, err));
    if (arguments->json) return print_json(known, now, err);
    for (size_t i = 0; i < known->signers_count; i++) {
        const struct tc_known_signer *one = &known->signers[i];
        (void)printf("signer %s (%s%s%s)\n", one->signer.id, tc_key_kind_name(one->signer.kind),
                     one->signer.by_certificate ? ", a certificate: for its PCR8 alone" : "",
                     one->builtin ? ", this project's" : "");
        if (one->has_list)
            print_list(one, now);
        else
            (void)puts("  no list yet: tee-compile image trust update FILE");
    }
    (void)printf("your own word: %zu images\n", known->own_count);
    for (size_t i = 0; i < known->own_count; i++)
        print_pcr0(known->own[i].name, known->own[i].version, &known->own[i].pcr0, "");
    return TC_OK;
}

/* --- */

static const struct {
    const char *name;
    tc_status (*run)(const struct arguments *arguments, struct tc_error *err);
    const char *takes; /* the options that mean something there, each ended by ';' */
} commands[] = {
    {"add", run_add, "key;pcr0;name;image-version;recipe;"},
    {"remove", run_remove, ""},
    {"list", run_list, "json;"},
    {"update", run_update, "min-list-version;"},
    {"sign", run_sign, "key;output;"},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

/* An option that would be ignored is one that somebody relied on. */
static tc_status check_options(const struct arguments *a, size_t command, struct tc_error *err)
{
    const struct {
        const char *name;
        bool given;
    } given[] = {{"key", a->keys_count > 0},   {"pcr0", a->pcr0 != NULL},
                 {"name", a->name != NULL},    {"image-version", a->version != NULL},
                 {"recipe", a->recipe != NULL}, {"min-list-version", a->min_version != NULL},
                 {"json", a->json},            {"output", a->output != NULL}};
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        char wanted[32];
        (void)snprintf(wanted, sizeof wanted, "%s;", given[i].name);
        if (given[i].given && !strstr(commands[command].takes, wanted))
            return tc_fail(err, TC_USAGE, "%s takes no --%s", commands[command].name,
                           given[i].name);
    }
    return TC_OK;
}

static tc_status run(int argc, char **argv, bool *ret_help, struct tc_error *err)
{
    struct arguments arguments = {0};
    const char *names[COMMANDS + 1] = {0}, *name = argc > 1 ? argv[1] : "";
    size_t command = 0;
    *ret_help = strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0;
    if (*ret_help) return TC_OK;
    for (size_t i = 0; i < COMMANDS; i++)
        names[i] = commands[i].name;
    while (command < COMMANDS && strcmp(name, names[command]) != 0)
        command++;
    if (command == COMMANDS) {
        char shown[128];
        const char *nearest = tc_nearest_word(name, names);
        (void)tc_printable(tc_span_of_text(name), shown, sizeof shown);
        return tc_fail(err, TC_USAGE, "expected add, remove, list, update or sign, got \"%s\"%s%s%s",
                       shown, nearest ? " (did you mean " : "", nearest ? nearest : "",
                       nearest ? "?)" : "");
    }
    TC_TRY(parse(argc - 1, argv + 1, &arguments, err));
    *ret_help = arguments.help;
    if (arguments.help) return TC_OK;
    TC_TRY(check_options(&arguments, command, err));
    TC_TRY(commands[command].run(&arguments, err));
    return tc_print_flush(stdout, err);
}

int tc_cmd_image_trust(int argc, char **argv)
{
    struct tc_error err = {0};
    bool help = false;
    tc_status status = run(argc, argv, &help, &err);
    if (status == TC_OK && help)
        return tc_print_usage(stdout, usage) ? TC_EXIT_YES : TC_EXIT_UNDECIDED;
    if (status == TC_OK) return TC_EXIT_YES;
    tc_print_error("image trust", &err);
    if (status == TC_USAGE) (void)fputs("see tee-compile image trust --help\n", stderr);
    return status == TC_REFUSED ? TC_EXIT_NO : TC_EXIT_UNDECIDED;
}
