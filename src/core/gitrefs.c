/* A list is a row of packets:
 *
 *   packet  = size:4 hex digits, of all of it    payload     ("0000": a flush, ends a section)
 *   answer  = "# service=git-upload-pack" LF, flush  ["version 1" LF] refs  flush
 *   ref     = ID SP NAME [NUL capabilities, the first alone] LF
 *             ID SP NAME"^{}" LF      behind an annotated tag: what it stands for
 *
 * Every packet to the end is read, though the ref may have been the first: half a list, or
 * two entries of one name, are no answer. */
#include "core/gitrefs.h"

#include <string.h>

#include "base/text.h"
#include "core/gitobj.h"

enum {
    LENGTH_SIZE = 4,
    PACKET_MAX = 65520, /* LARGE_PACKET_MAX of the protocol */
};

static const char service_line[] = "# service=git-upload-pack";
static const char peeled_mark[] = "^{}";

struct reader {
    struct tc_cursor cursor;
    const char *wanted;
    bool is_first;       /* no ref has been seen */
    struct tc_span last; /* name of the entry before, for its peeled line */
    bool last_is_wanted;
    bool found;
    struct tc_git_ref ref;
};

const struct tc_sha1 *tc_git_ref_commit(const struct tc_git_ref *ref)
{
    return ref->is_tag ? &ref->peeled : &ref->id;
}

static tc_status malformed(struct tc_error *err, const char *what)
{
    return tc_fail(err, TC_MALFORMED, "the git server's list of refs: %s", what);
}

static bool begins(struct tc_span text, const char *with)
{
    size_t size = strlen(with);
    return text.size >= size && memcmp(text.data, with, size) == 0;
}

static bool ends(struct tc_span text, const char *with)
{
    size_t size = strlen(with);
    return text.size >= size && memcmp(text.data + text.size - size, with, size) == 0;
}

static struct tc_span from(struct tc_span text, size_t skipped)
{
    return (struct tc_span){text.data + skipped, text.size - skipped};
}

bool tc_git_ref_name_is_good(struct tc_span ref)
{
    static const char folder[] = "refs/";
    if (!begins(ref, folder) || ref.size > TC_GIT_REF_NAME_MAX) return false;
    return tc_git_tag_name_is_good(from(ref, sizeof folder - 1));
}

/* --- what is asked */

tc_status tc_git_refs_url(const char *repository, struct tc_buf *buf, struct tc_error *err)
{
    static const char scheme[] = "https://";
    struct tc_span url = tc_span_of_text(repository);
    char shown[128];
    bool good =
        begins(url, scheme) && url.size <= TC_GIT_REPOSITORY_MAX && !strpbrk(repository, "?#\\");
    for (size_t i = 0; good && i < url.size; i++)
        good = url.data[i] > ' ' && url.data[i] < 0x7f;
    if (good) {
        const char *host = repository + sizeof scheme - 1;
        size_t size = strcspn(host, "/");
        good = size > 0 && !memchr(host, '@', size);
    }
    if (!good)
        return tc_fail(err, TC_REFUSED,
                       "a ref is witnessed at an https URL without user, query and fragment; the "
                       "repository is '%s'",
                       tc_printable(url, shown, sizeof shown));
    while (url.data[url.size - 1] == '/')
        url.size--;
    tc_buf_add_span(buf, url);
    tc_buf_add_text(buf, "/info/refs?service=git-upload-pack");
    return tc_buf_check(buf, "the URL of a list of refs", err);
}

static tc_status check_wanted(const char *ref, struct tc_error *err)
{
    char shown[128];
    if (tc_git_ref_name_is_good(tc_span_of_text(ref))) return TC_OK;
    return tc_fail(err, TC_REFUSED, "expected a ref such as refs/heads/main, seen '%s'",
                   tc_printable(tc_span_of_text(ref), shown, sizeof shown));
}

/* --- packets */

static bool hex_digit(uint8_t c, size_t *value)
{
    if (c >= '0' && c <= '9')
        *value = *value << 4 | (size_t)(c - '0');
    else if (c >= 'a' && c <= 'f')
        *value = *value << 4 | (size_t)(c - 'a' + 10);
    else
        return false;
    return true;
}

/* A line without its LF; *ret_flush: none, the section ends. */
static tc_status next_packet(struct reader *reader, struct tc_span *ret_line, bool *ret_flush,
                             struct tc_error *err)
{
    struct tc_span digits, line;
    size_t size = 0;
    if (!tc_cursor_take(&reader->cursor, LENGTH_SIZE, &digits))
        return malformed(err, "it ends before its last packet");
    for (size_t i = 0; i < LENGTH_SIZE; i++)
        if (!hex_digit(digits.data[i], &size))
            return malformed(err, "expected the size of a packet, four hex digits");
    if (size == 0) {
        *ret_flush = true;
        return TC_OK;
    }
    if (size <= LENGTH_SIZE || size > PACKET_MAX)
        return malformed(err, "a packet has an impossible size");
    if (!tc_cursor_take(&reader->cursor, size - LENGTH_SIZE, &line))
        return malformed(err, "a packet is cut off");
    if (line.data[line.size - 1] == '\n') line.size--;
    if (begins(line, "ERR ")) {
        char shown[256];
        return tc_fail(err, TC_REFUSED, "the git server says: %s",
                       tc_printable(from(line, strlen("ERR ")), shown, sizeof shown));
    }
    *ret_line = line;
    *ret_flush = false;
    return TC_OK;
}

/* ID SP at the front of *line. */
static bool take_id(struct tc_span *line, struct tc_sha1 *ret_id)
{
    char hex[TC_SHA1_HEX];
    enum { DIGITS = TC_SHA1_HEX - 1 };
    if (line->size <= DIGITS || line->data[DIGITS] != ' ') return false;
    memcpy(hex, line->data, DIGITS);
    hex[DIGITS] = '\0';
    if (strspn(hex, "0123456789abcdef") != DIGITS || !tc_unhex(hex, ret_id->bytes, TC_SHA1_SIZE))
        return false;
    *line = from(*line, DIGITS + 1);
    return true;
}

static bool is_null(const struct tc_sha1 *id)
{
    static const struct tc_sha1 null = {{0}};
    return memcmp(id->bytes, null.bytes, TC_SHA1_SIZE) == 0;
}

/* Up to `end`, which goes too; all of it without one. */
static struct tc_span take_until(struct tc_span *line, char end)
{
    const uint8_t *stop = line->size > 0 ? memchr(line->data, end, line->size) : NULL;
    size_t size = stop ? (size_t)(stop - line->data) : line->size;
    struct tc_span taken = {line->data, size};
    *line = from(*line, stop ? size + 1 : size);
    return taken;
}

/* --- refs */

/* The wanted name was checked by git's rules; of the others no more is asked than that
 * they cannot be taken for it. */
static bool name_is_plain(struct tc_span name)
{
    for (size_t i = 0; i < name.size; i++)
        if (name.data[i] <= ' ' || name.data[i] == 0x7f) return false;
    return name.size > 0;
}

static tc_status take_ref(struct reader *reader, struct tc_span name, const struct tc_sha1 *id,
                          struct tc_error *err)
{
    if (!name_is_plain(name) || is_null(id)) return malformed(err, "expected ID NAME");
    reader->last = name;
    reader->last_is_wanted = tc_span_equal(name, tc_span_of_text(reader->wanted));
    if (!reader->last_is_wanted) return TC_OK;
    if (reader->found) return malformed(err, "it has the ref twice");
    reader->found = true;
    reader->ref.id = *id;
    return TC_OK;
}

static tc_status take_peeled(struct reader *reader, const struct tc_sha1 *id, struct tc_error *err)
{
    if (is_null(id)) return malformed(err, "a tag stands for nothing");
    reader->last = (struct tc_span){NULL, 0}; /* once */
    if (!reader->last_is_wanted) return TC_OK;
    reader->ref.is_tag = true;
    reader->ref.peeled = *id;
    return TC_OK;
}

static tc_status check_capabilities(struct tc_span left, struct tc_error *err)
{
    static const char format[] = "object-format=";
    while (left.size > 0) {
        struct tc_span word = take_until(&left, ' ');
        if (begins(word, format) && !tc_span_equal(word, tc_span_of_text("object-format=sha1")))
            return tc_fail(err, TC_REFUSED,
                           "the git server's repository has no SHA-1 ids, which alone are read");
    }
    return TC_OK;
}

static tc_status read_ref(struct reader *reader, struct tc_span line, struct tc_error *err)
{
    struct tc_sha1 id;
    if (begins(line, "shallow ") && !reader->is_first) return TC_OK; /* a repository cut short */
    if (!take_id(&line, &id)) return malformed(err, "expected ID NAME");
    struct tc_span name = line;
    if (reader->is_first) {
        name = take_until(&line, '\0');
        TC_TRY(check_capabilities(line, err));
        reader->is_first = false;
        /* The one line of a repository without refs. */
        if (is_null(&id) && tc_span_equal(name, tc_span_of_text("capabilities^{}"))) return TC_OK;
    }
    if (!ends(name, peeled_mark)) return take_ref(reader, name, &id, err);
    name.size -= sizeof peeled_mark - 1;
    if (name.size == 0 || !tc_span_equal(name, reader->last))
        return malformed(err, "a peeled tag stands behind another ref");
    return take_peeled(reader, &id, err);
}

/* Up to the first ref, which is in *line; or a flush, when there is none. */
static tc_status read_beginning(struct reader *reader, struct tc_span *line, bool *flush,
                                struct tc_error *err)
{
    TC_TRY(next_packet(reader, line, flush, err));
    if (*flush || !tc_span_equal(*line, tc_span_of_text(service_line)))
        return malformed(err, "expected the service line of git-upload-pack first");
    TC_TRY(next_packet(reader, line, flush, err));
    if (!*flush) return malformed(err, "expected the end of the service line's section");
    TC_TRY(next_packet(reader, line, flush, err));
    if (!*flush && tc_span_equal(*line, tc_span_of_text("version 2")))
        return malformed(err, "expected versions 0 or 1, seen version 2, which nobody asked for");
    if (!*flush && tc_span_equal(*line, tc_span_of_text("version 1")))
        return next_packet(reader, line, flush, err);
    return TC_OK;
}

tc_status tc_git_refs_find(struct tc_span body, const char *ref, struct tc_git_ref *ret_ref,
                           struct tc_error *err)
{
    struct reader reader = {.cursor = tc_cursor_of(body), .wanted = ref, .is_first = true};
    struct tc_span line;
    bool flush;
    char shown[128];
    TC_TRY(check_wanted(ref, err));
    TC_TRY(read_beginning(&reader, &line, &flush, err));
    while (!flush) {
        TC_TRY(read_ref(&reader, line, err));
        TC_TRY(next_packet(&reader, &line, &flush, err));
    }
    if (tc_cursor_left(&reader.cursor) > 0) return malformed(err, "something follows its end");
    if (!reader.found)
        return tc_fail(err, TC_REFUSED, "the repository has no ref %s",
                       tc_printable(tc_span_of_text(ref), shown, sizeof shown));
    *ret_ref = reader.ref;
    return TC_OK;
}
