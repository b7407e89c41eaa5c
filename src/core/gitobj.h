/* Git objects, SHA-1 format: ids, commits, trees, tags and LFS pointers, read as
 * strictly as `git fsck --strict` reads them. Pure. */
#ifndef TC_CORE_GITOBJ_H
#define TC_CORE_GITOBJ_H

#include "core/entry.h"

enum {
    TC_GIT_COMMIT_MAX = 1 << 20,
    TC_GIT_TREE_MAX = 8 << 20,
    TC_GIT_TAG_MAX = 1 << 20,
    TC_GIT_LFS_POINTER_MAX = 1024,
    TC_GIT_TREE_ENTRIES_MAX = 200000,
};

/* "commit", "tree", "blob", "tag". */
enum tc_git_kind { TC_GIT_COMMIT, TC_GIT_TREE, TC_GIT_BLOB, TC_GIT_TAG };

/* Starts the running digest of an object: its header "<kind> <size>\0". */
void tc_git_hash_start(struct tc_hash *sha1, enum tc_git_kind kind, uint64_t size);
tc_status tc_git_id_of(enum tc_git_kind kind, struct tc_span bytes, struct tc_sha1 *ret_id,
                       struct tc_error *err) TC_MUST_USE;

struct tc_git_commit {
    struct tc_sha1 tree;
    int64_t time; /* of the committer, seconds since the epoch */
};
/* Headers in git's order (tree, parents, author, committer), well-formed idents,
 * no NUL anywhere. */
tc_status tc_git_commit_read(struct tc_span bytes, struct tc_git_commit *ret_commit,
                             struct tc_error *err) TC_MUST_USE;

enum tc_git_entry_kind { TC_GIT_FILE, TC_GIT_EXECUTABLE, TC_GIT_SYMLINK, TC_GIT_FOLDER, TC_GIT_LINK };
struct tc_git_entry {
    enum tc_git_entry_kind kind;
    struct tc_span name; /* borrowed */
    struct tc_sha1 id;
};
/* Checks a whole tree: modes 100644, 100755, 120000, 40000 and 160000 spelt
 * without padding; names safe and not git's own; git's order; no name twice,
 * not even as file and folder; no null id; .gitmodules no symlink. */
tc_status tc_git_tree_check(struct tc_span bytes, struct tc_error *err) TC_MUST_USE;
/* The next entry of a tree that was checked; false at its end. */
bool tc_git_tree_next(struct tc_cursor *cursor, struct tc_git_entry *ret_entry);

/* Goes through a checked tree, which it borrows, in the order of entry.h. */
struct tc_git_walk {
    struct tc_span tree;
    size_t next;                 /* offset of the entry to look at */
    uint32_t links[TC_NAME_MAX]; /* offsets of submodules whose turn has not come */
    size_t links_count;
};
struct tc_git_walk tc_git_walk_of(struct tc_span tree);
bool tc_git_walk_next(struct tc_git_walk *walk, struct tc_git_entry *ret_entry);

struct tc_git_tag {
    struct tc_sha1 object;
    struct tc_span name; /* borrowed */
};
/* A tag of a commit: headers in git's order, the tagger optional, no nested tags. */
tc_status tc_git_tag_read(struct tc_span bytes, struct tc_git_tag *ret_tag, struct tc_error *err)
    TC_MUST_USE;
/* git check-ref-format, for the part behind refs/tags/. */
bool tc_git_tag_name_is_good(struct tc_span name);

/* Does a blob of this size and beginning claim to be a git LFS pointer? */
bool tc_git_is_lfs_pointer(struct tc_span bytes);
struct tc_git_lfs {
    struct tc_sha256 oid;
    uint64_t size;
};
/* The pointer as its specification (v1) fixes it: version, [ext-*], oid, size. */
tc_status tc_git_lfs_read(struct tc_span bytes, struct tc_git_lfs *ret_lfs, struct tc_error *err)
    TC_MUST_USE;

#endif
