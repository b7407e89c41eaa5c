/* A line of archive.jsonl: what is read is written the same again; and an index of lines. */
#include "core/archive.h"

#include "base/cleanup.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_error err = {0};
    struct tc_sha256 digest;
    struct tc_archived archived = {0};
    struct tc_span bytes = {data, size};
    struct tc_archive_index *index = tc_archive_index_new();
    if (!index) return 0;
    if (tc_archived_read(bytes, &archived, &err) == TC_OK) {
        struct tc_buf again TC_AUTO_BUF = tc_buf_new(TC_ARCHIVED_LINE_MAX);
        FUZZ_CHECK(tc_archived_write(&archived, &again, &err) == TC_OK);
        FUZZ_CHECK(tc_span_equal(bytes, tc_buf_span(&again)));
        tc_archived_free(&archived);
    }
    if (tc_archive_index_add(index, bytes, &err) == TC_OK &&
        tc_archive_index_finish(index, &digest, &err) == TC_OK)
        for (size_t i = 0; i < tc_archive_index_count(index); i++)
            FUZZ_CHECK(tc_archive_index_line(index, i));
    tc_archive_index_free(index);
    return 0;
}
