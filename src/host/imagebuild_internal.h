/* Between the parts of `image build`: imagebuild.c decides what is made of what,
 * imagebuild_roots.c enters roots and runs the scripts in them, imagebuild_log.c writes
 * down what they say, imagebuild_results.c takes what they made, imagebuild_write.c puts
 * the image together. */
#ifndef TC_HOST_IMAGEBUILD_INTERNAL_H
#define TC_HOST_IMAGEBUILD_INTERNAL_H

#include "core/recipe.h"
#include "host/imagebuild.h"
#include "host/packages.h"
#include "host/room.h"
#include "host/staging.h"
#include "host/workfolder.h"

enum { TC_MAKING_KERNEL_MAX = 64 << 20 };

/* The kernel's command line. */
extern const char tc_making_cmdline[];

/* One image under way. Owns everything but `wanted`. */
struct tc_making {
    const struct tc_image_build *wanted;
    struct tc_workfolder folder;
    long owner; /* of what rooms write */
    struct tc_staging staging;
    char *recipe_folder, *source; /* the copies */
    char *packages;               /* the recipe's locked packages */
    char *results;                /* what was taken out of the rooms; none sees it */
    char *lists;                  /* /work of "spdx", with the others' lists of packages */
    char *root_work;              /* /work of "root", with the file system */
    char *builder_tar;            /* folder with the builder's root.tar */
    char *builder_root;           /* its copy that nothing of a recipe runs in */
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
/* A new copy of the builder's root, from the cache or made. *ret_path is owned. */
tc_status tc_making_builder(struct tc_making *making, const char *name, char **ret_path,
                            struct tc_error *err) TC_MUST_USE;
/* Sets making->kernel to the project's own, from the cache or built. */
tc_status tc_making_kernel(struct tc_making *making, struct tc_error *err) TC_MUST_USE;
/* A copy of some of the project's files for one room. *ret_path is owned. */
tc_status tc_making_source(struct tc_making *making, const char *name, const char *const *paths,
                           char **ret_path, struct tc_error *err) TC_MUST_USE;

/* images/builder/SCRIPT in a room. */
struct tc_step {
    const char *script, *root, *source, *work;
    bool recipe;                  /* it sees the recipe and its packages, and may run them */
    const char *const *arguments; /* ended by NULL; NULL: none */
};
tc_status tc_making_script(struct tc_making *making, const struct tc_step *step,
                           struct tc_error *err) TC_MUST_USE;

/* As tc_room_run, the command's output going to the log as far as a step's share goes;
 * room->log_fd is set here. */
tc_status tc_making_run(const struct tc_making *making, struct tc_room *room,
                        const char *const *command, struct tc_error *err) TC_MUST_USE;
/* The log of a failed build gets a name, which the message then says. */
void tc_making_keep_log(const struct tc_making *making, struct tc_error *err);

/* A result in a room's work folder, no empty one; no link is followed. TC_BUILD. */
tc_status tc_making_open(const char *folder, const char *name, int *ret_fd, uint64_t *ret_size,
                         struct tc_error *err) TC_MUST_USE;
/* Copies it to the path `to`, 0644 and this process's. ret_digest may be NULL. */
tc_status tc_making_take(const struct tc_making *making, const char *folder, const char *name,
                         uint64_t max, const char *to, struct tc_sha256 *ret_digest,
                         struct tc_error *err) TC_MUST_USE;
/* The same into the cache, with its SHA-256 beside it. */
tc_status tc_making_keep(const struct tc_making *making, const char *folder, const char *name,
                         uint64_t max, const char *cached, struct tc_error *err) TC_MUST_USE;
/* Links the cache's file to `place` if it is there and what its SHA-256 says. */
tc_status tc_making_cached(const struct tc_making *making, const char *cached, const char *place,
                           bool *ret_found, struct tc_error *err) TC_MUST_USE;

/* Instead of a recipe and its packages (wanted->rootfs): sets the recipe's name and puts
 * what was given into making->packages, as the file "rootfs". */
tc_status tc_making_bring_rootfs(struct tc_making *making, struct tc_error *err) TC_MUST_USE;
/* After the script: what the digest says in place of a recipe's files. */
tc_status tc_making_name_rootfs(struct tc_making *making, struct tc_error *err) TC_MUST_USE;

/* The finished files, from what was taken from the scripts. */
tc_status tc_making_write(struct tc_making *making, struct tc_image_built *built,
                          struct tc_error *err) TC_MUST_USE;

/* Can the three results get their names? TC_USAGE says which cannot. */
tc_status tc_making_check_outputs(const struct tc_making *making, const char *stem,
                                  struct tc_error *err) TC_MUST_USE;

/* stem: "X" of output "X.eif"; owned. TC_USAGE. */
tc_status tc_making_stem(const char *output, char **ret_stem, struct tc_error *err) TC_MUST_USE;

#endif
