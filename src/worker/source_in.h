/* What source_in.c (plain sources, forwarding) and source_git.c (git sources)
 * share. Private to the worker's receiving side. */
#ifndef TC_WORKER_SOURCE_IN_H
#define TC_WORKER_SOURCE_IN_H

#include "core/gitobj.h"
#include "worker/unpack.h"

struct tc_receiver {
    struct tc_channel *host, *unpacker;
    const struct tc_wire_hello *hello;
    const struct tc_source_tap *tap; /* may be NULL */
    bool tapped;                     /* the bytes that pass are a file that tap wants: */
    struct tc_buf tapped_bytes;
    struct tc_source_received *result;
    struct tc_manifest *manifest;
    struct tc_hash *sha1, *sha256;
    struct tc_buf path;        /* of what is being received */
    struct tc_buf scratch;     /* one encoded record */
    size_t open_trees;         /* bytes of trees on the way from the root */
    unsigned submodules;       /* how many we are inside of */
    bool have_build_file;      /* the bytes that pass are the build file's */
    bool is_announced;         /* an OBJECT frame was read to find out what comes: */
    struct tc_wire_object announced;
};

/* Adds the entry to the manifest (content: of a file) and nothing else. */
tc_status tc_receiver_count(struct tc_receiver *receiver, const struct tc_entry *entry,
                            const struct tc_sha256 *content, struct tc_error *err) TC_MUST_USE;

/* A frame to the unpacker. When that fails, what the unpacker said before it went
 * is the error. */
tc_status tc_receiver_forward(struct tc_receiver *receiver, enum tc_wire_kind kind,
                              struct tc_span payload, struct tc_error *err) TC_MUST_USE;
/* The same for any number of bytes, as DATA. */
tc_status tc_receiver_forward_data(struct tc_receiver *receiver, struct tc_span bytes,
                                   struct tc_error *err) TC_MUST_USE;
/* Sends the entry's record to the unpacker. */
tc_status tc_receiver_forward_entry(struct tc_receiver *receiver, const struct tc_entry *entry,
                                    struct tc_error *err) TC_MUST_USE;

/* Takes size bytes in DATA frames from the host: into sha256, into sha1 when
 * with_sha1, on to the unpacker, and into the build file when the path is its. */
tc_status tc_receiver_stream(struct tc_receiver *receiver, uint64_t size, bool with_sha1,
                             struct tc_error *err) TC_MUST_USE;
/* Bytes that are in memory already, the same way but for sha1. */
tc_status tc_receiver_pass(struct tc_receiver *receiver, struct tc_span bytes, struct tc_error *err)
    TC_MUST_USE;
/* Before the bytes of a file: makes ready to capture the build file. */
tc_status tc_receiver_begin_file(struct tc_receiver *receiver, const struct tc_entry *entry,
                                 struct tc_error *err) TC_MUST_USE;
/* After them: the sha256 of the file; hands it to tap if that wants it. */
tc_status tc_receiver_digest_file(struct tc_receiver *receiver, const struct tc_entry *entry,
                                  struct tc_sha256 *ret_content, struct tc_error *err) TC_MUST_USE;
/* The same, and counts it in the manifest. */
tc_status tc_receiver_end_file(struct tc_receiver *receiver, const struct tc_entry *entry,
                               struct tc_error *err) TC_MUST_USE;

/* The first thing that the unpacker hears. */
tc_status tc_receiver_start_unpacker(struct tc_receiver *receiver, int64_t epoch,
                                     struct tc_error *err) TC_MUST_USE;

tc_status tc_receive_git(struct tc_receiver *receiver, struct tc_error *err) TC_MUST_USE;

#endif
