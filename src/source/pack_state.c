/* Does a git work tree say what its commit says? Compared by libgit2, which
 * applies no filter but its own line-end conversion and runs nothing. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "source/pack_private.h"

enum { NAMED_MAX = 5 };

static const unsigned changed = GIT_STATUS_INDEX_NEW | GIT_STATUS_INDEX_MODIFIED |
                                GIT_STATUS_INDEX_DELETED | GIT_STATUS_INDEX_RENAMED |
                                GIT_STATUS_INDEX_TYPECHANGE | GIT_STATUS_WT_MODIFIED |
                                GIT_STATUS_WT_DELETED | GIT_STATUS_WT_TYPECHANGE |
                                GIT_STATUS_WT_RENAMED | GIT_STATUS_WT_UNREADABLE |
                                GIT_STATUS_CONFLICTED;

static tc_status list_status(struct tc_pack *pack, unsigned flags, git_status_list **ret_list,
                             struct tc_error *err)
{
    git_status_options options = GIT_STATUS_OPTIONS_INIT;
    options.show = GIT_STATUS_SHOW_INDEX_AND_WORKDIR;
    options.flags = flags;
    if (git_status_list_new(ret_list, pack->repository, &options) != 0)
        return tc_git_fail(TC_SYSTEM, err, "cannot compare the work tree of %s with its commit",
                           pack->folder);
    return TC_OK;
}

static const char *path_of(const git_status_entry *entry)
{
    const git_diff_delta *delta = entry->index_to_workdir ? entry->index_to_workdir
                                                          : entry->head_to_index;
    return delta->new_file.path ? delta->new_file.path : delta->old_file.path;
}

static bool digest_of(struct tc_pack *pack, const char *path, struct tc_sha256 *ret_digest)
{
    TC_AUTO_CLOSE int fd = openat(pack->folder_fd, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    TC_AUTO_HASH struct tc_hash *sha256 = tc_hash_new(TC_HASH_SHA256);
    struct tc_error ignored = {0};
    uint8_t bytes[16384];
    ssize_t got;
    if (fd < 0 || !sha256) return false;
    while ((got = read(fd, bytes, sizeof bytes)) > 0)
        tc_hash_add(sha256, bytes, (size_t)got);
    return got == 0 &&
           tc_hash_finish(sha256, ret_digest->bytes, sizeof ret_digest->bytes, &ignored) == TC_OK;
}

/* A file that git LFS put in place of its pointer looks changed to whoever does
 * not run its filter. It is clean when it is what the pointer names. */
static bool is_lfs_content(struct tc_pack *pack, const git_status_entry *entry)
{
    if (entry->status != GIT_STATUS_WT_MODIFIED || !entry->index_to_workdir) return false;
    git_blob *blob = NULL;
    if (git_blob_lookup(&blob, pack->repository, &entry->index_to_workdir->old_file.id) != 0)
        return false;
    struct tc_span bytes = {git_blob_rawcontent(blob), (size_t)git_blob_rawsize(blob)};
    struct tc_git_lfs lfs;
    struct tc_sha256 seen;
    struct tc_error ignored = {0};
    bool same = tc_git_is_lfs_pointer(bytes) && tc_git_lfs_read(bytes, &lfs, &ignored) == TC_OK &&
                digest_of(pack, path_of(entry), &seen) &&
                memcmp(seen.bytes, lfs.oid.bytes, sizeof seen.bytes) == 0;
    git_blob_free(blob);
    return same;
}

tc_status tc_pack_look(struct tc_pack *pack, char *names, size_t names_size, struct tc_error *err)
{
    git_status_list *list = NULL;
    TC_TRY(list_status(pack, GIT_STATUS_OPT_INCLUDE_UNTRACKED | GIT_STATUS_OPT_NO_REFRESH, &list, err));
    size_t used = 0, named = 0;
    for (size_t i = 0; i < git_status_list_entrycount(list); i++) {
        const git_status_entry *entry = git_status_byindex(list, i);
        if (entry->status == GIT_STATUS_WT_NEW) pack->untracked++;
        if (!(entry->status & changed) || is_lfs_content(pack, entry)) continue;
        pack->dirty = true;
        if (++named > NAMED_MAX) continue;
        char shown[128];
        int size = snprintf(names + used, names_size - used, "%s%s", used > 0 ? ", " : "",
                            tc_printable(tc_span_of_text(path_of(entry)), shown, sizeof shown));
        if (size > 0 && (size_t)size < names_size - used) used += (size_t)size;
    }
    if (named > NAMED_MAX)
        (void)snprintf(names + used, names_size - used, " and %zu more", named - NAMED_MAX);
    git_status_list_free(list);
    return TC_OK;
}

/* --- the files of a changed work tree --- */

struct list {
    char **paths;
    size_t count, room;
};

static tc_status add(struct list *list, const char *path, struct tc_error *err)
{
    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 256;
        char **grown = reallocarray(list->paths, room, sizeof *grown);
        if (!grown) return tc_fail(err, TC_SYSTEM, "out of memory");
        list->paths = grown;
        list->room = room;
    }
    list->paths[list->count] = strdup(path);
    if (!list->paths[list->count]) return tc_fail(err, TC_SYSTEM, "out of memory");
    list->count++;
    return TC_OK;
}

tc_status tc_pack_list(struct tc_pack *pack, char ***ret_paths, size_t *ret_count,
                       struct tc_error *err)
{
    git_status_list *status_list = NULL;
    struct list list = {0};
    TC_TRY(list_status(pack,
                       GIT_STATUS_OPT_INCLUDE_UNTRACKED | GIT_STATUS_OPT_RECURSE_UNTRACKED_DIRS |
                           GIT_STATUS_OPT_INCLUDE_UNMODIFIED | GIT_STATUS_OPT_NO_REFRESH,
                       &status_list, err));
    tc_status status = TC_OK;
    for (size_t i = 0; status == TC_OK && i < git_status_list_entrycount(status_list); i++) {
        const git_status_entry *entry = git_status_byindex(status_list, i);
        if (!(entry->status & GIT_STATUS_WT_DELETED)) status = add(&list, path_of(entry), err);
    }
    git_status_list_free(status_list);
    if (status != TC_OK) {
        for (size_t i = 0; i < list.count; i++)
            free(list.paths[i]);
        free(list.paths);
        return status;
    }
    *ret_paths = list.paths;
    *ret_count = list.count;
    return TC_OK;
}
