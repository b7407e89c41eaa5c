#include "core/manifest.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

struct tc_manifest {
    struct tc_hash *hash;
    struct tc_manifest_summary summary;
    uint64_t entries;
    bool has_last;
    struct tc_entry last;
    struct tc_buf last_path; /* what last borrows from */
    struct tc_buf line;
};

enum { LINE_MAX_SIZE = 2 * TC_PATH_MAX + 256 };

struct tc_manifest *tc_manifest_new(void)
{
    struct tc_manifest *manifest = calloc(1, sizeof *manifest);
    if (!manifest) return NULL;
    manifest->hash = tc_hash_new(TC_HASH_SHA256);
    if (!manifest->hash) {
        free(manifest);
        return NULL;
    }
    manifest->last_path = tc_buf_new(TC_PATH_MAX);
    manifest->line = tc_buf_new(LINE_MAX_SIZE);
    static const char header[] = "tee-compile/tree/1\n";
    tc_hash_add(manifest->hash, header, sizeof header - 1);
    return manifest;
}

void tc_manifest_free(struct tc_manifest *manifest)
{
    if (!manifest) return;
    tc_hash_free(manifest->hash);
    tc_buf_free(&manifest->last_path);
    tc_buf_free(&manifest->line);
    free(manifest);
}

void tc_manifest_free_ptr(struct tc_manifest **manifest)
{
    tc_manifest_free(*manifest);
    *manifest = NULL;
}

static void add_counted(struct tc_buf *line, struct tc_span text)
{
    tc_buf_add_format(line, "%zu:", text.size);
    tc_buf_add_span(line, text);
}

static void write_line(struct tc_buf *line, const struct tc_entry *entry,
                       const struct tc_sha256 *content)
{
    char hex[TC_SHA256_HEX];
    switch (entry->kind) {
    case TC_ENTRY_FILE:
        tc_hex((struct tc_span){content->bytes, sizeof content->bytes}, hex);
        tc_buf_add_format(line, "f %s %llu %s ", entry->executable ? "755" : "644",
                          (unsigned long long)entry->size, hex);
        break;
    case TC_ENTRY_SYMLINK:
        tc_buf_add_text(line, "l ");
        add_counted(line, entry->target);
        tc_buf_add_text(line, " ");
        break;
    case TC_ENTRY_FOLDER: tc_buf_add_text(line, "d "); break;
    case TC_ENTRY_SUBMODULE:
        tc_hex((struct tc_span){entry->commit.bytes, sizeof entry->commit.bytes}, hex);
        tc_buf_add_format(line, "m %s ", hex);
        break;
    }
    add_counted(line, entry->path);
    tc_buf_add_text(line, "\n");
}

static void count(struct tc_manifest_summary *summary, const struct tc_entry *entry)
{
    if (entry->kind == TC_ENTRY_FILE || entry->kind == TC_ENTRY_SYMLINK)
        summary->files++;
    else
        summary->folders++;
    if (entry->kind == TC_ENTRY_FILE) summary->bytes += entry->size;
}

/* An empty folder's record would make a second digest for the same tree. */
static bool fills_empty_folder(const struct tc_entry *last, const struct tc_entry *entry)
{
    size_t size = last->path.size;
    return last->kind == TC_ENTRY_FOLDER && entry->path.size > size &&
           entry->path.data[size] == '/' && memcmp(entry->path.data, last->path.data, size) == 0;
}

tc_status tc_manifest_add(struct tc_manifest *manifest, const struct tc_entry *entry,
                          const struct tc_sha256 *content, struct tc_error *err)
{
    char shown[256];
    if (manifest->entries >= TC_MANIFEST_ENTRIES_MAX)
        return tc_fail(err, TC_LIMIT, "the source has more than %d entries", TC_MANIFEST_ENTRIES_MAX);
    if (manifest->has_last && tc_entry_compare(&manifest->last, entry) >= 0)
        return tc_fail(err, TC_MALFORMED, "%s does not come in its order in the source, or twice",
                       tc_printable(entry->path, shown, sizeof shown));
    if (manifest->has_last && fills_empty_folder(&manifest->last, entry))
        return tc_fail(err, TC_MALFORMED, "%s lies in a folder that is said to be empty",
                       tc_printable(entry->path, shown, sizeof shown));
    tc_buf_reset(&manifest->line);
    write_line(&manifest->line, entry, content);
    TC_TRY(tc_buf_check(&manifest->line, "a line of the source digest", err));
    tc_hash_add(manifest->hash, manifest->line.data, manifest->line.size);
    tc_buf_reset(&manifest->last_path);
    tc_buf_add_span(&manifest->last_path, entry->path);
    TC_TRY(tc_buf_check(&manifest->last_path, "a path of the source", err));
    manifest->last = (struct tc_entry){.kind = entry->kind,
                                       .path = tc_buf_span(&manifest->last_path)};
    manifest->has_last = true;
    manifest->entries++;
    count(&manifest->summary, entry);
    return TC_OK;
}

tc_status tc_manifest_finish(struct tc_manifest *manifest, struct tc_manifest_summary *ret,
                             struct tc_error *err)
{
    TC_TRY(tc_hash_finish(manifest->hash, manifest->summary.digest.bytes,
                          sizeof manifest->summary.digest.bytes, err));
    *ret = manifest->summary;
    return TC_OK;
}
