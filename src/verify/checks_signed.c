#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "core/dsse.h"
#include "core/pcr.h"
#include "core/userdata.h"
#include "verify/checks.h"
#include "verify/judge.h"

/* How far the end of the build may lie from the moment of signing, and how much
 * longer than its limit a build may take by the worker's clock. */
enum { SIGNING_SLACK = 300, DURATION_SLACK = 60 };

static bool is_pcr(const struct tc_nitrodoc *document, unsigned index,
                   const struct tc_sha384 *value)
{
    return (document->pcr_present >> index & 1) != 0 &&
           memcmp(document->pcr[index], value->bytes, sizeof value->bytes) == 0;
}

static void pcr_text(const struct tc_nitrodoc *document, unsigned index, char out[TC_SHA384_HEX])
{
    if (document->pcr_present >> index & 1)
        tc_hex((struct tc_span){document->pcr[index], TC_PCR_SIZE}, out);
    else
        (void)snprintf(out, TC_SHA384_HEX, "no PCR%u", index);
}

void tc_check_issuer(struct tc_judge *judge)
{
    bool aws = judge->options->root.size == 0 || tc_is_aws_root(judge->options->root);
    struct tc_span root = judge->options->root.size == 0 ? tc_aws_root() : judge->options->root;
    const char *expected = aws ? "signed by AWS Nitro Enclaves, valid when it was signed"
                               : "signed under the root given with --root";
    if (!judge->document) {
        tc_judge_add_unjudged(judge, "issuer", expected);
        return;
    }
    struct tc_error err = {0};
    int64_t at = (int64_t)(judge->document->timestamp / 1000);
    judge->issuer_good = tc_nitrodoc_authenticate(judge->document, root, at, &err) == TC_OK;
    judge->verdict->hardware = judge->issuer_good && tc_is_aws_root(root);
    const struct tc_nitrodoc *document = judge->document;
    if (!judge->issuer_good && aws && document->cabundle_count > 0 &&
        !tc_is_aws_root(document->cabundle[0]))
        tc_judge_warn(judge, "the signer is no AWS Nitro enclave: a development bundle verifies only "
                             "for whoever names the root of the machine that made it (--root PEM)");
    tc_judge_add_bool(judge, "issuer", judge->issuer_good, expected,
                      judge->issuer_good ? expected : err.message);
}

void tc_check_debug(struct tc_judge *judge)
{
    static const char expected[] = "an enclave that was not started in debug mode";
    if (!judge->document) {
        tc_judge_add_unjudged(judge, "debug", expected);
        return;
    }
    bool debug = tc_nitrodoc_is_debug(judge->document);
    tc_judge_add(judge, "debug",
                 !debug                        ? TC_CHECK_PASS
                 : judge->options->allow_debug ? TC_CHECK_ALLOWED
                                               : TC_CHECK_FAIL,
                 expected,
                 debug ? "PCR0 is all zero: a debug enclave, whose memory its host can read"
                       : "PCR0 is not zero");
}

static const char *compare_user_data(const struct tc_judge *judge, const struct tc_userdata *data,
                                     struct tc_error *err)
{
    const struct tc_part_source *source = &judge->statement->source;
    struct tc_sha256 digest;
    if (tc_sha256_of(tc_buf_span(&judge->intake->statement_json), &digest, err) != TC_OK)
        return err->message;
    if (memcmp(digest.bytes, data->statement.bytes, sizeof digest.bytes) != 0)
        return "the document signs another statement";
    if (memcmp(source->digest.bytes, data->input.bytes, sizeof data->input.bytes) != 0)
        return "the document signs another source digest";
    if (tc_statement_output_digest(judge->statement, &digest, err) != TC_OK) return err->message;
    if (memcmp(digest.bytes, data->output.bytes, sizeof digest.bytes) != 0)
        return "the document signs other outputs";
    if (source->has_commit != data->has_commit ||
        (data->has_commit &&
         memcmp(source->commit.bytes, data->commit.bytes, sizeof data->commit.bytes) != 0))
        return "the document signs another commit";
    return NULL;
}

void tc_check_user_data(struct tc_judge *judge)
{
    static const char expected[] =
        "tee-compile/build/1 over this statement, its source, outputs and commit";
    if (!judge->document || !judge->statement) {
        tc_judge_add_unjudged(judge, "user-data", expected);
        return;
    }
    struct tc_error err = {0};
    struct tc_userdata data;
    const char *problem = NULL;
    if (!judge->document->has_user_data)
        problem = "the document carries no user_data";
    else if (tc_userdata_read(judge->document->user_data, &data, &err) != TC_OK)
        problem = err.message;
    else
        problem = compare_user_data(judge, &data, &err);
    tc_judge_add_bool(judge, "user-data", !problem, expected, problem ? problem : expected);
}

void tc_check_pcrs(struct tc_judge *judge)
{
    static const char *const names[3] = {"pcr0", "pcr1", "pcr2"};
    for (unsigned i = 0; i < 3; i++) {
        if (!judge->document || !judge->statement) {
            tc_judge_add_unjudged(judge, names[i], "the value in the document");
            continue;
        }
        char signed_text[TC_SHA384_HEX], said[TC_SHA384_HEX];
        const struct tc_sha384 *pcr = &judge->statement->platform.pcr[i];
        pcr_text(judge->document, i, signed_text);
        tc_hex((struct tc_span){pcr->bytes, sizeof pcr->bytes}, said);
        tc_judge_add_bool(judge, names[i], is_pcr(judge->document, i, pcr), signed_text, said);
    }
}

/* Nothing when no --pcr was given: pcr0 to pcr2 stand in the list already. */
void tc_check_pcrs_asked(struct tc_judge *judge)
{
    const struct tc_pcrs_asked *pcrs = judge->options->pcrs_asked;
    for (unsigned i = 0; pcrs && i < TC_NITRODOC_PCRS; i++) {
        if (!(pcrs->asked >> i & 1)) continue;
        char wanted[TC_SHA384_HEX], seen[TC_SHA384_HEX];
        tc_hex((struct tc_span){pcrs->value[i].bytes, TC_SHA384_SIZE}, wanted);
        if (!judge->document) {
            tc_judge_add_unjudged(judge, tc_checks_pcr_asked_name(i), wanted);
            continue;
        }
        pcr_text(judge->document, i, seen);
        tc_judge_add_bool(judge, tc_checks_pcr_asked_name(i),
                          is_pcr(judge->document, i, &pcrs->value[i]), wanted, seen);
    }
}

void tc_check_binding(struct tc_judge *judge)
{
    static const char expected[] = "PCR16 bound to source, build file, limits and nonce";
    if (!judge->document || !judge->statement) {
        tc_judge_add_unjudged(judge, "pcr16", expected);
        return;
    }
    struct tc_error err = {0};
    struct tc_sha384 binding, pcr = {{0}};
    if (tc_statement_binding(judge->statement, &binding, &err) != TC_OK ||
        tc_pcr_extend(&pcr, (struct tc_span){binding.bytes, sizeof binding.bytes}, &err) != TC_OK) {
        tc_judge_add(judge, "pcr16", TC_CHECK_FAIL, expected, err.message);
        return;
    }
    char wanted[TC_SHA384_HEX], signed_text[TC_SHA384_HEX];
    tc_hex((struct tc_span){pcr.bytes, sizeof pcr.bytes}, wanted);
    pcr_text(judge->document, TC_PCR_BINDING, signed_text);
    tc_judge_add_bool(judge, "pcr16", is_pcr(judge->document, TC_PCR_BINDING, &pcr), wanted,
                      signed_text);
}

/* Hex of a nonce, or "none". */
static const char *nonce_text(struct tc_span nonce, char out[2 * TC_NITRODOC_FIELD_MAX + 1])
{
    if (nonce.size == 0 || nonce.size > TC_NITRODOC_FIELD_MAX) return "none";
    tc_hex(nonce, out);
    return out;
}

void tc_check_nonce(struct tc_judge *judge)
{
    char wanted[2 * TC_NITRODOC_FIELD_MAX + 1], seen[2 * TC_NITRODOC_FIELD_MAX + 1];
    const struct tc_verify_options *options = judge->options;
    const char *asked = options->compare_nonce ? nonce_text(options->nonce, wanted) : "none given";
    if (!judge->document || !judge->statement) {
        tc_judge_add_unjudged(judge, "nonce", asked);
        return;
    }
    struct tc_span said = {judge->statement->nonce, judge->statement->nonce_size};
    struct tc_span has = {0};
    if (judge->document->has_nonce) has = judge->document->nonce;
    if (!tc_span_equal(said, has)) {
        tc_judge_add(judge, "nonce", TC_CHECK_FAIL, nonce_text(said, wanted),
                     nonce_text(has, seen));
        return;
    }
    bool same = tc_span_equal(options->nonce, has);
    tc_judge_add(judge, "nonce",
                 !options->compare_nonce ? TC_CHECK_NOT_ASKED
                 : same                  ? TC_CHECK_PASS
                                         : TC_CHECK_FAIL,
                 asked, nonce_text(has, seen));
}

void tc_check_envelope(struct tc_judge *judge)
{
    static const char expected[] = "the statement, signed by the document's public key";
    struct tc_error err = {0};
    if (!judge->document || !judge->intake->has_envelope || !judge->intake->has_statement) {
        tc_judge_add_unjudged(judge, "envelope", expected);
        return;
    }
    if (!judge->document->has_public_key) {
        tc_judge_add(judge, "envelope", TC_CHECK_FAIL, expected, "the document has no public key");
        return;
    }
    bool good = tc_dsse_verify(tc_buf_span(&judge->intake->envelope),
                               tc_buf_span(&judge->intake->statement_json),
                               judge->document->public_key, &err) == TC_OK;
    tc_judge_add_bool(judge, "envelope", good, expected, good ? expected : err.message);
}

void tc_check_times(struct tc_judge *judge)
{
    static const char expected[] =
        "a build within its time limit that ended within 5 minutes of the signed time";
    if (!judge->document || !judge->statement) {
        tc_judge_add_unjudged(judge, "times", expected);
        return;
    }
    const struct tc_statement *statement = judge->statement;
    int64_t at = (int64_t)(judge->document->timestamp / 1000);
    int64_t apart = at - statement->finished, took = statement->finished - statement->started;
    bool good = apart >= -SIGNING_SLACK && apart <= SIGNING_SLACK && took >= 0 &&
                (uint64_t)took <= statement->recipe.limits.timeout + DURATION_SLACK;
    char started[TC_TIME_TEXT_SIZE], finished[TC_TIME_TEXT_SIZE], stamp[TC_TIME_TEXT_SIZE];
    char seen[160];
    tc_format_time(statement->started, started);
    tc_format_time(statement->finished, finished);
    tc_format_time(at, stamp);
    (void)snprintf(seen, sizeof seen, "started %s, finished %s, signed %s", started, finished,
                   stamp);
    tc_judge_add_bool(judge, "times", good, expected, seen);
}

bool tc_judge_is_recent(const struct tc_judge *judge, uint64_t max_age)
{
    /* A clock that is a little behind does not make a report too young. */
    int64_t age = judge->options->now - (int64_t)(judge->document->timestamp / 1000);
    return age >= -SIGNING_SLACK && (age < 0 || (uint64_t)age <= max_age);
}

void tc_check_age(struct tc_judge *judge)
{
    char expected[64] = "none given", seen[96];
    const struct tc_verify_options *options = judge->options;
    if (options->compare_age)
        (void)snprintf(expected, sizeof expected, "signed within the last %llu seconds",
                       (unsigned long long)options->max_age);
    if (!judge->document && options->compare_age) {
        tc_judge_add_unjudged(judge, "age", expected);
        return;
    }
    if (!judge->document) {
        tc_judge_add(judge, "age", TC_CHECK_NOT_ASKED, expected, "no document");
        return;
    }
    int64_t at = (int64_t)(judge->document->timestamp / 1000);
    char stamp[TC_TIME_TEXT_SIZE];
    tc_format_time(at, stamp);
    (void)snprintf(seen, sizeof seen, "signed %s", stamp);
    if (!options->compare_age) {
        tc_judge_add(judge, "age", TC_CHECK_NOT_ASKED, expected, seen);
        return;
    }
    tc_judge_add_bool(judge, "age", tc_judge_is_recent(judge, options->max_age), expected, seen);
}
