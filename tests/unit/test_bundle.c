/* release.tar: what is written is read back, in pieces of any size; every other
 * form of a tar is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/bundle.h"

enum { TAR_MAX = 1 << 20 };

struct seen {
    struct tc_buf text; /* "name mode size content;" of each member */
    uint64_t size;
};

static tc_status on_begin(void *context, const struct tc_bundle_member *member, struct tc_error *err)
{
    struct seen *seen = context;
    (void)err;
    tc_buf_add_span(&seen->text, member->name);
    tc_buf_add_format(&seen->text, " %c %llu ", member->executable ? 'x' : '-',
                      (unsigned long long)member->size);
    seen->size = 0;
    return TC_OK;
}

static tc_status on_data(void *context, struct tc_span bytes, struct tc_error *err)
{
    struct seen *seen = context;
    (void)err;
    tc_buf_add_span(&seen->text, bytes);
    seen->size += bytes.size;
    return TC_OK;
}

static tc_status on_end(void *context, struct tc_error *err)
{
    struct seen *seen = context;
    (void)err;
    tc_buf_add_text(&seen->text, ";");
    return TC_OK;
}

static tc_status read_tar(struct tc_span tar, size_t piece, char **ret_text, struct tc_error *err)
{
    struct seen seen = {.text = tc_buf_new(TAR_MAX)};
    struct tc_bundle_handler handler = {&seen, on_begin, on_data, on_end};
    struct tc_bundle_reader *reader = tc_bundle_reader_new(&handler);
    assert_non_null(reader);
    tc_status status = TC_OK;
    while (status == TC_OK && tar.size > 0) {
        size_t now = tar.size < piece ? tar.size : piece;
        status = tc_bundle_reader_add(reader, (struct tc_span){tar.data, now}, err);
        tar.data += now;
        tar.size -= now;
    }
    if (status == TC_OK) status = tc_bundle_reader_finish(reader, err);
    tc_bundle_reader_free(reader);
    *ret_text = tc_buf_take_text(&seen.text);
    return status;
}

static void add_member(struct tc_buf *tar, const char *name, bool executable, const char *content)
{
    static const uint8_t zeros[TC_BUNDLE_BLOCK];
    struct tc_error err = {0};
    struct tc_bundle_member member = {tc_span_of_text(name), executable, strlen(content)};
    if (tc_bundle_write_header(&member, tar, &err) != TC_OK) fail_msg("%s", err.message);
    tc_buf_add_text(tar, content);
    tc_buf_add(tar, zeros, tc_bundle_padding(strlen(content)));
}

static void add_end(struct tc_buf *tar)
{
    static const uint8_t zeros[TC_BUNDLE_END_SIZE];
    tc_buf_add(tar, zeros, sizeof zeros);
}

static struct tc_buf small_tar(void)
{
    struct tc_buf tar = tc_buf_new(TAR_MAX);
    add_member(&tar, "a/empty", false, "");
    add_member(&tar, "a/run", true, "#!");
    add_member(&tar, "b\xc3\xa9", false, "text");
    add_end(&tar);
    return tar;
}

/* Recomputes a block's checksum after a change. */
static void fix_sum(uint8_t *block)
{
    unsigned sum = 0;
    memset(block + 148, ' ', 8);
    for (size_t i = 0; i < 512; i++)
        sum += block[i];
    char text[8];
    (void)snprintf(text, sizeof text, "%06o", sum & 0777777U);
    memcpy(block + 148, text, 7);
}

static void assert_refused(const struct tc_buf *tar, const char *what)
{
    struct tc_error err = {0};
    TC_AUTO_FREE char *text = NULL;
    tc_status status = read_tar(tc_buf_span(tar), 65536, &text, &err);
    if (status != TC_MALFORMED) fail_msg("%s: status %d", what, (int)status);
    assert_true(err.message[0] != '\0');
    for (const char *p = err.message; *p; p++)
        assert_true((unsigned char)*p >= 0x20 && *p != 0x7f);
}

static void test_round_trip(void **state)
{
    (void)state;
    TC_AUTO_BUF struct tc_buf tar = small_tar();
    assert_int_equal(tar.size, (1 + 2 + 2 + 2) * 512);
    for (size_t piece = 1; piece < 1100; piece += piece < 10 ? 1 : 97) {
        struct tc_error err = {0};
        TC_AUTO_FREE char *text = NULL;
        if (read_tar(tc_buf_span(&tar), piece, &text, &err) != TC_OK) fail_msg("%s", err.message);
        assert_string_equal(text, "a/empty - 0 ;a/run x 2 #!;b\xc3\xa9 - 4 text;");
    }
}

static void test_long_names(void **state)
{
    (void)state;
    char name[TC_PATH_MAX + 1];
    static const size_t sizes[] = {99, 100, 101, 255, 300, 990, 4095};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct tc_error err = {0};
        for (size_t j = 0; j < sizes[i]; j++)
            name[j] = j % 200 == 199 ? '/' : 'n';
        if (name[sizes[i] - 1] == '/') name[sizes[i] - 1] = 'n';
        name[sizes[i]] = '\0';
        TC_AUTO_BUF struct tc_buf tar = tc_buf_new(TAR_MAX);
        add_member(&tar, name, false, "x");
        add_end(&tar);
        TC_AUTO_FREE char *text = NULL;
        if (read_tar(tc_buf_span(&tar), 100, &text, &err) != TC_OK)
            fail_msg("%zu: %s", sizes[i], err.message);
        assert_int_equal(strlen(text), sizes[i] + strlen(" - 1 x;"));
        assert_int_equal(tar.size > 4 * 512, sizes[i] > 100);
    }
}

static void test_large_size(void **state)
{
    (void)state;
    struct tc_error err = {0};
    TC_AUTO_BUF struct tc_buf tar = tc_buf_new(TAR_MAX);
    struct tc_bundle_member member = {tc_span_of_text("big"), false, (uint64_t)9 << 30};
    assert_int_equal(tc_bundle_write_header(&member, &tar, &err), TC_OK);
    TC_AUTO_FREE char *text = NULL;
    /* The header is accepted; the content does not come. */
    assert_int_equal(read_tar(tc_buf_span(&tar), 512, &text, &err), TC_MALFORMED);
    assert_string_equal(text, "big - 9663676416 ");
    assert_non_null(strstr(err.message, "cut off"));
    member.size = TC_FILE_SIZE_MAX + 1;
    assert_int_equal(tc_bundle_write_header(&member, &tar, &err), TC_LIMIT);
}

static void test_bad_names(void **state)
{
    (void)state;
    static const char *const names[] = {"",      "/abs",   "../up", "a/../b", "a//b", "a/",
                                        "./a",   "a\nb",   "a\x1b", "\xff",   "a\x7f", ".."};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct tc_error err = {0};
        TC_AUTO_BUF struct tc_buf tar = tc_buf_new(TAR_MAX);
        struct tc_bundle_member member = {tc_span_of_text(names[i]), false, 0};
        assert_int_equal(tc_bundle_write_header(&member, &tar, &err), TC_MALFORMED);
        /* The same name put into a header by hand. */
        tc_buf_reset(&tar);
        add_member(&tar, "placeholder", false, "");
        memset(tar.data, 0, 100);
        memcpy(tar.data, names[i], strlen(names[i]));
        fix_sum(tar.data);
        add_end(&tar);
        assert_refused(&tar, names[i]);
    }
}

static void set_type(uint8_t *block, char type)
{
    block[156] = (uint8_t)type;
    fix_sum(block);
}

static void test_other_members(void **state)
{
    (void)state;
    /* Links, devices, folders, FIFOs, contiguous files, GNU long names, sparse
     * and multi-volume members, global headers, the old regular type. */
    static const char types[] = "1234567LKSMVNDAgX";
    for (size_t i = 0; i < sizeof types; i++) {
        TC_AUTO_BUF struct tc_buf tar = small_tar();
        set_type(tar.data, types[i]); /* the last one is '\0' */
        assert_refused(&tar, "type");
    }
}

/* Every single byte of the tar counts: the reader takes no other spelling. */
static void test_every_byte(void **state)
{
    (void)state;
    TC_AUTO_BUF struct tc_buf tar = small_tar();
    size_t accepted = 0;
    for (size_t i = 0; i < tar.size; i++) {
        struct tc_error err = {0};
        TC_AUTO_FREE char *text = NULL;
        tar.data[i] ^= 1;
        if (read_tar(tc_buf_span(&tar), 65536, &text, &err) == TC_OK) {
            /* Only content is free to be anything. */
            assert_true((i >= 2 * 512 && i < 2 * 512 + 2) || (i >= 4 * 512 && i < 4 * 512 + 4));
            accepted++;
        }
        tar.data[i] ^= 1;
    }
    assert_int_equal(accepted, 6);
}

/* Fields changed together with the checksum, so that only the form is wrong. */
static void test_fields(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        const char *value;
        const char *what;
    } cases[] = {{100, "0000600", "mode"},      {100, "0004755", "setuid"},
                 {108, "0000001", "uid"},       {116, "0000001", "gid"},
                 {136, "00000000001", "mtime"}, {265, "root", "user name"},
                 {297, "root", "group name"},   {257, "ustar  ", "GNU magic"},
                 {345, "prefix", "prefix"},     {157, "target", "link name"},
                 {329, "0000001", "device"},    {124, "\200\0\0\0\0\0\0\0\0\0\0", "base-256 size"},
                 {124, "77777777777", "huge"},  {500, "x", "rest of the block"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TC_AUTO_BUF struct tc_buf tar = small_tar();
        memcpy(tar.data + cases[i].at, cases[i].value, strlen(cases[i].value));
        fix_sum(tar.data);
        assert_refused(&tar, cases[i].what);
    }
}

static void test_order(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"b", "a"}, {"a", "a"}, {"a/b", "a"}, {"ab", "aa"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        TC_AUTO_BUF struct tc_buf tar = tc_buf_new(TAR_MAX);
        add_member(&tar, pairs[i][0], false, "x");
        add_member(&tar, pairs[i][1], false, "x");
        add_end(&tar);
        assert_refused(&tar, pairs[i][1]);
    }
}

static void test_ends(void **state)
{
    (void)state;
    TC_AUTO_BUF struct tc_buf tar = small_tar();
    size_t whole = tar.size;
    for (size_t size = 0; size < whole; size += size < 600 ? 1 : 64) {
        tar.size = size;
        assert_refused(&tar, "cut");
    }
    tar.size = whole;
    tc_buf_add_text(&tar, "x");
    assert_refused(&tar, "tail");
    tar.size = whole;
    add_end(&tar); /* padded as GNU tar does */
    assert_refused(&tar, "padding");
}

/* A pax header whose records are `records`, before the first member. */
static struct tc_buf tar_with_records(const char *records, const char *name)
{
    struct tc_buf tar = tc_buf_new(TAR_MAX);
    add_member(&tar, "PaxHeaders/member", false, records);
    set_type(tar.data, 'x');
    add_member(&tar, name, false, "x");
    add_end(&tar);
    return tar;
}

static void test_records(void **state)
{
    (void)state;
    static const char *const records[] = {
        "11 path=ab\n",                    /* not needed */
        "12 mtime=1.5\n",                  /* another key */
        "26 GNU.sparse.name=../evil\n",    /* sparse */
        "17 linkpath=../x\n",              /* a link's */
        "10 size=5\n",                     /* not needed */
        "99 path=ab\n",                    /* length over the end */
        "0 path=ab\n",    "path=ab\n",      "11 path=ab ", "x", "999999 path=ab\n",
        "11 path=ab\n11 path=ac\n",        /* twice */
        "14 path=../ab\n",
    };
    for (size_t i = 0; i < sizeof records / sizeof *records; i++) {
        TC_AUTO_BUF struct tc_buf tar = tar_with_records(records[i], "ab");
        assert_refused(&tar, records[i]);
    }
    /* Two extended headers, and one with nothing behind it. */
    TC_AUTO_BUF struct tc_buf tar = tc_buf_new(TAR_MAX);
    add_member(&tar, "PaxHeaders/member", false, "11 path=ab\n");
    add_member(&tar, "PaxHeaders/member", false, "11 path=ab\n");
    set_type(tar.data, 'x');
    set_type(tar.data + 1024, 'x');
    add_member(&tar, "ab", false, "x");
    add_end(&tar);
    assert_refused(&tar, "two extended headers");
    tc_buf_reset(&tar);
    add_member(&tar, "PaxHeaders/member", false, "11 path=ab\n");
    set_type(tar.data, 'x');
    add_end(&tar);
    assert_refused(&tar, "an extended header of nothing");
    tc_buf_reset(&tar);
    add_member(&tar, "PaxHeaders/member", false, "");
    memcpy(tar.data + 124, "77777777777", 11);
    set_type(tar.data, 'x');
    add_member(&tar, "ab", false, "x");
    add_end(&tar);
    assert_refused(&tar, "a huge extended header");
    memset(tar.data + 124, 'x', 11);
    fix_sum(tar.data);
    assert_refused(&tar, "an extended header without a size");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_large_size), cmocka_unit_test(test_bad_names),
        cmocka_unit_test(test_other_members), cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_fields),     cmocka_unit_test(test_order),
        cmocka_unit_test(test_ends),       cmocka_unit_test(test_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
