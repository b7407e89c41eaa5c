/* The head of an EROFS: what a kernel may be given to mount, and each rule broken alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/erofs.h"
#include "core/little.h"

static const struct erofs {
    uint32_t magic, blocks, features;
    uint16_t devices;
    uint8_t bits;
} good_erofs = {.magic = 0xe0f5e1e2, .blocks = 3, .features = 0x33, .bits = 12};

static struct tc_span make_head(struct erofs fields, struct tc_buf *buf)
{
    static const uint8_t zeros[1024];
    tc_buf_reset(buf);
    tc_buf_add(buf, zeros, sizeof zeros);
    tc_little_add_u32(buf, fields.magic);
    tc_buf_add(buf, zeros, 8);
    tc_buf_add_u8(buf, fields.bits);
    tc_buf_add(buf, zeros, 23);
    tc_little_add_u32(buf, fields.blocks);
    tc_buf_add(buf, zeros, 40);
    tc_little_add_u32(buf, fields.features);
    tc_little_add_u16(buf, 0xffff);
    tc_little_add_u16(buf, fields.devices);
    tc_buf_add(buf, zeros, 40);
    assert_int_equal(buf->size, TC_EROFS_HEAD);
    return tc_buf_span(buf);
}

static void refuse_erofs(struct erofs fields, uint64_t size, const char *word)
{
    struct tc_error err = {0};
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_EROFS_HEAD);
    assert_int_equal(tc_erofs_check(make_head(fields, &buf), size, &err), TC_REFUSED);
    if (!strstr(err.message, word)) fail_msg("%s: not in \"%s\"", word, err.message);
}

static void test_erofs(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct erofs fields = good_erofs;
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_EROFS_HEAD);
    struct tc_span head = make_head(fields, &buf);
    assert_int_equal(tc_erofs_check(head, 12288, &err), TC_OK);
    for (size_t size = 0; size < 1024 + 88; size++)
        assert_int_equal(tc_erofs_check((struct tc_span){head.data, size}, 12288, &err),
                         TC_REFUSED);
    refuse_erofs(fields, 12287, "is cut");
    fields.blocks = UINT32_MAX;
    refuse_erofs(fields, 12288, "is cut");
    fields = good_erofs;
    fields.magic ^= 1;
    refuse_erofs(fields, 12288, "no EROFS");
    for (unsigned bit = 0; bit < 32; bit++) {
        fields = good_erofs;
        fields.features = 1U << bit;
        if (fields.features & good_erofs.features)
            assert_int_equal(tc_erofs_check(make_head(fields, &buf), 12288, &err), TC_OK);
        else
            refuse_erofs(fields, 12288, "features");
    }
    fields = good_erofs;
    fields.devices = 1;
    refuse_erofs(fields, 12288, "further devices");
    fields.devices = 256;
    refuse_erofs(fields, 12288, "further devices");
    fields = good_erofs;
    fields.bits = 8;
    refuse_erofs(fields, 12288, "2^8");
    fields.bits = 255;
    refuse_erofs(fields, 12288, "2^255");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_erofs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
