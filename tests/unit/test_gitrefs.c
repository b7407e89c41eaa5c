/* Lists of refs of a git server: what the versions say, each fault, every cut. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/gitrefs.h"

#define ID_A "1111111111111111111111111111111111111111"
#define ID_B "2222222222222222222222222222222222222222"
#define ID_C "3333333333333333333333333333333333333333"
#define ID_0 "0000000000000000000000000000000000000000"
#define CAPS "multi_ack symref=HEAD:refs/heads/main agent=git/2"
#define SERVICE "# service=git-upload-pack\n"

enum { BODY_MAX = 1 << 16 };
static const char flush[] = "";

/* Packets of these lines; flush stands for a flush; ended by NULL. '|' is the NUL. */
static struct tc_buf packets(const char *const *lines)
{
    struct tc_buf buf = tc_buf_new(BODY_MAX);
    for (; *lines; lines++) {
        if (*lines == flush) {
            tc_buf_add_text(&buf, "0000");
            continue;
        }
        tc_buf_add_format(&buf, "%04zx", strlen(*lines) + 4);
        size_t start = buf.size;
        tc_buf_add_text(&buf, *lines);
        for (size_t i = start; i < buf.size; i++)
            if (buf.data[i] == '|') buf.data[i] = '\0';
    }
    assert_true(tc_buf_ok(&buf));
    return buf;
}

static tc_status find(const char *const *lines, const char *ref, struct tc_git_ref *ret_ref,
                      struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf body = packets(lines);
    return tc_git_refs_find(tc_buf_span(&body), ref, ret_ref, err);
}

static void assert_ref(const char *const *lines, const char *name, uint8_t commit, bool is_tag)
{
    struct tc_error err = {0};
    struct tc_git_ref ref = {.is_tag = !is_tag};
    if (find(lines, name, &ref, &err) != TC_OK) fail_msg("%s: %s", name, err.message);
    assert_int_equal(ref.is_tag, is_tag);
    for (size_t i = 0; i < TC_SHA1_SIZE; i++)
        assert_int_equal(tc_git_ref_commit(&ref)->bytes[i], commit);
}

static void test_versions(void **state)
{
    static const char *const v0[] = {SERVICE,
                                     flush,
                                     ID_A " HEAD|" CAPS "\n",
                                     ID_A " refs/heads/main\n",
                                     ID_B " refs/tags/v1\n",
                                     ID_C " refs/tags/v1^{}\n",
                                     ID_B " refs/tags/v2",
                                     flush,
                                     NULL};
    static const char *const v1[] = {
        SERVICE, flush, "version 1\n", ID_A " refs/heads/main|" CAPS "\n", "shallow " ID_A "\n",
        flush,   NULL};
    (void)state;
    assert_ref(v0, "refs/heads/main", 0x11, false);
    assert_ref(v0, "refs/tags/v1", 0x33, true);
    assert_ref(v0, "refs/tags/v2", 0x22, false);
    assert_ref(v1, "refs/heads/main", 0x11, false);
}

struct fault {
    const char *lines[8], *message;
    tc_status status;
};
#define REF ID_A " refs/heads/main\n"
#define FIRST ID_A " refs/heads/main|" CAPS "\n"

static void test_faults(void **state)
{
    static const struct fault faults[] = {
        {{SERVICE, flush, ID_0 " capabilities^{}|" CAPS "\n", flush},
         "no ref refs/heads/main",
         TC_REFUSED},
        {{SERVICE, flush, flush}, "no ref refs/heads/main", TC_REFUSED},
        {{flush}, "service line of git-upload-pack", TC_MALFORMED},
        {{REF, flush}, "service line of git-upload-pack", TC_MALFORMED}, /* as version 2 has it */
        {{SERVICE, flush, "ERR access denied\n", flush}, "says: access denied", TC_REFUSED},
        {{"ERR no\x1b[2J\n"}, "says: no\\x1b[2J", TC_REFUSED},
        {{SERVICE, flush, ID_A " refs/heads/main|object-format=sha256\n", flush},
         "no SHA-1 ids",
         TC_REFUSED},
        {{SERVICE, flush, "version 2\n", "ls-refs\n", flush}, "nobody asked for", TC_MALFORMED},
        {{SERVICE, FIRST, flush}, "service line's section", TC_MALFORMED},
        {{SERVICE, flush, FIRST, REF, flush}, "the ref twice", TC_MALFORMED},
        {{SERVICE, flush, FIRST}, "before its last packet", TC_MALFORMED},
        {{SERVICE, flush, FIRST, flush, flush}, "something follows", TC_MALFORMED},
        {{SERVICE, flush, FIRST, ID_B " refs/tags/v1^{}\n", flush},
         "behind another ref",
         TC_MALFORMED},
        {{SERVICE, flush, FIRST, ID_B " refs/heads/main^{}\n", ID_B " refs/heads/main^{}\n", flush},
         "behind another ref",
         TC_MALFORMED},
        {{SERVICE, flush, FIRST, ID_B " ^{}\n", flush}, "behind another ref", TC_MALFORMED},
        {{SERVICE, flush, FIRST, ID_0 " refs/heads/main^{}\n", flush},
         "stands for nothing",
         TC_MALFORMED},
        {{SERVICE, flush, ID_0 " refs/heads/main|x\n", flush}, "expected ID NAME", TC_MALFORMED},
        {{SERVICE, flush, ID_A "\n", flush}, "expected ID NAME", TC_MALFORMED},
        {{SERVICE, flush, ID_A " \n", flush}, "expected ID NAME", TC_MALFORMED},
        {{SERVICE, flush, FIRST, ID_A " refs/heads/main x\n", flush},
         "expected ID NAME",
         TC_MALFORMED},
        {{SERVICE, flush, FIRST, ID_A " refs/heads/a|x\n", flush},
         "expected ID NAME",
         TC_MALFORMED},
        {{SERVICE, flush, "shallow " ID_A "\n", flush}, "expected ID NAME", TC_MALFORMED},
        {{SERVICE, flush, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA refs/heads/main\n", flush},
         "expected ID NAME",
         TC_MALFORMED},
        {{SERVICE, flush, "unborn HEAD\n", flush}, "expected ID NAME", TC_MALFORMED},
        {{SERVICE, flush, "\n", flush}, "expected ID NAME", TC_MALFORMED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct tc_error err = {0};
        struct tc_git_ref ref;
        tc_status status = find(faults[i].lines, "refs/heads/main", &ref, &err);
        if (status != faults[i].status || !strstr(err.message, faults[i].message))
            fail_msg("%zu: expected '%s' in '%s'", i, faults[i].message, err.message);
    }
}

static void test_packets(void **state)
{
    static const char *const bad[] = {"",     "000",  "0001",   "0002",  "0003",
                                      "0004", "fff1", "FFF0x",  "-001",  "0005",
                                      "00 5", "0x05", "0006\n", "00000", "0000\n"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct tc_error err = {0};
        struct tc_git_ref ref;
        if (tc_git_refs_find(tc_span_of_text(bad[i]), "refs/heads/main", &ref, &err) !=
            TC_MALFORMED)
            fail_msg("'%s' passed", bad[i]);
    }
}

/* However the list ends early, there is no answer; nor with any byte behind it. */
static void test_cuts(void **state)
{
    static const char *const lines[] = {
        SERVICE, flush, FIRST, ID_B " refs/tags/v1\n", ID_C " refs/tags/v1^{}\n", flush, NULL};
    struct tc_error err = {0};
    struct tc_git_ref ref;
    (void)state;
    TC_AUTO_BUF struct tc_buf body = packets(lines);
    assert_int_equal(tc_git_refs_find(tc_buf_span(&body), "refs/heads/main", &ref, &err), TC_OK);
    for (size_t size = 0; size < body.size; size++)
        assert_int_equal(
            tc_git_refs_find((struct tc_span){body.data, size}, "refs/heads/main", &ref, &err),
            TC_MALFORMED);
}

static void test_names(void **state)
{
    static const char *const good[] = {"refs/heads/main", "refs/tags/v1.0", "refs/heads/a/b@c",
                                       "refs/x"};
    static const char *const bad[] = {"",
                                      "main",
                                      "HEAD",
                                      "refs/",
                                      "refs/heads/",
                                      "refs/heads/a..b",
                                      "refs/heads/a b",
                                      "refs/heads/a^{}",
                                      "refs/heads/a.lock",
                                      "refs//a",
                                      "refs/heads/a\nb"};
    struct tc_error err = {0};
    struct tc_git_ref ref;
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_true(tc_git_ref_name_is_good(tc_span_of_text(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(tc_git_ref_name_is_good(tc_span_of_text(bad[i])));
        assert_int_equal(tc_git_refs_find(tc_span_of_text("0000"), bad[i], &ref, &err), TC_REFUSED);
    }
}

static void test_urls(void **state)
{
    static const char *const bad[] = {"",
                                      "http://example.org/a",
                                      "https://",
                                      "https:///a",
                                      "https://u@example.org/a",
                                      "https://u:p@example.org/a",
                                      "https://example.org/a?b",
                                      "https://example.org/a#b",
                                      "https://example.org/a b",
                                      "https://example.org/a\r\nX: y",
                                      "git@example.org:a/b",
                                      "ssh://example.org/a",
                                      "HTTPS://example.org/a"};
    struct tc_error err = {0};
    (void)state;
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(BODY_MAX);
    assert_int_equal(tc_git_refs_url("https://example.org:8443/a/b.git//", &buf, &err), TC_OK);
    assert_true(tc_span_equal(
        tc_buf_span(&buf),
        tc_span_of_text("https://example.org:8443/a/b.git/info/refs?service=git-upload-pack")));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        tc_buf_reset(&buf);
        assert_int_equal(tc_git_refs_url(bad[i], &buf, &err), TC_REFUSED);
        assert_int_equal(buf.size, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions), cmocka_unit_test(test_faults),
        cmocka_unit_test(test_packets),  cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_names),    cmocka_unit_test(test_urls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
