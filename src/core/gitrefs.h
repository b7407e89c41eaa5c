/* The refs that a git server lists over smart HTTP (gitprotocol-http), to witness that a
 * repository has a commit under a name. Pure; strict: what git's own servers say is read,
 * anything else is malformed. SHA-1 repositories and versions 0 and 1 of the protocol alone;
 * version 2 lists nothing to whoever does not ask for it. */
#ifndef TC_CORE_GITREFS_H
#define TC_CORE_GITREFS_H

#include "core/digest.h"

enum {
    TC_GIT_REFS_BODY_MAX = 64 << 20, /* bytes of a list: a million refs */
    TC_GIT_REF_NAME_MAX = 1024,
    TC_GIT_REPOSITORY_MAX = 4096,
};

struct tc_git_ref {
    struct tc_sha1 id;
    bool is_tag;           /* an annotated one */
    struct tc_sha1 peeled; /* then what it stands for in the end */
};
/* The commit: peeled, or id itself. */
const struct tc_sha1 *tc_git_ref_commit(const struct tc_git_ref *ref);

/* "refs/heads/main", "refs/tags/v1": git check-ref-format, and below refs/. */
bool tc_git_ref_name_is_good(struct tc_span ref) TC_MUST_USE;

/* Appends the URL to ask with GET. TC_REFUSED for a repository without an https URL of its
 * own, or one with a user, a query or a fragment. */
tc_status tc_git_refs_url(const char *repository, struct tc_buf *buf, struct tc_error *err) TC_MUST_USE;

/* Reads the whole list, body, and finds ref. TC_REFUSED: the server has no such ref, or
 * answered with an error. */
tc_status tc_git_refs_find(struct tc_span body, const char *ref, struct tc_git_ref *ret_ref,
                           struct tc_error *err) TC_MUST_USE;

#endif
