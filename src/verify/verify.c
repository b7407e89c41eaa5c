/* From a bundle to a verdict, in three steps: take everything in (intake.c),
 * judge each thing by itself (checks_*.c), then add up. No check depends on
 * another having passed: trust comes only from all of them together, and the
 * one word that says "hardware" only from the chain. */
#include "verify/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "verify/judge.h"

enum { CHECKS_MAX = 64 };

/* A copy that is safe on a terminal. Messages are so already and pass as they
 * are: escaping them again would double their backslashes. */
static char *safe_copy(const char *text)
{
    char *copy = malloc(TC_ERROR_MAX);
    if (!copy) return NULL;
    if (tc_is_printable(tc_span_of_text(text)) && strlen(text) < TC_ERROR_MAX)
        memcpy(copy, text, strlen(text) + 1);
    else
        tc_printable(tc_span_of_text(text), copy, TC_ERROR_MAX);
    return copy;
}

void tc_judge_add(struct tc_judge *judge, const char *name, enum tc_check_result result,
                  const char *expected, const char *seen)
{
    struct tc_verdict *verdict = judge->verdict;
    if (verdict->checks_count == CHECKS_MAX) {
        judge->failed = true;
        return;
    }
    struct tc_check *check = &verdict->checks[verdict->checks_count++];
    *check = (struct tc_check){name, result, safe_copy(expected), safe_copy(seen)};
    if (!check->expected || !check->seen) {
        judge->failed = true;
        return;
    }
    if (result != TC_CHECK_FAIL || verdict->reason[0]) return;
    char text[2 * TC_ERROR_MAX + 64];
    (void)snprintf(text, sizeof text, "%s: expected %s; saw %s", name, check->expected,
                   check->seen);
    size_t size = strlen(text) < TC_ERROR_MAX ? strlen(text) : TC_ERROR_MAX - 1;
    /* Not in the middle of a character. */
    while (size > 0 && ((unsigned char)text[size] & 0xc0) == 0x80)
        size--;
    memcpy(verdict->reason, text, size);
}

void tc_judge_add_bool(struct tc_judge *judge, const char *name, bool good, const char *expected,
                       const char *seen)
{
    tc_judge_add(judge, name, good ? TC_CHECK_PASS : TC_CHECK_FAIL, expected, seen);
}

void tc_judge_add_unjudged(struct tc_judge *judge, const char *name, const char *expected)
{
    tc_judge_add(judge, name, TC_CHECK_FAIL, expected,
                 "not judged: what it needs is missing or cannot be read");
}

void tc_verdict_free(struct tc_verdict *verdict)
{
    if (!verdict) return;
    for (size_t i = 0; i < verdict->checks_count; i++) {
        free(verdict->checks[i].expected);
        free(verdict->checks[i].seen);
    }
    free(verdict->checks);
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
    tc_check_binding(judge);
    tc_check_nonce(judge);
    tc_check_envelope(judge);
    tc_check_transcript(judge);
    tc_check_build_file(judge);
    tc_check_log(judge);
    tc_check_outputs(judge);
    tc_check_artifacts(judge);
    tc_check_image(judge);
    tc_check_source(judge);
    tc_check_commit(judge);
    tc_check_times(judge);
    tc_check_limits(judge);
    tc_check_age(judge);
    tc_check_policy(judge);
    judge->document = NULL; /* it was this function's */
}

static enum tc_verdict_kind conclude(const struct tc_verdict *verdict,
                                     const struct tc_error *intake_error)
{
    if (intake_error->status == TC_REFUSED) return TC_VERDICT_REFUSED;
    if (intake_error->status != TC_OK) return TC_VERDICT_UNDECIDED;
    bool debug = false;
    for (size_t i = 0; i < verdict->checks_count; i++) {
        if (verdict->checks[i].result == TC_CHECK_FAIL) return TC_VERDICT_REFUSED;
        if (strcmp(verdict->checks[i].name, "debug") == 0)
            debug = verdict->checks[i].result != TC_CHECK_PASS;
    }
    return verdict->hardware && !debug ? TC_VERDICT_AUTHENTIC : TC_VERDICT_DEVELOPMENT;
}

tc_status tc_verify_bundle(int fd, const struct tc_verify_options *options,
                           struct tc_verdict *ret_verdict, struct tc_error *err)
{
    struct tc_verdict verdict = {.checks = calloc(CHECKS_MAX, sizeof(struct tc_check))};
    if (!verdict.checks) return tc_fail(err, TC_SYSTEM, "out of memory for the checks");
    struct tc_intake intake;
    struct tc_error intake_error = {0};
    tc_status status = tc_intake_read(fd, options, &intake, &intake_error);
    intake_error.status = status;

    struct tc_judge judge = {.options = options,
                             .intake = &intake,
                             .statement = intake.statement_read ? &intake.statement : NULL,
                             .verdict = &verdict};
    judge_all(&judge, &intake_error);
    verdict.kind = conclude(&verdict, &intake_error);
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
