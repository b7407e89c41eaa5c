/* A list for each kind of digest. An entry is the digest and the number of the file that
 * names it, so that sorting by bytes puts equal digests together, the first file in front.
 * A file is read whole or not at all: what it had added before its first fault is taken
 * away again. */
#include "core/pins.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/entry.h"
#include "core/pins_internal.h"

enum {
    KINDS = TC_PIN_GO_ZIP,
    FILE_SIZE = 2, /* the file's number, big-endian */
    SHA512_SIZE = 64,
    ENTRY_MAX = SHA512_SIZE + FILE_SIZE,
    PATH_BYTES_MAX = 4096,
};

struct list {
    uint8_t *entries;
    size_t count, allocated;
};

struct tc_pins {
    struct list lists[KINDS];
    char *files[TC_PINS_FILES_MAX];
    size_t files_count;
    size_t count; /* of all lists */
};

static size_t digest_size(enum tc_pin_kind kind)
{
    switch (kind) {
    case TC_PIN_SHA1: return TC_SHA1_SIZE;
    case TC_PIN_SHA512: return SHA512_SIZE;
    case TC_PIN_SHA256:
    case TC_PIN_GO_MOD:
    case TC_PIN_GO_ZIP: break;
    }
    return TC_SHA256_SIZE;
}

static size_t entry_size(enum tc_pin_kind kind)
{
    return digest_size(kind) + FILE_SIZE;
}

static size_t file_of(const uint8_t *entry, enum tc_pin_kind kind)
{
    const uint8_t *number = entry + digest_size(kind);
    return (size_t)number[0] << 8 | number[1];
}

struct tc_pins *tc_pins_new(void)
{
    return calloc(1, sizeof(struct tc_pins));
}

void tc_pins_free(struct tc_pins *pins)
{
    if (!pins) return;
    for (size_t i = 0; i < KINDS; i++)
        free(pins->lists[i].entries);
    for (size_t i = 0; i < pins->files_count; i++)
        free(pins->files[i]);
    free(pins);
}

void tc_pins_free_ptr(struct tc_pins **pins)
{
    tc_pins_free(*pins);
    *pins = NULL;
}

/* --- adding */

/* Room for one entry more; false: no memory. */
static bool grow(struct list *list, size_t size)
{
    enum { FIRST = 64 };
    if (list->count < list->allocated) return true;
    size_t wanted = list->allocated ? 2 * list->allocated : FIRST;
    uint8_t *entries = realloc(list->entries, wanted * size);
    if (!entries) return false;
    list->entries = entries;
    list->allocated = wanted;
    return true;
}

tc_status tc_pins_put(struct tc_pins *pins, enum tc_pin_kind kind, const uint8_t *digest,
                      struct tc_error *err)
{
    struct list *list = &pins->lists[kind - 1];
    size_t size = entry_size(kind);
    if (pins->count == TC_PINS_MAX)
        return tc_fail(err, TC_LIMIT, "the lock files of the source name more than %d digests",
                       TC_PINS_MAX);
    if (!grow(list, size)) return tc_fail(err, TC_SYSTEM, "out of memory for a list of digests");
    uint8_t *entry = list->entries + list->count * size;
    memcpy(entry, digest, digest_size(kind));
    entry[size - 2] = (uint8_t)(pins->files_count >> 8);
    entry[size - 1] = (uint8_t)pins->files_count;
    list->count++;
    pins->count++;
    return TC_OK;
}

typedef tc_status read_fn(struct tc_pins *pins, const char *name, struct tc_span content,
                          struct tc_error *err);

static bool ends_with(const char *text, const char *end)
{
    size_t size = strlen(text), end_size = strlen(end);
    return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

static read_fn *reader_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash ? slash + 1 : path;
    if (strcmp(name, "Cargo.lock") == 0) return tc_pins_read_cargo;
    if (strcmp(name, "package-lock.json") == 0 || strcmp(name, "npm-shrinkwrap.json") == 0)
        return tc_pins_read_npm;
    if (strcmp(name, "go.sum") == 0 || strcmp(name, "go.work.sum") == 0) return tc_pins_read_go;
    if (strncmp(name, "requirements", strlen("requirements")) == 0 && ends_with(name, ".txt"))
        return tc_pins_read_requirements;
    return NULL;
}

bool tc_pins_wants(const char *path)
{
    return reader_of(path) != NULL;
}

static tc_status add_file(struct tc_pins *pins, const char *path, struct tc_span content,
                          struct tc_error *err)
{
    char name[256];
    read_fn *reader = reader_of(path);
    tc_printable(tc_span_of_text(path), name, sizeof name);
    if (!reader || strlen(path) > PATH_BYTES_MAX)
        return tc_fail(err, TC_USAGE, "%s is no lock file that digests are read from", name);
    if (pins->files_count == TC_PINS_FILES_MAX)
        return tc_fail(err, TC_LIMIT, "%s is not read: the source has more than %d lock files",
                       name, TC_PINS_FILES_MAX);
    if (content.size > TC_PINS_FILE_MAX)
        return tc_fail(err, TC_LIMIT, "%s has %zu bytes; lock files of at most %d are read", name,
                       content.size, TC_PINS_FILE_MAX);
    if (!tc_is_utf8(content))
        return tc_fail(err, TC_MALFORMED, "%s: expected text in UTF-8 without NUL", name);
    TC_AUTO_FREE char *copy = strdup(path);
    if (!copy) return tc_fail(err, TC_SYSTEM, "out of memory for a path");
    TC_TRY(reader(pins, name, content, err));
    pins->files[pins->files_count++] = TC_TAKE(copy);
    return TC_OK;
}

static tc_status add_listed(struct tc_pins *pins, const char *path, const struct tc_sha256 *digests,
                            size_t count, struct tc_error *err)
{
    if (strlen(path) > PATH_BYTES_MAX || !tc_path_is_safe(tc_span_of_text(path)))
        return tc_fail(err, TC_USAGE, "a build file has no such path");
    if (pins->files_count == TC_PINS_FILES_MAX)
        return tc_fail(err, TC_LIMIT, "the source has %d lock files", TC_PINS_FILES_MAX);
    TC_AUTO_FREE char *copy = strdup(path);
    if (!copy) return tc_fail(err, TC_SYSTEM, "out of memory for a path");
    for (size_t i = 0; i < count; i++)
        TC_TRY(tc_pins_put(pins, TC_PIN_SHA256, digests[i].bytes, err));
    pins->files[pins->files_count++] = TC_TAKE(copy);
    return TC_OK;
}

struct marks {
    size_t counts[KINDS], count;
};

static struct marks mark(const struct tc_pins *pins)
{
    struct marks marks = {.count = pins->count};
    for (size_t i = 0; i < KINDS; i++)
        marks.counts[i] = pins->lists[i].count;
    return marks;
}

/* What fails half way leaves nothing. */
static tc_status settle(struct tc_pins *pins, const struct marks *marks, tc_status status)
{
    if (status == TC_OK) return TC_OK;
    for (size_t i = 0; i < KINDS; i++)
        pins->lists[i].count = marks->counts[i];
    pins->count = marks->count;
    return status;
}

tc_status tc_pins_add(struct tc_pins *pins, const char *path, struct tc_span content,
                      struct tc_error *err)
{
    const struct marks marks = mark(pins);
    return settle(pins, &marks, add_file(pins, path, content, err));
}

tc_status tc_pins_add_listed(struct tc_pins *pins, const char *path,
                             const struct tc_sha256 *digests, size_t count, struct tc_error *err)
{
    const struct marks marks = mark(pins);
    return settle(pins, &marks, add_listed(pins, path, digests, count, err));
}

/* --- asking */

static int compare_sha1(const void *a, const void *b)
{
    return memcmp(a, b, TC_SHA1_SIZE + FILE_SIZE);
}

static int compare_sha256(const void *a, const void *b)
{
    return memcmp(a, b, TC_SHA256_SIZE + FILE_SIZE);
}

static int compare_sha512(const void *a, const void *b)
{
    return memcmp(a, b, SHA512_SIZE + FILE_SIZE);
}

void tc_pins_ready(struct tc_pins *pins)
{
    for (int i = 0; i < KINDS; i++) {
        enum tc_pin_kind kind = (enum tc_pin_kind)(i + 1);
        struct list *list = &pins->lists[i];
        size_t size = entry_size(kind), kept = 0;
        if (list->count == 0) continue;
        qsort(list->entries, list->count, size,
              kind == TC_PIN_SHA1     ? compare_sha1
              : kind == TC_PIN_SHA512 ? compare_sha512
                                      : compare_sha256);
        for (size_t k = 0; k < list->count; k++) {
            const uint8_t *entry = list->entries + k * size;
            if (kept > 0 &&
                memcmp(list->entries + (kept - 1) * size, entry, digest_size(kind)) == 0)
                continue;
            memmove(list->entries + kept++ * size, entry, size);
        }
        pins->count -= list->count - kept;
        list->count = kept;
    }
}

bool tc_pins_has(const struct tc_pins *pins, enum tc_pin_kind kind)
{
    return pins && pins->lists[kind - 1].count > 0;
}

const char *tc_pins_find(const struct tc_pins *pins, enum tc_pin_kind kind, const uint8_t *digest,
                         size_t size)
{
    if (!pins || size != digest_size(kind)) return NULL;
    const struct list *list = &pins->lists[kind - 1];
    size_t low = 0, high = list->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const uint8_t *entry = list->entries + middle * entry_size(kind);
        int order = memcmp(digest, entry, size);
        if (order == 0) return pins->files[file_of(entry, kind)];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* --- from session to recorder
 *
 *   pins = count:u16 (path:block)*count, then for each kind count:u32 (digest file:u16)*count
 *
 * sorted, each digest once. */

void tc_pins_encode(const struct tc_pins *pins, struct tc_buf *buf)
{
    tc_buf_add_u16(buf, pins ? (uint16_t)pins->files_count : 0);
    for (size_t i = 0; pins && i < pins->files_count; i++)
        tc_buf_add_block(buf, tc_span_of_text(pins->files[i]));
    for (int i = 0; i < KINDS; i++) {
        const struct list *list = pins ? &pins->lists[i] : NULL;
        tc_buf_add_u32(buf, list ? (uint32_t)list->count : 0);
        if (list && list->count > 0)
            tc_buf_add(buf, list->entries, list->count * entry_size((enum tc_pin_kind)(i + 1)));
    }
}

static bool decode_files(struct tc_cursor *cursor, struct tc_pins *pins)
{
    uint16_t count;
    struct tc_span path;
    if (!tc_cursor_u16(cursor, &count) || count > TC_PINS_FILES_MAX) return false;
    while (pins->files_count < count) {
        if (!tc_cursor_block(cursor, PATH_BYTES_MAX, &path) || !tc_is_utf8(path)) return false;
        char *text = tc_span_to_text(path);
        if (!text) return false;
        pins->files[pins->files_count++] = text;
        if (!tc_path_is_safe(path)) return false;
    }
    return true;
}

/* Copies what is there, never by the count alone. */
static bool decode_list(struct tc_cursor *cursor, enum tc_pin_kind kind, struct tc_pins *pins)
{
    struct list *list = &pins->lists[kind - 1];
    size_t size = entry_size(kind);
    uint32_t count;
    struct tc_span entries;
    if (!tc_cursor_u32(cursor, &count) || count > TC_PINS_MAX - pins->count ||
        !tc_cursor_take(cursor, count * size, &entries))
        return false;
    if (count == 0) return true;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *entry = entries.data + i * size;
        if (file_of(entry, kind) >= pins->files_count) return false;
        if (i > 0 && memcmp(entry - size, entry, digest_size(kind)) >= 0) return false;
    }
    list->entries = malloc(entries.size);
    if (!list->entries) return false;
    memcpy(list->entries, entries.data, entries.size);
    list->count = list->allocated = count;
    pins->count += count;
    return true;
}

tc_status tc_pins_decode(struct tc_span bytes, struct tc_pins **ret_pins, struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(bytes);
    TC_AUTO_PINS struct tc_pins *pins = tc_pins_new();
    if (!pins) return tc_fail(err, TC_SYSTEM, "out of memory for a list of digests");
    bool good = decode_files(&cursor, pins);
    for (int kind = TC_PIN_SHA256; good && kind <= KINDS; kind++)
        good = decode_list(&cursor, (enum tc_pin_kind)kind, pins);
    if (!good || tc_cursor_left(&cursor) > 0)
        return tc_fail(err, TC_MALFORMED,
                       "the digests of the source's lock files are not in their form");
    *ret_pins = TC_TAKE(pins);
    return TC_OK;
}
