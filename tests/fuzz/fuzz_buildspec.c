/* build.json as a hostile project would write it. What parses is within every
 * range that the worker relies on. */
#include "core/buildspec.h"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_error err = {0};
    struct tc_buildspec spec = {0};
    tc_status status = tc_buildspec_parse((struct tc_span){data, size}, "build.json", &spec, &err);
    FUZZ_CHECK((status == TC_OK) == (spec.language != NULL));
    if (status != TC_OK) {
        FUZZ_CHECK(err.message[0] != '\0');
        return 0;
    }
    FUZZ_CHECK(spec.command && spec.folder && spec.outputs_count > 0);
    FUZZ_CHECK(spec.outputs_count <= TC_BUILDSPEC_LIST_MAX);
    FUZZ_CHECK(tc_limits_are_valid(&spec.limits));
    tc_buildspec_free(&spec);
    return 0;
}
