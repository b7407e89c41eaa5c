/* The tar reader, fed whole and in pieces, must see the same members; whatever
 * it accepts, the writer makes again byte for byte. */
#include "core/bundle.h"

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t zeros[TC_BUNDLE_END_SIZE];
    if (size > MADE_MAX / 2) return 0;
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
    return 0;
}
