/* tee-compile: finds the command and hands it the rest of the command line. */

#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cmd/commands.h"
#include "tc_version.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *does;
} commands[] = {
    {"build", tc_cmd_build, "one attested build"},
    {"verify", tc_cmd_verify, "judge a bundle, offline"},
    {"report", tc_cmd_report, "show what a bundle says, trusting nothing"},
    {"image", tc_cmd_image, "enclave images: inspect, measure, sign, assemble"},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

/* Of the contract, and not in this version: named, so that a script is told. */
static const char *const later[] = {"attestation", "challenge", "tally",
                                    "init",        "doctor", NULL};

static void print_usage(FILE *out)
{
    (void)fputs("usage: tee-compile COMMAND [options]\n\n", out);
    for (size_t i = 0; i < COMMANDS; i++)
        (void)fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].does);
    (void)fputs("\n  tee-compile COMMAND --help says more; tee-compile --version\n\n"
                "Exit status of every command: 0 yes or done, 1 no, 2 could not be decided.\n",
                out);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0 || strcmp(name, "help") == 0 || strcmp(name, "-h") == 0) {
        print_usage(stdout);
        return 0;
    }
    if (strcmp(name, "--version") == 0) {
        (void)puts("tee-compile " TC_VERSION);
        return 0;
    }
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(name, commands[i].name) == 0) return commands[i].run(argc - 1, argv + 1);
    if (!*name) {
        print_usage(stderr);
        return 2;
    }
    for (size_t i = 0; later[i]; i++)
        if (strcmp(name, later[i]) == 0) {
            (void)fprintf(stderr, "tee-compile: %s is not part of this version (%s)\n", name,
                          TC_VERSION);
            return 2;
        }
    char shown[128];
    const char *names[COMMANDS + 1] = {0};
    for (size_t i = 0; i < COMMANDS; i++)
        names[i] = commands[i].name;
    const char *nearest = tc_nearest_word(name, names);
    (void)fprintf(stderr, "tee-compile: no command %s%s%s%s; see tee-compile --help\n",
                  tc_printable(tc_span_of_text(name), shown, sizeof shown),
                  nearest ? " (did you mean " : "", nearest ? nearest : "", nearest ? "?)" : "");
    return 2;
}
