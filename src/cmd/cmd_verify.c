/* tee-compile verify: reads what the user gave to compare with, lets verify.h
 * judge the bundle, prints the verdict. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/commands.h"
#include "cmd/extract.h"
#include "cmd/files.h"
#include "cmd/pcr_option.h"
#include "cmd/print.h"
#include "cmd/trust.h"
#include "source/source_digest.h"
#include "verify/checks.h"

enum { ARTIFACTS_MAX = 1024, SHOWN_SIZE = 400 };

static const char usage[] =
    "usage: tee-compile verify BUNDLE|- [option]...\n"
    "  --artifact FILE    the file is an output of the build (may be repeated)\n"
    "  --source DIR       the source is this folder\n"
    "  --commit ID        the source is this git commit (40 hex digits)\n"
    "  --nonce HEX        the report was made for this nonce\n"
    "  --pcr N=HEX        PCR N of the document has this value (may be repeated)\n"
    "  --max-age DUR      it was signed within this time (90s, 15m, 2h)\n"
    "  --policy FILE      it meets the expectations in this file\n"
    "  --root PEM         trust this root instead of AWS's\n"
    "  --images FILE      trust the images of this signed list alone\n"
    "  --images-key PEM   by this signer (a public key or certificate)\n"
    "  --min-list-version N  and by no list with a lower sequence\n"
    "  --allow-unmeasured accept a toolchain that was not measured\n"
    "  --allow-debug      accept an enclave in debug mode\n"
    "  --allow-unauthenticated  accept plain HTTP and what was relayed unread\n"
    "  --allow-replayed   accept a build that an archive answered\n"
    "  --live BUNDLE      if this bundle has each of those answers\n"
    "  --extract DIR      write the outputs to DIR when the verdict is good\n"
    "  --json             one JSON object on stdout\n";

enum option_code {
    OPTION_ARTIFACT = 1,
    OPTION_SOURCE,
    OPTION_COMMIT,
    OPTION_NONCE,
    OPTION_PCR,
    OPTION_MAX_AGE,
    OPTION_POLICY,
    OPTION_ROOT,
    OPTION_IMAGES,
    OPTION_IMAGES_KEY,
    OPTION_MIN_LIST_VERSION,
    OPTION_ALLOW_UNMEASURED,
    OPTION_ALLOW_DEBUG,
    OPTION_ALLOW_UNAUTHENTICATED,
    OPTION_ALLOW_REPLAYED,
    OPTION_LIVE,
    OPTION_EXTRACT,
    OPTION_JSON,
    OPTION_HELP,
    OPTION_LATER,
    OPTION_COUNT,
};

struct request {
    bool given[OPTION_COUNT];
    const char *bundle, *live_path, *root_path, *source_path, *extract_path, *policy_path;
    bool json;
    struct tc_verify_options options;
    struct tc_artifact artifacts[ARTIFACTS_MAX];
    uint8_t nonce[TC_WIRE_NONCE_MAX];
    struct tc_pcrs_asked pcrs;
    struct tc_buf root; /* DER */
    struct tc_trust_request trust_request;
    struct tc_trust trust;
    struct tc_policy policy;
    struct tc_live *live;
    char live_problem[TC_ERROR_MAX];
};

static const struct option options[] = {
    {"artifact", required_argument, NULL, OPTION_ARTIFACT},
    {"source", required_argument, NULL, OPTION_SOURCE},
    {"commit", required_argument, NULL, OPTION_COMMIT},
    {"nonce", required_argument, NULL, OPTION_NONCE},
    {"pcr", required_argument, NULL, OPTION_PCR},
    {"max-age", required_argument, NULL, OPTION_MAX_AGE},
    {"policy", required_argument, NULL, OPTION_POLICY},
    {"root", required_argument, NULL, OPTION_ROOT},
    {"images", required_argument, NULL, OPTION_IMAGES},
    {"images-key", required_argument, NULL, OPTION_IMAGES_KEY},
    {"min-list-version", required_argument, NULL, OPTION_MIN_LIST_VERSION},
    {"allow-unmeasured", no_argument, NULL, OPTION_ALLOW_UNMEASURED},
    {"allow-debug", no_argument, NULL, OPTION_ALLOW_DEBUG},
    {"allow-unauthenticated", no_argument, NULL, OPTION_ALLOW_UNAUTHENTICATED},
    {"allow-replayed", no_argument, NULL, OPTION_ALLOW_REPLAYED},
    {"live", required_argument, NULL, OPTION_LIVE},
    {"extract", required_argument, NULL, OPTION_EXTRACT},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    /* Part of the contract, but not of this version: ignoring one of them would
     * leave out a check that somebody relies on. */
    {"vsa", required_argument, NULL, OPTION_LATER},
    {"ballots", required_argument, NULL, OPTION_LATER},
    {"voters", required_argument, NULL, OPTION_LATER},
    {NULL, 0, NULL, 0},
};

static tc_status set_nonce(struct request *request, const char *text, struct tc_error *err)
{
    size_t size = strlen(text) / 2;
    if (size == 0 || size > sizeof request->nonce || !tc_unhex(text, request->nonce, size))
        return tc_fail(err, TC_USAGE, "--nonce must be 1 to %d bytes in hex", TC_WIRE_NONCE_MAX);
    request->options.compare_nonce = true;
    request->options.nonce = (struct tc_span){request->nonce, size};
    return TC_OK;
}

static tc_status set_commit(struct request *request, const char *text, struct tc_error *err)
{
    uint8_t id[TC_SHA1_SIZE];
    if (!tc_unhex(text, id, sizeof id))
        return tc_fail(err, TC_USAGE, "--commit must be a full git commit id of 40 hex digits");
    request->options.commit = text;
    return TC_OK;
}

static tc_status add_artifact(struct request *request, const char *path, struct tc_error *err)
{
    if (request->options.artifacts_count == ARTIFACTS_MAX)
        return tc_fail(err, TC_USAGE, "--artifact can be given at most %d times", ARTIFACTS_MAX);
    request->artifacts[request->options.artifacts_count++].path = path;
    return TC_OK;
}

static tc_status take_option(struct request *request, int option, int index, const char *word,
                             struct tc_error *err)
{
    struct tc_verify_options *wanted = &request->options;
    /* The first of two would be a check that is not made. */
    if (option > 0 && option < OPTION_COUNT && option != OPTION_ARTIFACT && option != OPTION_PCR) {
        if (request->given[option])
            return tc_fail(err, TC_USAGE, "%s is given a second time: give it once", word);
        request->given[option] = true;
    }
    switch (option) {
    case OPTION_ARTIFACT: return add_artifact(request, optarg, err);
    case OPTION_SOURCE: request->source_path = optarg; return TC_OK;
    case OPTION_COMMIT: return set_commit(request, optarg, err);
    case OPTION_NONCE: return set_nonce(request, optarg, err);
    case OPTION_PCR:
        wanted->pcrs_asked = &request->pcrs;
        return tc_pcr_option_add(optarg, &request->pcrs, err);
    case OPTION_MAX_AGE:
        wanted->compare_age = true;
        if (tc_parse_duration(optarg, &wanted->max_age)) return TC_OK;
        return tc_fail(err, TC_USAGE, "--max-age must be like 90s, 15m or 2h");
    case OPTION_POLICY: request->policy_path = optarg; return TC_OK;
    case OPTION_ROOT: request->root_path = optarg; return TC_OK;
    case OPTION_IMAGES: request->trust_request.images = optarg; return TC_OK;
    case OPTION_IMAGES_KEY: request->trust_request.images_key = optarg; return TC_OK;
    case OPTION_MIN_LIST_VERSION:
        if (tc_parse_list_version(optarg, &request->trust_request.min_version)) return TC_OK;
        return tc_fail(err, TC_USAGE, "--min-list-version must be a whole number from 1");
    case OPTION_ALLOW_UNMEASURED: wanted->allow_unmeasured = true; return TC_OK;
    case OPTION_ALLOW_DEBUG: wanted->allow_debug = true; return TC_OK;
    case OPTION_ALLOW_UNAUTHENTICATED: wanted->allow_unauthenticated = true; return TC_OK;
    case OPTION_ALLOW_REPLAYED: wanted->allow_replayed = true; return TC_OK;
    case OPTION_LIVE:
        request->live_path = optarg;
        if (strcmp(optarg, "-") != 0) return TC_OK;
        return tc_fail(err, TC_USAGE, "--live must be a file");
    case OPTION_EXTRACT: request->extract_path = optarg; return TC_OK;
    case OPTION_JSON: request->json = true; return TC_OK;
    case OPTION_LATER:
        return tc_fail(err, TC_USAGE, "--%s is not part of this version", options[index].name);
    default: return tc_fail(err, TC_USAGE, "%s is unknown, ambiguous or lacks its value", word);
    }
}

/* verify.h calls back once it knows what kind of source it was. */
static tc_status digest_source(void *context, const struct tc_statement *statement,
                               struct tc_sha256 *ret_digest, struct tc_error *err)
{
    const struct request *request = context;
    /* What build leaves out of a plain folder: its own bundle, and the logs beside it. What else
     * it was told to make there (--detached, --archive) is not known here. */
    TC_AUTO_FREE char *bundle = tc_absolute_path(request->bundle);
    TC_AUTO_FREE char *log = NULL;
    TC_AUTO_FREE char *console = NULL;
    if (bundle && asprintf(&log, "%s.log", bundle) < 0) log = NULL;
    if (bundle && asprintf(&console, "%s.console", bundle) < 0) console = NULL;
    if (bundle && (!log || !console)) return tc_fail(err, TC_SYSTEM, "out of memory");
    const char *const ignore[] = {bundle, log, console, NULL};
    const struct tc_source_request wanted = {.folder = request->source_path,
                                             .build_file = statement->recipe.build_file,
                                             .kind = statement->source.kind,
                                             .ignore = ignore};
    char shown[SHOWN_SIZE];
    if (tc_source_digest(&wanted, ret_digest, err) != TC_OK)
        return tc_wrap(err, "--source %s",
                       tc_printable(tc_span_of_text(request->source_path), shown, sizeof shown));
    return TC_OK;
}

static tc_status prepare(struct request *request, struct tc_error *err)
{
    if (request->root_path) {
        TC_TRY(tc_read_certificate(request->root_path, &request->root, err));
        request->options.root = tc_buf_span(&request->root);
    }
    request->options.now = (int64_t)time(NULL);
    TC_TRY(tc_load_trust(&request->trust_request, &request->trust, err));
    request->options.trust = &request->trust;
    if (request->policy_path) {
        TC_TRY(tc_read_policy(request->policy_path, &request->policy, err));
        request->options.policy = &request->policy;
    }
    for (size_t i = 0; i < request->options.artifacts_count; i++)
        TC_TRY(tc_digest_file(request->artifacts[i].path, &request->artifacts[i].digest, err));
    request->options.artifacts = request->artifacts;
    request->options.compare_source = request->source_path != NULL;
    request->options.source_context = request;
    request->options.source_digest = digest_source;
    return TC_OK;
}

static tc_status open_bundle(const char *path, int *ret_fd, struct tc_error *err)
{
    int fd = strcmp(path, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                                    : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        int reason = errno;
        char shown[SHOWN_SIZE];
        return tc_fail_errno(err, TC_UNAVAILABLE, reason, "cannot open %s",
                             tc_printable(tc_span_of_text(path), shown, sizeof shown));
    }
    *ret_fd = fd;
    return TC_OK;
}

/* A live bundle that is refused makes the replayed one refused, with its reason. */
static tc_status read_live(struct request *request, struct tc_error *err)
{
    if (!request->live_path) return TC_OK;
    TC_AUTO_CLOSE int fd = -1;
    struct tc_error failure = {0};
    char shown[SHOWN_SIZE];
    TC_TRY(open_bundle(request->live_path, &fd, err));
    tc_status status = tc_live_read(fd, &request->options, &request->live, &failure);
    if (status != TC_OK && status != TC_REFUSED)
        return tc_fail(err, status, "--live %s: %s",
                       tc_printable(tc_span_of_text(request->live_path), shown, sizeof shown),
                       failure.message);
    request->options.live = request->live;
    if (status == TC_OK) return TC_OK;
    (void)snprintf(request->live_problem, sizeof request->live_problem, "%s", failure.message);
    request->options.live_problem = request->live_problem;
    return TC_OK;
}

static bool is_good(const struct tc_verdict *verdict)
{
    return verdict->kind == TC_VERDICT_AUTHENTIC || verdict->kind == TC_VERDICT_DEVELOPMENT;
}

static tc_status judge(struct request *request, struct tc_extract *extract,
                       struct tc_verdict *verdict, struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = -1;
    TC_TRY(open_bundle(request->bundle, &fd, err));
    if (extract) {
        request->options.extract_context = extract;
        request->options.extract_begin = tc_extract_begin;
        request->options.extract_data = tc_extract_data;
        request->options.extract_end = tc_extract_end;
    }
    TC_TRY(tc_verify_bundle(fd, &request->options, verdict, err));
    if (!extract || !is_good(verdict)) return TC_OK;
    /* One answer, in words and in the exit status: without what was asked for it is no yes. */
    struct tc_error failure = {0};
    bool written = tc_extract_commit(extract, &failure) == TC_OK;
    if (!tc_checks_add(verdict, "extract", written ? TC_CHECK_PASS : TC_CHECK_NOT_JUDGED,
                       "the outputs in the folder of --extract",
                       written ? "the outputs in the folder of --extract" : failure.message))
        return tc_fail(err, TC_SYSTEM, "out of memory for the checks");
    if (!written) verdict->kind = TC_VERDICT_UNDECIDED;
    return TC_OK;
}

/* The verdict is printed even when the outputs could not get their name. */
static tc_status run(struct request *request, enum tc_verdict_kind *ret_kind, bool *ret_printed,
                     struct tc_error *err)
{
    TC_TRY(prepare(request, err));
    TC_TRY(read_live(request, err));
    struct tc_extract *extract = NULL;
    if (request->extract_path) TC_TRY(tc_extract_open(request->extract_path, &extract, err));
    struct tc_verdict verdict = {.kind = TC_VERDICT_UNDECIDED};
    tc_status status = judge(request, extract, &verdict, err);
    tc_extract_free(extract);
    *ret_kind = verdict.kind;
    *ret_printed = verdict.checks_count > 0;
    struct tc_error print_error = {0};
    tc_status printed = TC_OK;
    if (verdict.checks_count > 0 && request->json) {
        printed = tc_print_verdict_json(stdout, &verdict, NULL, &print_error);
    } else if (verdict.checks_count > 0) {
        tc_print_verdict(stdout, &verdict, request->bundle);
        printed = tc_print_flush(stdout, &print_error);
    }
    tc_verdict_free(&verdict);
    if (status == TC_OK && printed != TC_OK) {
        *err = print_error;
        return printed;
    }
    return status;
}

int tc_cmd_verify(int argc, char **argv)
{
    struct tc_error err = {0};
    struct request *request = calloc(1, sizeof *request);
    if (!request) return TC_EXIT_UNDECIDED;
    tc_status status = TC_OK;
    int option, index = 0;
    bool help = false;
    opterr = 0;
    optind = 0; /* GNU: start anew, whatever main has parsed before */
    while (status == TC_OK && !help &&
           (option = getopt_long(argc, argv, "", options, &index)) != -1) {
        help = option == OPTION_HELP;
        if (!help) status = take_option(request, option, index, argv[optind - 1], &err);
    }
    if (help) {
        free(request);
        return tc_print_usage(stdout, usage) ? TC_EXIT_YES : TC_EXIT_UNDECIDED;
    }
    if (status == TC_OK && optind + 1 != argc)
        status = tc_fail(&err, TC_USAGE, "expected one bundle, got %d", argc - optind);
    if (status != TC_OK) {
        tc_print_failure("verify", &err, tc_wants_json(argc, argv));
        (void)tc_print_usage(stderr, usage);
        free(request);
        return TC_EXIT_UNDECIDED;
    }
    request->bundle = argv[optind];

    enum tc_verdict_kind kind = TC_VERDICT_UNDECIDED;
    bool printed = false;
    status = run(request, &kind, &printed, &err);
    if (status != TC_OK) tc_print_failure("verify", &err, request->json && !printed);
    tc_buf_free(&request->root);
    tc_trust_free(&request->trust);
    tc_policy_free(&request->policy);
    tc_live_free(request->live);
    free(request);
    if (status != TC_OK || kind == TC_VERDICT_UNDECIDED) return TC_EXIT_UNDECIDED;
    return kind == TC_VERDICT_REFUSED ? TC_EXIT_NO : TC_EXIT_YES;
}
