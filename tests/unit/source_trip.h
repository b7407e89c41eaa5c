/* Sources on their whole way, from a folder to a folder, on top of source_lab.h. */
#ifndef TC_TESTS_SOURCE_TRIP_H
#define TC_TESTS_SOURCE_TRIP_H

#include "source_lab.h"

/* A shell command that writes a build.json, with more of its keys. */
#define SPEC(more)                                                                                 \
    "printf '%s' "                                                                                 \
    "'{\"language\":\"c\",\"input\":{\"cmd\":\"true\"},\"output\":{\"files\":[\"a\"]}" more        \
    "}' >build.json\n"

void assert_ok(tc_status status, const struct tc_error *err);
void assert_says(const struct tc_error *err, const char *part);
/* What a shell command in the folder prints. */
void assert_prints(const char *folder, const char *command, const char *expected);
void assert_same_digest(const struct tc_sha256 *a, const struct tc_sha256 *b);

/* Packs, receives, unpacks into root; both sides have to compute the same. */
void round_trip(const char *folder, bool allow_dirty, const char *root,
                struct tc_source_received *ret_received, struct lab_stream *ret_stream);
void round_trip_only(const char *folder, bool allow_dirty, const char *root);

tc_status try_pack(const char *folder, bool allow_dirty, struct tc_error *err);

#endif
