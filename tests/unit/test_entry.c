#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/manifest.h"

#define SPAN(text) ((struct tc_span){(const uint8_t *)(text), sizeof(text) - 1})

static struct tc_span repeated(char *out, char c, size_t size)
{
    memset(out, c, size);
    return (struct tc_span){(const uint8_t *)out, size};
}

static void safe_paths(void **state)
{
    (void)state;
    char text[TC_PATH_MAX + 2];
    assert_true(tc_path_is_safe(SPAN("a")));
    assert_true(tc_path_is_safe(SPAN("a/.b/...")));
    assert_true(tc_path_is_safe(SPAN("\xff/\x01 \\")));
    assert_true(tc_path_is_safe(repeated(text, 'a', TC_NAME_MAX)));
    static const struct tc_span bad[] = {
        {NULL, 0},       SPAN("/"),    SPAN("/a"),   SPAN("a/"),      SPAN("a//b"), SPAN("."),
        SPAN(".."),      SPAN("a/.."), SPAN("./a"),  SPAN("a/../b"),  SPAN("a/./b"), SPAN("a\0b"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(tc_path_is_safe(bad[i]));
    assert_false(tc_path_is_safe(repeated(text, 'a', TC_NAME_MAX + 1)));
    /* As deep as may be, and one deeper. */
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = i % 2 ? '/' : 'a';
    assert_true(tc_path_is_safe((struct tc_span){(uint8_t *)text, 2 * TC_PATH_DEPTH_MAX - 1}));
    assert_false(tc_path_is_safe((struct tc_span){(uint8_t *)text, 2 * TC_PATH_DEPTH_MAX + 1}));
}

static void names_that_git_keeps(void **state)
{
    (void)state;
    static const struct tc_span kept[] = {
        SPAN(".git"),         SPAN(".GIT"),      SPAN("a/.Git/b"),        SPAN(".git."),
        SPAN(".git . ."),     SPAN("git~1"),     SPAN("GIT~1 "),          SPAN(".git:stream"),
        SPAN(".git\\config"), SPAN("a\\.git"),   SPAN("a\\git~1\\b"),     SPAN(".g\xe2\x80\x8cit"),
        SPAN("\xef\xbb\xbf.git"), SPAN(".git\xe2\x81\xaf"), SPAN(".gi\xe2\x80\xaeT"),
    };
    static const struct tc_span free_names[] = {
        SPAN("git"),  SPAN(".gitignore"), SPAN(".git_"), SPAN("git~2"), SPAN("a.git"),
        SPAN(".gi"),  SPAN("..git"),      SPAN(".g\xe2\x80\x90it"),     SPAN(""),
    };
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (!tc_path_has_dotgit(kept[i])) fail_msg("not seen: %s", (const char *)kept[i].data);
    for (size_t i = 0; i < sizeof free_names / sizeof *free_names; i++)
        if (tc_path_has_dotgit(free_names[i])) fail_msg("%s", (const char *)free_names[i].data);

    static const struct tc_span modules[] = {
        SPAN(".gitmodules"), SPAN(".GitModules. "), SPAN("gitmod~1"), SPAN("GITMOD~4"),
        SPAN("gi7eba~1"),    SPAN("gi7eb~12"),      SPAN("gi7e~123"), SPAN(".gitmodules:x"),
        SPAN(".git\xe2\x80\x8dmodules"),
    };
    static const struct tc_span others[] = {
        SPAN("gitmodules"), SPAN(".gitmodule"), SPAN("gitmod~5"), SPAN("gi7eba~0"), SPAN("gi7eba~a"),
        SPAN("gi7eba12"),   SPAN("gi7ebb~1"),   SPAN("gitmod~11"), SPAN(".gitmodules2"),
    };
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
        if (!tc_name_is_gitmodules(modules[i])) fail_msg("%s", (const char *)modules[i].data);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (tc_name_is_gitmodules(others[i])) fail_msg("%s", (const char *)others[i].data);
}

static int compare(enum tc_entry_kind a_kind, struct tc_span a, enum tc_entry_kind b_kind,
                   struct tc_span b)
{
    const struct tc_entry x = {.kind = a_kind, .path = a}, y = {.kind = b_kind, .path = b};
    int forth = tc_entry_compare(&x, &y), back = tc_entry_compare(&y, &x);
    assert_true((forth > 0) == (back < 0) && (forth < 0) == (back > 0));
    return forth;
}

static void order_is_gits(void **state)
{
    (void)state;
    assert_true(compare(TC_ENTRY_FILE, SPAN("a"), TC_ENTRY_FILE, SPAN("b")) < 0);
    assert_true(compare(TC_ENTRY_FILE, SPAN("a"), TC_ENTRY_FILE, SPAN("a")) == 0);
    assert_true(compare(TC_ENTRY_FILE, SPAN("a"), TC_ENTRY_FILE, SPAN("a-")) < 0);
    assert_true(compare(TC_ENTRY_FOLDER, SPAN("a"), TC_ENTRY_FILE, SPAN("a-")) > 0);
    assert_true(compare(TC_ENTRY_SUBMODULE, SPAN("a"), TC_ENTRY_FILE, SPAN("a.c")) > 0);
    assert_true(compare(TC_ENTRY_FOLDER, SPAN("a"), TC_ENTRY_FILE, SPAN("a0")) < 0);
    assert_true(compare(TC_ENTRY_SUBMODULE, SPAN("a"), TC_ENTRY_FILE, SPAN("a/b")) < 0);
    assert_true(compare(TC_ENTRY_FILE, SPAN("\xff"), TC_ENTRY_FILE, SPAN("a")) > 0);
}

static void assert_round_trip(const struct tc_entry *entry)
{
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_ENTRY_MAX);
    struct tc_error err = {0};
    struct tc_entry seen;
    tc_entry_encode(entry, &buf);
    assert_true(tc_buf_ok(&buf));
    assert_int_equal(tc_entry_decode(tc_buf_span(&buf), &seen, &err), TC_OK);
    assert_int_equal(seen.kind, entry->kind);
    assert_int_equal(seen.executable, entry->executable);
    assert_int_equal(seen.size, entry->size);
    assert_true(tc_span_equal(seen.path, entry->path));
    assert_true(tc_span_equal(seen.target, entry->target));
    assert_memory_equal(seen.commit.bytes, entry->commit.bytes, TC_SHA1_SIZE);
    for (size_t size = 0; size < buf.size; size++)
        assert_int_equal(tc_entry_decode((struct tc_span){buf.data, size}, &seen, &err),
                         TC_MALFORMED);
    tc_buf_add_u8(&buf, 0);
    if (tc_buf_ok(&buf))
        assert_int_equal(tc_entry_decode(tc_buf_span(&buf), &seen, &err), TC_MALFORMED);
}

static void records_round_trip(void **state)
{
    (void)state;
    assert_round_trip(&(struct tc_entry){
        .kind = TC_ENTRY_FILE, .executable = true, .size = TC_FILE_SIZE_MAX, .path = SPAN("a/b")});
    assert_round_trip(
        &(struct tc_entry){.kind = TC_ENTRY_SYMLINK, .path = SPAN("l"), .target = SPAN("../x")});
    assert_round_trip(&(struct tc_entry){.kind = TC_ENTRY_FOLDER, .path = SPAN("d")});
    assert_round_trip(
        &(struct tc_entry){.kind = TC_ENTRY_SUBMODULE, .path = SPAN("m"), .commit = {{7, 8, 9}}});
}

static void records_out_of_form_are_refused(void **state)
{
    (void)state;
    static const struct {
        uint8_t kind, executable;
        uint64_t size;
        struct tc_span path, extra;
    } bad[] = {
        {0, 0, 0, SPAN("a"), {0}},          {5, 0, 0, SPAN("a"), {0}},
        {1, 2, 0, SPAN("a"), {0}},          {1, 0, TC_FILE_SIZE_MAX + 1, SPAN("a"), {0}},
        {1, 0, 0, SPAN("a"), SPAN("x")},    {1, 0, 0, SPAN("../a"), {0}},
        {1, 0, 0, {0}, {0}},                {2, 0, 0, SPAN("a"), {0}},
        {2, 1, 0, SPAN("a"), SPAN("t")},    {2, 0, 1, SPAN("a"), SPAN("t")},
        {2, 0, 0, SPAN("a"), SPAN("t\0t")}, {3, 0, 0, SPAN("a"), SPAN("x")},
        {3, 0, 1, SPAN("a"), {0}},          {3, 1, 0, SPAN("a"), {0}},
        {4, 0, 0, SPAN("a"), {0}},          {4, 0, 0, SPAN("a"), SPAN("0123456789012345678")},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_ENTRY_MAX);
        struct tc_error err = {0};
        struct tc_entry seen;
        tc_buf_add_u8(&buf, bad[i].kind);
        tc_buf_add_u8(&buf, bad[i].executable);
        tc_buf_add_u64(&buf, bad[i].size);
        tc_buf_add_block(&buf, bad[i].path);
        tc_buf_add_block(&buf, bad[i].extra);
        if (tc_entry_decode(tc_buf_span(&buf), &seen, &err) != TC_MALFORMED)
            fail_msg("record %zu", i);
    }
}

/* --- the source digest --- */

static tc_status add(struct tc_manifest *manifest, enum tc_entry_kind kind, struct tc_span path,
                     struct tc_error *err)
{
    static const struct tc_sha256 content;
    const struct tc_entry entry = {.kind = kind, .path = path, .target = SPAN("t")};
    return tc_manifest_add(manifest, &entry, &content, err);
}

static void digest_of_every_kind(void **state)
{
    (void)state;
    /* sha256 of the lines in docs/formats.md, written out:
     * printf 'tee-compile/tree/1\nf 644 0 %064d 1:a\nf 755 5 %064d 1:b\nd 1:d\n'
     * printf 'l 1:t 1:l\nm 0708000000000000000000000000000000000000 1:m\n' */
    static const char expected[] =
        "37bbdfcdb36d4dc7f0797c2deea947fbe3403af3c66d534a469fbb13d15ae7df";
    TC_AUTO_MANIFEST struct tc_manifest *manifest = tc_manifest_new();
    static const struct tc_sha256 content;
    const struct tc_entry entries[] = {
        {.kind = TC_ENTRY_FILE, .path = SPAN("a")},
        {.kind = TC_ENTRY_FILE, .executable = true, .size = 5, .path = SPAN("b")},
        {.kind = TC_ENTRY_FOLDER, .path = SPAN("d")},
        {.kind = TC_ENTRY_SYMLINK, .path = SPAN("l"), .target = SPAN("t")},
        {.kind = TC_ENTRY_SUBMODULE, .path = SPAN("m"), .commit = {{7, 8}}},
    };
    struct tc_manifest_summary summary;
    struct tc_error err = {0};
    char hex[TC_SHA256_HEX];
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        assert_int_equal(tc_manifest_add(manifest, &entries[i], &content, &err), TC_OK);
    assert_int_equal(tc_manifest_finish(manifest, &summary, &err), TC_OK);
    tc_hex((struct tc_span){summary.digest.bytes, TC_SHA256_SIZE}, hex);
    assert_string_equal(hex, expected);
    assert_int_equal(summary.files, 3);
    assert_int_equal(summary.folders, 2);
    assert_int_equal(summary.bytes, 5);
}

static void order_is_kept_strictly(void **state)
{
    (void)state;
    TC_AUTO_MANIFEST struct tc_manifest *manifest = tc_manifest_new();
    struct tc_error err = {0};
    assert_int_equal(add(manifest, TC_ENTRY_FILE, SPAN("b"), &err), TC_OK);
    assert_int_equal(add(manifest, TC_ENTRY_FILE, SPAN("b"), &err), TC_MALFORMED);
    assert_int_equal(add(manifest, TC_ENTRY_FILE, SPAN("a"), &err), TC_MALFORMED);
    assert_int_equal(add(manifest, TC_ENTRY_FOLDER, SPAN("c"), &err), TC_OK);
    assert_int_equal(add(manifest, TC_ENTRY_FILE, SPAN("c/in"), &err), TC_MALFORMED);
    assert_int_equal(add(manifest, TC_ENTRY_FILE, SPAN("c-"), &err), TC_MALFORMED);
    assert_int_equal(add(manifest, TC_ENTRY_SUBMODULE, SPAN("d"), &err), TC_OK);
    assert_int_equal(add(manifest, TC_ENTRY_SYMLINK, SPAN("d/in"), &err), TC_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(safe_paths),
        cmocka_unit_test(names_that_git_keeps),
        cmocka_unit_test(order_is_gits),
        cmocka_unit_test(records_round_trip),
        cmocka_unit_test(records_out_of_form_are_refused),
        cmocka_unit_test(digest_of_every_kind),
        cmocka_unit_test(order_is_kept_strictly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
