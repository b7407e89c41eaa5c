#include "os/tempname.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/text.h"

enum { RANDOM_SIZE = 8, RANDOM_DIGITS = 2 * RANDOM_SIZE };

static const char part[] = ".part";

char *tc_tempname_new(const char *final)
{
    uint8_t random[RANDOM_SIZE];
    char hex[RANDOM_DIGITS + 1], *text;
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) return NULL;
    tc_hex((struct tc_span){random, sizeof random}, hex);
    return asprintf(&text, ".%s.%s%s", final, hex, part) < 0 ? NULL : text;
}

bool tc_tempname_is(const char *name, const char *final)
{
    size_t size = strlen(final);
    if (name[0] != '.' || strncmp(name + 1, final, size) != 0 || name[1 + size] != '.')
        return false;
    const char *random = name + 1 + size + 1;
    return strspn(random, "0123456789abcdef") == RANDOM_DIGITS &&
           strcmp(random + RANDOM_DIGITS, part) == 0;
}
