/* Opening the store and what is in it. */
#include "host/imagestore.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "host/devattest.h"
#include "host/imagestore_internal.h"
#include "os/readfile.h"

enum { PCR0_DIGITS = TC_SHA384_HEX - 1, STORED_MAX = 4096 };

tc_status tc_imagestore_folder(char **ret_path, struct tc_error *err)
{
    TC_AUTO_FREE char *data = NULL;
    char *path;
    TC_TRY(tc_devroot_folder(&data, err));
    if (asprintf(&path, "%s/images", data) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory for a path");
    *ret_path = path;
    return TC_OK;
}

static tc_status open_folder(struct tc_imagestore *store, const char *folder, struct tc_error *err)
{
    store->folder = strdup(folder);
    if (!store->folder) return tc_fail(err, TC_SYSTEM, "out of memory for the image store");
    store->fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store->fd < 0 && errno != ENOENT)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open the image store %s", folder);
    return store->fd < 0 ? TC_OK : tc_imagefile_check_owner(store->fd, folder, err);
}

tc_status tc_imagestore_open(const char *folder, struct tc_imagestore **ret_store,
                             struct tc_error *err)
{
    struct tc_imagestore *store = calloc(1, sizeof *store);
    if (!store) return tc_fail(err, TC_SYSTEM, "out of memory for the image store");
    store->fd = -1;
    tc_status status = open_folder(store, folder, err);
    if (status == TC_OK)
        *ret_store = store;
    else
        tc_imagestore_free(store);
    return status;
}

void tc_imagestore_free(struct tc_imagestore *store)
{
    if (!store) return;
    tc_close_ptr(&store->fd);
    free(store->folder);
    free(store);
}

void tc_imagestore_free_ptr(struct tc_imagestore **store)
{
    tc_imagestore_free(*store);
    *store = NULL;
}

tc_status tc_imagestore_subfolder(const struct tc_imagestore *store, const char *name, int *ret_fd,
                                  struct tc_error *err)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%s", store->folder, name);
    TC_AUTO_CLOSE int fd =
        store->fd < 0 ? -1
                      : openat(store->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (store->fd < 0 || (fd < 0 && errno == ENOENT)) {
        *ret_fd = -1;
        return TC_OK;
    }
    if (fd < 0 && (errno == ENOTDIR || errno == ELOOP))
        return tc_fail(err, TC_REFUSED,
                       "%s is no folder: symlinks are not followed here; take it away", path);
    if (fd < 0) return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open %s", path);
    TC_TRY(tc_imagefile_check_owner(fd, path, err));
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}

/* --- names --- */

tc_status tc_imagestore_read_name(const struct tc_imagestore *store, const char *name,
                                  bool *ret_found, struct tc_sha384 *ret_pcr0, struct tc_error *err)
{
    char path[PATH_MAX], hex[TC_SHA384_HEX] = "";
    TC_AUTO_CLOSE int names = -1;
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(2 * TC_SHA384_HEX);
    (void)snprintf(path, sizeof path, "%s/" TC_STORE_NAMES "/%s", store->folder, name);
    TC_TRY(tc_imagestore_subfolder(store, TC_STORE_NAMES, &names, err));
    bool found = false;
    if (names >= 0) TC_TRY(tc_readfile_if_there(names, name, path, &found, &text, err));
    if (!found) {
        *ret_found = false;
        return TC_OK;
    }
    bool good = text.size == TC_SHA384_HEX && text.data[PCR0_DIGITS] == '\n';
    if (good) memcpy(hex, text.data, PCR0_DIGITS);
    if (!good || !tc_unhex(hex, ret_pcr0->bytes, sizeof ret_pcr0->bytes))
        return tc_fail(err, TC_REFUSED, "%s holds no PCR0: delete it and pull the image again",
                       path);
    *ret_found = true;
    return TC_OK;
}

/* Whatever it is: what is there can be removed. */
static tc_status is_there(const struct tc_imagestore *store, const struct tc_sha384 *pcr0,
                          bool *ret_found, struct tc_error *err)
{
    char hex[TC_SHA384_HEX];
    struct stat info;
    tc_hex((struct tc_span){pcr0->bytes, sizeof pcr0->bytes}, hex);
    bool found = store->fd >= 0 && fstatat(store->fd, hex, &info, AT_SYMLINK_NOFOLLOW) == 0;
    if (!found && store->fd >= 0 && errno != ENOENT)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot look at %s/%s", store->folder,
                             hex);
    *ret_found = found;
    return TC_OK;
}

tc_status tc_imagestore_find(const struct tc_imagestore *store, const char *word, bool *ret_found,
                             struct tc_sha384 *ret_pcr0, struct tc_error *err)
{
    struct tc_sha384 pcr0;
    bool found = true;
    if (!tc_unhex(word, pcr0.bytes, sizeof pcr0.bytes)) {
        char shown[128];
        if (!tc_image_text_name_is_good(word))
            return tc_fail(
                err, TC_USAGE,
                "\"%s\" is neither a PCR0 of %d hex digits nor an image's name: expected "
                "a letter and then any of a-z 0-9 . -, %d in all, but not host and no .eif",
                tc_printable(tc_span_of_text(word), shown, sizeof shown), PCR0_DIGITS,
                TC_IMAGE_TEXT_NAME_MAX);
        TC_TRY(tc_imagestore_read_name(store, word, &found, &pcr0, err));
    }
    if (found) TC_TRY(is_there(store, &pcr0, &found, err));
    *ret_found = found;
    if (found) *ret_pcr0 = pcr0;
    return TC_OK;
}

/* --- one image --- */

static tc_status open_part(int folder, const char *name, const char *path, int *ret_fd,
                           struct tc_error *err)
{
    struct stat info;
    TC_AUTO_CLOSE int fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ELOOP)
        return tc_fail(err, TC_REFUSED, "%s is a symlink: the store has files of its own", path);
    if (fd < 0) return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open %s", path);
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode))
        return tc_fail(err, TC_REFUSED, "%s is no regular file", path);
    TC_TRY(tc_imagefile_check_owner(fd, path, err));
    *ret_fd = TC_TAKE_FD(fd);
    return TC_OK;
}

static void name_advice(const char *hex, char *out, size_t size)
{
    (void)snprintf(out, size, "tee-compile image remove %s, and pull or build it again", hex);
}

/* with_root: the file system too, set; else *ret_root_size, 0 without one. */
static tc_status load(const struct tc_imagestore *store, const struct tc_sha384 *pcr0,
                      bool with_root, struct tc_imagefile *ret_image, uint64_t *ret_root_size,
                      struct tc_error *err)
{
    char hex[TC_SHA384_HEX], eif_path[PATH_MAX], root_path[PATH_MAX];
    TC_AUTO_CLOSE int folder = -1;
    TC_AUTO_CLOSE int eif = -1;
    TC_AUTO_CLOSE int root = -1;
    TC_AUTO_IMAGEFILE struct tc_imagefile image = TC_IMAGEFILE_NONE;
    tc_hex((struct tc_span){pcr0->bytes, sizeof pcr0->bytes}, hex);
    (void)snprintf(eif_path, sizeof eif_path, "%s/%s/" TC_STORE_EIF, store->folder, hex);
    (void)snprintf(root_path, sizeof root_path, "%s/%s/" TC_STORE_ROOT, store->folder, hex);
    TC_TRY(tc_imagestore_subfolder(store, hex, &folder, err));
    if (folder < 0) return tc_fail(err, TC_UNAVAILABLE, "there is no image %s", hex);
    TC_TRY(open_part(folder, TC_STORE_EIF, eif_path, &eif, err));
    TC_TRY(tc_imagefile_read(eif, eif_path, &image, err));
    if (memcmp(image.pcr[0].bytes, pcr0->bytes, sizeof pcr0->bytes) != 0) {
        char seen[TC_SHA384_HEX];
        tc_hex((struct tc_span){image.pcr[0].bytes, sizeof image.pcr[0].bytes}, seen);
        return tc_fail(err, TC_REFUSED, "%s is another image: its PCR0 is %s", eif_path, seen);
    }
    uint64_t root_size = 0;
    if (!image.content.self_contained) {
        struct stat info;
        TC_TRY(open_part(folder, TC_STORE_ROOT, root_path, &root, err));
        if (fstat(root, &info) != 0 || info.st_size < 0 ||
            (uint64_t)info.st_size != tc_imagefile_root_file_size(&image))
            return tc_fail(err, TC_REFUSED,
                           "%s is cut or belongs to another image: expected %llu bytes", root_path,
                           (unsigned long long)tc_imagefile_root_file_size(&image));
        root_size = (uint64_t)info.st_size;
        if (with_root) {
            char advice[TC_SHA384_HEX + 128];
            name_advice(hex, advice, sizeof advice);
            TC_TRY(tc_imagefile_set_root(&image, root, root_path, advice, err));
        }
    }
    *ret_root_size = root_size;
    *ret_image = image;
    image = TC_IMAGEFILE_NONE;
    return TC_OK;
}

tc_status tc_imagestore_load(const struct tc_imagestore *store, const struct tc_sha384 *pcr0,
                             struct tc_imagefile *ret_image, struct tc_error *err)
{
    uint64_t root_size;
    tc_status status = load(store, pcr0, true, ret_image, &root_size, err);
    if (status != TC_REFUSED && status != TC_MALFORMED) return status;
    char hex[TC_SHA384_HEX], advice[TC_SHA384_HEX + 128];
    size_t used = strlen(err->message);
    tc_hex((struct tc_span){pcr0->bytes, sizeof pcr0->bytes}, hex);
    name_advice(hex, advice, sizeof advice);
    (void)snprintf(err->message + used, sizeof err->message - used, "; %s", advice);
    return status;
}

/* --- all of them --- */

void tc_stored_list_free(struct tc_stored_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->images[i].name);
    free(list->images);
    *list = (struct tc_stored_list){0};
}

static tc_status describe(const struct tc_imagestore *store, const struct tc_sha384 *pcr0,
                          struct tc_stored_image *stored, struct tc_error *err)
{
    TC_AUTO_IMAGEFILE struct tc_imagefile image = TC_IMAGEFILE_NONE;
    struct tc_error problem = {0};
    struct tc_sha384 newest;
    struct stat info;
    uint64_t root_size = 0;
    bool named = false;
    stored->pcr0 = *pcr0;
    tc_status status = load(store, pcr0, false, &image, &root_size, &problem);
    /* Put in anew while it was read: the files that are there now are others. */
    if (status != TC_OK) status = load(store, pcr0, false, &image, &root_size, &problem);
    if (status != TC_OK) {
        memcpy(stored->problem, problem.message, sizeof stored->problem);
        return TC_OK;
    }
    /* A name that cannot be read stands for nothing, and is no flaw of the image. */
    if (tc_imagestore_read_name(store, image.content.text.name, &named, &newest, &problem) != TC_OK)
        named = false;
    stored->name = strdup(image.content.text.name);
    if (!stored->name || fstat(image.eif_fd, &info) != 0)
        return tc_fail(err, TC_SYSTEM, "out of memory to list images");
    stored->good = true;
    stored->newest = named && memcmp(newest.bytes, pcr0->bytes, sizeof newest.bytes) == 0;
    stored->self_contained = image.content.self_contained;
    memcpy(stored->pcr, image.pcr, sizeof stored->pcr);
    stored->is_signed = image.is_signed;
    stored->pcr8 = image.pcr8;
    stored->recipe = image.content.text.recipe;
    stored->packages_count = image.content.text.packages_count;
    stored->size = (uint64_t)info.st_size + root_size;
    return TC_OK;
}

static int by_pcr0(const void *a, const void *b)
{
    const struct tc_stored_image *one = a, *other = b;
    return memcmp(one->pcr0.bytes, other->pcr0.bytes, sizeof one->pcr0.bytes);
}

static void close_dir(DIR **folder)
{
    if (*folder) (void)closedir(*folder);
}

static tc_status add_entry(const struct tc_imagestore *store, const char *entry,
                           struct tc_stored_list *list, struct tc_error *err)
{
    struct tc_sha384 pcr0;
    if (strlen(entry) != PCR0_DIGITS || strspn(entry, "0123456789abcdef") != PCR0_DIGITS ||
        !tc_unhex(entry, pcr0.bytes, sizeof pcr0.bytes))
        return TC_OK;
    if (list->count == STORED_MAX)
        return tc_fail(err, TC_LIMIT, "there are more than %d images in %s", STORED_MAX,
                       store->folder);
    struct tc_stored_image *grown =
        reallocarray(list->images, list->count + 1, sizeof *list->images);
    if (!grown) return tc_fail(err, TC_SYSTEM, "out of memory to list images");
    list->images = grown;
    list->images[list->count] = (struct tc_stored_image){0};
    TC_TRY(describe(store, &pcr0, &list->images[list->count++], err));
    struct stat info;
    if (!list->images[list->count - 1].good &&
        fstatat(store->fd, entry, &info, AT_SYMLINK_NOFOLLOW) != 0 && errno == ENOENT)
        list->count--; /* taken away meanwhile; it has no name yet */
    return TC_OK;
}

tc_status tc_imagestore_list(const struct tc_imagestore *store, struct tc_stored_list *ret_list,
                             struct tc_error *err)
{
    TC_AUTO_STORED struct tc_stored_list list = {0};
    /* Opened anew: a duplicate would share its place in the folder. */
    int fd = store->fd < 0 ? -1 : openat(store->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder TC_CLEANUP(close_dir) = fd < 0 ? NULL : fdopendir(fd);
    if (store->fd >= 0 && !folder) {
        if (fd >= 0) (void)close(fd);
        return tc_fail_errno(err, TC_SYSTEM, errno, "cannot list %s", store->folder);
    }
    for (const struct dirent *entry; folder && (entry = readdir(folder));)
        TC_TRY(add_entry(store, entry->d_name, &list, err));
    if (list.count > 1) qsort(list.images, list.count, sizeof *list.images, by_pcr0);
    *ret_list = list;
    list = (struct tc_stored_list){0};
    return TC_OK;
}
