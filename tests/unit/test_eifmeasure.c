/* What is measured of an enclave image, and what is not: figures from Python's hashlib. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/eif.h"
#include "core/eifmeasure.h"
#include "eif_sample.h"

#define TEXT(text) tc_span_of_text(text)

static tc_status measure_begin(void *context, const struct tc_eif_section *section,
                               struct tc_error *err)
{
    (void)err;
    tc_eifmeasure_begin(context, section);
    return TC_OK;
}

static tc_status measure_data(void *context, struct tc_span bytes, struct tc_error *err)
{
    (void)err;
    tc_eifmeasure_data(context, bytes);
    return TC_OK;
}

static tc_status measure_end(void *context, struct tc_error *err)
{
    return tc_eifmeasure_end(context, err);
}

static void measure(const struct tc_buf *image, unsigned which, struct tc_sha384 pcr[3])
{
    TC_AUTO_EIFMEASURE struct tc_eifmeasure *measure = tc_eifmeasure_new(which);
    struct tc_eif_handler handler = {measure, NULL, measure_begin, measure_data, measure_end};
    struct tc_eif_reader *reader = tc_eif_reader_new(&handler, TC_EIF_CRC_IGNORED);
    struct tc_error err = {0};
    assert_int_equal(tc_eif_reader_add(reader, tc_buf_span(image), &err), TC_OK);
    assert_int_equal(tc_eif_reader_finish(reader, &err), TC_OK);
    assert_int_equal(tc_eifmeasure_finish(measure, pcr, &err), TC_OK);
    tc_eif_reader_free(reader);
}

static void assert_pcr(const struct tc_sha384 *pcr, const char *expected)
{
    char hex[TC_SHA384_HEX];
    tc_hex((struct tc_span){pcr->bytes, sizeof pcr->bytes}, hex);
    assert_string_equal(hex, expected);
}

#define SAMPLE_PCR0                                                                                \
    "92f2dd501dfe35fb16074afdd94123c97dcf450e125cc296"                                             \
    "203a0d2256c2c78268f3682036ba38ffb1482170550752da"
#define SAMPLE_PCR1                                                                                \
    "eed0b1c3ae0dcd8e97bf2f9a0366338c35a1b6d448b52c05"                                             \
    "70a8ad428f1d9bb1cc8632ad620a76c3e750e8c070b1cbfa"
#define SAMPLE_PCR2                                                                                \
    "2db114e1705923b9d47d5f1d2639e46722504a4b1d131000"                                             \
    "7c3fecb66fcd660337be4cfe0c29d06efafab38f3dc43973"
#define EMPTY_PCR2                                                                                 \
    "21b9efbc184807662e966d34f390821309eeac6802309798"                                             \
    "826296bf3e8bec7c10edb30948c90ba67310f7b964fc500a"

static void test_measure(void **state)
{
    (void)state;
    TC_AUTO_BUF struct tc_buf image = eif_sample();
    struct tc_sha384 both[3] = {0}, parts[3] = {0};
    measure(&image, TC_EIFMEASURE_BOOT | TC_EIFMEASURE_REST, both);
    assert_pcr(&both[0], SAMPLE_PCR0);
    assert_pcr(&both[1], SAMPLE_PCR1);
    assert_pcr(&both[2], SAMPLE_PCR2);
    measure(&image, TC_EIFMEASURE_BOOT, parts);
    assert_memory_equal(parts, both, 2 * sizeof *both);
    measure(&image, TC_EIFMEASURE_REST, parts);
    assert_memory_equal(parts, both, sizeof both);

    const struct eif_piece one[] = {
        {1, TEXT("KERNEL")}, {2, TEXT("reboot=t")}, {5, TEXT("{}")}, {3, TEXT("0707one.")}};
    TC_AUTO_BUF struct tc_buf alone = eif_sample_of(one, 4);
    struct tc_sha384 pcr[3] = {0};
    measure(&alone, TC_EIFMEASURE_BOOT | TC_EIFMEASURE_REST, pcr);
    assert_pcr(&pcr[2], EMPTY_PCR2);
    assert_memory_equal(&pcr[0], &pcr[1], sizeof *pcr);
    assert_memory_equal(&pcr[1], &both[1], sizeof *pcr);
}

/* Metadata, signature, flags and hints are not measured; neither are the places
 * where sections end, and docs/formats.md warns of it. */
static void test_not_measured(void **state)
{
    (void)state;
    const struct eif_piece other[] = {{1, TEXT("KERNELreb")}, {2, TEXT("oot=t")},
                                      {5, TEXT("{\"b\":2}")}, {3, TEXT("0707one.")},
                                      {3, TEXT("0707two")},   {4, TEXT("signature")}};
    TC_AUTO_BUF struct tc_buf image = eif_sample_of(other, 6);
    struct tc_sha384 pcr[3] = {0};
    eif_put(&image, 6, 2, 1);
    eif_put(&image, 8, 8, 12345);
    measure(&image, TC_EIFMEASURE_BOOT | TC_EIFMEASURE_REST, pcr);
    assert_pcr(&pcr[0], SAMPLE_PCR0);
    assert_pcr(&pcr[1], SAMPLE_PCR1);
    assert_pcr(&pcr[2], SAMPLE_PCR2);
}

static void test_unfinished_measure(void **state)
{
    (void)state;
    TC_AUTO_EIFMEASURE struct tc_eifmeasure *measure = tc_eifmeasure_new(TC_EIFMEASURE_BOOT);
    struct tc_sha384 pcr[3];
    struct tc_error err = {0};
    assert_int_equal(tc_eifmeasure_finish(measure, pcr, &err), TC_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_measure),
        cmocka_unit_test(test_not_measured),
        cmocka_unit_test(test_unfinished_measure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
