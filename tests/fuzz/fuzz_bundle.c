/* The tar reader, fed whole and in pieces, must see the same members; whatever
 * it accepts, the writer makes again byte for byte.
 *
 * The reader takes one spelling of a header and nothing else, so that a changed
 * byte hardly ever passes the first member. Each input is therefore given a second
 * time with its headers written anew from the name, mode and size that they have:
 * what is changed then are members, their order, their sizes and the end. An 'x'
 * block stands for a member whose name is the bytes that follow it. */
#include "core/bundle.h"

#include <string.h>

#include "base/cleanup.h"
#include "core/statement.h"
#include "fuzz.h"

enum { MADE_MAX = 1 << 20 };

struct made {
    struct tc_buf tar;
    uint64_t size, left;
};

static tc_status on_begin(void *context, const struct tc_bundle_member *member, struct tc_error *err)
{
    struct made *made = context;
    FUZZ_CHECK(tc_output_name_is_good(member->name));
    FUZZ_CHECK(member->size <= TC_FILE_SIZE_MAX);
    made->size = made->left = member->size;
    return tc_bundle_write_header(member, &made->tar, err);
}

static tc_status on_data(void *context, struct tc_span bytes, struct tc_error *err)
{
    struct made *made = context;
    (void)err;
    FUZZ_CHECK(bytes.size > 0 && bytes.size <= made->left);
    made->left -= bytes.size;
    tc_buf_add_span(&made->tar, bytes);
    return TC_OK;
}

static tc_status on_end(void *context, struct tc_error *err)
{
    static const uint8_t zeros[TC_BUNDLE_BLOCK];
    struct made *made = context;
    (void)err;
    FUZZ_CHECK(made->left == 0);
    tc_buf_add(&made->tar, zeros, tc_bundle_padding(made->size));
    return TC_OK;
}

static tc_status feed(struct tc_span tar, size_t piece, struct made *made)
{
    struct tc_error err = {0};
    struct tc_bundle_handler handler = {made, on_begin, on_data, on_end};
    struct tc_bundle_reader *reader = tc_bundle_reader_new(&handler);
    FUZZ_CHECK(reader);
    tc_status status = TC_OK;
    while (status == TC_OK && tar.size > 0) {
        size_t now = tar.size < piece ? tar.size : piece;
        status = tc_bundle_reader_add(reader, (struct tc_span){tar.data, now}, &err);
        tar.data += now;
        tar.size -= now;
    }
    if (status == TC_OK) status = tc_bundle_reader_finish(reader, &err);
    tc_bundle_reader_free(reader);
    return status;
}

static size_t lenient_octal(const uint8_t *digits, size_t max)
{
    size_t value = 0;
    for (size_t i = 0; i < max && digits[i] >= '0' && digits[i] <= '7'; i++)
        value = (value << 3 | (size_t)(digits[i] - '0')) & 0xffff;
    return value;
}

static struct tc_span take_up_to(struct tc_cursor *cursor, size_t size)
{
    struct tc_span span = {NULL, 0};
    size_t left = tc_cursor_left(cursor);
    FUZZ_CHECK(tc_cursor_take(cursor, size < left ? size : left, &span));
    return span;
}

static void repair(struct tc_span tar, struct tc_buf *ret)
{
    static const uint8_t zeros[TC_BUNDLE_END_SIZE];
    struct tc_cursor cursor = tc_cursor_of(tar);
    struct tc_span block, name = {NULL, 0};
    while (tc_cursor_take(&cursor, TC_BUNDLE_BLOCK, &block) && block.data[0] != 0) {
        size_t size = lenient_octal(block.data + 124, 11);
        if (block.data[156] == 'x') {
            name = take_up_to(&cursor, size);
            continue;
        }
        const uint8_t *end = memchr(block.data, 0, 100);
        if (!name.data) name = (struct tc_span){block.data, end ? (size_t)(end - block.data) : 100};
        struct tc_span content = take_up_to(&cursor, size);
        struct tc_bundle_member member = {name, block.data[104] == '7', content.size};
        struct tc_error err = {0};
        if (tc_bundle_write_header(&member, ret, &err) == TC_OK) {
            tc_buf_add_span(ret, content);
            tc_buf_add(ret, zeros, tc_bundle_padding(content.size));
        }
        (void)take_up_to(&cursor, tc_bundle_padding(size));
        name = (struct tc_span){NULL, 0};
    }
    tc_buf_add(ret, zeros, sizeof zeros);
    tc_buf_add_span(ret, take_up_to(&cursor, 16)); /* bytes after the end, where there are any */
}

static void check(const uint8_t *data, size_t size)
{    static const uint8_t zeros[TC_BUNDLE_END_SIZE];
    struct made whole = {.tar = tc_buf_new(MADE_MAX)}, pieces = {.tar = tc_buf_new(MADE_MAX)};
    tc_status status = feed((struct tc_span){data, size}, size + 1, &whole);
    FUZZ_CHECK(feed((struct tc_span){data, size}, 7, &pieces) == status);
    FUZZ_CHECK(tc_span_equal(tc_buf_span(&whole.tar), tc_buf_span(&pieces.tar)));
    if (status == TC_OK) {
        tc_buf_add(&whole.tar, zeros, sizeof zeros);
        FUZZ_CHECK(tc_span_equal(tc_buf_span(&whole.tar), (struct tc_span){data, size}));
    }
    tc_buf_free(&whole.tar);
    tc_buf_free(&pieces.tar);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > MADE_MAX / 8) return 0;
    check(data, size);
    TC_AUTO_BUF struct tc_buf repaired = tc_buf_new(MADE_MAX / 2);
    repair((struct tc_span){data, size}, &repaired);
    if (tc_buf_ok(&repaired)) check(repaired.data, repaired.size);
    return 0;
}
