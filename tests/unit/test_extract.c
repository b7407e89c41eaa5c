/* Extraction: all or nothing, nowhere but below its folder. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "assert_ok.h"
#include "cmd/extract.h"

static char base[64];
static int start_folder;

static int enter(void **state)
{
    (void)state;
    (void)snprintf(base, sizeof base, "/tmp/test-extract-XXXXXX");
    start_folder = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return start_folder >= 0 && mkdtemp(base) && chdir(base) == 0 ? 0 : -1;
}

static int leave(void **state)
{
    (void)state;
    int result = fchdir(start_folder) == 0 && rmdir(base) == 0 ? 0 : -1;
    (void)close(start_folder);
    return result;
}

static size_t entries(const char *folder)
{
    DIR *stream = opendir(folder);
    assert_non_null(stream);
    size_t count = 0;
    const struct dirent *entry;
    while ((entry = readdir(stream)) != NULL)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) count++;
    (void)closedir(stream);
    return count;
}

static void put(struct tc_extract *extract, const char *path, bool executable)
{
    struct tc_error err = {0};
    assert_ok(tc_extract_begin(extract, path, executable, &err));
    assert_ok(tc_extract_data(extract, tc_span_of_text("content"), &err));
    assert_ok(tc_extract_end(extract, &err));
}

static void test_committed(void **state)
{
    (void)state;
    struct tc_error err = {0};
    static const char *const targets[] = {"out", "./out/", "empty"};
    assert_int_equal(mkdir("empty", 0700), 0);
    for (size_t i = 0; i < 3; i++) {
        struct tc_extract *extract;
        assert_ok(tc_extract_open(targets[i], &extract, &err));
        put(extract, "a/b/run", true);
        put(extract, "a/file", false);
        assert_int_equal(access("out", F_OK), -1);
        assert_ok(tc_extract_commit(extract, &err));
        tc_extract_free(extract);
        const char *name = i < 2 ? "out" : "empty";
        assert_int_equal(entries(name), 1);
        assert_int_equal(chdir(name), 0);
        struct stat info;
        assert_int_equal(stat("a/b/run", &info), 0);
        assert_int_equal(info.st_size, 7);
        assert_true((info.st_mode & 0100) != 0);
        assert_int_equal(stat("a/file", &info), 0);
        assert_int_equal(info.st_mode & 0111, 0);
        assert_int_equal(unlink("a/b/run") | unlink("a/file") | rmdir("a/b") | rmdir("a"), 0);
        assert_int_equal(chdir(base), 0);
        assert_int_equal(rmdir(name), 0);
    }
    assert_int_equal(entries("."), 0);
}

/* The name is taken back, and what was there is there again. */
static void test_revoked(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct tc_extract *extract;
    struct stat info;
    for (int i = 0; i < 3; i++) {
        bool was_there = i == 1;
        if (was_there) assert_int_equal(mkdir("out", 0750), 0);
        assert_ok(tc_extract_open("out", &extract, &err));
        put(extract, "a/file", false);
        /* Before it is named, there is nothing to take back. */
        if (i == 2) tc_extract_revoke(extract);
        assert_ok(tc_extract_commit(extract, &err));
        assert_int_equal(access("out/a/file", F_OK), 0);
        tc_extract_revoke(extract);
        tc_extract_free(extract);
        assert_int_equal(entries("."), was_there ? 1 : 0);
        if (!was_there) continue;
        assert_int_equal(stat("out", &info), 0);
        assert_int_equal(info.st_mode & 07777, 0750);
        assert_int_equal(rmdir("out"), 0);
    }
}

static void test_dropped(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct tc_extract *extract;
    assert_ok(tc_extract_open("out", &extract, &err));
    put(extract, "a/b/run", true);
    assert_ok(tc_extract_begin(extract, "half", false, &err));
    assert_int_equal(entries("."), 1);
    tc_extract_free(extract);
    assert_int_equal(entries("."), 0);
    assert_ok(tc_extract_open("out", &extract, &err));
    assert_int_equal(tc_extract_commit(extract, &err), TC_UNAVAILABLE);
    tc_extract_free(extract);
    assert_int_equal(entries("."), 0);
    tc_extract_free(NULL);
}

static void test_hostile_paths(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct tc_extract *extract;
    assert_ok(tc_extract_open("out", &extract, &err));
    static const char *const paths[] = {"../x", "/tmp/x", "a/../../x", "", ".", "a//b"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        assert_int_equal(tc_extract_begin(extract, paths[i], false, &err), TC_REFUSED);
    put(extract, "file", false);
    /* The same name again, and a file in the place of a folder. */
    assert_int_equal(tc_extract_begin(extract, "file", false, &err), TC_SYSTEM);
    assert_int_equal(tc_extract_begin(extract, "file/below", false, &err), TC_SYSTEM);
    tc_extract_free(extract);
    assert_int_equal(entries("."), 0);
}

static void test_taken_targets(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct tc_extract *extract = NULL;
    assert_int_equal(mkdir("full", 0700), 0);
    assert_int_equal(close(creat("full/file", 0600)), 0);
    assert_int_equal(symlink("full", "link"), 0);
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    static const char *const targets[] = {"full", "full/file", "link", "dangling", "",
                                          ".",    "..",        "/",    "none/out"};
    for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
        if (tc_extract_open(targets[i], &extract, &err) != TC_USAGE) fail_msg("%s", targets[i]);
        assert_null(extract);
    }
    assert_int_equal(unlink("link") | unlink("dangling") | unlink("full/file") | rmdir("full"), 0);

    /* Somebody takes the name while the outputs are being written. */
    assert_ok(tc_extract_open("out", &extract, &err));
    put(extract, "file", false);
    assert_int_equal(mkdir("out", 0700), 0);
    assert_int_equal(close(creat("out/theirs", 0600)), 0);
    assert_int_equal(tc_extract_commit(extract, &err), TC_SYSTEM);
    tc_extract_free(extract);
    assert_int_equal(entries("out"), 1);
    assert_int_equal(unlink("out/theirs") | rmdir("out"), 0);
    assert_int_equal(entries("."), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_committed),     cmocka_unit_test(test_dropped),
        cmocka_unit_test(test_revoked),       cmocka_unit_test(test_hostile_paths),
        cmocka_unit_test(test_taken_targets),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
