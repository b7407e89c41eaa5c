/* The lock files of plain lines, go.sum and requirements*.txt, and what their readers
 * share.
 *
 *   go.sum:            MODULE VERSION h1:BASE64            of the module's zip
 *                      MODULE VERSION/go.mod h1:BASE64     of its go.mod
 *   requirements.txt:  REQUIREMENT [--hash=ALGORITHM:HEX]...
 *
 * In requirements a backslash at a line's end goes on with the next one, and a comment
 * begins with '#' after a space or at the beginning, as pip reads them. */
#include "core/pins_internal.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

/* --- lines and words */

bool tc_pin_text_next(struct tc_pin_text *text)
{
    if (text->left.size == 0) return false;
    const uint8_t *end = memchr(text->left.data, '\n', text->left.size);
    size_t size = end ? (size_t)(end - text->left.data) : text->left.size;
    size_t taken = end ? size + 1 : size;
    text->line = (struct tc_span){text->left.data, size};
    if (size > 0 && text->line.data[size - 1] == '\r') text->line.size--;
    text->left.data += taken;
    text->left.size -= taken;
    text->number++;
    return true;
}

tc_status tc_pin_text_fail(const struct tc_pin_text *text, const char *expected,
                           struct tc_error *err)
{
    char shown[96];
    return tc_fail(err, TC_MALFORMED, "%s:%zu: expected %s, seen '%s'", text->name, text->number,
                   expected, tc_printable(text->line, shown, sizeof shown));
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t';
}

bool tc_pin_word(struct tc_span *line, struct tc_span *ret_word)
{
    size_t begin = 0;
    while (begin < line->size && is_space(line->data[begin]))
        begin++;
    size_t end = begin;
    while (end < line->size && !is_space(line->data[end]))
        end++;
    if (end == begin) return false;
    *ret_word = (struct tc_span){line->data + begin, end - begin};
    line->data += end;
    line->size -= end;
    return true;
}

bool tc_pin_begins(struct tc_span text, const char *with)
{
    size_t size = strlen(with);
    return text.size >= size && memcmp(text.data, with, size) == 0;
}

static struct tc_span behind(struct tc_span text, const char *beginning)
{
    size_t size = strlen(beginning);
    return (struct tc_span){text.data + size, text.size - size};
}

enum { DIGEST_MAX = 64 };

bool tc_pin_unhex(struct tc_span text, uint8_t *out, size_t size)
{
    char digits[2 * DIGEST_MAX + 1];
    if (size > DIGEST_MAX || text.size != 2 * size) return false;
    memcpy(digits, text.data, text.size);
    digits[text.size] = '\0';
    return tc_unhex(digits, out, size);
}

bool tc_pin_base64(struct tc_span text, uint8_t *out, size_t size)
{
    TC_AUTO_BUF struct tc_buf bytes = tc_buf_new(DIGEST_MAX);
    if (!tc_base64_decode(text, &bytes) || !tc_buf_ok(&bytes) || bytes.size != size) return false;
    memcpy(out, bytes.data, size);
    return true;
}

/* --- go.sum */

static bool ends_with(struct tc_span text, const char *end)
{
    size_t size = strlen(end);
    return text.size > size && memcmp(text.data + text.size - size, end, size) == 0;
}

static tc_status read_go_line(struct tc_pin_text *text, struct tc_error *err)
{
    static const char form[] = "MODULE VERSION h1:BASE64";
    struct tc_span left = text->line, module, version, hash, more;
    uint8_t digest[TC_SHA256_SIZE];
    if (!tc_pin_word(&left, &module)) return TC_OK;
    if (!tc_pin_word(&left, &version) || !tc_pin_word(&left, &hash) || tc_pin_word(&left, &more))
        return tc_pin_text_fail(text, form, err);
    /* go skips the algorithms that it does not know, which all look like "h2:". */
    if (!tc_pin_begins(hash, "h1:"))
        return tc_pin_begins(hash, "h") && memchr(hash.data, ':', hash.size)
                   ? TC_OK
                   : tc_pin_text_fail(text, form, err);
    if (!tc_pin_base64(behind(hash, "h1:"), digest, sizeof digest))
        return tc_pin_text_fail(text, form, err);
    return tc_pins_put(text->pins, ends_with(version, "/go.mod") ? TC_PIN_GO_MOD : TC_PIN_GO_ZIP,
                       digest, err);
}

tc_status tc_pins_read_go(struct tc_pins *pins, const char *name, struct tc_span content,
                          struct tc_error *err)
{
    struct tc_pin_text text = {.pins = pins, .name = name, .left = content};
    while (tc_pin_text_next(&text))
        TC_TRY(read_go_line(&text, err));
    return TC_OK;
}

/* --- requirements */

/* ALGORITHM:HEX. pip takes sha256, sha384 and sha512 and refuses all others. */
static tc_status read_hash(const struct tc_pin_text *text, struct tc_span value,
                           struct tc_error *err)
{
    static const char form[] = "--hash=sha256:HEX, sha384:HEX or sha512:HEX";
    uint8_t digest[DIGEST_MAX];
    if (tc_pin_begins(value, "sha256:")) {
        if (!tc_pin_unhex(behind(value, "sha256:"), digest, TC_SHA256_SIZE))
            return tc_pin_text_fail(text, form, err);
        return tc_pins_put(text->pins, TC_PIN_SHA256, digest, err);
    }
    if (tc_pin_begins(value, "sha512:")) {
        if (!tc_pin_unhex(behind(value, "sha512:"), digest, DIGEST_MAX))
            return tc_pin_text_fail(text, form, err);
        return tc_pins_put(text->pins, TC_PIN_SHA512, digest, err);
    }
    if (tc_pin_begins(value, "sha384:") &&
        tc_pin_unhex(behind(value, "sha384:"), digest, TC_SHA384_SIZE))
        return TC_OK;
    return tc_pin_text_fail(text, form, err);
}

/* What a requirement had in its lines so far. */
struct requirement {
    bool has_words;    /* a word that is no hash */
    bool is_option;    /* the first word was an option: --index-url and the like */
    bool hash_is_next; /* "--hash" alone, its value is the next word */
};

static tc_status read_word(const struct tc_pin_text *text, struct requirement *requirement,
                           struct tc_span word, struct tc_error *err)
{
    bool hash = tc_pin_begins(word, "--hash=");
    if (requirement->hash_is_next) {
        requirement->hash_is_next = false;
        return read_hash(text, word, err);
    }
    if (hash || (word.size == strlen("--hash") && tc_pin_begins(word, "--hash"))) {
        if (!requirement->has_words || requirement->is_option)
            return tc_pin_text_fail(text, "--hash behind a requirement", err);
        if (hash) return read_hash(text, behind(word, "--hash="), err);
        requirement->hash_is_next = true;
        return TC_OK;
    }
    if (!requirement->has_words) requirement->is_option = tc_pin_begins(word, "-");
    requirement->has_words = true;
    return TC_OK;
}

static tc_status read_requirement_line(struct tc_pin_text *text, struct requirement *requirement,
                                       struct tc_error *err)
{
    struct tc_span left = text->line, word;
    bool goes_on = false;
    while (tc_pin_word(&left, &word) && word.data[0] != '#') {
        /* The backslash may stand against the last word. */
        goes_on = left.size == 0 && word.data[word.size - 1] == '\\';
        if (goes_on) word.size--;
        if (word.size > 0) TC_TRY(read_word(text, requirement, word, err));
    }
    if (goes_on) return TC_OK;
    if (requirement->hash_is_next) return tc_pin_text_fail(text, "a digest behind --hash", err);
    *requirement = (struct requirement){0};
    return TC_OK;
}

tc_status tc_pins_read_requirements(struct tc_pins *pins, const char *name, struct tc_span content,
                                    struct tc_error *err)
{
    struct tc_pin_text text = {.pins = pins, .name = name, .left = content};
    struct requirement requirement = {0};
    while (tc_pin_text_next(&text))
        TC_TRY(read_requirement_line(&text, &requirement, err));
    if (requirement.hash_is_next) return tc_pin_text_fail(&text, "a digest behind --hash", err);
    return TC_OK;
}
