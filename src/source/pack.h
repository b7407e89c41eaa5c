/* Reads a project folder and sends it as core/wire.h says: a clean git work
 * tree as the objects of HEAD (by libgit2: no process, no hook, no filter, no
 * fsmonitor of the repository's configuration is ever run), anything else as a
 * plain tree. Computes the source digest on the way, so that host and relying
 * party can compare. Used by `build` and by `verify --source`. */
#ifndef TC_SOURCE_PACK_H
#define TC_SOURCE_PACK_H

#include "core/buildspec.h"
#include "core/manifest.h"
#include "core/wire.h"

/* Where the frames go; NULL send: only the digest is wanted. */
struct tc_pack_sink {
    void *context;
    tc_status (*send)(void *context, enum tc_wire_kind kind, struct tc_span payload,
                      struct tc_error *err);
};

struct tc_pack_options {
    const char *folder;
    const char *build_file;    /* path in it, "build.json" */
    bool allow_dirty;          /* pack a changed work tree as a plain tree */
    const char *const *ignore; /* left out of a plain tree, as source/tree.h has it */
};

struct tc_pack; /* an opened project */

/* Finds out what the folder is: git (folder must be the top of its work tree,
 * HEAD a commit; a tracked file that differs from HEAD, in content or mode, or
 * is staged, makes it dirty) or plain. Reads build.json: HEAD's for git.
 * TC_USAGE for a dirty tree without allow_dirty (names up to 5 files), no such
 * folder, missing build file; TC_UNAVAILABLE for a SHA-256 repository. */
tc_status tc_pack_open(const struct tc_pack_options *options, struct tc_pack **ret_pack,
                       struct tc_error *err) TC_MUST_USE;
void tc_pack_close(struct tc_pack *pack); /* accepts NULL */

enum tc_source_kind tc_pack_kind(const struct tc_pack *pack);
bool tc_pack_is_dirty(const struct tc_pack *pack);
/* Files that git does not track and does not ignore: not part of a git source. */
size_t tc_pack_untracked(const struct tc_pack *pack);
const struct tc_sha1 *tc_pack_commit(const struct tc_pack *pack); /* NULL without one */
struct tc_span tc_pack_build_file(const struct tc_pack *pack);    /* its bytes; borrowed */
/* Claimed: remote "origin"'s URL without user info, and the branch or exact tag; "" when unknown. */
const char *tc_pack_repository(const struct tc_pack *pack);
const char *tc_pack_ref(const struct tc_pack *pack);

/* Sends everything up to and with SOURCE_END. spec tells which submodules are
 * left out and whether tags are wanted. A submodule that is neither checked out
 * nor listed in source.omit, an entry of source.omit that is no submodule, an
 * LFS pointer whose object is not in the repository's lfs/objects or does not
 * match, a FIFO, device or socket in a plain tree, a nested .git in one, a file
 * that changes while it is read: errors that name the path and the fix. */
tc_status tc_pack_send(struct tc_pack *pack, const struct tc_buildspec *spec,
                       const struct tc_pack_sink *sink, struct tc_manifest_summary *ret_summary,
                       struct tc_error *err) TC_MUST_USE;

#endif
