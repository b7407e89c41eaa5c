/* A git server's list of refs. A ref that is found is there again when the list is read a
 * second time, and with any byte less there is no answer. */
#include "fuzz.h"

#include <string.h>

#include "core/gitrefs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_error err = {0};
    struct tc_git_ref ref, again;
    static const char name[] = "refs/heads/main";
    tc_status status = tc_git_refs_find((struct tc_span){data, size}, name, &ref, &err);
    if (status != TC_OK) {
        FUZZ_CHECK((status == TC_MALFORMED || status == TC_REFUSED) && err.message[0] != '\0');
        return 0;
    }
    FUZZ_CHECK(tc_git_refs_find((struct tc_span){data, size}, name, &again, &err) == TC_OK);
    FUZZ_CHECK(memcmp(tc_git_ref_commit(&ref), tc_git_ref_commit(&again), TC_SHA1_SIZE) == 0);
    FUZZ_CHECK(tc_git_refs_find((struct tc_span){data, size - 1}, name, &again, &err) ==
               TC_MALFORMED);
    return 0;
}
