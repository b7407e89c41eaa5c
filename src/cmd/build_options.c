#include "cmd/build_options.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "core/wire.h"

enum {
    CPUS_MAX = 1024,
    MACHINE_CPUS_MAX = 255, /* more want interrupts that not every QEMU and kernel has */
};

const char tc_build_usage[] =
    "usage: tee-compile build [options]\n"
    "\n"
    "Builds the project in a worker and writes an attested bundle.\n"
    "\n"
    "  --dir DIR           the project (default: .)\n"
    "  --build-file PATH   its build.json, inside the project (default: build.json)\n"
    "  --image NAME        toolchain: the name or PCR0 of an image (tee-compile image list), the\n"
    "                      path of an .eif, or \"host\": the machine's own, unmeasured\n"
    "                      (default: \"image\" of build.json, else its \"language\")\n"
    "  --host-tool DIR     with --image host: bind DIR read-only, DIR/bin first in PATH (repeatable)\n"
    "  --backend NAME      where the worker runs: local (namespaces of this machine), qemu (a virtual\n"
    "                      machine of this one), both attested by no hardware, nitro (an AWS Nitro\n"
    "                      enclave of this instance), or auto (default): nitro where an enclave can\n"
    "                      start that has what the build needs, else local\n"
    "  --emulator PROGRAM  with --backend qemu: the emulator (default: qemu-system-x86_64)\n"
    "  --cpus N            processors of an enclave, rounded up to whole cores (default: 2), or of a\n"
    "                      virtual machine (up to 255, default: this machine's, up to 8)\n"
    "  --nonce HEX         1 to 64 bytes that go into the signed document\n"
    "  --output FILE       the bundle (default: release.tar)\n"
    "  --detached FILE     also a bundle without the outputs\n"
    "  --extract DIR       also the outputs as files (with --detached and without --output,\n"
    "                      no release.tar is written)\n"
    "  --archive FILE      also what came over the network, each response once\n"
    "  --replay FILE       answer for the network from such an archive, and from nowhere else\n"
    "  --credential HOST=FILE  add the field in FILE, one line \"Name: value\", to the requests for\n"
    "                      HOST; the build does not get to see it, nor does the report (repeatable)\n"
    "  --allow-dirty       build a changed work tree, without a commit\n"
    "  --no-log            keep the build's log out of the bundle\n"
    "  --json              the result on stdout as one object\n"
    "  --debug             messages of the worker itself on stderr, or its machine's console; an\n"
    "                      enclave runs in debug mode then, which proves nothing and verifies as such\n"
    "  --help              this text\n"
    "\n"
    "Options may begin with one dash (-dir, -output, -nonce, -debug). -nitro FILE.eif stands for\n"
    "--backend nitro --image FILE.eif; -mem N is accepted and ignored: memory comes from the limits\n"
    "of build.json.\n"
    "\n"
    "The network is reached from here, through the HTTP proxy that https_proxy or all_proxy\n"
    "names, if any, but for the hosts in no_proxy.\n"
    "\n"
    "Exit status: 0 built and verified; 1 the build failed, a limit was reached, or something\n"
    "was refused (an image that is damaged or not trusted, say); 2 it could not be tried.\n";

void tc_build_options_free(struct tc_build_options *options)
{
    free(options->host_tools);
    free(options->credentials);
    free(options->nonce);
    options->host_tools = options->credentials = NULL;
    options->nonce = NULL;
}

enum {
    OPT_DIR = 1000, OPT_BUILD_FILE, OPT_IMAGE, OPT_HOST_TOOL, OPT_BACKEND, OPT_NONCE, OPT_OUTPUT,
    OPT_DETACHED, OPT_EXTRACT, OPT_ALLOW_DIRTY, OPT_NO_LOG, OPT_JSON, OPT_DEBUG, OPT_HELP,
    OPT_NITRO, OPT_MEM, OPT_WITH_SOURCE, OPT_ARCHIVE, OPT_REPLAY, OPT_CREDENTIAL, OPT_CPUS,
    OPT_EMULATOR,
};

static const struct option long_options[] = {
    {"dir", required_argument, NULL, OPT_DIR},
    {"build-file", required_argument, NULL, OPT_BUILD_FILE},
    {"image", required_argument, NULL, OPT_IMAGE},
    {"host-tool", required_argument, NULL, OPT_HOST_TOOL},
    {"backend", required_argument, NULL, OPT_BACKEND},
    {"cpus", required_argument, NULL, OPT_CPUS},
    {"emulator", required_argument, NULL, OPT_EMULATOR},
    {"nonce", required_argument, NULL, OPT_NONCE},
    {"output", required_argument, NULL, OPT_OUTPUT},
    {"detached", required_argument, NULL, OPT_DETACHED},
    {"extract", required_argument, NULL, OPT_EXTRACT},
    {"allow-dirty", no_argument, NULL, OPT_ALLOW_DIRTY},
    {"no-log", no_argument, NULL, OPT_NO_LOG},
    {"json", no_argument, NULL, OPT_JSON},
    {"debug", no_argument, NULL, OPT_DEBUG},
    {"help", no_argument, NULL, OPT_HELP},
    {"nitro", required_argument, NULL, OPT_NITRO},
    {"mem", required_argument, NULL, OPT_MEM},
    {"with-source", no_argument, NULL, OPT_WITH_SOURCE},
    {"archive", required_argument, NULL, OPT_ARCHIVE},
    {"replay", required_argument, NULL, OPT_REPLAY},
    {"credential", required_argument, NULL, OPT_CREDENTIAL},
    {NULL, 0, NULL, 0},
};

/* Appends to a list that NULL ends. */
static tc_status add_to(const char ***list, const char *value, struct tc_error *err)
{
    size_t count = 0;
    while (*list && (*list)[count])
        count++;
    const char **grown = reallocarray(*list, count + 2, sizeof *grown);
    if (!grown) return tc_fail(err, TC_SYSTEM, "out of memory");
    grown[count] = value;
    grown[count + 1] = NULL;
    *list = grown;
    return TC_OK;
}

static tc_status add_host_tool(struct tc_build_options *options, const char *folder,
                               struct tc_error *err)
{
    if (folder[0] != '/')
        return tc_fail(err, TC_USAGE, "--host-tool %s: give an absolute path", folder);
    return add_to(&options->host_tools, folder, err);
}

static tc_status set_nonce(struct tc_build_options *options, const char *hex, struct tc_error *err)
{
    size_t size = strlen(hex) / 2;
    free(options->nonce);
    options->nonce = NULL;
    if (size == 0 || size > TC_WIRE_NONCE_MAX || !(options->nonce = malloc(size)) ||
        !tc_unhex(hex, options->nonce, size))
        return tc_fail(err, TC_USAGE, "--nonce takes 1 to %d bytes as hexadecimal digits",
                       TC_WIRE_NONCE_MAX);
    options->nonce_size = size;
    return TC_OK;
}

static tc_status set_cpus(struct tc_build_options *options, const char *text, struct tc_error *err)
{
    char *end = NULL;
    unsigned long cpus = *text >= '1' && *text <= '9' ? strtoul(text, &end, 10) : 0;
    if (cpus < 1 || cpus > CPUS_MAX || *end)
        return tc_fail(err, TC_USAGE, "--cpus takes a number from 1 to %d", CPUS_MAX);
    options->cpus = (unsigned)cpus;
    return TC_OK;
}

/* Options of the contract that this version cannot honour are refused by name:
 * an ignored option would be a promise that is not kept. */
static tc_status refuse(const char *option, const char *instead, struct tc_error *err)
{
    return tc_fail(err, TC_UNAVAILABLE, "%s is not part of this version: %s", option, instead);
}

static tc_status take(struct tc_build_options *options, int option, const char *value,
                      struct tc_error *err)
{
    switch (option) {
    case OPT_DIR: options->folder = value; return TC_OK;
    case OPT_BUILD_FILE: options->build_file = value; return TC_OK;
    case OPT_IMAGE: options->image = value; return TC_OK;
    case OPT_HOST_TOOL: return add_host_tool(options, value, err);
    case OPT_BACKEND: options->backend = value; return TC_OK;
    case OPT_EMULATOR: options->emulator = value; return TC_OK;
    case OPT_NONCE: return set_nonce(options, value, err);
    case OPT_OUTPUT: options->output = value; return TC_OK;
    case OPT_DETACHED: options->detached = value; return TC_OK;
    case OPT_EXTRACT: options->extract = value; return TC_OK;
    case OPT_ALLOW_DIRTY: options->allow_dirty = true; return TC_OK;
    case OPT_NO_LOG: options->no_log = true; return TC_OK;
    case OPT_JSON: options->json = true; return TC_OK;
    case OPT_DEBUG: options->debug = true; return TC_OK;
    case OPT_HELP: options->help = true; return TC_OK;
    case OPT_CPUS: return set_cpus(options, value, err);
    case OPT_NITRO: options->nitro = value; return TC_OK;
    case OPT_MEM: options->memory_given = true; return TC_OK;
    case OPT_WITH_SOURCE: return refuse("--with-source", "publish the source beside it", err);
    case OPT_ARCHIVE: options->archive = value; return TC_OK;
    case OPT_REPLAY: options->replay = value; return TC_OK;
    case OPT_CREDENTIAL: return add_to(&options->credentials, value, err);
    default: return tc_fail(err, TC_USAGE, "unknown option, or its value is missing");
    }
}

/* It names both; what is named twice must be the same. */
static tc_status follow_nitro(struct tc_build_options *options, struct tc_error *err)
{
    if (!options->nitro) return TC_OK;
    if (options->backend && strcmp(options->backend, "nitro") != 0)
        return tc_fail(err, TC_USAGE,
                       "-nitro stands for --backend nitro, and --backend %s is given: leave one "
                       "out",
                       options->backend);
    if (options->image && strcmp(options->image, options->nitro) != 0)
        return tc_fail(err, TC_USAGE,
                       "-nitro names the image %s, and --image %s is given: leave one out",
                       options->nitro, options->image);
    options->backend = "nitro";
    options->image = options->nitro;
    return TC_OK;
}

static tc_status check_machine(const struct tc_build_options *options, struct tc_error *err)
{
    if (options->emulator && (strcmp(options->backend, "qemu") != 0 || !*options->emulator))
        return tc_fail(err, TC_USAGE, "--emulator goes with --backend qemu and names a program");
    if (options->cpus && strcmp(options->backend, "local") == 0)
        return tc_fail(err, TC_USAGE,
                       "--cpus goes with --backend qemu or nitro: on the local back end a build "
                       "has the processors of this machine");
    if (options->cpus > MACHINE_CPUS_MAX && strcmp(options->backend, "qemu") == 0)
        return tc_fail(err, TC_USAGE,
                       "--cpus %u: a virtual machine of --backend qemu has at most %d processors",
                       options->cpus, MACHINE_CPUS_MAX);
    return TC_OK;
}

static tc_status check(const struct tc_build_options *options, struct tc_error *err)
{
    TC_TRY(check_machine(options, err));
    if (options->image && !*options->image)
        return tc_fail(err, TC_USAGE, "--image is empty: expected a name, a PCR0, a path or host");
    if (options->output && strcmp(options->output, "-") == 0)
        return tc_fail(err, TC_USAGE,
                       "--output - is not possible: a bundle gets its name only once it has "
                       "verified; name a file");
    if (options->archive && options->replay)
        return tc_fail(err, TC_USAGE,
                       "--archive and --replay do not go together: what is replayed is in an archive");
    struct tc_span build_file = tc_span_of_text(options->build_file);
    if (!tc_path_is_safe(build_file) || !tc_is_utf8(build_file))
        return tc_fail(err, TC_USAGE, "--build-file takes a path inside the project");
    return TC_OK;
}

tc_status tc_build_options_parse(int argc, char **argv, struct tc_build_options *ret_options,
                                 struct tc_error *err)
{
    TC_AUTO_BUILD_OPTIONS struct tc_build_options options = {.folder = ".",
                                                             .build_file = "build.json"};
    opterr = 0;
    optind = 1;
    int option, index = 0;
    /* _only: the reference's single-dash spellings mean the same. */
    while ((option = getopt_long_only(argc, argv, "", long_options, &index)) != -1) {
        if (option == '?')
            return tc_fail(err, TC_USAGE, "%s: unknown option, or its value is missing",
                           argv[optind - 1]);
        TC_TRY(take(&options, option, optarg, err));
    }
    if (optind < argc) return tc_fail(err, TC_USAGE, "unexpected argument %s", argv[optind]);
    TC_TRY(follow_nitro(&options, err));
    if (!options.backend) options.backend = "auto";
    if (!options.help) TC_TRY(check(&options, err));
    *ret_options = options;
    options = (struct tc_build_options){0};
    return TC_OK;
}
