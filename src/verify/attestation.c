/* A bare document to a verdict: its form, its fields (core/nitrodoc.c), its
 * issuer, then what the caller compares it with. As in verify.c no check depends
 * on another having passed, and "hardware" comes from the chain alone. */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "verify/checks.h"
#include "verify/verify.h"

struct trial {
    const struct tc_attestation_options *options;
    const struct tc_nitrodoc *document; /* NULL: could not be decoded */
    struct tc_verdict *verdict;
    bool failed; /* memory ran out */
};

static void add(struct trial *trial, const char *name, enum tc_check_result result,
                const char *expected, const char *seen)
{
    if (!tc_checks_add(trial->verdict, name, result, expected, seen)) trial->failed = true;
}

static void add_bool(struct trial *trial, const char *name, bool good, const char *expected,
                     const char *seen)
{
    add(trial, name, good ? TC_CHECK_PASS : TC_CHECK_FAIL, expected, seen);
}

static void add_unjudged(struct trial *trial, const char *name, const char *expected)
{
    add(trial, name, TC_CHECK_NOT_JUDGED, expected, "there is no document to look at");
}

static void check_issuer(struct trial *trial)
{
    const struct tc_attestation_options *options = trial->options;
    struct tc_span root = options->root.size > 0 ? options->root : tc_aws_root();
    bool aws = tc_is_aws_root(root);
    char expected[160], when[TC_TIME_TEXT_SIZE];
    tc_format_time(options->at, when);
    (void)snprintf(expected, sizeof expected, "signed %s, valid when it was signed%s%s",
                   aws ? "by AWS Nitro Enclaves" : "under the root given with --root",
                   options->judge_at ? " and at " : "", options->judge_at ? when : "");
    if (!trial->document) {
        add_unjudged(trial, "issuer", expected);
        return;
    }
    struct tc_error err = {0};
    int64_t signed_at = (int64_t)(trial->document->timestamp / 1000);
    bool good = tc_nitrodoc_authenticate(trial->document, root,
                                         options->judge_at ? options->at : signed_at,
                                         &err) == TC_OK;
    trial->verdict->hardware = good && aws;
    add_bool(trial, "issuer", good, expected, good ? expected : err.message);
}

static void check_debug(struct trial *trial)
{
    static const char expected[] = "an enclave that was not started in debug mode";
    if (!trial->document) {
        add_unjudged(trial, "debug", expected);
        return;
    }
    bool debug = tc_nitrodoc_is_debug(trial->document);
    add(trial, "debug",
        !debug                        ? TC_CHECK_PASS
        : trial->options->allow_debug ? TC_CHECK_ALLOWED
                                      : TC_CHECK_FAIL,
        expected,
        debug ? "PCR0 is all zero: a debug enclave, whose memory its host can read"
              : "PCR0 is not zero");
}

static void check_pcr(struct trial *trial, unsigned index)
{
    static const struct tc_pcrs_asked none = {0};
    const struct tc_pcrs_asked *pcrs =
        trial->options->pcrs_asked ? trial->options->pcrs_asked : &none;
    bool asked = (pcrs->asked >> index & 1) != 0;
    char expected[TC_SHA384_HEX] = "none given: compare it with that of an image you trust";
    char seen[TC_SHA384_HEX];
    const char *name = tc_checks_pcr_name(index);
    if (asked) tc_hex((struct tc_span){pcrs->value[index].bytes, TC_SHA384_SIZE}, expected);
    if (!trial->document) {
        if (asked)
            add_unjudged(trial, name, expected);
        else
            add(trial, name, TC_CHECK_NOT_ASKED, expected, "no document");
        return;
    }
    bool present = (trial->document->pcr_present >> index & 1) != 0;
    const uint8_t *value = trial->document->pcr[index];
    if (present)
        tc_hex((struct tc_span){value, TC_PCR_SIZE}, seen);
    else
        (void)snprintf(seen, sizeof seen, "no PCR%u", index);
    bool same = present && memcmp(value, pcrs->value[index].bytes, TC_PCR_SIZE) == 0;
    add(trial, name, !asked ? TC_CHECK_NOT_ASKED : same ? TC_CHECK_PASS : TC_CHECK_FAIL, expected,
        seen);
}

/* A field of bytes in hex, cut where a check's text would be. */
static void field_text(bool present, struct tc_span bytes, char out[TC_ERROR_MAX])
{
    enum { SHOWN_MAX = 448 };
    if (!present || bytes.size == 0) {
        (void)snprintf(out, TC_ERROR_MAX, "%s", present ? "empty" : "none");
        return;
    }
    size_t shown = bytes.size < SHOWN_MAX ? bytes.size : SHOWN_MAX;
    tc_hex((struct tc_span){bytes.data, shown}, out);
    if (shown < bytes.size)
        (void)snprintf(out + 2 * shown, TC_ERROR_MAX - 2 * shown, "... (%zu bytes)", bytes.size);
}

static void check_field(struct trial *trial, const char *name, bool asked, struct tc_span wanted,
                        bool present, struct tc_span has)
{
    char expected[TC_ERROR_MAX] = "none given", seen[TC_ERROR_MAX];
    if (asked) field_text(true, wanted, expected);
    if (!trial->document) {
        if (asked)
            add_unjudged(trial, name, expected);
        else
            add(trial, name, TC_CHECK_NOT_ASKED, expected, "no document");
        return;
    }
    field_text(present, has, seen);
    bool same = present && tc_span_equal(wanted, has);
    add(trial, name, !asked ? TC_CHECK_NOT_ASKED : same ? TC_CHECK_PASS : TC_CHECK_FAIL, expected,
        seen);
}

static void judge_all(struct trial *trial)
{
    static const struct tc_nitrodoc nothing = {0};
    const struct tc_attestation_options *options = trial->options;
    const struct tc_nitrodoc *document = trial->document ? trial->document : &nothing;
    check_issuer(trial);
    check_debug(trial);
    for (unsigned i = 0; i < TC_NITRODOC_PCRS; i++)
        if (i == 0 || (options->pcrs_asked && (options->pcrs_asked->asked >> i & 1)))
            check_pcr(trial, i);
    check_field(trial, "nonce", options->compare_nonce, options->nonce, document->has_nonce,
                document->nonce);
    check_field(trial, "user-data", options->compare_user_data, options->user_data,
                document->has_user_data, document->user_data);
}

void tc_attestation_free(struct tc_attestation *attestation)
{
    if (!attestation) return;
    tc_buf_free(&attestation->bytes);
    *attestation = (struct tc_attestation){0};
}

tc_status tc_attestation_read(struct tc_span input, struct tc_attestation *ret_attestation,
                              struct tc_error *err)
{
    struct tc_attestation read = {0};
    tc_status status = tc_armor_decode(input, &read.bytes, &read.form, err);
    if (status == TC_OK)
        status = tc_nitrodoc_decode(tc_buf_span(&read.bytes), &read.document, err);
    if (status != TC_OK) {
        tc_attestation_free(&read);
        return status;
    }
    *ret_attestation = read;
    return TC_OK;
}

tc_status tc_attestation_verify(struct tc_span input, const struct tc_attestation_options *options,
                                struct tc_verdict *ret_verdict,
                                struct tc_attestation *ret_attestation, struct tc_error *err)
{
    static const char expected[] = "a Nitro attestation document";
    struct tc_verdict verdict = {.kind = TC_VERDICT_UNDECIDED};
    struct tc_attestation read = {0};
    struct tc_error why = {0};
    TC_TRY(tc_checks_begin(&verdict, err));
    struct trial trial = {.options = options, .verdict = &verdict};
    bool good = tc_attestation_read(input, &read, &why) == TC_OK;
    if (good) {
        trial.document = &read.document;
        verdict.signed_at = read.document.timestamp;
    }
    add_bool(&trial, "document", good, expected, good ? expected : why.message);
    judge_all(&trial);
    verdict.kind = tc_checks_conclude(&verdict);
    if (trial.failed || why.status == TC_SYSTEM) {
        tc_verdict_free(&verdict);
        tc_attestation_free(&read);
        return tc_fail(err, TC_SYSTEM, "out of memory for the checks");
    }
    *ret_verdict = verdict;
    if (ret_attestation)
        *ret_attestation = read;
    else
        tc_attestation_free(&read);
    return TC_OK;
}
