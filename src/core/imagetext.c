/* Reader and writer of one text. The reader takes a line off at a time, judges each
 * value by its own rule, and compares at the end what the writer makes of it with
 * what it was given: a spelling that the rules overlooked is refused all the same.
 *
 * The command line is compared as bytes, not as the kernel parses it: a measured
 * text has one place, the beginning, and behind it only words that cannot name a
 * program, a file system or a setting of memory. */
#include "core/imagetext.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#define FIRST_LINE "tee-compile/image/1"

static const uint64_t size_max = UINT64_C(1) << 40;

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool tc_image_text_name_is_good(const char *name)
{
    static const char file[] = ".eif";
    size_t size = strlen(name), end = sizeof file - 1;
    if (strcmp(name, "host") == 0 || (size >= end && strcmp(name + size - end, file) == 0))
        return false;
    if (size == 0 || size > TC_IMAGE_TEXT_NAME_MAX || !is_lower(*name)) return false;
    for (const char *at = name; *at; at++)
        if (!is_lower(*at) && !is_digit(*at) && *at != '-' && *at != '.') return false;
    return true;
}

/* Debian's alphabets (Policy 5.6.1, 5.6.8, 5.6.12), the first character a letter
 * or digit. */
static bool word_is_good(const char *word, const char *further, bool upper)
{
    size_t size = strlen(word);
    if (size == 0 || size > TC_IMAGE_WORD_MAX) return false;
    for (const char *at = word; *at; at++) {
        bool plain = is_lower(*at) || is_digit(*at) || (upper && *at >= 'A' && *at <= 'Z');
        if (!plain && (at == word || !strchr(further, *at))) return false;
    }
    return true;
}

static bool package_is_good(const struct tc_image_package *package)
{
    return word_is_good(package->name, "+-.", false) &&
           word_is_good(package->version, ".+-~:", true) &&
           word_is_good(package->architecture, "-", false);
}

/* One spelling: words with one space between them. */
static bool cmdline_is_good(const char *text)
{
    size_t size = strlen(text);
    if (size == 0 || size > TC_IMAGE_CMDLINE_MAX || *text == ' ' || text[size - 1] == ' ')
        return false;
    for (const char *at = text; *at; at++)
        if (*at < ' ' || *at > '~' || (*at == ' ' && at[1] == ' ')) return false;
    return true;
}

static int compare(const struct tc_image_package *a, const struct tc_image_package *b)
{
    int order = strcmp(a->name, b->name);
    return order != 0 ? order : strcmp(a->architecture, b->architecture);
}

/* NULL when they are good, else what is wrong with them. */
static const char *packages_flaw(const struct tc_image_package *packages, size_t count)
{
    if (count > TC_IMAGE_PACKAGES_MAX) return "there are more than 4096 packages";
    for (size_t i = 0; i < count; i++) {
        if (!package_is_good(&packages[i]))
            return "a package's name, version or architecture is not of Debian's alphabet";
        if (i > 0 && compare(&packages[i - 1], &packages[i]) >= 0)
            return "the packages are not sorted by name and architecture, or two are alike";
    }
    return NULL;
}

static const char *flaw(const struct tc_image_text *text)
{
    if (!tc_image_text_name_is_good(text->name))
        return "the name is not 1 to 64 of a-z, 0-9, '-' and '.', a letter first, or is \"host\" "
               "or "
               "ends in .eif";
    if (text->kernel_size == 0 || text->kernel_size > size_max || text->ramdisk_size == 0 ||
        text->ramdisk_size > size_max)
        return "a section's size is not 1 to 2^40";
    if (!cmdline_is_good(text->cmdline))
        return "the command line is not 1 to 1024 characters of printable ASCII, with single "
               "spaces between its words";
    return packages_flaw(text->packages, text->packages_count);
}

bool tc_image_packages_are_good(const struct tc_image_package *packages, size_t count)
{
    return packages_flaw(packages, count) == NULL;
}

void tc_image_package_done(struct tc_image_package *package)
{
    free(package->name);
    free(package->version);
    free(package->architecture);
}

void tc_image_packages_free(struct tc_image_package *packages, size_t count)
{
    for (size_t i = 0; i < count; i++)
        tc_image_package_done(&packages[i]);
    free(packages);
}

void tc_image_text_free(struct tc_image_text *text)
{
    if (!text) return;
    tc_image_packages_free(text->packages, text->packages_count);
    free(text->name);
    free(text->cmdline);
    *text = (struct tc_image_text){0};
}

/* --- writer --- */

static void add_hex(struct tc_buf *buf, const struct tc_sha256 *digest)
{
    char hex[TC_SHA256_HEX];
    tc_hex((struct tc_span){digest->bytes, sizeof digest->bytes}, hex);
    tc_buf_add_text(buf, hex);
    tc_buf_add_u8(buf, '\n');
}

static void write_text(const struct tc_image_text *text, struct tc_buf *buf)
{
    tc_buf_add_format(buf, FIRST_LINE "\nname %s\nrecipe ", text->name);
    add_hex(buf, &text->recipe);
    tc_buf_add_format(buf, "kernel %llu\nramdisk %llu\n", (unsigned long long)text->kernel_size,
                      (unsigned long long)text->ramdisk_size);
    /* Not through a format, whose results have a limit of their own. */
    tc_buf_add_text(buf, "cmdline ");
    tc_buf_add_text(buf, text->cmdline);
    tc_buf_add_format(buf, "\npackages %zu\n", text->packages_count);
    for (size_t i = 0; i < text->packages_count; i++) {
        const struct tc_image_package *package = &text->packages[i];
        tc_buf_add_format(buf, "%s %s %s ", package->name, package->version, package->architecture);
        add_hex(buf, &package->digest);
    }
}

tc_status tc_image_text_encode(const struct tc_image_text *text, struct tc_buf *buf,
                               struct tc_error *err)
{
    const char *wrong = flaw(text);
    if (wrong) return tc_fail(err, TC_USAGE, "what the image says of itself: %s", wrong);
    TC_AUTO_BUF struct tc_buf whole = tc_buf_new(TC_IMAGE_TEXT_MAX);
    write_text(text, &whole);
    if (!tc_buf_ok(&whole))
        return tc_fail(err, TC_USAGE, "what the image says of itself is larger than %d bytes",
                       TC_IMAGE_TEXT_MAX);
    tc_buf_add_span(buf, tc_buf_span(&whole));
    return TC_OK;
}

/* --- reader --- */

/* Takes "word VALUE\n" off the text. */
static bool take_line(struct tc_cursor *text, const char *word, struct tc_span *ret_value)
{
    size_t size = strlen(word), left = tc_cursor_left(text);
    const uint8_t *end = left > 0 ? memchr(text->next, '\n', left) : NULL;
    if (!end) return false;
    size_t line = (size_t)(end - text->next);
    if (line < size || memcmp(text->next, word, size) != 0) return false;
    *ret_value = (struct tc_span){text->next + size, line - size};
    text->next = end + 1;
    return true;
}

/* Takes the characters up to the next space off a value; without one, all of it. */
static struct tc_span take_word(struct tc_span *value)
{
    if (value->size == 0) return *value;
    const uint8_t *end = memchr(value->data, ' ', value->size);
    struct tc_span word = {value->data, end ? (size_t)(end - value->data) : value->size};
    size_t taken = word.size + (end ? 1 : 0);
    *value = (struct tc_span){value->data + taken, value->size - taken};
    return word;
}

static tc_status malformed(struct tc_error *err, const char *what)
{
    return tc_fail(err, TC_MALFORMED, "what the image says of itself (" FIRST_LINE "): %s", what);
}

/* An owned copy; NULs, which would cut it, are no character of any value. */
static tc_status copy_text(struct tc_span value, size_t max, const char *what, char **ret_text,
                           struct tc_error *err)
{
    if (value.size > max || (value.size > 0 && memchr(value.data, '\0', value.size)))
        return malformed(err, what);
    *ret_text = tc_span_to_text(value);
    return *ret_text ? TC_OK : tc_fail(err, TC_SYSTEM, "out of memory");
}

static bool read_number(struct tc_span text, uint64_t max, uint64_t *ret_number)
{
    uint64_t number = 0;
    if (text.size == 0 || (text.data[0] == '0' && text.size > 1)) return false;
    for (size_t i = 0; i < text.size; i++) {
        if (!is_digit((char)text.data[i])) return false;
        number = number * 10 + (uint64_t)(text.data[i] - '0');
        if (number > max) return false; /* 2^40 times ten cannot wrap */
    }
    *ret_number = number;
    return true;
}

static bool read_digest(struct tc_span text, struct tc_sha256 *ret_digest)
{
    char hex[TC_SHA256_HEX] = {0};
    if (text.size != sizeof hex - 1) return false;
    memcpy(hex, text.data, text.size);
    return tc_unhex(hex, ret_digest->bytes, sizeof ret_digest->bytes);
}

static tc_status read_package(struct tc_cursor *rest, struct tc_image_package *package,
                              struct tc_error *err)
{
    static const char what[] = "expected a package as NAME VERSION ARCHITECTURE SHA256";
    struct tc_span line;
    if (!take_line(rest, "", &line)) return malformed(err, what);
    TC_TRY(copy_text(take_word(&line), TC_IMAGE_WORD_MAX, what, &package->name, err));
    TC_TRY(copy_text(take_word(&line), TC_IMAGE_WORD_MAX, what, &package->version, err));
    TC_TRY(copy_text(take_word(&line), TC_IMAGE_WORD_MAX, what, &package->architecture, err));
    return read_digest(line, &package->digest) ? TC_OK : malformed(err, what);
}

/* The list grows with the lines that are there, not by the number that is claimed. */
static tc_status read_packages(struct tc_cursor *rest, struct tc_image_text *text,
                               struct tc_error *err)
{
    struct tc_span value;
    uint64_t count;
    size_t allocated = 0;
    if (!take_line(rest, "packages ", &value) || !read_number(value, TC_IMAGE_PACKAGES_MAX, &count))
        return malformed(err, "expected the number of packages, 0 to 4096");
    for (uint64_t i = 0; i < count; i++) {
        if (text->packages_count == allocated) {
            size_t more = allocated == 0 ? 64 : 2 * allocated;
            struct tc_image_package *grown = reallocarray(text->packages, more, sizeof *grown);
            if (!grown) return tc_fail(err, TC_SYSTEM, "out of memory");
            text->packages = grown;
            allocated = more;
        }
        struct tc_image_package *package = &text->packages[text->packages_count++];
        *package = (struct tc_image_package){0};
        TC_TRY(read_package(rest, package, err));
    }
    return tc_cursor_left(rest) == 0 ? TC_OK : malformed(err, "there is more behind the packages");
}

static tc_status read_text(struct tc_span bytes, struct tc_image_text *text, struct tc_error *err)
{
    struct tc_cursor rest = tc_cursor_of(bytes);
    struct tc_span value;
    if (!take_line(&rest, FIRST_LINE, &value) || value.size != 0)
        return malformed(err, "the first line is another one");
    if (!take_line(&rest, "name ", &value)) return malformed(err, "expected the name");
    TC_TRY(copy_text(value, TC_IMAGE_TEXT_NAME_MAX, "the name is too long", &text->name, err));
    if (!take_line(&rest, "recipe ", &value) || !read_digest(value, &text->recipe))
        return malformed(err, "expected the recipe's SHA-256");
    if (!take_line(&rest, "kernel ", &value) || !read_number(value, size_max, &text->kernel_size))
        return malformed(err, "expected the kernel's size");
    if (!take_line(&rest, "ramdisk ", &value) || !read_number(value, size_max, &text->ramdisk_size))
        return malformed(err, "expected the first ramdisk's size");
    if (!take_line(&rest, "cmdline ", &value)) return malformed(err, "expected the command line");
    TC_TRY(copy_text(value, TC_IMAGE_CMDLINE_MAX, "the command line is too long", &text->cmdline,
                     err));
    return read_packages(&rest, text, err);
}

tc_status tc_image_text_decode(struct tc_span bytes, struct tc_image_text *ret_text,
                               struct tc_error *err)
{
    TC_AUTO_IMAGE_TEXT struct tc_image_text text = {0};
    TC_AUTO_BUF struct tc_buf again = tc_buf_new(TC_IMAGE_TEXT_MAX);
    if (bytes.size > TC_IMAGE_TEXT_MAX) return malformed(err, "it is larger than 1 MiB");
    TC_TRY(read_text(bytes, &text, err));
    const char *wrong = flaw(&text);
    if (wrong) return malformed(err, wrong);
    write_text(&text, &again);
    if (!tc_buf_ok(&again) || !tc_span_equal(tc_buf_span(&again), bytes))
        return malformed(err, "it is not spelled in the one way");
    *ret_text = text;
    text = (struct tc_image_text){0};
    return TC_OK;
}

/* --- the command line that runs --- */

static bool take_some(struct tc_span *text, const char *set)
{
    size_t taken = 0;
    while (taken < text->size && text->data[taken] != '\0' && strchr(set, text->data[taken]))
        taken++;
    *text = (struct tc_span){text->data + taken, text->size - taken};
    return taken > 0;
}

static bool take_text(struct tc_span *text, const char *expected)
{
    size_t size = strlen(expected);
    if (text->size < size || memcmp(text->data, expected, size) != 0) return false;
    *text = (struct tc_span){text->data + size, text->size - size};
    return true;
}

/* SIZE@ADDRESS:INTERRUPT[:NUMBER], as Documentation/admin-guide of Linux has it. */
static bool is_device(struct tc_span word)
{
    static const char digits[] = "0123456789", hex[] = "0123456789abcdefABCDEFx";
    if (!take_text(&word, "virtio_mmio.device=") || !take_some(&word, hex)) return false;
    (void)take_some(&word, "KMGkmg");
    if (!take_text(&word, "@") || !take_some(&word, hex) || !take_text(&word, ":") ||
        !take_some(&word, digits))
        return false;
    if (word.size > 0 && (!take_text(&word, ":") || !take_some(&word, digits))) return false;
    return word.size == 0;
}

/* How fast the processor's counter runs, of an emulated one. */
static bool is_clock(struct tc_span word)
{
    return take_text(&word, "tsc_early_khz=") && take_some(&word, "0123456789") && word.size == 0;
}

static bool is_harmless(struct tc_span word)
{
    static const char reboot[] = "reboot=";
    size_t size = sizeof reboot - 1;
    return is_device(word) || is_clock(word) || tc_span_equal(word, tc_span_of_text("pci=off")) ||
           (word.size == size + 1 && memcmp(word.data, reboot, size) == 0 &&
            is_lower((char)word.data[size]));
}

/* A word of the measured text that is not where it should be. */
static tc_status missing(const char *measured, struct tc_span running, struct tc_error *err)
{
    struct tc_span expected = tc_span_of_text(measured);
    char word_text[128], seen_text[128];
    for (;;) {
        struct tc_span word = take_word(&expected), seen = take_word(&running);
        if (tc_span_equal(word, seen) && expected.size > 0) continue;
        return tc_fail(err, TC_REFUSED,
                       "the kernel's command line is not the measured one: expected '%s', found "
                       "'%s'; the image's sections were cut elsewhere, or something was put before "
                       "them",
                       tc_printable(word, word_text, sizeof word_text),
                       tc_printable(seen, seen_text, sizeof seen_text));
    }
}

tc_status tc_image_cmdline_check(const char *measured, struct tc_span running, struct tc_error *err)
{
    size_t size = strlen(measured);
    if (running.size > 0 && running.data[running.size - 1] == '\n') running.size--;
    bool begins = running.size >= size && memcmp(running.data, measured, size) == 0 &&
                  (running.size == size || running.data[size] == ' ');
    if (size == 0 || !begins) return missing(measured, running, err);
    struct tc_span rest = {running.data + size, running.size - size};
    while (rest.size > 0) {
        struct tc_span word = take_word(&rest);
        char text[128];
        if (word.size > 0 && !is_harmless(word))
            return tc_fail(
                err, TC_REFUSED,
                "the kernel's command line has the word '%s' behind the measured ones; "
                "expected only virtio_mmio.device=..., pci=off, tsc_early_khz=N and reboot=X there",
                tc_printable(word, text, sizeof text));
    }
    return TC_OK;
}
