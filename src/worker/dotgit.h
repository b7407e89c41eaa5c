/* The .git folder that a build gets with source.git: written by the unpacker
 * from objects whose ids the session has checked. One shallow commit, loose
 * objects, the tags that name it, an index that matches the files, a fixed
 * configuration; nothing that the host configured (docs/adr/0006). */
#ifndef TC_WORKER_DOTGIT_H
#define TC_WORKER_DOTGIT_H

#include "core/gitobj.h"

struct tc_dotgit;

tc_status tc_dotgit_new(int root_fd, int64_t epoch, struct tc_dotgit **ret_git, struct tc_error *err)
    TC_MUST_USE;
void tc_dotgit_free(struct tc_dotgit *git); /* accepts NULL */

/* One object: begin, its bytes in pieces, end, which returns its id. */
tc_status tc_dotgit_begin(struct tc_dotgit *git, enum tc_git_kind kind, uint64_t size,
                          struct tc_error *err) TC_MUST_USE;
tc_status tc_dotgit_add(struct tc_dotgit *git, struct tc_span bytes, struct tc_error *err) TC_MUST_USE;
tc_status tc_dotgit_end(struct tc_dotgit *git, struct tc_sha1 *ret_id, struct tc_error *err)
    TC_MUST_USE;

/* A line of the index: size is that of the file in the folder. */
tc_status tc_dotgit_index(struct tc_dotgit *git, const struct tc_entry *entry,
                          const struct tc_sha1 *id, uint64_t size, struct tc_error *err) TC_MUST_USE;
tc_status tc_dotgit_tag(struct tc_dotgit *git, struct tc_span name, const struct tc_sha1 *id,
                        struct tc_error *err) TC_MUST_USE;
/* Writes HEAD, shallow and the index. */
tc_status tc_dotgit_finish(struct tc_dotgit *git, const struct tc_sha1 *commit, struct tc_error *err)
    TC_MUST_USE;

/* After everything got its time: makes the index younger than the files, or git
 * would not believe it and compare every file's bytes, which for an LFS file are
 * not those of its blob. */
tc_status tc_dotgit_age(struct tc_dotgit *git, struct tc_error *err) TC_MUST_USE;

#endif
