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
