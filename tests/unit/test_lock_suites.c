/* Which suite an InRelease says it is: only what is signed counts. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "folder.h"
#include "host/lock_make.h"

#define HEAD "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n"
#define TAIL "-----BEGIN PGP SIGNATURE-----\n\nx\n-----END PGP SIGNATURE-----\n"
#define RELEASE(codename) HEAD "\nOrigin: Debian\nCodename: " codename "\nDate: x\n" TAIL
#define PLACE "127.0.0.1:80_debian_dists_"

static const char lists[] = "state/lists";

struct file {
    const char *name, *text;
};

/* What the check says of these files; they end with one without a name. */
static tc_status judge(const struct file *files, const struct tc_suites *suites,
                       struct tc_error *err)
{
    char folder[] = "/tmp/tc-suites.XXXXXX";
    assert_non_null(mkdtemp(folder));
    TC_AUTO_CLOSE int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(mkdirat(fd, "state", 0755), 0);
    assert_int_equal(mkdirat(fd, lists, 0755), 0);
    TC_AUTO_CLOSE int lists_fd = openat(fd, lists, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (; files->name; files++) {
        TC_AUTO_CLOSE int out = openat(lists_fd, files->name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        assert_int_equal(write(out, files->text, strlen(files->text)), strlen(files->text));
    }
    tc_status status = tc_suites_check(fd, suites, err);
    assert_int_equal(remove_folder(folder), 0);
    return status;
}

static const struct tc_suites three = {{"trixie", "trixie-updates", "trixie-security"}, 3};

static void test_files(void **state)
{
    static const struct file main_one = {PLACE "trixie_InRelease", RELEASE("trixie")},
                             updates = {PLACE "trixie-updates_InRelease",
                                        RELEASE("trixie-updates")},
                             security = {"host_debian-security_dists_trixie-security_InRelease",
                                         RELEASE("trixie-security")},
                             packages = {PLACE "trixie_main_binary-amd64_Packages", "Package: x\n"},
                             none = {NULL, NULL};
    const struct file good[] = {main_one, updates, security, packages, none},
                      missing[] = {main_one, updates, packages, none},
                      more[] = {main_one,
                                updates,
                                security,
                                {PLACE "bookworm_InRelease", RELEASE("bookworm")},
                                none},
                      twice[] = {main_one,
                                 updates,
                                 security,
                                 {"other" PLACE "trixie_InRelease", RELEASE("trixie")},
                                 none},
                      apart[] = {{PLACE "trixie_Release", "Codename: trixie\n"},
                                 {PLACE "trixie_Release.gpg", "x"},
                                 updates,
                                 security,
                                 none};
    struct tc_error err = {0};
    (void)state;
    assert_int_equal(judge(good, &three, &err), TC_OK);
    assert_int_equal(judge(missing, &three, &err), TC_UNAVAILABLE);
    assert_string_equal(err.message, "the mirror has no InRelease for the suite trixie-security");
    assert_int_equal(judge(more, &three, &err), TC_UNAVAILABLE);
    assert_non_null(strstr(err.message, "saw " PLACE "bookworm_InRelease"));
    assert_int_equal(judge(twice, &three, &err), TC_UNAVAILABLE);
    assert_non_null(strstr(err.message, "expected one InRelease a suite"));
    assert_int_equal(judge(apart, &three, &err), TC_UNAVAILABLE);
    assert_non_null(strstr(err.message, "saw " PLACE "trixie_Release"));
}

static void test_names(void **state)
{
    static const struct {
        const char *suite, *text, *says; /* NULL: it is good */
    } rows[] = {
        {"trixie", RELEASE("trixie"), NULL},
        {"trixie", RELEASE("\t trixie"), NULL},
        {"sid", RELEASE("sid"), NULL},
        {"unstable", RELEASE("sid"), NULL},
        {"unstable", RELEASE("unstable"), "expected the Codename \"sid\""},
        {"trixie", RELEASE("bookworm"), "as the suite trixie calls itself \"bookworm\""},
        {"trixie", RELEASE("trixie-updates"), "calls itself \"trixie-updates\""},
        {"trixie", RELEASE("trixi"), "calls itself \"trixi\""},
        {"stable", RELEASE("trixie"), "by its codename"},
        {"trixie", RELEASE("a\x1b"), "\"a\\x1b\""},
        {"trixie", RELEASE("trixie\nCodename: bookworm"), "does not say in one signed line"},
        {"trixie", RELEASE("trixie\ncodename: bookworm"), "does not say in one signed line"},
        {"trixie", HEAD "\nSuite: trixie\n" TAIL, "does not say"},
        {"trixie", HEAD "\nX-Codename: trixie\n Codename: trixie\n" TAIL, "does not say"},
        /* In none of these is it signed. */
        {"trixie", HEAD "Codename: trixie\n\nOrigin: Debian\n" TAIL, "does not say"},
        {"trixie", HEAD "\nOrigin: Debian\n" TAIL "Codename: trixie\n", "does not say"},
        {"trixie", "Codename: trixie\n" HEAD "\nOrigin: Debian\n" TAIL, "does not say"},
        {"trixie", "\n" RELEASE("trixie"), "does not say"},
        {"trixie", HEAD "\nCodename: trixie\n", "does not say"},
        {"trixie", "Codename: trixie\n", "does not say"},
        {"trixie", "", "does not say"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tc_suites suites = {.count = 1};
        char name[200];
        struct tc_error err = {0};
        (void)snprintf(suites.names[0], sizeof suites.names[0], "%s", rows[i].suite);
        (void)snprintf(name, sizeof name, PLACE "%s_InRelease", rows[i].suite);
        const struct file files[] = {{name, rows[i].text}, {NULL, NULL}};
        tc_status status = judge(files, &suites, &err);
        if (status != (rows[i].says ? TC_UNAVAILABLE : TC_OK) ||
            (rows[i].says && !strstr(err.message, rows[i].says)))
            fail_msg("%zu: %s: %s", i, tc_status_name(status), err.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
