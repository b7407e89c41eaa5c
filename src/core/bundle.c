/* Writer and reader of release.tar.
 *
 * The reader gathers the header blocks of a member (a ustar block, or a pax 'x'
 * block, its records and a ustar block), takes name, size and mode out of them,
 * lets the writer make the headers of such a member, and compares all bytes.
 * So the exact form is written down once, and no field of a tar header - owner,
 * time, device, checksum, padding, the order of records - can differ unseen:
 * two tools that read a bundle find the same members in it.
 *
 *   HEADER -> (RECORDS -> HEADER) -> CONTENT -> PADDING -> HEADER ... -> END -> DONE
 *
 * Memory: one member's headers. Content is passed on as it comes. */
#include "core/bundle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/statement.h"

enum {
    NAME_FIELD = 100,
    MODE_AT = 100,
    UID_AT = 108,
    GID_AT = 116,
    SIZE_AT = 124,
    TIME_AT = 136,
    SUM_AT = 148,
    TYPE_AT = 156,
    MAGIC_AT = 257,
    MAJOR_AT = 329,
    MINOR_AT = 337,
    NUMBER_SIZE = 8, /* of the short number fields, with the NUL */
    SIZE_SIZE = 12,
};
#define USTAR_SIZE_MAX (((uint64_t)1 << 33) - 1) /* eleven octal digits */
#define PAX_NAME "PaxHeaders/member"

size_t tc_bundle_padding(uint64_t size)
{
    return (size_t)((TC_BUNDLE_BLOCK - size % TC_BUNDLE_BLOCK) % TC_BUNDLE_BLOCK);
}

static void put_octal(uint8_t *block, size_t at, size_t size, uint64_t value)
{
    block[at + size - 1] = '\0';
    for (size_t i = size - 1; i > 0; i--) {
        block[at + i - 1] = (uint8_t)('0' + (value & 7));
        value >>= 3;
    }
}

static void add_block(struct tc_buf *buf, struct tc_span name, bool executable, uint64_t size,
                      char type)
{
    uint8_t block[TC_BUNDLE_BLOCK] = {0};
    memcpy(block, name.data, name.size < NAME_FIELD ? name.size : NAME_FIELD);
    put_octal(block, MODE_AT, NUMBER_SIZE, executable ? 0755 : 0644);
    put_octal(block, UID_AT, NUMBER_SIZE, 0);
    put_octal(block, GID_AT, NUMBER_SIZE, 0);
    put_octal(block, SIZE_AT, SIZE_SIZE, size);
    put_octal(block, TIME_AT, SIZE_SIZE, 0);
    block[TYPE_AT] = (uint8_t)type;
    memcpy(block + MAGIC_AT, "ustar\00000", 8);
    put_octal(block, MAJOR_AT, NUMBER_SIZE, 0);
    put_octal(block, MINOR_AT, NUMBER_SIZE, 0);
    /* The checksum counts its own field as spaces and is written with six
     * digits, a NUL and a space. */
    memset(block + SUM_AT, ' ', NUMBER_SIZE);
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof block; i++)
        sum += block[i];
    put_octal(block, SUM_AT, NUMBER_SIZE - 1, sum);
    tc_buf_add(buf, block, sizeof block);
}

/* A pax record is "LENGTH key=value\n", and LENGTH counts itself. */
static void add_record(struct tc_buf *buf, const char *key, struct tc_span value)
{
    size_t rest = strlen(key) + value.size + 3, digits = 1;
    for (size_t power = 10; rest + digits >= power; power *= 10)
        digits++;
    tc_buf_add_format(buf, "%zu %s=", rest + digits, key);
    tc_buf_add_span(buf, value);
    tc_buf_add_u8(buf, '\n');
}

tc_status tc_bundle_write_header(const struct tc_bundle_member *member, struct tc_buf *buf,
                                 struct tc_error *err)
{
    if (!tc_output_name_is_good(member->name)) {
        char shown[128];
        return tc_fail(err, TC_MALFORMED,
                       "the bundle: the name \"%s\" is not a relative path in UTF-8 without "
                       "control characters",
                       tc_printable(member->name, shown, sizeof shown));
    }
    if (member->size > TC_FILE_SIZE_MAX)
        return tc_fail(err, TC_LIMIT, "the bundle: a member is larger than 1 TiB");
    bool long_name = member->name.size > NAME_FIELD, long_size = member->size > USTAR_SIZE_MAX;
    if (long_name || long_size) {
        static const uint8_t zeros[TC_BUNDLE_BLOCK];
        TC_AUTO_BUF struct tc_buf records = tc_buf_new(TC_BUNDLE_HEADER_MAX);
        if (long_name) add_record(&records, "path", member->name);
        if (long_size) {
            char text[24];
            (void)snprintf(text, sizeof text, "%llu", (unsigned long long)member->size);
            add_record(&records, "size", tc_span_of_text(text));
        }
        TC_TRY(tc_buf_check(&records, "the bundle's extended header", err));
        add_block(buf, tc_span_of_text(PAX_NAME), false, records.size, 'x');
        tc_buf_add_span(buf, tc_buf_span(&records));
        tc_buf_add(buf, zeros, tc_bundle_padding(records.size));
    }
    add_block(buf, member->name, member->executable, long_size ? 0 : member->size, '0');
    return tc_buf_check(buf, "the bundle's header", err);
}

enum state { STATE_HEADER, STATE_RECORDS, STATE_CONTENT, STATE_PADDING, STATE_END, STATE_DONE };

struct tc_bundle_reader {
    struct tc_bundle_handler handler;
    enum state state;
    uint64_t wanted;         /* bytes until the state is complete */
    struct tc_buf headers;   /* of the member at hand, as they came */
    size_t records_at;       /* in headers; 0: none */
    size_t records_size;     /* without padding */
    size_t padding;          /* after the content */
    size_t members;
    struct tc_buf last_name; /* of the member before */
};

struct tc_bundle_reader *tc_bundle_reader_new(const struct tc_bundle_handler *handler)
{
    struct tc_bundle_reader *reader = calloc(1, sizeof *reader);
    if (!reader) return NULL;
    reader->handler = *handler;
    reader->state = STATE_HEADER;
    reader->wanted = TC_BUNDLE_BLOCK;
    reader->headers = tc_buf_new(TC_BUNDLE_HEADER_MAX);
    reader->last_name = tc_buf_new(TC_PATH_MAX);
    return reader;
}

void tc_bundle_reader_free(struct tc_bundle_reader *reader)
{
    if (!reader) return;
    tc_buf_free(&reader->headers);
    tc_buf_free(&reader->last_name);
    free(reader);
}

static bool is_zero(struct tc_span bytes)
{
    for (size_t i = 0; i < bytes.size; i++)
        if (bytes.data[i] != 0) return false;
    return true;
}

/* Octal digits that fill the field up to its NUL; anything else is UINT64_MAX. */
static uint64_t get_octal(const uint8_t *block, size_t at, size_t size)
{
    uint64_t value = 0;
    for (size_t i = 0; i + 1 < size; i++) {
        if (block[at + i] < '0' || block[at + i] > '7') return UINT64_MAX;
        value = value << 3 | (uint64_t)(block[at + i] - '0');
    }
    return block[at + size - 1] == '\0' ? value : UINT64_MAX;
}

/* One record; the reader's first test is that it can be taken apart at all. */
static bool take_record(struct tc_cursor *cursor, struct tc_span *ret_key,
                        struct tc_span *ret_value)
{
    const uint8_t *start = cursor->next;
    size_t size = 0, digits = 0, left = tc_cursor_left(cursor);
    for (; digits < left && digits < 5 && start[digits] >= '0' && start[digits] <= '9'; digits++)
        size = size * 10 + (size_t)(start[digits] - '0');
    struct tc_span record;
    if (digits == 0 || digits >= left || start[digits] != ' ' || size < digits + 4 ||
        !tc_cursor_take(cursor, size, &record) || record.data[size - 1] != '\n')
        return false;
    const uint8_t *key = record.data + digits + 1;
    const uint8_t *equals = memchr(key, '=', size - digits - 2);
    if (!equals) return false;
    *ret_key = (struct tc_span){key, (size_t)(equals - key)};
    *ret_value = (struct tc_span){equals + 1, (size_t)(record.data + size - 1 - (equals + 1))};
    return true;
}

static bool parse_decimal(struct tc_span text, uint64_t *ret_value)
{
    char digits[20];
    if (text.size == 0 || text.size >= sizeof digits || memchr(text.data, 0, text.size))
        return false;
    memcpy(digits, text.data, text.size);
    digits[text.size] = '\0';
    return digits[strspn(digits, "0123456789")] == '\0' && tc_parse_size(digits, ret_value);
}

static tc_status apply_records(const struct tc_bundle_reader *reader,
                               struct tc_bundle_member *member, struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(
        (struct tc_span){reader->headers.data + reader->records_at, reader->records_size});
    while (tc_cursor_left(&cursor) > 0) {
        struct tc_span key, value;
        if (!take_record(&cursor, &key, &value))
            return tc_fail(err, TC_MALFORMED, "the bundle: a pax record is malformed");
        if (tc_span_equal(key, tc_span_of_text("path"))) {
            member->name = value;
        } else if (!tc_span_equal(key, tc_span_of_text("size")) ||
                   !parse_decimal(value, &member->size)) {
            char shown[64];
            return tc_fail(err, TC_MALFORMED,
                           "the bundle: the pax record \"%s\" has no place in one",
                           tc_printable(key, shown, sizeof shown));
        }
    }
    return TC_OK;
}

static tc_status check_order(struct tc_bundle_reader *reader, struct tc_span name,
                             struct tc_error *err)
{
    struct tc_span last = tc_buf_span(&reader->last_name);
    size_t common = last.size < name.size ? last.size : name.size;
    int order = common > 0 ? memcmp(last.data, name.data, common) : 0;
    if (order > 0 || (order == 0 && last.size >= name.size)) {
        char shown[128];
        return tc_fail(err, TC_MALFORMED, "the bundle: the member \"%s\" %s",
                       tc_printable(name, shown, sizeof shown),
                       tc_span_equal(last, name) ? "is there twice" : "is out of order");
    }
    if (++reader->members > TC_BUNDLE_MEMBERS_MAX)
        return tc_fail(err, TC_MALFORMED, "the bundle has more than %d members",
                       TC_BUNDLE_MEMBERS_MAX);
    tc_buf_reset(&reader->last_name);
    tc_buf_add_span(&reader->last_name, name);
    return tc_buf_check(&reader->last_name, "a name in the bundle", err);
}

static tc_status begin_member(struct tc_bundle_reader *reader, struct tc_error *err)
{
    const uint8_t *block = reader->headers.data + reader->headers.size - TC_BUNDLE_BLOCK;
    const uint8_t *name_end = memchr(block, 0, NAME_FIELD);
    struct tc_bundle_member member = {
        .name = {block, name_end ? (size_t)(name_end - block) : NAME_FIELD},
        .executable = get_octal(block, MODE_AT, NUMBER_SIZE) == 0755,
        .size = get_octal(block, SIZE_AT, SIZE_SIZE)};
    if (reader->records_at > 0) TC_TRY(apply_records(reader, &member, err));
    if (member.size > TC_FILE_SIZE_MAX)
        return tc_fail(err, TC_MALFORMED, "the bundle: a member claims a size over 1 TiB, or none");

    TC_AUTO_BUF struct tc_buf exact = tc_buf_new(TC_BUNDLE_HEADER_MAX);
    if (tc_bundle_write_header(&member, &exact, err) != TC_OK) {
        err->status = TC_MALFORMED;
        return TC_MALFORMED;
    }
    char shown[128];
    if (!tc_span_equal(tc_buf_span(&exact), tc_buf_span(&reader->headers)))
        return tc_fail(err, TC_MALFORMED,
                       "the bundle: the header of \"%s\" is not in the form that a bundle has",
                       tc_printable(member.name, shown, sizeof shown));
    TC_TRY(check_order(reader, member.name, err));
    TC_TRY(reader->handler.begin(reader->handler.context, &member, err));
    reader->padding = tc_bundle_padding(member.size);
    reader->state = STATE_CONTENT;
    reader->wanted = member.size;
    return TC_OK;
}

/* A complete header block: of a member, of its records, or the first of the end. */
static tc_status end_header(struct tc_bundle_reader *reader, struct tc_error *err)
{
    const uint8_t *block = reader->headers.data + reader->headers.size - TC_BUNDLE_BLOCK;
    bool after_records = reader->records_at > 0;
    if (!after_records && is_zero((struct tc_span){block, TC_BUNDLE_BLOCK})) {
        reader->state = STATE_END;
        reader->wanted = TC_BUNDLE_BLOCK;
        return TC_OK;
    }
    char type[8];
    switch (block[TYPE_AT]) {
    case '0':
        return begin_member(reader, err);
    case 'x':
        break;
    case '1':
    case '2':
        return tc_fail(err, TC_MALFORMED, "the bundle has a link; only files belong into one");
    default:
        return tc_fail(err, TC_MALFORMED,
                       "the bundle has a member of type '%s'; only files belong into one",
                       tc_printable((struct tc_span){block + TYPE_AT, 1}, type, sizeof type));
    }
    uint64_t size = get_octal(block, SIZE_AT, SIZE_SIZE);
    size_t room = reader->headers.max - reader->headers.size - TC_BUNDLE_BLOCK;
    if (after_records || size == 0 || size > room || size + tc_bundle_padding(size) > room)
        return tc_fail(err, TC_MALFORMED, "the bundle has an extended header that is %s",
                       after_records ? "repeated" : size == 0 ? "empty" : "too long");
    reader->records_at = reader->headers.size;
    reader->records_size = (size_t)size;
    reader->state = STATE_RECORDS;
    reader->wanted = size + tc_bundle_padding(size);
    return TC_OK;
}

/* The state has all its bytes: on to the next one. */
static tc_status advance(struct tc_bundle_reader *reader, struct tc_error *err)
{
    switch (reader->state) {
    case STATE_HEADER:
        return end_header(reader, err);
    case STATE_RECORDS:
        reader->state = STATE_HEADER;
        reader->wanted = TC_BUNDLE_BLOCK;
        return TC_OK;
    case STATE_CONTENT:
        TC_TRY(reader->handler.end(reader->handler.context, err));
        reader->state = STATE_PADDING;
        reader->wanted = reader->padding;
        return TC_OK;
    case STATE_PADDING:
        tc_buf_reset(&reader->headers);
        reader->records_at = 0;
        reader->state = STATE_HEADER;
        reader->wanted = TC_BUNDLE_BLOCK;
        return TC_OK;
    case STATE_END:
        reader->state = STATE_DONE;
        return TC_OK;
    case STATE_DONE:
        break;
    }
    return tc_fail(err, TC_MALFORMED, "the bundle has bytes after its end");
}

static tc_status take(struct tc_bundle_reader *reader, struct tc_span bytes, struct tc_error *err)
{
    switch (reader->state) {
    case STATE_HEADER:
    case STATE_RECORDS:
        tc_buf_add_span(&reader->headers, bytes);
        return tc_buf_check(&reader->headers, "a header in the bundle", err);
    case STATE_CONTENT:
        return reader->handler.data(reader->handler.context, bytes, err);
    case STATE_PADDING:
    case STATE_END:
        if (is_zero(bytes)) return TC_OK;
        return tc_fail(err, TC_MALFORMED,
                       reader->state == STATE_END ? "the bundle's end is not two zero blocks"
                                                  : "the bundle's padding is not zero");
    case STATE_DONE:
        break;
    }
    return tc_fail(err, TC_MALFORMED, "the bundle has bytes after its end");
}

tc_status tc_bundle_reader_add(struct tc_bundle_reader *reader, struct tc_span bytes,
                               struct tc_error *err)
{
    while (bytes.size > 0) {
        size_t now = bytes.size;
        if (reader->state != STATE_DONE && now > reader->wanted) now = (size_t)reader->wanted;
        TC_TRY(take(reader, (struct tc_span){bytes.data, now}, err));
        reader->wanted -= now;
        bytes.data += now;
        bytes.size -= now;
        /* An empty file goes through CONTENT and PADDING without a byte. */
        while (reader->state != STATE_DONE && reader->wanted == 0)
            TC_TRY(advance(reader, err));
    }
    return TC_OK;
}

tc_status tc_bundle_reader_finish(struct tc_bundle_reader *reader, struct tc_error *err)
{
    if (reader->state == STATE_DONE) return TC_OK;
    return tc_fail(err, TC_MALFORMED, "the bundle is cut off%s",
                   reader->members == 0 ? ", or it is no bundle" : "");
}
