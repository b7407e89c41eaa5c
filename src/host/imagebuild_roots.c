#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "host/imagebuild_internal.h"
#include "host/recipe_files.h"
#include "host/room.h"

enum { ARGUMENTS_MAX = 8 };

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
    TC_TRY(tc_packages_place(&packages, lock, path, err));
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

tc_status tc_making_script(struct tc_making *making, const char *root, const char *name,
                           const char *const *arguments, struct tc_error *err)
{
    char path[128];
    const char *command[ARGUMENTS_MAX] = {"bash", path};
    size_t count = 2;
    struct tc_room room = room_of(making);
    room.root = root;
    room.source = making->source;
    room.recipe = making->recipe_folder;
    room.packages = making->packages;
    room.work = making->shop;
    (void)snprintf(path, sizeof path, "/source/images/builder/%s", name);
    for (; *arguments && count + 1 < ARGUMENTS_MAX; arguments++)
        command[count++] = *arguments;
    tc_making_say(making, "%s: running %s", making->recipe.name, name);
    (void)dprintf(making->log_fd, "--- %s\n", name);
    tc_status status = tc_room_run(&room, command, err);
    return status == TC_OK ? TC_OK : tc_wrap(err, "images/builder/%s", name);
}

/* What a room has written becomes the cache's, in one step. */
static tc_status keep_in_cache(const char *made, const char *cached, struct tc_error *err)
{
    struct stat info;
    TC_AUTO_CLOSE int fd = open(made, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot find what was made as %s", made);
    if (!S_ISREG(info.st_mode))
        return tc_fail(err, TC_BUILD, "%s is no regular file: the step before made something else",
                       made);
    if ((geteuid() == 0 && fchown(fd, 0, 0) != 0) || fchmod(fd, 0644) != 0 || fsync(fd) != 0 ||
        rename(made, cached) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot keep %s as %s", made, cached);
    return TC_OK;
}

/* A root of exactly the lock's packages, by the machine's own tools, as a tar file.
 * *ret_tar is owned. */
static tc_status bootstrap(struct tc_making *making, const char *what, const struct tc_lock *lock,
                           char **ret_tar, struct tc_error *err)
{
    TC_AUTO_FREE char *packages = NULL, *work = NULL, *packages_name = NULL, *work_name = NULL;
    if (access("/usr/bin/mmdebstrap", X_OK) != 0)
        return tc_fail(
            err, TC_UNAVAILABLE,
            "mmdebstrap is missing, which makes the %s's root: apt-get install mmdebstrap", what);
    if (asprintf(&packages_name, "%s-packages", what) < 0 ||
        asprintf(&work_name, "%s-tar", what) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_TRY(tc_making_fetch(making, lock, what, packages_name, &packages, err));
    TC_TRY(tc_workfolder_add(&making->folder, work_name, making->owner, &work, err));
    struct tc_room room = room_of(making);
    room.source = making->source;
    room.packages = packages;
    room.work = work;
    const char *const command[] = {"bash", "/source/images/builder/bootstrap", NULL};
    tc_making_say(making, "%s: making its root of %zu packages", what, lock->packages_count);
    (void)dprintf(making->log_fd, "--- bootstrap %s\n", what);
    if (tc_room_run(&room, command, err) != TC_OK) return tc_wrap(err, "the %s's root", what);
    if (asprintf(ret_tar, "%s/root.tar", work) < 0) return tc_fail(err, TC_SYSTEM, "out of memory");
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
    if (tc_room_run(&room, command, err) != TC_OK)
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
    if (tc_recipe_load(folder, &recipe, err) != TC_OK ||
        tc_lock_load(folder, &recipe, ret_lock, err) != TC_OK)
        return tc_wrap(err, "images/%s of the project", name);
    return TC_OK;
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

/* The cache's folder is its owner's alone: a room sees a link in a folder of the run. */
static tc_status unpack_cached(struct tc_making *making, const char *path, char **ret_root,
                               struct tc_error *err)
{
    static const char name[] = "root.tar";
    TC_AUTO_FREE char *folder = NULL, *place = NULL;
    TC_TRY(tc_workfolder_add(&making->folder, "builder-cached", -1, &folder, err));
    if (asprintf(&place, "%s/%s", folder, name) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    if (link(path, place) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot link %s to %s", path, place);
    return unpack(making, "builder", folder, name, ret_root, err);
}

tc_status tc_making_builder(struct tc_making *making, char **ret_path, struct tc_error *err)
{
    static const char *const paths[] = {"images/builder/bootstrap", "images/builder/lock.json",
                                        NULL};
    TC_AUTO_FREE char *folder = NULL, *name = NULL, *path = NULL, *tar = NULL;
    TC_AUTO_LOCK struct tc_lock lock = {0};
    TC_TRY(load_lock(making, "builder", &lock, err));
    TC_TRY(tc_cache_folder("roots", &folder, err));
    TC_TRY(cached_name(making, paths, ".tar", &name, err));
    if (asprintf(&path, "%s/%s", folder, name) < 0) return tc_fail(err, TC_SYSTEM, "out of memory");
    if (access(path, R_OK) != 0) {
        TC_TRY(bootstrap(making, "builder", &lock, &tar, err));
        TC_TRY(keep_in_cache(tar, path, err));
    }
    return unpack_cached(making, path, ret_path, err);
}

static tc_status build_kernel(struct tc_making *making, const char *cached, struct tc_error *err)
{
    TC_AUTO_FREE char *tar = NULL, *folder = NULL, *root = NULL, *made = NULL;
    TC_AUTO_LOCK struct tc_lock lock = {0};
    const char *const none[] = {NULL};
    TC_TRY(load_lock(making, "kernel", &lock, err));
    TC_TRY(bootstrap(making, "kernel", &lock, &tar, err));
    folder = strndup(tar, (size_t)(strrchr(tar, '/') - tar));
    if (!folder) return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_TRY(unpack(making, "kernel", folder, "root.tar", &root, err));
    (void)unlink(tar);
    TC_TRY(tc_making_script(making, root, "kernel", none, err));
    if (asprintf(&made, "%s/kernel.out/bzImage", making->shop) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    return keep_in_cache(made, cached, err);
}

tc_status tc_making_kernel(struct tc_making *making, struct tc_error *err)
{
    static const char *const paths[] = {"images/builder/kernel", "images/kernel", NULL};
    TC_AUTO_FREE char *folder = NULL, *name = NULL, *path = NULL;
    TC_TRY(tc_cache_folder("kernels", &folder, err));
    TC_TRY(cached_name(making, paths, ".bzImage", &name, err));
    if (asprintf(&path, "%s/%s", folder, name) < 0) return tc_fail(err, TC_SYSTEM, "out of memory");
    if (access(path, R_OK) != 0) TC_TRY(build_kernel(making, path, err));
    making->kernel = TC_TAKE(path);
    return TC_OK;
}
