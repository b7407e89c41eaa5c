/* Which digests the source's own lock files name: read from Cargo.lock, package-lock.json
 * and npm-shrinkwrap.json, go.sum and go.work.sum, and requirements*.txt with --hash. A
 * download that has one of them is "pinned by the source": whoever served it could choose
 * among these at most. Pure; the files are hostile: caps on size, depth and number; a file
 * that cannot be read pins nothing and says so. */
#ifndef TC_CORE_PINS_H
#define TC_CORE_PINS_H

#include "core/digest.h"

enum {
    TC_PINS_FILE_MAX = 16 << 20, /* bytes of one lock file */
    TC_PINS_MAX = 1 << 20,       /* digests in all */
    TC_PINS_FILES_MAX = 256,
};

enum tc_pin_kind {
    TC_PIN_SHA256 = 1,   /* of the body */
    TC_PIN_SHA512,       /* of the body */
    TC_PIN_SHA1,         /* of the body; shown, but pins nothing: npm's old form */
    TC_PIN_GO_MOD,       /* h1: of a go.mod: SHA-256 of "HEX  go.mod\n" of the body's SHA-256 */
    TC_PIN_GO_ZIP,       /* h1: of a module's zip, over its files */
};

struct tc_pins; /* NULL: none */
struct tc_pins *tc_pins_new(void) TC_MUST_USE;
#define TC_AUTO_PINS TC_CLEANUP(tc_pins_free_ptr)
void tc_pins_free(struct tc_pins *pins);
void tc_pins_free_ptr(struct tc_pins **pins);

/* Is this the path of a file that pins are read from? By its last part alone. */
bool tc_pins_wants(const char *path);
/* Adds what the file at path (as in the source) names: all of it, or, when it fails, none;
 * the others' pins stay. TC_MALFORMED: the file has not its form; TC_LIMIT: too large. */
tc_status tc_pins_add(struct tc_pins *pins, const char *path, struct tc_span content,
                      struct tc_error *err) TC_MUST_USE;
/* Adds digests of bodies that the build file at path lists itself (network.pinned), likewise. */
tc_status tc_pins_add_listed(struct tc_pins *pins, const char *path, const struct tc_sha256 *digests,
                             size_t count, struct tc_error *err) TC_MUST_USE;
/* Sorts; before the first question and after the last file. */
void tc_pins_ready(struct tc_pins *pins);

/* pins may be NULL in what follows. */
/* Is any digest of this kind there? So that nobody computes SHA-512 for nothing. */
bool tc_pins_has(const struct tc_pins *pins, enum tc_pin_kind kind);
/* The path of the first file that names it; NULL: none. size must be the kind's. */
const char *tc_pins_find(const struct tc_pins *pins, enum tc_pin_kind kind, const uint8_t *digest,
                         size_t size);

/* For the way from session to recorder. */
void tc_pins_encode(const struct tc_pins *pins, struct tc_buf *buf);
tc_status tc_pins_decode(struct tc_span bytes, struct tc_pins **ret_pins, struct tc_error *err) TC_MUST_USE;

#endif
