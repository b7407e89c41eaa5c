#include "base/cleanup.h"
#include "source/pack.h"
#include "source/source_digest.h"

/* Packs the folder as a build would, sending nowhere. */
tc_status tc_source_digest(const char *folder, struct tc_sha256 *ret_digest, struct tc_error *err)
{
    struct tc_pack_options options = {.folder = folder, .build_file = "build.json"};
    struct tc_pack *pack = NULL;
    TC_TRY(tc_pack_open(&options, &pack, err));
    TC_AUTO_BUILDSPEC struct tc_buildspec spec = {0};
    struct tc_pack_sink sink = {0};
    struct tc_manifest_summary summary;
    tc_status status = tc_buildspec_parse(tc_pack_build_file(pack), "build.json", &spec, err);
    if (status == TC_OK) status = tc_pack_send(pack, &spec, &sink, &summary, err);
    tc_pack_close(pack);
    if (status == TC_OK) *ret_digest = summary.digest;
    return status;
}
