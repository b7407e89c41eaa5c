#include "core/wire.h"

#include <string.h>

#include "base/text.h"
#include "core/credential.h"

void tc_wire_header_encode(enum tc_wire_kind kind, uint32_t size, uint8_t out[TC_WIRE_HEADER_SIZE])
{
    out[0] = (uint8_t)kind;
    out[1] = out[2] = out[3] = 0;
    out[4] = (uint8_t)(size >> 24);
    out[5] = (uint8_t)(size >> 16);
    out[6] = (uint8_t)(size >> 8);
    out[7] = (uint8_t)size;
}

enum {
    HELLO_MIN = 5, /* of any version, so that the version is what is complained of */
    HELLO_MAX = 2 + 5 + TC_SHA256_SIZE + 4 + TC_WIRE_NONCE_MAX + 4 + TC_PATH_MAX +
                2 * (4 + TC_WIRE_TEXT_MAX) + 4 + TC_WIRE_BACKEND_MAX,
    OBJECT_SIZE = 1 + 8,
    TAG_MAX = 1 + TC_SHA1_SIZE + 4 + TC_NAME_MAX,
    MEMBER_SIZE = 1 + 8,
    FAIL_MAX = 1 + 4 + TC_WIRE_TEXT_MAX,
};

/* The smallest and largest payload of a kind; false for an unknown kind. */
static bool payload_range(unsigned kind, uint32_t *ret_min, uint32_t *ret_max)
{
    static const struct {
        uint8_t kind;
        uint32_t min, max;
    } table[] = {
        {TC_WIRE_HELLO, HELLO_MIN, HELLO_MAX},
        {TC_WIRE_OBJECT, OBJECT_SIZE, OBJECT_SIZE},
        {TC_WIRE_ENTRY, 1, TC_ENTRY_MAX},
        {TC_WIRE_OMITTED, 0, 0},
        {TC_WIRE_DATA, 1, TC_WIRE_DATA_MAX},
        {TC_WIRE_TAG, 1, TAG_MAX},
        {TC_WIRE_SOURCE_END, 0, 0},
        {TC_WIRE_BUILD_FILE, 1, TC_WIRE_DATA_MAX},
        {TC_WIRE_CREDENTIAL, 1, TC_CREDENTIAL_MAX},
        {TC_WIRE_ACCEPT, 1, TC_WIRE_TEXT_MAX},
        {TC_WIRE_PHASE, 1, 1},
        {TC_WIRE_LOG, 1, TC_WIRE_DATA_MAX},
        {TC_WIRE_FAIL, 1, FAIL_MAX},
        {TC_WIRE_MEMBER, MEMBER_SIZE, MEMBER_SIZE},
        {TC_WIRE_OUTPUT, 1, TC_ENTRY_MAX},
        {TC_WIRE_DONE, 0, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].kind == kind) {
            *ret_min = table[i].min;
            *ret_max = table[i].max;
            return true;
        }
    return false;
}

tc_status tc_wire_header_decode(const uint8_t bytes[TC_WIRE_HEADER_SIZE],
                                struct tc_wire_header *ret_header, struct tc_error *err)
{
    uint32_t min, max;
    if (!payload_range(bytes[0], &min, &max))
        return tc_fail(err, TC_MALFORMED, "unknown frame kind %u", bytes[0]);
    if (bytes[1] | bytes[2] | bytes[3])
        return tc_fail(err, TC_MALFORMED, "frame kind %u: reserved bytes are not zero", bytes[0]);
    uint32_t size =
        (uint32_t)bytes[4] << 24 | (uint32_t)bytes[5] << 16 | (uint32_t)bytes[6] << 8 | bytes[7];
    if (size < min || size > max)
        return tc_fail(err, TC_MALFORMED, "frame kind %u: %u bytes, expected %u to %u", bytes[0],
                       size, min, max);
    ret_header->kind = (enum tc_wire_kind)bytes[0];
    ret_header->size = size;
    return TC_OK;
}

static tc_status message_ended(const struct tc_cursor *cursor, const char *what,
                               struct tc_error *err)
{
    if (tc_cursor_left(cursor) == 0) return TC_OK;
    return tc_fail(err, TC_MALFORMED, "%s: %zu bytes after its end", what, tc_cursor_left(cursor));
}

void tc_wire_hello_encode(const struct tc_wire_hello *hello, struct tc_buf *buf)
{
    tc_buf_add_u16(buf, TC_WIRE_VERSION);
    tc_buf_add_u8(buf, (uint8_t)hello->source);
    tc_buf_add_u8(buf, hello->no_log);
    tc_buf_add_u8(buf, hello->git_folder);
    tc_buf_add_u8(buf, hello->archive);
    tc_buf_add_u8(buf, hello->replay);
    tc_buf_add(buf, hello->replayed.bytes, sizeof hello->replayed.bytes);
    tc_buf_add_block(buf, hello->nonce);
    tc_buf_add_block(buf, hello->build_file);
    tc_buf_add_block(buf, hello->repository);
    tc_buf_add_block(buf, hello->ref);
    tc_buf_add_block(buf, hello->backend);
}

/* A byte that must be 0 or 1. */
static bool take_flag(struct tc_cursor *cursor, bool *ret_flag)
{
    uint8_t value;
    if (!tc_cursor_u8(cursor, &value) || value > 1) return false;
    *ret_flag = value == 1;
    return true;
}

tc_status tc_wire_hello_decode(struct tc_span payload, struct tc_wire_hello *ret_hello,
                               struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(payload);
    struct tc_wire_hello hello = {0};
    struct tc_span replayed;
    uint16_t version;
    uint8_t source;
    if (!tc_cursor_u16(&cursor, &version)) return tc_fail(err, TC_MALFORMED, "HELLO is cut short");
    if (version != TC_WIRE_VERSION)
        return tc_fail(err, TC_REFUSED,
                       "the host speaks protocol version %u, this worker version %d: use a host "
                       "and an image of the same release",
                       version, TC_WIRE_VERSION);
    if (!tc_cursor_u8(&cursor, &source) || !take_flag(&cursor, &hello.no_log) ||
        !take_flag(&cursor, &hello.git_folder) || !take_flag(&cursor, &hello.archive) ||
        !take_flag(&cursor, &hello.replay) ||
        !tc_cursor_take(&cursor, sizeof hello.replayed.bytes, &replayed) ||
        !tc_cursor_block(&cursor, TC_WIRE_NONCE_MAX, &hello.nonce) ||
        !tc_cursor_block(&cursor, TC_PATH_MAX, &hello.build_file) ||
        !tc_cursor_block(&cursor, TC_WIRE_TEXT_MAX, &hello.repository) ||
        !tc_cursor_block(&cursor, TC_WIRE_TEXT_MAX, &hello.ref) ||
        !tc_cursor_block(&cursor, TC_WIRE_BACKEND_MAX, &hello.backend))
        return tc_fail(err, TC_MALFORMED, "HELLO is cut short or holds a value out of range");
    TC_TRY(message_ended(&cursor, "HELLO", err));
    memcpy(hello.replayed.bytes, replayed.data, replayed.size);
    static const struct tc_sha256 none = {{0}};
    if (hello.archive && hello.replay)
        return tc_fail(err, TC_MALFORMED, "HELLO asks for an archive of a replay");
    if (!hello.replay && memcmp(&hello.replayed, &none, sizeof none) != 0)
        return tc_fail(err, TC_MALFORMED, "HELLO names an archive without a replay");
    if (source != TC_SOURCE_GIT && source != TC_SOURCE_TREE)
        return tc_fail(err, TC_MALFORMED, "HELLO names source kind %u, expected 1 or 2", source);
    if (source != TC_SOURCE_GIT && hello.git_folder)
        return tc_fail(err, TC_MALFORMED, "HELLO asks for .git without a git source");
    if (!tc_path_is_safe(hello.build_file) || !tc_is_utf8(hello.build_file))
        return tc_fail(err, TC_MALFORMED, "HELLO names a build file outside the source");
    if (!tc_is_utf8(hello.repository) || !tc_is_utf8(hello.ref))
        return tc_fail(err, TC_MALFORMED, "HELLO claims a repository or ref that is not UTF-8");
    for (size_t i = 0; i < hello.backend.size; i++)
        if (hello.backend.data[i] < 'a' || hello.backend.data[i] > 'z')
            return tc_fail(err, TC_MALFORMED, "HELLO claims a back end that is no word of a to z");
    hello.source = (enum tc_source_kind)source;
    *ret_hello = hello;
    return TC_OK;
}

void tc_wire_object_encode(const struct tc_wire_object *object, struct tc_buf *buf)
{
    tc_buf_add_u8(buf, (uint8_t)object->kind);
    tc_buf_add_u64(buf, object->size);
}

tc_status tc_wire_object_decode(struct tc_span payload, struct tc_wire_object *ret_object,
                                struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(payload);
    uint8_t kind;
    uint64_t size;
    if (!tc_cursor_u8(&cursor, &kind) || !tc_cursor_u64(&cursor, &size))
        return tc_fail(err, TC_MALFORMED, "OBJECT is cut short");
    TC_TRY(message_ended(&cursor, "OBJECT", err));
    if (kind < TC_OBJECT_COMMIT || kind > TC_OBJECT_LFS)
        return tc_fail(err, TC_MALFORMED, "OBJECT of unknown kind %u", kind);
    if (size > TC_FILE_SIZE_MAX)
        return tc_fail(err, TC_LIMIT, "OBJECT of %llu bytes, at most %llu are accepted",
                       (unsigned long long)size, (unsigned long long)TC_FILE_SIZE_MAX);
    *ret_object = (struct tc_wire_object){(enum tc_object_kind)kind, size};
    return TC_OK;
}

void tc_wire_tag_encode(const struct tc_wire_tag *tag, struct tc_buf *buf)
{
    tc_buf_add_u8(buf, tag->annotated);
    tc_buf_add(buf, tag->id.bytes, sizeof tag->id.bytes);
    tc_buf_add_block(buf, tag->name);
}

tc_status tc_wire_tag_decode(struct tc_span payload, struct tc_wire_tag *ret_tag,
                             struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(payload);
    struct tc_wire_tag tag = {0};
    struct tc_span id;
    if (!take_flag(&cursor, &tag.annotated) || !tc_cursor_take(&cursor, TC_SHA1_SIZE, &id) ||
        !tc_cursor_block(&cursor, TC_NAME_MAX, &tag.name) || tag.name.size == 0)
        return tc_fail(err, TC_MALFORMED, "TAG is cut short or holds a value out of range");
    TC_TRY(message_ended(&cursor, "TAG", err));
    memcpy(tag.id.bytes, id.data, id.size);
    *ret_tag = tag;
    return TC_OK;
}

void tc_wire_member_encode(const struct tc_wire_member *member, struct tc_buf *buf)
{
    tc_buf_add_u8(buf, (uint8_t)member->member);
    tc_buf_add_u64(buf, member->size);
}

tc_status tc_wire_member_decode(struct tc_span payload, struct tc_wire_member *ret_member,
                                struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(payload);
    uint8_t member;
    uint64_t size;
    if (!tc_cursor_u8(&cursor, &member) || !tc_cursor_u64(&cursor, &size))
        return tc_fail(err, TC_MALFORMED, "MEMBER is cut short");
    TC_TRY(message_ended(&cursor, "MEMBER", err));
    if (member < TC_MEMBER_BUILD_FILE || member > TC_MEMBER_STATEMENT)
        return tc_fail(err, TC_MALFORMED, "MEMBER of unknown kind %u", member);
    if (size > TC_FILE_SIZE_MAX) return tc_fail(err, TC_LIMIT, "MEMBER claims too many bytes");
    *ret_member = (struct tc_wire_member){(enum tc_member)member, size};
    return TC_OK;
}

void tc_wire_fail_encode(const struct tc_error *error, struct tc_buf *buf)
{
    struct tc_span message = tc_span_of_text(error->message);
    if (message.size > TC_WIRE_TEXT_MAX) message.size = TC_WIRE_TEXT_MAX;
    tc_buf_add_u8(buf, (uint8_t)error->status);
    tc_buf_add_block(buf, message);
}

tc_status tc_wire_fail_decode(struct tc_span payload, struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(payload);
    uint8_t status;
    struct tc_span message;
    if (!tc_cursor_u8(&cursor, &status) || !tc_cursor_block(&cursor, TC_WIRE_TEXT_MAX, &message) ||
        tc_cursor_left(&cursor) != 0 || status == TC_OK || status > TC_SYSTEM)
        return tc_fail(err, TC_PEER, "the worker reported a failure that could not be read");
    char text[TC_ERROR_MAX];
    return tc_fail(err, (tc_status)status, "%s", tc_printable(message, text, sizeof text));
}
