/* tee-compile image build: an image from a recipe. 1: a step failed, 2: it could not
 * be tried. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/commands.h"
#include "cmd/image_show.h"
#include "cmd/interrupts.h"
#include "cmd/print.h"
#include "host/imagebuild.h"

enum option_code {
    OPTION_SOURCE = 1,
    OPTION_ROOTFS,
    OPTION_SELF_CONTAINED,
    OPTION_KERNEL,
    OPTION_JOBS,
    OPTION_MIRROR,
    OPTION_SNAPSHOT,
    OPTION_JSON,
    OPTION_HELP,
};
enum { JOBS_MAX = 1024 };

static const char usage[] =
    "usage: tee-compile image build FOLDER|--rootfs PATH -o NAME.eif [option]...\n"
    "  builds NAME.eif, NAME.erofs and NAME.spdx.json from recipe.json and lock.json in FOLDER\n"
    "  -o, --output FILE   the image\n"
    "  --rootfs PATH       a folder, tar file or OCI archive in place of a recipe\n"
    "  --self-contained    the toolchain's file system is inside the image; no NAME.erofs\n"
    "  --kernel BZIMAGE    this kernel instead of the project's own\n"
    "  --source FOLDER     tee-compile's source, the worker's; by default above the recipe\n"
    "  --mirror URL        Debian's archive for packages that are not in the cache\n"
    "  --snapshot URL      an archive of its past states, for those that it dropped\n"
    "  --jobs N            compile with N processes; changes no byte of the image\n"
    "  --json              one JSON object on stdout\n";

struct request {
    struct tc_image_build build;
    bool json, help;
};

static tc_status parse_jobs(const char *text, unsigned *ret_jobs, struct tc_error *err)
{
    char *end;
    unsigned long jobs = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || jobs == 0 || jobs > JOBS_MAX)
        return tc_fail(err, TC_USAGE, "--jobs takes a number from 1 to %d", JOBS_MAX);
    *ret_jobs = (unsigned)jobs;
    return TC_OK;
}

static tc_status take_option(struct request *request, int option, const char *word,
                             struct tc_error *err)
{
    switch (option) {
    case 'o': request->build.output = optarg; return TC_OK;
    case OPTION_SOURCE: request->build.source = optarg; return TC_OK;
    case OPTION_ROOTFS: request->build.rootfs = optarg; return TC_OK;
    case OPTION_SELF_CONTAINED: request->build.self_contained = true; return TC_OK;
    case OPTION_KERNEL: request->build.kernel = optarg; return TC_OK;
    case OPTION_JOBS: return parse_jobs(optarg, &request->build.jobs, err);
    case OPTION_MIRROR: request->build.mirror = optarg; return TC_OK;
    case OPTION_SNAPSHOT: request->build.snapshot = optarg; return TC_OK;
    case OPTION_JSON: request->json = true; return TC_OK;
    case OPTION_HELP: request->help = true; return TC_OK;
    default: return tc_fail(err, TC_USAGE, "%s is unknown, ambiguous or lacks its value", word);
    }
}

static tc_status parse(int argc, char **argv, struct request *request, struct tc_error *err)
{
    static const struct option options[] = {
        {"output", required_argument, NULL, 'o'},
        {"source", required_argument, NULL, OPTION_SOURCE},
        {"rootfs", required_argument, NULL, OPTION_ROOTFS},
        {"self-contained", no_argument, NULL, OPTION_SELF_CONTAINED},
        {"kernel", required_argument, NULL, OPTION_KERNEL},
        {"jobs", required_argument, NULL, OPTION_JOBS},
        {"mirror", required_argument, NULL, OPTION_MIRROR},
        {"snapshot", required_argument, NULL, OPTION_SNAPSHOT},
        {"json", no_argument, NULL, OPTION_JSON},
        {"help", no_argument, NULL, OPTION_HELP},
        {NULL, 0, NULL, 0}};
    int option;
    opterr = 0;
    optind = 0; /* GNU: start anew, whatever main has parsed before */
    while ((option = getopt_long(argc, argv, "o:", options, NULL)) != -1)
        TC_TRY(take_option(request, option, argv[optind - 1], err));
    if (request->help) return TC_OK;
    if (argc - optind != (request->build.rootfs ? 0 : 1))
        return tc_fail(err, TC_USAGE, "expected one recipe's folder or --rootfs, got %d folders%s",
                       argc - optind, request->build.rootfs ? " and --rootfs" : "");
    if (!request->build.rootfs) request->build.recipe = argv[optind];
    return request->build.output ? TC_OK : tc_fail(err, TC_USAGE, "--output is missing");
}

static unsigned processors(void)
{
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : count > JOBS_MAX ? JOBS_MAX : (unsigned)count;
}

static void say(void *context, const char *text)
{
    char shown[512];
    (void)context;
    (void)fprintf(stderr, "tee-compile: %s\n",
                  tc_printable(tc_span_of_text(text), shown, sizeof shown));
}

static void say_result(const struct request *request, const struct tc_image_built *built)
{
    char recipe[TC_SHA256_HEX], size[16], root[16], text[512];
    tc_hex((struct tc_span){built->recipe.bytes, sizeof built->recipe.bytes}, recipe);
    (void)snprintf(text, sizeof text, "%s: %s; toolchain of %zu packages, %s; recipe %s",
                   request->build.output, tc_human_size(built->facts.header.file_size, size),
                   built->packages, tc_human_size(built->root_size, root), recipe);
    say(NULL, text);
}

static int fail(const struct request *request, const struct tc_error *err, bool with_usage)
{
    (void)tc_print_failure("image build", err, request->json);
    if (with_usage) (void)fputs(usage, stderr);
    return (int)tc_exit_of(err->status);
}

int tc_cmd_image_build(int argc, char **argv)
{
    struct tc_error err = {0};
    struct request request = {.build = {.jobs = processors(), .interrupt_fd = -1, .say = say}};
    TC_AUTO_IMAGE_BUILT struct tc_image_built built = {0};
    int interrupt_fd = -1;
    bool good = false;
    if (parse(argc, argv, &request, &err) != TC_OK) {
        request.json = tc_wants_json(argc, argv);
        return fail(&request, &err, true);
    }
    if (request.help) return fputs(usage, stdout) < 0 ? TC_EXIT_UNDECIDED : TC_EXIT_YES;
    /* A reader of stderr that goes away is no reason to leave things behind. */
    (void)signal(SIGPIPE, SIG_IGN);
    /* What is read in rooms is read by somebody else. */
    (void)umask(022);
    tc_status status = tc_interrupts_catch(&interrupt_fd, &err);
    request.build.interrupt_fd = interrupt_fd;
    if (status == TC_OK) status = tc_image_build(&request.build, &built, &err);
    tc_interrupts_release(&interrupt_fd);
    if (status != TC_OK) return fail(&request, &err, false);
    say_result(&request, &built);
    const struct tc_image_show show = {.name = request.build.output, .now = (int64_t)time(NULL)};
    status = request.json ? tc_image_show_json(stdout, &show, &built.facts, &good, &err)
                          : tc_image_show_text(stdout, &show, &built.facts, &good, &err);
    if (status != TC_OK) return fail(&request, &err, false);
    return good ? TC_EXIT_YES : TC_EXIT_NO;
}
