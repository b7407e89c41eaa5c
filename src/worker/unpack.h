/* The source comes in: received and proven by the session, written by the
 * unpacker, which runs as the build's uid before any command does. */
#ifndef TC_WORKER_UNPACK_H
#define TC_WORKER_UNPACK_H

#include "core/manifest.h"
#include "core/statement.h"
#include "os/channel.h"

struct tc_source_received {
    struct tc_manifest_summary summary;
    bool has_commit;
    struct tc_sha1 commit, tree;
    int64_t epoch;
    struct tc_buf build_file; /* bytes of the file that hello.build_file names */
    char **tags;              /* "name id" */
    size_t tags_count;
    char **omitted; /* submodules that the host left out, sorted */
    size_t omitted_count;
};
void tc_source_received_free(struct tc_source_received *received);

/* Who wants to see some of the files as they pass. An error of either ends it all. */
struct tc_source_tap {
    void *context;
    tc_status (*wants)(void *context, struct tc_span path, uint64_t size, bool *ret_wanted,
                       struct tc_error *err);
    tc_status (*take)(void *context, struct tc_span path, struct tc_span content,
                      struct tc_error *err);
};

/* Reads the whole source from the host (core/wire.h) up to SOURCE_END, checks
 * every object id and every entry as strictly as `git fsck --strict`, and hands
 * each entry to the unpacker. TC_REFUSED for evidence that does not match,
 * TC_MALFORMED for broken bytes, TC_LIMIT past caps. Memory is bounded by the
 * open trees (16 MiB together) plus one frame, and
 * one file that tap wants (NULL: none). */
tc_status tc_source_receive(struct tc_channel *host, struct tc_channel *unpacker,
                            const struct tc_wire_hello *hello, const struct tc_source_tap *tap,
                            struct tc_source_received *ret_received, struct tc_error *err)
    TC_MUST_USE;

/* What the session tells the unpacker:
 *   git_folder:u8 epoch:u64, then frames of core/wire.h:
 *   ENTRY DATA*     each entry, in order; a file's bytes are also the git blob,
 *                   unless OBJECT(blob) came right before (a git LFS pointer)
 *   OBJECT DATA*    with git_folder: commit, trees, LFS pointers, annotated tags
 *   TAG             with git_folder
 *   SOURCE_END
 *
 * The unpacker's main: reads from fd, writes below the folder `root_fd` (empty,
 * owned by the caller's uid), gives everything one mtime, answers DONE or FAIL.
 * Returns an exit status. Uses only *at calls that follow no symlink. */
int tc_unpack_main(int fd, int root_fd);

#endif
