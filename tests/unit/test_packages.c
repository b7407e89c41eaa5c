/* Mirrors as apt's files name them, apt's list of packages, and the look-up: cache,
 * mirror, snapshot archive. The archives are folders here, reached by file: URLs. */
#include <errno.h>
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
#include "base/cleanup.h"
#include "base/text.h"
#include "folder.h"
#include "host/lock_make.h"
#include "host/packages.h"
#include "host/recipe_files.h"

/* --- a folder to work in */

static char lab[64];

static int make_lab(void **state)
{
    (void)state;
    (void)snprintf(lab, sizeof lab, "/tmp/tc-packages.XXXXXX");
    return mkdtemp(lab) ? 0 : -1;
}

static int remove_lab(void **state)
{
    (void)state;
    return remove_folder(lab);
}

static const char *in_lab(const char *name)
{
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", lab, name);
    return path;
}

/* With the folders on the way. */
static void put(const char *name, const char *text)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s", in_lab(name));
    for (char *slash = strchr(path + strlen(lab) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0755) != 0) assert_int_equal(errno, EEXIST);
        *slash = '/';
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    (void)close(fd);
}

static bool has(const char *name, const char *text)
{
    char content[256] = "";
    int fd = open(in_lab(name), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t size = read(fd, content, sizeof content - 1);
    (void)close(fd);
    return size == (ssize_t)strlen(text) && strcmp(content, text) == 0;
}

/* --- mirrors */

static void expect_mirrors(const char *main_url, const char *security)
{
    struct tc_error err = {0};
    TC_AUTO_MIRRORS struct tc_mirrors mirrors = {0};
    assert_ok(tc_mirrors_of_apt(in_lab("apt"), &mirrors, &err));
    const char *expected[] = {main_url, security};
    for (int i = 0; i < TC_ARCHIVES; i++) {
        if (!expected[i])
            assert_null(mirrors.archive[i]);
        else
            assert_non_null(mirrors.archive[i]);
        if (expected[i]) assert_string_equal(mirrors.archive[i], expected[i]);
    }
}

static void test_apt_lines(void **state)
{
    (void)state;
    expect_mirrors(NULL, NULL);
    put("apt/sources.list", "# deb http://no.example/debian trixie main\n"
                            "deb-src http://src.example/debian trixie main\n"
                            "deb http://other.example/debian-ports sid main\n"
                            "deb cdrom:[Debian]/debian trixie main\n"
                            "deb\t[arch=amd64 trusted=yes] http://a.example/debian/ trixie main\n"
                            "deb https://b.example/x/debian-security trixie-security main");
    expect_mirrors("http://a.example/debian", "https://b.example/x/debian-security");
}

static void test_apt_stanzas(void **state)
{
    (void)state;
    put("apt/sources.list", "");
    put("apt/sources.list.d/a.sources",
        "Types: deb\nURIs: http://off.example/debian\nEnabled: no\n\n"
        "Types: deb-src\nURIs: http://src.example/debian\n\n"
        "# a remark\n"
        "Types: deb deb-src\n"
        "uris: http://x.example/other\n"
        "  https://a.example/debian/\n"
        "Suites: trixie\n\n"
        "Types: deb\nURIs: file:/srv/debian-security\n");
    put("apt/sources.list.d/b.list", "deb http://later.example/debian trixie main\n");
    put("apt/sources.list.d/c.save", "deb http://save.example/debian-security trixie main\n");
    expect_mirrors("https://a.example/debian", "file:/srv/debian-security");
    put("apt/sources.list.d/a.sources",
        "Types: deb\nURIs:\n# a remark: x\n http://a.example/debian\n");
    expect_mirrors("http://a.example/debian", NULL);
}

/* As the images of clouds have it. */
static void test_apt_mirror_lists(void **state)
{
    char stanza[256];
    (void)state;
    put("apt/sources.list", "");
    put("apt/sources.list.d/b.list", "");
    put("apt/mirrors/debian.list", "# remark\n\nhttps://cloud.example/debian priority:1\n"
                                   "https://second.example/debian\n");
    (void)snprintf(stanza, sizeof stanza,
                   "Types: deb\nURIs: mirror+file://%s/apt/mirrors/debian.list\n", lab);
    put("apt/sources.list.d/a.sources", stanza);
    expect_mirrors("https://cloud.example/debian", NULL);
    put("apt/sources.list.d/a.sources", "Types: deb\nURIs: mirror+file:/nonexistent/debian.list\n");
    expect_mirrors(NULL, NULL);
}

static void test_named_mirrors(void **state)
{
    struct tc_error err = {0};
    TC_AUTO_MIRRORS struct tc_mirrors mirrors = {0};
    (void)state;
    assert_ok(
        tc_mirrors_find("http://a.example/debian/", "https://s.example/archive", &mirrors, &err));
    assert_string_equal(mirrors.archive[TC_ARCHIVE_MAIN], "http://a.example/debian");
    assert_string_equal(mirrors.archive[TC_ARCHIVE_SECURITY], "http://a.example/debian-security");
    assert_string_equal(mirrors.snapshot, "https://s.example/archive");
    tc_mirrors_free(&mirrors);
    assert_int_equal(setenv("TEE_COMPILE_SNAPSHOT", "https://e.example/", 1), 0);
    assert_ok(tc_mirrors_find("http://a.example/debian", NULL, &mirrors, &err));
    assert_string_equal(mirrors.snapshot, "https://e.example");
    tc_mirrors_free(&mirrors);
    assert_int_equal(unsetenv("TEE_COMPILE_SNAPSHOT"), 0);
    /* Each would be another line, word or option in apt's files. */
    static const char *const bad[] = {"",
                                      "a.example/debian",
                                      "ftp://a/debian",
                                      "http://a/ debian",
                                      "http://a/debian\nTrusted: yes",
                                      "[trusted=yes]http://a/debian",
                                      "http://a/[x]",
                                      "http://a/\"",
                                      "http://a/#x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(tc_mirrors_find(bad[i], NULL, &mirrors, &err), TC_USAGE);
        assert_int_equal(tc_mirrors_find(NULL, bad[i], &mirrors, &err), TC_USAGE);
    }
    assert_null(mirrors.archive[TC_ARCHIVE_MAIN]);
}

/* --- apt's list */

#define HEX64 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static tc_status parse_uris(const char *text, struct tc_lock *lock, struct tc_error *err)
{
    char main_url[] = "http://u:p@m.example/debian", security[] = "file:/m/debian-security";
    struct tc_mirrors mirrors = {.archive = {main_url, security}};
    TC_AUTO_FREE char *copy = strdup(text);
    return tc_lock_parse_uris(copy, &mirrors, lock, err);
}

static void test_uris(void **state)
{
    struct tc_error err = {0};
    TC_AUTO_LOCK struct tc_lock lock = {0};
    (void)state;
    assert_ok(parse_uris(
        "Reading package lists...\n"
        "'copy:/m/debian-security/pool/u/zz_1.deb' zz_1%3a2~3-4_all.deb 5 SHA256:" HEX64 "\n"
        "'http://u:p@m.example/debian/pool/a/g%2b%2b_1%7e2.deb' g++_1_amd64.deb 77 "
        "SHA256:" HEX64 "\n",
        &lock, &err));
    assert_int_equal(lock.packages_count, 2);
    assert_string_equal(lock.packages[0].name, "g++");
    assert_string_equal(lock.packages[0].path, "pool/a/g++_1~2.deb");
    assert_string_equal(lock.packages[0].architecture, "amd64");
    assert_int_equal(lock.packages[0].archive, TC_ARCHIVE_MAIN);
    assert_int_equal(lock.packages[0].size, 77);
    assert_int_equal(lock.packages[0].digest.bytes[15], 0xff);
    assert_string_equal(lock.packages[1].version, "1:2~3-4");
    assert_int_equal(lock.packages[1].archive, TC_ARCHIVE_SECURITY);
}

static void test_uris_faults(void **state)
{
#define URL "'http://u:p@m.example/debian/pool/a.deb'"
    static const char *const faults[] = {
        URL " a_1_all.deb 5 MD5Sum:00112233445566778899aabbccddeeff\n",
        URL " a_1_all.deb 5\n",
        URL " a_1_all.deb -5 SHA256:" HEX64 "\n",
        URL " a_1_all.deb 99999999999999999999999 SHA256:" HEX64 "\n",
        URL " a_1_all.deb 5 SHA256:" HEX64 "00\n",
        URL " a_all.deb 5 SHA256:" HEX64 "\n",
        URL " a_1%3_all.deb 5 SHA256:" HEX64 "\n",
        URL " a_1%00_all.deb 5 SHA256:" HEX64 "\n",
        URL " a_1_all.udeb 5 SHA256:" HEX64 "\n",
        URL "  a_1_all.deb 5 SHA256:" HEX64 "\n",
        "'http://other.example/debian/pool/a.deb' a_1_all.deb 5 SHA256:" HEX64 "\n",
        "'http://u:p@m.example/debian-ports/pool/a.deb' a_1_all.deb 5 SHA256:" HEX64 "\n",
        "'file:/m/debian-security/pool/a.deb' a_1_all.deb 5 SHA256:" HEX64 "\n",
        "'\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct tc_error err = {0};
        TC_AUTO_LOCK struct tc_lock lock = {0};
        if (parse_uris(faults[i], &lock, &err) != TC_MALFORMED) fail_msg("taken: %s", faults[i]);
    }
}

/* --- the look-up */

/* Two packages: "one\n" and "two\n". */
struct shop {
    struct tc_lock lock;
    struct tc_lock_package list[2];
    struct tc_mirrors mirrors;
    struct tc_packages packages;
    char urls[3][128], cache[128], names[2][TC_SHA256_HEX + 16];
    unsigned asked; /* times that progress was told of a package's start */
};

static tc_status on_progress(void *context, const struct tc_lock_package *package, uint64_t done,
                             uint64_t total, struct tc_error *err)
{
    struct shop *shop = context;
    (void)err;
    assert_non_null(package->name);
    assert_true(done <= total);
    shop->asked++;
    return TC_OK;
}

static void open_shop(struct shop *shop)
{
    static char one[] = "one", two[] = "two", version[] = "1", all[] = "all";
    static char one_path[] = "pool/o/one+_1.deb", two_path[] = "pool/t/two_1.deb";
    struct tc_error err = {0};
    *shop = (struct shop){0};
    shop->list[0] = (struct tc_lock_package){.name = one,
                                             .version = version,
                                             .architecture = all,
                                             .size = 4,
                                             .archive = TC_ARCHIVE_MAIN,
                                             .path = one_path};
    shop->list[1] = (struct tc_lock_package){.name = two,
                                             .version = version,
                                             .architecture = all,
                                             .size = 4,
                                             .archive = TC_ARCHIVE_SECURITY,
                                             .path = two_path};
    assert_ok(tc_sha256_of(tc_span_of_text("one\n"), &shop->list[0].digest, &err));
    assert_ok(tc_sha256_of(tc_span_of_text("two\n"), &shop->list[1].digest, &err));
    for (int i = 0; i < 2; i++) {
        char hex[TC_SHA256_HEX];
        tc_hex((struct tc_span){shop->list[i].digest.bytes, TC_SHA256_SIZE}, hex);
        (void)snprintf(shop->names[i], sizeof shop->names[i], "cache/%s.deb", hex);
    }
    shop->lock =
        (struct tc_lock){.snapshot = 1767323045, .packages = shop->list, .packages_count = 2};
    (void)snprintf(shop->urls[0], sizeof shop->urls[0], "file://%s/m/debian", lab);
    (void)snprintf(shop->urls[1], sizeof shop->urls[1], "file://%s/m/debian-security", lab);
    (void)snprintf(shop->urls[2], sizeof shop->urls[2], "file://%s/snapshot", lab);
    (void)snprintf(shop->cache, sizeof shop->cache, "%s/cache", lab);
    shop->mirrors = (struct tc_mirrors){.archive = {shop->urls[0], shop->urls[1]}};
    shop->packages = (struct tc_packages){.cache = shop->cache,
                                          .mirrors = &shop->mirrors,
                                          .context = shop,
                                          .on_progress = on_progress};
    (void)mkdir(shop->cache, 0755);
    put("m/debian/pool/o/one+_1.deb", "one\n");
    put("m/debian-security/pool/t/two_1.deb", "two\n");
}

static tc_status fetch(struct shop *shop, struct tc_error *err)
{
    shop->asked = 0;
    return tc_packages_fetch(&shop->packages, &shop->lock, err);
}

static void test_mirror_then_cache(void **state)
{
    struct shop shop;
    struct tc_error err = {0};
    (void)state;
    open_shop(&shop);
    assert_ok(fetch(&shop, &err));
    assert_true(has(shop.names[0], "one\n") && has(shop.names[1], "two\n"));
    assert_true(shop.asked >= 2);
    shop.mirrors = (struct tc_mirrors){0}; /* nobody to ask: the cache has them */
    assert_ok(fetch(&shop, &err));
    assert_int_equal(shop.asked, 0);
}

/* A cached package is looked at again each time; a symlink counts as none. */
static void test_damaged_cache(void **state)
{
    static const char *const damages[] = {"onE\n", "one\nx", "", NULL};
    struct shop shop;
    struct tc_error err = {0};
    (void)state;
    open_shop(&shop);
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        (void)unlink(in_lab(shop.names[0]));
        if (damages[i])
            put(shop.names[0], damages[i]);
        else
            assert_int_equal(symlink(in_lab("m/debian/pool/o/one+_1.deb"), in_lab(shop.names[0])),
                             0);
        assert_ok(fetch(&shop, &err));
        assert_true(has(shop.names[0], "one\n"));
        struct stat info;
        assert_int_equal(lstat(in_lab(shop.names[0]), &info), 0);
        assert_true(S_ISREG(info.st_mode));
    }
}

/* Wrong bytes never get into the cache; another place may have the right ones. */
static void test_lying_mirror(void **state)
{
    static const char *const lies[] = {"onE\n", "one", "one\n\n"};
    struct shop shop;
    struct tc_error err = {0};
    (void)state;
    open_shop(&shop);
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        (void)unlink(in_lab(shop.names[0]));
        put("m/debian/pool/o/one+_1.deb", lies[i]);
        shop.mirrors.snapshot = NULL;
        assert_int_equal(fetch(&shop, &err), TC_UNAVAILABLE);
        assert_false(has(shop.names[0], lies[i]));
        assert_int_not_equal(access(in_lab(shop.names[0]), F_OK), 0);
        put("snapshot/debian/20260102T030405Z/pool/o/one+_1.deb", "one\n");
        shop.mirrors.snapshot = shop.urls[2];
        assert_ok(fetch(&shop, &err));
        assert_true(has(shop.names[0], "one\n"));
    }
}

/* The right digest and another size: the lock contradicts itself, and nothing is kept. */
static void test_wrong_size(void **state)
{
    struct shop shop;
    struct tc_error err = {0};
    (void)state;
    open_shop(&shop);
    (void)unlink(in_lab(shop.names[0]));
    for (uint64_t size = 3; size <= 5; size += 2) {
        shop.list[0].size = size;
        assert_int_equal(fetch(&shop, &err), TC_UNAVAILABLE);
        assert_int_not_equal(access(in_lab(shop.names[0]), F_OK), 0);
    }
}

/* Gone from the mirror: the archive of that moment, or of a day later, has it. */
static void test_snapshot_archive(void **state)
{
    struct shop shop;
    struct tc_error err = {0};
    (void)state;
    open_shop(&shop);
    (void)unlink(in_lab(shop.names[1]));
    (void)unlink(in_lab("m/debian-security/pool/t/two_1.deb"));
    assert_int_equal(fetch(&shop, &err), TC_UNAVAILABLE);
    assert_non_null(strstr(err.message, "two 1 is nowhere to be had"));
    assert_non_null(strstr(err.message, "m/debian-security/pool/t/two_1.deb"));
    assert_non_null(strstr(err.message, "no snapshot archive is named"));
    assert_non_null(strstr(err.message, "image lock"));
    shop.mirrors.snapshot = shop.urls[2];
    assert_int_equal(fetch(&shop, &err), TC_UNAVAILABLE);
    assert_non_null(strstr(err.message, "20260102T030405Z"));
    put("snapshot/debian-security/20260103T030405Z/pool/t/two_1.deb", "two\n");
    assert_ok(fetch(&shop, &err));
    assert_true(has(shop.names[1], "two\n"));
    shop.mirrors = (struct tc_mirrors){0};
    (void)unlink(in_lab(shop.names[1]));
    assert_int_equal(fetch(&shop, &err), TC_UNAVAILABLE);
    assert_non_null(strstr(err.message, "no mirror is known"));
}

static tc_status stop(void *context, const struct tc_lock_package *package, uint64_t done,
                      uint64_t total, struct tc_error *err)
{
    (void)context;
    (void)package;
    (void)done;
    (void)total;
    return tc_fail(err, TC_INTERRUPTED, "stopped");
}

static void test_place(void **state)
{
    struct shop shop;
    struct tc_error err = {0};
    char name[256];
    (void)state;
    open_shop(&shop);
    assert_ok(fetch(&shop, &err));
    assert_int_equal(mkdir(in_lab("placed"), 0755), 0);
    assert_ok(tc_packages_place(&shop.packages, &shop.lock, in_lab("placed"), &err));
    for (int i = 0; i < 2; i++) {
        (void)snprintf(name, sizeof name, "placed/%s", shop.names[i] + strlen("cache/"));
        assert_true(has(name, i == 0 ? "one\n" : "two\n"));
    }
    assert_int_equal(tc_packages_place(&shop.packages, &shop.lock, in_lab("placed"), &err),
                     TC_USAGE);
    assert_int_equal(mkdir(in_lab("other"), 0755), 0);
    (void)unlink(in_lab(shop.names[1]));
    put(shop.names[1], "TWO\n");
    assert_int_equal(tc_packages_place(&shop.packages, &shop.lock, in_lab("other"), &err),
                     TC_UNAVAILABLE);
    assert_non_null(strstr(err.message, "two 1 is not in the cache"));
    shop.packages.on_progress = stop;
    assert_int_equal(fetch(&shop, &err), TC_INTERRUPTED);
}

/* --- a recipe's folder */

static void test_recipe_files(void **state)
{
    struct shop shop;
    struct tc_error err = {0};
    TC_AUTO_RECIPE struct tc_recipe recipe = {0};
    TC_AUTO_LOCK struct tc_lock lock = {0};
    (void)state;
    open_shop(&shop);
    put("r/recipe.json", "{\"recipe\":1,\"name\":\"r\",\"suite\":\"sid\",\"packages\":[\"one\"],"
                         "\"script\":\"customize\"}");
    assert_int_equal(tc_recipe_load(in_lab("r"), "r", &recipe, &err), TC_UNAVAILABLE);
    assert_non_null(strstr(err.message, "customize"));
    assert_int_equal(symlink("recipe.json", in_lab("r/customize")), 0);
    assert_int_equal(tc_recipe_load(in_lab("r"), "r", &recipe, &err), TC_UNAVAILABLE);
    assert_non_null(strstr(err.message, "no regular file"));
    assert_int_equal(unlink(in_lab("r/customize")), 0);
    put("r/customize", "");
    assert_ok(tc_recipe_load(in_lab("r"), "r", &recipe, &err));
    assert_int_equal(tc_lock_load(in_lab("r"), "r", &recipe, &lock, &err), TC_UNAVAILABLE);
    assert_non_null(strstr(err.message, "tee-compile image lock"));
    char suite[] = "sid", other[] = "trixie";
    shop.lock.suite = other;
    assert_ok(tc_lock_save(in_lab("r"), &shop.lock, &err));
    assert_int_equal(tc_lock_load(in_lab("r"), "r", &recipe, &lock, &err), TC_REFUSED);
    assert_ok(tc_lock_load(in_lab("r"), "r", NULL, &lock, &err));
    assert_string_equal(lock.suite, "trixie");
    tc_lock_free(&lock);
    shop.lock.suite = suite;
    assert_ok(tc_lock_save(in_lab("r"), &shop.lock, &err));
    assert_ok(tc_lock_load(in_lab("r"), "r", &recipe, &lock, &err));
    assert_int_equal(lock.packages_count, 2);
    put("r/lock.json", "{}");
    tc_lock_free(&lock);
    assert_int_equal(tc_lock_load(in_lab("r"), "r", &recipe, &lock, &err), TC_MALFORMED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apt_lines),
        cmocka_unit_test(test_apt_stanzas),
        cmocka_unit_test(test_apt_mirror_lists),
        cmocka_unit_test(test_named_mirrors),
        cmocka_unit_test(test_uris),
        cmocka_unit_test(test_uris_faults),
        cmocka_unit_test(test_mirror_then_cache),
        cmocka_unit_test(test_damaged_cache),
        cmocka_unit_test(test_lying_mirror),
        cmocka_unit_test(test_wrong_size),
        cmocka_unit_test(test_snapshot_archive),
        cmocka_unit_test(test_place),
        cmocka_unit_test(test_recipe_files),
    };
    return cmocka_run_group_tests(tests, make_lab, remove_lab);
}
