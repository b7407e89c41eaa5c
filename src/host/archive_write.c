/* Bodies come many at a time and are named by their digests, so each waits in memory or,
 * when it is large, in a file without a name until it is whole; then it goes into the
 * tar in one go, unless its like is there. The lines wait likewise for the end. */
#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/archive.h"
#include "core/bundle.h"
#include "host/archive.h"
#include "host/archive_internal.h"
#include "os/files.h"
#include "os/tempfile.h"

enum { IN_MEMORY_MAX = 64 * 1024, PIECE = 64 * 1024 };

struct tc_archive_writer {
    char *path;
    struct tc_tempfile tar, lines;
    pthread_mutex_t lock; /* of all below, and of the places in the files */
    void *digests;        /* tree of struct tc_sha256: bodies that are there */
    uint64_t lines_count, lines_size;
    struct tc_error failure; /* once it has failed, it has */
};

struct tc_archive_store {
    struct tc_archive_writer *writer;
    struct tc_archived archived;
    struct tc_hash *hash;
    struct tc_buf memory;
    struct tc_tempfile file; /* open: all of the body, and memory is empty */
    uint64_t size;
};

static int compare(const void *one, const void *other)
{
    return memcmp(one, other, sizeof(struct tc_sha256));
}

tc_status tc_archive_writer_new(const char *path, struct tc_archive_writer **ret_writer,
                                struct tc_error *err)
{
    struct tc_archive_writer *writer = calloc(1, sizeof *writer);
    if (!writer) return tc_fail(err, TC_SYSTEM, "out of memory");
    (void)pthread_mutex_init(&writer->lock, NULL);
    writer->tar = writer->lines = TC_TEMPFILE_NONE;
    writer->path = strdup(path);
    tc_status status = writer->path ? TC_OK : tc_fail(err, TC_SYSTEM, "out of memory");
    if (status == TC_OK) status = tc_tempfile_open(path, &writer->tar, err);
    if (status == TC_OK) status = tc_tempfile_open(path, &writer->lines, err);
    if (status == TC_OK)
        *ret_writer = writer;
    else
        tc_archive_writer_free(writer);
    return status;
}

void tc_archive_writer_free(struct tc_archive_writer *writer)
{
    if (!writer) return;
    tc_tempfile_drop(&writer->tar);
    tc_tempfile_drop(&writer->lines);
    tdestroy(writer->digests, free);
    (void)pthread_mutex_destroy(&writer->lock);
    free(writer->path);
    free(writer);
}

/* --- the tar --- */

static tc_status copy_file(int from, uint64_t size, int to, struct tc_error *err)
{
    TC_AUTO_FREE uint8_t *bytes = malloc(PIECE);
    if (!bytes) return tc_fail(err, TC_SYSTEM, "out of memory");
    for (uint64_t done = 0; done < size;) {
        size_t wanted = size - done < PIECE ? (size_t)(size - done) : PIECE;
        ssize_t got = pread(from, bytes, wanted, (off_t)done);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return tc_fail(err, TC_SYSTEM, "cannot read a file of the archive back");
        TC_TRY(tc_write_all(to, (struct tc_span){bytes, (size_t)got}, "the archive", err));
        done += (uint64_t)got;
    }
    return TC_OK;
}

/* memory or, when it is -1, the file. */
static tc_status add_member(struct tc_archive_writer *writer, const char *name, uint64_t size,
                            struct tc_span memory, int file, struct tc_error *err)
{
    static const uint8_t zeros[TC_BUNDLE_BLOCK];
    TC_AUTO_BUF struct tc_buf header = tc_buf_new(TC_BUNDLE_HEADER_MAX);
    const struct tc_bundle_member member = {tc_span_of_text(name), false, size};
    TC_TRY(tc_bundle_write_header(&member, &header, err));
    TC_TRY(tc_write_all(writer->tar.fd, tc_buf_span(&header), "the archive", err));
    if (file >= 0)
        TC_TRY(copy_file(file, size, writer->tar.fd, err));
    else
        TC_TRY(tc_write_all(writer->tar.fd, memory, "the archive", err));
    return tc_write_all(writer->tar.fd, (struct tc_span){zeros, tc_bundle_padding(size)},
                        "the archive", err);
}

static tc_status add_body(struct tc_archive_writer *writer, const struct tc_archive_store *store,
                          struct tc_error *err)
{
    char name[TC_ARCHIVE_BODY_NAME_SIZE];
    struct tc_sha256 *digest = malloc(sizeof *digest);
    if (!digest) return tc_fail(err, TC_SYSTEM, "out of memory");
    *digest = store->archived.digest;
    void *place = tsearch(digest, &writer->digests, compare);
    if (!place || *(struct tc_sha256 **)place != digest) {
        free(digest);
        return place ? TC_OK : tc_fail(err, TC_SYSTEM, "out of memory");
    }
    tc_archive_body_name(digest, name);
    return add_member(writer, name, store->size, tc_buf_span(&store->memory), store->file.fd, err);
}

static tc_status add_response(struct tc_archive_writer *writer,
                              const struct tc_archive_store *store, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf line = tc_buf_new(TC_ARCHIVED_LINE_MAX);
    if (writer->failure.status != TC_OK) {
        *err = writer->failure;
        return err->status;
    }
    TC_TRY(tc_archived_write(&store->archived, &line, err));
    if (writer->lines_count >= TC_ARCHIVED_MAX ||
        writer->lines_size + line.size > TC_ARCHIVE_INDEX_MAX)
        return tc_fail(err, TC_LIMIT,
                       "the archive would have more than %d responses or %d bytes of "
                       "lines",
                       TC_ARCHIVED_MAX, TC_ARCHIVE_INDEX_MAX);
    tc_status status = add_body(writer, store, err);
    if (status == TC_OK)
        status = tc_write_all(writer->lines.fd, tc_buf_span(&line), "the archive's lines", err);
    if (status != TC_OK) {
        /* Half a member may be in the tar. */
        writer->failure = *err;
        return status;
    }
    writer->lines_count++;
    writer->lines_size += line.size;
    return TC_OK;
}

tc_status tc_archive_writer_finish(struct tc_archive_writer *writer, struct tc_tempfile *ret_file,
                                   struct tc_error *err)
{
    static const uint8_t zeros[TC_BUNDLE_END_SIZE];
    if (writer->failure.status != TC_OK) {
        *err = writer->failure;
        return err->status;
    }
    TC_TRY(add_member(writer, TC_ARCHIVE_INDEX_NAME, writer->lines_size, (struct tc_span){0},
                      writer->lines.fd, err));
    TC_TRY(tc_write_all(writer->tar.fd, (struct tc_span){zeros, sizeof zeros}, "the archive", err));
    *ret_file = writer->tar;
    writer->tar = TC_TEMPFILE_NONE;
    return TC_OK;
}

/* --- one response --- */

tc_status tc_archive_store_begin(struct tc_archive_writer *writer, struct tc_span line,
                                 struct tc_archive_store **ret_store, struct tc_error *err)
{
    struct tc_archive_store *store = calloc(1, sizeof *store);
    if (!store) return tc_fail(err, TC_SYSTEM, "out of memory");
    store->writer = writer;
    store->file = TC_TEMPFILE_NONE;
    store->memory = tc_buf_new(IN_MEMORY_MAX);
    store->hash = tc_hash_new(TC_HASH_SHA256);
    tc_status status = store->hash ? tc_archived_read(line, &store->archived, err)
                                   : tc_fail(err, TC_SYSTEM, "out of memory");
    if (status == TC_OK && store->archived.size != 0)
        status = tc_fail(err, TC_MALFORMED, "a response to be archived has a size before its body");
    if (status == TC_OK)
        *ret_store = store;
    else
        tc_archive_store_free(store);
    return status;
}

tc_status tc_archive_store_add(struct tc_archive_store *store, struct tc_span bytes,
                               struct tc_error *err)
{
    if (bytes.size > TC_FILE_SIZE_MAX - store->size)
        return tc_fail(err, TC_LIMIT, "a body is larger than 1 TiB");
    tc_hash_add(store->hash, bytes.data, bytes.size);
    store->size += bytes.size;
    if (store->file.fd < 0 && store->size > IN_MEMORY_MAX) {
        TC_TRY(tc_tempfile_open(store->writer->path, &store->file, err));
        TC_TRY(tc_write_all(store->file.fd, tc_buf_span(&store->memory), "a body of the archive",
                            err));
        tc_buf_free(&store->memory);
    }
    if (store->file.fd >= 0)
        return tc_write_all(store->file.fd, bytes, "a body of the archive", err);
    tc_buf_add_span(&store->memory, bytes);
    return tc_buf_check(&store->memory, "a body of the archive", err);
}

tc_status tc_archive_store_finish(struct tc_archive_store *store, struct tc_error *err)
{
    struct tc_archive_writer *writer = store->writer;
    TC_TRY(tc_hash_finish(store->hash, store->archived.digest.bytes, TC_SHA256_SIZE, err));
    store->archived.size = store->size;
    (void)pthread_mutex_lock(&writer->lock);
    tc_status status = add_response(writer, store, err);
    (void)pthread_mutex_unlock(&writer->lock);
    return status;
}

void tc_archive_store_free(struct tc_archive_store *store)
{
    if (!store) return;
    tc_archived_free(&store->archived);
    tc_hash_free(store->hash);
    tc_buf_free(&store->memory);
    tc_tempfile_drop(&store->file);
    free(store);
}
