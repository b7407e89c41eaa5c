/* recipe.json and lock.json: what is good reads as what it says, each mistake is
 * refused by name, and a lock has one text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "assert_ok.h"
#include "base/cleanup.h"
#include "core/lockfile.h"

#define RECIPE(packages, more)                                                                     \
    "{\"recipe\":1,\"name\":\"rust\",\"suite\":\"trixie\",\"packages\":[" packages "]" more "}"

struct fault {
    const char *text, *message; /* part of it */
};

static void test_recipe(void **state)
{
    static const char text[] =
        RECIPE("\"rustc\",\"g++\",\"libc6-dev\"", ",\"script\":\"customize\"");
    struct tc_error err = {0};
    TC_AUTO_RECIPE struct tc_recipe recipe = {0};
    (void)state;
    assert_ok(tc_recipe_read(tc_span_of_text(text), "recipe.json", &recipe, &err));
    assert_string_equal(recipe.name, "rust");
    assert_string_equal(recipe.suite, "trixie");
    assert_int_equal(recipe.packages_count, 3);
    assert_string_equal(recipe.packages[1], "g++");
    assert_string_equal(recipe.script, "customize");
    tc_recipe_free(&recipe);
    assert_ok(tc_recipe_read(tc_span_of_text(RECIPE("", "")), "recipe.json", &recipe, &err));
    assert_int_equal(recipe.packages_count, 0);
    assert_null(recipe.script);
}

static void test_recipe_faults(void **state)
{
    static const struct fault faults[] = {
        {"{\"recipe\":2,\"new\":1}", "recipe: must be 1"},
        {"{\"name\":\"a\",\"suite\":\"sid\",\"packages\":[]}", "recipe"},
        {RECIPE("", ",\"scripts\":\"x\""), "script"},
        {RECIPE("\"bash\",\"make\",\"bash\"", ""), "names bash twice"},
        {RECIPE("\"bash-\"", ""), "packages[0]: must be a package's name"},
        {RECIPE("\"-oX=y\"", ""), "packages[0]"},
        {RECIPE("\"Bash\"", ""), "packages[0]"},
        {RECIPE("\"a\"", ""), "packages[0]"},
        {RECIPE("\"ba sh\"", ""), "packages[0]"},
        {RECIPE("\"bash=1\"", ""), "packages[0]"},
        {RECIPE("\"bash/sid\"", ""), "packages[0]"},
        {RECIPE("1", ""), "packages[0]"},
        {RECIPE("", ",\"script\":\"../x\""), "script: must be the name of a file beside"},
        {RECIPE("", ",\"script\":\"a/b\""), "script"},
        {RECIPE("", ",\"script\":\".x\""), "script"},
        {RECIPE("", ",\"script\":\"lock.json\""), "script: must not be the recipe or its lock"},
        {RECIPE("", ",\"script\":\"\""), "script"},
        {"{\"recipe\":1,\"name\":\"Rust\",\"suite\":\"trixie\",\"packages\":[]}", "name: must be"},
        {"{\"recipe\":1,\"name\":\"host\",\"suite\":\"trixie\",\"packages\":[]}", "name: must be"},
        {"{\"recipe\":1,\"name\":\"r.eif\",\"suite\":\"trixie\",\"packages\":[]}", "name: must be"},
        {"{\"recipe\":1,\"name\":\"1\",\"suite\":\"trixie\",\"packages\":[]}", "name: must be"},
        {"{\"recipe\":1,\"name\":\"r\",\"suite\":\"a b\",\"packages\":[]}", "suite: must be"},
        {"{\"recipe\":1,\"name\":\"r\",\"suite\":\"a/b\",\"packages\":[]}", "suite: must be"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct tc_error err = {0};
        struct tc_recipe recipe = {.name = NULL};
        assert_int_equal(
            tc_recipe_read(tc_span_of_text(faults[i].text), "recipe.json", &recipe, &err),
            TC_MALFORMED);
        if (!strstr(err.message, faults[i].message))
            fail_msg("%s: \"%s\" is not in: %s", faults[i].text, faults[i].message, err.message);
        assert_null(recipe.name);
    }
}

#define HEX64 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define OTHER64 "ffeeddccbbaa99887766554433221100ffeeddccbbaa99887766554433221100"
#define HEAD                                                                                       \
    "{\"lock\":1,\"suite\":\"trixie\",\"architecture\":\"amd64\",\"snapshot\":"                    \
    "\"20260102T030405Z\","                                                                        \
    "\"packages\":[\n"
#define PACKAGE_OF(hex, name, version, architecture, size, archive, path)                          \
    "{\"name\":\"" name "\",\"version\":\"" version "\",\"architecture\":\"" architecture          \
    "\",\"sha256\":\"" hex "\",\"size\":" size ",\"archive\":\"" archive "\",\"path\":\"" path     \
    "\"}"
#define PACKAGE(...) PACKAGE_OF(HEX64, __VA_ARGS__)
#define BASH PACKAGE("bash", "5.2.37-2+b1", "amd64", "1500792", "debian", "pool/main/b/bash_1.deb")
#define TZDATA                                                                                     \
    PACKAGE_OF(OTHER64, "tzdata", "1:2026a-0+deb13u1~1", "all", "1", "debian-security",            \
               "pool/updates/t_1.deb")
#define TAIL "\n]}\n"

static const char good[] = HEAD BASH ",\n" TZDATA TAIL;

static tc_status read_lock(const char *text, size_t size, struct tc_error *err)
{
    TC_AUTO_LOCK struct tc_lock lock = {0};
    return tc_lock_read((struct tc_span){(const uint8_t *)text, size}, "lock.json", &lock, err);
}

static void test_lock(void **state)
{
    struct tc_error err = {0};
    TC_AUTO_LOCK struct tc_lock lock = {0};
    (void)state;
    assert_ok(tc_lock_read(tc_span_of_text(good), "lock.json", &lock, &err));
    assert_string_equal(lock.suite, "trixie");
    assert_int_equal(lock.snapshot, 1767323045);
    assert_int_equal(lock.packages_count, 2);
    assert_string_equal(lock.packages[0].version, "5.2.37-2+b1");
    assert_int_equal(lock.packages[0].size, 1500792);
    assert_int_equal(lock.packages[0].digest.bytes[1], 0x11);
    assert_int_equal(lock.packages[1].archive, TC_ARCHIVE_SECURITY);
    assert_ptr_equal(tc_lock_find(&lock, "tzdata"), &lock.packages[1]);
    assert_ptr_equal(tc_lock_find(&lock, "bash"), &lock.packages[0]);
    assert_null(tc_lock_find(&lock, "curl"));
    TC_AUTO_BUF struct tc_buf again = tc_buf_new(TC_LOCK_MAX);
    assert_ok(tc_lock_write(&lock, &again, &err));
    assert_true(tc_span_equal(tc_buf_span(&again), tc_span_of_text(good)));
}

/* No byte may be dropped, doubled or changed to one of these and the lock still be
 * read, but where the change makes another good value. */
static void test_lock_is_one_text(void **state)
{
    static const char others[] = {' ', '\n', '\0', '"', ',', '/', 'A'};
    const size_t size = sizeof good - 1;
    char changed[sizeof good + 1];
    (void)state;
    for (size_t i = 0; i < size; i++) {
        struct tc_error err = {0};
        bool in_value = strchr("0123456789abcdefghijklmnopqrstuvwxyzT.+-~:/_", good[i]) != NULL;
        for (size_t j = 0; j < sizeof others; j++) {
            if (good[i] == others[j] || (others[j] == 'A' && in_value)) continue;
            memcpy(changed, good, size);
            changed[i] = others[j];
            if (read_lock(changed, size, &err) == TC_OK && !(others[j] == '/' && in_value))
                fail_msg("byte %zu as 0x%02x is taken", i, (unsigned)others[j]);
        }
        if (in_value) continue;
        memcpy(changed, good, i);
        memcpy(changed + i, good + i + 1, size - i - 1);
        assert_int_equal(read_lock(changed, size - 1, &err), TC_MALFORMED);
        memcpy(changed, good, i + 1);
        memcpy(changed + i + 1, good + i, size - i);
        assert_int_equal(read_lock(changed, size + 1, &err), TC_MALFORMED);
    }
    for (size_t cut = 0; cut < size; cut++) {
        struct tc_error err = {0};
        assert_int_equal(read_lock(good, cut, &err), TC_MALFORMED);
    }
}

static void test_lock_faults(void **state)
{
#define ONE(name, version, architecture, size, archive, path)                                      \
    HEAD PACKAGE(name, version, architecture, size, archive, path)                                 \
    TAIL
    static const struct fault faults[] = {
        {HEAD TAIL, "packages: expected 1 to"},
        {HEAD TZDATA ",\n" BASH TAIL, "packages[1]: bash is not in ascending order"},
        {HEAD BASH ",\n" BASH TAIL, "packages[1]: bash is there twice"},
        {HEAD BASH ",\n" TZDATA ",\n" PACKAGE("zlib1g", "1", "all", "1", "debian", "pool/z.deb")
             TAIL,
         "packages: bash and zlib1g have the same sha256"},
        {HEAD BASH ", " TZDATA TAIL, "is not written the one way"},
        {HEAD BASH ",\n" TZDATA "\n]}", "is not written the one way"},
        {ONE("bash-", "1", "all", "1", "debian", "pool/a.deb"), "packages[0].name"},
        {ONE("bash", "v1", "all", "1", "debian", "pool/a.deb"), "packages[0].version"},
        {ONE("bash", "1_2", "all", "1", "debian", "pool/a.deb"), "packages[0].version"},
        {ONE("bash", "1", "arm64", "1", "debian", "pool/a.deb"), "packages[0].architecture"},
        {ONE("bash", "1", "all", "0", "debian", "pool/a.deb"), "packages[0].size"},
        {ONE("bash", "1", "all", "4294967297", "debian", "pool/a.deb"), "size"},
        {ONE("bash", "1", "all", "1", "debian-ports", "pool/a.deb"), "archive: must be debian"},
        {ONE("bash", "1", "all", "1", "debian", "pool/../a.deb"), "packages[0].path"},
        {ONE("bash", "1", "all", "1", "debian", "/pool/a.deb"), "packages[0].path"},
        {ONE("bash", "1", "all", "1", "debian", "pool//a.deb"), "packages[0].path"},
        {ONE("bash", "1", "all", "1", "debian", "pool/a%20.deb"), "packages[0].path"},
        {ONE("bash", "1", "all", "1", "debian", "pool/a.deb?x"), "packages[0].path"},
        {ONE("bash", "1", "all", "1", "debian", "dists/a.deb"), "packages[0].path"},
        {"{\"lock\":2}", "lock: must be 1"},
        {"{\"lock\":1,\"suite\":\"sid\",\"architecture\":\"arm64\"}",
         "architecture: must be amd64"},
        {"{\"lock\":1,\"suite\":\"sid\",\"architecture\":\"amd64\",\"snapshot\":"
         "\"20261302T030405Z\"}",
         "snapshot: must be a time like"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        struct tc_error err = {0};
        assert_int_equal(read_lock(faults[i].text, strlen(faults[i].text), &err), TC_MALFORMED);
        if (!strstr(err.message, faults[i].message))
            fail_msg("%s: \"%s\" is not in: %s", faults[i].text, faults[i].message, err.message);
    }
}

/* The writer lets nothing through that the reader would not take: no quote or line
 * feed gets into the text. */
static void test_writer_checks(void **state)
{
    struct tc_error err = {0};
    TC_AUTO_LOCK struct tc_lock lock = {0};
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(TC_LOCK_MAX);
    (void)state;
    assert_ok(tc_lock_read(tc_span_of_text(good), "lock.json", &lock, &err));
    lock.packages[0].version[1] = '"';
    assert_int_equal(tc_lock_write(&lock, &text, &err), TC_MALFORMED);
    lock.packages[0].version[1] = '.';
    lock.snapshot = -1;
    assert_int_equal(tc_lock_write(&lock, &text, &err), TC_MALFORMED);
    assert_int_equal(text.size, 0);
}

static void test_fits(void **state)
{
    struct tc_error err = {0};
    TC_AUTO_LOCK struct tc_lock lock = {0};
    (void)state;
    assert_ok(tc_lock_read(tc_span_of_text(good), "lock.json", &lock, &err));
    char suite[] = "trixie", other[] = "sid", bash[] = "bash", curl[] = "curl";
    char *packages[] = {bash, curl};
    struct tc_recipe recipe = {.suite = suite, .packages = packages, .packages_count = 1};
    assert_ok(tc_lock_fits(&lock, &recipe, &err));
    recipe.packages_count = 2;
    assert_int_equal(tc_lock_fits(&lock, &recipe, &err), TC_REFUSED);
    assert_non_null(strstr(err.message, "curl"));
    recipe.packages_count = 1;
    recipe.suite = other;
    assert_int_equal(tc_lock_fits(&lock, &recipe, &err), TC_REFUSED);
}

/* Older is what dpkg calls older; what is new, or gone, or spelled otherwise is not. */
static void test_older(void **state)
{
#define AS(bash, tzdata)                                                                           \
    HEAD PACKAGE("bash", bash, "amd64", "1", "debian", "pool/a.deb") ",\n" PACKAGE_OF(             \
        OTHER64, "tzdata", tzdata, "all", "1", "debian", "pool/b.deb") TAIL
    static const char alone[] =
        HEAD PACKAGE("bash", "5.10", "amd64", "1", "debian", "pool/a.deb") TAIL;
    static const struct {
        const char *before, *after, *says; /* NULL: fine */
    } rows[] = {
        {AS("5.9", "1"), AS("5.9", "1"), NULL},
        {AS("5.9", "1"), AS("5.10", "1:0"), NULL},
        {AS("5.9", "1"), AS("0:5.9-0", "1"), NULL},
        {AS("9", "1"), AS("9~", "1"), "expected bash 9, which is locked, or newer; seen is 9~"},
        {AS("9", "1:1"), AS("9", "2"), "expected tzdata 1:1, which is locked, or newer; seen is 2"},
        {AS("9", "2"), AS("8", "1"),
         "bash 9, which is locked, or newer; seen is 8 (and 1 packages"},
        {alone, AS("5.10", "1"), NULL},
        {alone, AS("5.9", "1"), "expected bash 5.10"},
        {AS("5.10", "1"), alone, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tc_error err = {0};
        TC_AUTO_LOCK struct tc_lock before = {0}, after = {0};
        assert_ok(tc_lock_read(tc_span_of_text(rows[i].before), "lock.json", &before, &err));
        assert_ok(tc_lock_read(tc_span_of_text(rows[i].after), "lock.json", &after, &err));
        tc_status status = tc_lock_check_newer(&before, &after, &err);
        if (status != (rows[i].says ? TC_REFUSED : TC_OK) ||
            (rows[i].says && !strstr(err.message, rows[i].says)))
            fail_msg("%zu: %s", i, err.message);
    }
}

static void test_snapshot(void **state)
{
    static const char *const bad[] = {"",
                                      "20260102030405Z",
                                      "20260102T030405",
                                      "20260102T030405z",
                                      "20260230T030405Z",
                                      "2026-1-2T030405Z",
                                      "20260102T0304051Z",
                                      "20260102T250405Z"};
    char text[TC_SNAPSHOT_TEXT_SIZE];
    int64_t seconds = 0;
    (void)state;
    tc_snapshot_text(1767323045, text);
    assert_string_equal(text, "20260102T030405Z");
    assert_true(tc_snapshot_parse(text, &seconds));
    assert_int_equal(seconds, 1767323045);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(tc_snapshot_parse(bad[i], &seconds));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recipe),      cmocka_unit_test(test_recipe_faults),
        cmocka_unit_test(test_lock),        cmocka_unit_test(test_lock_is_one_text),
        cmocka_unit_test(test_lock_faults), cmocka_unit_test(test_writer_checks),
        cmocka_unit_test(test_fits),        cmocka_unit_test(test_snapshot),
        cmocka_unit_test(test_older),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
