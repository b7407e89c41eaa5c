#include "core/gitobj.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

void tc_git_hash_start(struct tc_hash *sha1, enum tc_git_kind kind, uint64_t size)
{
    static const char *const names[] = {"commit", "tree", "blob", "tag"};
    char header[40];
    int length = snprintf(header, sizeof header, "%s %llu", names[kind], (unsigned long long)size);
    tc_hash_restart(sha1);
    tc_hash_add(sha1, header, (size_t)length + 1);
}

tc_status tc_git_id_of(enum tc_git_kind kind, struct tc_span bytes, struct tc_sha1 *ret_id,
                       struct tc_error *err)
{
    TC_AUTO_HASH struct tc_hash *sha1 = tc_hash_new(TC_HASH_SHA1);
    if (!sha1) return tc_fail(err, TC_SYSTEM, "out of memory for a digest");
    tc_git_hash_start(sha1, kind, bytes.size);
    tc_hash_add(sha1, bytes.data, bytes.size);
    return tc_hash_finish(sha1, ret_id->bytes, sizeof ret_id->bytes, err);
}

/* --- header lines of commits and tags --- */

static bool take_line(struct tc_cursor *cursor, struct tc_span *ret_line)
{
    if (tc_cursor_left(cursor) == 0) return false;
    const uint8_t *end = memchr(cursor->next, '\n', tc_cursor_left(cursor));
    struct tc_span newline;
    if (!end || !tc_cursor_take(cursor, (size_t)(end - cursor->next), ret_line)) return false;
    return tc_cursor_take(cursor, 1, &newline);
}

/* "<key> <value>"; the value through ret_value. */
static bool line_has(struct tc_span line, const char *key, struct tc_span *ret_value)
{
    size_t size = strlen(key);
    if (line.size <= size || memcmp(line.data, key, size) != 0 || line.data[size] != ' ')
        return false;
    *ret_value = (struct tc_span){line.data + size + 1, line.size - size - 1};
    return true;
}

static bool peek_has(const struct tc_cursor *cursor, const char *key)
{
    struct tc_cursor trial = *cursor;
    struct tc_span line, value;
    return take_line(&trial, &line) && line_has(line, key, &value);
}

static bool read_id(struct tc_span text, struct tc_sha1 *ret_id)
{
    char hex[TC_SHA1_HEX];
    if (text.size != TC_SHA1_HEX - 1) return false;
    memcpy(hex, text.data, text.size);
    hex[text.size] = '\0';
    for (size_t i = 0; i < text.size; i++)
        if (hex[i] >= 'A' && hex[i] <= 'F') return false; /* git writes lower case */
    return tc_unhex(hex, ret_id->bytes, sizeof ret_id->bytes);
}

static bool is_null_id(const struct tc_sha1 *id)
{
    static const struct tc_sha1 null_id;
    return memcmp(id->bytes, null_id.bytes, sizeof null_id.bytes) == 0;
}

/* A decimal number without sign, padding or overflow. */
static bool read_number(struct tc_span text, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (text.size == 0 || text.size > 19 || (text.size > 1 && text.data[0] == '0')) return false;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return false;
        value = value * 10 + (uint64_t)(text.data[i] - '0');
    }
    if (value > max) return false;
    *ret_value = value;
    return true;
}

/* "Name <mail> seconds +hhmm"; an empty name still has its space. */
static bool read_ident(struct tc_span ident, int64_t *ret_time)
{
    const uint8_t *open = ident.size > 0 ? memchr(ident.data, '<', ident.size) : NULL;
    if (!open || open == ident.data || open[-1] != ' ') return false;
    if (memchr(ident.data, '>', (size_t)(open - ident.data))) return false;
    struct tc_span rest = {open + 1, ident.size - (size_t)(open + 1 - ident.data)};
    const uint8_t *close = rest.size > 0 ? memchr(rest.data, '>', rest.size) : NULL;
    if (!close || memchr(rest.data, '<', (size_t)(close - rest.data))) return false;
    rest.size -= (size_t)(close + 1 - rest.data);
    rest.data = close + 1;
    if (rest.size < 8 || rest.data[0] != ' ') return false; /* " 0 +0000" */
    const uint8_t *zone = rest.data + rest.size - 5;
    if (zone[-1] != ' ' || (zone[0] != '+' && zone[0] != '-')) return false;
    for (size_t i = 1; i < 5; i++)
        if (zone[i] < '0' || zone[i] > '9') return false;
    struct tc_span digits = {rest.data + 1, rest.size - 7};
    uint64_t seconds;
    /* The year 9999: later times neither print nor fit a build's clock. */
    if (!read_number(digits, UINT64_C(253402300799), &seconds)) return false;
    *ret_time = (int64_t)seconds;
    return true;
}

static tc_status bad(const char *what, const char *why, struct tc_error *err)
{
    return tc_fail(err, TC_MALFORMED, "%s: %s", what, why);
}

tc_status tc_git_commit_read(struct tc_span bytes, struct tc_git_commit *ret_commit,
                             struct tc_error *err)
{
    static const char what[] = "git commit";
    struct tc_git_commit commit;
    struct tc_cursor cursor = tc_cursor_of(bytes);
    struct tc_span line, value;
    struct tc_sha1 parent;
    int64_t author;
    if (bytes.size > 0 && memchr(bytes.data, 0, bytes.size))
        return bad(what, "a NUL byte in it", err);
    if (!take_line(&cursor, &line) || !line_has(line, "tree", &value) ||
        !read_id(value, &commit.tree))
        return bad(what, "expected a tree line first", err);
    while (peek_has(&cursor, "parent"))
        if (!take_line(&cursor, &line) || !line_has(line, "parent", &value) ||
            !read_id(value, &parent))
            return bad(what, "a malformed parent line", err);
    if (!take_line(&cursor, &line) || !line_has(line, "author", &value) ||
        !read_ident(value, &author))
        return bad(what, "expected an author line", err);
    if (peek_has(&cursor, "author")) return bad(what, "two authors", err);
    if (!take_line(&cursor, &line) || !line_has(line, "committer", &value) ||
        !read_ident(value, &commit.time))
        return bad(what, "expected a committer line", err);
    *ret_commit = commit;
    return TC_OK;
}

/* --- trees --- */

static bool take_until(struct tc_cursor *cursor, uint8_t mark, struct tc_span *ret_span)
{
    if (tc_cursor_left(cursor) == 0) return false;
    const uint8_t *end = memchr(cursor->next, mark, tc_cursor_left(cursor));
    struct tc_span skipped;
    return end && tc_cursor_take(cursor, (size_t)(end - cursor->next), ret_span) &&
           tc_cursor_take(cursor, 1, &skipped);
}

static bool read_mode(struct tc_span mode, enum tc_git_entry_kind *ret_kind)
{
    static const struct {
        const char *text;
        enum tc_git_entry_kind kind;
    } modes[] = {{"100644", TC_GIT_FILE},
                 {"100755", TC_GIT_EXECUTABLE},
                 {"120000", TC_GIT_SYMLINK},
                 {"40000", TC_GIT_FOLDER},
                 {"160000", TC_GIT_LINK}};
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (tc_span_equal(mode, tc_span_of_text(modes[i].text))) {
            *ret_kind = modes[i].kind;
            return true;
        }
    return false;
}

bool tc_git_tree_next(struct tc_cursor *cursor, struct tc_git_entry *ret_entry)
{
    struct tc_git_entry entry;
    struct tc_span mode, id;
    if (!take_until(cursor, ' ', &mode) || !read_mode(mode, &entry.kind) ||
        !take_until(cursor, '\0', &entry.name) || !tc_cursor_take(cursor, TC_SHA1_SIZE, &id))
        return false;
    memcpy(entry.id.bytes, id.data, id.size);
    *ret_entry = entry;
    return true;
}

/* Git sorts a folder as if its name ended in '/'. */
static int compare_names(const struct tc_git_entry *a, const struct tc_git_entry *b)
{
    struct tc_entry x = {.kind = a->kind == TC_GIT_FOLDER ? TC_ENTRY_FOLDER : TC_ENTRY_FILE,
                         .path = a->name};
    struct tc_entry y = {.kind = b->kind == TC_GIT_FOLDER ? TC_ENTRY_FOLDER : TC_ENTRY_FILE,
                         .path = b->name};
    return tc_entry_compare(&x, &y);
}

static bool is_prefix(struct tc_span prefix, struct tc_span name)
{
    return prefix.size < name.size && memcmp(prefix.data, name.data, prefix.size) == 0;
}

/* "a" as a file and "a" as a folder sort apart, with "a-b" or "a.c" in between.
 * A folder's twin can only be one of the names before it that are its prefixes;
 * those form a chain, which this keeps (as fsck does). */
struct twins {
    struct tc_span files[TC_NAME_MAX + 1];
    size_t count;
};

static bool has_twin(struct twins *twins, const struct tc_git_entry *entry)
{
    while (twins->count > 0 && !is_prefix(twins->files[twins->count - 1], entry->name) &&
           !tc_span_equal(twins->files[twins->count - 1], entry->name))
        twins->count--;
    for (size_t i = 0; i < twins->count; i++)
        if (tc_span_equal(twins->files[i], entry->name)) return true;
    if (entry->kind != TC_GIT_FOLDER && twins->count <= TC_NAME_MAX)
        twins->files[twins->count++] = entry->name;
    return false;
}

static tc_status check_name(const struct tc_git_entry *entry, struct tc_error *err)
{
    char shown[300];
    struct tc_span name = entry->name;
    if (name.size == 0 || name.size > TC_NAME_MAX || memchr(name.data, '/', name.size) ||
        !tc_path_is_safe(name) || tc_path_has_dotgit(name))
        return tc_fail(err, TC_MALFORMED, "git tree: the name \"%s\" is not allowed in a source",
                       tc_printable(name, shown, sizeof shown));
    if (entry->kind == TC_GIT_SYMLINK && tc_name_is_gitmodules(name))
        return bad("git tree", ".gitmodules is a symlink", err);
    return TC_OK;
}

tc_status tc_git_tree_check(struct tc_span bytes, struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(bytes);
    struct tc_git_entry last = {0}, entry;
    struct twins twins = {.count = 0};
    for (size_t count = 0; tc_cursor_left(&cursor) > 0; count++) {
        if (count >= TC_GIT_TREE_ENTRIES_MAX)
            return tc_fail(err, TC_LIMIT, "git tree: more than %d entries", TC_GIT_TREE_ENTRIES_MAX);
        if (!tc_git_tree_next(&cursor, &entry))
            return bad("git tree", "a malformed entry, or a mode that is none of 100644, 100755, "
                                   "120000, 40000 and 160000", err);
        TC_TRY(check_name(&entry, err));
        if (is_null_id(&entry.id)) return bad("git tree", "an entry with a null id", err);
        if (count > 0 && compare_names(&last, &entry) >= 0)
            return bad("git tree", "entries out of order, or a name twice", err);
        if (has_twin(&twins, &entry)) return bad("git tree", "a name both as file and folder", err);
        last = entry;
    }
    return TC_OK;
}

/* --- the order of the source --- */

struct tc_git_walk tc_git_walk_of(struct tc_span tree)
{
    return (struct tc_git_walk){.tree = tree};
}

static bool entry_at(struct tc_span tree, size_t *offset, struct tc_git_entry *ret_entry)
{
    struct tc_cursor cursor =
        tc_cursor_of((struct tc_span){tree.data + *offset, tree.size - *offset});
    if (tree.size == *offset || !tc_git_tree_next(&cursor, ret_entry)) return false;
    *offset = tree.size - tc_cursor_left(&cursor);
    return true;
}

static bool sorts_before(const struct tc_git_entry *link, const struct tc_git_entry *next)
{
    struct tc_entry x = {.kind = TC_ENTRY_SUBMODULE, .path = link->name};
    bool is_folder = next->kind == TC_GIT_FOLDER || next->kind == TC_GIT_LINK;
    struct tc_entry y = {.kind = is_folder ? TC_ENTRY_FOLDER : TC_ENTRY_FILE, .path = next->name};
    return tc_entry_compare(&x, &y) < 0;
}

/* Git sorts a link as if it were a file, the source as a folder: "lib" comes after
 * "lib-2" and "lib.c". A link waits until what comes next sorts behind it. Those
 * that wait are prefixes of each other, each longer than the one below it, so that
 * the last one is the first to go and a name's length bounds their number. */
bool tc_git_walk_next(struct tc_git_walk *walk, struct tc_git_entry *ret_entry)
{
    for (;;) {
        struct tc_git_entry next, link;
        size_t after = walk->next;
        bool more = entry_at(walk->tree, &after, &next);
        if (walk->links_count > 0) {
            size_t at = walk->links[walk->links_count - 1];
            if (!entry_at(walk->tree, &at, &link)) return false;
            if (!more || sorts_before(&link, &next)) {
                walk->links_count--;
                *ret_entry = link;
                return true;
            }
        }
        if (!more) return false;
        size_t start = walk->next;
        walk->next = after;
        if (next.kind != TC_GIT_LINK) {
            *ret_entry = next;
            return true;
        }
        if (walk->links_count == TC_NAME_MAX) return false; /* no checked tree has so many */
        walk->links[walk->links_count++] = (uint32_t)start;
    }
}

/* --- tags --- */

tc_status tc_git_tag_read(struct tc_span bytes, struct tc_git_tag *ret_tag, struct tc_error *err)
{
    static const char what[] = "git tag";
    struct tc_git_tag tag;
    struct tc_cursor cursor = tc_cursor_of(bytes);
    struct tc_span line, value;
    int64_t when;
    if (bytes.size > 0 && memchr(bytes.data, 0, bytes.size))
        return bad(what, "a NUL byte in it", err);
    if (!take_line(&cursor, &line) || !line_has(line, "object", &value) ||
        !read_id(value, &tag.object))
        return bad(what, "expected an object line first", err);
    if (!take_line(&cursor, &line) || !line_has(line, "type", &value) ||
        !tc_span_equal(value, tc_span_of_text("commit")))
        return bad(what, "it names something else than a commit", err);
    if (!take_line(&cursor, &line) || !line_has(line, "tag", &tag.name) ||
        !tc_git_tag_name_is_good(tag.name))
        return bad(what, "expected a tag line with a good name", err);
    /* Tags of git's first year have no tagger, which fsck lets pass. */
    if (peek_has(&cursor, "tagger") && (!take_line(&cursor, &line) ||
                                        !line_has(line, "tagger", &value) ||
                                        !read_ident(value, &when)))
        return bad(what, "a malformed tagger line", err);
    if (tc_cursor_left(&cursor) > 0 && *cursor.next != '\n')
        return bad(what, "expected an empty line after the headers", err);
    *ret_tag = tag;
    return TC_OK;
}

static bool ends_with(struct tc_span text, const char *word)
{
    size_t size = strlen(word);
    return text.size >= size && memcmp(text.data + text.size - size, word, size) == 0;
}

static bool component_is_good(struct tc_span name)
{
    return name.size > 0 && name.data[0] != '.' &&
           name.data[name.size - 1] != '.' && !ends_with(name, ".lock");
}

bool tc_git_tag_name_is_good(struct tc_span name)
{
    if (name.size == 0 || name.size > TC_NAME_MAX || !tc_is_utf8(name)) return false;
    if (name.data[0] == '-') return false; /* would read as an option */
    size_t start = 0;
    for (size_t i = 0; i <= name.size; i++) {
        if (i == name.size || name.data[i] == '/') {
            if (!component_is_good((struct tc_span){name.data + start, i - start})) return false;
            start = i + 1;
            continue;
        }
        uint8_t c = name.data[i];
        if (c <= ' ' || c == 0x7f || strchr("~^:?*[\\", c)) return false;
        bool pair = i + 1 < name.size;
        if (pair && c == '.' && name.data[i + 1] == '.') return false;
        if (pair && c == '@' && name.data[i + 1] == '{') return false;
    }
    return !(name.size == 1 && name.data[0] == '@');
}

/* --- LFS pointers --- */

static const char lfs_version[] = "version https://git-lfs.github.com/spec/v1\n";

bool tc_git_is_lfs_pointer(struct tc_span bytes)
{
    size_t size = sizeof lfs_version - 1;
    return bytes.size >= size && bytes.size <= TC_GIT_LFS_POINTER_MAX &&
           memcmp(bytes.data, lfs_version, size) == 0;
}

tc_status tc_git_lfs_read(struct tc_span bytes, struct tc_git_lfs *ret_lfs, struct tc_error *err)
{
    static const char what[] = "git LFS pointer";
    static const char method[] = "sha256:";
    struct tc_git_lfs lfs;
    struct tc_cursor cursor = tc_cursor_of(bytes);
    struct tc_span line, value;
    char hex[TC_SHA256_HEX];
    if (!tc_git_is_lfs_pointer(bytes) || !take_line(&cursor, &line))
        return bad(what, "it has another version than 1", err);
    if (!take_line(&cursor, &line) || !line_has(line, "oid", &value) ||
        value.size != sizeof method - 1 + TC_SHA256_HEX - 1 ||
        memcmp(value.data, method, sizeof method - 1) != 0)
        return bad(what, "expected an oid line with a sha256 digest (extensions are not read)", err);
    memcpy(hex, value.data + sizeof method - 1, TC_SHA256_HEX - 1);
    hex[TC_SHA256_HEX - 1] = '\0';
    if (!tc_unhex(hex, lfs.oid.bytes, sizeof lfs.oid.bytes)) return bad(what, "a bad oid", err);
    if (!take_line(&cursor, &line) || !line_has(line, "size", &value) ||
        !read_number(value, TC_FILE_SIZE_MAX, &lfs.size) || tc_cursor_left(&cursor) != 0)
        return bad(what, "expected a size line and nothing after it", err);
    *ret_lfs = lfs;
    return TC_OK;
}
