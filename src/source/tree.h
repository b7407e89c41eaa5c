/* Reading a folder as it lies, without libgit2: what `build`, `verify --source`
 * and a program without libgit2 (tee-verify) have in common.
 *
 *   pack_tree.c    the walk
 *   pack_file.c    files and folders, following no link
 *   pack_out.c     frames to the sink, lines to the source digest */
#ifndef TC_SOURCE_TREE_H
#define TC_SOURCE_TREE_H

#include "base/cleanup.h"
#include "core/gitobj.h"
#include "source/pack.h"

/* --- pack_out.c --- */

struct tc_out {
    const struct tc_pack_sink *sink;
    struct tc_manifest *manifest;
    struct tc_hash *sha1, *sha256; /* of the bytes that pass */
    struct tc_buf record;
};
tc_status tc_out_init(struct tc_out *out, const struct tc_pack_sink *sink, struct tc_error *err)
    TC_MUST_USE;
void tc_out_done(struct tc_out *out);
tc_status tc_out_frame(struct tc_out *out, enum tc_wire_kind kind, struct tc_span payload,
                       struct tc_error *err) TC_MUST_USE;
tc_status tc_out_object(struct tc_out *out, enum tc_object_kind kind, uint64_t size,
                        struct tc_error *err) TC_MUST_USE;
tc_status tc_out_entry(struct tc_out *out, const struct tc_entry *entry, struct tc_error *err)
    TC_MUST_USE;
/* DATA; adds the bytes to both running digests. */
tc_status tc_out_data(struct tc_out *out, struct tc_span bytes, struct tc_error *err) TC_MUST_USE;
/* An object that is in memory. */
tc_status tc_out_whole(struct tc_out *out, enum tc_object_kind kind, struct tc_span bytes,
                       struct tc_error *err) TC_MUST_USE;
/* The entry's line in the source digest; of a file the bytes are those that
 * passed since sha256 was restarted. */
tc_status tc_out_count(struct tc_out *out, const struct tc_entry *entry, struct tc_error *err)
    TC_MUST_USE;

/* --- pack_file.c --- */

/* Bytes of an open file, exactly size of them, to out. */
tc_status tc_file_send(int fd, uint64_t size, const char *where, struct tc_out *out,
                       struct tc_error *err) TC_MUST_USE;
/* Opens a regular file without following a link or waiting for a FIFO. */
tc_status tc_file_open(int folder, const char *name, const char *where, int *ret_fd,
                       uint64_t *ret_size, bool *ret_executable, struct tc_error *err) TC_MUST_USE;
/* Opens the folder that a relative path names, following no link. */
tc_status tc_folder_open(int root, const char *path, int *ret_fd, struct tc_error *err) TC_MUST_USE;

/* The path is a pointer whose object is not where its content would be read;
 * fix: what to run after git lfs fetch, or "". */
tc_status tc_lfs_missing(struct tc_span path, const struct tc_git_lfs *lfs, const char *fix,
                         struct tc_error *err);

/* --- pack_tree.c --- */

/* Which files belong to the source, asked for each path from the top of the
 * folder. NULL instead of rules: all do, but .git at the top, and empty folders
 * too. With rules empty folders do not: git knows none. */
struct tc_tree_rules {
    size_t start; /* where the paths that these rules judge begin in a path */
    bool (*is_submodule)(const struct tc_tree_rules *rules, const char *path);
    tc_status (*belongs)(const struct tc_tree_rules *rules, const char *path, bool is_folder,
                         bool *ret_belongs, struct tc_error *err);
    /* The rules by which the submodule at path judges its own files, which leave
     * frees; *ret_rules NULL: it is left out, an empty folder. */
    tc_status (*enter)(const struct tc_tree_rules *rules, const char *path,
                       struct tc_tree_rules **ret_rules, struct tc_error *err);
    void (*leave)(struct tc_tree_rules *rules);
};

struct tc_tree {
    const char *folder; /* real path, for ignore */
    int folder_fd;
    /* Absolute paths of files that are left out, and with each what it may be called until it is
     * finished (os/tempname.h). NULL-terminated; may be NULL. */
    char *const *ignore;
    const struct tc_tree_rules *rules; /* may be NULL */
};
tc_status tc_tree_send(const struct tc_tree *tree, struct tc_out *out, struct tc_error *err)
    TC_MUST_USE;

#endif
