#include "cmd/print.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"

void tc_print_error(const char *command, const struct tc_error *err)
{
    /* Paths from the command line stand in messages as they are, and a script may
     * have them from somebody else. */
    char shown[TC_ERROR_MAX];
    struct tc_span message = tc_span_of_text(err->message);
    (void)fprintf(stderr, "%s %s: %s\n", program_invocation_short_name, command,
                  tc_is_printable(message) ? err->message
                                           : tc_printable(message, shown, sizeof shown));
}

enum tc_exit tc_exit_of(tc_status status)
{
    switch (status) {
    case TC_OK: return TC_EXIT_YES;
    case TC_BUILD:
    case TC_LIMIT:
    case TC_REFUSED: return TC_EXIT_NO;
    case TC_MALFORMED:
    case TC_USAGE:
    case TC_UNAVAILABLE:
    case TC_PEER:
    case TC_INTERRUPTED:
    case TC_SYSTEM: return TC_EXIT_UNDECIDED;
    }
    return TC_EXIT_UNDECIDED;
}

static void write_text(struct tc_jsonw *w, const char *name, const char *text)
{
    char shown[2 * TC_ERROR_MAX];
    if (text)
        tc_jsonw_text(w, name, tc_printable_again(tc_span_of_text(text), shown, sizeof shown));
}

static void write_build(struct tc_jsonw *w, const struct tc_print_build *build)
{
    write_text(w, "backend", build->backend);
    tc_jsonw_object(w, "build");
    if (build->because && *build->because) write_text(w, "because", build->because);
    write_text(w, "image", build->image);
    if (build->image) tc_jsonw_hex(w, "pcr0", build->pcr0->bytes, sizeof build->pcr0->bytes);
    write_text(w, "bundle", build->bundle);
    write_text(w, "detached", build->detached);
    write_text(w, "extract", build->extract);
    write_text(w, "log", build->log);
    write_text(w, "console", build->console);
    tc_jsonw_end_object(w);
}

static bool print_failure(const char *command, const struct tc_print_build *build,
                          const struct tc_error *failure, bool json)
{
    tc_print_error(command, failure);
    if (!json) return true;
    struct tc_error err = {0};
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(64 * TC_ERROR_MAX);
    struct tc_jsonw w = tc_jsonw_new(&buf);
    char reason[TC_ERROR_MAX];
    bool plain = tc_is_utf8(tc_span_of_text(failure->message));
    tc_jsonw_object(&w, NULL);
    tc_jsonw_text(&w, "verdict",
                  tc_exit_of(failure->status) == TC_EXIT_NO ? "failed" : "undecided");
    tc_jsonw_bool(&w, "hardware", false);
    tc_jsonw_text(&w, "status", tc_status_name(failure->status));
    tc_jsonw_text(&w, "reason",
                  plain ? failure->message
                        : tc_printable(tc_span_of_text(failure->message), reason, sizeof reason));
    if (build) write_build(&w, build);
    tc_jsonw_array(&w, "checks");
    tc_jsonw_end_array(&w);
    tc_jsonw_end_object(&w);
    tc_status status = tc_buf_check(&buf, "the result", &err);
    if (status == TC_OK) status = tc_print_buf(stdout, &buf, &err);
    if (status != TC_OK) tc_print_error(command, &err);
    return status == TC_OK;
}

bool tc_print_failure(const char *command, const struct tc_error *failure, bool json)
{
    return print_failure(command, NULL, failure, json);
}

bool tc_print_failed_build(const struct tc_print_build *build, const struct tc_error *failure,
                           bool json)
{
    return print_failure("build", build, failure, json);
}

bool tc_wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--json") == 0 || strcmp(argv[i], "-json") == 0) return true;
    return false;
}

bool tc_print_usage(FILE *stream, const char *usage)
{
    static const char name[] = "tee-compile";
    for (const char *at; (at = strstr(usage, name)); usage = at + sizeof name - 1)
        (void)fprintf(stream, "%.*s%s", (int)(at - usage), usage, program_invocation_short_name);
    return fputs(usage, stream) >= 0 && fflush(stream) == 0;
}

bool tc_print_colour(FILE *stream)
{
    const char *no_colour = getenv("NO_COLOR");
    return !(no_colour && *no_colour) && isatty(fileno(stream)) == 1;
}

void tc_print_field(FILE *stream, const char *label, const char *text)
{
    if (!text) return;
    char shown[2048];
    (void)fprintf(stream, "  %-12s %s\n", label,
                  tc_printable(tc_span_of_text(text), shown, sizeof shown));
}

void tc_print_field_hex(FILE *stream, const char *label, const void *bytes, size_t size)
{
    char hex[TC_SHA384_HEX];
    if (2 * size + 1 > sizeof hex) return;
    tc_hex((struct tc_span){bytes, size}, hex);
    tc_print_field(stream, label, hex);
}

const char *tc_verdict_name(enum tc_verdict_kind kind)
{
    switch (kind) {
    case TC_VERDICT_AUTHENTIC:
        return "authentic";
    case TC_VERDICT_DEVELOPMENT:
        return "development";
    case TC_VERDICT_REFUSED:
        return "refused";
    case TC_VERDICT_UNDECIDED:
        return "undecided";
    }
    return "undecided";
}

static const char *result_name(enum tc_check_result result)
{
    switch (result) {
    case TC_CHECK_PASS:
        return "pass";
    case TC_CHECK_FAIL:
        return "fail";
    case TC_CHECK_NOT_ASKED:
        return "not-asked";
    case TC_CHECK_NOT_JUDGED:
        return "not-judged";
    case TC_CHECK_ALLOWED:
        return "allowed";
    }
    return "fail";
}

static enum tc_check_result result_of(const struct tc_verdict *verdict, const char *name)
{
    for (size_t i = 0; i < verdict->checks_count; i++)
        if (strcmp(verdict->checks[i].name, name) == 0) return verdict->checks[i].result;
    return TC_CHECK_NOT_ASKED;
}

static bool is_source_compared(const struct tc_verdict *verdict)
{
    return result_of(verdict, "source") == TC_CHECK_PASS ||
           result_of(verdict, "commit") == TC_CHECK_PASS;
}

static bool is_good(const struct tc_verdict *verdict)
{
    return verdict->kind == TC_VERDICT_AUTHENTIC || verdict->kind == TC_VERDICT_DEVELOPMENT;
}

void tc_print_headline(FILE *stream, const struct tc_verdict *verdict, const char *addition,
                       const char *name)
{
    static const char *const colours[] = {[TC_VERDICT_AUTHENTIC] = "\033[32m",
                                          [TC_VERDICT_DEVELOPMENT] = "\033[33m",
                                          [TC_VERDICT_REFUSED] = "\033[31m",
                                          [TC_VERDICT_UNDECIDED] = "\033[31m"};
    bool colour = tc_print_colour(stream);
    char shown[1024];
    (void)fprintf(stream, "%s%s%s%s: %s\n", colour ? colours[verdict->kind] : "",
                  tc_verdict_name(verdict->kind), addition, colour ? "\033[0m" : "",
                  tc_printable(tc_span_of_text(name), shown, sizeof shown));
    if (!is_good(verdict)) {
        (void)fprintf(stream, "  %s\n", verdict->reason);
        return;
    }
    if (verdict->weak_live)
        (void)fputs("  THE LIVE BUNDLE IS NOT AUTHENTIC: nothing attests what the network answered\n",
                    stream);
    else if (!verdict->hardware)
        (void)fputs("  NOTHING WAS ATTESTED BY HARDWARE: the signer is the root given with --root\n",
                    stream);
    if (result_of(verdict, "debug") == TC_CHECK_ALLOWED)
        (void)fprintf(stream, "  A DEBUG ENCLAVE: its host can read and change its memory\n");
    if (result_of(verdict, "unauthenticated") == TC_CHECK_ALLOWED)
        (void)fprintf(stream,
                      "  NOT ALL OF IT IS AUTHENTICATED: the builder's network chose some of what "
                      "the build was given\n");
    if (result_of(verdict, "replayed") == TC_CHECK_ALLOWED)
        (void)fprintf(stream, "  REPLAYED: the builder's archive chose what the build was given\n");
    if (result_of(verdict, "image") == TC_CHECK_ALLOWED)
        (void)fprintf(stream, "  THE IMAGE IS NOT KNOWN: nothing says which toolchain was used\n");
}

static void print_facts(FILE *stream, const struct tc_statement *statement)
{
    const struct tc_part_source *source = &statement->source;
    for (size_t i = 0; i < statement->network.ca_count; i++) {
        char line[TC_HOST_NAME_MAX + TC_SHA256_HEX + 32], hex[TC_SHA256_HEX];
        tc_hex((struct tc_span){statement->network.ca[i].digest.bytes, TC_SHA256_SIZE}, hex);
        (void)snprintf(line, sizeof line, "for %s, sha256 %s", statement->network.ca[i].host, hex);
        tc_print_field(stream, "EXTRA CA", line);
    }
    tc_print_field_hex(stream, "source", source->digest.bytes, sizeof source->digest.bytes);
    if (source->has_commit)
        tc_print_field_hex(stream, "commit", source->commit.bytes, sizeof source->commit.bytes);
    tc_print_field(stream, "witnessed", statement->witness.repository);
    tc_print_field(stream, "witnessed", statement->witness.ref);
    if (source->repository) tc_print_field(stream, "claimed repo", source->repository);
    if (source->ref) tc_print_field(stream, "claimed ref", source->ref);
    tc_print_field(stream, "command", statement->recipe.command);
    tc_print_field_hex(stream, "PCR0", statement->platform.pcr[0].bytes, TC_SHA384_SIZE);
    for (size_t i = 0; i < statement->subjects_count && i < 20; i++) {
        char line[TC_SHA256_HEX + TC_PATH_MAX + 4], hex[TC_SHA256_HEX];
        tc_hex((struct tc_span){statement->subjects[i].digest.bytes, TC_SHA256_SIZE}, hex);
        (void)snprintf(line, sizeof line, "%s  %s", hex, statement->subjects[i].path);
        tc_print_field(stream, "output", line);
    }
    if (statement->subjects_count > 20)
        (void)fprintf(stream, "  %-12s and %zu more\n", "", statement->subjects_count - 20);
}

static void print_image(FILE *stream, const struct tc_image_fact *image)
{
    if (!image->known) return;
    char text[2 * TC_IMAGE_NAME_MAX + TC_SHA256_HEX + 64];
    if (image->own)
        (void)snprintf(text, sizeof text, "%s%s%s (your own word)", image->name,
                       *image->version ? " " : "", image->version);
    else
        (void)snprintf(text, sizeof text, "%s %s (list %s, sequence %llu)", image->name,
                       image->version, image->signer, (unsigned long long)image->sequence);
    tc_print_field(stream, "image", text);
}

void tc_print_verdict(FILE *stream, const struct tc_verdict *verdict, const char *name)
{
    bool compared = !is_good(verdict) || is_source_compared(verdict);
    tc_print_headline(stream, verdict, compared ? "" : ", source not compared", name);
    if (verdict->have_statement && is_good(verdict)) print_facts(stream, &verdict->statement);
    if (is_good(verdict)) print_image(stream, &verdict->image);
    if (verdict->signed_at > 0 && is_good(verdict)) {
        char stamp[TC_TIME_TEXT_SIZE];
        tc_format_time((int64_t)(verdict->signed_at / 1000), stamp);
        tc_print_field(stream, "signed", stamp);
    }
    for (size_t i = 0; i < verdict->warnings_count; i++) /* escaped when they were added */
        (void)fprintf(stream, "  %-12s %s\n", "WARNING", verdict->warnings[i]);
    tc_print_checks(stream, verdict);
}

void tc_print_checks(FILE *stream, const struct tc_verdict *verdict)
{
    size_t folded = 0;
    const char *why = NULL; /* the first check that was not judged said this */
    (void)fprintf(stream, "checks:\n");
    for (size_t i = 0; i < verdict->checks_count; i++) {
        const struct tc_check *check = &verdict->checks[i];
        if (check->result == TC_CHECK_NOT_JUDGED) {
            if (why && strcmp(why, check->seen) == 0) {
                folded++;
                continue;
            }
            why = check->seen;
        }
        /* What was not asked qualifies a yes, and would only bury the reason of a no. */
        if (check->result == TC_CHECK_NOT_ASKED && !is_good(verdict)) continue;
        (void)fprintf(stream, "  %-10s %s\n", result_name(check->result), check->name);
        if (check->result == TC_CHECK_PASS) continue;
        (void)fprintf(stream, "             expected %s\n             saw      %s\n",
                      check->expected, check->seen);
    }
    if (folded > 0) (void)fprintf(stream, "  not-judged %zu more, for the same reason\n", folded);
}

void tc_print_write_checks(struct tc_jsonw *w, const struct tc_verdict *verdict)
{
    tc_jsonw_array(w, "checks");
    for (size_t i = 0; i < verdict->checks_count; i++) {
        const struct tc_check *check = &verdict->checks[i];
        tc_jsonw_object(w, NULL);
        tc_jsonw_text(w, "name", check->name);
        tc_jsonw_text(w, "result", result_name(check->result));
        tc_jsonw_text(w, "expected", check->expected);
        tc_jsonw_text(w, "seen", check->seen);
        tc_jsonw_end_object(w);
    }
    tc_jsonw_end_array(w);
}

static void write_time(struct tc_jsonw *w, const char *key, int64_t seconds)
{
    char text[TC_TIME_TEXT_SIZE];
    tc_format_time(seconds, text);
    tc_jsonw_text(w, key, text);
}

static void write_image(struct tc_jsonw *w, const struct tc_image_fact *image)
{
    if (!image->known) return;
    tc_jsonw_object(w, "image");
    tc_jsonw_text(w, "name", image->name);
    if (*image->version) tc_jsonw_text(w, "version", image->version);
    tc_jsonw_hex(w, "pcr0", image->pcr0.bytes, sizeof image->pcr0.bytes);
    if (image->has_recipe) tc_jsonw_hex(w, "recipe", image->recipe.bytes, sizeof image->recipe.bytes);
    tc_jsonw_bool(w, "own", image->own);
    if (!image->own) {
        tc_jsonw_object(w, "list");
        tc_jsonw_text(w, "signer", image->signer);
        tc_jsonw_u64(w, "sequence", image->sequence);
        write_time(w, "issued", image->issued);
        write_time(w, "next_update", image->next_update);
        tc_jsonw_bool(w, "stale", image->stale);
        tc_jsonw_end_object(w);
    }
    tc_jsonw_end_object(w);
}

static void write_warnings(struct tc_jsonw *w, const struct tc_verdict *verdict)
{
    if (verdict->warnings_count == 0) return;
    tc_jsonw_array(w, "warnings");
    for (size_t i = 0; i < verdict->warnings_count; i++)
        tc_jsonw_text(w, NULL, verdict->warnings[i]);
    tc_jsonw_end_array(w);
}

static void write_list(struct tc_jsonw *w, const char *key, char *const *list, size_t count)
{
    tc_jsonw_array(w, key);
    for (size_t i = 0; i < count; i++)
        tc_jsonw_text(w, NULL, list[i]);
    tc_jsonw_end_array(w);
}

static void write_network(struct tc_jsonw *w, const struct tc_statement *statement)
{
    static const char *const modes[] = {[TC_NETWORK_OFFLINE] = "offline",
                                        [TC_NETWORK_RECORD] = "record",
                                        [TC_NETWORK_PINNED] = "pinned"};
    const struct tc_part_network *network = &statement->network;
    size_t pinned = 0;
    for (size_t i = 0; i < statement->dependencies_count; i++)
        pinned += statement->dependencies[i].pinned_by != NULL;
    tc_jsonw_object(w, "network");
    tc_jsonw_array(w, "extra_ca");
    for (size_t i = 0; i < network->ca_count; i++) {
        tc_jsonw_object(w, NULL);
        tc_jsonw_text(w, "host", network->ca[i].host);
        tc_jsonw_text(w, "path", network->ca[i].path);
        tc_jsonw_hex(w, "sha256", network->ca[i].digest.bytes, TC_SHA256_SIZE);
        tc_jsonw_end_object(w);
    }
    tc_jsonw_end_array(w);
    tc_jsonw_text(w, "mode", modes[statement->recipe.network]);
    tc_jsonw_bool(w, "replayed", network->replayed);
    tc_jsonw_u64(w, "downloads", statement->dependencies_count);
    tc_jsonw_u64(w, "pinned", pinned);
    write_list(w, "plain_http", network->plain_http, network->plain_http_count);
    write_list(w, "opaque", network->opaque, network->opaque_count);
    tc_jsonw_end_object(w);
}

static void write_outputs(struct tc_jsonw *w, const struct tc_statement *statement)
{
    tc_jsonw_array(w, "outputs");
    for (size_t i = 0; i < statement->subjects_count; i++) {
        const struct tc_subject *subject = &statement->subjects[i];
        tc_jsonw_object(w, NULL);
        tc_jsonw_text(w, "name", subject->path);
        tc_jsonw_hex(w, "sha256", subject->digest.bytes, sizeof subject->digest.bytes);
        tc_jsonw_end_object(w);
    }
    tc_jsonw_end_array(w);
}

tc_status tc_print_verdict_json(FILE *stream, const struct tc_verdict *verdict,
                                const struct tc_print_build *build, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_STATEMENT_MAX);
    struct tc_jsonw w = tc_jsonw_new(&buf);
    tc_jsonw_object(&w, NULL);
    tc_jsonw_text(&w, "verdict", tc_verdict_name(verdict->kind));
    tc_jsonw_bool(&w, "hardware", verdict->hardware);
    if (build) write_build(&w, build);
    tc_jsonw_bool(&w, "source_compared", is_source_compared(verdict));
    if (verdict->reason[0]) tc_jsonw_text(&w, "reason", verdict->reason);
    if (verdict->signed_at > 0) {
        char stamp[TC_TIME_TEXT_SIZE];
        tc_format_time((int64_t)(verdict->signed_at / 1000), stamp);
        tc_jsonw_text(&w, "signed_at", stamp);
    }
    write_image(&w, &verdict->image);
    write_warnings(&w, verdict);
    tc_print_write_checks(&w, verdict);
    if (verdict->have_statement) write_network(&w, &verdict->statement);
    if (verdict->have_statement) write_outputs(&w, &verdict->statement);
    tc_jsonw_end_object(&w);
    TC_TRY(tc_buf_check(&buf, "the verdict", err));
    return tc_print_buf(stream, &buf, err);
}

tc_status tc_print_buf(FILE *stream, const struct tc_buf *buf, struct tc_error *err)
{
    if (buf->size > 0 && fwrite(buf->data, 1, buf->size, stream) != buf->size)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot write the result");
    (void)fputc('\n', stream);
    return tc_print_flush(stream, err);
}

tc_status tc_print_flush(FILE *stream, struct tc_error *err)
{
    if (fflush(stream) != 0 || ferror(stream))
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot write the result");
    return TC_OK;
}
