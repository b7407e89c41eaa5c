#include "core/nbd.h"

static const uint64_t greeting_magic = UINT64_C(0x4e42444d41474943); /* "NBDMAGIC" */
static const uint64_t option_magic = UINT64_C(0x49484156454f5054);   /* "IHAVEOPT" */

enum {
    REQUEST_MAGIC = 0x25609513,
    REPLY_MAGIC = 0x67446698,
    FIXED_NEWSTYLE = 1 << 0, /* handshake flags, the same bits both ways */
    NO_ZEROES = 1 << 1,
    EXPORT_NAME = 1,
};

void tc_nbd_greeting_encode(struct tc_buf *buf)
{
    tc_buf_add_u64(buf, greeting_magic);
    tc_buf_add_u64(buf, option_magic);
    tc_buf_add_u16(buf, FIXED_NEWSTYLE | NO_ZEROES);
}

tc_status tc_nbd_greeting_check(struct tc_span bytes, struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(bytes);
    uint64_t first, second;
    uint16_t flags;
    if (!tc_cursor_u64(&cursor, &first) || !tc_cursor_u64(&cursor, &second) ||
        !tc_cursor_u16(&cursor, &flags) || tc_cursor_left(&cursor) != 0 ||
        first != greeting_magic || second != option_magic)
        return tc_fail(err, TC_MALFORMED, "the page server does not greet as one of NBD");
    /* Without NO_ZEROES 124 more bytes would follow the export. */
    if ((flags & (FIXED_NEWSTYLE | NO_ZEROES)) != (FIXED_NEWSTYLE | NO_ZEROES))
        return tc_fail(err, TC_UNAVAILABLE,
                       "the page server's flags are %u; expected fixed newstyle without zeroes (3)",
                       (unsigned)flags);
    return TC_OK;
}

void tc_nbd_choice_encode(struct tc_buf *buf)
{
    tc_buf_add_u32(buf, FIXED_NEWSTYLE | NO_ZEROES);
    tc_buf_add_u64(buf, option_magic);
    tc_buf_add_u32(buf, EXPORT_NAME);
    tc_buf_add_u32(buf, 0);
}

tc_status tc_nbd_choice_check(struct tc_span bytes, struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(bytes);
    uint64_t magic;
    uint32_t flags, option, size;
    if (!tc_cursor_u32(&cursor, &flags) || !tc_cursor_u64(&cursor, &magic) ||
        !tc_cursor_u32(&cursor, &option) || !tc_cursor_u32(&cursor, &size) ||
        tc_cursor_left(&cursor) != 0 || magic != option_magic)
        return tc_fail(err, TC_MALFORMED, "the enclave does not answer as a client of NBD");
    if (flags != (FIXED_NEWSTYLE | NO_ZEROES) || option != EXPORT_NAME || size != 0)
        return tc_fail(err, TC_MALFORMED,
                       "the enclave wants option %u with flags %u and %u bytes; expected the one "
                       "export without a name (1, 3, 0)",
                       option, flags, size);
    return TC_OK;
}

void tc_nbd_export_encode(uint64_t size, struct tc_buf *buf)
{
    tc_buf_add_u64(buf, size);
    tc_buf_add_u16(buf, TC_NBD_HAS_FLAGS | TC_NBD_READ_ONLY);
}

tc_status tc_nbd_export_decode(struct tc_span bytes, uint64_t *ret_size, struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(bytes);
    uint64_t size;
    uint16_t flags;
    if (!tc_cursor_u64(&cursor, &size) || !tc_cursor_u16(&cursor, &flags) ||
        tc_cursor_left(&cursor) != 0)
        return tc_fail(err, TC_MALFORMED, "the page server does not describe its export");
    if (!(flags & TC_NBD_HAS_FLAGS) || !(flags & TC_NBD_READ_ONLY))
        return tc_fail(err, TC_REFUSED, "the page server's export is not read-only (flags %u)",
                       (unsigned)flags);
    *ret_size = size;
    return TC_OK;
}

void tc_nbd_request_encode(const struct tc_nbd_request *request, struct tc_buf *buf)
{
    tc_buf_add_u32(buf, REQUEST_MAGIC);
    tc_buf_add_u16(buf, 0);
    tc_buf_add_u16(buf, request->command);
    tc_buf_add_u64(buf, request->cookie);
    tc_buf_add_u64(buf, request->offset);
    tc_buf_add_u32(buf, request->length);
}

tc_status tc_nbd_request_decode(struct tc_span bytes, struct tc_nbd_request *ret_request,
                                struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(bytes);
    struct tc_nbd_request request;
    uint32_t magic;
    uint16_t flags;
    if (!tc_cursor_u32(&cursor, &magic) || !tc_cursor_u16(&cursor, &flags) ||
        !tc_cursor_u16(&cursor, &request.command) || !tc_cursor_u64(&cursor, &request.cookie) ||
        !tc_cursor_u64(&cursor, &request.offset) || !tc_cursor_u32(&cursor, &request.length) ||
        tc_cursor_left(&cursor) != 0 || magic != REQUEST_MAGIC)
        return tc_fail(err, TC_MALFORMED, "the enclave sent no request of NBD");
    /* Flags only modify writes, which are refused whatever their flags. */
    *ret_request = request;
    return TC_OK;
}

void tc_nbd_reply_encode(uint32_t error, uint64_t cookie, struct tc_buf *buf)
{
    tc_buf_add_u32(buf, REPLY_MAGIC);
    tc_buf_add_u32(buf, error);
    tc_buf_add_u64(buf, cookie);
}
