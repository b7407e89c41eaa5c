/* From a bundle to a verdict, in three steps: take everything in (intake.c),
 * judge each thing by itself (checks_*.c), then add up. No check depends on
 * another having passed: trust comes only from all of them together, and the
 * one word that says "hardware" only from the chain. */
#include "verify/verify.h"

#include <stdlib.h>
#include <string.h>

#include "verify/checks.h"
#include "verify/judge.h"

void tc_judge_add(struct tc_judge *judge, const char *name, enum tc_check_result result,
                  const char *expected, const char *seen)
{
    if (!tc_checks_add(judge->verdict, name, result, expected, seen)) judge->failed = true;
}

void tc_judge_add_bool(struct tc_judge *judge, const char *name, bool good, const char *expected,
                       const char *seen)
{
    tc_judge_add(judge, name, good ? TC_CHECK_PASS : TC_CHECK_FAIL, expected, seen);
}

void tc_judge_add_unjudged(struct tc_judge *judge, const char *name, const char *expected)
{
    tc_judge_add(judge, name, TC_CHECK_NOT_JUDGED, expected,
                 "what it needs is missing or cannot be read");
}

void tc_judge_warn(struct tc_judge *judge, const char *text)
{
    if (!tc_checks_warn(judge->verdict, text)) judge->failed = true;
}

void tc_verdict_free(struct tc_verdict *verdict)
{
    if (!verdict) return;
    for (size_t i = 0; i < verdict->checks_count; i++) {
        free(verdict->checks[i].expected);
        free(verdict->checks[i].seen);
    }
    free(verdict->checks);
    for (size_t i = 0; i < verdict->warnings_count; i++)
        free(verdict->warnings[i]);
    tc_statement_free(&verdict->statement);
    *verdict = (struct tc_verdict){0};
}

static void check_document(struct tc_judge *judge, struct tc_nitrodoc *document)
{
    static const char expected[] = "a Nitro attestation document";
    struct tc_error err = {0};
    if (!judge->intake->has_document) {
        tc_judge_add_unjudged(judge, "document", expected);
        return;
    }
    if (tc_nitrodoc_decode(tc_buf_span(&judge->intake->document), document, &err) != TC_OK) {
        tc_judge_add(judge, "document", TC_CHECK_FAIL, expected, err.message);
        return;
    }
    judge->document = document;
    judge->verdict->signed_at = document->timestamp;
    tc_judge_add(judge, "document", TC_CHECK_PASS, expected, expected);
}

static void judge_all(struct tc_judge *judge, const struct tc_error *intake_error)
{
    struct tc_nitrodoc document = {0};
    tc_check_container(judge, intake_error);
    check_document(judge, &document);
    tc_check_issuer(judge);
    tc_check_debug(judge);
    tc_check_statement(judge);
    tc_check_user_data(judge);
    tc_check_pcrs(judge);
    tc_check_pcrs_asked(judge);
    tc_check_binding(judge);
    tc_check_nonce(judge);
    tc_check_envelope(judge);
    tc_check_transcript(judge);
    tc_check_network(judge);
    tc_check_unauthenticated(judge);
    tc_check_replayed(judge);
    tc_check_build_file(judge);
    tc_check_log(judge);
    tc_check_outputs(judge);
    tc_check_artifacts(judge);
    tc_check_image(judge);
    tc_check_image_trust(judge);
    tc_check_source(judge);
    tc_check_commit(judge);
    tc_check_times(judge);
    tc_check_limits(judge);
    tc_check_age(judge);
    tc_check_policy(judge);
    judge->document = NULL; /* it was this function's */
}

tc_status tc_verify_bundle(int fd, const struct tc_verify_options *options,
                           struct tc_verdict *ret_verdict, struct tc_error *err)
{
    struct tc_verdict verdict = {.kind = TC_VERDICT_UNDECIDED};
    TC_TRY(tc_checks_begin(&verdict, err));
    struct tc_intake intake;
    struct tc_error intake_error = {0};
    tc_status status = tc_intake_read(fd, options, &intake, &intake_error);
    intake_error.status = status;

    bool is_cut = status != TC_OK && status != TC_REFUSED && status != TC_MALFORMED;
    struct tc_judge judge = {.is_cut = is_cut,
                             .options = options,
                             .intake = &intake,
                             .statement = intake.statement_read ? &intake.statement : NULL,
                             .verdict = &verdict};
    judge_all(&judge, &intake_error);
    if (status == TC_OK) verdict.kind = tc_checks_conclude(&verdict);
    /* Bytes that are no bundle are a no; only what could not be read is left open. */
    if (status == TC_REFUSED || status == TC_MALFORMED) verdict.kind = TC_VERDICT_REFUSED;
    if (verdict.kind == TC_VERDICT_UNDECIDED && status != TC_OK)
        memcpy(verdict.reason, intake_error.message, sizeof verdict.reason);
    if (intake.statement_read) {
        verdict.have_statement = true;
        verdict.statement = intake.statement;
        intake.statement = (struct tc_statement){0};
    }
    tc_intake_free(&intake);
    if (judge.failed) {
        tc_verdict_free(&verdict);
        return tc_fail(err, TC_SYSTEM, "out of memory for the checks");
    }
    *ret_verdict = verdict;
    return TC_OK;
}
