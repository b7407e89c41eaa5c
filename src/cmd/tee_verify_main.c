/* tee-verify: the relying party's commands as one static program, without what
 * builds: no worker, no back end, no libgit2, no network. */
#include <stddef.h>
#include <stdio.h>

#include <openssl/crypto.h>

#include "cmd/commands.h"
#include "cmd/dispatch.h"

static const struct tc_command image_commands[] = {
    {"trust", tc_cmd_image_trust, "say which images you trust, and whose lists"},
    {NULL, NULL, NULL},
};

static int image(int argc, char **argv)
{
    static const char *const elsewhere[] = {"inspect", "measure", "sign", "assemble", "lock",
                                            "build",   "list",    "pull", "remove", NULL};
    static const struct tc_program program = {"tee-verify image", image_commands, elsewhere,
                                              "is a command of tee-compile, not of tee-verify"};
    return tc_dispatch(&program, argc, argv);
}

static const struct tc_command commands[] = {
    {"verify", tc_cmd_verify, "judge a bundle, offline"},
    {"report", tc_cmd_report, "show what a bundle says, trusting nothing"},
    {"attestation", tc_cmd_attestation, "show or judge an attestation document of any enclave"},
    {"image", image, "say which enclave images you trust"},
    {NULL, NULL, NULL},
};

static const char *const later[] = {"build", "challenge", "tally", "init", "doctor", NULL};

int main(int argc, char **argv)
{
    static const struct tc_program program = {"tee-verify", commands, later,
                                              "is a command of tee-compile, not of tee-verify"};
    /* The system's configuration may name modules to load, made for another
     * library than the one inside this program; it needs none. */
    if (OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, NULL) != 1) {
        (void)fputs("tee-verify: the cryptographic library did not start\n", stderr);
        return TC_EXIT_UNDECIDED;
    }
    return tc_dispatch(&program, argc, argv);
}
