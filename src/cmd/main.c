/* tee-compile: all commands. */
#include <stddef.h>

#include "cmd/commands.h"
#include "cmd/dispatch.h"

static const struct tc_command commands[] = {
    {"build", tc_cmd_build, "one attested build"},
    {"verify", tc_cmd_verify, "judge a bundle, offline"},
    {"report", tc_cmd_report, "show what a bundle says, trusting nothing"},
    {"attestation", tc_cmd_attestation, "show or judge an attestation document of any enclave"},
    {"image", tc_cmd_image, "enclave images: list, pull, build, lock, measure, trust and more"},
    {"doctor", tc_cmd_doctor, "what this machine can run, and what mends the rest"},
    {NULL, NULL, NULL},
};

static const char *const later[] = {"challenge", "tally", "init", NULL};

int main(int argc, char **argv)
{
    static const struct tc_program program = {"tee-compile", commands, later,
                                              "is not part of this version"};
    return tc_dispatch(&program, argc, argv);
}
