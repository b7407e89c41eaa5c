#include "core/outmatch.h"

#include <string.h>

#include "base/text.h"
#include "core/entry.h"

static bool has_wildcard(const char *name, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (name[i] == '*' || name[i] == '?' || name[i] == '[') return true;
    return false;
}

bool tc_outmatch_is_plain(const char *name)
{
    return !has_wildcard(name, strlen(name));
}

/* Behind the ']' that closes a set whose '[' is at p, or NULL. A ']' right after
 * the '[' or '[!' stands for itself. */
static const char *set_end(const char *p)
{
    p++;
    if (*p == '!') p++;
    if (*p == ']') p++;
    while (*p && *p != ']')
        p++;
    return *p ? p + 1 : NULL;
}

tc_status tc_outmatch_check(const char *pattern, struct tc_error *err)
{
    char shown[256];
    struct tc_span span = tc_span_of_text(pattern);
    (void)tc_printable(span, shown, sizeof shown);
    if (pattern[0] == '/')
        return tc_fail(err, TC_USAGE, "output \"%s\" is absolute: name it from the top of the source",
                       shown);
    if (!tc_path_is_safe(span))
        return tc_fail(err, TC_USAGE,
                       "output \"%s\" is no path inside the source: no empty name, no \".\" or "
                       "\"..\", no '/' at the end",
                       shown);
    if (strstr(pattern, "**"))
        return tc_fail(err, TC_USAGE,
                       "output \"%s\": \"**\" is not known; name the folder, which ships its files",
                       shown);
    for (const char *p = pattern; *p; p++) {
        if (*p != '[') continue;
        const char *end = set_end(p);
        const char *slash = strchr(p, '/');
        if (!end || (slash && slash < end))
            return tc_fail(err, TC_USAGE, "output \"%s\" has a '[' without its ']'", shown);
        p = end - 1;
    }
    return TC_OK;
}

static bool set_matches(const char *p, const char *end, char c)
{
    bool wanted = true, found = false;
    p++;
    if (*p == '!') {
        wanted = false;
        p++;
    }
    for (const char *last = end - 1; p < last; p++) {
        if (p + 2 < last && p[1] == '-') {
            found = found || ((unsigned char)c >= (unsigned char)p[0] &&
                              (unsigned char)c <= (unsigned char)p[2]);
            p += 2;
        } else {
            found = found || *p == c;
        }
    }
    return found == wanted;
}

/* Does the pattern's first element match c? Moves behind the element. */
static bool element_matches(const char **pattern, char c)
{
    const char *p = *pattern;
    if (*p == '[') {
        const char *end = set_end(p);
        if (!end) return false;
        *pattern = end;
        return set_matches(p, end, c);
    }
    *pattern = p + 1;
    return *p == '?' || *p == c;
}

bool tc_outmatch_name(const char *pattern, const char *name)
{
    /* A hidden file is named, never met by accident. */
    if (name[0] == '.' && pattern[0] != '.') return false;
    /* On a mismatch only the last '*' has to be tried with one character more:
     * no recursion, at most pattern * name steps. */
    const char *star = NULL, *retry = NULL;
    while (*name) {
        const char *next = pattern;
        if (*pattern == '*') {
            star = ++pattern;
            retry = name;
        } else if (*pattern && element_matches(&next, *name)) {
            pattern = next;
            name++;
        } else if (star) {
            pattern = star;
            name = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}
