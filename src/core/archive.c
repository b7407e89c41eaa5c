/* Lines are read by one reader for both sides, and written again to see that they have
 * the one spelling. The index keeps of each line 72 bytes, sorted by key and place. */
#include "core/archive.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/http1_internal.h"
#include "core/json.h"
#include "core/jsonw.h"

static tc_status no_memory(struct tc_error *err)
{
    return tc_fail(err, TC_SYSTEM, "out of memory for an archive's line");
}

void tc_archived_free(struct tc_archived *archived)
{
    for (size_t i = 0; i < archived->fields_count; i++) {
        free(archived->fields[i].name);
        free(archived->fields[i].value);
    }
    free(archived->fields);
    free(archived->method);
    free(archived->url);
    *archived = (struct tc_archived){0};
}

tc_status tc_archived_write(const struct tc_archived *archived, struct tc_buf *buf,
                            struct tc_error *err)
{
    struct tc_jsonw w = tc_jsonw_new(buf);
    tc_jsonw_object(&w, NULL);
    tc_jsonw_text(&w, "method", archived->method);
    tc_jsonw_text(&w, "url", archived->url);
    tc_jsonw_hex(&w, "request", archived->request.bytes, sizeof archived->request.bytes);
    tc_jsonw_u64(&w, "status", archived->status);
    tc_jsonw_array(&w, "fields");
    for (size_t i = 0; i < archived->fields_count; i++) {
        tc_jsonw_array(&w, NULL);
        tc_jsonw_text(&w, NULL, archived->fields[i].name);
        tc_jsonw_text(&w, NULL, archived->fields[i].value);
        tc_jsonw_end_array(&w);
    }
    tc_jsonw_end_array(&w);
    tc_jsonw_hex(&w, "sha256", archived->digest.bytes, sizeof archived->digest.bytes);
    tc_jsonw_u64(&w, "size", archived->size);
    tc_jsonw_end_object(&w);
    tc_buf_add_text(buf, "\n");
    return tc_buf_check(buf, "a line of an archive", err);
}

static bool add_field(struct tc_archived *archived, struct tc_span name, struct tc_span value)
{
    struct tc_archived_field *field = &archived->fields[archived->fields_count];
    *field = (struct tc_archived_field){tc_span_to_text(name), tc_span_to_text(value)};
    archived->fields_count++; /* what was not made is NULL, and freed as such */
    return field->name && field->value;
}

tc_status tc_archived_keep(struct tc_archived *archived, const struct tc_http_head *head,
                           struct tc_error *err)
{
    archived->fields = calloc(head->fields_count + 1, sizeof *archived->fields);
    if (!archived->fields) return no_memory(err);
    for (size_t i = 0; i < head->fields_count; i++) {
        const struct tc_http_field *field = &head->fields[i];
        if (tc_http_is_word(field->name, "set-cookie") || !tc_is_utf8(field->value)) continue;
        if (!add_field(archived, field->name, field->value)) return no_memory(err);
    }
    return TC_OK;
}

/* --- reading --- */

static tc_status read_field(const struct tc_json *at, struct tc_archived *archived,
                            struct tc_error *err)
{
    size_t count = 0;
    const char *name = NULL, *value = NULL;
    TC_TRY(tc_json_array(at, 2, &count, err));
    if (count != 2) return tc_json_fail(at, err, "expected a name and a value");
    struct tc_json parts[2] = {tc_json_at(at, 0), tc_json_at(at, 1)};
    TC_TRY(tc_json_string(&parts[0], TC_HTTP_HEAD_MAX, &name, err));
    TC_TRY(tc_json_string(&parts[1], TC_HTTP_HEAD_MAX, &value, err));
    if (!add_field(archived, tc_span_of_text(name), tc_span_of_text(value))) return no_memory(err);
    return TC_OK;
}

static tc_status read_fields(const struct tc_json *at, struct tc_archived *archived,
                             struct tc_error *err)
{
    size_t count = 0;
    TC_TRY(tc_json_array(at, TC_HTTP_FIELDS_MAX, &count, err));
    archived->fields = calloc(count + 1, sizeof *archived->fields);
    if (!archived->fields) return no_memory(err);
    for (size_t i = 0; i < count; i++) {
        struct tc_json field = tc_json_at(at, i);
        TC_TRY(read_field(&field, archived, err));
    }
    return TC_OK;
}

static tc_status read_members(const struct tc_json *top, struct tc_archived *archived,
                              struct tc_error *err)
{
    struct tc_json at;
    uint64_t status = 0;
    TC_TRY(tc_json_get(top, "method", &at, err));
    TC_TRY(tc_json_copy(&at, TC_HTTP_METHOD_MAX, &archived->method, err));
    TC_TRY(tc_json_get(top, "url", &at, err));
    TC_TRY(tc_json_copy(&at, TC_ARCHIVED_LINE_MAX, &archived->url, err));
    TC_TRY(tc_json_get(top, "request", &at, err));
    TC_TRY(tc_json_hex(&at, archived->request.bytes, sizeof archived->request.bytes, err));
    TC_TRY(tc_json_get(top, "status", &at, err));
    TC_TRY(tc_json_u64(&at, 599, &status, err));
    if (status < 200) return tc_json_fail(&at, err, "expected a status from 200 to 599");
    archived->status = (unsigned)status;
    TC_TRY(tc_json_get(top, "fields", &at, err));
    TC_TRY(read_fields(&at, archived, err));
    TC_TRY(tc_json_get(top, "sha256", &at, err));
    TC_TRY(tc_json_hex(&at, archived->digest.bytes, sizeof archived->digest.bytes, err));
    TC_TRY(tc_json_get(top, "size", &at, err));
    return tc_json_u64(&at, TC_HTTP_LENGTH_MAX, &archived->size, err);
}

static tc_status read_line(struct tc_span line, struct tc_archived *archived, struct tc_error *err)
{
    TC_AUTO_JSON struct tc_json_text *text = NULL;
    TC_AUTO_BUF struct tc_buf again = tc_buf_new(TC_ARCHIVED_LINE_MAX);
    TC_TRY(tc_json_parse(line, "archive.jsonl", TC_ARCHIVED_LINE_MAX, &text, err));
    struct tc_json top = tc_json_top(text, "archive.jsonl");
    TC_TRY(read_members(&top, archived, err));
    TC_TRY(tc_archived_write(archived, &again, err));
    if (!tc_span_equal(line, tc_buf_span(&again)))
        return tc_fail(err, TC_MALFORMED,
                       "a line of archive.jsonl is spelled otherwise than an archive's: was it "
                       "edited?");
    return TC_OK;
}

tc_status tc_archived_read(struct tc_span line, struct tc_archived *ret_archived,
                           struct tc_error *err)
{
    struct tc_archived archived = {0};
    tc_status status = read_line(line, &archived, err);
    if (status != TC_OK) {
        tc_archived_free(&archived);
        return status;
    }
    *ret_archived = archived;
    return TC_OK;
}

/* --- the index --- */

struct entry {
    struct tc_sha256 key, line;
    size_t place;
};

struct tc_archive_index {
    struct entry *entries;
    size_t count, allocated;
    uint64_t bytes;
    struct tc_buf line;
    struct tc_hash *file;
};

struct tc_archive_index *tc_archive_index_new(void)
{
    struct tc_archive_index *index = calloc(1, sizeof *index);
    if (!index) return NULL;
    index->line = tc_buf_new(TC_ARCHIVED_LINE_MAX);
    index->file = tc_hash_new(TC_HASH_SHA256);
    if (index->file) return index;
    free(index);
    return NULL;
}

void tc_archive_index_free(struct tc_archive_index *index)
{
    if (!index) return;
    free(index->entries);
    tc_buf_free(&index->line);
    tc_hash_free(index->file);
    free(index);
}

static tc_status make_room(struct tc_archive_index *index, struct tc_error *err)
{
    if (index->count == TC_ARCHIVED_MAX)
        return tc_fail(err, TC_LIMIT, "archive.jsonl has more than %d lines", TC_ARCHIVED_MAX);
    if (index->count < index->allocated) return TC_OK;
    size_t more = index->allocated ? 2 * index->allocated : 64;
    struct entry *entries = reallocarray(index->entries, more, sizeof *entries);
    if (!entries) return no_memory(err);
    index->entries = entries;
    index->allocated = more;
    return TC_OK;
}

static tc_status end_line(struct tc_archive_index *index, struct tc_error *err)
{
    struct tc_archived archived = {0};
    struct entry entry = {.place = index->count};
    struct tc_span line = tc_buf_span(&index->line);
    TC_TRY(make_room(index, err));
    TC_TRY(tc_archived_read(line, &archived, err));
    tc_status status =
        tc_exchange_key(tc_span_of_text(archived.method), tc_span_of_text(archived.url),
                        &archived.request, &entry.key, err);
    tc_archived_free(&archived);
    TC_TRY(status);
    TC_TRY(tc_sha256_of(line, &entry.line, err));
    index->entries[index->count++] = entry;
    tc_buf_reset(&index->line);
    return TC_OK;
}

tc_status tc_archive_index_add(struct tc_archive_index *index, struct tc_span bytes,
                               struct tc_error *err)
{
    index->bytes += bytes.size;
    if (index->bytes > TC_ARCHIVE_INDEX_MAX)
        return tc_fail(err, TC_LIMIT, "archive.jsonl is larger than %d bytes",
                       TC_ARCHIVE_INDEX_MAX);
    tc_hash_add(index->file, bytes.data, bytes.size);
    while (bytes.size > 0) {
        const uint8_t *feed = memchr(bytes.data, '\n', bytes.size);
        size_t taken = feed ? (size_t)(feed - bytes.data) + 1 : bytes.size;
        tc_buf_add(&index->line, bytes.data, taken);
        TC_TRY(tc_buf_check(&index->line, "a line of archive.jsonl", err));
        if (feed) TC_TRY(end_line(index, err));
        bytes.data += taken;
        bytes.size -= taken;
    }
    return TC_OK;
}

static int compare(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;
    int keys = memcmp(a->key.bytes, b->key.bytes, sizeof a->key.bytes);
    if (keys != 0) return keys;
    return a->place < b->place ? -1 : a->place > b->place;
}

tc_status tc_archive_index_finish(struct tc_archive_index *index, struct tc_sha256 *ret_digest,
                                  struct tc_error *err)
{
    if (index->line.size > 0) return tc_fail(err, TC_MALFORMED, "archive.jsonl ends within a line");
    if (index->count > 0) qsort(index->entries, index->count, sizeof *index->entries, compare);
    return tc_hash_finish(index->file, ret_digest->bytes, sizeof ret_digest->bytes, err);
}

size_t tc_archive_index_count(const struct tc_archive_index *index)
{
    return index->count;
}

static bool is_key(const struct tc_archive_index *index, size_t at, const struct tc_sha256 *key)
{
    return at < index->count &&
           memcmp(index->entries[at].key.bytes, key->bytes, sizeof key->bytes) == 0;
}

size_t tc_archive_index_find(const struct tc_archive_index *index, const struct tc_sha256 *key,
                             size_t *ret_first)
{
    size_t from = 0, until = index->count, count = 0;
    while (from < until) {
        size_t middle = from + (until - from) / 2;
        if (memcmp(index->entries[middle].key.bytes, key->bytes, sizeof key->bytes) < 0)
            from = middle + 1;
        else
            until = middle;
    }
    while (is_key(index, from + count, key))
        count++;
    if (count > 0) *ret_first = from;
    return count;
}

const struct tc_sha256 *tc_archive_index_line(const struct tc_archive_index *index, size_t at)
{
    return &index->entries[at].line;
}
