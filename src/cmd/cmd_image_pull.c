/* tee-compile image pull: takes an image into the store, from a URL or a path.
 *
 *   EIF fetched -> measured, compared with its own text -> its PCR0 is the one asked
 *   for, or one that is trusted -> file system fetched, its tree computed -> list of
 *   contents fetched, if there is one -> named
 *
 * Nothing has a name before all of this has passed. What is fetched is written into
 * a folder of the store that goes away on failure and on a signal. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/commands.h"
#include "cmd/image_choice.h"
#include "cmd/print.h"
#include "cmd/trust.h"
#include "host/fetch.h"
#include "host/imagestore.h"
#include "os/files.h"

static const char usage[] =
    "usage: tee-compile image pull URL|FILE [--pcr0 HEX] [--json]\n"
    "  URL|FILE     https: or file: URL, or path, of an .eif; its .erofs and .spdx.json are\n"
    "               taken from beside it\n"
    "  --pcr0 HEX   the image must have this PCR0; without it, one that a trusted list or\n"
    "               your own word names (tee-compile image trust)\n";

enum {
    PIECE = 1 << 16,
    SBOM_MAX = 64 << 20,
};
static const uint64_t eif_max = UINT64_C(16) << 30;

enum option_code { OPTION_PCR0 = 1, OPTION_JSON, OPTION_HELP };

struct pull {
    const char *source, *pcr0;
    bool json, help;
    char said[TC_ERROR_MAX]; /* who names the image */
    bool had_name;           /* stood for another image, or this one, before */
    struct tc_sha384 before;
};

static tc_status parse(int argc, char **argv, struct pull *pull, struct tc_error *err)
{
    static const struct option options[] = {{"pcr0", required_argument, NULL, OPTION_PCR0},
                                            {"json", no_argument, NULL, OPTION_JSON},
                                            {"help", no_argument, NULL, OPTION_HELP},
                                            {NULL, 0, NULL, 0}};
    int option;
    opterr = 0;
    optind = 0; /* GNU: start anew, whatever main has parsed before */
    while (!pull->help && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == OPTION_PCR0 && pull->pcr0)
            return tc_fail(err, TC_USAGE, "--pcr0 is given twice: an image has one");
        if (option == OPTION_PCR0)
            pull->pcr0 = optarg;
        else if (option == OPTION_JSON)
            pull->json = true;
        else if (option == OPTION_HELP)
            pull->help = true;
        else
            return tc_fail(err, TC_USAGE, "%s is unknown, ambiguous or lacks its value",
                           argv[optind - 1]);
    }
    if (pull->help) return TC_OK;
    if (argc - optind != 1)
        return tc_fail(err, TC_USAGE, "expected one URL or path, got %d", argc - optind);
    pull->source = argv[optind];
    struct tc_sha384 value;
    if (pull->pcr0 && !tc_unhex(pull->pcr0, value.bytes, sizeof value.bytes))
        return tc_fail(err, TC_USAGE, "--pcr0 must be %d hex digits", TC_SHA384_HEX - 1);
    return TC_OK;
}

/* --- signals: blocked while there is something to take back, and looked for --- */

static sigset_t interrupts(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGHUP);
    return set;
}

static tc_status go_on(struct tc_error *err)
{
    sigset_t pending;
    if (sigpending(&pending) == 0 &&
        (sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGTERM) == 1 ||
         sigismember(&pending, SIGHUP) == 1))
        return tc_fail(err, TC_INTERRUPTED, "interrupted");
    return TC_OK;
}

/* --- fetching --- */

static tc_status on_progress(void *context, uint64_t done, uint64_t total, struct tc_error *err)
{
    (void)context;
    (void)done;
    (void)total;
    return go_on(err);
}

static tc_status copy_file(const char *path, uint64_t max, int to, struct tc_error *err)
{
    uint8_t piece[PIECE];
    TC_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat info;
    if (fd < 0 || fstat(fd, &info) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open %s", path);
    if (!S_ISREG(info.st_mode)) return tc_fail(err, TC_USAGE, "%s is no regular file", path);
    for (uint64_t done = 0;;) {
        ssize_t got = read(fd, piece, sizeof piece);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read %s", path);
        if (got == 0) return TC_OK;
        done += (uint64_t)got;
        if (done > max)
            return tc_fail(err, TC_LIMIT,
                           "%s is larger than the %llu bytes that are expected at most", path,
                           (unsigned long long)max);
        TC_TRY(go_on(err));
        TC_TRY(tc_write_all(to, (struct tc_span){piece, (size_t)got}, "a copy in the image store",
                            err));
    }
}

static tc_status fetch(const char *source, uint64_t max, struct tc_imagestage *stage,
                       enum tc_imagestage_part part, struct tc_error *err)
{
    int fd;
    TC_TRY(tc_imagestage_file(stage, part, &fd, err));
    if (!strstr(source, "://")) return copy_file(source, max, fd, err);
    struct tc_fetch request = {.url = source, .max_size = max, .on_progress = on_progress};
    return tc_fetch_to(&request, fd, NULL, NULL, err);
}

/* --- judging --- */

static tc_status check_pcr0(struct pull *pull, const struct tc_imagefile *image,
                            struct tc_error *err)
{
    TC_AUTO_TRUST struct tc_trust trust = {0};
    const struct tc_trust_request request = {0};
    struct tc_sha384 wanted = {{0}};
    char hex[TC_SHA384_HEX];
    tc_hex((struct tc_span){image->pcr[0].bytes, sizeof image->pcr[0].bytes}, hex);
    if (pull->pcr0 && (!tc_unhex(pull->pcr0, wanted.bytes, sizeof wanted.bytes) ||
                       memcmp(wanted.bytes, image->pcr[0].bytes, sizeof wanted.bytes) != 0))
        return tc_fail(err, TC_REFUSED, "expected PCR0 %s, saw %s: this is another image",
                       pull->pcr0, hex);
    TC_TRY(tc_load_trust(&request, &trust, err));
    enum tc_trust_answer answer = tc_image_ask_trust(&trust, image, pull->said, sizeof pull->said);
    if (answer >= TC_TRUST_AGAINST) return tc_fail(err, TC_REFUSED, "PCR0 %s: %s", hex, pull->said);
    if (answer == TC_TRUST_UNKNOWN && !pull->pcr0)
        return tc_fail(
            err, TC_REFUSED,
            "PCR0 %s: %s. Compare it with the one that the recipe gives you, or that you were "
            "told by another way; then: --pcr0 %s",
            hex, pull->said, hex);
    if (answer == TC_TRUST_UNKNOWN)
        (void)snprintf(pull->said, sizeof pull->said, "the PCR0 given with --pcr0");
    return TC_OK;
}

/* Without a list of contents an image is as good; it only says less of itself. */
static tc_status fetch_sbom(const char *source, struct tc_imagestage *stage, struct tc_error *err)
{
    struct tc_error problem = {0};
    tc_status status = fetch(source, SBOM_MAX, stage, TC_IMAGESTAGE_SBOM, &problem);
    if (status == TC_UNAVAILABLE) {
        (void)fprintf(stderr, "tee-compile image pull: no list of contents beside the image: %s\n",
                      problem.message);
        return tc_imagestage_drop(stage, TC_IMAGESTAGE_SBOM, err);
    }
    if (status != TC_OK) *err = problem;
    return status;
}

/* A trusted list names older images too, until they expire: who serves one can move
 * the name back to it, which only the user can see. */
static void say_move(const struct pull *pull, const char *name, const struct tc_sha384 *to)
{
    char before[TC_SHA384_HEX], after[TC_SHA384_HEX];
    if (!pull->had_name || memcmp(pull->before.bytes, to->bytes, sizeof to->bytes) == 0) return;
    tc_hex((struct tc_span){pull->before.bytes, sizeof pull->before.bytes}, before);
    tc_hex((struct tc_span){to->bytes, sizeof to->bytes}, after);
    (void)fprintf(stderr,
                  "tee-compile image pull: the name %s stood for PCR0 %s and now stands for PCR0 "
                  "%s\n",
                  name, before, after);
}

/* As good as ever for the local back end; the hardware does not start it. */
static void say_expired(const struct tc_imagefile *image)
{
    char until[TC_TIME_TEXT_SIZE];
    if (!image->is_signed || (int64_t)time(NULL) <= image->signature_until) return;
    tc_format_time(image->signature_until, until);
    (void)fprintf(stderr,
                  "tee-compile image pull: warning: the signing certificate has expired (%s): no "
                  "enclave starts with this image; tee-compile image sign --replace\n",
                  until);
}

static tc_status take_in(struct pull *pull, struct tc_imagestore *store,
                         struct tc_imagefile *ret_image, struct tc_error *err)
{
    TC_AUTO_FREE char *root = NULL, *sbom = NULL;
    TC_AUTO_IMAGESTAGE struct tc_imagestage *stage = NULL;
    TC_AUTO_IMAGEFILE struct tc_imagefile image = TC_IMAGEFILE_NONE;
    TC_TRY(tc_imagefile_beside(pull->source, ".erofs", &root, err));
    TC_TRY(tc_imagefile_beside(pull->source, ".spdx.json", &sbom, err));
    TC_TRY(tc_imagestage_open(store, &stage, err));
    TC_TRY(fetch(pull->source, eif_max, stage, TC_IMAGESTAGE_EIF, err));
    TC_TRY(tc_imagestage_read(stage, pull->source, &image, err));
    TC_TRY(check_pcr0(pull, &image, err));
    if (!image.content.self_contained) {
        if (fetch(root, tc_imagefile_root_file_size(&image), stage, TC_IMAGESTAGE_ROOT, err) !=
            TC_OK)
            return tc_wrap(err, "the image's file system, which belongs beside %s", pull->source);
        TC_TRY(tc_imagestage_add_root(stage, root, &image, err));
    }
    TC_TRY(fetch_sbom(sbom, stage, err));
    TC_TRY(go_on(err));
    struct tc_error ignored = {0}; /* a name that cannot be read is replaced */
    if (tc_imagestore_find(store, image.content.text.name, &pull->had_name, &pull->before,
                           &ignored) != TC_OK)
        pull->had_name = false;
    TC_TRY(tc_imagestage_commit(stage, &image, err));
    say_expired(&image);
    say_move(pull, image.content.text.name, &image.pcr[0]);
    *ret_image = image;
    image = TC_IMAGEFILE_NONE;
    return TC_OK;
}

/* --- the result --- */

static tc_status show(const struct pull *pull, const struct tc_imagefile *image,
                      struct tc_error *err)
{
    static const char *const keys[] = {"pcr0", "pcr1", "pcr2"};
    const struct tc_image_text *text = &image->content.text;
    char hex[TC_SHA384_HEX];
    tc_hex((struct tc_span){image->pcr[0].bytes, sizeof image->pcr[0].bytes}, hex);
    if (!pull->json) {
        (void)printf("stored: %s, PCR0 %s\n  named by %s\n  use it: tee-compile build --image %s\n",
                     text->name, hex, pull->said, text->name);
        return tc_print_flush(stdout, err);
    }
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(16384);
    struct tc_jsonw w = tc_jsonw_new(&buf);
    tc_jsonw_object(&w, NULL);
    tc_jsonw_text(&w, "verdict", "done");
    tc_jsonw_array(&w, "checks");
    tc_jsonw_object(&w, NULL);
    tc_jsonw_text(&w, "name", "pcr0");
    tc_jsonw_text(&w, "result", "pass");
    tc_jsonw_text(&w, "expected", pull->pcr0 ? pull->pcr0 : "a trusted image");
    tc_jsonw_text(&w, "seen", pull->pcr0 ? hex : pull->said);
    tc_jsonw_end_object(&w);
    tc_jsonw_end_array(&w);
    tc_jsonw_text(&w, "name", text->name);
    for (size_t i = 0; i < 3; i++)
        tc_jsonw_hex(&w, keys[i], image->pcr[i].bytes, sizeof image->pcr[i].bytes);
    tc_jsonw_hex(&w, "recipe", text->recipe.bytes, sizeof text->recipe.bytes);
    tc_jsonw_bool(&w, "self_contained", image->content.self_contained);
    tc_jsonw_end_object(&w);
    TC_TRY(tc_buf_check(&buf, "the result", err));
    return tc_print_buf(stdout, &buf, err);
}

static tc_status run(struct pull *pull, struct tc_error *err)
{
    TC_AUTO_FREE char *folder = NULL;
    TC_AUTO_IMAGESTORE struct tc_imagestore *store = NULL;
    TC_AUTO_IMAGEFILE struct tc_imagefile image = TC_IMAGEFILE_NONE;
    sigset_t set = interrupts(), before;
    TC_TRY(tc_imagestore_folder(&folder, err));
    TC_TRY(tc_imagestore_open(folder, &store, err));
    if (sigprocmask(SIG_BLOCK, &set, &before) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot block signals");
    tc_status status = take_in(pull, store, &image, err);
    (void)sigprocmask(SIG_SETMASK, &before, NULL); /* a signal that was heeded ends it here */
    /* What the bytes themselves answer is a no. */
    if (status == TC_MALFORMED) err->status = status = TC_REFUSED;
    TC_TRY(status);
    return show(pull, &image, err);
}

int tc_cmd_image_pull(int argc, char **argv)
{
    struct tc_error err = {0};
    struct pull pull = {0};
    tc_status status = parse(argc, argv, &pull, &err);
    if (status == TC_OK && pull.help)
        return tc_print_usage(stdout, usage) ? TC_EXIT_YES : TC_EXIT_UNDECIDED;
    if (status == TC_OK) status = run(&pull, &err);
    if (status == TC_OK) return TC_EXIT_YES;
    (void)tc_print_failure("image pull", &err, tc_wants_json(argc, argv));
    if (status == TC_USAGE) (void)tc_print_usage(stderr, usage);
    return (int)tc_exit_of(status);
}
