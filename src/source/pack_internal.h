/* What the files of src/source that need libgit2 share. (tree.h has the rest.)
 *
 *   pack.c         opens the project, decides what it is, sends it
 *   pack_status.c  does the work tree differ from HEAD?
 *   pack_git.c     HEAD's objects, depth first, submodules in their places
 *   pack_tags.c    the tags that name HEAD
 *   pack_rules.c   which files of a changed work tree belong to the source
 *   pack_object.c  git objects and LFS contents, in pieces
 *   pack_claims.c  origin's URL and the branch, as claims */
#ifndef TC_SOURCE_PACK_INTERNAL_H
#define TC_SOURCE_PACK_INTERNAL_H

#include <git2.h>

#include "base/cleanup.h"
#include "core/gitobj.h"
#include "source/pack.h"
#include "source/tree.h"

struct tc_pack {
    char *folder;          /* real path */
    int folder_fd;
    char **ignore;         /* absolute, NULL-terminated */
    git_repository *repo;  /* NULL: the folder is no git work tree */
    enum tc_source_kind kind;
    bool dirty;
    size_t untracked;
    bool has_commit;       /* HEAD, also of a dirty tree */
    struct tc_sha1 commit;
    char *build_path;
    struct tc_buf build_file;
    char *repository, *ref;
};

static inline void tc_repository_free_ptr(git_repository **repo)
{
    git_repository_free(*repo);
    *repo = NULL;
}
#define TC_AUTO_REPOSITORY TC_CLEANUP(tc_repository_free_ptr)
static inline void tc_odb_free_ptr(git_odb **odb)
{
    git_odb_free(*odb);
    *odb = NULL;
}
#define TC_AUTO_ODB TC_CLEANUP(tc_odb_free_ptr)
static inline void tc_odb_object_free_ptr(git_odb_object **object)
{
    git_odb_object_free(*object);
    *object = NULL;
}
#define TC_AUTO_OBJECT TC_CLEANUP(tc_odb_object_free_ptr)

/* err from libgit2's last error: "text: what it said". */
tc_status tc_git_fail(struct tc_error *err, tc_status status, const char *format, ...)
    TC_PRINTF(3, 4);

/* --- pack_object.c --- */

/* A whole object of this kind, at most max bytes. where is its path, for messages. */
tc_status tc_object_read(git_odb *odb, const struct tc_sha1 *id, git_object_t kind, size_t max,
                         const char *where, git_odb_object **ret_object, struct tc_error *err)
    TC_MUST_USE;
struct tc_span tc_object_bytes(const git_odb_object *object); /* borrowed */
/* OBJECT(blob) and its bytes. ret_small: the content when it is small enough to be
 * an LFS pointer, else NULL. */
tc_status tc_object_send_blob(git_odb *odb, const struct tc_sha1 *id, const char *where,
                              struct tc_out *out, uint64_t *ret_size, git_odb_object **ret_small,
                              struct tc_error *err) TC_MUST_USE;
/* --- the others --- */

/* A checked-out repository at the relative path; *ret_repo NULL: nothing is there. */
tc_status tc_submodule_open(const struct tc_pack *pack, const char *path,
                            git_repository **ret_repo, struct tc_error *err) TC_MUST_USE;
bool tc_is_omitted(const struct tc_buildspec *spec, const char *path);
tc_status tc_submodule_missing(const char *path, struct tc_error *err);
/* Sets dirty and untracked; err names the first changes, for a dirty tree. */
tc_status tc_pack_compare(struct tc_pack *pack, struct tc_error *ret_changes, struct tc_error *err)
    TC_MUST_USE;
tc_status tc_pack_claim(struct tc_pack *pack, struct tc_error *err) TC_MUST_USE;
tc_status tc_pack_send_git(struct tc_pack *pack, const struct tc_buildspec *spec,
                           struct tc_out *out, struct tc_error *err) TC_MUST_USE;
tc_status tc_pack_send_tags(struct tc_pack *pack, git_odb *odb, struct tc_out *out,
                            struct tc_error *err) TC_MUST_USE;
/* The folder as it lies, by the rules of the repository in it if there is one. */
tc_status tc_pack_send_tree(struct tc_pack *pack, const struct tc_buildspec *spec,
                            struct tc_out *out, struct tc_error *err) TC_MUST_USE;

#endif
