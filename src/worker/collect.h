/* Outputs go out: the collector runs as the build's uid after every process of
 * the build is dead, finds what build.json's patterns name and streams it twice:
 * once to be hashed, once to be shipped. It knows no secret, so whatever the
 * build left for it to trip over gains nothing. The session trusts none of it:
 * it checks each frame, hashes both times and compares.
 *
 *   session -> collector   u32 count, count blocks (patterns), then one byte a pass: 1, 2
 *   collector -> session   each pass: (OUTPUT DATA*)* DONE, or FAIL
 *
 * Rules: each pattern must match; a file ships as it is, 0755 when its owner
 * may execute it, else 0644; a folder ships its files, all below it, in order;
 * a symlink to a regular file inside the source tree ships that file's bytes
 * under the symlink's path; a symlink that leaves the tree, dangles, or names a
 * folder below a shipped folder is an error; so are devices, FIFOs, sockets,
 * unreadable files, names that are not UTF-8, more than TC_SUBJECTS_MAX files.
 * A file matched twice ships once. Sorted by path. */
#ifndef TC_WORKER_COLLECT_H
#define TC_WORKER_COLLECT_H

#include "core/statement.h"
#include "os/channel.h"

/* The collector's main. root_fd is the build folder. Returns an exit status. */
int tc_collect_main(int fd, int root_fd);

/* Session side. Pass 1: fills statement->subjects (sorted, hashed). A symlink
 * shows as a file. warnings gets a line for each output that looks like a mistake
 * (a libtool wrapper script, which only works where it was built). TC_LIMIT when
 * the outputs have more than total_max bytes. */
tc_status tc_collect_hash(struct tc_channel *collector, const char *const *patterns,
                          size_t patterns_count, uint64_t total_max,
                          struct tc_statement *statement, struct tc_buf *warnings,
                          struct tc_error *err) TC_MUST_USE;
/* Pass 2: sends each output to the host (OUTPUT, DATA) and checks that path,
 * mode, size and digest are those of pass 1; TC_REFUSED when they are not. */
tc_status tc_collect_ship(struct tc_channel *collector, const struct tc_statement *statement,
                          struct tc_channel *host, struct tc_error *err) TC_MUST_USE;

#endif
