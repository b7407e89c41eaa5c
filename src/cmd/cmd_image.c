/* tee-compile image: hands on to its own commands. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cmd/commands.h"
#include "tc_version.h"

static const char usage[] = "usage: tee-compile image trust add|remove|list|update|sign ...\n\n"
                            "  tee-compile image trust --help says more\n";

int tc_cmd_image(int argc, char **argv)
{
    /* Of the contract, and not in this version: named, so that a script is told. */
    static const char *const later[] = {"build", "measure", "inspect", "sign", "list", NULL};
    static const char *const known[] = {"trust", "build", "measure", "inspect",
                                        "sign",  "list",  NULL};
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "trust") == 0) return tc_cmd_image_trust(argc - 1, argv + 1);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
        return fputs(usage, stdout) < 0 ? TC_EXIT_UNDECIDED : TC_EXIT_YES;
    for (size_t i = 0; later[i]; i++)
        if (strcmp(name, later[i]) == 0) {
            (void)fprintf(stderr, "tee-compile: image %s is not part of this version (%s)\n", name,
                          TC_VERSION);
            return TC_EXIT_UNDECIDED;
        }
    char shown[128];
    const char *nearest = tc_nearest_word(name, known);
    if (*name)
        (void)fprintf(stderr, "tee-compile image: no command %s%s%s%s\n",
                      tc_printable(tc_span_of_text(name), shown, sizeof shown),
                      nearest ? " (did you mean " : "", nearest ? nearest : "",
                      nearest ? "?)" : "");
    (void)fputs(usage, stderr);
    return TC_EXIT_UNDECIDED;
}
