/* A suite's list of indexes is signed by Debian for every suite alike, so the signature
 * does not say that it is the list that was asked for: where the names differ, apt warns
 * and goes on. Here the name in the signed text is compared with the one asked for.
 *
 * apt calls the file by what it asked for (..._dists_SUITE_InRelease), whatever came.
 * Only what is signed counts: armour's own headers before the first empty line and the
 * signature behind are not, and anybody could write a name there. */
#include "host/lock_make.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "os/readfile.h"

static const char first_line[] = "-----BEGIN PGP SIGNED MESSAGE-----";
static const char last_line[] = "-----BEGIN PGP SIGNATURE-----";
static const char key[] = "Codename:";

enum { RELEASE_MAX = 16 << 20, SHOWN_MAX = 200 };

static void close_dir(DIR **folder)
{
    if (*folder) (void)closedir(*folder);
}

/* The one codename in the signed part of text, which is cut up; NULL: none, or two. */
static const char *codename_of(char *text)
{
    const char *found = NULL;
    bool in_message = false;
    char *next = text, *line = strsep(&next, "\n");
    if (strcmp(line, first_line) != 0) return NULL;
    while ((line = strsep(&next, "\n"))) {
        if (!in_message) {
            in_message = *line == '\0';
            continue;
        }
        if (strcmp(line, last_line) == 0) return found;
        if (strncasecmp(line, key, sizeof key - 1) != 0) continue;
        if (found) return NULL;
        found = line + sizeof key - 1;
        found += strspn(found, " \t");
    }
    return NULL; /* the signature is missing */
}

static tc_status check_one(int lists_fd, const char *name, const char *suite, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf content = tc_buf_new(RELEASE_MAX);
    char shown[SHOWN_MAX];
    TC_TRY(tc_readfile_at(lists_fd, name, false, "InRelease", &content, err));
    TC_AUTO_FREE char *text = tc_buf_take_text(&content);
    if (!text) return tc_fail(err, TC_SYSTEM, "out of memory");
    const char *codename = codename_of(text);
    const char *expected = strcmp(suite, "unstable") == 0 ? "sid" : suite;
    if (codename && strcmp(codename, expected) == 0) return TC_OK;
    if (!codename)
        return tc_fail(err, TC_UNAVAILABLE,
                       "what the mirror has as the suite %s does not say in one signed line which "
                       "suite it is (Codename)",
                       suite);
    return tc_fail(err, TC_UNAVAILABLE,
                   "what the mirror has as the suite %s calls itself \"%s\": expected the Codename "
                   "\"%s\"; use another mirror, or name the suite in recipe.json by its codename",
                   suite, tc_printable(tc_span_of_text(codename), shown, sizeof shown), expected);
}

static bool ends_in(const char *text, const char *end)
{
    size_t size = strlen(text), end_size = strlen(end);
    return size >= end_size && strcmp(text + size - end_size, end) == 0;
}

/* TC_OK too where name is no suite's list of indexes. */
static tc_status check_file(int lists_fd, const char *name, const struct tc_suites *suites,
                            bool seen[TC_SUITES_MAX], struct tc_error *err)
{
    char end[TC_SUITE_MAX + 32], shown[SHOWN_MAX];
    if (!ends_in(name, "_InRelease") && !ends_in(name, "_Release")) return TC_OK;
    for (size_t i = 0; i < suites->count; i++) {
        (void)snprintf(end, sizeof end, "_dists_%s_InRelease", suites->names[i]);
        if (seen[i] || !ends_in(name, end)) continue;
        seen[i] = true;
        return check_one(lists_fd, name, suites->names[i], err);
    }
    return tc_fail(err, TC_UNAVAILABLE, "expected one InRelease a suite from the mirror, saw %s",
                   tc_printable(tc_span_of_text(name), shown, sizeof shown));
}

tc_status tc_suites_check(int folder_fd, const struct tc_suites *suites, struct tc_error *err)
{
    bool seen[TC_SUITES_MAX] = {false};
    int fd = openat(folder_fd, "state/lists", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder TC_CLEANUP(close_dir) = fd < 0 ? NULL : fdopendir(fd);
    if (!folder) {
        int reason = errno;
        tc_close_ptr(&fd);
        return tc_fail_errno(err, TC_SYSTEM, reason, "cannot list what apt has fetched");
    }
    const struct dirent *entry;
    for (errno = 0; (entry = readdir(folder)); errno = 0)
        TC_TRY(check_file(dirfd(folder), entry->d_name, suites, seen, err));
    if (errno != 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot list what apt has fetched");
    for (size_t i = 0; i < suites->count; i++)
        if (!seen[i])
            return tc_fail(err, TC_UNAVAILABLE, "the mirror has no InRelease for the suite %s",
                           suites->names[i]);
    return TC_OK;
}
