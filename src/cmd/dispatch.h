/* Finds the command and hands it the rest of the command line. */
#ifndef TC_CMD_DISPATCH_H
#define TC_CMD_DISPATCH_H

struct tc_command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *does;
};

struct tc_program {
    const char *name;
    const struct tc_command *commands; /* ended by a NULL name; at most TC_COMMANDS_MAX */
    /* Of tee-compile's contract, and not in this program: named, so that a script
     * is told. Each "name", or NULL at the end. */
    const char *const *later;
    const char *why_later; /* "is not part of this version" */
};
enum { TC_COMMANDS_MAX = 32 };

/* The exit status. */
int tc_dispatch(const struct tc_program *program, int argc, char **argv);

#endif
