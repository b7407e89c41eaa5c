/* tee-compile image: hands the rest of the command line to one of its verbs. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cmd/commands.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *does;
} verbs[] = {
    {"inspect", tc_cmd_image_inspect, "show what an image consists of"},
    {"measure", tc_cmd_image_measure, "print PCR0, 1, 2 and 8"},
    {"sign", tc_cmd_image_sign, "sign an image, for PCR8"},
    {"assemble", tc_cmd_image_assemble, "make an image from kernel and ramdisks"},
};
enum { VERBS = sizeof verbs / sizeof *verbs };

static void print_usage(FILE *out)
{
    (void)fputs("usage: tee-compile image VERB [options]\n\n", out);
    for (size_t i = 0; i < VERBS; i++)
        (void)fprintf(out, "  %-10s %s\n", verbs[i].name, verbs[i].does);
    (void)fputs("\n  tee-compile image VERB --help says more\n", out);
}

int tc_cmd_image(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        print_usage(stdout);
        return TC_EXIT_YES;
    }
    const char *names[VERBS + 1] = {0};
    for (size_t i = 0; i < VERBS; i++) {
        if (strcmp(name, verbs[i].name) == 0) return verbs[i].run(argc - 1, argv + 1);
        names[i] = verbs[i].name;
    }
    if (!*name) {
        print_usage(stderr);
        return TC_EXIT_UNDECIDED;
    }
    char shown[128];
    const char *nearest = tc_nearest_word(name, names);
    (void)fprintf(stderr, "tee-compile image: no verb %s%s%s%s; see tee-compile image --help\n",
                  tc_printable(tc_span_of_text(name), shown, sizeof shown),
                  nearest ? " (did you mean " : "", nearest ? nearest : "", nearest ? "?)" : "");
    return TC_EXIT_UNDECIDED;
}
