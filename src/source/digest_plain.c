#include "source/source_digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/text.h"
#include "source/tree.h"

/* A work tree holds files that are no part of its commit, and what is, only git's
 * objects say: better no answer than the digest of something else. */
static tc_status refuse_git(const char *folder, int fd, struct tc_error *err)
{
    struct stat info;
    char shown[256];
    (void)tc_printable(tc_span_of_text(folder), shown, sizeof shown);
    if (fstatat(fd, ".git", &info, AT_SYMLINK_NOFOLLOW) == 0)
        return tc_fail(err, TC_USAGE,
                       "%s is a git work tree, which this program cannot read: give it the files "
                       "of the commit alone (git archive HEAD | tar -x -C EMPTY-FOLDER), or use "
                       "tee-compile verify",
                       shown);
    if (errno == ENOENT) return TC_OK;
    return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot look at %s/.git", shown);
}

tc_status tc_source_digest(const struct tc_source_request *request, struct tc_sha256 *ret_digest,
                           struct tc_error *err)
{
    char shown[256];
    const char *folder = request->folder;
    TC_AUTO_FREE char *real = realpath(folder, NULL);
    TC_AUTO_CLOSE int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || !real)
        return tc_fail_errno(err, TC_USAGE, errno, "cannot open the project folder %s",
                             tc_printable(tc_span_of_text(folder), shown, sizeof shown));
    TC_TRY(refuse_git(folder, fd, err));
    const struct tc_tree tree = {.folder = real,
                                 .folder_fd = fd,
                                 .ignore = (char *const *)(uintptr_t)request->ignore};
    const struct tc_pack_sink sink = {0};
    struct tc_manifest_summary summary;
    struct tc_out out;
    TC_TRY(tc_out_init(&out, &sink, err));
    tc_status status = tc_tree_send(&tree, &out, err);
    if (status == TC_OK) status = tc_manifest_finish(out.manifest, &summary, err);
    tc_out_done(&out);
    if (status == TC_OK) *ret_digest = summary.digest;
    return status;
}
