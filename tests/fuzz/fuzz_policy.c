/* Whatever is taken keeps the bounds that the verifier relies on, and expects
 * something. */
#include "core/policy.h"

#include "base/cleanup.h"
#include "core/entry.h"
#include "fuzz.h"

static void check_texts(char *const *list, size_t count)
{
    FUZZ_CHECK((list != NULL) == (count > 0) && count <= TC_POLICY_LIST_MAX);
    for (size_t i = 0; i < count; i++) {
        size_t size = tc_span_of_text(list[i]).size;
        FUZZ_CHECK(size > 0 && size <= TC_POLICY_TEXT_MAX);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_error err = {0};
    TC_AUTO_POLICY struct tc_policy policy = {0};
    tc_status status = tc_policy_parse((struct tc_span){data, size}, &policy, &err);
    if (status != TC_OK) {
        FUZZ_CHECK(status == TC_MALFORMED && err.message[0]);
        return 0;
    }
    FUZZ_CHECK((policy.commits != NULL) == (policy.commits_count > 0));
    FUZZ_CHECK((policy.sources != NULL) == (policy.sources_count > 0));
    FUZZ_CHECK(policy.commits_count <= TC_POLICY_LIST_MAX);
    FUZZ_CHECK(policy.sources_count <= TC_POLICY_LIST_MAX);
    FUZZ_CHECK(policy.nonce_size <= sizeof policy.nonce);
    FUZZ_CHECK(!policy.build_file || tc_path_is_safe(tc_span_of_text(policy.build_file)));
    check_texts(policy.images, policy.images_count);
    check_texts(policy.versions, policy.versions_count);
    FUZZ_CHECK(policy.commits || policy.sources || policy.build_file || policy.images ||
               policy.versions || policy.nonce_size > 0 || policy.has_max_age ||
               policy.repository || policy.ref);
    return 0;
}
