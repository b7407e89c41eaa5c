/* The source digest: SHA-256 over one line an entry, in the order of entry.h.
 *
 *   tee-compile/tree/1 LF
 *   f <mode> <size> <sha256> <length>:<path> LF      mode 644 or 755
 *   l <length>:<target> <length>:<path> LF
 *   d <length>:<path> LF                             an empty folder
 *   m <commit> <length>:<path> LF                    a submodule
 *
 * Lengths are decimal counts of bytes, digests lower-case hex. Paths and
 * targets stand as they are; the length makes every line unambiguous. */
#ifndef TC_CORE_MANIFEST_H
#define TC_CORE_MANIFEST_H

#include "core/entry.h"

struct tc_manifest;
#define TC_AUTO_MANIFEST TC_CLEANUP(tc_manifest_free_ptr)

struct tc_manifest_summary {
    struct tc_sha256 digest;
    uint64_t files;   /* files and symlinks */
    uint64_t folders; /* empty folders and submodules */
    uint64_t bytes;   /* sum of the files' sizes */
};

enum { TC_MANIFEST_ENTRIES_MAX = 1000000 };

struct tc_manifest *tc_manifest_new(void) TC_MUST_USE; /* NULL: no memory */
void tc_manifest_free(struct tc_manifest *manifest);
void tc_manifest_free_ptr(struct tc_manifest **manifest);

/* content is the digest of a file's bytes and ignored for other kinds.
 * TC_MALFORMED when the entry does not come after the one before it, or lies in
 * a folder that was recorded as empty,
 * TC_LIMIT past TC_MANIFEST_ENTRIES_MAX. */
tc_status tc_manifest_add(struct tc_manifest *manifest, const struct tc_entry *entry,
                          const struct tc_sha256 *content, struct tc_error *err) TC_MUST_USE;
tc_status tc_manifest_finish(struct tc_manifest *manifest, struct tc_manifest_summary *ret,
                             struct tc_error *err) TC_MUST_USE;

#endif
