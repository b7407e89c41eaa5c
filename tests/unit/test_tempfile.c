/* Several files get their names together or not at all. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "os/files.h"
#include "os/tempfile.h"

#define assert_ok(expression)                                                                      \
    do {                                                                                           \
        tc_status status_ = (expression);                                                          \
        if (status_ != TC_OK) fail_msg("%s: %s", #expression, err.message);                        \
    } while (0)

enum { FILES = 3 };

static char folder[64];

static const char *in(const char *name)
{
    static char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const char *text)
{
    int fd = open(in(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
}

static void check_file(const char *name, const char *text)
{
    char seen[64] = {0};
    int fd = open(in(name), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(read(fd, seen, sizeof seen - 1) >= 0);
    assert_int_equal(close(fd), 0);
    assert_string_equal(seen, text);
}

static int count_names(void)
{
    int count = 0;
    DIR *listed = opendir(folder);
    assert_non_null(listed);
    for (const struct dirent *entry; (entry = readdir(listed));)
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    (void)closedir(listed);
    return count;
}

static void open_all(struct tc_tempfile files[FILES])
{
    static const char *const names[FILES] = {"a", "b", "c"};
    struct tc_error err = {0};
    for (size_t i = 0; i < FILES; i++) {
        files[i] = TC_TEMPFILE_NONE;
        assert_ok(tc_tempfile_open(in(names[i]), &files[i], &err));
        assert_ok(tc_write_all(files[i].fd, tc_span_of_text("new"), "a file", &err));
    }
}

static int setup(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/tee-compile-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    for (char name[2] = "a"; name[0] <= 'c'; name[0]++)
        if (unlink(in(name)) != 0) (void)rmdir(in(name));
    return rmdir(folder);
}

static void all_get_their_names(void **state)
{
    struct tc_tempfile files[FILES];
    struct tc_error err = {0};
    (void)state;
    write_file("b", "old");
    open_all(files);
    assert_ok(tc_tempfile_commit_all(files, FILES, &err));
    check_file("a", "new");
    check_file("b", "new");
    check_file("c", "new");
    assert_int_equal(count_names(), 3);
    assert_int_equal(files[0].fd, -1);
}

/* One that cannot have its name, whichever: the names before it are what they were. */
static void none_gets_its_name(void **state)
{
    static const char *const names[FILES] = {"a", "b", "c"};
    (void)state;
    for (size_t bad = 0; bad < FILES; bad++) {
        struct tc_tempfile files[FILES];
        struct tc_error err = {0};
        write_file("a", "old");
        open_all(files);
        if (bad == 0) assert_int_equal(unlink(in("a")), 0);
        assert_int_equal(mkdir(in(names[bad]), 0755), 0);
        assert_int_equal(tc_tempfile_commit_all(files, FILES, &err), TC_SYSTEM);
        for (size_t i = 0; i < FILES; i++)
            tc_tempfile_drop(&files[i]);
        if (bad > 0) check_file("a", "old");
        assert_int_equal(count_names(), bad > 0 ? 2 : 1);
        assert_int_equal(rmdir(in(names[bad])), 0);
    }
}

static void one_that_was_never_opened(void **state)
{
    struct tc_tempfile files[FILES];
    struct tc_error err = {0};
    (void)state;
    open_all(files);
    tc_tempfile_drop(&files[0]);
    assert_ok(tc_tempfile_commit_all(files, FILES, &err));
    check_file("b", "new");
    assert_int_equal(count_names(), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_get_their_names, setup, teardown),
        cmocka_unit_test_setup_teardown(none_gets_its_name, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_was_never_opened, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
