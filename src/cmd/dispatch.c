#include "cmd/dispatch.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "cmd/commands.h"
#include "tc_version.h"

static void print_usage(FILE *out, const struct tc_program *program)
{
    (void)fprintf(out, "usage: %s COMMAND [options]\n\n", program->name);
    for (const struct tc_command *command = program->commands; command->name; command++)
        (void)fprintf(out, "  %-11s %s\n", command->name, command->does);
    (void)fprintf(out,
                  "\n  %s COMMAND --help says more; %s --version\n\n"
                  "Exit status of every command: 0 yes or done, 1 no, 2 could not be decided.\n",
                  program->name, program->name);
}

static int refuse(const struct tc_program *program, const char *name)
{
    for (size_t i = 0; program->later[i]; i++)
        if (strcmp(name, program->later[i]) == 0) {
            (void)fprintf(stderr, "%s: %s %s (%s)\n", program->name, name, program->why_later,
                          TC_VERSION);
            return TC_EXIT_UNDECIDED;
        }
    char shown[128];
    const char *names[TC_COMMANDS_MAX + 1] = {0};
    for (size_t i = 0; i < TC_COMMANDS_MAX && program->commands[i].name; i++)
        names[i] = program->commands[i].name;
    const char *nearest = tc_nearest_word(name, names);
    (void)fprintf(stderr, "%s: no command %s%s%s%s; see %s --help\n", program->name,
                  tc_printable(tc_span_of_text(name), shown, sizeof shown),
                  nearest ? " (did you mean " : "", nearest ? nearest : "", nearest ? "?)" : "",
                  program->name);
    return TC_EXIT_UNDECIDED;
}

/* Whoever started the command may have closed them, and what is written to stdout and stderr
 * would go into the next file that is opened. To write there fails still. */
static bool hold_standard_files(void)
{
    for (int fd = 0; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY | O_NOCTTY) != fd) return false;
    return true;
}

int tc_dispatch(const struct tc_program *program, int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (!hold_standard_files()) return TC_EXIT_UNDECIDED;
    if (strcmp(name, "--help") == 0 || strcmp(name, "help") == 0 || strcmp(name, "-h") == 0) {
        print_usage(stdout, program);
        return TC_EXIT_YES;
    }
    if (strcmp(name, "--version") == 0) {
        (void)printf("%s %s\n", program->name, TC_VERSION);
        return TC_EXIT_YES;
    }
    for (const struct tc_command *command = program->commands; command->name; command++)
        if (strcmp(name, command->name) == 0) return command->run(argc - 1, argv + 1);
    if (*name) return refuse(program, name);
    print_usage(stderr, program);
    return TC_EXIT_UNDECIDED;
}
