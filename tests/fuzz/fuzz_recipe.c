/* recipe.json and lock.json, and what apt says of packages: from whoever publishes a
 * recipe or runs a mirror. A lock that reads is written again as the same bytes, and
 * one that is made of apt's words passes its own reader or is refused. */
#include "core/lockfile.h"
#include "host/lock_make.h"

#include <string.h>

#include "base/cleanup.h"
#include "fuzz.h"

static void read_recipe(struct tc_span bytes)
{
    struct tc_error err = {0};
    struct tc_recipe recipe = {0};
    tc_status status = tc_recipe_read(bytes, "recipe.json", &recipe, &err);
    FUZZ_CHECK((status == TC_OK) == (recipe.name != NULL));
    if (status != TC_OK) FUZZ_CHECK(err.message[0] != '\0');
    for (size_t i = 0; i < recipe.packages_count; i++)
        FUZZ_CHECK(recipe.packages[i][0] != '-' && tc_package_name_is_good(recipe.packages[i]));
    FUZZ_CHECK(!recipe.script || !strchr(recipe.script, '/'));
    tc_recipe_free(&recipe);
}

static void check_again(const struct tc_lock *lock, struct tc_span expected)
{
    struct tc_error err = {0};
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(TC_LOCK_MAX);
    FUZZ_CHECK(tc_lock_write(lock, &text, &err) == TC_OK);
    if (expected.data) FUZZ_CHECK(tc_span_equal(expected, tc_buf_span(&text)));
    struct tc_lock again = {0};
    FUZZ_CHECK(tc_lock_read(tc_buf_span(&text), "again", &again, &err) == TC_OK);
    FUZZ_CHECK(again.packages_count == lock->packages_count);
    tc_lock_free(&again);
}

static void read_lock(struct tc_span bytes)
{
    struct tc_error err = {0};
    struct tc_lock lock = {0};
    if (tc_lock_read(bytes, "lock.json", &lock, &err) == TC_OK)
        check_again(&lock, bytes);
    else
        FUZZ_CHECK(err.message[0] != '\0' && !lock.packages);
    tc_lock_free(&lock);
}

static void read_uris(struct tc_span bytes)
{
    char main_url[] = "http://m/debian", security[] = "file:/m/debian-security", suite[] = "trixie";
    struct tc_mirrors mirrors = {.archive = {main_url, security}};
    struct tc_error err = {0};
    struct tc_lock lock = {.snapshot = 1};
    char *text = calloc(bytes.size + 1, 1);
    FUZZ_CHECK(text != NULL && (lock.suite = strdup(suite)) != NULL);
    if (bytes.size > 0) memcpy(text, bytes.data, bytes.size);
    if (tc_lock_parse_uris(text, &mirrors, &lock, &err) == TC_OK &&
        tc_lock_check(&lock, &err) == TC_OK)
        check_again(&lock, (struct tc_span){NULL, 0});
    tc_lock_free(&lock);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tc_span bytes = {data, size};
    read_recipe(bytes);
    read_lock(bytes);
    read_uris(bytes);
    return 0;
}
