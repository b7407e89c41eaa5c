#include "source_trip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void assert_ok(tc_status status, const struct tc_error *err)
{
    if (status != TC_OK) fail_msg("%s: %s", tc_status_name(status), err->message);
}

void assert_says(const struct tc_error *err, const char *part)
{
    if (!strstr(err->message, part)) fail_msg("expected \"%s\" in: %s", part, err->message);
}

void assert_prints(const char *folder, const char *command, const char *expected)
{
    char *seen = lab_output(folder, command);
    assert_string_equal(seen, expected);
    free(seen);
}

void assert_same_digest(const struct tc_sha256 *a, const struct tc_sha256 *b)
{
    assert_memory_equal(a->bytes, b->bytes, sizeof a->bytes);
}

void round_trip(const char *folder, bool allow_dirty, const char *root,
                struct tc_source_received *ret_received, struct lab_stream *ret_stream)
{
    struct tc_error err = {0};
    assert_ok(lab_pack(folder, allow_dirty, ret_stream, &err), &err);
    assert_ok(
        lab_receive(&ret_stream->hello, tc_buf_span(&ret_stream->bytes), root, ret_received, &err),
        &err);
    assert_same_digest(&ret_stream->summary.digest, &ret_received->summary.digest);
    assert_int_equal(ret_stream->summary.files, ret_received->summary.files);
    assert_int_equal(ret_stream->summary.bytes, ret_received->summary.bytes);
    assert_int_equal(ret_stream->has_commit, ret_received->has_commit);
}

void round_trip_only(const char *folder, bool allow_dirty, const char *root)
{
    struct tc_source_received received;
    struct lab_stream stream;
    round_trip(folder, allow_dirty, root, &received, &stream);
    tc_source_received_free(&received);
    lab_stream_free(&stream);
}

tc_status try_pack(const char *folder, bool allow_dirty, struct tc_error *err)
{
    struct lab_stream stream;
    TC_TRY(lab_pack(folder, allow_dirty, &stream, err));
    lab_stream_free(&stream);
    return TC_OK;
}
