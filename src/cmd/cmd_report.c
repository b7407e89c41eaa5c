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
#include "worker/spawner.h"

static const char usage[] = "usage: tee-compile report BUNDLE|- [--json|--markdown]\n";

static const char notice[] =
    "not verified: this is what the bundle says; tee-compile verify judges it";

enum form { FORM_TEXT, FORM_JSON, FORM_MARKDOWN };

/* One entry of the report, of lines that are safe to print: text and Markdown have
 * the same ones. next gives the lines one by one, NULL behind the last. */
struct lines {
    struct tc_span rest;
    bool said; /* several lines with backslashes as they are; or a single one */
    char shown[4 * TC_COLLECTED_MAX + 1];
};
typedef void entry_fn(const char *label, struct lines *lines);

/* Tabs become spaces up to the next multiple of 8; the result is cut, if ever, where
 * the buffer ends, as everything that is shown is. */
static struct tc_span expand_tabs(struct tc_span line, char *out, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < line.size && used < size; i++) {
        if (line.data[i] != '\t') {
            out[used++] = (char)line.data[i];
            continue;
        }
        do
            out[used++] = ' ';
        while (used < size && used % 8 != 0);
    }
    return (struct tc_span){(const uint8_t *)out, used};
}

static const char *next_line(struct lines *lines)
{
    char wide[4 * TC_COLLECTED_MAX];
    if (!lines->rest.data) return NULL;
    if (!lines->said) {
        (void)tc_printable(lines->rest, lines->shown, 2048);
        lines->rest.data = NULL;
        return lines->shown;
    }
    const uint8_t *end =
        lines->rest.size > 0 ? memchr(lines->rest.data, '\n', lines->rest.size) : NULL;
    size_t size = end ? (size_t)(end - lines->rest.data) : lines->rest.size;
    struct tc_span line = {lines->rest.data, size};
    (void)tc_printable_again(expand_tabs(line, wide, sizeof wide), lines->shown,
                             sizeof lines->shown);
    lines->rest.data += size + 1;
    lines->rest.size -= end ? size + 1 : size;
    /* A newline at the end begins no line. */
    if (lines->rest.size == 0) lines->rest.data = NULL;
    return lines->shown;
}

static void text_entry(const char *label, struct lines *lines)
{
    for (const char *line; (line = next_line(lines)); label = "")
        (void)printf("  %-12s%s%s\n", label, *line ? " " : "", line);
}

/* Every ASCII character with a meaning to Markdown or HTML becomes a numeric
 * entity: what a bundle says cannot leave its cell. So does a space at the start or
 * behind another one, to stay visible. */
static void markdown_text(const char *text)
{
    bool space = true;
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = c >= 0x80 || (c == ' ' && !space) || (c >= '0' && c <= '9') ||
                     (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        space = c == ' ';
        if (plain)
            (void)putchar(c);
        else
            (void)printf("&#%u;", space ? 160U : c);
    }
}

static void markdown_entry(const char *label, struct lines *lines)
{
    const char *before = "";
    (void)printf("| %s | ", label);
    for (const char *line; (line = next_line(lines)); before = "<br>") {
        (void)printf("%s<code>", before);
        markdown_text(line);
        (void)printf("</code>");
    }
    (void)printf(" |\n");
}

struct report {
    entry_fn *entry;
};

static void line(const struct report *report, const char *label, const char *text)
{
    struct lines lines = {.rest = tc_span_of_text(text)};
    report->entry(label, &lines);
}

/* Commands, their environment, and what one said, of which the worker kept newlines
 * and tabs and escaped the rest. A bundle may come from elsewhere, so that all is made
 * safe again; but a backslash is the text's own, and not escaped (a second time). */
static void said(const struct report *report, const char *label, const char *text)
{
    struct lines lines = {.rest = tc_span_of_text(text), .said = true};
    report->entry(label, &lines);
}

static void hex_line(const struct report *report, const char *label, const void *bytes, size_t size)
{
    char hex[2 * TC_WIRE_NONCE_MAX + 1];
    if (size > TC_WIRE_NONCE_MAX) return;
    tc_hex((struct tc_span){bytes, size}, hex);
    line(report, label, hex);
}

static void optional_line(const struct report *report, const char *label, const char *text)
{
    if (text) line(report, label, text);
}

static void time_line(const struct report *report, const char *label, int64_t seconds)
{
    char stamp[TC_TIME_TEXT_SIZE];
    tc_format_time(seconds, stamp);
    line(report, label, stamp);
}

static void limits_line(const struct report *report, const struct tc_limits *limits)
{
    char text[160], memory[16], disk[16], log[16];
    (void)snprintf(text, sizeof text, "%llu s, memory %s, disk %s, log %s, %llu processes",
                   (unsigned long long)limits->timeout, tc_human_size(limits->memory, memory),
                   tc_human_size(limits->disk, disk), tc_human_size(limits->log, log),
                   (unsigned long long)limits->processes);
    line(report, "limits", text);
}

static void source_lines(const struct report *report, const struct tc_part_source *source)
{
    hex_line(report, "source", source->digest.bytes, sizeof source->digest.bytes);
    if (source->has_commit) {
        hex_line(report, "commit", source->commit.bytes, sizeof source->commit.bytes);
        hex_line(report, "tree", source->tree.bytes, sizeof source->tree.bytes);
    }
    optional_line(report, "claimed repo", source->repository);
    optional_line(report, "claimed ref", source->ref);
    optional_line(report, "claimed host", source->backend);
    for (size_t i = 0; i < source->tags_count; i++)
        line(report, "chosen tag", source->tags[i]);
}

/* --host-tool FOLDER stands in the statement as FOLDER/bin at the front of PATH. */
static void host_tool_lines(const struct report *report, const struct tc_part_recipe *recipe)
{
    static const char variable[] = "PATH=", own[] = TC_BUILD_PATH;
    for (size_t i = 0; i < recipe->environment_count; i++) {
        const char *path = recipe->environment[i];
        if (strncmp(path, variable, sizeof variable - 1) != 0) continue;
        path += sizeof variable - 1;
        size_t size = strlen(path);
        if (size < sizeof own || strcmp(path + size - (sizeof own - 1), own) != 0) return;
        for (const char *end = path + size - (sizeof own - 1); path < end;) {
            size_t part = strcspn(path, ":");
            TC_AUTO_FREE char *folder = strndup(path, part);
            if (folder) line(report, "host tool", folder);
            path += part + 1;
        }
    }
}

/* What the image says of itself. Its packages one by one are in --json. */
static void image_lines(const struct report *report, const struct tc_statement *statement)
{
    static const char *const names[] = {"PCR0", "PCR1", "PCR2"};
    const struct tc_part_image *image = &statement->image;
    char count[32];
    for (unsigned i = 0; i < 3; i++)
        hex_line(report, names[i], statement->platform.pcr[i].bytes, TC_SHA384_SIZE);
    line(report, "measured",
         statement->platform.measured ? "yes" : "no: the machine's own toolchain");
    if (!image->name) return;
    line(report, "toolchain", image->name);
    hex_line(report, "recipe", image->recipe.bytes, sizeof image->recipe.bytes);
    (void)snprintf(count, sizeof count, "%zu", image->packages_count);
    line(report, "packages", count);
}

/* What the publisher chose to trust beside the image's own anchors stands before all else. */
static void ca_lines(const struct report *report, const struct tc_part_network *network)
{
    for (size_t i = 0; i < network->ca_count; i++) {
        char text[TC_HOST_NAME_MAX + TC_SHA256_HEX + TC_PATH_MAX + 32], hex[TC_SHA256_HEX];
        tc_hex((struct tc_span){network->ca[i].digest.bytes, TC_SHA256_SIZE}, hex);
        (void)snprintf(text, sizeof text, "%s  %s  sha256 %s", network->ca[i].host,
                       network->ca[i].path, hex);
        line(report, "extra CA", text);
    }
}

static void network_lines(const struct report *report, const struct tc_statement *statement)
{
    static const char *const modes[] = {[TC_NETWORK_OFFLINE] = "offline",
                                        [TC_NETWORK_RECORD] = "recorded",
                                        [TC_NETWORK_PINNED] =
                                            "recorded, what build.json pins alone"};
    const struct tc_part_network *network = &statement->network;
    char text[256], hex[TC_SHA256_HEX];
    if (network->hijack == TC_HIJACK_NONE) {
        line(report, "network", modes[statement->recipe.network]);
        return;
    }
    (void)snprintf(text, sizeof text, "%s; %s; %llu exchanges", modes[statement->recipe.network],
                   network->hijack == TC_HIJACK_NFTABLES ? "every port (nftables)"
                                                         : "the usual ports (anyip)",
                   (unsigned long long)statement->transcript.count);
    line(report, "network", text);
    if (network->replayed) {
        tc_hex((struct tc_span){network->archive.bytes, TC_SHA256_SIZE}, hex);
        (void)snprintf(text, sizeof text, "from the archive %s: where it came from is not proven",
                       hex);
        line(report, "replayed", text);
    }
    if (network->has_denied) {
        tc_hex((struct tc_span){network->denied.bytes, TC_SHA256_SIZE}, hex);
        (void)snprintf(text, sizeof text, "%llu certificates or keys, by the image's list %s",
                       (unsigned long long)network->denied_count, hex);
        line(report, "refused", text);
    }
    for (size_t i = 0; i < network->plain_http_count; i++)
        line(report, "plain HTTP", network->plain_http[i]);
    for (size_t i = 0; i < network->opaque_count; i++)
        line(report, "not recorded", network->opaque[i]);
}

/* A table: requests, bytes, bodies that the source pins, host. */
static void traffic_lines(const struct report *report, const struct tc_bundle_view *view)
{
    if (view->transcript_error.status != TC_OK) {
        line(report, "transcript", view->transcript_error.message);
        return;
    }
    if (view->hosts_count > 0) line(report, "by host", "requests       size  pinned/bodies  host");
    for (size_t i = 0; i < view->hosts_count; i++) {
        const struct tc_host_traffic *host = &view->hosts[i];
        char text[1024], size[16], denied[48] = "";
        if (host->denied > 0)
            (void)snprintf(denied, sizeof denied, "  %llu denied",
                           (unsigned long long)host->denied);
        (void)snprintf(text, sizeof text, "%8llu %10s %6llu/%-6llu  %s%s%s%s",
                       (unsigned long long)host->exchanges, tc_human_size(host->bytes, size),
                       (unsigned long long)host->pinned, (unsigned long long)host->bodies,
                       host->host, host->plain_http ? "  plain HTTP" : "",
                       host->opaque ? "  not recorded" : "", denied);
        said(report, "", text);
    }
}

/* Which downloads have their digest in the source, and the first that have not; all are
 * in --json. */
static void pinned_lines(const struct report *report, const struct tc_statement *statement)
{
    enum { SHOWN = 20 };
    size_t pinned = 0, open = 0;
    char text[TC_DEPENDENCY_URL_MAX + TC_SHA256_HEX + 8], hex[TC_SHA256_HEX];
    for (size_t i = 0; i < statement->dependencies_count; i++)
        pinned += statement->dependencies[i].pinned_by != NULL;
    if (statement->dependencies_count == 0) return;
    (void)snprintf(text, sizeof text, "%zu of %zu downloads, by a file of the source", pinned,
                   statement->dependencies_count);
    line(report, "pinned", text);
    for (size_t i = 0; i < statement->dependencies_count; i++) {
        const struct tc_dependency *dependency = &statement->dependencies[i];
        if (dependency->pinned_by || open++ >= SHOWN) continue;
        tc_hex((struct tc_span){dependency->digest.bytes, TC_SHA256_SIZE}, hex);
        (void)snprintf(text, sizeof text, "%s  %s", hex, dependency->url);
        line(report, "not pinned", text);
    }
    if (open <= SHOWN) return;
    (void)snprintf(text, sizeof text, "and %zu more", open - SHOWN);
    line(report, "not pinned", text);
}

static void statement_lines(const struct report *report, const struct tc_statement *statement)
{
    const struct tc_part_recipe *recipe = &statement->recipe;
    ca_lines(report, &statement->network);
    source_lines(report, &statement->source);
    optional_line(report, "witnessed", statement->witness.repository);
    optional_line(report, "witnessed", statement->witness.ref);
    line(report, "build file", recipe->build_file);
    line(report, "language", recipe->language);
    optional_line(report, "image", recipe->image);
    if (recipe->vendor) said(report, "vendor", recipe->vendor);
    said(report, "command", recipe->command);
    line(report, "folder", recipe->folder);
    for (size_t i = 0; i < recipe->environment_count; i++)
        said(report, "environment", recipe->environment[i]);
    host_tool_lines(report, recipe);
    limits_line(report, &recipe->limits);
    network_lines(report, statement);
    line(report, "log",
         statement->log.present ? "kept, redacted" : "not kept: built with --no-log");
    if (statement->nonce_size > 0)
        hex_line(report, "nonce", statement->nonce, statement->nonce_size);
    image_lines(report, statement);
    time_line(report, "started", statement->started);
    time_line(report, "finished", statement->finished);
    for (size_t i = 0; i < statement->collected_count; i++) {
        said(report, "asked", statement->collected[i].command);
        said(report, "build said", statement->collected[i].output);
    }
    for (size_t i = 0; i < statement->subjects_count; i++) {
        const struct tc_subject *subject = &statement->subjects[i];
        char text[TC_SHA256_HEX + TC_PATH_MAX + 4], hex[TC_SHA256_HEX];
        tc_hex((struct tc_span){subject->digest.bytes, TC_SHA256_SIZE}, hex);
        (void)snprintf(text, sizeof text, "%s  %s", hex, subject->path);
        line(report, "output", text);
    }
}

static void document_lines(const struct report *report, const struct tc_bundle_view *view)
{
    struct tc_nitrodoc document;
    struct tc_error err = {0};
    if (tc_nitrodoc_decode(tc_buf_span(&view->document), &document, &err) != TC_OK) {
        line(report, "document", err.message);
        return;
    }
    time_line(report, "signed", (int64_t)(document.timestamp / 1000));
    line(report, "root",
         tc_is_aws_root(document.cabundle[0])
             ? "names AWS Nitro's; whether that signed it, verify says"
             : "none of AWS: NOT attested by hardware");
}

static void write_hosts(struct tc_jsonw *w, const struct tc_bundle_view *view)
{
    tc_jsonw_array(w, "hosts");
    for (size_t i = 0; i < view->hosts_count; i++) {
        const struct tc_host_traffic *host = &view->hosts[i];
        tc_jsonw_object(w, NULL);
        tc_jsonw_text(w, "host", host->host);
        tc_jsonw_u64(w, "exchanges", host->exchanges);
        tc_jsonw_u64(w, "bytes", host->bytes);
        tc_jsonw_u64(w, "bodies", host->bodies);
        tc_jsonw_u64(w, "pinned", host->pinned);
        tc_jsonw_u64(w, "denied", host->denied);
        tc_jsonw_bool(w, "plain_http", host->plain_http);
        tc_jsonw_bool(w, "opaque", host->opaque);
        tc_jsonw_end_object(w);
    }
    tc_jsonw_end_array(w);
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
    write_hosts(&w, view);
    tc_jsonw_end_object(&w);
    TC_TRY(tc_buf_check(&buf, "the report", err));
    return tc_print_buf(stdout, &buf, err);
}

static tc_status print_view(const struct tc_bundle_view *view, enum form form, struct tc_error *err)
{
    if (form == FORM_JSON) return print_json(view, err);
    const struct report sink = {form == FORM_MARKDOWN ? markdown_entry : text_entry};
    const struct report *report = &sink;
    if (form == FORM_MARKDOWN)
        (void)printf("**%s**\n\n| what | value |\n| --- | --- |\n", notice);
    else
        (void)printf("%s\n", notice);
    statement_lines(report, &view->statement);
    traffic_lines(report, view);
    pinned_lines(report, &view->statement);
    document_lines(report, view);
    line(report, "form",
         view->detached ? "detached: the outputs are published beside it" : "with outputs");
    return tc_print_flush(stdout, err);
}

static tc_status run(const char *path, enum form form, struct tc_error *err)
{
    bool from_stdin = strcmp(path, "-") == 0;
    TC_AUTO_CLOSE int fd =
        from_stdin ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0) : open(path, O_RDONLY | O_CLOEXEC);
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
