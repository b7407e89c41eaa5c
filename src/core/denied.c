#include "core/denied.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

static const char *const words[] = {"certificate", "key"};

const char *tc_denied_word(enum tc_denied_kind kind)
{
    return words[kind];
}

void tc_denied_free(struct tc_denied *denied)
{
    free(denied->list);
    *denied = (struct tc_denied){0};
}

static int by_digest(const void *a, const void *b)
{
    const struct tc_denied_entry *x = a, *y = b;
    if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
    return memcmp(x->digest.bytes, y->digest.bytes, sizeof x->digest.bytes);
}

bool tc_denied_has(const struct tc_denied *denied, enum tc_denied_kind kind,
                   const struct tc_sha256 *digest)
{
    const struct tc_denied_entry wanted = {kind, *digest};
    return denied->count > 0 &&
           bsearch(&wanted, denied->list, denied->count, sizeof *denied->list, by_digest) != NULL;
}

/* Lower case alone: one spelling of a digest. */
static bool read_digest(struct tc_span hex, struct tc_sha256 *ret_digest)
{
    char text[TC_SHA256_HEX];
    if (hex.size != sizeof text - 1) return false;
    for (size_t i = 0; i < hex.size; i++)
        if (hex.data[i] >= 'A' && hex.data[i] <= 'F') return false;
    memcpy(text, hex.data, hex.size);
    text[hex.size] = '\0';
    return strlen(text) == hex.size && tc_unhex(text, ret_digest->bytes, sizeof ret_digest->bytes);
}

static bool read_entry(struct tc_span line, struct tc_denied_entry *ret_entry)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t size = strlen(words[i]);
        if (line.size <= size || memcmp(line.data, words[i], size) != 0 || line.data[size] != ' ')
            continue;
        ret_entry->kind = (enum tc_denied_kind)i;
        return read_digest((struct tc_span){line.data + size + 1, line.size - size - 1},
                           &ret_entry->digest);
    }
    return false;
}

static tc_status add(struct tc_denied *denied, size_t *room, const struct tc_denied_entry *entry,
                     struct tc_error *err)
{
    if (denied->count == *room) {
        size_t wanted = *room ? 2 * *room : 64;
        struct tc_denied_entry *grown = reallocarray(denied->list, wanted, sizeof *grown);
        if (!grown) return tc_fail(err, TC_SYSTEM, "out of memory for denied certificates");
        denied->list = grown;
        *room = wanted;
    }
    denied->list[denied->count++] = *entry;
    return TC_OK;
}

static tc_status take_line(struct tc_denied *denied, size_t *room, struct tc_span line,
                           unsigned long number, struct tc_error *err)
{
    struct tc_denied_entry entry;
    char shown[160];
    if (line.size > TC_DENIED_LINE_MAX)
        return tc_fail(err, TC_LIMIT, "line %lu has %zu bytes, at most %d are accepted", number,
                       line.size, TC_DENIED_LINE_MAX);
    if (line.size == 0 || (line.data[0] == '#' && tc_is_printable(line))) return TC_OK;
    if (!read_entry(line, &entry))
        return tc_fail(err, TC_MALFORMED,
                       "line %lu is \"%s\": expected \"certificate HEX\" or \"key HEX\" with a "
                       "SHA-256 of 64 digits in lower case, or a comment that begins with #",
                       number, tc_printable(line, shown, sizeof shown));
    if (denied->count == TC_DENIED_ENTRIES_MAX)
        return tc_fail(err, TC_LIMIT, "line %lu is one entry too many: at most %d are accepted",
                       number, TC_DENIED_ENTRIES_MAX);
    return add(denied, room, &entry, err);
}

static tc_status take_lines(struct tc_denied *denied, struct tc_span text, struct tc_error *err)
{
    size_t room = 0;
    for (unsigned long number = 1; text.size > 0; number++) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        if (!end)
            return tc_fail(err, TC_MALFORMED, "line %lu, the last one, does not end: expected LF",
                           number);
        size_t size = (size_t)(end - text.data);
        TC_TRY(take_line(denied, &room, (struct tc_span){text.data, size}, number, err));
        text.data += size + 1;
        text.size -= size + 1;
    }
    return TC_OK;
}

static void sort(struct tc_denied *denied)
{
    size_t kept = 0;
    if (denied->count == 0) return;
    qsort(denied->list, denied->count, sizeof *denied->list, by_digest);
    for (size_t i = 1; i < denied->count; i++)
        if (by_digest(&denied->list[kept], &denied->list[i]) != 0)
            denied->list[++kept] = denied->list[i];
    denied->count = kept + 1;
}

tc_status tc_denied_read(struct tc_span text, struct tc_denied *ret_denied, struct tc_error *err)
{
    struct tc_denied denied = {0};
    if (text.size > TC_DENIED_MAX)
        return tc_fail(err, TC_LIMIT, "it has %zu bytes, at most %d are accepted", text.size,
                       TC_DENIED_MAX);
    tc_status status = tc_sha256_of(text, &denied.digest, err);
    if (status == TC_OK) status = take_lines(&denied, text, err);
    if (status != TC_OK) {
        tc_denied_free(&denied);
        return status;
    }
    sort(&denied);
    *ret_denied = denied;
    return TC_OK;
}
