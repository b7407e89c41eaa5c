/* A laboratory for sources: temporary projects, streams packed from them, and the
 * worker's receiving side fed with such streams, whole or spoilt. */
#ifndef TC_TESTS_SOURCE_LAB_H
#define TC_TESTS_SOURCE_LAB_H

#include "source/pack.h"
#include "worker/unpack.h"

/* A new empty folder, gone with lab_remove; the caller frees the name. */
char *lab_folder(void);
void lab_remove(char *folder);

/* Runs a shell command in the folder, with git's configuration of machine and user
 * shut out and fixed names and dates; fails the test unless it exits 0. */
void lab_shell(const char *folder, const char *command);
int lab_try(const char *folder, const char *command);
/* What it prints. The caller frees. */
char *lab_output(const char *folder, const char *command);

/* A git project with every kind of entry; commits it. */
void lab_git_project(const char *folder);

struct lab_stream {
    struct tc_wire_hello hello; /* build file "build.json", claims of the pack */
    struct tc_buf bytes;        /* the frames */
    struct tc_manifest_summary summary;
    bool has_commit;
    struct tc_sha1 commit;
};
tc_status lab_pack(const char *folder, bool allow_dirty, struct lab_stream *ret_stream,
                   struct tc_error *err);
void lab_stream_free(struct lab_stream *stream);

/* Feeds the bytes to tc_source_receive and writes the tree into root by
 * tc_unpack_main in a process of its own. */
tc_status lab_receive(const struct tc_wire_hello *hello, struct tc_span bytes, const char *root,
                      struct tc_source_received *ret_received, struct tc_error *err);
/* The same for a stream of at most some 50 KiB, with an unpacker that says yes to
 * everything and writes nothing. */
tc_status lab_receive_only(const struct tc_wire_hello *hello, struct tc_span bytes,
                           struct tc_source_received *ret_received, struct tc_error *err);

/* Frames made by hand. */
void lab_frame(struct tc_buf *bytes, enum tc_wire_kind kind, struct tc_span payload);
void lab_object(struct tc_buf *bytes, enum tc_object_kind kind, struct tc_span content);
void lab_entry(struct tc_buf *bytes, const struct tc_entry *entry, const char *content);

#endif
