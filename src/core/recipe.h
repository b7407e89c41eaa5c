/* recipe.json: what an image is made of, as a person writes it.
 *
 *   { "recipe": 1,
 *     "name": "rust",               as imagetext.h has names
 *     "suite": "trixie",            of Debian
 *     "packages": ["cargo", ...],   names, each once; what they depend on comes with them
 *     "script": "customize" }       optional: a file beside it, run in the finished root
 *
 * Pure. Which versions these were is the lock's to say (lockfile.h). */
#ifndef TC_CORE_RECIPE_H
#define TC_CORE_RECIPE_H

#include "base/bytes.h"

enum {
    TC_RECIPE_MAX = 256 << 10, /* bytes of the file */
    TC_RECIPE_PACKAGES_MAX = 1024,
    TC_RECIPE_NAME_MAX = 64,
    TC_PACKAGE_WORD_MAX = 128, /* of a package's name, version or architecture */
};

struct tc_recipe { /* owns its strings and its list */
    char *name, *suite;
    char **packages;
    size_t packages_count; /* 0: the essential packages alone */
    char *script;          /* a name without a slash; NULL: none */
};
#define TC_AUTO_RECIPE TC_CLEANUP(tc_recipe_free)
void tc_recipe_free(struct tc_recipe *recipe); /* accepts NULL and a zeroed one */

/* Strict; name is what messages call the text. TC_MALFORMED. */
tc_status tc_recipe_read(struct tc_span json, const char *name, struct tc_recipe *ret_recipe,
                         struct tc_error *err) TC_MUST_USE;

/* Debian's alphabets, 2 (name) or 1 to TC_PACKAGE_WORD_MAX characters. No name ends
 * in "-", which apt would take for the wish to be without the package. */
bool tc_package_name_is_good(const char *text) TC_MUST_USE;
bool tc_package_version_is_good(const char *text) TC_MUST_USE;
/* 1 to 64 of a-z 0-9 and -, a letter first. */
bool tc_suite_name_is_good(const char *text) TC_MUST_USE;

#endif
