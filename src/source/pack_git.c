/* HEAD as git objects, depth first, in the order of core/wire.h. The bytes are the
 * object database's own: what the work tree looks like does not matter here. */
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

/* A repository being walked: the project's own, or a submodule's. */
enum { TAGS_MAX = 64 };

struct walk {
    struct tc_pack *pack;
    struct tc_packing *packing;
    git_repository *repository;
    git_odb *odb;
    struct tc_buf *path; /* from the top of the project */
    size_t prefix;       /* length of the part that leads to this repository, with its '/' */
};

static void free_object(git_odb_object **object)
{
    git_odb_object_free(*object);
}
#define AUTO_OBJECT __attribute__((cleanup(free_object)))

static tc_status read_object(struct walk *walk, const struct tc_sha1 *id, git_object_t type,
                             const char *what, git_odb_object **ret_object, struct tc_error *err)
{
    git_oid oid;
    char shown[256], hex[TC_SHA1_HEX];
    memcpy(oid.id, id->bytes, sizeof oid.id);
    tc_hex((struct tc_span){id->bytes, sizeof id->bytes}, hex);
    (void)tc_printable(tc_buf_span(walk->path), shown, sizeof shown);
    git_odb_object *object = NULL;
    if (git_odb_read(&object, walk->odb, &oid) != 0)
        return tc_git_fail(TC_UNAVAILABLE, err,
                           "the repository lacks the %s %s at \"%s\" (a shallow or partial clone? "
                           "git fetch it)",
                           what, hex, shown);
    if (git_odb_object_type(object) != type) {
        git_odb_object_free(object);
        return tc_fail(err, TC_REFUSED, "object %s at \"%s\" is no %s", hex, shown, what);
    }
    *ret_object = object;
    return TC_OK;
}

static struct tc_span bytes_of(git_odb_object *object)
{
    return (struct tc_span){git_odb_object_data(object), git_odb_object_size(object)};
}

static tc_status announce(struct walk *walk, enum tc_object_kind kind, uint64_t size,
                          struct tc_error *err)
{
    struct tc_packing *packing = walk->packing;
    struct tc_wire_object object = {kind, size};
    tc_buf_reset(&packing->record);
    tc_wire_object_encode(&object, &packing->record);
    TC_TRY(tc_buf_check(&packing->record, "an object", err));
    return tc_packing_frame(packing, TC_WIRE_OBJECT, tc_buf_span(&packing->record), err);
}

static tc_status send_object(struct walk *walk, enum tc_object_kind kind, struct tc_span bytes,
                             struct tc_error *err)
{
    TC_TRY(announce(walk, kind, bytes.size, err));
    return tc_packing_data(walk->packing, bytes, err);
}

/* --- files --- */

char *tc_pack_lfs_path(git_repository *repository, const struct tc_git_lfs *lfs)
{
    char hex[TC_SHA256_HEX], *path;
    tc_hex((struct tc_span){lfs->oid.bytes, sizeof lfs->oid.bytes}, hex);
    return asprintf(&path, "%slfs/objects/%.2s/%.2s/%s", git_repository_commondir(repository), hex,
                    hex + 2, hex) < 0
               ? NULL
               : path;
}

/* The content that a pointer names, from the repository's own store. */
static tc_status send_lfs(struct walk *walk, struct tc_entry *entry, struct tc_span pointer,
                          struct tc_error *err)
{
    struct tc_git_lfs lfs;
    struct stat info;
    char shown[256];
    (void)tc_printable(entry->path, shown, sizeof shown);
    TC_TRY(tc_git_lfs_read(pointer, &lfs, err));
    TC_AUTO_FREE char *path = tc_pack_lfs_path(walk->repository, &lfs);
    if (!path) return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0)
        return tc_fail(err, TC_UNAVAILABLE,
                       "%s is a git LFS pointer whose object is not in the repository: git lfs fetch",
                       shown);
    if (!S_ISREG(info.st_mode) || (uint64_t)info.st_size != lfs.size)
        return tc_fail(err, TC_REFUSED, "the git LFS object of %s has %lld bytes, its pointer says %llu",
                       shown, (long long)info.st_size, (unsigned long long)lfs.size);
    entry->size = lfs.size;
    TC_TRY(announce(walk, TC_OBJECT_LFS, lfs.size, err));
    tc_hash_restart(walk->packing->sha256);
    uint8_t bytes[TC_WIRE_DATA_MAX];
    for (uint64_t left = lfs.size; left > 0;) {
        ssize_t got = read(fd, bytes, left < sizeof bytes ? left : sizeof bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return tc_fail(err, TC_REFUSED, "the git LFS object of %s is cut short", shown);
        tc_hash_add(walk->packing->sha256, bytes, (size_t)got);
        TC_TRY(tc_packing_data(walk->packing, (struct tc_span){bytes, (size_t)got}, err));
        left -= (uint64_t)got;
    }
    struct tc_sha256 content;
    TC_TRY(tc_hash_finish(walk->packing->sha256, content.bytes, sizeof content.bytes, err));
    if (memcmp(content.bytes, lfs.oid.bytes, sizeof content.bytes) != 0)
        return tc_fail(err, TC_REFUSED,
                       "the git LFS object of %s does not have the digest of its pointer: git lfs fsck",
                       shown);
    return tc_manifest_add(walk->packing->manifest, entry, &content, err);
}

static tc_status send_file(struct walk *walk, const struct tc_git_entry *named, struct tc_error *err)
{
    AUTO_OBJECT git_odb_object *object = NULL;
    TC_TRY(read_object(walk, &named->id, GIT_OBJECT_BLOB, "file", &object, err));
    struct tc_span bytes = bytes_of(object);
    TC_TRY(send_object(walk, TC_OBJECT_BLOB, bytes, err));
    struct tc_entry entry = {.kind = TC_ENTRY_FILE,
                             .executable = named->kind == TC_GIT_EXECUTABLE,
                             .size = bytes.size,
                             .path = tc_buf_span(walk->path)};
    if (tc_git_is_lfs_pointer(bytes)) return send_lfs(walk, &entry, bytes, err);
    struct tc_sha256 content;
    TC_TRY(tc_sha256_of(bytes, &content, err));
    return tc_manifest_add(walk->packing->manifest, &entry, &content, err);
}

static tc_status send_symlink(struct walk *walk, const struct tc_git_entry *named,
                              struct tc_error *err)
{
    AUTO_OBJECT git_odb_object *object = NULL;
    TC_TRY(read_object(walk, &named->id, GIT_OBJECT_BLOB, "symlink", &object, err));
    struct tc_span bytes = bytes_of(object);
    TC_TRY(send_object(walk, TC_OBJECT_BLOB, bytes, err));
    struct tc_entry entry = {.kind = TC_ENTRY_SYMLINK,
                             .path = tc_buf_span(walk->path),
                             .target = bytes};
    return tc_manifest_add(walk->packing->manifest, &entry, NULL, err);
}

/* --- trees, commits, submodules --- */

static tc_status send_tree(struct walk *walk, const struct tc_sha1 *id, bool is_root,
                           struct tc_error *err);

static tc_status send_commit(struct walk *walk, const struct tc_sha1 *id, struct tc_error *err)
{
    struct tc_git_commit commit;
    {
        AUTO_OBJECT git_odb_object *object = NULL;
        TC_TRY(read_object(walk, id, GIT_OBJECT_COMMIT, "commit", &object, err));
        TC_TRY(tc_git_commit_read(bytes_of(object), &commit, err));
        TC_TRY(send_object(walk, TC_OBJECT_COMMIT, bytes_of(object), err));
    }
    return send_tree(walk, &commit.tree, true, err);
}

static bool is_omitted(const struct walk *walk)
{
    for (size_t i = 0; i < walk->packing->spec->omitted_count; i++)
        if (tc_span_equal(tc_buf_span(walk->path), tc_span_of_text(walk->packing->spec->omitted[i])))
            return true;
    return false;
}

static tc_status send_inner(struct walk *walk, const struct tc_sha1 *id, git_repository *repository,
                            struct tc_error *err)
{
    git_odb *odb = NULL;
    if (git_repository_odb(&odb, repository) != 0)
        return tc_git_fail(TC_SYSTEM, err, "cannot open a submodule's objects");
    struct walk inner = {.pack = walk->pack,
                         .packing = walk->packing,
                         .repository = repository,
                         .odb = odb,
                         .path = walk->path,
                         .prefix = walk->path->size + 1};
    tc_status status = send_commit(&inner, id, err);
    git_odb_free(odb);
    return status;
}

static tc_status send_submodule(struct walk *walk, const struct tc_git_entry *named,
                                struct tc_error *err)
{
    struct tc_entry entry = {.kind = TC_ENTRY_SUBMODULE,
                             .path = tc_buf_span(walk->path),
                             .commit = named->id};
    char shown[256];
    (void)tc_printable(entry.path, shown, sizeof shown);
    TC_TRY(tc_manifest_add(walk->packing->manifest, &entry, NULL, err));
    if (is_omitted(walk)) return tc_packing_frame(walk->packing, TC_WIRE_OMITTED, (struct tc_span){0}, err);
    TC_AUTO_FREE char *folder = NULL;
    if (asprintf(&folder, "%s/%.*s", walk->pack->folder, (int)entry.path.size,
                 (const char *)entry.path.data) < 0)
        return tc_fail(err, TC_SYSTEM, "out of memory");
    git_repository *repository = NULL;
    /* NO_SEARCH: a folder that was not checked out lies inside the outer one. */
    if (git_repository_open_ext(&repository, folder, GIT_REPOSITORY_OPEN_NO_SEARCH, NULL) != 0)
        return tc_fail(err, TC_USAGE,
                       "the submodule %s is not checked out: git submodule update --init --recursive, "
                       "or leave it out by source.omit in build.json",
                       shown);
    tc_status status = send_inner(walk, &named->id, repository, err);
    git_repository_free(repository);
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

static tc_status send_entries(struct walk *walk, struct tc_span tree, struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(tree);
    struct tc_git_entry entry;
    size_t parent = walk->path->size;
    char shown[256];
    while (tc_git_tree_next(&cursor, &entry)) {
        if (parent > 0) tc_buf_add_u8(walk->path, '/');
        tc_buf_add_span(walk->path, entry.name);
        if (!tc_buf_ok(walk->path) || !tc_path_is_safe(tc_buf_span(walk->path)))
            return tc_fail(err, TC_LIMIT, "a path of the source is too long or too deep: %s",
                           tc_printable(tc_buf_span(walk->path), shown, sizeof shown));
        TC_TRY(send_named(walk, &entry, err));
        walk->path->size = parent;
    }
    return TC_OK;
}

static tc_status send_tree(struct walk *walk, const struct tc_sha1 *id, bool is_root,
                           struct tc_error *err)
{
    char shown[256];
    AUTO_OBJECT git_odb_object *object = NULL;
    TC_TRY(read_object(walk, id, GIT_OBJECT_TREE, "folder", &object, err));
    if (tc_git_tree_check(bytes_of(object), err) != TC_OK)
        return tc_wrap(err, "the folder \"%s\"",
                       tc_printable(tc_buf_span(walk->path), shown, sizeof shown));
    TC_TRY(send_object(walk, TC_OBJECT_TREE, bytes_of(object), err));
    if (git_odb_object_size(object) == 0 && !is_root) {
        struct tc_entry entry = {.kind = TC_ENTRY_FOLDER, .path = tc_buf_span(walk->path)};
        return tc_manifest_add(walk->packing->manifest, &entry, NULL, err);
    }
    return send_entries(walk, bytes_of(object), err);
}

/* --- tags --- */

static tc_status send_tag(struct walk *walk, const char *name, const git_oid *id, bool annotated,
                          struct tc_error *err)
{
    struct tc_packing *packing = walk->packing;
    struct tc_wire_tag tag = {.annotated = annotated, .name = tc_span_of_text(name)};
    memcpy(tag.id.bytes, id->id, sizeof tag.id.bytes);
    tc_buf_reset(&packing->record);
    tc_wire_tag_encode(&tag, &packing->record);
    TC_TRY(tc_buf_check(&packing->record, "a tag", err));
    TC_TRY(tc_packing_frame(packing, TC_WIRE_TAG, tc_buf_span(&packing->record), err));
    if (!annotated) return TC_OK;
    AUTO_OBJECT git_odb_object *object = NULL;
    TC_TRY(read_object(walk, &tag.id, GIT_OBJECT_TAG, "tag", &object, err));
    return send_object(walk, TC_OBJECT_TAG, bytes_of(object), err);
}

/* Does this tag object name HEAD's commit under this name? */
static bool names_commit(struct walk *walk, const git_oid *id, const char *name)
{
    struct tc_git_tag tag;
    struct tc_error ignored = {0};
    git_odb_object *object = NULL;
    if (git_odb_read(&object, walk->odb, id) != 0) return false;
    bool good = git_odb_object_type(object) == GIT_OBJECT_TAG &&
                tc_git_tag_read(bytes_of(object), &tag, &ignored) == TC_OK &&
                memcmp(tag.object.bytes, walk->pack->commit.bytes, TC_SHA1_SIZE) == 0 &&
                tc_span_equal(tag.name, tc_span_of_text(name));
    git_odb_object_free(object);
    return good;
}

/* Tags that name this commit; others have nothing to say to the build. */
static tc_status send_tags(struct walk *walk, struct tc_error *err)
{
    git_strarray names;
    if (git_tag_list(&names, walk->repository) != 0)
        return tc_git_fail(TC_SYSTEM, err, "cannot list the repository's tags");
    tc_status status = TC_OK;
    size_t sent = 0;
    for (size_t i = 0; status == TC_OK && i < names.count && sent < TAGS_MAX; i++) {
        char ref[TC_NAME_MAX + 16];
        git_oid id;
        if (!tc_git_tag_name_is_good(tc_span_of_text(names.strings[i]))) continue;
        (void)snprintf(ref, sizeof ref, "refs/tags/%s", names.strings[i]);
        if (git_reference_name_to_id(&id, walk->repository, ref) != 0) continue;
        bool light = memcmp(id.id, walk->pack->commit.bytes, TC_SHA1_SIZE) == 0;
        if (!light && !names_commit(walk, &id, names.strings[i])) continue;
        status = send_tag(walk, names.strings[i], &id, !light, err);
        sent++;
    }
    git_strarray_dispose(&names);
    git_error_clear();
    return status;
}

static tc_status check_omitted(const struct walk *walk, struct tc_error *err)
{
    for (size_t i = 0; i < walk->packing->spec->omitted_count; i++) {
        const char *path = walk->packing->spec->omitted[i];
        git_submodule *submodule = NULL;
        /* Nested ones are known to their own repository; only the outermost are
         * looked up here. */
        bool found = git_submodule_lookup(&submodule, walk->repository, path) == 0;
        git_submodule_free(submodule);
        if (!found && !strchr(path, '/'))
            return tc_fail(err, TC_USAGE, "source.omit names %s, which is no submodule", path);
    }
    git_error_clear();
    return TC_OK;
}

tc_status tc_pack_send_git(struct tc_pack *pack, struct tc_packing *packing, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf path = tc_buf_new(TC_PATH_MAX);
    git_odb *odb = NULL;
    if (git_repository_odb(&odb, pack->repository) != 0)
        return tc_git_fail(TC_SYSTEM, err, "cannot open the repository's objects");
    struct walk walk = {.pack = pack,
                        .packing = packing,
                        .repository = pack->repository,
                        .odb = odb,
                        .path = &path};
    tc_status status = check_omitted(&walk, err);
    if (status == TC_OK) status = send_commit(&walk, &pack->commit, err);
    if (status == TC_OK && packing->spec->source_git) status = send_tags(&walk, err);
    git_odb_free(odb);
    return status;
}

tc_status tc_pack_read_head_file(struct tc_pack *pack, const char *path, struct tc_buf *buf,
                                 struct tc_error *err)
{
    char spec[TC_PATH_MAX + 8];
    git_object *object = NULL;
    (void)snprintf(spec, sizeof spec, "HEAD:%s", path);
    if (git_revparse_single(&object, pack->repository, spec) != 0)
        return tc_fail(err, TC_USAGE, "HEAD of %s has no %s: commit one (see docs/formats.md)",
                       pack->folder, path);
    tc_status status = TC_OK;
    if (git_object_type(object) == GIT_OBJECT_BLOB) {
        const git_blob *blob = (const git_blob *)object;
        tc_buf_add(buf, git_blob_rawcontent(blob), (size_t)git_blob_rawsize(blob));
        status = tc_buf_check(buf, path, err);
    } else {
        status = tc_fail(err, TC_USAGE, "%s in HEAD is no file", path);
    }
    git_object_free(object);
    return status;
}
