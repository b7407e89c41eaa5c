#include "core/entry.h"

#include <string.h>

/* The next name of a path; false at its end. */
static bool next_name(struct tc_span *path, struct tc_span *ret_name)
{
    if (path->size == 0) return false;
    const uint8_t *slash = memchr(path->data, '/', path->size);
    size_t size = slash ? (size_t)(slash - path->data) : path->size;
    *ret_name = (struct tc_span){path->data, size};
    size_t taken = slash ? size + 1 : size;
    path->data += taken;
    path->size -= taken;
    return true;
}

bool tc_path_is_safe(struct tc_span path)
{
    if (path.size == 0 || path.size > TC_PATH_MAX || memchr(path.data, 0, path.size) ||
        path.data[0] == '/' || path.data[path.size - 1] == '/')
        return false;
    size_t depth = 0;
    struct tc_span name;
    while (next_name(&path, &name)) {
        bool dots = (name.size == 1 && name.data[0] == '.') ||
                    (name.size == 2 && name.data[0] == '.' && name.data[1] == '.');
        if (name.size == 0 || name.size > TC_NAME_MAX || dots || ++depth > TC_PATH_DEPTH_MAX)
            return false;
    }
    return true;
}

static uint8_t lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
}

static bool equals_lower(struct tc_span name, const char *word)
{
    if (name.size != strlen(word)) return false;
    for (size_t i = 0; i < name.size; i++)
        if (lower(name.data[i]) != (uint8_t)word[i]) return false;
    return true;
}

/* Windows drops trailing dots and spaces, cuts at a ':' (streams), and knows the
 * folder by its short name as well. */
static bool is_dotgit_on_ntfs(struct tc_span name)
{
    const uint8_t *colon = name.size > 0 ? memchr(name.data, ':', name.size) : NULL;
    if (colon) name.size = (size_t)(colon - name.data);
    const uint8_t *backslash = name.size > 0 ? memchr(name.data, '\\', name.size) : NULL;
    if (backslash) name.size = (size_t)(backslash - name.data);
    while (name.size > 0 && (name.data[name.size - 1] == '.' || name.data[name.size - 1] == ' '))
        name.size--;
    return equals_lower(name, ".git") || equals_lower(name, "git~1");
}

/* HFS+ ignores these code points: U+200C..200F, 202A..202E, 206A..206F, FEFF. */
static size_t ignored_by_hfs(const uint8_t *p, size_t left)
{
    if (left < 3) return 0;
    if (p[0] == 0xe2 && p[1] == 0x80 &&
        ((p[2] >= 0x8c && p[2] <= 0x8f) || (p[2] >= 0xaa && p[2] <= 0xae)))
        return 3;
    if (p[0] == 0xe2 && p[1] == 0x81 && p[2] >= 0xaa && p[2] <= 0xaf) return 3;
    if (p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf) return 3;
    return 0;
}

static bool is_dotgit_on_hfs(struct tc_span name)
{
    static const char wanted[] = ".git";
    size_t matched = 0;
    for (size_t i = 0; i < name.size;) {
        size_t skip = ignored_by_hfs(name.data + i, name.size - i);
        if (skip > 0) {
            i += skip;
        } else {
            if (matched == sizeof wanted - 1 || lower(name.data[i]) != (uint8_t)wanted[matched])
                return false;
            matched++;
            i++;
        }
    }
    return matched == sizeof wanted - 1;
}

bool tc_path_has_dotgit(struct tc_span path)
{
    struct tc_span name;
    while (next_name(&path, &name))
        if (is_dotgit_on_ntfs(name) || is_dotgit_on_hfs(name)) return true;
    return false;
}

static bool ends_in_slash(const struct tc_entry *entry)
{
    return entry->kind == TC_ENTRY_FOLDER || entry->kind == TC_ENTRY_SUBMODULE;
}

int tc_entry_compare(const struct tc_entry *a, const struct tc_entry *b)
{
    size_t a_size = a->path.size + ends_in_slash(a), b_size = b->path.size + ends_in_slash(b);
    size_t shared = a->path.size < b->path.size ? a->path.size : b->path.size;
    int order = shared > 0 ? memcmp(a->path.data, b->path.data, shared) : 0;
    if (order != 0) return order;
    for (size_t i = shared; i < a_size && i < b_size; i++) {
        int x = i < a->path.size ? a->path.data[i] : '/';
        int y = i < b->path.size ? b->path.data[i] : '/';
        if (x != y) return x - y;
    }
    return a_size < b_size ? -1 : a_size > b_size;
}

void tc_entry_encode(const struct tc_entry *entry, struct tc_buf *buf)
{
    tc_buf_add_u8(buf, (uint8_t)entry->kind);
    tc_buf_add_u8(buf, entry->kind == TC_ENTRY_FILE && entry->executable);
    tc_buf_add_u64(buf, entry->kind == TC_ENTRY_FILE ? entry->size : 0);
    tc_buf_add_block(buf, entry->path);
    if (entry->kind == TC_ENTRY_SYMLINK)
        tc_buf_add_block(buf, entry->target);
    else if (entry->kind == TC_ENTRY_SUBMODULE)
        tc_buf_add_block(buf, (struct tc_span){entry->commit.bytes, sizeof entry->commit.bytes});
    else
        tc_buf_add_block(buf, (struct tc_span){0});
}

/* What the kind allows in the other fields. */
static bool fields_fit(const struct tc_entry *entry, uint8_t executable, struct tc_span extra)
{
    if (entry->kind != TC_ENTRY_FILE && (executable != 0 || entry->size != 0)) return false;
    switch (entry->kind) {
    case TC_ENTRY_FILE:
        return executable <= 1 && extra.size == 0 && entry->size <= TC_FILE_SIZE_MAX;
    case TC_ENTRY_SYMLINK:
        return extra.size > 0 && !memchr(extra.data, 0, extra.size);
    case TC_ENTRY_FOLDER: return extra.size == 0;
    case TC_ENTRY_SUBMODULE: return extra.size == TC_SHA1_SIZE;
    }
    return false;
}

tc_status tc_entry_decode(struct tc_span bytes, struct tc_entry *ret_entry, struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(bytes);
    struct tc_entry entry = {0};
    struct tc_span extra;
    uint8_t kind, executable;
    if (!tc_cursor_u8(&cursor, &kind) || !tc_cursor_u8(&cursor, &executable) ||
        !tc_cursor_u64(&cursor, &entry.size) ||
        !tc_cursor_block(&cursor, TC_PATH_MAX, &entry.path) ||
        !tc_cursor_block(&cursor, TC_PATH_MAX, &extra) || tc_cursor_left(&cursor) != 0)
        return tc_fail(err, TC_MALFORMED, "a tree record is cut short or has trailing bytes");
    if (kind < TC_ENTRY_FILE || kind > TC_ENTRY_SUBMODULE)
        return tc_fail(err, TC_MALFORMED, "a tree record of unknown kind %u", kind);
    entry.kind = (enum tc_entry_kind)kind;
    if (!fields_fit(&entry, executable, extra))
        return tc_fail(err, TC_MALFORMED, "a tree record whose fields do not fit its kind %u", kind);
    if (!tc_path_is_safe(entry.path))
        return tc_fail(err, TC_MALFORMED,
                       "a tree record whose path leaves the tree, is empty or too long");
    entry.executable = executable == 1;
    if (entry.kind == TC_ENTRY_SYMLINK) entry.target = extra;
    if (entry.kind == TC_ENTRY_SUBMODULE) memcpy(entry.commit.bytes, extra.data, extra.size);
    *ret_entry = entry;
    return TC_OK;
}
