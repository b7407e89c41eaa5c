/* Names that git, on one file system or another, takes for its own. A source that
 * is harmless here must not become a trap where somebody unpacks it again, and
 * `git fsck` refuses it anyway. NTFS drops dots and spaces at the end, cuts a name
 * at ':' (streams), splits at '\\' and knows files by short names as well; HFS+
 * ignores some code points; both ignore case. */
#include "core/entry.h"

#include <string.h>

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

/* Takes what is before the next mark off the front of text; false at its end. */
static bool next_piece(struct tc_span *text, uint8_t mark, struct tc_span *ret_piece)
{
    if (text->size == 0) return false;
    const uint8_t *end = memchr(text->data, mark, text->size);
    size_t size = end ? (size_t)(end - text->data) : text->size;
    *ret_piece = (struct tc_span){text->data, size};
    size_t taken = end ? size + 1 : size;
    text->data += taken;
    text->size -= taken;
    return true;
}

static struct tc_span as_ntfs_opens_it(struct tc_span name)
{
    const uint8_t *colon = name.size > 0 ? memchr(name.data, ':', name.size) : NULL;
    if (colon) name.size = (size_t)(colon - name.data);
    while (name.size > 0 && (name.data[name.size - 1] == '.' || name.data[name.size - 1] == ' '))
        name.size--;
    return name;
}

/* U+200C..200F, 202A..202E, 206A..206F, FEFF. */
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

static bool is_on_hfs(struct tc_span name, const char *wanted)
{
    size_t matched = 0, size = strlen(wanted);
    for (size_t i = 0; i < name.size;) {
        size_t skip = ignored_by_hfs(name.data + i, name.size - i);
        if (skip > 0) {
            i += skip;
        } else {
            if (matched == size || lower(name.data[i]) != (uint8_t)wanted[matched]) return false;
            matched++;
            i++;
        }
    }
    return matched == size;
}

static bool is_dotgit(struct tc_span name)
{
    if (is_on_hfs(name, ".git")) return true;
    struct tc_span piece;
    while (next_piece(&name, '\\', &piece)) {
        piece = as_ntfs_opens_it(piece);
        if (equals_lower(piece, ".git") || equals_lower(piece, "git~1")) return true;
    }
    return false;
}

bool tc_path_has_dotgit(struct tc_span path)
{
    struct tc_span name;
    while (next_piece(&path, '/', &name))
        if (is_dotgit(name)) return true;
    return false;
}

/* A short name that NTFS may have given .gitmodules: "gitmod~1" to "gitmod~4", and
 * from the fifth on a part of "gi7eba" (a checksum of the long name), '~' and a
 * number, eight characters in all. */
static bool is_short_gitmodules(struct tc_span name)
{
    static const char checksum[] = "gi7eba";
    enum { SHORT_NAME = 8, PLAIN = 6 };
    if (name.size != SHORT_NAME) return false;
    if (equals_lower((struct tc_span){name.data, PLAIN + 1}, "gitmod~"))
        return name.data[PLAIN + 1] >= '1' && name.data[PLAIN + 1] <= '4';
    size_t i = 0;
    while (i < PLAIN && lower(name.data[i]) == (uint8_t)checksum[i])
        i++;
    if (name.data[i] != '~' || name.data[i + 1] < '1') return false;
    for (i++; i < SHORT_NAME; i++)
        if (name.data[i] < '0' || name.data[i] > '9') return false;
    return true;
}

bool tc_name_is_gitmodules(struct tc_span name)
{
    struct tc_span opened = as_ntfs_opens_it(name);
    return is_on_hfs(name, ".gitmodules") || equals_lower(opened, ".gitmodules") ||
           is_short_gitmodules(opened);
}
