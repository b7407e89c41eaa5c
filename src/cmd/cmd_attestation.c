/* tee-compile attestation show|verify: one Nitro document of anyone's enclave.
 * show prints what it says and trusts nothing; verify judges it. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/commands.h"
#include "cmd/files.h"
#include "cmd/pcr_option.h"
#include "cmd/print.h"
#include "cmd/print_document.h"

static const char usage[] =
    "usage: tee-compile attestation show FILE|- [--json]\n"
    "       tee-compile attestation verify FILE|- [option]...\n"
    "FILE is a document, raw, in hex or in base64.\n"
    "  --pcr N=HEX        PCR N has this value (may be repeated)\n"
    "  --nonce HEX        the document was made for this nonce\n"
    "  --user-data HEX    it carries this user_data\n"
    "  --at TIME          its certificates are valid at this time too (RFC 3339 in UTC,\n"
    "                     or seconds since the epoch), not only when it was signed\n"
    "  --root PEM         trust this root instead of AWS's\n"
    "  --allow-debug      accept an enclave in debug mode\n"
    "  --json             one JSON object on stdout\n";

static const char notice[] =
    "not verified: this is what the document says; tee-compile attestation verify judges it";

/* Of times: the end of the year 9999. */
static const int64_t time_max = INT64_C(253402300799);

struct request {
    bool verify, json;
    const char *path, *root_path;
    struct tc_attestation_options options;
    struct tc_pcrs_asked pcrs;
    uint8_t nonce[TC_NITRODOC_FIELD_MAX], user_data[TC_NITRODOC_FIELD_MAX];
    struct tc_buf root; /* DER */
};

enum option_code {
    OPTION_PCR = 1,
    OPTION_NONCE,
    OPTION_USER_DATA,
    OPTION_AT,
    OPTION_ROOT,
    OPTION_ALLOW_DEBUG,
    OPTION_JSON,
    OPTION_HELP,
};

static const struct option show_options[] = {
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};
static const struct option verify_options[] = {
    {"pcr", required_argument, NULL, OPTION_PCR},
    {"nonce", required_argument, NULL, OPTION_NONCE},
    {"user-data", required_argument, NULL, OPTION_USER_DATA},
    {"at", required_argument, NULL, OPTION_AT},
    {"root", required_argument, NULL, OPTION_ROOT},
    {"allow-debug", no_argument, NULL, OPTION_ALLOW_DEBUG},
    {"json", no_argument, NULL, OPTION_JSON},
    {"help", no_argument, NULL, OPTION_HELP},
    {NULL, 0, NULL, 0},
};

static tc_status set_bytes(const char *option, uint8_t room[TC_NITRODOC_FIELD_MAX], bool *asked,
                           struct tc_span *ret_span, struct tc_error *err)
{
    size_t size = strlen(optarg) / 2;
    if (*asked) return tc_fail(err, TC_USAGE, "%s is given twice", option);
    if (size == 0 || size > TC_NITRODOC_FIELD_MAX || !tc_unhex(optarg, room, size))
        return tc_fail(err, TC_USAGE, "%s must be 1 to %d bytes in hex", option,
                       TC_NITRODOC_FIELD_MAX);
    *asked = true;
    *ret_span = (struct tc_span){room, size};
    return TC_OK;
}

static tc_status set_at(struct request *request, struct tc_error *err)
{
    const char *text = optarg;
    if (request->options.judge_at)
        return tc_fail(err, TC_USAGE, "--at is given a second time: give it once");
    int64_t seconds = 0;
    size_t digits = strspn(text, "0123456789");
    bool good = tc_parse_time(text, &seconds);
    if (!good && digits > 0 && digits <= 12 && text[digits] == '\0') {
        seconds = strtoll(text, NULL, 10);
        good = seconds <= time_max;
    }
    if (!good)
        return tc_fail(err, TC_USAGE,
                       "--at must be like 2026-01-02T03:04:05Z or seconds since the epoch");
    request->options.judge_at = true;
    request->options.at = seconds;
    return TC_OK;
}

static tc_status take_option(struct request *request, int option, const char *word,
                             struct tc_error *err)
{
    struct tc_attestation_options *wanted = &request->options;
    switch (option) {
    case OPTION_PCR:
        wanted->pcrs_asked = &request->pcrs;
        return tc_pcr_option_add(optarg, &request->pcrs, err);
    case OPTION_NONCE:
        return set_bytes("--nonce", request->nonce, &wanted->compare_nonce, &wanted->nonce, err);
    case OPTION_USER_DATA:
        return set_bytes("--user-data", request->user_data, &wanted->compare_user_data,
                         &wanted->user_data, err);
    case OPTION_AT:
        return set_at(request, err);
    case OPTION_ROOT:
        request->root_path = optarg;
        return TC_OK;
    case OPTION_ALLOW_DEBUG:
        wanted->allow_debug = true;
        return TC_OK;
    case OPTION_JSON:
        request->json = true;
        return TC_OK;
    default:
        return tc_fail(err, TC_USAGE, "%s is unknown, ambiguous or lacks its value", word);
    }
}

/* One byte more than the longest input is enough to know that it is too long. */
static tc_status read_input(const char *path, struct tc_buf *ret_input, struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = strcmp(path, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                                                  : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open %s", path);
    uint8_t bytes[4096];
    struct tc_buf input TC_AUTO_BUF = tc_buf_new(TC_ARMOR_MAX + sizeof bytes);
    while (input.size <= TC_ARMOR_MAX && tc_buf_ok(&input)) {
        ssize_t got = read(fd, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read %s", path);
        if (got == 0) break;
        tc_buf_add(&input, bytes, (size_t)got);
    }
    TC_TRY(tc_buf_check(&input, path, err));
    *ret_input = input;
    input = (struct tc_buf){0};
    return TC_OK;
}

static tc_status show(const struct request *request, struct tc_span input, struct tc_error *err)
{
    struct tc_attestation read = {0};
    TC_TRY(tc_attestation_read(input, &read, err));
    tc_status status = request->json ? tc_print_document_json(stdout, &read, NULL, notice, err)
                                     : tc_print_document(stdout, &read, notice, err);
    tc_attestation_free(&read);
    return status;
}

static tc_status verify(struct request *request, struct tc_span input,
                        enum tc_verdict_kind *ret_kind, struct tc_error *err)
{
    struct tc_verdict verdict;
    struct tc_attestation read;
    if (request->root_path) {
        TC_TRY(tc_read_certificate(request->root_path, &request->root, err));
        request->options.root = tc_buf_span(&request->root);
    }
    TC_TRY(tc_attestation_verify(input, &request->options, &verdict, &read, err));
    tc_status status = request->json
                           ? tc_print_document_json(stdout, &read, &verdict, NULL, err)
                           : tc_print_document_verdict(stdout, &verdict, request->path, err);
    if (status == TC_OK) *ret_kind = verdict.kind;
    tc_attestation_free(&read);
    tc_verdict_free(&verdict);
    return status;
}

static int run(struct request *request)
{
    struct tc_error err = {0};
    enum tc_verdict_kind kind = TC_VERDICT_UNDECIDED;
    struct tc_buf input TC_AUTO_BUF = {0};
    tc_status status = read_input(request->path, &input, &err);
    if (status == TC_OK)
        status = request->verify ? verify(request, tc_buf_span(&input), &kind, &err)
                                 : show(request, tc_buf_span(&input), &err);
    if (status != TC_OK) {
        tc_print_failure("attestation", &err, request->json);
        return TC_EXIT_UNDECIDED;
    }
    if (!request->verify) return TC_EXIT_YES;
    if (kind == TC_VERDICT_UNDECIDED) return TC_EXIT_UNDECIDED;
    return kind == TC_VERDICT_REFUSED ? TC_EXIT_NO : TC_EXIT_YES;
}

/* Options may stand before and behind FILE. argv[0] is "show" or "verify". */
static tc_status parse(int argc, char **argv, struct request *request, bool *ret_help,
                       struct tc_error *err)
{
    const struct option *options = request->verify ? verify_options : show_options;
    int option;
    opterr = 0;
    optind = 0; /* GNU: start anew, whatever main has parsed before */
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == OPTION_HELP) {
            *ret_help = true;
            return TC_OK;
        }
        TC_TRY(take_option(request, option, argv[optind - 1], err));
    }
    if (optind + 1 != argc)
        return tc_fail(err, TC_USAGE, "expected one document, got %d", argc - optind);
    request->path = argv[optind];
    return TC_OK;
}

int tc_cmd_attestation(int argc, char **argv)
{
    struct tc_error err = {0};
    const char *verb = argc > 1 ? argv[1] : "";
    TC_AUTO_FREE struct request *request = calloc(1, sizeof *request);
    if (!request) return TC_EXIT_UNDECIDED;
    bool help = strcmp(verb, "--help") == 0;
    tc_status status = TC_OK;
    request->verify = strcmp(verb, "verify") == 0;
    if (!help && !request->verify && strcmp(verb, "show") != 0)
        status = tc_fail(&err, TC_USAGE, "expected show or verify");
    if (!help && status == TC_OK) status = parse(argc - 1, argv + 1, request, &help, &err);
    if (help) return tc_print_usage(stdout, usage) ? TC_EXIT_YES : TC_EXIT_UNDECIDED;
    if (status != TC_OK) {
        tc_print_failure("attestation", &err, tc_wants_json(argc, argv));
        (void)tc_print_usage(stderr, usage);
        return TC_EXIT_UNDECIDED;
    }
    int answer = run(request);
    tc_buf_free(&request->root);
    return answer;
}
