#include "verify/trust.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

void tc_trust_free(struct tc_trust *trust)
{
    if (!trust) return;
    for (size_t i = 0; i < trust->lists_count; i++)
        tc_imagelist_free(&trust->lists[i].list);
    free(trust->lists);
    free(trust->own);
    *trust = (struct tc_trust){0};
}

tc_status tc_trust_add(struct tc_trust *trust, const struct tc_signer *signer, bool vouches,
                       struct tc_imagelist *list, struct tc_error *err)
{
    TC_AUTO_IMAGELIST struct tc_imagelist taken = *list;
    *list = (struct tc_imagelist){0};
    struct tc_trusted_list *lists = realloc(trust->lists, (trust->lists_count + 1) * sizeof *lists);
    if (!lists) return tc_fail(err, TC_SYSTEM, "out of memory for the trusted lists");
    trust->lists = lists;
    struct tc_trusted_list *entry = &lists[trust->lists_count++];
    *entry = (struct tc_trusted_list){.by_certificate = signer->by_certificate,
                                      .pcr8 = signer->pcr8,
                                      .vouches = vouches,
                                      .list = taken};
    memcpy(entry->signer, signer->id, sizeof entry->signer);
    taken = (struct tc_imagelist){0};
    return TC_OK;
}
