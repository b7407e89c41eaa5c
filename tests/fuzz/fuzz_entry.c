/* A tree record: what decodes has to encode to the same bytes, and to have a place
 * in the source digest. */
#include "core/manifest.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct tc_sha256 content;
    struct tc_error err = {0};
    struct tc_entry entry;
    struct tc_span bytes = {data, size};
    if (tc_entry_decode(bytes, &entry, &err) != TC_OK) return 0;
    struct tc_buf again = tc_buf_new(TC_ENTRY_MAX);
    tc_entry_encode(&entry, &again);
    FUZZ_CHECK(tc_buf_ok(&again) && tc_span_equal(tc_buf_span(&again), bytes));
    FUZZ_CHECK(tc_path_is_safe(entry.path));
    FUZZ_CHECK(tc_entry_compare(&entry, &entry) == 0);
    (void)!tc_path_has_dotgit(entry.path);
    (void)!tc_name_is_gitmodules(entry.path);
    struct tc_manifest *manifest = tc_manifest_new();
    FUZZ_CHECK(manifest);
    FUZZ_CHECK(tc_manifest_add(manifest, &entry, &content, &err) == TC_OK);
    FUZZ_CHECK(tc_manifest_add(manifest, &entry, &content, &err) == TC_MALFORMED);
    tc_manifest_free(manifest);
    tc_buf_free(&again);
    return 0;
}
