/* Steps as for build.json: the JSON layer refuses what is no JSON, and what a value
 * may be is decided right where it is read, so that each message names its path. */
#include "core/recipe.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "core/imagetext.h"
#include "core/json.h"

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

void tc_recipe_free(struct tc_recipe *recipe)
{
    if (!recipe) return;
    free(recipe->name);
    free(recipe->suite);
    for (size_t i = 0; i < recipe->packages_count; i++)
        free(recipe->packages[i]);
    free(recipe->packages);
    free(recipe->script);
    *recipe = (struct tc_recipe){0};
}

/* min to max characters, the first one of `first`, all of `allowed`. */
static bool is_word(const char *text, size_t min, size_t max, const char *first,
                    const char *allowed)
{
    size_t size = strlen(text);
    return size >= min && size <= max && strspn(text, first) > 0 && strspn(text, allowed) == size;
}

bool tc_package_name_is_good(const char *text)
{
    return is_word(text, 2, TC_PACKAGE_WORD_MAX, LOWER DIGITS, LOWER DIGITS "+-.") &&
           text[strlen(text) - 1] != '-';
}

bool tc_package_version_is_good(const char *text)
{
    return is_word(text, 1, TC_PACKAGE_WORD_MAX, DIGITS, LOWER UPPER DIGITS ".+-~:");
}

bool tc_suite_name_is_good(const char *text)
{
    return is_word(text, 1, TC_RECIPE_NAME_MAX, LOWER, LOWER DIGITS "-");
}

static tc_status read_word(const struct tc_json *top, const char *key, char **ret_text,
                           struct tc_json *ret_value, struct tc_error *err)
{
    TC_TRY(tc_json_get(top, key, ret_value, err));
    return tc_json_copy(ret_value, TC_PACKAGE_WORD_MAX, ret_text, err);
}

static int compare_texts(const void *a, const void *b)
{
    const char *const *left = a, *const *right = b;
    return strcmp(*left, *right);
}

static tc_status check_repeats(const struct tc_json *at, const struct tc_recipe *recipe,
                               struct tc_error *err)
{
    size_t count = recipe->packages_count;
    if (count == 0) return TC_OK;
    TC_AUTO_FREE char **sorted = malloc(count * sizeof *sorted);
    if (!sorted) return tc_fail(err, TC_SYSTEM, "out of memory for a list");
    memcpy(sorted, recipe->packages, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, compare_texts);
    for (size_t i = 1; i < count; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            return tc_json_fail(at, err, "names %s twice", sorted[i]);
    return TC_OK;
}

static tc_status read_packages(const struct tc_json *at, struct tc_recipe *recipe,
                               struct tc_error *err)
{
    size_t count;
    TC_TRY(tc_json_array(at, TC_RECIPE_PACKAGES_MAX, &count, err));
    recipe->packages = calloc(count + 1, sizeof *recipe->packages);
    if (!recipe->packages) return tc_fail(err, TC_SYSTEM, "out of memory for a list");
    for (size_t i = 0; i < count; i++) {
        struct tc_json entry = tc_json_at(at, i);
        TC_TRY(tc_json_copy(&entry, TC_PACKAGE_WORD_MAX, &recipe->packages[i], err));
        recipe->packages_count = i + 1;
        if (!tc_package_name_is_good(recipe->packages[i]))
            return tc_json_fail(&entry, err,
                                "must be a package's name: lower case, digits and any of + - .");
    }
    return check_repeats(at, recipe, err);
}

static tc_status read_script(const struct tc_json *at, struct tc_recipe *recipe,
                             struct tc_error *err)
{
    TC_TRY(tc_json_copy(at, TC_RECIPE_NAME_MAX, &recipe->script, err));
    const char *name = recipe->script;
    if (!is_word(name, 1, TC_RECIPE_NAME_MAX, LOWER UPPER DIGITS, LOWER UPPER DIGITS "._-"))
        return tc_json_fail(at, err,
                            "must be the name of a file beside the recipe: letters, digits and any "
                            "of . _ -");
    if (strcmp(name, "recipe.json") == 0 || strcmp(name, "lock.json") == 0)
        return tc_json_fail(at, err, "must not be the recipe or its lock");
    return TC_OK;
}

static tc_status read_recipe(const struct tc_json *top, struct tc_recipe *recipe,
                             struct tc_error *err)
{
    static const char *const known[] = {"recipe", "name", "suite", "packages", "script", NULL};
    struct tc_json value;
    uint64_t version;
    /* The version first: of another one, unknown keys are no mistakes. */
    TC_TRY(tc_json_get(top, "recipe", &value, err));
    TC_TRY(tc_json_u64(&value, UINT32_MAX, &version, err));
    if (version != 1) return tc_json_fail(&value, err, "must be 1, the one version there is");
    TC_TRY(tc_json_check_keys(top, known, err));
    TC_TRY(read_word(top, "name", &recipe->name, &value, err));
    if (!tc_image_text_name_is_good(recipe->name))
        return tc_json_fail(&value, err,
                            "must be a name of 1 to 64 of a-z, 0-9, - and ., a letter first, but "
                            "not host and nothing that ends in .eif");
    TC_TRY(read_word(top, "suite", &recipe->suite, &value, err));
    if (!tc_suite_name_is_good(recipe->suite))
        return tc_json_fail(&value, err, "must be a suite of Debian, such as trixie");
    TC_TRY(tc_json_get(top, "packages", &value, err));
    TC_TRY(read_packages(&value, recipe, err));
    return tc_json_find(top, "script", &value) ? read_script(&value, recipe, err) : TC_OK;
}

tc_status tc_recipe_read(struct tc_span json, const char *name, struct tc_recipe *ret_recipe,
                         struct tc_error *err)
{
    TC_AUTO_JSON struct tc_json_text *text = NULL;
    TC_AUTO_RECIPE struct tc_recipe recipe = {0};
    TC_TRY(tc_json_parse(json, name, TC_RECIPE_MAX, &text, err));
    struct tc_json top = tc_json_top(text, name);
    TC_TRY(read_recipe(&top, &recipe, err));
    *ret_recipe = recipe;
    recipe = (struct tc_recipe){0};
    return TC_OK;
}
