/* The session's side of collecting: trusts nothing that comes, hashes it twice. */
#include "worker/collect.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

enum { LOOK_MAX = 2048 };

/* One output as it passes: counted, hashed, and handed to whom it concerns. */
struct passing {
    struct tc_hash *hash;
    struct tc_channel *host; /* NULL: only hashed */
    uint8_t first[LOOK_MAX]; /* its beginning */
    size_t first_size;
};

static tc_status ask_for(struct tc_channel *collector, uint8_t pass, struct tc_error *err)
{
    return tc_channel_write_bytes(collector, (struct tc_span){&pass, 1}, err);
}

/* The next output's record, or the end. path gets a copy of the record. */
static tc_status next_output(struct tc_channel *collector, struct tc_buf *record,
                             struct tc_entry *ret_entry, bool *ret_end, struct tc_error *err)
{
    enum tc_wire_kind kind;
    struct tc_span payload;
    TC_TRY(tc_channel_read(collector, &kind, &payload, err));
    if (kind == TC_WIRE_FAIL) return tc_wire_fail_decode(payload, err);
    *ret_end = kind == TC_WIRE_DONE;
    if (*ret_end) return TC_OK;
    if (kind != TC_WIRE_OUTPUT)
        return tc_fail(err, TC_MALFORMED, "the collector sent frame kind %d", (int)kind);
    tc_buf_reset(record);
    tc_buf_add_span(record, payload);
    TC_TRY(tc_buf_check(record, "an output's record", err));
    TC_TRY(tc_entry_decode(tc_buf_span(record), ret_entry, err));
    if (ret_entry->kind != TC_ENTRY_FILE || !tc_output_name_is_good(ret_entry->path))
        return tc_fail(err, TC_MALFORMED, "the collector sent an output that is no file, or whose "
                                          "name is not allowed");
    return TC_OK;
}

static tc_status pass_bytes(struct tc_channel *collector, uint64_t size, struct passing *passing,
                            struct tc_sha256 *ret_digest, struct tc_error *err)
{
    tc_hash_restart(passing->hash);
    passing->first_size = 0;
    while (size > 0) {
        struct tc_span bytes;
        TC_TRY(tc_channel_expect(collector, TC_WIRE_DATA, &bytes, err));
        if (bytes.size > size)
            return tc_fail(err, TC_MALFORMED, "the collector sent more bytes than it announced");
        tc_hash_add(passing->hash, bytes.data, bytes.size);
        if (passing->host) {
            TC_TRY(tc_channel_write(passing->host, TC_WIRE_DATA, bytes, err));
        } else if (passing->first_size < sizeof passing->first) {
            size_t room = sizeof passing->first - passing->first_size;
            size_t taken = bytes.size < room ? bytes.size : room;
            memcpy(passing->first + passing->first_size, bytes.data, taken);
            passing->first_size += taken;
        }
        size -= bytes.size;
    }
    return tc_hash_finish(passing->hash, ret_digest->bytes, sizeof ret_digest->bytes, err);
}

static bool contains(struct tc_span text, const char *word)
{
    size_t size = strlen(word);
    for (; text.size >= size; text.data++, text.size--)
        if (memcmp(text.data, word, size) == 0) return true;
    return false;
}

/* libtool leaves a shell script with absolute paths where the program seems to
 * be, and the program in .libs. */
static bool looks_like_libtool(struct tc_span first)
{
    return first.size > 2 && first.data[0] == '#' && first.data[1] == '!' &&
           contains(first, "temporary wrapper script");
}

static tc_status add_subject(struct tc_statement *statement, const struct tc_entry *entry,
                             const struct tc_sha256 *digest, struct tc_error *err)
{
    size_t count = statement->subjects_count;
    if (count >= TC_SUBJECTS_MAX) return tc_fail(err, TC_LIMIT, "more than %d outputs", TC_SUBJECTS_MAX);
    if ((count & (count - 1)) == 0) {
        struct tc_subject *grown =
            reallocarray(statement->subjects, count ? 2 * count : 1, sizeof *grown);
        if (!grown) return tc_fail(err, TC_SYSTEM, "out of memory");
        statement->subjects = grown;
    }
    char *path = tc_span_to_text(entry->path);
    if (!path) return tc_fail(err, TC_SYSTEM, "out of memory");
    statement->subjects[count] =
        (struct tc_subject){path, entry->executable, entry->size, *digest};
    statement->subjects_count++;
    if (count > 0 && strcmp(statement->subjects[count - 1].path, path) >= 0)
        return tc_fail(err, TC_MALFORMED, "the collector sent outputs out of order");
    return TC_OK;
}

static tc_status send_patterns(struct tc_channel *collector, const char *const *patterns,
                               size_t count, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_BUILDSPEC_LIST_MAX * (TC_PATH_MAX + 4) + 4);
    tc_buf_add_u32(&buf, (uint32_t)count);
    for (size_t i = 0; i < count; i++)
        tc_buf_add_block(&buf, tc_span_of_text(patterns[i]));
    TC_TRY(tc_buf_check(&buf, "output.files", err));
    return tc_channel_write_bytes(collector, tc_buf_span(&buf), err);
}

/* A file of holes has more bytes than it takes room, and they all would have to be
 * hashed, shipped and kept. */
static tc_status outputs_too_large(const struct tc_entry *entry, uint64_t total_max,
                                   struct tc_error *err)
{
    char path[512], size[16], most[16];
    return tc_fail(err, TC_LIMIT,
                   "the outputs have more bytes than limits.memory and limits.disk together (%s): "
                   "%s has %s; raise limits.disk in build.json or ship less",
                   tc_human_size(total_max, most), tc_printable(entry->path, path, sizeof path),
                   tc_human_size(entry->size, size));
}

tc_status tc_collect_hash(struct tc_channel *collector, const char *const *patterns,
                          size_t patterns_count, uint64_t total_max,
                          struct tc_statement *statement, struct tc_buf *warnings,
                          struct tc_error *err)
{
    uint64_t left = total_max;
    TC_AUTO_HASH struct tc_hash *hash = tc_hash_new(TC_HASH_SHA256);
    TC_AUTO_BUF struct tc_buf record = tc_buf_new(TC_ENTRY_MAX);
    struct passing passing = {.hash = hash};
    if (!hash) return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_TRY(send_patterns(collector, patterns, patterns_count, err));
    TC_TRY(ask_for(collector, 1, err));
    for (;;) {
        struct tc_entry entry;
        struct tc_sha256 digest;
        bool end;
        TC_TRY(next_output(collector, &record, &entry, &end, err));
        if (end) break;
        if (entry.size > left) return outputs_too_large(&entry, total_max, err);
        left -= entry.size;
        TC_TRY(pass_bytes(collector, entry.size, &passing, &digest, err));
        TC_TRY(add_subject(statement, &entry, &digest, err));
        if (looks_like_libtool((struct tc_span){passing.first, passing.first_size}))
            tc_buf_add_format(warnings,
                              "tee-compile: warning: output %s is a libtool wrapper script, which "
                              "works only where it was built; the program is in .libs\n",
                              statement->subjects[statement->subjects_count - 1].path);
    }
    if (statement->subjects_count == 0) return tc_fail(err, TC_REFUSED, "the build left no output");
    return TC_OK;
}

tc_status tc_collect_ship(struct tc_channel *collector, const struct tc_statement *statement,
                          struct tc_channel *host, struct tc_error *err)
{
    TC_AUTO_HASH struct tc_hash *hash = tc_hash_new(TC_HASH_SHA256);
    TC_AUTO_BUF struct tc_buf record = tc_buf_new(TC_ENTRY_MAX);
    struct passing passing = {.hash = hash, .host = host};
    if (!hash) return tc_fail(err, TC_SYSTEM, "out of memory");
    TC_TRY(ask_for(collector, 2, err));
    for (size_t i = 0;; i++) {
        struct tc_entry entry;
        struct tc_sha256 digest;
        bool end;
        TC_TRY(next_output(collector, &record, &entry, &end, err));
        if (end && i == statement->subjects_count) return TC_OK;
        const struct tc_subject *signed_one =
            i < statement->subjects_count ? &statement->subjects[i] : NULL;
        if (end || !signed_one || entry.size != signed_one->size ||
            entry.executable != signed_one->executable ||
            !tc_span_equal(entry.path, tc_span_of_text(signed_one->path)))
            return tc_fail(err, TC_REFUSED,
                           "the outputs are not those that were hashed and signed: nothing is handed "
                           "out");
        TC_TRY(tc_channel_write(host, TC_WIRE_OUTPUT, tc_buf_span(&record), err));
        TC_TRY(pass_bytes(collector, entry.size, &passing, &digest, err));
        if (memcmp(digest.bytes, signed_one->digest.bytes, sizeof digest.bytes) != 0)
            return tc_fail(err, TC_REFUSED,
                           "output %s is not what was hashed and signed: nothing is handed out",
                           signed_one->path);
    }
}
