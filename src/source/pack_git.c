/* A git source: HEAD's commit and its tree, each object right where its parent
 * names it (core/wire.h). Only the object database is read; neither the index nor
 * the work tree has a say in what is sent. A submodule's objects come from its own
 * repository, but from the commit that the tree names, whatever is checked out. */
#include "source/pack_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

struct walk {
    struct tc_pack *pack;
    const struct tc_buildspec *spec;
    struct tc_out *out;
    git_repository *repo; /* whose objects are being sent; borrowed, as odb */
    git_odb *odb;
    struct tc_buf path;
    bool omitted_seen[TC_BUILDSPEC_LIST_MAX];
};

static const char *where(struct walk *walk, char shown[TC_PATH_MAX + 1])
{
    (void)snprintf(shown, TC_PATH_MAX + 1, "%.*s", (int)walk->path.size,
                   (const char *)walk->path.data);
    return *shown ? shown : "HEAD";
}

/* --- files --- */

/* The content that a git LFS pointer names, from where git-lfs keeps it. */
static tc_status send_lfs(struct walk *walk, struct tc_span pointer, struct tc_entry *entry,
                          struct tc_error *err)
{
    struct tc_git_lfs lfs;
    struct tc_sha256 seen;
    char path[TC_PATH_MAX + 1], hex[TC_SHA256_HEX], store[TC_PATH_MAX + 1], shown[256];
    bool executable;
    (void)tc_printable(entry->path, shown, sizeof shown);
    if (tc_git_lfs_read(pointer, &lfs, err) != TC_OK) return tc_wrap(err, "%s", shown);
    tc_hex((struct tc_span){lfs.oid.bytes, sizeof lfs.oid.bytes}, hex);
    int length = snprintf(store, sizeof store, "%slfs/objects/%.2s/%.2s/%s",
                          git_repository_commondir(walk->repo), hex, hex + 2, hex);
    if (length < 0 || (size_t)length >= sizeof store)
        return tc_fail(err, TC_LIMIT, "the path of the repository is too long");
    TC_AUTO_CLOSE int fd = -1;
    struct tc_error ignored = {0};
    if (tc_file_open(AT_FDCWD, store, store, &fd, &entry->size, &executable, &ignored) != TC_OK)
        return tc_lfs_missing(entry->path, &lfs, "", err);
    if (entry->size != lfs.size)
        return tc_fail(err, TC_MALFORMED,
                       "the git LFS object of %s has %llu bytes, its pointer says %llu: run git lfs "
                       "fsck",
                       shown, (unsigned long long)entry->size, (unsigned long long)lfs.size);
    TC_TRY(tc_out_object(walk->out, TC_OBJECT_LFS, lfs.size, err));
    TC_TRY(tc_file_send(fd, lfs.size, where(walk, path), walk->out, err));
    TC_TRY(tc_hash_finish(walk->out->sha256, seen.bytes, sizeof seen.bytes, err));
    if (memcmp(seen.bytes, lfs.oid.bytes, sizeof seen.bytes) != 0)
        return tc_fail(err, TC_MALFORMED,
                       "the git LFS object of %s does not have the digest that its pointer names: "
                       "run git lfs fsck",
                       shown);
    return tc_manifest_add(walk->out->manifest, entry, &seen, err);
}

static tc_status send_file(struct walk *walk, const struct tc_git_entry *named, struct tc_error *err)
{
    char path[TC_PATH_MAX + 1];
    struct tc_entry entry = {.kind = TC_ENTRY_FILE,
                             .executable = named->kind == TC_GIT_EXECUTABLE,
                             .path = tc_buf_span(&walk->path)};
    TC_AUTO_OBJECT git_odb_object *small = NULL;
    TC_TRY(tc_object_send_blob(walk->odb, &named->id, where(walk, path), walk->out, &entry.size,
                               &small, err));
    if (small && tc_git_is_lfs_pointer(tc_object_bytes(small)))
        return send_lfs(walk, tc_object_bytes(small), &entry, err);
    return tc_out_count(walk->out, &entry, err);
}

static tc_status send_symlink(struct walk *walk, const struct tc_git_entry *named,
                              struct tc_error *err)
{
    char path[TC_PATH_MAX + 1];
    TC_AUTO_OBJECT git_odb_object *target = NULL;
    TC_TRY(tc_object_read(walk->odb, &named->id, GIT_OBJECT_BLOB, TC_PATH_MAX, where(walk, path),
                          &target, err));
    TC_TRY(tc_out_whole(walk->out, TC_OBJECT_BLOB, tc_object_bytes(target), err));
    struct tc_entry entry = {.kind = TC_ENTRY_SYMLINK,
                             .path = tc_buf_span(&walk->path),
                             .target = tc_object_bytes(target)};
    return tc_out_count(walk->out, &entry, err);
}

/* --- trees, commits, submodules --- */

static tc_status send_tree(struct walk *walk, const struct tc_sha1 *id, bool is_root,
                           struct tc_error *err);

static tc_status send_commit(struct walk *walk, const struct tc_sha1 *id, struct tc_error *err)
{
    char path[TC_PATH_MAX + 1];
    struct tc_git_commit commit;
    {
        TC_AUTO_OBJECT git_odb_object *object = NULL;
        TC_TRY(tc_object_read(walk->odb, id, GIT_OBJECT_COMMIT, TC_GIT_COMMIT_MAX,
                              where(walk, path), &object, err));
        TC_TRY(tc_git_commit_read(tc_object_bytes(object), &commit, err));
        TC_TRY(tc_out_whole(walk->out, TC_OBJECT_COMMIT, tc_object_bytes(object), err));
    }
    return send_tree(walk, &commit.tree, true, err);
}

bool tc_is_omitted(const struct tc_buildspec *spec, const char *path)
{
    for (size_t i = 0; i < spec->omitted_count; i++)
        if (strcmp(spec->omitted[i], path) == 0) return true;
    return false;
}

tc_status tc_submodule_missing(const char *path, struct tc_error *err)
{
    char shown[256];
    return tc_fail(err, TC_USAGE,
                   "submodule %s is not checked out: run git submodule update --init --recursive, "
                   "or list it in source.omit of the build file",
                   tc_printable(tc_span_of_text(path), shown, sizeof shown));
}

static bool take_omitted(struct walk *walk, const char *path)
{
    for (size_t i = 0; i < walk->spec->omitted_count; i++)
        if (strcmp(walk->spec->omitted[i], path) == 0) return walk->omitted_seen[i] = true;
    return false;
}

static tc_status send_submodule(struct walk *walk, const struct tc_git_entry *named,
                                struct tc_error *err)
{
    char path[TC_PATH_MAX + 1];
    struct tc_entry entry = {.kind = TC_ENTRY_SUBMODULE,
                             .path = tc_buf_span(&walk->path),
                             .commit = named->id};
    TC_TRY(tc_out_count(walk->out, &entry, err));
    (void)where(walk, path);
    if (take_omitted(walk, path))
        return tc_out_frame(walk->out, TC_WIRE_OMITTED, (struct tc_span){0}, err);

    TC_AUTO_REPOSITORY git_repository *repo = NULL;
    TC_AUTO_ODB git_odb *odb = NULL;
    TC_TRY(tc_submodule_open(walk->pack, path, &repo, err));
    if (!repo) return tc_submodule_missing(path, err);
    if (git_repository_odb(&odb, repo) != 0)
        return tc_git_fail(err, TC_SYSTEM, "cannot open the objects of a submodule");
    git_repository *outer_repo = walk->repo;
    git_odb *outer_odb = walk->odb;
    walk->repo = repo;
    walk->odb = odb;
    tc_status status = send_commit(walk, &named->id, err);
    walk->repo = outer_repo;
    walk->odb = outer_odb;
    return status;
}

static tc_status send_named(struct walk *walk, const struct tc_git_entry *named, struct tc_error *err)
{
    switch (named->kind) {
    case TC_GIT_FILE:
    case TC_GIT_EXECUTABLE: return send_file(walk, named, err);
    case TC_GIT_SYMLINK: return send_symlink(walk, named, err);
    case TC_GIT_FOLDER: return send_tree(walk, &named->id, false, err);
    case TC_GIT_LINK: return send_submodule(walk, named, err);
    }
    return tc_fail(err, TC_SYSTEM, "an entry of no kind");
}

/* A tree stays in memory while what it names is sent; the path's cap bounds how
 * many there are. */
static tc_status send_tree(struct walk *walk, const struct tc_sha1 *id, bool is_root,
                           struct tc_error *err)
{
    char path[TC_PATH_MAX + 1], shown[256];
    size_t parent = walk->path.size;
    TC_AUTO_OBJECT git_odb_object *tree = NULL;
    TC_TRY(tc_object_read(walk->odb, id, GIT_OBJECT_TREE, TC_GIT_TREE_MAX, where(walk, path), &tree,
                          err));
    if (tc_git_tree_check(tc_object_bytes(tree), err) != TC_OK)
        return tc_wrap(err, "%s",
                       tc_printable(tc_span_of_text(where(walk, path)), shown, sizeof shown));
    TC_TRY(tc_out_whole(walk->out, TC_OBJECT_TREE, tc_object_bytes(tree), err));
    if (tc_object_bytes(tree).size == 0 && !is_root) {
        struct tc_entry entry = {.kind = TC_ENTRY_FOLDER, .path = tc_buf_span(&walk->path)};
        return tc_out_count(walk->out, &entry, err);
    }
    struct tc_git_walk order = tc_git_walk_of(tc_object_bytes(tree));
    struct tc_git_entry named;
    while (tc_git_walk_next(&order, &named)) {
        if (parent > 0) tc_buf_add_u8(&walk->path, '/');
        tc_buf_add_span(&walk->path, named.name);
        if (!tc_buf_ok(&walk->path) || !tc_path_is_safe(tc_buf_span(&walk->path)))
            return tc_fail(err, TC_LIMIT, "a path of the source is too long or too deep: %s",
                           tc_printable(tc_buf_span(&walk->path), shown, sizeof shown));
        TC_TRY(send_named(walk, &named, err));
        walk->path.size = parent;
    }
    return TC_OK;
}

/* What build.json leaves out has to be there: a spelling mistake must not send
 * more than was meant. */
static tc_status check_omitted(const struct walk *walk, struct tc_error *err)
{
    char shown[256];
    for (size_t i = 0; i < walk->spec->omitted_count; i++)
        if (!walk->omitted_seen[i])
            return tc_fail(err, TC_USAGE, "source.omit of the build file names %s, which is no "
                                          "submodule of this commit",
                           tc_printable(tc_span_of_text(walk->spec->omitted[i]), shown,
                                        sizeof shown));
    return TC_OK;
}

tc_status tc_pack_send_git(struct tc_pack *pack, const struct tc_buildspec *spec,
                           struct tc_out *out, struct tc_error *err)
{
    TC_AUTO_ODB git_odb *odb = NULL;
    if (git_repository_odb(&odb, pack->repo) != 0)
        return tc_git_fail(err, TC_SYSTEM, "cannot open the objects of %s", pack->folder);
    struct walk walk = {.pack = pack,
                        .spec = spec,
                        .out = out,
                        .repo = pack->repo,
                        .odb = odb,
                        .path = tc_buf_new(TC_PATH_MAX)};
    tc_status status = send_commit(&walk, &pack->commit, err);
    if (status == TC_OK) status = check_omitted(&walk, err);
    tc_buf_free(&walk.path);
    TC_TRY(status);
    return spec->source_git ? tc_pack_send_tags(pack, odb, out, err) : TC_OK;
}
