#include "cmd/trust.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "os/readfile.h"
#include "verify/project_trust.h"

tc_status tc_open_trust(struct tc_truststore **ret_store, struct tc_error *err)
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    TC_AUTO_FREE char *folder = NULL;
    int made = 0;
    /* The XDG rule: a path that is not absolute counts as not set. */
    if (data && data[0] == '/')
        made = asprintf(&folder, "%s/tee-compile/trust", data);
    else if (home && home[0] == '/')
        made = asprintf(&folder, "%s/.local/share/tee-compile/trust", home);
    if (made < 0) {
        folder = NULL;
        return tc_fail(err, TC_SYSTEM, "out of memory for a path");
    }
    const struct tc_trust_builtin builtin = {tc_project_list_key(), tc_project_list()};
    return tc_truststore_open(folder, &builtin, ret_store, err);
}

tc_status tc_read_list_file(const char *path, struct tc_buf *ret_content, struct tc_error *err)
{
    *ret_content = tc_buf_new(TC_IMAGELIST_ENVELOPE_MAX);
    return tc_readfile_at(AT_FDCWD, path, true, path, ret_content, err);
}

tc_status tc_read_signer_file(const char *path, struct tc_buf *ret_pem, struct tc_error *err)
{
    *ret_pem = tc_buf_new(TC_SIGNER_PEM_MAX);
    return tc_readfile_at(AT_FDCWD, path, true, path, ret_pem, err);
}

bool tc_parse_list_version(const char *text, uint64_t *ret_version)
{
    uint64_t value = 0;
    size_t size = strlen(text);
    if (size == 0 || size > 16 || strspn(text, "0123456789") != size) return false;
    for (; *text; text++)
        value = 10 * value + (uint64_t)(*text - '0');
    if (value == 0 || value >= (uint64_t)1 << 53) return false;
    *ret_version = value;
    return true;
}

tc_status tc_load_trust(const struct tc_trust_request *request, struct tc_trust *ret_trust,
                        struct tc_error *err)
{
    TC_AUTO_TRUSTSTORE struct tc_truststore *store = NULL;
    TC_AUTO_KNOWN struct tc_known *known = NULL;
    if (request->images_key && !request->images)
        return tc_fail(err, TC_USAGE, "--images-key goes with --images");
    TC_TRY(tc_open_trust(&store, err));
    TC_TRY(tc_truststore_read(store, &known, err));
    bool asked = request->images || request->min_version > 0;
    if (!request->images) {
        TC_TRY(tc_known_to_trust(known, request->min_version, ret_trust, err));
        ret_trust->asked = asked;
        return TC_OK;
    }
    TC_AUTO_BUF struct tc_buf list = {0}, pem = {0};
    TC_AUTO_SIGNER struct tc_signer only = {0};
    TC_TRY(tc_read_list_file(request->images, &list, err));
    if (request->images_key) {
        TC_TRY(tc_read_signer_file(request->images_key, &pem, err));
        TC_TRY(tc_signer_read(tc_buf_span(&pem), request->images_key, &only, err));
    }
    TC_TRY(tc_known_with_list(known, tc_buf_span(&list), request->images,
                              request->images_key ? &only : NULL, request->min_version, ret_trust,
                              err));
    ret_trust->asked = asked;
    return TC_OK;
}
