/* What apt's configuration says is read here and not asked of apt: apt's own listing
 * (indextargets) knows only what has been updated. An entry counts as a mirror of
 * Debian when its URL ends in the archive's name, as Debian's own do; everything else
 * in there is somebody else's archive and is passed over. */
#include "host/mirrors.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "os/readfile.h"

enum { APT_FILE_MAX = 1 << 20, URL_MAX = 1024, SHOWN_SIZE = 300 };

void tc_mirrors_free(struct tc_mirrors *mirrors)
{
    if (!mirrors) return;
    for (int i = 0; i < TC_ARCHIVES; i++)
        free(mirrors->archive[i]);
    free(mirrors->snapshot);
    *mirrors = (struct tc_mirrors){0};
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* Nothing that could end a line or a word in apt's files, or be an option there. */
static bool is_url(const char *text)
{
    if (!begins(text, "http://") && !begins(text, "https://") && !begins(text, "file:/"))
        return false;
    for (const char *c = text; *c; c++)
        if (*c <= ' ' || *c > '~' || strchr("\"'\\[]#", *c)) return false;
    return strlen(text) <= URL_MAX;
}

/* Without slashes at the end; owned. */
static char *trimmed(const char *url, size_t size)
{
    while (size > 0 && url[size - 1] == '/')
        size--;
    return strndup(url, size);
}

static tc_status no_memory(struct tc_error *err)
{
    return tc_fail(err, TC_SYSTEM, "out of memory");
}

static bool ends_in_archive(const char *url, enum tc_archive archive)
{
    const char *name = strrchr(url, '/');
    return name && strcmp(name + 1, tc_archive_name(archive)) == 0;
}

static tc_status note(struct tc_mirrors *mirrors, const char *word, size_t size,
                      struct tc_error *err)
{
    TC_AUTO_FREE char *url = trimmed(word, size);
    if (!url) return no_memory(err);
    if (!is_url(url)) return TC_OK;
    for (int i = 0; i < TC_ARCHIVES; i++) {
        if (mirrors->archive[i] || !ends_in_archive(url, (enum tc_archive)i)) continue;
        mirrors->archive[i] = TC_TAKE(url);
        break;
    }
    return TC_OK;
}

/* The first entry of a list of mirrors, as cloud images have them. */
static tc_status note_list(struct tc_mirrors *mirrors, const char *word, size_t size,
                           struct tc_error *err)
{
    TC_AUTO_FREE char *path = strndup(word, size);
    TC_AUTO_BUF struct tc_buf text = tc_buf_new(APT_FILE_MAX);
    struct tc_error ignored = {0};
    if (!path) return no_memory(err);
    const char *plain = begins(path, "//") ? path + 2 : path;
    /* One that cannot be read is apt's trouble; here it names no mirror. */
    if (tc_readfile_at(AT_FDCWD, plain, true, plain, &text, &ignored) != TC_OK) return TC_OK;
    tc_buf_add_u8(&text, '\0');
    if (!tc_buf_ok(&text)) return TC_OK;
    const char *line = (const char *)text.data;
    while (*line) {
        line += strspn(line, " \t\r\n");
        size_t first = strcspn(line, " \t\r\n");
        if (first > 0 && *line != '#') return note(mirrors, line, first, err);
        line += strcspn(line, "\n");
    }
    return TC_OK;
}

static tc_status note_uri(struct tc_mirrors *mirrors, const char *word, size_t size,
                          struct tc_error *err)
{
    static const char list[] = "mirror+file:";
    if (size > sizeof list - 1 && begins(word, list))
        return note_list(mirrors, word + sizeof list - 1, size - (sizeof list - 1), err);
    return note(mirrors, word, size, err);
}

static const char *skip_blanks(const char *text)
{
    return text + strspn(text, " \t");
}

/* deb [options] URI suite component... */
static tc_status read_one_line(struct tc_mirrors *mirrors, const char *line, struct tc_error *err)
{
    const char *at = skip_blanks(line);
    if (!begins(at, "deb ") && !begins(at, "deb\t")) return TC_OK;
    at = skip_blanks(at + 3);
    if (*at == '[') {
        at += strcspn(at, "]");
        if (*at != ']') return TC_OK;
        at = skip_blanks(at + 1);
    }
    return note_uri(mirrors, at, strcspn(at, " \t"), err);
}

/* A stanza's fields as far as they matter. */
struct stanza {
    bool disabled, is_source_only, in_uris;
    const char *uris[16]; /* lines of URIs: the field's and those that go on with it */
    size_t uris_count;
};

static tc_status end_stanza(struct tc_mirrors *mirrors, struct stanza *stanza, struct tc_error *err)
{
    tc_status status = TC_OK;
    bool counts = !stanza->disabled && !stanza->is_source_only;
    for (size_t i = 0; counts && status == TC_OK && i < stanza->uris_count; i++) {
        const char *at = stanza->uris[i];
        while (status == TC_OK && *(at = skip_blanks(at))) {
            size_t size = strcspn(at, " \t");
            status = note_uri(mirrors, at, size, err);
            at += size;
        }
    }
    *stanza = (struct stanza){0};
    return status;
}

static void read_field(struct stanza *stanza, const char *line)
{
    bool goes_on = *line == ' ' || *line == '\t';
    const char *value = goes_on ? line : strchr(line, ':');
    if (!value) return;
    if (!goes_on) {
        value = skip_blanks(value + 1);
        stanza->in_uris = strncasecmp(line, "URIs:", 5) == 0;
        if (strncasecmp(line, "Enabled:", 8) == 0)
            stanza->disabled = strcasecmp(value, "no") == 0 || strcasecmp(value, "false") == 0;
        if (strncasecmp(line, "Types:", 6) == 0)
            stanza->is_source_only = strcmp(value, "deb-src") == 0;
    }
    if (stanza->in_uris && stanza->uris_count < sizeof stanza->uris / sizeof *stanza->uris)
        stanza->uris[stanza->uris_count++] = value;
}

/* Splits text in place. */
static tc_status read_lines(struct tc_mirrors *mirrors, char *text, bool deb822,
                            struct tc_error *err)
{
    struct stanza stanza = {0};
    for (char *line = text, *next; line; line = next) {
        char *end = strchr(line, '\n');
        next = end ? end + 1 : NULL;
        if (end) *end = '\0';
        size_t size = strlen(line);
        while (size > 0 && strchr(" \t\r", line[size - 1]))
            line[--size] = '\0';
        if (*line == '#') continue;
        if (!deb822)
            TC_TRY(read_one_line(mirrors, line, err));
        else if (size == 0)
            TC_TRY(end_stanza(mirrors, &stanza, err));
        else
            read_field(&stanza, line);
    }
    return end_stanza(mirrors, &stanza, err);
}

static tc_status read_apt_file(struct tc_mirrors *mirrors, const char *path, bool deb822,
                               struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf content = tc_buf_new(APT_FILE_MAX);
    struct tc_error ignored = {0};
    if (tc_readfile_at(AT_FDCWD, path, true, path, &content, &ignored) != TC_OK) return TC_OK;
    TC_AUTO_FREE char *text = tc_buf_take_text(&content);
    return text ? read_lines(mirrors, text, deb822, err) : no_memory(err);
}

static bool ends(const char *text, const char *with)
{
    size_t size = strlen(text), tail = strlen(with);
    return size > tail && strcmp(text + size - tail, with) == 0;
}

static int is_part(const struct dirent *entry)
{
    return ends(entry->d_name, ".list") || ends(entry->d_name, ".sources");
}

static tc_status read_parts(struct tc_mirrors *mirrors, const char *folder, struct tc_error *err)
{
    TC_AUTO_FREE char *parts = NULL;
    struct dirent **names = NULL;
    tc_status status = TC_OK;
    if (asprintf(&parts, "%s/sources.list.d", folder) < 0) parts = NULL;
    if (!parts) return no_memory(err);
    int count = scandir(parts, &names, is_part, alphasort);
    for (int i = 0; i < count; i++) {
        char *path = NULL;
        if (status == TC_OK && asprintf(&path, "%s/%s", parts, names[i]->d_name) >= 0) {
            status = read_apt_file(mirrors, path, ends(names[i]->d_name, ".sources"), err);
            free(path);
        }
        free(names[i]);
    }
    free(names);
    return status;
}

tc_status tc_mirrors_of_apt(const char *folder, struct tc_mirrors *mirrors, struct tc_error *err)
{
    TC_AUTO_FREE char *list = NULL;
    if (asprintf(&list, "%s/sources.list", folder) < 0) list = NULL;
    if (!list) return no_memory(err);
    TC_TRY(read_apt_file(mirrors, list, false, err));
    return read_parts(mirrors, folder, err);
}

/* A URL of the user's. */
static tc_status take_url(const char *text, const char *what, char **ret_url, struct tc_error *err)
{
    char shown[SHOWN_SIZE];
    if (!is_url(text))
        return tc_fail(err, TC_USAGE, "%s: \"%s\" is no URL of http, https or file", what,
                       tc_printable(tc_span_of_text(text), shown, sizeof shown));
    *ret_url = trimmed(text, strlen(text));
    return *ret_url ? TC_OK : no_memory(err);
}

tc_status tc_mirrors_find(const char *mirror, const char *snapshot, struct tc_mirrors *ret_mirrors,
                          struct tc_error *err)
{
    TC_AUTO_MIRRORS struct tc_mirrors mirrors = {0};
    const char *named = snapshot ? snapshot : getenv("TEE_COMPILE_SNAPSHOT");
    if (named && (snapshot || *named))
        TC_TRY(take_url(named, snapshot ? "--snapshot" : "TEE_COMPILE_SNAPSHOT", &mirrors.snapshot,
                        err));
    if (mirror) {
        TC_TRY(take_url(mirror, "--mirror", &mirrors.archive[TC_ARCHIVE_MAIN], err));
        if (asprintf(&mirrors.archive[TC_ARCHIVE_SECURITY], "%s-security",
                     mirrors.archive[TC_ARCHIVE_MAIN]) < 0) {
            mirrors.archive[TC_ARCHIVE_SECURITY] = NULL;
            return no_memory(err);
        }
    } else {
        TC_TRY(tc_mirrors_of_apt("/etc/apt", &mirrors, err));
    }
    *ret_mirrors = mirrors;
    mirrors = (struct tc_mirrors){0};
    return TC_OK;
}
