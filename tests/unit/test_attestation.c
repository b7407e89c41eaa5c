/* A bare document judged: each option with the value that fits and with one that
 * does not, and which checks that leaves. Documents are the development
 * attester's, by a chain of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "bundle_sample.h"
#include "core/cbor.h"
#include "verify/verify.h"

static struct sample_root root;
static struct sample_parts parts;
static struct tc_nitrodoc document;

static int make(void **state)
{
    (void)state;
    struct tc_error err = {0};
    if (sample_root_make(&root) != 0) return -1;
    sample_parts_make(&parts, &root, NULL, NULL);
    return tc_nitrodoc_decode(tc_buf_span(&parts.document), &document, &err) == TC_OK ? 0 : -1;
}

static int destroy(void **state)
{
    (void)state;
    sample_parts_free(&parts);
    return sample_root_remove(&root);
}

/* failed: the names that must fail, with a space behind each; no other may. */
static void judge(struct tc_span input, const struct tc_attestation_options *options,
                  enum tc_verdict_kind kind, const char *failed, const char *word)
{
    struct tc_verdict verdict;
    struct tc_error err = {0};
    char seen[512] = "";
    assert_int_equal(tc_attestation_verify(input, options, &verdict, NULL, &err), TC_OK);
    for (size_t i = 0; i < verdict.checks_count; i++) {
        if (verdict.checks[i].result != TC_CHECK_FAIL &&
            verdict.checks[i].result != TC_CHECK_NOT_JUDGED)
            continue;
        size_t used = strlen(seen);
        (void)snprintf(seen + used, sizeof seen - used, "%s ", verdict.checks[i].name);
    }
    assert_string_equal(seen, failed);
    assert_int_equal(verdict.kind, kind);
    assert_false(verdict.hardware);
    if (!strstr(verdict.reason, word)) fail_msg("\"%s\" does not say %s", verdict.reason, word);
    tc_verdict_free(&verdict);
}

static struct tc_attestation_options own(void)
{
    return (struct tc_attestation_options){.root = tc_buf_span(&root.der)};
}

static void test_roots(void **state)
{
    (void)state;
    struct tc_span input = tc_buf_span(&parts.document);
    struct tc_attestation_options options = own();
    judge(input, &options, TC_VERDICT_DEVELOPMENT, "", "");
    options.root = (struct tc_span){NULL, 0};
    judge(input, &options, TC_VERDICT_REFUSED, "issuer ", "another root");
    options.root = tc_aws_root();
    judge(input, &options, TC_VERDICT_REFUSED, "issuer ", "another root");
}

static void test_fields(void **state)
{
    (void)state;
    struct tc_span input = tc_buf_span(&parts.document);
    struct tc_attestation_options options = own();
    struct tc_pcrs_asked pcrs = {0};
    options.pcrs_asked = &pcrs;
    for (unsigned i = 0; i < TC_NITRODOC_PCRS; i++) {
        if (!(document.pcr_present >> i & 1)) continue;
        pcrs.asked |= UINT32_C(1) << i;
        memcpy(pcrs.value[i].bytes, document.pcr[i], TC_PCR_SIZE);
    }
    assert_true(document.has_nonce && document.has_user_data);
    options.compare_nonce = options.compare_user_data = true;
    options.nonce = document.nonce;
    options.user_data = document.user_data;
    judge(input, &options, TC_VERDICT_DEVELOPMENT, "", "");
    pcrs.value[2].bytes[47] ^= 1;
    pcrs.value[16].bytes[0] ^= 0x80;
    judge(input, &options, TC_VERDICT_REFUSED, "pcr2 pcr16 ", "pcr2: expected");
    pcrs.asked = UINT32_C(1) << 31;
    judge(input, &options, TC_VERDICT_REFUSED, "pcr31 ", "no PCR31");
    options.pcrs_asked = NULL;
    options.nonce.size--;
    judge(input, &options, TC_VERDICT_REFUSED, "nonce ", "nonce: expected");
    options.nonce.size++;
    options.user_data = document.nonce;
    judge(input, &options, TC_VERDICT_REFUSED, "user-data ", "user-data: expected");
}

/* The signed time always counts; --at is one more time that has to be good. */
static void test_at(void **state)
{
    (void)state;
    struct tc_span input = tc_buf_span(&parts.document);
    struct tc_attestation_options options = own();
    int64_t signed_at = (int64_t)(document.timestamp / 1000);
    options.judge_at = true;
    static const int64_t good[] = {0, 60, -60, 3600};
    static const int64_t bad[] = {-400, 4 * 3600, 365 * 86400, -365 * 86400};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        options.at = signed_at + good[i];
        judge(input, &options, TC_VERDICT_DEVELOPMENT, "", "");
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char when[TC_TIME_TEXT_SIZE];
        options.at = signed_at + bad[i];
        tc_format_time(options.at, when);
        judge(input, &options, TC_VERDICT_REFUSED, "issuer ", when);
    }
    options.at = 0;
    judge(input, &options, TC_VERDICT_REFUSED, "issuer ", "1970-01-01T00:00:00Z");
}

static void make_debug(struct sample_parts *changed)
{
    memset(changed->pcrs, 0, sizeof changed->pcrs);
}

static void test_debug(void **state)
{
    (void)state;
    struct sample_parts debug;
    struct tc_attestation_options options = own();
    sample_parts_make(&debug, &root, make_debug, NULL);
    judge(tc_buf_span(&debug.document), &options, TC_VERDICT_REFUSED, "debug ", "PCR0 is all zero");
    options.allow_debug = true;
    judge(tc_buf_span(&debug.document), &options, TC_VERDICT_DEVELOPMENT, "", "");
    sample_parts_free(&debug);
}

static void test_input(void **state)
{
    (void)state;
    struct tc_attestation_options options = own();
    judge((struct tc_span){NULL, 0}, &options, TC_VERDICT_REFUSED, "document issuer debug ",
          "empty");
    judge(tc_span_of_text("{}"), &options, TC_VERDICT_REFUSED, "document issuer debug ", "0x7b");
    struct tc_span cut = tc_buf_span(&parts.document);
    cut.size--;
    options.compare_nonce = options.compare_user_data = true;
    judge(cut, &options, TC_VERDICT_REFUSED, "document issuer debug nonce user-data ",
          "COSE signature");
}

/* As QEMU's nitro-enclave machine makes them: algorithm -1, and zeros where
 * certificate and signature would be. Nothing makes one good. */
static void test_unsigned(void **state)
{
    (void)state;
    static const uint8_t head[] = {0xa1, 0x01, 0x20}, zeros[96];
    struct tc_nitrodoc empty = document;
    struct tc_span certificates[] = {{zeros, 64}, tc_buf_span(&root.der)};
    for (size_t i = 0; i < 2; i++) {
        empty.certificate = empty.cabundle[0] = certificates[i];
        empty.cabundle_count = 1;
        struct tc_buf payload = tc_buf_new(TC_NITRODOC_PAYLOAD_MAX);
        struct tc_buf bytes = tc_buf_new(TC_NITRODOC_MAX);
        tc_nitrodoc_encode_payload(&empty, &payload);
        tc_cbor_add_array(&bytes, 4);
        tc_cbor_add_bytes(&bytes, (struct tc_span){head, sizeof head});
        tc_cbor_add_map(&bytes, 0);
        tc_cbor_add_bytes(&bytes, tc_buf_span(&payload));
        tc_cbor_add_bytes(&bytes, (struct tc_span){zeros, sizeof zeros});
        struct tc_attestation_options options = own();
        options.allow_debug = true;
        judge(tc_buf_span(&bytes), &options, TC_VERDICT_REFUSED, "document issuer debug ",
              "nobody signed");
        options.root = certificates[i];
        judge(tc_buf_span(&bytes), &options, TC_VERDICT_REFUSED, "document issuer debug ",
              "nobody signed");
        tc_buf_free(&payload);
        tc_buf_free(&bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_roots),  cmocka_unit_test(test_fields), cmocka_unit_test(test_at),
        cmocka_unit_test(test_debug),  cmocka_unit_test(test_input),
        cmocka_unit_test(test_unsigned),
    };
    return cmocka_run_group_tests(tests, make, destroy);
}
