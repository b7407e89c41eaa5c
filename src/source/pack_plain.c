/* A folder's files as they lie there: all of them, or those of a changed git work
 * tree. Names are gathered first and sorted into the order of entry.h; contents
 * stream. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "source/pack_private.h"

struct item {
    char *path;
    enum tc_entry_kind kind;
};

struct items {
    struct item *list;
    size_t count, room;
};

static void free_items(struct items *items)
{
    for (size_t i = 0; i < items->count; i++)
        free(items->list[i].path);
    free(items->list);
}

static tc_status refuse(const char *path, const char *why, struct tc_error *err)
{
    char shown[512];
    return tc_fail(err, TC_USAGE, "%s %s", tc_printable(tc_span_of_text(path), shown, sizeof shown),
                   why);
}

static tc_status add(struct items *items, const char *path, enum tc_entry_kind kind,
                     struct tc_error *err)
{
    if (items->count >= TC_MANIFEST_ENTRIES_MAX)
        return tc_fail(err, TC_LIMIT, "the source has more than %d files", TC_MANIFEST_ENTRIES_MAX);
    if (items->count == items->room) {
        size_t room = items->room ? 2 * items->room : 256;
        struct item *grown = reallocarray(items->list, room, sizeof *grown);
        if (!grown) return tc_fail(err, TC_SYSTEM, "out of memory");
        items->list = grown;
        items->room = room;
    }
    struct item *item = &items->list[items->count];
    item->kind = kind;
    item->path = strdup(path);
    if (!item->path) return tc_fail(err, TC_SYSTEM, "out of memory");
    items->count++;
    return TC_OK;
}

static int by_order(const void *a, const void *b)
{
    const struct item *x = a, *y = b;
    struct tc_entry left = {.kind = x->kind, .path = tc_span_of_text(x->path)};
    struct tc_entry right = {.kind = y->kind, .path = tc_span_of_text(y->path)};
    return tc_entry_compare(&left, &right);
}

/* The output of this very build, or of an earlier one, is no source. */
static bool is_ignored(const struct tc_pack *pack, const char *path)
{
    TC_AUTO_FREE char *absolute = NULL;
    if (!pack->ignore || asprintf(&absolute, "%s/%s", pack->folder, path) < 0) return false;
    for (const char *const *ignored = pack->ignore; *ignored; ignored++)
        if (strcmp(*ignored, absolute) == 0) return true;
    return false;
}

/* --- gathering --- */

static tc_status gather(const struct tc_pack *pack, int folder, const char *path, struct items *items,
                        struct tc_error *err);

static tc_status gather_name(const struct tc_pack *pack, int folder, const char *parent,
                             const char *name, struct items *items, struct tc_error *err)
{
    TC_AUTO_FREE char *path = NULL;
    struct stat info;
    if (asprintf(&path, "%s%s%s", parent, *parent ? "/" : "", name) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    if (is_ignored(pack, path)) return TC_OK;
    if (!tc_path_is_safe(tc_span_of_text(path))) return refuse(path, "has too long or too deep a path", err);
    if (tc_path_has_dotgit(tc_span_of_text(name)))
        return refuse(path, "is git's own folder: build that repository, or leave it out", err);
    if (fstatat(folder, name, &info, AT_SYMLINK_NOFOLLOW) != 0)
        return tc_fail_errno(err, TC_USAGE, errno, "cannot look at %s", path);
    if (S_ISREG(info.st_mode)) return add(items, path, TC_ENTRY_FILE, err);
    if (S_ISLNK(info.st_mode)) return add(items, path, TC_ENTRY_SYMLINK, err);
    if (!S_ISDIR(info.st_mode))
        return refuse(path, "is a device, FIFO or socket, which no source can hold", err);
    int child = openat(folder, name, O_DIRECTORY | O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (child < 0) return tc_fail_errno(err, TC_USAGE, errno, "cannot open %s", path);
    return gather(pack, child, path, items, err);
}

/* Takes ownership of folder. */
static tc_status gather(const struct tc_pack *pack, int folder, const char *path, struct items *items,
                        struct tc_error *err)
{
    DIR *listing = fdopendir(folder);
    if (!listing) {
        (void)close(folder);
        return tc_fail(err, TC_SYSTEM, "out of memory");
    }
    bool at_top = *path == '\0', empty = true;
    tc_status status = TC_OK;
    const struct dirent *entry;
    while (status == TC_OK && (entry = readdir(listing))) {
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) continue;
        if (at_top && strcmp(name, ".git") == 0) continue;
        empty = false;
        status = gather_name(pack, folder, path, name, items, err);
    }
    (void)closedir(listing);
    if (status == TC_OK && empty && !at_top) return add(items, path, TC_ENTRY_FOLDER, err);
    return status;
}

/* A changed git work tree: what git tracks or would offer to track. */
static tc_status gather_listed(struct tc_pack *pack, struct items *items, struct tc_error *err)
{
    char **paths;
    size_t count;
    TC_TRY(tc_pack_list(pack, &paths, &count, err));
    tc_status status = TC_OK;
    for (size_t i = 0; i < count; i++) {
        struct stat info;
        if (status == TC_OK && !is_ignored(pack, paths[i])) {
            if (fstatat(pack->folder_fd, paths[i], &info, AT_SYMLINK_NOFOLLOW) != 0)
                status = tc_fail_errno(err, TC_USAGE, errno, "cannot look at %s", paths[i]);
            else if (S_ISREG(info.st_mode))
                status = add(items, paths[i], TC_ENTRY_FILE, err);
            else if (S_ISLNK(info.st_mode))
                status = add(items, paths[i], TC_ENTRY_SYMLINK, err);
            else
                status = refuse(paths[i],
                                "is neither file nor symlink (a changed tree with submodules cannot "
                                "be packed: commit it)",
                                err);
        }
        free(paths[i]);
    }
    free(paths);
    return status;
}

/* --- sending --- */

static tc_status send_file(struct tc_pack *pack, struct tc_packing *packing, const char *path,
                           struct tc_error *err)
{
    struct stat info;
    TC_AUTO_CLOSE int fd = openat(pack->folder_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) != 0) return tc_fail_errno(err, TC_USAGE, errno, "cannot read %s", path);
    if (!S_ISREG(info.st_mode)) return refuse(path, "changed while it was read", err);
    struct tc_entry entry = {.kind = TC_ENTRY_FILE,
                             .executable = (info.st_mode & S_IXUSR) != 0,
                             .size = (uint64_t)info.st_size,
                             .path = tc_span_of_text(path)};
    TC_TRY(tc_packing_entry(packing, &entry, err));
    tc_hash_restart(packing->sha256);
    uint8_t bytes[TC_WIRE_DATA_MAX];
    for (uint64_t left = entry.size; left > 0;) {
        ssize_t got = read(fd, bytes, left < sizeof bytes ? left : sizeof bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return refuse(path, "became shorter while it was read", err);
        tc_hash_add(packing->sha256, bytes, (size_t)got);
        TC_TRY(tc_packing_data(packing, (struct tc_span){bytes, (size_t)got}, err));
        left -= (uint64_t)got;
    }
    if (read(fd, bytes, 1) != 0) return refuse(path, "became longer while it was read", err);
    struct tc_sha256 content;
    TC_TRY(tc_hash_finish(packing->sha256, content.bytes, sizeof content.bytes, err));
    return tc_manifest_add(packing->manifest, &entry, &content, err);
}

static tc_status send_symlink(struct tc_pack *pack, struct tc_packing *packing, const char *path,
                              struct tc_error *err)
{
    uint8_t target[TC_PATH_MAX + 1];
    ssize_t size = readlinkat(pack->folder_fd, path, (char *)target, sizeof target);
    if (size <= 0 || size > TC_PATH_MAX)
        return refuse(path, "is a symlink that cannot be read, or with too long a target", err);
    struct tc_entry entry = {.kind = TC_ENTRY_SYMLINK,
                             .path = tc_span_of_text(path),
                             .target = {target, (size_t)size}};
    TC_TRY(tc_packing_entry(packing, &entry, err));
    return tc_manifest_add(packing->manifest, &entry, NULL, err);
}

static tc_status send_item(struct tc_pack *pack, struct tc_packing *packing, const struct item *item,
                           struct tc_error *err)
{
    if (item->kind == TC_ENTRY_FILE) return send_file(pack, packing, item->path, err);
    if (item->kind == TC_ENTRY_SYMLINK) return send_symlink(pack, packing, item->path, err);
    struct tc_entry entry = {.kind = TC_ENTRY_FOLDER, .path = tc_span_of_text(item->path)};
    TC_TRY(tc_packing_entry(packing, &entry, err));
    return tc_manifest_add(packing->manifest, &entry, NULL, err);
}

tc_status tc_pack_send_plain(struct tc_pack *pack, struct tc_packing *packing, struct tc_error *err)
{
    __attribute__((cleanup(free_items))) struct items items = {0};
    if (pack->is_git) {
        TC_TRY(gather_listed(pack, &items, err));
    } else {
        int top = openat(pack->folder_fd, ".", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        if (top < 0) return tc_fail_errno(err, TC_USAGE, errno, "cannot open %s", pack->folder);
        TC_TRY(gather(pack, top, "", &items, err));
    }
    if (items.count > 0) qsort(items.list, items.count, sizeof *items.list, by_order);
    for (size_t i = 0; i < items.count; i++)
        TC_TRY(send_item(pack, packing, &items.list[i], err));
    return TC_OK;
}
