/* Putting images in and taking them out. A folder is filled under a name that
 * nothing reads and gets its own by one rename, under the store's lock. Who fills
 * one holds a lock on it, which the kernel drops when that process dies: a folder
 * without is a dead command's and whoever changes the store next takes it away. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "host/imagestore_internal.h"
#include "os/files.h"
#include "os/tempfile.h"

enum { PARTS = 3, RANDOM = 8, PART_NAME_SIZE = sizeof TC_STORE_PART + 2 * RANDOM };

static const char *const part_names[PARTS] = {
    [TC_IMAGESTAGE_EIF] = TC_STORE_EIF,
    [TC_IMAGESTAGE_ROOT] = TC_STORE_ROOT,
    [TC_IMAGESTAGE_SBOM] = TC_STORE_SBOM,
};

struct tc_imagestage {
    struct tc_imagestore *store;
    char name[PART_NAME_SIZE];
    int folder; /* flocked; -1 once it is committed */
    int parts[PARTS];
};

/* --- folders --- */

static tc_status make_store(struct tc_imagestore *store, struct tc_error *err)
{
    if (store->fd >= 0) return TC_OK;
    TC_AUTO_FREE char *path = strdup(store->folder);
    if (!path) return tc_fail(err, TC_SYSTEM, "out of memory for a path");
    for (char *slash = strchr(path + (*path == '/'), '/');; slash = strchr(slash + 1, '/')) {
        if (slash) *slash = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            return tc_fail_errno(err, TC_UNAVAILABLE, errno,
                                 "cannot make %s for the image store; set XDG_DATA_HOME to a place "
                                 "that can be written",
                                 path);
        if (!slash) break;
        *slash = '/';
    }
    TC_AUTO_CLOSE int fd = open(store->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open the image store %s",
                             store->folder);
    TC_TRY(tc_imagefile_check_owner(fd, store->folder, err));
    store->fd = TC_TAKE_FD(fd);
    return TC_OK;
}

/* A known name is unlinked, whatever it is; an unknown one stays, and the folder
 * with it. */
static void remove_folder(int store_fd, const char *name)
{
    TC_AUTO_CLOSE int fd = openat(store_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    for (size_t i = 0; fd >= 0 && i < PARTS; i++)
        (void)unlinkat(fd, part_names[i], 0);
    (void)unlinkat(store_fd, name, fd < 0 ? 0 : AT_REMOVEDIR);
}

/* What is no folder was never one of those; opening a FIFO would wait. */
static bool is_abandoned(int store_fd, const char *name)
{
    TC_AUTO_CLOSE int fd = openat(store_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return errno == ENOTDIR;
    return flock(fd, LOCK_EX | LOCK_NB) == 0;
}

/* Under the lock. */
static void sweep(int store_fd)
{
    int fd = openat(store_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);
    if (!folder) {
        if (fd >= 0) (void)close(fd);
        return;
    }
    for (const struct dirent *entry; (entry = readdir(folder));)
        if (strncmp(entry->d_name, TC_STORE_PART, strlen(TC_STORE_PART)) == 0 &&
            is_abandoned(store_fd, entry->d_name))
            remove_folder(store_fd, entry->d_name);
    (void)closedir(folder);
}

static tc_status take_lock(const struct tc_imagestore *store, int *ret_fd, struct tc_error *err)
{
    TC_AUTO_CLOSE int fd =
        openat(store->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open %s/lock", store->folder);
    while (flock(fd, LOCK_EX) != 0)
        if (errno != EINTR)
            return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot lock %s", store->folder);
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}

static tc_status new_part_name(char out[PART_NAME_SIZE], struct tc_error *err)
{
    uint8_t random[RANDOM];
    char hex[2 * RANDOM + 1];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return tc_fail_errno(err, TC_SYSTEM, errno, "no random bytes");
    tc_hex((struct tc_span){random, sizeof random}, hex);
    (void)snprintf(out, PART_NAME_SIZE, TC_STORE_PART "%s", hex);
    return TC_OK;
}

/* --- in --- */

tc_status tc_imagestage_open(struct tc_imagestore *store, struct tc_imagestage **ret_stage,
                             struct tc_error *err)
{
    TC_AUTO_CLOSE int lock = -1;
    TC_TRY(make_store(store, err));
    TC_AUTO_IMAGESTAGE struct tc_imagestage *stage = calloc(1, sizeof *stage);
    if (!stage) return tc_fail(err, TC_SYSTEM, "out of memory for an image");
    stage->store = store;
    stage->folder = -1;
    for (size_t i = 0; i < PARTS; i++)
        stage->parts[i] = -1;
    TC_TRY(take_lock(store, &lock, err));
    sweep(store->fd);
    TC_TRY(new_part_name(stage->name, err));
    if (mkdirat(store->fd, stage->name, 0700) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot write to %s", store->folder);
    stage->folder = openat(store->fd, stage->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (stage->folder < 0 || flock(stage->folder, LOCK_EX | LOCK_NB) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot lock %s/%s", store->folder,
                             stage->name);
    *ret_stage = TC_TAKE(stage);
    return TC_OK;
}

void tc_imagestage_free(struct tc_imagestage *stage)
{
    if (!stage) return;
    for (size_t i = 0; i < PARTS; i++)
        tc_close_ptr(&stage->parts[i]);
    if (stage->folder >= 0) remove_folder(stage->store->fd, stage->name);
    tc_close_ptr(&stage->folder);
    free(stage);
}

void tc_imagestage_free_ptr(struct tc_imagestage **stage)
{
    tc_imagestage_free(*stage);
    *stage = NULL;
}

tc_status tc_imagestage_file(struct tc_imagestage *stage, enum tc_imagestage_part part, int *ret_fd,
                             struct tc_error *err)
{
    tc_close_ptr(&stage->parts[part]);
    (void)unlinkat(stage->folder, part_names[part], 0);
    int fd = openat(stage->folder, part_names[part],
                    O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot write to %s",
                             stage->store->folder);
    stage->parts[part] = *ret_fd = fd;
    return TC_OK;
}

tc_status tc_imagestage_drop(struct tc_imagestage *stage, enum tc_imagestage_part part,
                             struct tc_error *err)
{
    tc_close_ptr(&stage->parts[part]);
    if (unlinkat(stage->folder, part_names[part], 0) != 0 && errno != ENOENT)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot write to %s",
                             stage->store->folder);
    return TC_OK;
}

tc_status tc_imagestage_read(struct tc_imagestage *stage, const char *what,
                             struct tc_imagefile *ret_image, struct tc_error *err)
{
    return tc_imagefile_read(stage->parts[TC_IMAGESTAGE_EIF], what, ret_image, err);
}

tc_status tc_imagestage_add_root(struct tc_imagestage *stage, const char *what,
                                 struct tc_imagefile *image, struct tc_error *err)
{
    return tc_imagefile_add_root(image, stage->parts[TC_IMAGESTAGE_ROOT], what, err);
}

static tc_status write_name(const struct tc_imagestore *store, const char *name, const char *hex,
                            struct tc_error *err)
{
    char path[PATH_MAX], line[TC_SHA384_HEX + 1];
    TC_AUTO_CLOSE int names = -1;
    TC_AUTO_TEMPFILE struct tc_tempfile file = TC_TEMPFILE_NONE;
    (void)snprintf(path, sizeof path, "%s/" TC_STORE_NAMES "/%s", store->folder, name);
    int size = snprintf(line, sizeof line, "%s\n", hex);
    if (mkdirat(store->fd, TC_STORE_NAMES, 0700) != 0 && errno != EEXIST)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot write to %s", store->folder);
    TC_TRY(tc_imagestore_subfolder(store, TC_STORE_NAMES, &names, err));
    struct stat there;
    if (fstatat(names, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(there.st_mode))
        (void)unlinkat(names, name, 0); /* what it cannot replace is told by the next step */
    TC_TRY(tc_tempfile_open(path, &file, err));
    /* Whatever the umask is, nobody else may write it. */
    if (fchmod(file.fd, 0600) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot set the mode of %s", path);
    TC_TRY(tc_write_all(file.fd, (struct tc_span){(const uint8_t *)line, (size_t)size}, path, err));
    return tc_tempfile_commit(&file, err);
}

/* Under the lock. The folder that was there, if any, goes first to a name that
 * nothing reads. */
static tc_status move_away(const struct tc_imagestore *store, const char *hex, struct tc_error *err)
{
    char away[PART_NAME_SIZE];
    TC_TRY(new_part_name(away, err));
    if (renameat(store->fd, hex, store->fd, away) == 0)
        remove_folder(store->fd, away);
    else if (errno != ENOENT)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot take away %s/%s", store->folder,
                             hex);
    return TC_OK;
}

/* Under the lock. At no moment is there no image of that PCR0, if there was one; where the
 * file system cannot exchange two names there is one such moment. */
static tc_status take_place(const struct tc_imagestore *store, const char *part, const char *hex,
                            struct tc_error *err)
{
    bool exchanged = renameat2(store->fd, part, store->fd, hex, RENAME_EXCHANGE) == 0;
    if (!exchanged) {
        TC_TRY(move_away(store, hex, err));
        if (renameat(store->fd, part, store->fd, hex) != 0)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot store the image in %s",
                                 store->folder);
    }
    if (fsync(store->fd) != 0)
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot store the image in %s", store->folder);
    if (exchanged) remove_folder(store->fd, part);
    return TC_OK;
}

tc_status tc_imagestage_commit(struct tc_imagestage *stage, const struct tc_imagefile *image,
                               struct tc_error *err)
{
    const struct tc_imagestore *store = stage->store;
    char hex[TC_SHA384_HEX];
    TC_AUTO_CLOSE int lock = -1;
    if (stage->parts[TC_IMAGESTAGE_EIF] < 0 || image->root_fd < 0 ||
        image->content.self_contained != (stage->parts[TC_IMAGESTAGE_ROOT] < 0))
        return tc_fail(err, TC_USAGE, "the image is not complete");
    for (size_t i = 0; i < PARTS; i++)
        if (stage->parts[i] >= 0 && fsync(stage->parts[i]) != 0)
            return tc_fail_errno(err, TC_SYSTEM, errno, "cannot write to %s", store->folder);
    tc_hex((struct tc_span){image->pcr[0].bytes, sizeof image->pcr[0].bytes}, hex);
    TC_TRY(take_lock(store, &lock, err));
    TC_TRY(take_place(store, stage->name, hex, err));
    tc_close_ptr(&stage->folder);
    return write_name(store, image->content.text.name, hex, err);
}

/* --- out --- */

/* The one of a name that was put in last. */
static const struct tc_stored_image *latest(const struct tc_imagestore *store,
                                            const struct tc_stored_list *list, const char *name)
{
    const struct tc_stored_image *found = NULL;
    struct timespec at = {0};
    for (size_t i = 0; i < list->count; i++) {
        const struct tc_stored_image *image = &list->images[i];
        char hex[TC_SHA384_HEX];
        struct stat info;
        tc_hex((struct tc_span){image->pcr0.bytes, sizeof image->pcr0.bytes}, hex);
        if (!image->good || strcmp(image->name, name) != 0 ||
            fstatat(store->fd, hex, &info, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        bool later = info.st_mtim.tv_sec > at.tv_sec ||
                     (info.st_mtim.tv_sec == at.tv_sec && info.st_mtim.tv_nsec > at.tv_nsec);
        if (found && !later) continue;
        found = image;
        at = info.st_mtim;
    }
    return found;
}

/* Names are found by what they hold, not by what the image says: it may be damaged.
 * A name that cannot be read stood for nothing: it is set right where that is
 * possible, and does not stop anything. */
static tc_status update_name(const struct tc_imagestore *store, const char *name,
                             const struct tc_sha384 *gone, struct tc_error *err)
{
    TC_AUTO_STORED struct tc_stored_list list = {0};
    TC_AUTO_CLOSE int names = -1;
    struct tc_sha384 pcr0;
    bool found = false;
    if (!tc_image_text_name_is_good(name)) return TC_OK;
    struct tc_error problem = {0};
    tc_status status = tc_imagestore_read_name(store, name, &found, &pcr0, &problem);
    bool junk = status != TC_OK;
    if (!junk && (!found || memcmp(pcr0.bytes, gone->bytes, sizeof pcr0.bytes) != 0)) return TC_OK;
    TC_TRY(tc_imagestore_list(store, &list, err));
    const struct tc_stored_image *left = latest(store, &list, name);
    if (left) {
        char hex[TC_SHA384_HEX];
        tc_hex((struct tc_span){left->pcr0.bytes, sizeof left->pcr0.bytes}, hex);
        status = write_name(store, name, hex, junk ? &problem : err);
        return junk ? TC_OK : status;
    }
    TC_TRY(tc_imagestore_subfolder(store, TC_STORE_NAMES, &names, err));
    if (names >= 0 && unlinkat(names, name, 0) != 0 && errno != ENOENT && !junk)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot take the name %s away", name);
    return TC_OK;
}

static void close_dir(DIR **folder)
{
    if (*folder) (void)closedir(*folder);
}

static tc_status update_names(const struct tc_imagestore *store, const struct tc_sha384 *gone,
                              struct tc_error *err)
{
    int fd = -1;
    TC_TRY(tc_imagestore_subfolder(store, TC_STORE_NAMES, &fd, err));
    if (fd < 0) return TC_OK;
    DIR *folder TC_CLEANUP(close_dir) = fdopendir(fd);
    if (!folder) {
        (void)close(fd);
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot list the names of images");
    }
    for (const struct dirent *entry; (entry = readdir(folder));)
        TC_TRY(update_name(store, entry->d_name, gone, err));
    return TC_OK;
}

tc_status tc_imagestore_remove(struct tc_imagestore *store, const struct tc_sha384 *pcr0,
                               struct tc_error *err)
{
    char hex[TC_SHA384_HEX];
    TC_AUTO_CLOSE int lock = -1;
    if (store->fd < 0) return tc_fail(err, TC_UNAVAILABLE, "there is no image store yet");
    tc_hex((struct tc_span){pcr0->bytes, sizeof pcr0->bytes}, hex);
    TC_TRY(take_lock(store, &lock, err));
    sweep(store->fd);
    TC_TRY(move_away(store, hex, err));
    return update_names(store, pcr0, err);
}
