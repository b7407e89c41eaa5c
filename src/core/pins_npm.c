/* package-lock.json and npm-shrinkwrap.json of versions 1 to 3:
 *
 *   { "lockfileVersion": 3, "packages": { PATH: { "integrity": SRI, ... }, ... },
 *     "dependencies": { NAME: { "integrity": SRI, "dependencies": { ... }, ... }, ... } }
 *
 * Version 1 has dependencies alone, 3 packages alone, 2 both. SRI is a list of ALGORITHM-BASE64
 * with spaces between them, each with options behind '?'; of several algorithms npm
 * compares the strongest alone, and so that one is what the file pins. */
#include "core/pins_internal.h"

#include <string.h>

#include "base/cleanup.h"
#include "core/json.h"

enum { INTEGRITY_MAX = 4096, DIGEST_MAX = 64, VERSION_MAX = 3 };

static const struct algorithm {
    const char *prefix;
    size_t size;
    enum tc_pin_kind kind; /* 0: of no use here, but stronger than those below */
} algorithms[] = {
    {"sha512-", 64, TC_PIN_SHA512},
    {"sha384-", TC_SHA384_SIZE, (enum tc_pin_kind)0},
    {"sha256-", TC_SHA256_SIZE, TC_PIN_SHA256},
    {"sha1-", TC_SHA1_SIZE, TC_PIN_SHA1},
};

/* The words of one algorithm; *ret_found: there is one. */
static tc_status put_words(struct tc_pins *pins, const struct tc_json *at, struct tc_span left,
                           const struct algorithm *algorithm, bool *ret_found, struct tc_error *err)
{
    struct tc_span word;
    uint8_t digest[DIGEST_MAX];
    bool found = false;
    while (tc_pin_word(&left, &word)) {
        if (!tc_pin_begins(word, algorithm->prefix)) continue;
        const uint8_t *options = memchr(word.data, '?', word.size);
        if (options) word.size = (size_t)(options - word.data);
        size_t skipped = strlen(algorithm->prefix);
        word.data += skipped;
        word.size -= skipped;
        if (!tc_pin_base64(word, digest, algorithm->size))
            return tc_json_fail(at, err, "must be ALGORITHM-BASE64 of a digest");
        if (algorithm->kind) TC_TRY(tc_pins_put(pins, algorithm->kind, digest, err));
        found = true;
    }
    *ret_found = found;
    return TC_OK;
}

static tc_status read_integrity(struct tc_pins *pins, const struct tc_json *package,
                                struct tc_error *err)
{
    struct tc_json at;
    const char *text;
    bool found = false;
    if (!tc_json_find(package, "integrity", &at)) return TC_OK;
    TC_TRY(tc_json_string(&at, INTEGRITY_MAX, &text, err));
    for (size_t i = 0; !found && i < sizeof algorithms / sizeof *algorithms; i++)
        TC_TRY(put_words(pins, &at, tc_span_of_text(text), &algorithms[i], &found, err));
    return TC_OK;
}

static tc_status read_packages(struct tc_pins *pins, const struct tc_json *top,
                               struct tc_error *err)
{
    struct tc_json packages, package;
    void *iterator = NULL;
    if (!tc_json_find(top, "packages", &packages)) return TC_OK;
    TC_TRY(tc_json_object(&packages, err));
    while (tc_json_next(&packages, &iterator, &package)) {
        TC_TRY(tc_json_object(&package, err));
        TC_TRY(read_integrity(pins, &package, err));
    }
    return TC_OK;
}

/* Recurses as deep as core/json.h lets a text nest. */
static tc_status read_dependencies(struct tc_pins *pins, const struct tc_json *parent,
                                   struct tc_error *err)
{
    struct tc_json dependencies, dependency;
    void *iterator = NULL;
    if (!tc_json_find(parent, "dependencies", &dependencies)) return TC_OK;
    TC_TRY(tc_json_object(&dependencies, err));
    while (tc_json_next(&dependencies, &iterator, &dependency)) {
        TC_TRY(tc_json_object(&dependency, err));
        TC_TRY(read_integrity(pins, &dependency, err));
        TC_TRY(read_dependencies(pins, &dependency, err));
    }
    return TC_OK;
}

tc_status tc_pins_read_npm(struct tc_pins *pins, const char *name, struct tc_span content,
                           struct tc_error *err)
{
    TC_AUTO_JSON struct tc_json_text *text = NULL;
    struct tc_json at;
    uint64_t version = 1; /* older files do not say it */
    TC_TRY(tc_json_parse_large(content, name, TC_PINS_FILE_MAX, &text, err));
    struct tc_json top = tc_json_top(text, name);
    TC_TRY(tc_json_object(&top, err));
    if (tc_json_find(&top, "lockfileVersion", &at))
        TC_TRY(tc_json_u64(&at, UINT32_MAX, &version, err));
    if (version < 1 || version > VERSION_MAX) return tc_json_fail(&at, err, "must be 1, 2 or 3");
    TC_TRY(read_packages(pins, &top, err));
    return read_dependencies(pins, &top, err);
}
