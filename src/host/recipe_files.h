/* A recipe's folder: recipe.json, which a person writes, and lock.json, which
 * `image lock` writes. */
#ifndef TC_HOST_RECIPE_FILES_H
#define TC_HOST_RECIPE_FILES_H

#include "core/lockfile.h"

/* FOLDER/recipe.json. When it names a script, that is a regular file in the folder. name is
 * what messages call the folder, which may be a copy. */
tc_status tc_recipe_load(const char *folder, const char *name, struct tc_recipe *ret_recipe,
                         struct tc_error *err) TC_MUST_USE;

/* FOLDER/lock.json; it fits the recipe, unless that is NULL. A missing one is TC_UNAVAILABLE and the
 * message names the command that makes it. */
tc_status tc_lock_load(const char *folder, const char *name, const struct tc_recipe *recipe,
                       struct tc_lock *ret_lock, struct tc_error *err) TC_MUST_USE;

/* Writes FOLDER/lock.json, all or nothing. */
tc_status tc_lock_save(const char *folder, const struct tc_lock *lock, struct tc_error *err)
    TC_MUST_USE;

#endif
