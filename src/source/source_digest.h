/* The source digest of a folder, for the relying party. Which of two files is
 * linked decides what can be read:
 *
 *   digest_pack.c   as `build` packs it: git work trees and plain folders
 *   digest_plain.c  plain folders alone, without libgit2 (tee-verify) */
#ifndef TC_SOURCE_SOURCE_DIGEST_H
#define TC_SOURCE_SOURCE_DIGEST_H

#include "core/wire.h"

struct tc_source_request {
    const char *folder;
    const char *build_file;    /* its path in the source */
    enum tc_source_kind kind;  /* a folder that was packed as it lay is read as it lies */
    const char *const *ignore; /* left out of a folder as it lies, as source/tree.h has it */
};

/* TC_USAGE with the reason and what to do for a folder that cannot be a source. */
tc_status tc_source_digest(const struct tc_source_request *request, struct tc_sha256 *ret_digest,
                           struct tc_error *err) TC_MUST_USE;

#endif
