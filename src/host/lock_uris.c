/* The lines of apt-get --print-uris:
 *
 *   'http://HOST/debian/pool/main/b/bash/bash_5.2-1%2bb1_amd64.deb' bash_5.2-1+b1_amd64.deb 1500792
 * SHA256:HEX
 *
 * The second word is NAME_VERSION_ARCHITECTURE.deb, which says what the path in the
 * pool need not say (its version lacks the epoch). Both are percent-encoded. apt has
 * the digest from the signed index, the one that it would itself compare with. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "host/lock_make.h"

enum { SHOWN_SIZE = 300 };

/* In place; false: what follows a % is no byte, or a NUL. */
static bool decode_percent(char *text)
{
    char *out = text;
    for (const char *in = text; *in; in++) {
        if (*in != '%') {
            *out++ = *in;
            continue;
        }
        char digits[3] = {in[1], in[1] ? in[2] : '\0', '\0'};
        uint8_t byte;
        if (!tc_unhex(digits, &byte, 1) || byte == 0) return false;
        *out++ = (char)byte;
        in += 2;
    }
    *out = '\0';
    return true;
}

/* Ends the word at the first of `end` and moves *at behind it. */
static char *take_word(char **at, char end)
{
    char *word = *at, *stop = strchr(word, end);
    if (!stop) return NULL;
    *stop = '\0';
    *at = stop + 1;
    return word;
}

/* The path below the mirror that the URL begins with. */
static const char *split_url(const char *url, const struct tc_mirrors *mirrors,
                             enum tc_archive *ret_archive)
{
    for (int i = 0; i < TC_ARCHIVES; i++) {
        const char *base = mirrors->archive[i];
        if (!base) continue;
        /* As apt was told: host/lock_make.c. */
        const char *seen = url;
        if (strncmp(base, "file:", 5) == 0) {
            if (strncmp(seen, "copy:", 5) != 0) continue;
            base += 5;
            seen += 5;
        }
        size_t size = strlen(base);
        if (strncmp(seen, base, size) != 0 || seen[size] != '/') continue;
        *ret_archive = (enum tc_archive)i;
        return seen + size + 1;
    }
    return NULL;
}

static bool set_names(char *file, struct tc_lock_package *package)
{
    char *at = file, *name = take_word(&at, '_'), *version = take_word(&at, '_');
    char *architecture = take_word(&at, '.');
    if (!name || !version || !architecture || strcmp(at, "deb") != 0) return false;
    if (!decode_percent(name) || !decode_percent(version)) return false;
    package->name = strdup(name);
    package->version = strdup(version);
    package->architecture = strdup(architecture);
    return package->name && package->version && package->architecture;
}

/* line begins behind the first quote. */
static bool parse_line(char *line, const struct tc_mirrors *mirrors,
                       struct tc_lock_package *package)
{
    static const char kind[] = "SHA256:";
    char *at = line, *end;
    char *url = take_word(&at, '\'');
    if (!url || *at++ != ' ') return false;
    char *file = take_word(&at, ' '), *size = take_word(&at, ' ');
    if (!file || !size || strncmp(at, kind, sizeof kind - 1) != 0) return false;
    if (!tc_unhex(at + sizeof kind - 1, package->digest.bytes, sizeof package->digest.bytes))
        return false;
    errno = 0;
    package->size = strtoull(size, &end, 10);
    if (errno || *end || end == size || *size < '0' || *size > '9') return false;
    const char *path = split_url(url, mirrors, &package->archive);
    package->path = path ? strdup(path) : NULL;
    return package->path && decode_percent(package->path) && set_names(file, package);
}

tc_status tc_lock_parse_uris(char *text, const struct tc_mirrors *mirrors, struct tc_lock *lock,
                             struct tc_error *err)
{
    size_t lines = 1;
    for (const char *c = text; *c; c++)
        lines += *c == '\n';
    lock->packages = calloc(lines, sizeof *lock->packages);
    if (!lock->packages) return tc_fail(err, TC_SYSTEM, "out of memory for a list");
    for (char *line = text, *next; line; line = next) {
        char shown[SHOWN_SIZE], *end = strchr(line, '\n');
        next = end ? end + 1 : NULL;
        if (end) *end = '\0';
        if (*line != '\'') continue; /* apt's remarks to a reader */
        (void)tc_printable(tc_span_of_text(line), shown, sizeof shown);
        lock->packages_count++;
        if (!parse_line(line + 1, mirrors, &lock->packages[lock->packages_count - 1]))
            return tc_fail(err, TC_MALFORMED,
                           "apt says of a package what was not expected: %s (expected 'URL' FILE "
                           "SIZE SHA256:HEX, the URL below a mirror)",
                           shown);
    }
    tc_lock_sort(lock);
    return TC_OK;
}
