/* How commands speak: results to stdout as text or as one JSON object, messages
 * to stderr. Colour only on a terminal and without NO_COLOR. Whatever a bundle
 * says is escaped before it is printed. */
#ifndef TC_CMD_PRINT_H
#define TC_CMD_PRINT_H

#include <stdio.h>

#include "core/jsonw.h"
#include "cmd/commands.h"
#include "verify/verify.h"

/* "PROGRAM COMMAND: message" on stderr. */
void tc_print_error(const char *command, const struct tc_error *err);

/* A usage text, "tee-compile" in it replaced by this program's name. False: the
 * stream did not take it. */
bool tc_print_usage(FILE *stream, const char *usage);

/* The exit status of a command that failed: 1 where the answer is no (the build
 * failed, a limit was reached, something was refused), else 2. */
enum tc_exit tc_exit_of(tc_status status);

/* The message on stderr and, for --json, the object that it promises on stdout: no
 * check was reached. False when that could not be written. */
bool tc_print_failure(const char *command, const struct tc_error *failure, bool json);

/* What --json says of a build, whatever came of it (docs/formats.md, "The result of build").
 * NULL: there is none, or it was not come to. */
struct tc_print_build {
    const char *backend;
    const char *because; /* why auto chose it; "": it was named */
    const char *image;   /* its name; with it: */
    const struct tc_sha384 *pcr0;
    const char *bundle, *detached, *extract, *log, *console; /* paths of what was written */
};

/* As tc_print_failure, for a build. */
bool tc_print_failed_build(const struct tc_print_build *build, const struct tc_error *failure,
                           bool json);

/* Is --json among the words, whatever else is wrong with them? */
bool tc_wants_json(int argc, char **argv);

/* May colours be used on this stream? */
bool tc_print_colour(FILE *stream);

/* "label  text" with the text escaped; nothing for NULL. */
void tc_print_field(FILE *stream, const char *label, const char *text);
void tc_print_field_hex(FILE *stream, const char *label, const void *bytes, size_t size);

/* "authentic", "development", "refused", "undecided". */
const char *tc_verdict_name(enum tc_verdict_kind kind);

/* name is the bundle's, as the user gave it. */
void tc_print_verdict(FILE *stream, const struct tc_verdict *verdict, const char *name);
/* build: of this command, where it is one; else NULL. */
tc_status tc_print_verdict_json(FILE *stream, const struct tc_verdict *verdict,
                                const struct tc_print_build *build, struct tc_error *err);

/* Parts of these, for other verdicts: the word with an addition (", ..." or "")
 * and what has to be said beside it; the list of checks as text and as JSON. */
void tc_print_headline(FILE *stream, const struct tc_verdict *verdict, const char *addition,
                       const char *name);
void tc_print_checks(FILE *stream, const struct tc_verdict *verdict);
void tc_print_write_checks(struct tc_jsonw *w, const struct tc_verdict *verdict);

/* Writes buf and a line feed; TC_SYSTEM when the stream did not take it. */
tc_status tc_print_buf(FILE *stream, const struct tc_buf *buf, struct tc_error *err) TC_MUST_USE;

/* fflush that notices a full disk or a closed pipe. */
tc_status tc_print_flush(FILE *stream, struct tc_error *err) TC_MUST_USE;

#endif
