#include "core/pcr.h"

tc_status tc_pcr_extend(struct tc_sha384 *pcr, struct tc_span data, struct tc_error *err)
{
    struct tc_hash *hash = tc_hash_new(TC_HASH_SHA384);
    if (!hash) return tc_fail(err, TC_SYSTEM, "out of memory for a digest");
    struct tc_sha384 extended = {{0}};
    tc_hash_add(hash, pcr->bytes, sizeof pcr->bytes);
    tc_hash_add(hash, data.data, data.size);
    tc_status status = tc_hash_finish(hash, extended.bytes, sizeof extended.bytes, err);
    tc_hash_free(hash);
    if (status == TC_OK) *pcr = extended;
    return status;
}

tc_status tc_pcr_unmeasured(struct tc_sha384 *ret_pcr, struct tc_error *err)
{
    static const char text[] =
        "tee-compile: the toolchain of this build is the host's own and was not measured\n";
    return tc_sha384_of(tc_span_of_text(text), ret_pcr, err);
}
