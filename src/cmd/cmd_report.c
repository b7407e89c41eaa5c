/* tee-compile report: shows what a bundle says. It trusts nothing and judges
 * nothing, and each of its forms says so. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/commands.h"
#include "cmd/print.h"
#include "core/jsonw.h"

static const char usage[] = "usage: tee-compile report BUNDLE|- [--json|--markdown]\n";

static const char notice[] =
    "not verified: this is what the bundle says; tee-compile verify judges it";

enum form { FORM_TEXT, FORM_JSON, FORM_MARKDOWN };

/* One line of the report: text and Markdown print the same ones. */
typedef void line_fn(const char *label, const char *text);

static void text_line(const char *label, const char *text)
{
    tc_print_field(stdout, label, text);
}

/* Every ASCII character with a meaning to Markdown or HTML becomes a numeric
 * entity: what a bundle says cannot leave its cell. */
static void markdown_line(const char *label, const char *text)
{
    char shown[2048];
    (void)printf("| %s | <code>", label);
    for (const char *p = tc_printable(tc_span_of_text(text), shown, sizeof shown); *p; p++) {
        unsigned char c = (unsigned char)*p;
        bool plain = c >= 0x80 || c == ' ' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                     (c >= 'A' && c <= 'Z');
        if (plain)
            (void)putchar(c);
        else
            (void)printf("&#%u;", c);
    }
    (void)printf("</code> |\n");
}

static void hex_line(line_fn *line, const char *label, const void *bytes, size_t size)
{
    char hex[2 * TC_WIRE_NONCE_MAX + 1];
    if (size > TC_WIRE_NONCE_MAX) return;
    tc_hex((struct tc_span){bytes, size}, hex);
    line(label, hex);
}

static void optional_line(line_fn *line, const char *label, const char *text)
{
    if (text) line(label, text);
}

static void time_line(line_fn *line, const char *label, int64_t seconds)
{
    char stamp[TC_TIME_TEXT_SIZE];
    tc_format_time(seconds, stamp);
    line(label, stamp);
}

static void limits_line(line_fn *line, const struct tc_limits *limits)
{
    char text[160], memory[16], disk[16], log[16];
    (void)snprintf(text, sizeof text, "%llu s, memory %s, disk %s, log %s, %llu processes",
                   (unsigned long long)limits->timeout, tc_human_size(limits->memory, memory),
                   tc_human_size(limits->disk, disk), tc_human_size(limits->log, log),
                   (unsigned long long)limits->processes);
    line("limits", text);
}

static void source_lines(line_fn *line, const struct tc_part_source *source)
{
    hex_line(line, "source", source->digest.bytes, sizeof source->digest.bytes);
    if (source->has_commit) {
        hex_line(line, "commit", source->commit.bytes, sizeof source->commit.bytes);
        hex_line(line, "tree", source->tree.bytes, sizeof source->tree.bytes);
    }
    optional_line(line, "claimed repo", source->repository);
    optional_line(line, "claimed ref", source->ref);
    for (size_t i = 0; i < source->tags_count; i++)
        line("chosen tag", source->tags[i]);
}

static void statement_lines(line_fn *line, const struct tc_statement *statement)
{
    const struct tc_part_recipe *recipe = &statement->recipe;
    source_lines(line, &statement->source);
    line("build file", recipe->build_file);
    line("language", recipe->language);
    optional_line(line, "image", recipe->image);
    optional_line(line, "vendor", recipe->vendor);
    line("command", recipe->command);
    line("folder", recipe->folder);
    for (size_t i = 0; i < recipe->environment_count; i++)
        line("environment", recipe->environment[i]);
    limits_line(line, &recipe->limits);
    line("network", "offline");
    if (statement->nonce_size > 0)
        hex_line(line, "nonce", statement->nonce, statement->nonce_size);
    for (unsigned i = 0; i < 3; i++) {
        static const char *const names[] = {"PCR0", "PCR1", "PCR2"};
        hex_line(line, names[i], statement->platform.pcr[i].bytes, TC_SHA384_SIZE);
    }
    line("measured", statement->platform.measured ? "yes" : "no: the machine's own toolchain");
    time_line(line, "started", statement->started);
    time_line(line, "finished", statement->finished);
    for (size_t i = 0; i < statement->collected_count; i++) {
        line("asked", statement->collected[i].command);
        line("build said", statement->collected[i].output);
    }
    for (size_t i = 0; i < statement->subjects_count; i++) {
        const struct tc_subject *subject = &statement->subjects[i];
        char text[TC_SHA256_HEX + TC_PATH_MAX + 4], hex[TC_SHA256_HEX];
        tc_hex((struct tc_span){subject->digest.bytes, TC_SHA256_SIZE}, hex);
        (void)snprintf(text, sizeof text, "%s  %s", hex, subject->path);
        line("output", text);
    }
}

static void document_lines(line_fn *line, const struct tc_bundle_view *view)
{
    struct tc_nitrodoc document;
    struct tc_error err = {0};
    if (tc_nitrodoc_decode(tc_buf_span(&view->document), &document, &err) == TC_OK)
        time_line(line, "signed", (int64_t)(document.timestamp / 1000));
    else
        line("document", err.message);
}

static tc_status print_json(const struct tc_bundle_view *view, struct tc_error *err)
{
    /* Written anew, not copied: the bundle's own bytes may hold characters that
     * do not belong on a terminal. */
    TC_AUTO_BUF struct tc_buf statement = tc_buf_new(TC_STATEMENT_MAX);
    TC_TRY(tc_statement_write(&view->statement, &statement, err));
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(2 * (size_t)TC_STATEMENT_MAX);
    struct tc_jsonw w = tc_jsonw_new(&buf);
    tc_jsonw_object(&w, NULL);
    tc_jsonw_text(&w, "verdict", "undecided");
    tc_jsonw_text(&w, "notice", notice);
    tc_jsonw_bool(&w, "detached", view->detached);
    tc_jsonw_array(&w, "checks");
    tc_jsonw_end_array(&w);
    tc_jsonw_written(&w, "statement", tc_buf_span(&statement));
    tc_jsonw_end_object(&w);
    TC_TRY(tc_buf_check(&buf, "the report", err));
    return tc_print_buf(stdout, &buf, err);
}

static tc_status print_view(const struct tc_bundle_view *view, enum form form, struct tc_error *err)
{
    if (form == FORM_JSON) return print_json(view, err);
    line_fn *line = form == FORM_MARKDOWN ? markdown_line : text_line;
    if (form == FORM_MARKDOWN)
        (void)printf("**%s**\n\n| what | value |\n| --- | --- |\n", notice);
    else
        (void)printf("%s\n", notice);
    statement_lines(line, &view->statement);
    document_lines(line, view);
    line("form", view->detached ? "detached: the outputs are published beside it" : "with outputs");
    return tc_print_flush(stdout, err);
}

static tc_status run(const char *path, enum form form, struct tc_error *err)
{
    bool from_stdin = strcmp(path, "-") == 0;
    TC_AUTO_CLOSE int fd = from_stdin ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                                      : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open %s", path);
    struct tc_bundle_view view = {0};
    TC_TRY(tc_bundle_view_read(fd, &view, err));
    tc_status status = print_view(&view, form, err);
    tc_bundle_view_free(&view);
    return status;
}

int tc_cmd_report(int argc, char **argv)
{
    static const struct option options[] = {{"json", no_argument, NULL, 'j'},
                                            {"markdown", no_argument, NULL, 'm'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    struct tc_error err = {0};
    enum form form = FORM_TEXT;
    int option;
    opterr = 0;
    optind = 0; /* GNU: start anew, whatever main has parsed before */
    tc_status status = TC_OK;
    while (status == TC_OK && (option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'h') return tc_print_usage(stdout, usage) ? TC_EXIT_YES : TC_EXIT_UNDECIDED;
        if (option == '?')
            status = tc_fail(&err, TC_USAGE, "%s is unknown or ambiguous", argv[optind - 1]);
        else if (form != FORM_TEXT)
            status = tc_fail(&err, TC_USAGE, "only one of --json and --markdown can be given");
        else
            form = option == 'j' ? FORM_JSON : FORM_MARKDOWN;
    }
    if (status == TC_OK && optind + 1 != argc)
        status = tc_fail(&err, TC_USAGE, "expected one bundle, got %d", argc - optind);
    if (status != TC_OK) {
        tc_print_failure("report", &err, tc_wants_json(argc, argv));
        (void)tc_print_usage(stderr, usage);
        return TC_EXIT_UNDECIDED;
    }
    status = run(argv[optind], form, &err);
    if (status == TC_OK) return TC_EXIT_YES;
    tc_print_failure("report", &err, form == FORM_JSON);
    return TC_EXIT_UNDECIDED;
}
