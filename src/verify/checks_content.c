#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "core/bundle.h"
#include "verify/judge.h"

static const char *sha256_text(const struct tc_sha256 *digest, char out[TC_SHA256_HEX])
{
    tc_hex((struct tc_span){digest->bytes, sizeof digest->bytes}, out);
    return out;
}

static bool same_digest(const struct tc_sha256 *a, const struct tc_sha256 *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* A digest against a digest, as text. */
static void add_digests(struct tc_judge *judge, const char *name, const struct tc_sha256 *expected,
                        const struct tc_sha256 *seen)
{
    char expected_text[TC_SHA256_HEX], seen_text[TC_SHA256_HEX];
    tc_judge_add_bool(judge, name, same_digest(expected, seen),
                      sha256_text(expected, expected_text), sha256_text(seen, seen_text));
}

void tc_check_container(struct tc_judge *judge, const struct tc_error *intake_error)
{
    static const char expected[] = "a tar in the form of a bundle with all its members";
    const struct tc_intake *intake = judge->intake;
    const char *missing = !intake->build_file.present ? TC_BUNDLE_BUILD_FILE
                          : !intake->has_document     ? TC_BUNDLE_DOCUMENT
                          : !intake->has_envelope     ? TC_BUNDLE_ENVELOPE
                          : !intake->has_transcript   ? TC_BUNDLE_TRANSCRIPT
                          : !intake->has_statement    ? TC_BUNDLE_STATEMENT
                                                      : NULL;
    char seen[TC_ERROR_MAX];
    if (intake_error->status == TC_MALFORMED) {
        (void)snprintf(seen, sizeof seen,
                       "%.*s (a bundle counts only as it was made: one that was unpacked and packed "
                       "again, or compressed, is refused)",
                       TC_ERROR_MAX / 2, intake_error->message);
        tc_judge_add(judge, "container", TC_CHECK_FAIL, expected, seen);
    } else if (intake_error->status != TC_OK) {
        tc_judge_add(judge, "container",
                     intake_error->status == TC_REFUSED ? TC_CHECK_FAIL : TC_CHECK_NOT_JUDGED,
                     expected, intake_error->message);
    } else if (missing) {
        (void)snprintf(seen, sizeof seen, "%s is missing", missing);
        tc_judge_add(judge, "container", TC_CHECK_FAIL, expected, seen);
    } else if (intake->strangers > 0) {
        (void)snprintf(seen, sizeof seen, "%s has no place in a bundle", intake->first_stranger);
        tc_judge_add(judge, "container", TC_CHECK_FAIL, expected, seen);
    } else {
        tc_judge_add(judge, "container", TC_CHECK_PASS, expected, expected);
    }
}

void tc_check_statement(struct tc_judge *judge)
{
    static const char expected[] = "an in-toto Statement v1 of " TC_BUILD_TYPE;
    const struct tc_intake *intake = judge->intake;
    if (!intake->has_statement) {
        tc_judge_add_unjudged(judge, "statement", expected);
        return;
    }
    const char *seen = intake->statement_read ? expected : intake->statement_error.message;
    tc_judge_add_bool(judge, "statement", intake->statement_read, expected, seen);
    if (intake->statement_read && strcmp(intake->statement.recipe.build_file, "build.json") != 0)
        tc_judge_warn(judge, "the build file is not build.json at the top of the source");
}

void tc_check_limits(struct tc_judge *judge)
{
    static const char expected[] = "limits within the ranges that build.json may ask for";
    if (!judge->statement) {
        tc_judge_add_unjudged(judge, "limits", expected);
        return;
    }
    const struct tc_limits *limits = &judge->statement->recipe.limits;
    char seen[192];
    (void)snprintf(seen, sizeof seen,
                   "timeout %llu s, memory %llu, disk %llu, log %llu bytes, %llu processes",
                   (unsigned long long)limits->timeout, (unsigned long long)limits->memory,
                   (unsigned long long)limits->disk, (unsigned long long)limits->log,
                   (unsigned long long)limits->processes);
    tc_judge_add_bool(judge, "limits", tc_limits_are_valid(limits), expected, seen);
}

void tc_check_build_file(struct tc_judge *judge)
{
    const struct tc_intake_file *file = &judge->intake->build_file;
    if (!judge->statement || !file->present) {
        tc_judge_add_unjudged(judge, "build-file", "the build file that the statement names");
        return;
    }
    add_digests(judge, "build-file", &judge->statement->recipe.build_file_digest, &file->digest);
}

void tc_check_log(struct tc_judge *judge)
{
    static const char kept[] = "the log that the statement names";
    static const char omitted[] = "no log, as the statement says";
    if (!judge->statement) {
        tc_judge_add_unjudged(judge, "log", kept);
        return;
    }
    const struct tc_part_log *log = &judge->statement->log;
    const struct tc_intake_file *file = &judge->intake->log;
    if (log->present != file->present)
        tc_judge_add(judge, "log", TC_CHECK_FAIL, log->present ? kept : omitted,
                     file->present ? "a log that the statement does not cover" : "no log");
    else if (!log->present)
        tc_judge_add(judge, "log", TC_CHECK_PASS, omitted, "no log");
    else if (log->size != file->size)
        tc_judge_add(judge, "log", TC_CHECK_FAIL, kept, "a log of another size");
    else
        add_digests(judge, "log", &log->digest, &file->digest);
}

void tc_check_transcript(struct tc_judge *judge)
{
    static const char expected[] = "the transcript that the statement names";
    const struct tc_intake *intake = judge->intake;
    if (!judge->statement || !intake->has_transcript) {
        tc_judge_add_unjudged(judge, "transcript", expected);
        return;
    }
    if (!intake->transcript_read) {
        tc_judge_add(judge, "transcript", TC_CHECK_FAIL, expected,
                     intake->transcript_error.message);
        return;
    }
    const struct tc_part_transcript *said = &judge->statement->transcript;
    const struct tc_transcript_summary *seen = &intake->transcript;
    const char *problem = NULL;
    if (!same_digest(&said->digest, &seen->digest))
        problem = "the bytes have another digest";
    else if (!same_digest(&said->last, &seen->last))
        problem = "the chain ends in another value";
    else if (said->count != seen->count)
        problem = "the number of exchanges differs";
    char text[64];
    (void)snprintf(text, sizeof text, "%llu exchanges", (unsigned long long)seen->count);
    tc_judge_add_bool(judge, "transcript", !problem, expected, problem ? problem : text);
}

static bool is_given(const struct tc_verify_options *options, const struct tc_subject *subject)
{
    for (size_t i = 0; i < options->artifacts_count; i++)
        if (same_digest(&options->artifacts[i].digest, &subject->digest)) return true;
    return false;
}

/* Every subject is inside, or given as an artifact: one that is neither is
 * named, not passed. Nothing else may be inside. */
void tc_check_outputs(struct tc_judge *judge)
{
    char expected[128] = "every output that the statement names and no other", seen[512];
    const struct tc_intake *intake = judge->intake;
    if (!judge->statement) {
        tc_judge_add_unjudged(judge, "outputs", expected);
        return;
    }
    size_t total = judge->statement->subjects_count, inside = 0, given = 0, missing = 0;
    const char *first = NULL;
    for (size_t i = 0; i < total; i++) {
        const struct tc_subject *subject = &judge->statement->subjects[i];
        if (intake->outputs[i] != TC_OUTPUT_ABSENT)
            inside++;
        else if (is_given(judge->options, subject))
            given++;
        else if (!judge->options->transcript_alone && missing++ == 0)
            first = subject->path;
    }
    if (intake->problems > 0) {
        (void)snprintf(seen, sizeof seen, "%s%s", intake->first_problem,
                       intake->problems > 1 ? ", and others" : "");
    } else if (missing > 0) {
        char shown[160];
        (void)snprintf(seen, sizeof seen,
                       "%s%s %s neither in the bundle nor given with --artifact",
                       tc_printable(tc_span_of_text(first), shown, sizeof shown),
                       missing > 1 ? " and others" : "", missing > 1 ? "are" : "is");
    } else {
        (void)snprintf(seen, sizeof seen, "%zu in the bundle, %zu given with --artifact", inside,
                       given);
    }
    if (judge->is_cut && intake->problems == 0)
        tc_judge_add_unjudged(judge, "outputs", expected);
    else
        tc_judge_add_bool(judge, "outputs", intake->problems == 0 && missing == 0, expected, seen);
}

static const char *last_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Which output a file is: the one with its bytes, of several the one that has its
 * name. A file with one output's name and another's bytes is not what it seems.
 * Returns NULL and the output, or what is wrong, to be followed by *ret_output. */
static const char *match_artifact(const struct tc_statement *statement,
                                  const struct tc_artifact *artifact, const char **ret_output)
{
    const char *named = NULL, *same = NULL;
    for (size_t i = 0; i < statement->subjects_count; i++) {
        const struct tc_subject *subject = &statement->subjects[i];
        bool has_name = strcmp(last_name(artifact->path), last_name(subject->path)) == 0;
        bool has_bytes = same_digest(&artifact->digest, &subject->digest);
        if (has_name && has_bytes) {
            *ret_output = subject->path;
            return NULL;
        }
        if (has_name && !named) named = subject->path;
        if (has_bytes && !same) same = subject->path;
    }
    *ret_output = same;
    if (!same) return "is no output of this build";
    return named ? "has the name of one output and the bytes of another, " : NULL;
}

void tc_check_artifacts(struct tc_judge *judge)
{
    static const char expected[] = "every file given with --artifact is an output of the build";
    const struct tc_verify_options *options = judge->options;
    if (options->artifacts_count == 0) {
        tc_judge_add(judge, "artifacts", TC_CHECK_NOT_ASKED, expected, "none given");
        return;
    }
    if (!judge->statement) {
        tc_judge_add_unjudged(judge, "artifacts", expected);
        return;
    }
    char seen[TC_ERROR_MAX] = "";
    size_t used = 0;
    for (size_t i = 0; i < options->artifacts_count; i++) {
        const struct tc_artifact *artifact = &options->artifacts[i];
        const char *output = NULL, *problem = match_artifact(judge->statement, artifact, &output);
        char shown[256], path[256];
        (void)tc_printable(tc_span_of_text(artifact->path), shown, sizeof shown);
        if (problem) {
            char hex[TC_SHA256_HEX];
            (void)snprintf(seen, sizeof seen, "%s with sha256 %s %s%s", shown,
                           sha256_text(&artifact->digest, hex), problem,
                           output ? tc_printable(tc_span_of_text(output), path, sizeof path) : "");
            tc_judge_add(judge, "artifacts", TC_CHECK_FAIL, expected, seen);
            return;
        }
        (void)tc_printable(tc_span_of_text(output), path, sizeof path);
        if (used < sizeof seen)
            used += (size_t)snprintf(seen + used, sizeof seen - used, "%s%s is output %s",
                                     i > 0 ? ", " : "", shown, path);
    }
    tc_judge_add(judge, "artifacts", TC_CHECK_PASS, expected, seen);
}

static void compare_source(struct tc_judge *judge)
{
    const struct tc_verify_options *options = judge->options;
    struct tc_sha256 given = options->source;
    struct tc_error err = {0};
    if (options->source_digest &&
        options->source_digest(options->source_context, judge->statement, &given, &err) != TC_OK) {
        tc_judge_add(judge, "source", TC_CHECK_NOT_JUDGED, "the source given with --source",
                     err.message);
        return;
    }
    add_digests(judge, "source", &given, &judge->statement->source.digest);
    if (!same_digest(&given, &judge->statement->source.digest))
        tc_judge_warn(judge, judge->statement->source.has_commit
                                 ? "the source differs: check out the commit that the report names"
                                 : "the source differs: it was no clean git commit, so every file in "
                                   "the folder counts; take out what was added since");
}

void tc_check_source(struct tc_judge *judge)
{
    char seen[TC_SHA256_HEX] = "no statement";
    if (!judge->options->compare_source)
        tc_judge_add(judge, "source", TC_CHECK_NOT_ASKED, "none given",
                     judge->statement ? sha256_text(&judge->statement->source.digest, seen) : seen);
    else if (!judge->statement)
        tc_judge_add_unjudged(judge, "source", "the source given with --source");
    else
        compare_source(judge);
}

void tc_check_commit(struct tc_judge *judge)
{
    const char *asked = judge->options->commit;
    if (!judge->statement && asked) {
        tc_judge_add_unjudged(judge, "commit", asked);
        return;
    }
    if (!judge->statement) {
        tc_judge_add(judge, "commit", TC_CHECK_NOT_ASKED, "none given", "no statement");
        return;
    }
    const struct tc_part_source *source = &judge->statement->source;
    char seen[64] = "a source that is no git commit";
    if (source->has_commit)
        tc_hex((struct tc_span){source->commit.bytes, sizeof source->commit.bytes}, seen);
    uint8_t wanted[TC_SHA1_SIZE];
    bool same = asked && source->has_commit && tc_unhex(asked, wanted, sizeof wanted) &&
                memcmp(wanted, source->commit.bytes, sizeof wanted) == 0;
    tc_judge_add(judge, "commit",
                 !asked ? TC_CHECK_NOT_ASKED
                 : same ? TC_CHECK_PASS
                        : TC_CHECK_FAIL,
                 asked ? asked : "none given", seen);
}
