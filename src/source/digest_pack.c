#include "base/cleanup.h"
#include "source/pack.h"
#include "source/source_digest.h"

/* A report about a commit says nothing of what was changed since. */
static tc_status check_clean(const struct tc_source_request *request, const struct tc_pack *pack,
                             struct tc_error *err)
{
    if (request->kind != TC_SOURCE_GIT || !tc_pack_is_dirty(pack)) return TC_OK;
    return tc_fail(err, TC_USAGE,
                   "the work tree differs from its commit (git status), and the report is about a "
                   "commit: check that one out cleanly, or compare by --commit alone");
}

/* Packs the folder as a build would, sending nowhere. */
tc_status tc_source_digest(const struct tc_source_request *request, struct tc_sha256 *ret_digest,
                           struct tc_error *err)
{
    struct tc_pack_options options = {.folder = request->folder,
                                      .build_file = request->build_file,
                                      .allow_dirty = true,
                                      .ignore = request->ignore};
    struct tc_pack *pack = NULL;
    TC_TRY(tc_pack_open(&options, &pack, err));
    TC_AUTO_BUILDSPEC struct tc_buildspec spec = {0};
    struct tc_pack_sink sink = {0};
    struct tc_manifest_summary summary;
    tc_status status = check_clean(request, pack, err);
    if (status == TC_OK)
        status = tc_buildspec_parse(tc_pack_build_file(pack), request->build_file, &spec, err);
    if (status == TC_OK) status = tc_pack_send(pack, &spec, &sink, &summary, err);
    tc_pack_close(pack);
    if (status == TC_OK) *ret_digest = summary.digest;
    return status;
}
