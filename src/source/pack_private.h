/* What the parts of pack share. */
#ifndef TC_SOURCE_PACK_PRIVATE_H
#define TC_SOURCE_PACK_PRIVATE_H

#include <git2.h>

#include "core/gitobj.h"
#include "source/pack.h"

struct tc_pack {
    char *folder;      /* absolute */
    int folder_fd;
    bool is_git;       /* the folder is the top of a git work tree */
    bool dirty;        /* of a git work tree: packed as plain files */
    git_repository *repository;
    struct tc_sha1 commit;
    size_t untracked;
    struct tc_buf build_file;
    char *claimed_repository, *claimed_ref;
    const char *const *ignore;
};

/* One run of tc_pack_send: where frames go, what has been counted. */
struct tc_packing {
    const struct tc_buildspec *spec;
    const struct tc_pack_sink *sink;
    struct tc_manifest *manifest;
    struct tc_hash *sha256;
    struct tc_buf record; /* one encoded payload */
};

tc_status tc_packing_frame(struct tc_packing *packing, enum tc_wire_kind kind, struct tc_span payload,
                           struct tc_error *err) TC_MUST_USE;
tc_status tc_packing_data(struct tc_packing *packing, struct tc_span bytes, struct tc_error *err)
    TC_MUST_USE;
tc_status tc_packing_entry(struct tc_packing *packing, const struct tc_entry *entry,
                           struct tc_error *err) TC_MUST_USE;

/* "cannot <do something>: <libgit2's reason>" */
tc_status tc_git_fail(tc_status status, struct tc_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* pack_git.c: HEAD's objects. */
tc_status tc_pack_send_git(struct tc_pack *pack, struct tc_packing *packing, struct tc_error *err)
    TC_MUST_USE;
/* A blob of HEAD's tree by its path; TC_USAGE when there is none. */
tc_status tc_pack_read_head_file(struct tc_pack *pack, const char *path, struct tc_buf *buf,
                                 struct tc_error *err) TC_MUST_USE;
/* Path of a git LFS object in the repository; owned. */
char *tc_pack_lfs_path(git_repository *repository, const struct tc_git_lfs *lfs);

/* pack_state.c: does the work tree differ from HEAD? Names up to five files. */
tc_status tc_pack_look(struct tc_pack *pack, char *names, size_t names_size, struct tc_error *err)
    TC_MUST_USE;
/* Paths of a changed work tree: tracked and there, and untracked but not ignored;
 * owned list of owned strings. */
tc_status tc_pack_list(struct tc_pack *pack, char ***ret_paths, size_t *ret_count,
                       struct tc_error *err) TC_MUST_USE;

/* pack_plain.c: the folder's files, all of them or those of a list. */
tc_status tc_pack_send_plain(struct tc_pack *pack, struct tc_packing *packing, struct tc_error *err)
    TC_MUST_USE;

#endif
