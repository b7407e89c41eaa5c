/* A git source, depth first: each object comes right where its parent names it,
 * so that an id is checked as soon as its object has passed and nothing has to
 * be kept but the trees on the way from the root. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "worker/source_in.h"

enum { OPEN_TREES_MAX = 16 << 20 };

static tc_status wrong_id(const struct tc_receiver *receiver, const char *what,
                          const struct tc_sha1 *expected, const struct tc_sha1 *seen,
                          struct tc_error *err)
{
    char path[256], want[TC_SHA1_HEX], got[TC_SHA1_HEX];
    tc_hex((struct tc_span){expected->bytes, sizeof expected->bytes}, want);
    tc_hex((struct tc_span){seen->bytes, sizeof seen->bytes}, got);
    return tc_fail(err, TC_REFUSED, "%s at \"%s\" has the id %s, its parent names %s", what,
                   tc_printable(tc_buf_span(&receiver->path), path, sizeof path), got, want);
}

static tc_status expect_object(struct tc_receiver *receiver, enum tc_object_kind kind,
                               uint64_t *ret_size, struct tc_error *err)
{
    struct tc_span payload;
    struct tc_wire_object object = receiver->announced;
    if (!receiver->is_announced) {
        TC_TRY(tc_channel_expect(receiver->host, TC_WIRE_OBJECT, &payload, err));
        TC_TRY(tc_wire_object_decode(payload, &object, err));
    }
    receiver->is_announced = false;
    if (object.kind != kind)
        return tc_fail(err, TC_MALFORMED, "the host sent object kind %d where kind %d was expected",
                       (int)object.kind, (int)kind);
    *ret_size = object.size;
    return TC_OK;
}

/* size bytes of DATA into buf, whose max is the cap. */
static tc_status take_bytes(struct tc_receiver *receiver, uint64_t size, struct tc_buf *buf,
                            const char *what, struct tc_error *err)
{
    if (size > buf->max)
        return tc_fail(err, TC_LIMIT, "a git %s of %llu bytes, at most %zu are accepted", what,
                       (unsigned long long)size, buf->max);
    while (size > 0) {
        struct tc_span bytes;
        TC_TRY(tc_channel_expect(receiver->host, TC_WIRE_DATA, &bytes, err));
        if (bytes.size > size)
            return tc_fail(err, TC_MALFORMED, "the host sent more bytes than it announced");
        tc_buf_add_span(buf, bytes);
        size -= bytes.size;
    }
    return tc_buf_check(buf, what, err);
}

/* Whole objects for the .git folder; only of the project itself, not of its
 * submodules, which become plain folders. */
static tc_status forward_object(struct tc_receiver *receiver, enum tc_object_kind kind,
                                struct tc_span bytes, struct tc_error *err)
{
    if (!receiver->hello->git_folder || receiver->submodules > 0) return TC_OK;
    struct tc_wire_object object = {kind, bytes.size};
    tc_buf_reset(&receiver->scratch);
    tc_wire_object_encode(&object, &receiver->scratch);
    TC_TRY(tc_buf_check(&receiver->scratch, "an object", err));
    TC_TRY(tc_receiver_forward(receiver, TC_WIRE_OBJECT, tc_buf_span(&receiver->scratch), err));
    return tc_receiver_forward_data(receiver, bytes, err);
}

/* A commit, tree or tag: small enough to be whole. */
static tc_status receive_whole(struct tc_receiver *receiver, enum tc_object_kind kind,
                               enum tc_git_kind git_kind, struct tc_buf *buf,
                               struct tc_sha1 *ret_id, struct tc_error *err)
{
    static const char *const names[] = {[TC_OBJECT_COMMIT] = "commit", [TC_OBJECT_TREE] = "tree",
                                        [TC_OBJECT_TAG] = "tag"};
    uint64_t size = 0;
    TC_TRY(expect_object(receiver, kind, &size, err));
    TC_TRY(take_bytes(receiver, size, buf, names[kind], err));
    return tc_git_id_of(git_kind, tc_buf_span(buf), ret_id, err);
}

/* --- blobs --- */

static tc_status check_blob_id(struct tc_receiver *receiver, const struct tc_sha1 *expected,
                               struct tc_error *err)
{
    struct tc_sha1 id;
    TC_TRY(tc_hash_finish(receiver->sha1, id.bytes, sizeof id.bytes, err));
    if (memcmp(id.bytes, expected->bytes, sizeof id.bytes) != 0)
        return wrong_id(receiver, "a file", expected, &id, err);
    return TC_OK;
}

static tc_status receive_small(struct tc_receiver *receiver, uint64_t size,
                               const struct tc_sha1 *expected, struct tc_buf *buf,
                               struct tc_error *err)
{
    struct tc_sha1 id;
    TC_TRY(take_bytes(receiver, size, buf, "blob", err));
    TC_TRY(tc_git_id_of(TC_GIT_BLOB, tc_buf_span(buf), &id, err));
    if (memcmp(id.bytes, expected->bytes, sizeof id.bytes) != 0)
        return wrong_id(receiver, "a file", expected, &id, err);
    return TC_OK;
}

static tc_status receive_symlink(struct tc_receiver *receiver, const struct tc_git_entry *named,
                                 struct tc_error *err)
{
    uint64_t size = 0;
    TC_AUTO_BUF struct tc_buf target = tc_buf_new(TC_PATH_MAX);
    TC_TRY(expect_object(receiver, TC_OBJECT_BLOB, &size, err));
    TC_TRY(receive_small(receiver, size, &named->id, &target, err));
    if (target.size == 0 || memchr(target.data, 0, target.size))
        return tc_fail(err, TC_MALFORMED, "a symlink with an empty target or a NUL byte in it");
    struct tc_entry entry = {.kind = TC_ENTRY_SYMLINK,
                             .path = tc_buf_span(&receiver->path),
                             .target = tc_buf_span(&target)};
    TC_TRY(tc_receiver_forward_entry(receiver, &entry, err));
    return tc_receiver_count(receiver, &entry, NULL, err);
}

/* The content that a git LFS pointer names, in place of the pointer. */
static tc_status receive_lfs(struct tc_receiver *receiver, struct tc_entry *entry,
                             struct tc_span pointer, struct tc_error *err)
{
    struct tc_git_lfs lfs;
    char shown[256];
    TC_TRY(tc_git_lfs_read(pointer, &lfs, err));
    TC_TRY(forward_object(receiver, TC_OBJECT_BLOB, pointer, err));
    uint64_t size = 0;
    TC_TRY(expect_object(receiver, TC_OBJECT_LFS, &size, err));
    if (size != lfs.size)
        return tc_fail(err, TC_REFUSED, "the git LFS object of %s has %llu bytes, its pointer says %llu",
                       tc_printable(entry->path, shown, sizeof shown), (unsigned long long)size,
                       (unsigned long long)lfs.size);
    entry->size = size;
    TC_TRY(tc_receiver_forward_entry(receiver, entry, err));
    TC_TRY(tc_receiver_begin_file(receiver, entry, err));
    TC_TRY(tc_receiver_stream(receiver, size, false, err));
    struct tc_sha256 content;
    TC_TRY(tc_receiver_digest_file(receiver, entry, &content, err));
    if (memcmp(content.bytes, lfs.oid.bytes, sizeof content.bytes) != 0)
        return tc_fail(err, TC_REFUSED, "the git LFS object of %s is not the one that its pointer names",
                       tc_printable(entry->path, shown, sizeof shown));
    return tc_receiver_count(receiver, entry, &content, err);
}

static tc_status receive_file(struct tc_receiver *receiver, const struct tc_git_entry *named,
                              struct tc_error *err)
{
    struct tc_entry entry = {.kind = TC_ENTRY_FILE,
                             .executable = named->kind == TC_GIT_EXECUTABLE,
                             .path = tc_buf_span(&receiver->path)};
    TC_TRY(expect_object(receiver, TC_OBJECT_BLOB, &entry.size, err));
    if (entry.size <= TC_GIT_LFS_POINTER_MAX) {
        TC_AUTO_BUF struct tc_buf content = tc_buf_new(TC_GIT_LFS_POINTER_MAX);
        TC_TRY(receive_small(receiver, entry.size, &named->id, &content, err));
        if (tc_git_is_lfs_pointer(tc_buf_span(&content)))
            return receive_lfs(receiver, &entry, tc_buf_span(&content), err);
        TC_TRY(tc_receiver_forward_entry(receiver, &entry, err));
        TC_TRY(tc_receiver_begin_file(receiver, &entry, err));
        TC_TRY(tc_receiver_pass(receiver, tc_buf_span(&content), err));
        return tc_receiver_end_file(receiver, &entry, err);
    }
    TC_TRY(tc_receiver_forward_entry(receiver, &entry, err));
    TC_TRY(tc_receiver_begin_file(receiver, &entry, err));
    tc_git_hash_start(receiver->sha1, TC_GIT_BLOB, entry.size);
    TC_TRY(tc_receiver_stream(receiver, entry.size, true, err));
    TC_TRY(check_blob_id(receiver, &named->id, err));
    return tc_receiver_end_file(receiver, &entry, err);
}

/* --- trees and commits --- */

static tc_status receive_tree(struct tc_receiver *receiver, const struct tc_sha1 *expected,
                              bool is_root, struct tc_error *err);

static tc_status receive_commit(struct tc_receiver *receiver, const struct tc_sha1 *expected,
                                struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf bytes = tc_buf_new(TC_GIT_COMMIT_MAX);
    struct tc_git_commit commit;
    struct tc_sha1 id;
    TC_TRY(receive_whole(receiver, TC_OBJECT_COMMIT, TC_GIT_COMMIT, &bytes, &id, err));
    if (expected && memcmp(id.bytes, expected->bytes, sizeof id.bytes) != 0)
        return wrong_id(receiver, "the commit of the submodule", expected, &id, err);
    TC_TRY(tc_git_commit_read(tc_buf_span(&bytes), &commit, err));
    if (!expected) {
        receiver->result->has_commit = true;
        receiver->result->commit = id;
        receiver->result->tree = commit.tree;
        TC_TRY(tc_receiver_start_unpacker(receiver, commit.time, err));
    }
    TC_TRY(forward_object(receiver, TC_OBJECT_COMMIT, tc_buf_span(&bytes), err));
    return receive_tree(receiver, &commit.tree, true, err);
}

static tc_status note_omitted(struct tc_receiver *receiver, struct tc_error *err)
{
    struct tc_source_received *result = receiver->result;
    struct tc_span path = tc_buf_span(&receiver->path);
    if (result->omitted_count >= TC_BUILDSPEC_LIST_MAX)
        return tc_fail(err, TC_LIMIT, "more than %d submodules are left out", TC_BUILDSPEC_LIST_MAX);
    char **grown = reallocarray(result->omitted, result->omitted_count + 1, sizeof *grown);
    if (!grown) return tc_fail(err, TC_SYSTEM, "out of memory");
    result->omitted = grown;
    grown[result->omitted_count] = tc_span_to_text(path);
    if (!grown[result->omitted_count]) return tc_fail(err, TC_SYSTEM, "out of memory");
    result->omitted_count++;
    return TC_OK;
}

/* Its commit stands in the manifest; its files follow, or it was left out, which
 * build.json has to say. */
static tc_status receive_submodule(struct tc_receiver *receiver, const struct tc_git_entry *named,
                                   struct tc_error *err)
{
    struct tc_entry entry = {.kind = TC_ENTRY_SUBMODULE,
                             .path = tc_buf_span(&receiver->path),
                             .commit = named->id};
    TC_TRY(tc_receiver_forward_entry(receiver, &entry, err));
    TC_TRY(tc_receiver_count(receiver, &entry, NULL, err));
    enum tc_wire_kind kind;
    struct tc_span payload;
    TC_TRY(tc_channel_read(receiver->host, &kind, &payload, err));
    if (kind == TC_WIRE_OMITTED) return note_omitted(receiver, err);
    if (kind != TC_WIRE_OBJECT)
        return tc_fail(err, TC_MALFORMED, "the host sent frame kind %d in place of a submodule",
                       (int)kind);
    TC_TRY(tc_wire_object_decode(payload, &receiver->announced, err));
    receiver->is_announced = true;
    receiver->submodules++;
    TC_TRY(receive_commit(receiver, &named->id, err));
    receiver->submodules--;
    return TC_OK;
}

static tc_status receive_named(struct tc_receiver *receiver, const struct tc_git_entry *named,
                               struct tc_error *err)
{
    switch (named->kind) {
    case TC_GIT_FILE:
    case TC_GIT_EXECUTABLE: return receive_file(receiver, named, err);
    case TC_GIT_SYMLINK: return receive_symlink(receiver, named, err);
    case TC_GIT_FOLDER: return receive_tree(receiver, &named->id, false, err);
    case TC_GIT_LINK: return receive_submodule(receiver, named, err);
    }
    return tc_fail(err, TC_SYSTEM, "an entry of no kind");
}

static tc_status receive_entries(struct tc_receiver *receiver, struct tc_span tree,
                                 struct tc_error *err)
{
    struct tc_git_walk walk = tc_git_walk_of(tree);
    struct tc_git_entry entry;
    size_t parent = receiver->path.size;
    char shown[256];
    while (tc_git_walk_next(&walk, &entry)) {
        if (parent > 0) tc_buf_add_u8(&receiver->path, '/');
        tc_buf_add_span(&receiver->path, entry.name);
        /* Also ends recursion: a safe path has at most TC_PATH_DEPTH_MAX names. */
        if (!tc_buf_ok(&receiver->path) || !tc_path_is_safe(tc_buf_span(&receiver->path)))
            return tc_fail(err, TC_LIMIT, "a path of the source is too long or too deep: %s",
                           tc_printable(tc_buf_span(&receiver->path), shown, sizeof shown));
        TC_TRY(receive_named(receiver, &entry, err));
        receiver->path.size = parent;
    }
    return TC_OK;
}

static tc_status receive_tree(struct tc_receiver *receiver, const struct tc_sha1 *expected,
                              bool is_root, struct tc_error *err)
{
    size_t room = OPEN_TREES_MAX - receiver->open_trees;
    TC_AUTO_BUF struct tc_buf bytes = tc_buf_new(room < TC_GIT_TREE_MAX ? room : TC_GIT_TREE_MAX);
    struct tc_sha1 id;
    TC_TRY(receive_whole(receiver, TC_OBJECT_TREE, TC_GIT_TREE, &bytes, &id, err));
    if (memcmp(id.bytes, expected->bytes, sizeof id.bytes) != 0)
        return wrong_id(receiver, "a tree", expected, &id, err);
    TC_TRY(tc_git_tree_check(tc_buf_span(&bytes), err));
    TC_TRY(forward_object(receiver, TC_OBJECT_TREE, tc_buf_span(&bytes), err));
    if (bytes.size == 0 && !is_root) {
        struct tc_entry entry = {.kind = TC_ENTRY_FOLDER, .path = tc_buf_span(&receiver->path)};
        TC_TRY(tc_receiver_forward_entry(receiver, &entry, err));
        return tc_receiver_count(receiver, &entry, NULL, err);
    }
    receiver->open_trees += bytes.size;
    TC_TRY(receive_entries(receiver, tc_buf_span(&bytes), err));
    receiver->open_trees -= bytes.size;
    return TC_OK;
}

/* --- tags --- */

static tc_status note_tag(struct tc_receiver *receiver, const struct tc_wire_tag *tag,
                          struct tc_error *err)
{
    struct tc_source_received *result = receiver->result;
    char hex[TC_SHA1_HEX];
    if (result->tags_count >= TC_TAGS_MAX)
        return tc_fail(err, TC_LIMIT, "more than %d tags name the commit", TC_TAGS_MAX);
    for (size_t i = 0; i < result->tags_count; i++)
        if (strncmp(result->tags[i], (const char *)tag->name.data, tag->name.size) == 0 &&
            result->tags[i][tag->name.size] == ' ')
            return tc_fail(err, TC_MALFORMED, "the host sent a tag twice");
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(TC_NAME_MAX + TC_SHA1_HEX + 2);
    tc_hex((struct tc_span){tag->id.bytes, sizeof tag->id.bytes}, hex);
    tc_buf_add_span(&text, tag->name);
    tc_buf_add_format(&text, " %s", hex);
    char **grown = reallocarray(result->tags, result->tags_count + 1, sizeof *grown);
    if (!grown) return tc_fail(err, TC_SYSTEM, "out of memory");
    result->tags = grown;
    grown[result->tags_count] = tc_buf_take_text(&text);
    if (!grown[result->tags_count]) return tc_fail(err, TC_SYSTEM, "out of memory");
    result->tags_count++;
    return TC_OK;
}

static tc_status forward_tag(struct tc_receiver *receiver, const struct tc_wire_tag *tag,
                             struct tc_error *err)
{
    tc_buf_reset(&receiver->scratch);
    tc_wire_tag_encode(tag, &receiver->scratch);
    TC_TRY(tc_buf_check(&receiver->scratch, "a tag", err));
    return tc_receiver_forward(receiver, TC_WIRE_TAG, tc_buf_span(&receiver->scratch), err);
}

/* An annotated tag's own object: it has to be what the name says. */
static tc_status receive_tag_object(struct tc_receiver *receiver, const struct tc_wire_tag *tag,
                                    struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf bytes = tc_buf_new(TC_GIT_TAG_MAX);
    struct tc_git_tag read;
    struct tc_sha1 id;
    TC_TRY(receive_whole(receiver, TC_OBJECT_TAG, TC_GIT_TAG, &bytes, &id, err));
    if (memcmp(id.bytes, tag->id.bytes, sizeof id.bytes) != 0)
        return wrong_id(receiver, "a tag", &tag->id, &id, err);
    TC_TRY(tc_git_tag_read(tc_buf_span(&bytes), &read, err));
    if (memcmp(read.object.bytes, receiver->result->commit.bytes, TC_SHA1_SIZE) != 0)
        return tc_fail(err, TC_REFUSED, "the host sent a tag that names another commit");
    if (!tc_span_equal(read.name, tag->name))
        return tc_fail(err, TC_REFUSED, "the host sent a tag under another name than its own");
    return forward_object(receiver, TC_OBJECT_TAG, tc_buf_span(&bytes), err);
}

static tc_status receive_tag(struct tc_receiver *receiver, struct tc_span payload,
                             struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf copy = tc_buf_new(TC_WIRE_PAYLOAD_MAX);
    struct tc_wire_tag tag;
    tc_buf_add_span(&copy, payload);
    TC_TRY(tc_buf_check(&copy, "a tag", err));
    if (!receiver->hello->git_folder)
        return tc_fail(err, TC_MALFORMED, "the host sent a tag that nobody asked for");
    TC_TRY(tc_wire_tag_decode(tc_buf_span(&copy), &tag, err));
    if (!tc_git_tag_name_is_good(tag.name))
        return tc_fail(err, TC_MALFORMED, "the host sent a tag with an impossible name");
    if (!tag.annotated && memcmp(tag.id.bytes, receiver->result->commit.bytes, TC_SHA1_SIZE) != 0)
        return tc_fail(err, TC_REFUSED, "the host sent a tag that names another commit");
    TC_TRY(note_tag(receiver, &tag, err));
    TC_TRY(forward_tag(receiver, &tag, err));
    return tag.annotated ? receive_tag_object(receiver, &tag, err) : TC_OK;
}

tc_status tc_receive_git(struct tc_receiver *receiver, struct tc_error *err)
{
    TC_TRY(receive_commit(receiver, NULL, err));
    for (;;) {
        enum tc_wire_kind kind;
        struct tc_span payload;
        TC_TRY(tc_channel_read(receiver->host, &kind, &payload, err));
        if (kind == TC_WIRE_SOURCE_END) return TC_OK;
        if (kind != TC_WIRE_TAG)
            return tc_fail(err, TC_MALFORMED, "the host sent frame kind %d after the tree", (int)kind);
        TC_TRY(receive_tag(receiver, payload, err));
    }
}
