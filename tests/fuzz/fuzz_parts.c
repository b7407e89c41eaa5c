/* What a subverted session or recorder may send to the monitor. The first byte picks the
 * part; whatever decodes must encode to the same bytes again. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "worker/parts.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect_same(const struct tc_buf *again, struct tc_span bytes)
{
    if (!tc_buf_ok(again) || !tc_span_equal(tc_buf_span(again), bytes)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    struct tc_span bytes = {data + 1, size - 1};
    struct tc_error err = {0};
    TC_AUTO_BUF struct tc_buf again = tc_buf_new(TC_IPC_PART_MAX);
    if (data[0] == TC_IPC_SOURCE) {
        struct tc_part_source part;
        if (tc_part_source_decode(bytes, &part, &err) != TC_OK) return 0;
        tc_part_source_encode(&part, &again);
        expect_same(&again, bytes);
        tc_part_source_free(&part);
    } else if (data[0] == TC_IPC_RECIPE) {
        struct tc_part_recipe part;
        if (tc_part_recipe_decode(bytes, &part, &err) != TC_OK) return 0;
        tc_part_recipe_encode(&part, &again);
        expect_same(&again, bytes);
        tc_part_recipe_free(&part);
    } else if (data[0] == TC_IPC_SUBJECT) {
        struct tc_subject subject;
        if (tc_subject_decode(bytes, &subject, &err) != TC_OK) return 0;
        tc_subject_encode(&subject, &again);
        expect_same(&again, bytes);
        free(subject.path);
    } else if (data[0] == TC_IPC_COLLECTED) {
        struct tc_collected collected;
        if (tc_collected_decode(bytes, &collected, &err) != TC_OK) return 0;
        tc_collected_encode(&collected, &again);
        expect_same(&again, bytes);
        free(collected.name);
        free(collected.command);
        free(collected.output);
    } else if (data[0] == TC_IPC_LOG) {
        struct tc_part_log part;
        if (tc_part_log_decode(bytes, &part, &err) != TC_OK) return 0;
        tc_part_log_encode(&part, &again);
        expect_same(&again, bytes);
    } else if (data[0] == TC_IPC_WITNESS) {
        struct tc_part_witness part;
        if (tc_part_witness_decode(bytes, &part, &err) != TC_OK) return 0;
        tc_part_witness_encode(&part, &again);
        expect_same(&again, bytes);
        tc_part_witness_free(&part);
    } else if (data[0] == TC_IPC_NETWORK) {
        struct tc_part_network part;
        if (tc_part_network_decode(bytes, &part, &err) != TC_OK) return 0;
        tc_part_network_encode(&part, &again);
        expect_same(&again, bytes);
        tc_part_network_free(&part);
    } else if (data[0] == TC_IPC_DEPENDENCY) {
        struct tc_dependency dependency;
        if (tc_dependency_decode(bytes, &dependency, &err) != TC_OK) return 0;
        tc_dependency_encode(&dependency, &again);
        expect_same(&again, bytes);
        free(dependency.url);
        free(dependency.pinned_by);
    } else if (data[0] == TC_IPC_TRANSCRIPT) {
        struct tc_part_transcript part;
        if (tc_part_transcript_decode(bytes, &part, &err) != TC_OK) return 0;
        tc_part_transcript_encode(&part, &again);
        expect_same(&again, bytes);
    }
    return 0;
}
