/* Between the parts of `image build`: imagebuild.c decides what is made of what,
 * imagebuild_roots.c enters roots and runs the scripts in them, imagebuild_write.c
 * puts the image together. */
#ifndef TC_HOST_IMAGEBUILD_INTERNAL_H
#define TC_HOST_IMAGEBUILD_INTERNAL_H

#include "core/recipe.h"
#include "host/imagebuild.h"
#include "host/packages.h"
#include "host/staging.h"
#include "host/workfolder.h"

/* One image under way. Owns everything but `wanted`. */
struct tc_making {
    const struct tc_image_build *wanted;
    struct tc_workfolder folder;
    long owner; /* of what rooms write */
    struct tc_staging staging;
    char *recipe_folder, *source; /* the copies */
    char *packages;               /* the recipe's locked packages */
    char *shop;                   /* /work of the scripts, and what they made */
    char *log_path;
    int log_fd;
    char *package_cache;
    struct tc_mirrors mirrors;
    struct tc_recipe recipe;
    struct tc_lock lock;
    struct tc_sha256 digest; /* of the recipe */
    char *kernel;            /* a bzImage */
};

void tc_making_say(const struct tc_making *making, const char *format, ...) TC_PRINTF(2, 3);
tc_status tc_making_check_interrupt(const struct tc_making *making, struct tc_error *err)
    TC_MUST_USE;

/* Files of the lock in folder NAME of the work folder. *ret_path is owned. */
tc_status tc_making_fetch(struct tc_making *making, const struct tc_lock *lock, const char *what,
                          const char *name, char **ret_path, struct tc_error *err) TC_MUST_USE;
/* The builder's root, from the cache or made, unpacked. *ret_path is owned. */
tc_status tc_making_builder(struct tc_making *making, char **ret_path, struct tc_error *err)
    TC_MUST_USE;
/* Sets making->kernel to the project's own, from the cache or built. */
tc_status tc_making_kernel(struct tc_making *making, struct tc_error *err) TC_MUST_USE;
/* images/builder/NAME in a root, with the recipe's packages; arguments end with NULL. */
tc_status tc_making_script(struct tc_making *making, const char *root, const char *name,
                           const char *const *arguments, struct tc_error *err) TC_MUST_USE;

/* Instead of a recipe and its packages (wanted->rootfs): sets the recipe's name and puts
 * what was given into making->packages, as the file "rootfs". */
tc_status tc_making_bring_rootfs(struct tc_making *making, struct tc_error *err) TC_MUST_USE;
/* After the script: what the digest says in place of a recipe's files. */
tc_status tc_making_name_rootfs(struct tc_making *making, struct tc_error *err) TC_MUST_USE;

/* The finished files, from what the scripts left in the shop. */
tc_status tc_making_write(struct tc_making *making, struct tc_image_built *built,
                          struct tc_error *err) TC_MUST_USE;

/* stem: "X" of output "X.eif"; owned. TC_USAGE. */
tc_status tc_making_stem(const char *output, char **ret_stem, struct tc_error *err) TC_MUST_USE;

#endif
