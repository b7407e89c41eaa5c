#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/gitobj.h"

#define SPAN(text) ((struct tc_span){(const uint8_t *)(text), sizeof(text) - 1})
#define ID "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
#define WHO "A U Thor <author@example.org> 1700000000 +0100"

static void assert_says(const struct tc_error *err, const char *part)
{
    if (!strstr(err->message, part)) fail_msg("expected \"%s\" in: %s", part, err->message);
}

static void assert_id(enum tc_git_kind kind, struct tc_span bytes, const char *expected)
{
    struct tc_sha1 id;
    struct tc_error err = {0};
    char hex[TC_SHA1_HEX];
    assert_int_equal(tc_git_id_of(kind, bytes, &id, &err), TC_OK);
    tc_hex((struct tc_span){id.bytes, sizeof id.bytes}, hex);
    assert_string_equal(hex, expected);
}

/* As `git hash-object -t <kind> --stdin` says. */
static void ids(void **state)
{
    (void)state;
    assert_id(TC_GIT_TREE, SPAN(""), ID);
    assert_id(TC_GIT_BLOB, SPAN(""), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
    assert_id(TC_GIT_BLOB, SPAN("hello\n"), "ce013625030ba8dba906f756967f9e9ca394464a");
}

static void commits(void **state)
{
    (void)state;
    static const struct {
        struct tc_span bytes;
        const char *says; /* NULL: good */
    } cases[] = {
        {SPAN("tree " ID "\nauthor " WHO "\ncommitter " WHO "\n\nm\n"), NULL},
        {SPAN("tree " ID "\nparent " ID "\nparent " ID "\nauthor " WHO "\ncommitter " WHO
              "\nencoding x\ngpgsig y\n z\n\n"),
         NULL},
        {SPAN("tree " ID "\nauthor  <> 0 -0000\ncommitter x <y> 1700000000 +0000\n"), NULL},
        {SPAN(""), "tree line"},
        {SPAN("tree " ID), "tree line"},
        {SPAN("tree 4B825DC642CB6EB9A060E54BF8D69288FBEE4904\nauthor " WHO "\ncommitter " WHO "\n"),
         "tree line"},
        {SPAN("tree  " ID "\nauthor " WHO "\ncommitter " WHO "\n"), "tree line"},
        {SPAN("author " WHO "\ntree " ID "\ncommitter " WHO "\n"), "tree line"},
        {SPAN("tree " ID "\nparent " ID "0\nauthor " WHO "\ncommitter " WHO "\n"), "parent"},
        {SPAN("tree " ID "\nparent \nauthor " WHO "\ncommitter " WHO "\n"), "parent"},
        {SPAN("tree " ID "\nauthor " WHO "\nparent " ID "\ncommitter " WHO "\n"), "committer"},
        {SPAN("tree " ID "\nauthor " WHO "\nauthor " WHO "\ncommitter " WHO "\n"), "two authors"},
        {SPAN("tree " ID "\ncommitter " WHO "\n"), "author"},
        {SPAN("tree " ID "\nauthor " WHO "\n"), "committer"},
        {SPAN("tree " ID "\nauthor " WHO "\ncommitter " WHO "\n\nm\0m"), "NUL"},
        {SPAN("tree " ID "\nauthor " WHO "\ncommitter " WHO), "committer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tc_git_commit commit;
        struct tc_error err = {0};
        tc_status status = tc_git_commit_read(cases[i].bytes, &commit, &err);
        assert_int_equal(status, cases[i].says ? TC_MALFORMED : TC_OK);
        if (cases[i].says) {
            assert_says(&err, cases[i].says);
        } else {
            assert_int_equal(commit.time, 1700000000);
            assert_int_equal(commit.tree.bytes[0], 0x4b);
        }
    }
}

static void idents(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "A a@b 0 +0000",     "<a@b> 0 +0000",       "A<a@b> 0 +0000",    "A <a@b>0 +0000",
        "A <a@b> +0000",     "A <a@b> 00 +0000",    "A <a@b> -1 +0000",  "A <a@b> 0 0000",
        "A <a@b> 0 +000",    "A <a@b> 0 +00000",    "A <a@b> 0 +00a0",   "A <a@b> 0",
        "A <a<b> 0 +0000",   "A> <a@b> 0 +0000",    "A <a@b 0 +0000",    "A <a@b> 0  +0000",
        "A <a@b> 253402300800 +0000", "A <a@b> 99999999999999999999 +0000", "",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        TC_AUTO_BUF struct tc_buf text = tc_buf_new(4096);
        struct tc_git_commit commit;
        struct tc_error err = {0};
        tc_buf_add_format(&text, "tree " ID "\nauthor %s\ncommitter " WHO "\n\n", bad[i]);
        if (tc_git_commit_read(tc_buf_span(&text), &commit, &err) == TC_OK)
            fail_msg("accepted: %s", bad[i]);
        assert_says(&err, "author");
    }
}

/* --- trees --- */

static void add(struct tc_buf *tree, const char *mode_and_name, uint8_t id)
{
    uint8_t bytes[TC_SHA1_SIZE];
    memset(bytes, id, sizeof bytes);
    tc_buf_add(tree, mode_and_name, strlen(mode_and_name) + 1);
    tc_buf_add(tree, bytes, sizeof bytes);
}

enum { NAMES_MAX = 6 };

static void trees(void **state)
{
    (void)state;
    static const struct {
        const char *names[NAMES_MAX];
        const char *says;
    } cases[] = {
        {{NULL}, NULL},
        {{"100644 a", "100755 b", "120000 c", "40000 d", "160000 e"}, NULL},
        {{"100644 a-b", "100644 a.c", "40000 a", "100644 a0"}, NULL},
        {{"160000 a", "100644 a-b", "100644 a0"}, NULL},
        {{"100644 .gitmodules", "120000 .gitmodules2"}, NULL},
        {{"100644 b", "100644 a"}, "out of order"},
        {{"100644 a", "100644 a"}, "out of order"},
        {{"40000 a", "100644 a-b"}, "out of order"},
        {{"100644 a", "40000 a"}, "both as file and folder"},
        {{"100644 a", "100644 a-b", "100644 a.c", "40000 a"}, "both as file and folder"},
        {{"160000 a", "100644 a-", "100644 a-b", "40000 a"}, "both as file and folder"},
        {{"100664 a"}, "mode"},
        {{"040000 a"}, "mode"},
        {{"0100644 a"}, "mode"},
        {{"100600 a"}, "mode"},
        {{"140000 a"}, "mode"},
        {{"100644 "}, "not allowed"},
        {{"100644 ."}, "not allowed"},
        {{"100644 .."}, "not allowed"},
        {{"100644 a/b"}, "not allowed"},
        {{"40000 .git"}, "not allowed"},
        {{"40000 .GIT"}, "not allowed"},
        {{"100644 git~1"}, "not allowed"},
        {{"100644 a\\.git\\b"}, "not allowed"},
        {{"40000 .g\xe2\x80\x8cit"}, "not allowed"},
        {{"120000 .gitmodules"}, ".gitmodules is a symlink"},
        {{"120000 .GITMODULES"}, ".gitmodules is a symlink"},
        {{"120000 gitmod~1"}, ".gitmodules is a symlink"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        TC_AUTO_BUF struct tc_buf tree = tc_buf_new(4096);
        struct tc_error err = {0};
        for (size_t j = 0; j < NAMES_MAX && cases[i].names[j]; j++)
            add(&tree, cases[i].names[j], (uint8_t)(j + 1));
        tc_status status = tc_git_tree_check(tc_buf_span(&tree), &err);
        if (status != (cases[i].says ? TC_MALFORMED : TC_OK))
            fail_msg("%zu: %s %s", i, tc_status_name(status), err.message);
        if (cases[i].says) assert_says(&err, cases[i].says);
        for (size_t size = 1; !cases[i].says && size < tree.size; size++) {
            struct tc_span cut = {tree.data, size};
            bool whole = false; /* an end between entries */
            size_t at = 0;
            for (size_t j = 0; j < NAMES_MAX && cases[i].names[j]; j++) {
                at += strlen(cases[i].names[j]) + 1 + TC_SHA1_SIZE;
                whole |= at == size;
            }
            assert_int_equal(tc_git_tree_check(cut, &err), whole ? TC_OK : TC_MALFORMED);
        }
    }
    TC_AUTO_BUF struct tc_buf tree = tc_buf_new(4096);
    struct tc_error err = {0};
    add(&tree, "100644 a", 0);
    assert_int_equal(tc_git_tree_check(tc_buf_span(&tree), &err), TC_MALFORMED);
    assert_says(&err, "null id");
}

static void assert_walk(const char *const tree_order[NAMES_MAX], const char *expected)
{
    TC_AUTO_BUF struct tc_buf tree = tc_buf_new(4096);
    TC_AUTO_BUF struct tc_buf seen = tc_buf_new(4096);
    struct tc_git_entry entry;
    struct tc_error err = {0};
    for (size_t j = 0; j < NAMES_MAX && tree_order[j]; j++)
        add(&tree, tree_order[j], (uint8_t)(j + 1));
    assert_int_equal(tc_git_tree_check(tc_buf_span(&tree), &err), TC_OK);
    struct tc_git_walk walk = tc_git_walk_of(tc_buf_span(&tree));
    while (tc_git_walk_next(&walk, &entry)) {
        tc_buf_add_span(&seen, entry.name);
        tc_buf_add_format(&seen, "%d ", entry.id.bytes[0]);
    }
    TC_AUTO_FREE char *text = tc_buf_take_text(&seen);
    assert_string_equal(text, expected);
}

/* Submodules move to where a folder of their name would stand. */
static void walks_put_submodules_in_their_place(void **state)
{
    (void)state;
    assert_walk((const char *const[NAMES_MAX]){"100644 a", "40000 b", "160000 c"}, "a1 b2 c3 ");
    assert_walk((const char *const[NAMES_MAX]){"160000 s", "100644 s-x", "100644 s.c", "100644 s0"},
                "s-x2 s.c3 s1 s04 ");
    assert_walk((const char *const[NAMES_MAX]){"160000 s", "160000 s-", "40000 s--", "100644 s-.",
                                               "160000 s.c", "100644 t"},
                "s--3 s-.4 s-2 s.c5 s1 t6 ");
    assert_walk((const char *const[NAMES_MAX]){"160000 s", "160000 s-"}, "s-2 s1 ");
    assert_walk((const char *const[NAMES_MAX]){NULL}, "");
}

/* --- tags --- */

static void tags(void **state)
{
    (void)state;
    static const struct {
        struct tc_span bytes;
        const char *says;
    } cases[] = {
        {SPAN("object " ID "\ntype commit\ntag v1\ntagger " WHO "\n\nm\n"), NULL},
        {SPAN("object " ID "\ntype commit\ntag v1\n"), NULL},
        {SPAN("object " ID "\ntype commit\ntag v1\n\nold\n"), NULL},
        {SPAN(""), "object line"},
        {SPAN("type commit\nobject " ID "\ntag v1\n"), "object line"},
        {SPAN("object " ID "\ntype tag\ntag v1\n"), "something else than a commit"},
        {SPAN("object " ID "\ntype tree\ntag v1\n"), "something else than a commit"},
        {SPAN("object " ID "\ntype commit\ntagger " WHO "\n\n"), "good name"},
        {SPAN("object " ID "\ntype commit\ntag ../x\n"), "good name"},
        {SPAN("object " ID "\ntype commit\ntag v1\ntagger me\n\n"), "tagger"},
        {SPAN("object " ID "\ntype commit\ntag v1\nmore x\n\n"), "empty line"},
        {SPAN("object " ID "\ntype commit\ntag v1\n\n\0"), "NUL"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tc_git_tag tag;
        struct tc_error err = {0};
        tc_status status = tc_git_tag_read(cases[i].bytes, &tag, &err);
        assert_int_equal(status, cases[i].says ? TC_MALFORMED : TC_OK);
        if (cases[i].says) assert_says(&err, cases[i].says);
        else assert_true(tc_span_equal(tag.name, SPAN("v1")));
    }
}

/* What `git check-ref-format refs/tags/<name>` says, and `git tag` of a '-'. */
static void tag_names(void **state)
{
    (void)state;
    static const struct tc_span good[] = {SPAN("v1.0"), SPAN("a/b"), SPAN("a/-b"), SPAN("@a"),
                                          SPAN("a@"),   SPAN("{"),   SPAN("\xc3\xb6"), SPAN("lock")};
    static const struct tc_span bad[] = {
        SPAN(""),    SPAN("-a"),   SPAN(".a"),    SPAN("a."),     SPAN("a..b"),  SPAN("a.lock"),
        SPAN("/a"),  SPAN("a/"),   SPAN("a//b"),  SPAN("a/.b"),   SPAN("a.lock/b"), SPAN("a b"),
        SPAN("a~"),  SPAN("a^"),   SPAN("a:"),    SPAN("a?"),     SPAN("a*"),    SPAN("a["),
        SPAN("a\\"), SPAN("a\x7f"), SPAN("a\nb"), SPAN("a@{b"),   SPAN("@"),     SPAN("a\xff"),
        SPAN("a\0b"),
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!tc_git_tag_name_is_good(good[i])) fail_msg("good %zu", i);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (tc_git_tag_name_is_good(bad[i])) fail_msg("bad %zu", i);
}

/* --- LFS pointers --- */

#define LFS_VERSION "version https://git-lfs.github.com/spec/v1\n"
#define LFS_OID "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

static void lfs_pointers(void **state)
{
    (void)state;
    struct tc_git_lfs lfs;
    struct tc_error err = {0};
    assert_int_equal(
        tc_git_lfs_read(SPAN(LFS_VERSION "oid sha256:" LFS_OID "\nsize 12345\n"), &lfs, &err), TC_OK);
    assert_int_equal(lfs.size, 12345);
    assert_int_equal(lfs.oid.bytes[0], 0x2c);
    static const struct tc_span bad[] = {
        SPAN(LFS_VERSION),
        SPAN(LFS_VERSION "oid sha256:" LFS_OID "\n"),
        SPAN(LFS_VERSION "oid sha256:" LFS_OID "\nsize 1"),
        SPAN(LFS_VERSION "oid sha256:" LFS_OID "\nsize 01\n"),
        SPAN(LFS_VERSION "oid sha256:" LFS_OID "\nsize -1\n"),
        SPAN(LFS_VERSION "oid sha256:" LFS_OID "\nsize 1099511627777\n"),
        SPAN(LFS_VERSION "oid sha256:" LFS_OID "\nsize 1\nmore\n"),
        SPAN(LFS_VERSION "oid sha512:" LFS_OID "\nsize 1\n"),
        SPAN(LFS_VERSION "oid sha256:" LFS_OID "0\nsize 1\n"),
        SPAN(LFS_VERSION "oid sha256:zcf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\n"
                         "size 1\n"),
        SPAN(LFS_VERSION "ext-0-x sha256:" LFS_OID "\noid sha256:" LFS_OID "\nsize 1\n"),
        SPAN(LFS_VERSION "size 1\noid sha256:" LFS_OID "\n"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        /* It claims to be one, so that it cannot pass as a file. */
        assert_true(tc_git_is_lfs_pointer(bad[i]));
        if (tc_git_lfs_read(bad[i], &lfs, &err) != TC_MALFORMED) fail_msg("pointer %zu", i);
    }
    assert_false(tc_git_is_lfs_pointer(SPAN("version https://git-lfs.github.com/spec/v1")));
    assert_false(tc_git_is_lfs_pointer(SPAN("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids),
        cmocka_unit_test(commits),
        cmocka_unit_test(idents),
        cmocka_unit_test(trees),
        cmocka_unit_test(walks_put_submodules_in_their_place),
        cmocka_unit_test(tags),
        cmocka_unit_test(tag_names),
        cmocka_unit_test(lfs_pointers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
