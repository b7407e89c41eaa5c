/* Several files get their names together or not at all. */
#include <errno.h>
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

#include "assert_ok.h"
#include "base/bytes.h"
#include "os/files.h"
#include "os/tempfile.h"
#include "os/tempname.h"

enum { FILES = 3 };

/* A file system without second names, one that does not give a name back, and one that has no
 * file without a name. */
static bool no_links, no_way_back, no_way_to_c, no_nameless;
int __wrap_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);
int __real_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags);
int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __real_renameat(int from_fd, const char *from, int to_fd, const char *to);
int __wrap_openat64(int folder_fd, const char *path, int flags, ...);
int __real_openat64(int folder_fd, const char *path, int flags, ...);

int __wrap_openat64(int folder_fd, const char *path, int flags, ...)
{
    if (!no_nameless || (flags & O_TMPFILE) != O_TMPFILE)
        return __real_openat64(folder_fd, path, flags, 0644);
    errno = EOPNOTSUPP;
    return -1;
}

int __wrap_linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
    if (!no_links || flags != 0 || faccessat(from_fd, from, F_OK, 0) != 0)
        return __real_linkat(from_fd, from, to_fd, to, flags);
    errno = EPERM;
    return -1;
}

int __wrap_renameat(int from_fd, const char *from, int to_fd, const char *to)
{
    struct stat info;
    /* The new files are as long as "new", the old ones are not. */
    bool is_old = fstatat(from_fd, from, &info, 0) == 0 && info.st_size == 6;
    bool fails = is_old ? no_way_back && from[0] == '.' : no_way_to_c && strcmp(to, "c") == 0;
    if (!fails) return __real_renameat(from_fd, from, to_fd, to);
    errno = EIO;
    return -1;
}

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

/* However the file system lets the old ones be kept: nothing of them is lost. */
static void no_second_names(void **state)
{
    struct tc_tempfile files[FILES];
    struct tc_error err = {0};
    (void)state;
    write_file("a", "before");
    write_file("b", "before");
    open_all(files);
    assert_int_equal(mkdir(in("c"), 0755), 0);
    no_links = true;
    assert_int_equal(tc_tempfile_commit_all(files, FILES, &err), TC_SYSTEM);
    check_file("a", "before");
    check_file("b", "before");
    assert_int_equal(rmdir(in("c")), 0);
    for (size_t i = 0; i < FILES; i++)
        tc_tempfile_drop(&files[i]);
    assert_int_equal(count_names(), 2);
    write_file("c", "before");
    open_all(files);
    no_way_to_c = true;
    assert_int_equal(tc_tempfile_commit_all(files, FILES, &err), TC_SYSTEM);
    no_way_to_c = false;
    for (size_t i = 0; i < FILES; i++)
        tc_tempfile_drop(&files[i]);
    check_file("a", "before");
    check_file("c", "before");
    assert_int_equal(count_names(), 3);
    open_all(files);
    assert_ok(tc_tempfile_commit_all(files, FILES, &err));
    no_links = false;
    check_file("a", "new");
    check_file("c", "new");
    assert_int_equal(count_names(), 3);
}

static void no_name_again(void **state)
{
    struct tc_tempfile files[FILES];
    struct tc_error err = {0};
    char name[64];
    (void)state;
    write_file("a", "before");
    open_all(files);
    assert_int_equal(mkdir(in("c"), 0755), 0);
    no_way_back = true;
    assert_int_equal(tc_tempfile_commit_all(files, FILES, &err), TC_SYSTEM);
    no_way_back = false;
    for (size_t i = 0; i < FILES; i++)
        tc_tempfile_drop(&files[i]);
    /* It is where the message says. */
    const char *at = strstr(err.message, "is now beside it, as ");
    if (!at) fail_msg("%s", err.message);
    assert_int_equal(sscanf(at, "is now beside it, as %63[^:]", name), 1);
    check_file(name, "before");
    assert_int_equal(unlink(in(name)), 0);
}

/* A symlink is neither followed nor replaced. */
static void symlink_at_the_name(void **state)
{
    struct tc_tempfile file = TC_TEMPFILE_NONE;
    struct tc_error err = {0};
    (void)state;
    write_file("b", "before");
    assert_int_equal(symlink("b", in("a")), 0);
    assert_int_equal(tc_tempfile_open(in("a"), &file, &err), TC_USAGE);
    if (!strstr(err.message, "a symlink")) fail_msg("%s", err.message);
    assert_int_equal(unlink(in("a")), 0);
    assert_int_equal(symlink("nowhere", in("a")), 0);
    assert_int_equal(tc_tempfile_open(in("a"), &file, &err), TC_USAGE);
    /* One that comes later gives way, and where it leads nothing changes. */
    assert_int_equal(unlink(in("a")), 0);
    assert_ok(tc_tempfile_open(in("a"), &file, &err));
    assert_int_equal(symlink("b", in("a")), 0);
    assert_ok(tc_tempfile_commit(&file, &err));
    check_file("a", "");
    check_file("b", "before");
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

/* The one name in the folder. */
static void find_name(char name[256])
{
    DIR *listed = opendir(folder);
    assert_non_null(listed);
    for (const struct dirent *entry; (entry = readdir(listed));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            (void)snprintf(name, 256, "%s", entry->d_name);
    (void)closedir(listed);
}

/* Where each file has a name: one that says what it is, and not for long. */
static void no_file_without_a_name(void **state)
{
    struct tc_tempfile file = TC_TEMPFILE_NONE;
    struct tc_error err = {0};
    char name[256] = "";
    (void)state;
    no_nameless = true;
    for (int commit = 0; commit < 2; commit++) {
        assert_ok(tc_tempfile_open(in("a"), &file, &err));
        assert_int_equal(count_names(), 1);
        find_name(name);
        if (!tc_tempname_is(name, "a")) fail_msg("%s", name);
        assert_ok(tc_write_all(file.fd, tc_span_of_text("new"), "a file", &err));
        if (commit) assert_ok(tc_tempfile_commit(&file, &err));
        tc_tempfile_drop(&file);
        assert_int_equal(count_names(), commit);
    }
    no_nameless = false;
    check_file("a", "new");
}

static void temporary_names(void **state)
{
    static const char *const others[] = {
        "",
        ".",
        ".a",
        "a",
        ".a.part",
        ".a.0123456789abcde.part",
        ".a.0123456789abcdef0.part",
        ".a.0123456789abcdeF.part",
        ".a.0123456789abcdef.par",
        ".a.0123456789abcdef.part~",
        ".a.0123456789abcdef",
        "a.0123456789abcdef.part",
        ".b.0123456789abcdef.part",
        ".aa.0123456789abcdef.part",
    };
    (void)state;
    assert_true(tc_tempname_is(".a.0123456789abcdef.part", "a"));
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (tc_tempname_is(others[i], "a")) fail_msg("%s", others[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(temporary_names),
        cmocka_unit_test_setup_teardown(no_file_without_a_name, setup, teardown),
        cmocka_unit_test_setup_teardown(all_get_their_names, setup, teardown),
        cmocka_unit_test_setup_teardown(none_gets_its_name, setup, teardown),
        cmocka_unit_test_setup_teardown(one_that_was_never_opened, setup, teardown),
        cmocka_unit_test_setup_teardown(no_second_names, setup, teardown),
        cmocka_unit_test_setup_teardown(no_name_again, setup, teardown),
        cmocka_unit_test_setup_teardown(symlink_at_the_name, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
