#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "host/imagebuild_internal.h"
#include "host/recipe_files.h"
#include "host/room.h"

enum { ARGUMENTS_MAX = 8 };
#define ROOT_MAX ((uint64_t)64 << 30)

/* What the scripts of a root and of the kernel are: their rooms see nothing else of the
 * project, so that a key over these covers what is kept under it. */
#define BOOTSTRAP "images/builder/bootstrap"
#define KERNEL_PATHS "images/builder/kernel", "images/builder/lib.sh", "images/kernel"

/* --- packages --- */

struct fetching {
    const struct tc_making *making;
    const char *what;
    bool said;
};

static tc_status on_progress(void *context, const struct tc_lock_package *package, uint64_t done,
                             uint64_t total, struct tc_error *err)
{
    struct fetching *fetching = context;
    char size[16];
    (void)package;
    (void)done;
    if (!fetching->said && total > 0)
        tc_making_say(fetching->making, "%s: fetching %s of packages", fetching->what,
                      tc_human_size(total, size));
    fetching->said = true;
    return tc_making_check_interrupt(fetching->making, err);
}

/* The cache's files are linked, but an ordinary user is uid 0 of his rooms and can write
 * to what they see: his see copies. */
static tc_status place(const struct tc_making *making, const struct tc_packages *packages,
                       const struct tc_lock *lock, const char *folder, struct tc_error *err)
{
    if (geteuid() == 0) return tc_packages_place(packages, lock, folder, err);
    for (size_t i = 0; i < lock->packages_count; i++) {
        const struct tc_lock_package *package = &lock->packages[i];
        TC_AUTO_FREE char *path = NULL;
        char hex[TC_SHA256_HEX], name[TC_SHA256_HEX + sizeof ".deb"];
        struct tc_sha256 digest;
        tc_hex((struct tc_span){package->digest.bytes, sizeof package->digest.bytes}, hex);
        (void)snprintf(name, sizeof name, "%s.deb", hex);
        if (asprintf(&path, "%s/%s", folder, name) < 0)
            return tc_fail(err, TC_SYSTEM, "out of memory");
        if (access(path, F_OK) == 0)
            return tc_fail(err, TC_USAGE, "%s is there already: expected an empty folder", path);
        TC_TRY(tc_making_take(making, packages->cache, name, package->size, path, &digest, err));
        if (memcmp(digest.bytes, package->digest.bytes, sizeof digest.bytes) != 0)
            return tc_fail(err, TC_UNAVAILABLE, "%s/%s has changed meanwhile: try again",
                           packages->cache, name);
    }
    return TC_OK;
}

tc_status tc_making_fetch(struct tc_making *making, const struct tc_lock *lock, const char *what,
                          const char *name, char **ret_path, struct tc_error *err)
{
    TC_AUTO_FREE char *path = NULL;
    struct fetching fetching = {.making = making, .what = what};
    struct tc_packages packages = {.cache = making->package_cache,
                                   .mirrors = &making->mirrors,
                                   .context = &fetching,
                                   .on_progress = on_progress};
    TC_TRY(tc_making_check_interrupt(making, err));
    TC_TRY(tc_packages_fetch(&packages, lock, err));
    TC_TRY(tc_workfolder_add(&making->folder, name, -1, &path, err));
    TC_TRY(place(making, &packages, lock, path, err));
    *ret_path = TC_TAKE(path);
    return TC_OK;
}

/* --- rooms --- */

static struct tc_room room_of(const struct tc_making *making)
{
    return (struct tc_room){.jobs = making->wanted->jobs,
                            .log_fd = making->log_fd,
                            .interrupt_fd = making->wanted->interrupt_fd};
}

tc_status tc_making_source(struct tc_making *making, const char *name, const char *const *paths,
                           char **ret_path, struct tc_error *err)
{
    TC_AUTO_FREE char *path = NULL;
    TC_TRY(tc_workfolder_add(&making->folder, name, -1, &path, err));
    TC_TRY(tc_staging_select(&making->staging, making->source, path, paths, err));
    *ret_path = TC_TAKE(path);
    return TC_OK;
}

tc_status tc_making_script(struct tc_making *making, const struct tc_step *step,
                           struct tc_error *err)
{
    char path[128];
    const char *command[ARGUMENTS_MAX] = {"bash", path};
    size_t count = 2;
    struct tc_room room = room_of(making);
    room.root = step->root;
    room.source = step->source;
    room.work = step->work;
    if (step->recipe) {
        room.recipe = making->recipe_folder;
        room.packages = making->packages;
    }
    (void)snprintf(path, sizeof path, "/source/images/builder/%s", step->script);
    for (const char *const *next = step->arguments; next && *next && count + 1 < ARGUMENTS_MAX;)
        command[count++] = *next++;
    tc_making_say(making, "%s: running %s", making->recipe.name, step->script);
    (void)dprintf(making->log_fd, "--- %s\n", step->script);
    tc_status status = tc_making_run(making, &room, command, err);
    return status == TC_OK ? TC_OK : tc_wrap(err, "images/builder/%s", step->script);
}

/* A root of exactly the lock's packages, by the machine's own tools, as root.tar in the
 * folder *ret_work, which is owned. */
static tc_status bootstrap(struct tc_making *making, const char *what, const struct tc_lock *lock,
                           char **ret_work, struct tc_error *err)
{
    static const char *const paths[] = {BOOTSTRAP, NULL};
    TC_AUTO_FREE char *packages = NULL, *work = NULL, *source = NULL, *packages_name = NULL,
                      *work_name = NULL, *source_name = NULL;
    if (access("/usr/bin/mmdebstrap", X_OK) != 0)
        return tc_fail(
            err, TC_UNAVAILABLE,
            "mmdebstrap is missing, which makes the %s's root: apt-get install mmdebstrap", what);
    if (asprintf(&packages_name, "%s-packages", what) < 0 ||
        asprintf(&work_name, "%s-tar", what) < 0 ||
        asprintf(&source_name, "%s-bootstrap", what) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_TRY(tc_making_fetch(making, lock, what, packages_name, &packages, err));
    TC_TRY(tc_workfolder_add(&making->folder, work_name, making->owner, &work, err));
    TC_TRY(tc_making_source(making, source_name, paths, &source, err));
    struct tc_room room = room_of(making);
    room.source = source;
    room.packages = packages;
    room.work = work;
    const char *const command[] = {"bash", "/source/images/builder/bootstrap", NULL};
    tc_making_say(making, "%s: making its root of %zu packages", what, lock->packages_count);
    (void)dprintf(making->log_fd, "--- bootstrap %s\n", what);
    if (tc_making_run(making, &room, command, err) != TC_OK)
        return tc_wrap(err, "the %s's root", what);
    *ret_work = TC_TAKE(work);
    return TC_OK;
}

/* folder/name is the tar file; the root is folder NAME-root of the work folder. */
static tc_status unpack(struct tc_making *making, const char *what, const char *folder,
                        const char *name, char **ret_root, struct tc_error *err)
{
    TC_AUTO_FREE char *root = NULL, *root_name = NULL, *inside = NULL;
    if (asprintf(&root_name, "%s-root", what) < 0 || asprintf(&inside, "/packages/%s", name) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_TRY(tc_workfolder_add(&making->folder, root_name, making->owner, &root, err));
    struct tc_room room = room_of(making);
    room.packages = folder;
    room.work = root;
    const char *const command[] = {
        "tar",         "--extract", "--file",          inside,
        "--directory", "/work",     "--numeric-owner", "--preserve-permissions",
        NULL};
    tc_making_say(making, "%s: unpacking its root", what);
    (void)dprintf(making->log_fd, "--- unpack %s\n", what);
    if (tc_making_run(making, &room, command, err) != TC_OK)
        return tc_wrap(err, "cannot unpack the %s's root %s/%s", what, folder, name);
    *ret_root = TC_TAKE(root);
    return TC_OK;
}

/* images/NAME of the project, by its recipe. */
static tc_status load_lock(const struct tc_making *making, const char *name,
                           struct tc_lock *ret_lock, struct tc_error *err)
{
    TC_AUTO_FREE char *folder = NULL;
    TC_AUTO_RECIPE struct tc_recipe recipe = {0};
    if (asprintf(&folder, "%s/images/%s", making->source, name) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    const char *shown = folder + strlen(making->source) + 1;
    TC_TRY(tc_recipe_load(folder, shown, &recipe, err));
    return tc_lock_load(folder, shown, &recipe, ret_lock, err);
}

static tc_status changed_meanwhile(const char *path, struct tc_error *err)
{
    return tc_fail(err, TC_UNAVAILABLE, "%s was changed by another run meanwhile: try again", path);
}

static tc_status cached_name(struct tc_making *making, const char *const *paths, const char *suffix,
                             char **ret_name, struct tc_error *err)
{
    struct tc_sha256 key;
    char hex[TC_SHA256_HEX];
    TC_TRY(tc_staging_digest(&making->staging, paths, &key, err));
    tc_hex((struct tc_span){key.bytes, sizeof key.bytes}, hex);
    if (asprintf(ret_name, "%s%s", hex, suffix) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    return TC_OK;
}

/* The builder's root as root.tar in a folder of the run, once. */
static tc_status bring_builder(struct tc_making *making, struct tc_error *err)
{
    static const char *const paths[] = {BOOTSTRAP, "images/builder/lock.json", NULL};
    TC_AUTO_FREE char *cache = NULL, *name = NULL, *path = NULL, *work = NULL, *folder = NULL,
                      *place = NULL;
    TC_AUTO_LOCK struct tc_lock lock = {0};
    bool found = false;
    TC_TRY(load_lock(making, "builder", &lock, err));
    TC_TRY(tc_cache_folder("roots", &cache, err));
    TC_TRY(cached_name(making, paths, ".tar", &name, err));
    /* The cache's folder is its owner's alone: a room sees a link in a folder of the run. */
    TC_TRY(tc_workfolder_add(&making->folder, "builder-cached", -1, &folder, err));
    if (asprintf(&path, "%s/%s", cache, name) < 0 || asprintf(&place, "%s/root.tar", folder) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_TRY(tc_making_cached(making, path, place, &found, err));
    if (!found) {
        TC_TRY(bootstrap(making, "builder", &lock, &work, err));
        TC_TRY(tc_making_keep(making, work, "root.tar", ROOT_MAX, path, err));
        TC_TRY(tc_making_cached(making, path, place, &found, err));
    }
    if (!found) return changed_meanwhile(path, err);
    making->builder_tar = TC_TAKE(folder);
    return TC_OK;
}

tc_status tc_making_builder(struct tc_making *making, const char *name, char **ret_path,
                            struct tc_error *err)
{
    if (!making->builder_tar) TC_TRY(bring_builder(making, err));
    return unpack(making, name, making->builder_tar, "root.tar", ret_path, err);
}

/* All that the kernel's room executes and reads of the project; with what made its root,
 * the key of the cache. */
static tc_status build_kernel(struct tc_making *making, const char *cached, struct tc_error *err)
{
    static const char *const paths[] = {KERNEL_PATHS, NULL};
    TC_AUTO_FREE char *tar = NULL, *root = NULL, *source = NULL, *work = NULL;
    TC_AUTO_LOCK struct tc_lock lock = {0};
    TC_TRY(load_lock(making, "kernel", &lock, err));
    TC_TRY(bootstrap(making, "kernel", &lock, &tar, err));
    TC_TRY(unpack(making, "kernel", tar, "root.tar", &root, err));
    TC_TRY(tc_making_source(making, "kernel-source", paths, &source, err));
    TC_TRY(tc_workfolder_add(&making->folder, "kernel-work", making->owner, &work, err));
    const struct tc_step step = {.script = "kernel", .root = root, .source = source, .work = work};
    TC_TRY(tc_making_script(making, &step, err));
    return tc_making_keep(making, work, "kernel.out/bzImage", TC_MAKING_KERNEL_MAX, cached, err);
}

tc_status tc_making_kernel(struct tc_making *making, struct tc_error *err)
{
    static const char *const paths[] = {BOOTSTRAP, KERNEL_PATHS, NULL};
    TC_AUTO_FREE char *folder = NULL, *name = NULL, *path = NULL, *place = NULL;
    bool found = false;
    TC_TRY(tc_cache_folder("kernels", &folder, err));
    TC_TRY(cached_name(making, paths, ".bzImage", &name, err));
    if (asprintf(&path, "%s/%s", folder, name) < 0 ||
        asprintf(&place, "%s/bzImage", making->folder.path) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_TRY(tc_making_cached(making, path, place, &found, err));
    if (!found) {
        TC_TRY(build_kernel(making, path, err));
        TC_TRY(tc_making_cached(making, path, place, &found, err));
    }
    if (!found) return changed_meanwhile(path, err);
    making->kernel = TC_TAKE(place);
    return TC_OK;
}
