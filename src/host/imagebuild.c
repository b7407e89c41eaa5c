/* How an image is made, and from what:
 *
 *   recipe's folder (or a root file system that somebody brought, imagebuild_rootfs.c),
 *   images/builder, images/kernel, the worker's source
 *     -- copied aside; the recipe's digest is taken over the copies
 *   lock.json of each -- packages by their digests, from the cache or a mirror
 *     -- the builder's root, by the machine's mmdebstrap from packages alone
 *   inside the kernel's root: the kernel, unless it is in the cache
 *   inside the builder's root: worker and first ramdisk
 *   inside another copy of it: the toolchain's file system
 *   inside the first copy again: the list of parts
 *     -- second ramdisk, image, and beside it the file system and its list of parts
 *
 * Of these rooms, the one for the toolchain runs code that the recipe brings. It shares
 * nothing that can be written with any other; what the others made is not in it. What it
 * wrote is read in the first copy only when nothing else is made there any more.
 *
 * Nothing of the machine is in the result but what these roots were unpacked with.
 * Everything is made in a folder below the cache, which goes when this returns; the
 * results get their names at the very end. */
#include "host/imagebuild.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "host/imagebuild_internal.h"
#include "host/recipe_files.h"
#include "os/files.h"
#include "os/readfile.h"

/* What the worker and everything around the toolchain is made of, in the project's
 * tree, which is "images/..." and so on in the recipe's digest too. */
static const char kernel_folder[] = "images/kernel";
static const char *const project_files[] = {"images/builder",
                                            kernel_folder,
                                            "meson.build",
                                            "meson_options.txt",
                                            "src/meson.build",
                                            "src/base",
                                            "src/core",
                                            "src/os",
                                            "src/worker",
                                            "src/cmd/worker_main.c",
                                            NULL};
static const char *const project_folders[] = {"src", "src/cmd", "images", NULL};

/* A ramdisk or a list of parts. */
#define RESULT_MAX ((uint64_t)256 << 20)

static void making_done(struct tc_making *making)
{
    tc_workfolder_remove(&making->folder);
    tc_staging_free(&making->staging);
    tc_mirrors_free(&making->mirrors);
    tc_recipe_free(&making->recipe);
    tc_lock_free(&making->lock);
    tc_close_ptr(&making->log_fd);
    free(making->recipe_folder);
    free(making->source);
    free(making->packages);
    free(making->results);
    free(making->lists);
    free(making->root_work);
    free(making->builder_tar);
    free(making->builder_root);
    free(making->log_path);
    free(making->package_cache);
    free(making->kernel);
}

void tc_image_built_free(struct tc_image_built *built)
{
    tc_image_facts_free(&built->facts);
}

void tc_making_say(const struct tc_making *making, const char *format, ...)
{
    char text[512];
    if (!making->wanted->say) return;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    making->wanted->say(making->wanted->context, text);
}

tc_status tc_making_check_interrupt(const struct tc_making *making, struct tc_error *err)
{
    struct pollfd event = {.fd = making->wanted->interrupt_fd, .events = POLLIN};
    return poll(&event, 1, 0) > 0 ? tc_fail(err, TC_INTERRUPTED, "interrupted") : TC_OK;
}

tc_status tc_making_stem(const char *output, char **ret_stem, struct tc_error *err)
{
    static const char suffix[] = ".eif";
    size_t size = strlen(output);
    if (size <= sizeof suffix - 1 || strcmp(output + size - (sizeof suffix - 1), suffix) != 0 ||
        output[size - sizeof suffix] == '/')
        return tc_fail(err, TC_USAGE,
                       "the output is %s: expected NAME.eif, beside which NAME.erofs and "
                       "NAME.spdx.json are put",
                       output);
    *ret_stem = strndup(output, size - (sizeof suffix - 1));
    return *ret_stem ? TC_OK : tc_fail(err, TC_SYSTEM, "out of memory");
}

/* --- the project's tree --- */

static bool is_project(const char *folder)
{
    char path[PATH_MAX];
    int size = snprintf(path, sizeof path, "%s/images/builder/bootstrap", folder);
    return size > 0 && size < (int)sizeof path && access(path, R_OK) == 0;
}

static tc_status find_project(const struct tc_image_build *wanted, char **ret_folder,
                              struct tc_error *err)
{
    const char *from = wanted->source ? wanted->source : wanted->recipe ? wanted->recipe : ".";
    TC_AUTO_FREE char *folder = realpath(from, NULL);
    if (!folder) return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot find %s", from);
    for (char *slash = folder; slash && !wanted->source && !is_project(folder);) {
        slash = strrchr(folder, '/');
        if (slash) *slash = '\0';
    }
    if (!is_project(folder))
        return tc_fail(err, TC_UNAVAILABLE,
                       "%s is not tee-compile's source, from which the worker is built: expected "
                       "images/builder/bootstrap %s; say where it is with --source FOLDER",
                       from, wanted->source ? "in it" : "in a folder above it");
    *ret_folder = TC_TAKE(folder);
    return TC_OK;
}

/* The boot protocol of x86 Linux: a sector's mark, then the header's. Whatever else the
 * file is, a name that was mixed up is said here and not by an enclave that stays dark. */
static bool is_kernel(struct tc_span file)
{
    enum { MARK = 0x1fe, HEADER = 0x202 };
    static const char magic[] = "HdrS";
    return file.size >= HEADER + sizeof magic - 1 && file.data[MARK] == 0x55 &&
           file.data[MARK + 1] == 0xaa && memcmp(file.data + HEADER, magic, sizeof magic - 1) == 0;
}

/* A kernel that somebody gave stands in the digest for what the project's own is made
 * of, which is neither copied nor looked at then. */
static tc_status stage_kernel(struct tc_making *making, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf content = tc_buf_new(TC_MAKING_KERNEL_MAX);
    struct tc_sha256 digest;
    TC_TRY(tc_readfile_at(AT_FDCWD, making->wanted->kernel, true, making->wanted->kernel, &content,
                          err));
    if (!is_kernel(tc_buf_span(&content)))
        return tc_fail(err, TC_USAGE,
                       "%s is no kernel: expected a bzImage of x86_64, as images/kernel/build "
                       "makes one",
                       making->wanted->kernel);
    TC_TRY(tc_sha256_of(tc_buf_span(&content), &digest, err));
    if (asprintf(&making->kernel, "%s/bzImage", making->folder.path) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_AUTO_CLOSE int fd = open(making->kernel, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot write %s", making->kernel);
    TC_TRY(tc_write_all(fd, tc_buf_span(&content), making->kernel, err));
    return tc_staging_add(&making->staging, "bzImage", &digest, err);
}

static tc_status stage_project(struct tc_making *making, struct tc_error *err)
{
    TC_AUTO_FREE char *project = NULL;
    TC_TRY(find_project(making->wanted, &project, err));
    TC_TRY(tc_workfolder_add(&making->folder, "source", -1, &making->source, err));
    for (const char *const *name = project_folders; *name; name++) {
        TC_AUTO_FREE char *path = NULL;
        if (asprintf(&path, "%s/%s", making->source, *name) < 0)
            return tc_fail(err, TC_SYSTEM, "out of memory");
        if (mkdir(path, 0755) != 0 || chmod(path, 0755) != 0)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make %s", path);
    }
    for (const char *const *name = project_files; *name; name++) {
        TC_AUTO_FREE char *from = NULL, *to = NULL;
        if (making->wanted->kernel && strcmp(*name, kernel_folder) == 0) continue;
        if (asprintf(&from, "%s/%s", project, *name) < 0 ||
            asprintf(&to, "%s/%s", making->source, *name) < 0)
            return tc_fail(err, TC_SYSTEM, "out of memory");
        TC_TRY(tc_staging_copy(&making->staging, from, to, *name, err));
    }
    return making->wanted->kernel ? stage_kernel(making, err) : TC_OK;
}

/* Once, when all files have been named. */
static tc_status take_digest(struct tc_making *making, struct tc_error *err)
{
    struct tc_sha256 digest;
    TC_TRY(tc_sha256_of(tc_span_of_text(tc_making_cmdline), &digest, err));
    TC_TRY(tc_staging_add(&making->staging, "cmdline", &digest, err));
    return tc_staging_digest(&making->staging, NULL, &making->digest, err);
}

static tc_status stage(struct tc_making *making, struct tc_error *err)
{
    struct stat info;
    if (making->wanted->rootfs) return stage_project(making, err);
    if (stat(making->wanted->recipe, &info) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot read the recipe %s",
                             making->wanted->recipe);
    if (!S_ISDIR(info.st_mode))
        return tc_fail(err, TC_USAGE,
                       "%s is no folder: expected one with recipe.json and lock.json",
                       making->wanted->recipe);
    if (asprintf(&making->recipe_folder, "%s/recipe", making->folder.path) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_AUTO_FREE char *real = realpath(making->wanted->recipe, NULL);
    if (!real)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot find %s", making->wanted->recipe);
    TC_TRY(tc_staging_copy(&making->staging, real, making->recipe_folder, "recipe", err));
    TC_TRY(stage_project(making, err));
    return take_digest(making, err);
}

/* --- the steps --- */

static tc_status prepare(struct tc_making *making, struct tc_error *err)
{
    TC_AUTO_FREE char *work = NULL;
    uid_t owner;
    TC_TRY(tc_room_owner(&owner, err));
    making->owner = (long)owner;
    TC_TRY(tc_cache_folder("packages", &making->package_cache, err));
    TC_TRY(tc_cache_folder("work", &work, err));
    TC_TRY(tc_workfolder_make(work, &making->folder, err));
    TC_TRY(tc_workfolder_add(&making->folder, "results", -1, &making->results, err));
    TC_TRY(tc_workfolder_add(&making->folder, "lists", making->owner, &making->lists, err));
    TC_TRY(tc_workfolder_add(&making->folder, "root", making->owner, &making->root_work, err));
    if (asprintf(&making->log_path, "%s/log", making->folder.path) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    making->log_fd = open(making->log_path, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
    if (making->log_fd < 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot write %s", making->log_path);
    return tc_mirrors_find(making->wanted->mirror, making->wanted->snapshot, &making->mirrors, err);
}

static tc_status bring_packages(struct tc_making *making, struct tc_error *err)
{
    const char *shown = making->wanted->recipe;
    TC_TRY(tc_recipe_load(making->recipe_folder, shown, &making->recipe, err));
    TC_TRY(tc_lock_load(making->recipe_folder, shown, &making->recipe, &making->lock, err));
    return tc_making_fetch(making, &making->lock, making->recipe.name, "packages",
                           &making->packages, err);
}

/* What a room made goes to the results, where no room comes. */
static tc_status take(struct tc_making *making, const char *work, const char *made,
                      const char *name, struct tc_error *err)
{
    TC_AUTO_FREE char *path = NULL;
    if (asprintf(&path, "%s/%s", making->results, name) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    return tc_making_take(making, work, made, RESULT_MAX, path, NULL, err);
}

/* SCRIPT.out/packages.json, to where "spdx" reads it. */
static tc_status take_list(struct tc_making *making, const char *work, const char *out,
                           struct tc_error *err)
{
    TC_AUTO_FREE char *folder = NULL, *made = NULL, *path = NULL;
    if (asprintf(&folder, "%s/%s", making->lists, out) < 0 ||
        asprintf(&path, "%s/packages.json", folder) < 0 ||
        asprintf(&made, "%s/packages.json", out) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    if (mkdir(folder, 0755) != 0 || chmod(folder, 0755) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot make %s", folder);
    return tc_making_take(making, work, made, RESULT_MAX, path, NULL, err);
}

/* The same for every recipe: nothing of one is in these rooms. */
static tc_status make_ramdisk(struct tc_making *making, struct tc_error *err)
{
    TC_AUTO_FREE char *work = NULL;
    TC_TRY(tc_making_builder(making, "worker", &making->builder_root, err));
    TC_TRY(tc_workfolder_add(&making->folder, "worker-work", making->owner, &work, err));
    struct tc_step step = {
        .script = "worker", .root = making->builder_root, .source = making->source, .work = work};
    TC_TRY(tc_making_script(making, &step, err));
    step.script = "ramdisk";
    TC_TRY(tc_making_script(making, &step, err));
    TC_TRY(take(making, work, "ramdisk.out/ramdisk", "ramdisk", err));
    TC_TRY(take_list(making, work, "worker.out", err));
    return take_list(making, work, "ramdisk.out", err);
}

/* Runs the recipe's own code, and that of its packages, as the room's root: whatever is
 * in this room is theirs from then on, and so the room has nothing that another sees. */
static tc_status make_root(struct tc_making *making, struct tc_error *err)
{
    static const char *const paths[] = {"images/builder", NULL};
    const char *const arguments[] = {"--script", making->recipe.script, NULL};
    TC_AUTO_FREE char *root = NULL, *source = NULL;
    TC_TRY(tc_making_builder(making, "toolchain", &root, err));
    TC_TRY(tc_making_source(making, "toolchain-source", paths, &source, err));
    const struct tc_step step = {.script = making->wanted->rootfs ? "rootfs" : "root",
                                 .root = root,
                                 .source = source,
                                 .work = making->root_work,
                                 .recipe = true,
                                 .arguments = making->recipe.script ? arguments : NULL};
    TC_TRY(tc_making_script(making, &step, err));
    TC_TRY(take(making, making->root_work, "root.out/root.verity", "root.verity", err));
    TC_TRY(take_list(making, making->root_work, "root.out", err));
    if (!making->wanted->rootfs) return TC_OK;
    TC_TRY(tc_making_name_rootfs(making, err));
    return take_digest(making, err);
}

/* Reads what a recipe may have written, in a root that it has not seen: the one that made
 * the ramdisk, which has been taken out by now. Nothing is made in it after this. */
static tc_status make_list(struct tc_making *making, struct tc_error *err)
{
    const char *const arguments[] = {making->recipe.name, making->wanted->kernel ? NULL : "kernel",
                                     NULL};
    const struct tc_step step = {.script = "spdx",
                                 .root = making->builder_root,
                                 .source = making->source,
                                 .work = making->lists,
                                 .arguments = arguments};
    TC_TRY(tc_making_script(making, &step, err));
    return take(making, making->lists, "spdx.out/image.spdx.json", "image.spdx.json", err);
}

static tc_status make(struct tc_making *making, struct tc_image_built *built, struct tc_error *err)
{
    TC_TRY(prepare(making, err));
    TC_TRY(stage(making, err));
    TC_TRY(making->wanted->rootfs ? tc_making_bring_rootfs(making, err)
                                  : bring_packages(making, err));
    if (!making->wanted->kernel) TC_TRY(tc_making_kernel(making, err));
    TC_TRY(make_ramdisk(making, err));
    TC_TRY(make_root(making, err));
    TC_TRY(make_list(making, err));
    return tc_making_write(making, built, err);
}

/* Tools of other people say that a disk is full in many ways, and some not at all. */
static tc_status blame_disk(const struct tc_making *making, struct tc_error *err)
{
    enum { ENOUGH = 16 << 20 };
    struct statvfs disk;
    char left[16];
    if (making->folder.path == NULL || statvfs(making->folder.path, &disk) != 0) return TC_BUILD;
    uint64_t bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    if (bytes >= ENOUGH && (disk.f_files == 0 || disk.f_favail > 0)) return TC_BUILD;
    return tc_fail(err, TC_UNAVAILABLE,
                   "the disk of %s is full (%s and %llu files are left): an image needs some 4 GB "
                   "there; make room, or set XDG_CACHE_HOME to a place that has it",
                   making->folder.path, tc_human_size(bytes, left),
                   (unsigned long long)disk.f_favail);
}

tc_status tc_image_build(const struct tc_image_build *wanted, struct tc_image_built *ret_built,
                         struct tc_error *err)
{
    struct tc_making making TC_CLEANUP(making_done) = {
        .wanted = wanted, .folder = TC_WORKFOLDER_NONE, .log_fd = -1};
    TC_AUTO_IMAGE_BUILT struct tc_image_built built = {0};
    TC_AUTO_FREE char *stem = NULL;
    TC_TRY(tc_making_stem(wanted->output, &stem, err));
    TC_TRY(tc_making_check_outputs(&making, stem, err));
    tc_status status = make(&making, &built, err);
    if (status == TC_BUILD) status = blame_disk(&making, err);
    if (status == TC_BUILD) tc_making_keep_log(&making, err);
    if (status == TC_INTERRUPTED && making.folder.path)
        tc_making_say(&making, "interrupted: clearing %s away", making.folder.path);
    if (status != TC_OK) return status;
    *ret_built = built;
    built = (struct tc_image_built){0};
    return TC_OK;
}
