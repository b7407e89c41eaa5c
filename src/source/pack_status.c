/* Does the work tree differ from HEAD? Index against HEAD and work tree against
 * index by libgit2, which applies its own line-ending and ident filters where
 * attributes say so and knows no way to run a program: fsmonitor, hooks and
 * filter drivers of the configuration stay words. A file of git LFS, whose filter
 * is such a program, differs from its blob; it is unchanged when it is what the
 * blob's pointer names. Submodules are compared here, one by one, since their
 * configuration may ask libgit2 to look away.
 *
 * The answer is for the user's sake: what is sent is HEAD's objects. */
#include "source/pack_internal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

enum { NAMES_MAX = 5 };

struct compare {
    struct tc_pack *pack;
    struct tc_buf names; /* of the first changes */
    size_t changes;
};

static void note_change(struct compare *compare, const char *prefix, const char *path)
{
    char shown[160];
    if (compare->changes++ >= NAMES_MAX) return;
    if (compare->names.size > 0) tc_buf_add_text(&compare->names, ", ");
    tc_buf_add_text(&compare->names,
                    tc_printable(tc_span_of_text(prefix), shown, sizeof shown));
    tc_buf_add_text(&compare->names, tc_printable(tc_span_of_text(path), shown, sizeof shown));
}

/* --- git LFS --- */

static tc_status digest_of_file(const struct compare *compare, const char *path,
                                const struct tc_git_lfs *lfs, bool *ret_equal, struct tc_error *err)
{
    static const struct tc_pack_sink nowhere;
    struct tc_sha256 seen;
    struct tc_out out;
    uint64_t size;
    bool executable;
    const char *slash = strrchr(path, '/');
    TC_AUTO_FREE char *folder = strndup(path, slash ? (size_t)(slash - path) : 0);
    TC_AUTO_CLOSE int parent = -1;
    TC_AUTO_CLOSE int fd = -1;
    if (!folder) return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_TRY(tc_folder_open(compare->pack->folder_fd, folder, &parent, err));
    TC_TRY(tc_file_open(parent, slash ? slash + 1 : path, path, &fd, &size, &executable, err));
    *ret_equal = false;
    if (size != lfs->size) return TC_OK;
    TC_TRY(tc_out_init(&out, &nowhere, err));
    tc_status status = tc_file_send(fd, size, path, &out, err);
    if (status == TC_OK) status = tc_hash_finish(out.sha256, seen.bytes, sizeof seen.bytes, err);
    tc_out_done(&out);
    TC_TRY(status);
    *ret_equal = memcmp(seen.bytes, lfs->oid.bytes, sizeof seen.bytes) == 0;
    return TC_OK;
}

static bool is_smudged(const struct compare *compare, git_odb *odb, const char *prefix,
                       const git_diff_delta *delta)
{
    TC_AUTO_OBJECT git_odb_object *object = NULL;
    struct tc_error ignored = {0};
    struct tc_git_lfs lfs;
    struct tc_sha1 id;
    bool equal = false;
    if (delta->status != GIT_DELTA_MODIFIED || delta->old_file.mode != delta->new_file.mode)
        return false;
    memcpy(id.bytes, delta->old_file.id.id, sizeof id.bytes);
    if (tc_object_read(odb, &id, GIT_OBJECT_BLOB, TC_GIT_LFS_POINTER_MAX, "", &object, &ignored) !=
            TC_OK ||
        tc_git_lfs_read(tc_object_bytes(object), &lfs, &ignored) != TC_OK)
        return false;
    TC_AUTO_FREE char *path = NULL;
    if (asprintf(&path, "%s%s", prefix, delta->new_file.path) < 0) return false;
    return digest_of_file(compare, path, &lfs, &equal, &ignored) == TC_OK && equal;
}

/* --- one repository --- */

static void note_entry(struct compare *compare, git_odb *odb, const char *prefix,
                       const git_status_entry *entry)
{
    const git_diff_delta *staged = entry->head_to_index, *work = entry->index_to_workdir;
    if (staged && staged->status != GIT_DELTA_UNMODIFIED)
        note_change(compare, prefix, staged->new_file.path);
    else if (work && work->status == GIT_DELTA_UNTRACKED)
        compare->pack->untracked++;
    else if (work && work->status != GIT_DELTA_UNMODIFIED &&
             !is_smudged(compare, odb, prefix, work))
        note_change(compare, prefix, work->new_file.path);
}

static tc_status note_list(struct compare *compare, git_repository *repo, const char *prefix,
                           git_status_show_t show, unsigned flags, struct tc_error *err)
{
    git_status_options options = GIT_STATUS_OPTIONS_INIT;
    git_status_list *list = NULL;
    TC_AUTO_ODB git_odb *odb = NULL;
    options.show = show;
    options.flags = flags;
    if (git_repository_odb(&odb, repo) != 0 || git_status_list_new(&list, repo, &options) != 0)
        return tc_git_fail(err, TC_UNAVAILABLE, "cannot compare the work tree with HEAD");
    for (size_t i = 0; i < git_status_list_entrycount(list); i++)
        note_entry(compare, odb, prefix, git_status_byindex(list, i));
    git_status_list_free(list);
    return TC_OK;
}

static tc_status compare_repository(struct compare *compare, git_repository *repo,
                                    const char *prefix, struct tc_error *err);

static tc_status compare_submodule(struct compare *compare, const char *prefix,
                                   const git_index_entry *named, struct tc_error *err)
{
    TC_AUTO_REPOSITORY git_repository *repo = NULL;
    TC_AUTO_FREE char *path = NULL;
    TC_AUTO_FREE char *inner = NULL;
    git_oid head;
    if (asprintf(&path, "%s%s", prefix, named->path) < 0 || asprintf(&inner, "%s/", path) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_TRY(tc_submodule_open(compare->pack, path, &repo, err));
    if (!repo) return TC_OK; /* left out, or refused when it is to be sent */
    if (git_reference_name_to_id(&head, repo, "HEAD") != 0 || !git_oid_equal(&head, &named->id))
        note_change(compare, path, " (another commit is checked out)");
    return compare_repository(compare, repo, inner, err);
}

static tc_status compare_repository(struct compare *compare, git_repository *repo,
                                    const char *prefix, struct tc_error *err)
{
    TC_TRY(note_list(compare, repo, prefix, GIT_STATUS_SHOW_INDEX_ONLY, 0, err));
    TC_TRY(note_list(compare, repo, prefix, GIT_STATUS_SHOW_WORKDIR_ONLY,
                     GIT_STATUS_OPT_INCLUDE_UNTRACKED | GIT_STATUS_OPT_RECURSE_UNTRACKED_DIRS |
                         GIT_STATUS_OPT_EXCLUDE_SUBMODULES,
                     err));
    git_index *index = NULL;
    if (git_repository_index(&index, repo) != 0)
        return tc_git_fail(err, TC_UNAVAILABLE, "cannot read the index");
    tc_status status = TC_OK;
    for (size_t i = 0; status == TC_OK && i < git_index_entrycount(index); i++) {
        const git_index_entry *entry = git_index_get_byindex(index, i);
        if (entry->mode == GIT_FILEMODE_COMMIT)
            status = compare_submodule(compare, prefix, entry, err);
    }
    git_index_free(index);
    return status;
}

static void say_changes(const struct compare *compare, struct tc_error *ret_changes)
{
    struct tc_span names = tc_buf_span(&compare->names);
    char rest[48] = "";
    if (compare->changes > NAMES_MAX)
        (void)snprintf(rest, sizeof rest, " and %zu more", compare->changes - NAMES_MAX);
    (void)tc_fail(ret_changes, TC_USAGE,
                  "the work tree differs from HEAD: %.*s%s. Commit, stash or restore the changes, or "
                  "build the files as they are, without a commit in the report, with --allow-dirty",
                  (int)names.size, (const char *)names.data, rest);
}

tc_status tc_pack_compare(struct tc_pack *pack, struct tc_error *ret_changes, struct tc_error *err)
{
    struct compare compare = {.pack = pack, .names = tc_buf_new(TC_ERROR_MAX)};
    tc_status status = compare_repository(&compare, pack->repo, "", err);
    pack->dirty = compare.changes > 0;
    if (status == TC_OK && pack->dirty) say_changes(&compare, ret_changes);
    tc_buf_free(&compare.names);
    return status;
}
