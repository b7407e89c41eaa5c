#include "verify/intake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "core/bundle.h"
#include "core/dsse.h"

/* A member that nothing accounts for is read to its end, so that the other checks
 * can still be made; but not at any size: the answer is no already, and whoever
 * streams a bundle would wait for a claimed tebibyte. */
enum { UNACCOUNTED_MAX = 64 << 20 };
/* Log and transcript stand before the statement that has their sizes. Twice the
 * largest limit of a log, since redaction may lengthen it. */
#define STREAMED_MAX ((uint64_t)8 << 30)

enum member {
    MEMBER_STRANGER,
    MEMBER_BUILD_FILE,
    MEMBER_LOG,
    MEMBER_DOCUMENT,
    MEMBER_ENVELOPE,
    MEMBER_TRANSCRIPT,
    MEMBER_STATEMENT,
    MEMBER_OUTPUT,
};

static bool is_named(struct tc_span name, const char *expected)
{
    return tc_span_equal(name, tc_span_of_text(expected));
}

static enum member classify(struct tc_span name)
{
    size_t prefix = strlen(TC_BUNDLE_OUTPUTS);
    if (is_named(name, TC_BUNDLE_BUILD_FILE)) return MEMBER_BUILD_FILE;
    if (is_named(name, TC_BUNDLE_LOG)) return MEMBER_LOG;
    if (is_named(name, TC_BUNDLE_DOCUMENT)) return MEMBER_DOCUMENT;
    if (is_named(name, TC_BUNDLE_ENVELOPE)) return MEMBER_ENVELOPE;
    if (is_named(name, TC_BUNDLE_TRANSCRIPT)) return MEMBER_TRANSCRIPT;
    if (is_named(name, TC_BUNDLE_STATEMENT)) return MEMBER_STATEMENT;
    if (name.size > prefix && memcmp(name.data, TC_BUNDLE_OUTPUTS, prefix) == 0)
        return MEMBER_OUTPUT;
    return MEMBER_STRANGER;
}

static tc_status check_cap(const struct tc_bundle_member *member, uint64_t cap,
                           struct tc_error *err)
{
    if (member->size <= cap) return TC_OK;
    char shown[64];
    return tc_fail(err, TC_MALFORMED, "the bundle: %s has %llu bytes; at most %llu are allowed",
                   tc_printable(member->name, shown, sizeof shown),
                   (unsigned long long)member->size, (unsigned long long)cap);
}

static struct tc_subject *find_subject(struct tc_intake *intake, struct tc_span path)
{
    size_t low = 0, high = intake->statement_read ? intake->statement.subjects_count : 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        struct tc_subject *subject = &intake->statement.subjects[middle];
        struct tc_span name = tc_span_of_text(subject->path);
        size_t common = name.size < path.size ? name.size : path.size;
        int order = memcmp(path.data, name.data, common);
        if (order == 0 && path.size == name.size) return subject;
        if (order < 0 || (order == 0 && path.size < name.size))
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static void note_problem(struct tc_intake *intake, struct tc_span path, const char *what)
{
    if (intake->problems++ > 0) return;
    char shown[160];
    (void)snprintf(intake->first_problem, sizeof intake->first_problem, "%s %s",
                   tc_printable(path, shown, sizeof shown), what);
}

static tc_status check_unaccounted(const struct tc_bundle_member *member, const char *what,
                                   struct tc_error *err)
{
    if (member->size <= UNACCOUNTED_MAX) return TC_OK;
    char shown[160];
    return tc_fail(err, TC_REFUSED, "%s %s, and claims %llu bytes; not read further",
                   tc_printable(member->name, shown, sizeof shown), what,
                   (unsigned long long)member->size);
}

static tc_status begin_output(struct tc_intake *intake, const struct tc_bundle_member *member,
                              struct tc_error *err)
{
    static const char stranger[] = "is not among the statement's outputs";
    static const char other_size[] = "has another size than the statement says";
    size_t prefix = strlen(TC_BUNDLE_OUTPUTS);
    struct tc_span path = {member->name.data + prefix, member->name.size - prefix};
    intake->outputs_count++;
    intake->subject = find_subject(intake, path);
    if (!intake->subject) {
        note_problem(intake, path, stranger);
        return check_unaccounted(member, stranger, err);
    }
    if (member->size != intake->subject->size) {
        note_problem(intake, path, other_size);
        intake->outputs[intake->subject - intake->statement.subjects] = TC_OUTPUT_BAD;
        intake->subject = NULL; /* neither hashed nor extracted */
        return check_unaccounted(member, other_size, err);
    }
    const struct tc_verify_options *options = intake->options;
    if (!options || !options->extract_begin) return TC_OK;
    return options->extract_begin(options->extract_context, intake->subject->path,
                                  intake->subject->executable, err);
}

static tc_status begin(void *context, const struct tc_bundle_member *member, struct tc_error *err)
{
    struct tc_intake *intake = context;
    intake->member = (int)classify(member->name);
    intake->executable = member->executable;
    intake->size = member->size;
    tc_hash_restart(intake->hash);
    if (intake->executable && intake->member != MEMBER_OUTPUT && intake->member != MEMBER_STRANGER)
        return tc_fail(err, TC_MALFORMED, "the bundle: a member of attestation/ has mode 0755; "
                                          "expected 0644");
    switch ((enum member)intake->member) {
    case MEMBER_DOCUMENT:
        intake->has_document = true;
        return check_cap(member, TC_NITRODOC_MAX, err);
    case MEMBER_ENVELOPE:
        intake->has_envelope = true;
        return check_cap(member, TC_DSSE_MAX, err);
    case MEMBER_STATEMENT:
        intake->has_statement = true;
        return check_cap(member, TC_STATEMENT_MAX, err);
    case MEMBER_BUILD_FILE:
        return check_cap(member, TC_BUILDSPEC_SIZE_MAX, err);
    case MEMBER_TRANSCRIPT:
        intake->has_transcript = true;
        return check_cap(member, STREAMED_MAX, err);
    case MEMBER_OUTPUT:
        return begin_output(intake, member, err);
    case MEMBER_STRANGER:
        if (intake->strangers++ == 0)
            tc_printable(member->name, intake->first_stranger, sizeof intake->first_stranger);
        return check_unaccounted(member, "has no place in a bundle", err);
    case MEMBER_LOG:
        return check_cap(member, STREAMED_MAX, err);
    }
    return TC_OK;
}

static tc_status data(void *context, struct tc_span bytes, struct tc_error *err)
{
    struct tc_intake *intake = context;
    const struct tc_verify_options *options = intake->options;
    switch ((enum member)intake->member) {
    case MEMBER_DOCUMENT:
        tc_buf_add_span(&intake->document, bytes);
        return tc_buf_check(&intake->document, "the document", err);
    case MEMBER_ENVELOPE:
        tc_buf_add_span(&intake->envelope, bytes);
        return tc_buf_check(&intake->envelope, "the envelope", err);
    case MEMBER_STATEMENT:
        tc_buf_add_span(&intake->statement_json, bytes);
        return tc_buf_check(&intake->statement_json, "the statement", err);
    case MEMBER_TRANSCRIPT:
        /* A broken transcript is one failed check; the rest is still judged. */
        if (intake->transcript_error.status == TC_OK)
            (void)!tc_transcript_reader_add(intake->transcript_reader, bytes,
                                            &intake->transcript_error);
        if (intake->transcript_error.status == TC_SYSTEM)
            return tc_fail(err, TC_SYSTEM, "%s", intake->transcript_error.message);
        return TC_OK;
    case MEMBER_OUTPUT:
        if (!intake->subject) return TC_OK;
        tc_hash_add(intake->hash, bytes.data, bytes.size);
        if (!options || !options->extract_data) return TC_OK;
        return options->extract_data(options->extract_context, bytes, err);
    case MEMBER_BUILD_FILE:
    case MEMBER_LOG:
        tc_hash_add(intake->hash, bytes.data, bytes.size);
        return TC_OK;
    case MEMBER_STRANGER:
        break;
    }
    return TC_OK;
}

static tc_status end_output(struct tc_intake *intake, struct tc_error *err)
{
    const struct tc_subject *subject = intake->subject;
    if (!subject) return TC_OK;
    struct tc_sha256 digest;
    TC_TRY(tc_hash_finish(intake->hash, digest.bytes, sizeof digest.bytes, err));
    const char *problem = NULL;
    if (memcmp(digest.bytes, subject->digest.bytes, sizeof digest.bytes) != 0)
        problem = "has other bytes than the statement says";
    else if (intake->executable != subject->executable)
        problem = "has another mode than the statement says";
    if (problem) note_problem(intake, tc_span_of_text(subject->path), problem);
    intake->outputs[subject - intake->statement.subjects] =
        problem ? TC_OUTPUT_BAD : TC_OUTPUT_GOOD;
    const struct tc_verify_options *options = intake->options;
    if (!options || !options->extract_end) return TC_OK;
    return options->extract_end(options->extract_context, err);
}

static tc_status end_statement(struct tc_intake *intake, struct tc_error *err)
{
    if (tc_statement_read(tc_buf_span(&intake->statement_json), &intake->statement,
                          &intake->statement_error) != TC_OK)
        return TC_OK;
    intake->statement_read = true;
    intake->outputs = calloc(intake->statement.subjects_count, sizeof *intake->outputs);
    return intake->outputs ? TC_OK : tc_fail(err, TC_SYSTEM, "out of memory for the outputs");
}

static tc_status end_file(struct tc_intake *intake, struct tc_intake_file *file,
                          struct tc_error *err)
{
    file->present = true;
    file->size = intake->size;
    return tc_hash_finish(intake->hash, file->digest.bytes, sizeof file->digest.bytes, err);
}

static tc_status end(void *context, struct tc_error *err)
{
    struct tc_intake *intake = context;
    switch ((enum member)intake->member) {
    case MEMBER_BUILD_FILE:
        return end_file(intake, &intake->build_file, err);
    case MEMBER_LOG:
        return end_file(intake, &intake->log, err);
    case MEMBER_STATEMENT:
        return end_statement(intake, err);
    case MEMBER_TRANSCRIPT:
        if (intake->transcript_error.status == TC_OK)
            intake->transcript_read =
                tc_transcript_reader_finish(intake->transcript_reader, &intake->transcript,
                                            &intake->transcript_error) == TC_OK;
        tc_traffic_finish(&intake->traffic);
        return TC_OK;
    case MEMBER_OUTPUT:
        return end_output(intake, err);
    case MEMBER_STRANGER:
    case MEMBER_DOCUMENT:
    case MEMBER_ENVELOPE:
        break;
    }
    return TC_OK;
}

static tc_status tell(void *context, const struct tc_exchange *exchange, struct tc_error *err)
{
    struct tc_intake *intake = context;
    const struct tc_verify_options *options = intake->options;
    TC_TRY(tc_traffic_add(&intake->traffic, exchange, err));
    return options && options->tell ? options->tell(options->tell_context, exchange, err) : TC_OK;
}

static tc_status pump(int fd, const struct tc_verify_options *options,
                      struct tc_bundle_reader *reader, struct tc_error *err)
{
    uint8_t bytes[65536];
    for (;;) {
        if (options && options->go_on) TC_TRY(options->go_on(options->go_on_context, err));
        ssize_t got = read(fd, bytes, sizeof bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read the bundle");
        if (got == 0) return tc_bundle_reader_finish(reader, err);
        TC_TRY(tc_bundle_reader_add(reader, (struct tc_span){bytes, (size_t)got}, err));
    }
}

tc_status tc_intake_read(int fd, const struct tc_verify_options *options, struct tc_intake *intake,
                         struct tc_error *err)
{
    *intake = (struct tc_intake){.options = options,
                                 .document = tc_buf_new(TC_NITRODOC_MAX),
                                 .envelope = tc_buf_new(TC_DSSE_MAX),
                                 .statement_json = tc_buf_new(TC_STATEMENT_MAX),
                                 .hash = tc_hash_new(TC_HASH_SHA256),
                                 .transcript_reader = tc_transcript_reader_new()};
    struct tc_bundle_handler handler = {
        .context = intake, .begin = begin, .data = data, .end = end};
    struct tc_bundle_reader *reader = tc_bundle_reader_new(&handler);
    tc_status status = TC_OK;
    if (!intake->hash || !intake->transcript_reader || !reader)
        status = tc_fail(err, TC_SYSTEM, "out of memory for the bundle");
    if (status == TC_OK) status = tc_traffic_begin(&intake->traffic, options, err);
    if (status == TC_OK) tc_transcript_reader_tell(intake->transcript_reader, tell, intake);
    if (status == TC_OK) status = pump(fd, options, reader, err);
    tc_bundle_reader_free(reader);
    return status;
}

void tc_intake_free(struct tc_intake *intake)
{
    tc_buf_free(&intake->document);
    tc_buf_free(&intake->envelope);
    tc_buf_free(&intake->statement_json);
    tc_statement_free(&intake->statement);
    tc_transcript_reader_free(intake->transcript_reader);
    tc_traffic_free(&intake->traffic);
    tc_hash_free(intake->hash);
    free(intake->outputs);
    *intake = (struct tc_intake){0};
}
