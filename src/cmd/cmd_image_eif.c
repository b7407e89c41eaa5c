/* tee-compile image inspect, measure, sign, assemble: the file of an enclave image
 * and nothing else. A file that is no image, is damaged or carries a bad signature
 * is answered with 1, one that cannot be read with 2. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/commands.h"
#include "cmd/files.h"
#include "cmd/image_show.h"
#include "cmd/print.h"
#include "host/image_make.h"
#include "host/imagefile.h"

enum { KEY_FILE_MAX = 65536 };

enum option_code {
    OPTION_JSON = 1,
    OPTION_CERT,
    OPTION_KEY,
    OPTION_OUTPUT,
    OPTION_REPLACE,
    OPTION_KERNEL,
    OPTION_CMDLINE,
    OPTION_RAMDISK,
    OPTION_METADATA,
    OPTION_HELP,
};

struct request {
    const char *verb, *usage;
    const char *file; /* the one word that is no option; NULL: none */
    const char *certificate, *key, *output;
    bool json, replace, help;
    struct tc_image_parts parts;
    const char *ramdisks[TC_EIF_SECTIONS_MAX];
};

static void bio_free(BIO **bio)
{
    BIO_free(*bio);
}

static void key_free(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

static tc_status take_option(struct request *request, int option, const char *word,
                             struct tc_error *err)
{
    switch (option) {
    case OPTION_JSON: request->json = true; return TC_OK;
    case OPTION_CERT: request->certificate = optarg; return TC_OK;
    case OPTION_KEY: request->key = optarg; return TC_OK;
    case OPTION_OUTPUT:
    case 'o': request->output = optarg; return TC_OK;
    case OPTION_REPLACE: request->replace = true; return TC_OK;
    case OPTION_KERNEL: request->parts.kernel = optarg; return TC_OK;
    case OPTION_CMDLINE: request->parts.cmdline = optarg; return TC_OK;
    case OPTION_METADATA: request->parts.metadata = optarg; return TC_OK;
    case OPTION_RAMDISK:
        if (request->parts.ramdisks_count == TC_EIF_SECTIONS_MAX)
            return tc_fail(err, TC_USAGE, "--ramdisk is given too often");
        request->ramdisks[request->parts.ramdisks_count++] = optarg;
        return TC_OK;
    default: return tc_fail(err, TC_USAGE, "%s is unknown, ambiguous or lacks its value", word);
    }
}

static tc_status parse(int argc, char **argv, const char *letters, const struct option *options,
                       bool wants_file, struct request *request, struct tc_error *err)
{
    int option;
    opterr = 0;
    optind = 0; /* GNU: start anew, whatever main has parsed before */
    request->parts.ramdisks = request->ramdisks;
    while ((option = getopt_long(argc, argv, letters, options, NULL)) != -1) {
        if (option == OPTION_HELP) {
            request->help = true;
            return TC_OK;
        }
        TC_TRY(take_option(request, option, argv[optind - 1], err));
    }
    if (argc - optind != (wants_file ? 1 : 0))
        return tc_fail(err, TC_USAGE, "expected %s, got %d", wants_file ? "one image" : "no image",
                       argc - optind);
    if (wants_file) request->file = argv[optind];
    return TC_OK;
}

static tc_status need(const char *value, const char *option, struct tc_error *err)
{
    return value ? TC_OK : tc_fail(err, TC_USAGE, "%s is missing", option);
}

static tc_status open_image(const char *path, int *ret_fd, struct tc_error *err)
{
    int fd = strcmp(path, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                                    : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open %s", path);
    *ret_fd = fd;
    return TC_OK;
}

/* What the bytes themselves answer is a no; everything else was not decided. */
static int exit_of(tc_status status)
{
    switch (status) {
    case TC_OK: return TC_EXIT_YES;
    case TC_MALFORMED:
    case TC_REFUSED:
    case TC_LIMIT: return TC_EXIT_NO;
    case TC_BUILD:
    case TC_USAGE:
    case TC_UNAVAILABLE:
    case TC_PEER:
    case TC_INTERRUPTED:
    case TC_SYSTEM: break;
    }
    return TC_EXIT_UNDECIDED;
}

/* Prints what stands against it, and the usage where that was the trouble. */
static int fail(const struct request *request, const struct tc_error *err, bool usage)
{
    char command[32];
    struct tc_error said = *err;
    int status = exit_of(err->status);
    (void)snprintf(command, sizeof command, "image %s", request->verb);
    if (status == TC_EXIT_NO) said.status = TC_REFUSED; /* the word in the JSON is the exit's */
    if (!tc_print_failure(command, &said, request->json)) status = TC_EXIT_UNDECIDED;
    if (usage) (void)tc_print_usage(stderr, request->usage);
    return status;
}

static int help(const struct request *request)
{
    return tc_print_usage(stdout, request->usage) ? TC_EXIT_YES : TC_EXIT_UNDECIDED;
}

/* The PCRs are the same wherever the sections end: whoever compares them has not
 * compared that. start: where the image began in fd, -1 for a pipe, whose bytes are gone
 * by now. */
static tc_status ask(int fd, off_t start, const struct tc_image_facts *facts,
                     struct tc_imagefile_says *ret_says, struct tc_error *err)
{
    struct stat info;
    if (start < 0 || fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) return TC_OK;
    return tc_imagefile_ask(fd, (uint64_t)start, facts, "this", ret_says, err);
}

/* *ret_said: an object is on stdout already, also where this fails. */
static tc_status show(const struct request *request, bool everything, bool *ret_good,
                      bool *ret_said, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf certificate = {0};
    TC_AUTO_CLOSE int fd = -1;
    TC_AUTO_IMAGE_FACTS struct tc_image_facts facts = {0};
    if (request->certificate) TC_TRY(tc_read_certificate(request->certificate, &certificate, err));
    TC_TRY(open_image(request->file, &fd, err));
    off_t start = lseek(fd, 0, SEEK_CUR);
    tc_status status = tc_image_read(fd, request->file, everything, &facts, err);
    if (status == TC_MALFORMED && request->json) {
        struct tc_error print_error = {0};
        if (tc_image_show_malformed(stdout, err, &print_error) != TC_OK) {
            *err = print_error;
            return print_error.status;
        }
        *ret_said = true;
    }
    if (status == TC_MALFORMED) return tc_wrap(err, "%s", request->file);
    TC_TRY(status);
    TC_AUTO_IMAGEFILE_SAYS struct tc_imagefile_says says = {0};
    TC_TRY(ask(fd, start, &facts, &says, err));
    struct tc_image_show wanted = {request->file, everything, tc_buf_span(&certificate),
                                   (int64_t)time(NULL), &says};
    return request->json ? tc_image_show_json(stdout, &wanted, &facts, ret_good, err)
                         : tc_image_show_text(stdout, &wanted, &facts, ret_good, err);
}

static int run_show(const struct request *request, bool everything)
{
    struct tc_error err = {0};
    struct request failed = *request;
    bool good = false, said = false;
    tc_status status = show(request, everything, &good, &said, &err);
    if (said) failed.json = false;
    if (status != TC_OK) return fail(&failed, &err, false);
    return good ? TC_EXIT_YES : TC_EXIT_NO;
}

int tc_cmd_image_inspect(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, OPTION_JSON},
                                            {"help", no_argument, NULL, OPTION_HELP},
                                            {NULL, 0, NULL, 0}};
    struct request request = {
        .verb = "inspect",
        .json = tc_wants_json(argc, argv),
        .usage = "usage: tee-compile image inspect FILE|- [--json]\n"
                 "  shows header, sections, command line, metadata, signature and PCRs\n"};
    struct tc_error err = {0};
    if (parse(argc, argv, "", options, true, &request, &err) != TC_OK)
        return fail(&request, &err, true);
    return request.help ? help(&request) : run_show(&request, true);
}

int tc_cmd_image_measure(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, OPTION_JSON},
                                            {"cert", required_argument, NULL, OPTION_CERT},
                                            {"help", no_argument, NULL, OPTION_HELP},
                                            {NULL, 0, NULL, 0}};
    struct request request = {
        .verb = "measure",
        .json = tc_wants_json(argc, argv),
        .usage = "usage: tee-compile image measure FILE|- [--cert PEM] [--json]\n"
                 "  prints PCR0, PCR1, PCR2 and, of a signed image, PCR8\n"
                 "  --cert PEM   the image is signed with this certificate; of an unsigned one,\n"
                 "               the PCR8 that it would have\n"};
    struct tc_error err = {0};
    if (parse(argc, argv, "", options, true, &request, &err) != TC_OK)
        return fail(&request, &err, true);
    return request.help ? help(&request) : run_show(&request, false);
}

/* Never asks for a pass phrase: an encrypted key fails with a message. */
static int no_pass_phrase(char *buffer, int size, int writing, void *context)
{
    (void)buffer;
    (void)size;
    (void)writing;
    (void)context;
    return -1;
}

static tc_status read_key(const char *path, EVP_PKEY **ret_key, struct tc_error *err)
{
    BIO *file TC_CLEANUP(bio_free) = BIO_new_file(path, "r");
    if (!file) return tc_fail_errno(err, TC_USAGE, errno, "cannot read the key %s", path);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(file, NULL, no_pass_phrase, NULL);
    ERR_clear_error();
    if (!key)
        return tc_fail(err, TC_USAGE,
                       "%s is no private key in PEM without a pass phrase; make one with openssl "
                       "ecparam -name secp384r1 -genkey -noout",
                       path);
    *ret_key = key;
    return TC_OK;
}

/* Whoever signs an image says that it is the one that was made. */
static tc_status check_bounds(int fd, const char *name, struct tc_error *err)
{
    TC_AUTO_IMAGE_FACTS struct tc_image_facts facts = {0};
    TC_AUTO_IMAGEFILE_SAYS struct tc_imagefile_says says = {0};
    off_t start = lseek(fd, 0, SEEK_CUR);
    if (start < 0) return TC_OK; /* no file: the next step says so */
    TC_TRY(tc_image_read(fd, name, false, &facts, err));
    TC_TRY(ask(fd, start, &facts, &says, err));
    if (says.own && !says.fits) return tc_fail(err, TC_REFUSED, "%s", says.misfit.message);
    if (lseek(fd, start, SEEK_SET) != start)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read %s", name);
    return TC_OK;
}

/* The unsigned image is what others rebuild: it stays. */
static tc_status check_output(int fd, const struct request *request, struct tc_error *err)
{
    struct stat from, to;
    if (!request->replace && fstat(fd, &from) == 0 && stat(request->output, &to) == 0 &&
        from.st_dev == to.st_dev && from.st_ino == to.st_ino)
        return tc_fail(err, TC_USAGE,
                       "%s is the image itself: give the signed one another name, or --replace",
                       request->output);
    return TC_OK;
}

static tc_status sign(const struct request *request, struct tc_image_facts *ret_facts,
                      struct tc_error *err)
{
    EVP_PKEY *key TC_CLEANUP(key_free) = NULL;
    TC_AUTO_BUF struct tc_buf certificate = {0};
    TC_AUTO_CLOSE int fd = -1;
    TC_TRY(read_key(request->key, &key, err));
    TC_TRY(tc_read_certificate(request->certificate, &certificate, err));
    fd = open(request->file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open %s", request->file);
    TC_TRY(check_output(fd, request, err));
    TC_TRY(check_bounds(fd, request->file, err));
    struct tc_image_signer signer = {key, tc_buf_span(&certificate), (int64_t)time(NULL),
                                     request->replace};
    return tc_image_sign(fd, request->file, &signer, request->output, ret_facts, err);
}

static int show_made(const struct request *request, struct tc_image_facts *facts)
{
    struct tc_error err = {0};
    struct tc_image_show wanted = {.name = request->output, .now = (int64_t)time(NULL)};
    bool good = false;
    tc_status status = request->json ? tc_image_show_json(stdout, &wanted, facts, &good, &err)
                                     : tc_image_show_text(stdout, &wanted, facts, &good, &err);
    tc_image_facts_free(facts);
    if (status != TC_OK) return fail(request, &err, false);
    return good ? TC_EXIT_YES : TC_EXIT_NO;
}

int tc_cmd_image_sign(int argc, char **argv)
{
    static const struct option options[] = {{"key", required_argument, NULL, OPTION_KEY},
                                            {"cert", required_argument, NULL, OPTION_CERT},
                                            {"output", required_argument, NULL, OPTION_OUTPUT},
                                            {"replace", no_argument, NULL, OPTION_REPLACE},
                                            {"json", no_argument, NULL, OPTION_JSON},
                                            {"help", no_argument, NULL, OPTION_HELP},
                                            {NULL, 0, NULL, 0}};
    struct request request = {
        .verb = "sign",
        .json = tc_wants_json(argc, argv),
        .usage =
            "usage: tee-compile image sign FILE --key PEM --cert PEM -o OUT [option]...\n"
            "  --key PEM      a private key on P-384, without a pass phrase\n"
            "  --cert PEM     its certificate, valid now; PCR8 is made of it\n"
            "  -o, --output OUT  the signed image, another file than FILE\n"
            "  --replace      a signature that is there already is replaced, and OUT may be FILE\n"
            "  --json         one JSON object on stdout\n"};
    struct tc_error err = {0};
    struct tc_image_facts facts = {0};
    tc_status status = parse(argc, argv, "o:", options, true, &request, &err);
    if (status == TC_OK && request.help) return help(&request);
    if (status == TC_OK) status = need(request.key, "--key", &err);
    if (status == TC_OK) status = need(request.certificate, "--cert", &err);
    if (status == TC_OK) status = need(request.output, "--output", &err);
    if (status != TC_OK) return fail(&request, &err, true);
    if (sign(&request, &facts, &err) != TC_OK) return fail(&request, &err, false);
    return show_made(&request, &facts);
}

int tc_cmd_image_assemble(int argc, char **argv)
{
    static const struct option options[] = {{"kernel", required_argument, NULL, OPTION_KERNEL},
                                            {"cmdline", required_argument, NULL, OPTION_CMDLINE},
                                            {"ramdisk", required_argument, NULL, OPTION_RAMDISK},
                                            {"metadata", required_argument, NULL, OPTION_METADATA},
                                            {"output", required_argument, NULL, OPTION_OUTPUT},
                                            {"json", no_argument, NULL, OPTION_JSON},
                                            {"help", no_argument, NULL, OPTION_HELP},
                                            {NULL, 0, NULL, 0}};
    struct request request = {
        .verb = "assemble",
        .json = tc_wants_json(argc, argv),
        .usage =
            "usage: tee-compile image assemble --kernel FILE --cmdline TEXT --ramdisk FILE...\n"
            "           -o OUT [option]...\n"
            "  --kernel FILE    a bzImage for x86_64\n"
            "  --cmdline TEXT   the kernel's command line, printable ASCII\n"
            "  --ramdisk FILE   an initramfs archive; repeated, in this order\n"
            "  --metadata FILE  a JSON object; a minimal one by default\n"
            "  -o, --output OUT the image\n"
            "  --json           one JSON object on stdout\n"};
    struct tc_error err = {0};
    struct tc_image_facts facts = {0};
    tc_status status = parse(argc, argv, "o:", options, false, &request, &err);
    if (status == TC_OK && request.help) return help(&request);
    if (status == TC_OK) status = need(request.parts.kernel, "--kernel", &err);
    if (status == TC_OK) status = need(request.parts.cmdline, "--cmdline", &err);
    if (status == TC_OK && request.parts.ramdisks_count == 0)
        status = need(NULL, "--ramdisk", &err);
    if (status == TC_OK) status = need(request.output, "--output", &err);
    if (status != TC_OK) return fail(&request, &err, true);
    if (tc_image_assemble(&request.parts, request.output, &facts, &err) != TC_OK)
        return fail(&request, &err, false);
    return show_made(&request, &facts);
}
