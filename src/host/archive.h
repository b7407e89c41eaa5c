/* The archive of a build's network, a tar file: each body once, named by its digest, and
 * archive.jsonl, one line a response (core/archive.h), as the last member. The tar has
 * the exact form of a bundle's (core/bundle.h), but for the order of its members.
 *
 *   bodies/HEX ...   archive.jsonl   two zero blocks
 *
 * The host keeps and brings bytes; that they are the right ones is the worker's to check,
 * which binds the digest of archive.jsonl and looks at every line and body. */
#ifndef TC_HOST_ARCHIVE_H
#define TC_HOST_ARCHIVE_H

#include "core/digest.h"
#include "os/tempfile.h"

/* --- writing; the functions of stores may be called from several threads --- */

struct tc_archive_writer;

/* Writes beside path; the file gets its name, or none, from whoever finishes it. */
tc_status tc_archive_writer_new(const char *path, struct tc_archive_writer **ret_writer,
                                struct tc_error *err) TC_MUST_USE;
void tc_archive_writer_free(struct tc_archive_writer *writer); /* accepts NULL */
/* When all stores have been freed, once: the whole archive, still without its name, the
 * caller's. Fails when one of them did for a reason of the writer's. */
tc_status tc_archive_writer_finish(struct tc_archive_writer *writer, struct tc_tempfile *ret_file,
                                   struct tc_error *err) TC_MUST_USE;

/* One response. line: as of core/archive.h, with the digest and size of no body. */
struct tc_archive_store;
tc_status tc_archive_store_begin(struct tc_archive_writer *writer, struct tc_span line,
                                 struct tc_archive_store **ret_store, struct tc_error *err)
    TC_MUST_USE;
tc_status tc_archive_store_add(struct tc_archive_store *store, struct tc_span bytes,
                               struct tc_error *err) TC_MUST_USE;
/* Without it, nothing is kept of the response. */
tc_status tc_archive_store_finish(struct tc_archive_store *store, struct tc_error *err) TC_MUST_USE;
void tc_archive_store_free(struct tc_archive_store *store); /* accepts NULL */

/* --- reading; all from several threads once it is open --- */

struct tc_archive;

/* Reads all headers and lines, no bodies. TC_MALFORMED: not in the form above, or a line
 * without its body, or a body without a line. */
tc_status tc_archive_open(const char *path, struct tc_archive **ret_archive, struct tc_error *err)
    TC_MUST_USE;
void tc_archive_close(struct tc_archive *archive); /* accepts NULL */

/* SHA-256 of archive.jsonl. */
const struct tc_sha256 *tc_archive_digest(const struct tc_archive *archive);
size_t tc_archive_responses(const struct tc_archive *archive);

struct tc_archive_part { /* of the file */
    uint64_t offset, size;
};
struct tc_archive_part tc_archive_index_part(const struct tc_archive *archive);
/* The line of this digest and its body; false: there is none. */
bool tc_archive_find(const struct tc_archive *archive, const struct tc_sha256 *line,
                     struct tc_archive_part *ret_line, struct tc_archive_part *ret_body)
    TC_MUST_USE;
/* The next size bytes of a part, which begins behind them afterwards. */
tc_status tc_archive_read(const struct tc_archive *archive, struct tc_archive_part *part,
                          uint8_t *out, size_t size, struct tc_error *err) TC_MUST_USE;

#endif
