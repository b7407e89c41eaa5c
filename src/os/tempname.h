/* The name that a file is kept under beside its final name, until it has that. */
#ifndef TC_OS_TEMPNAME_H
#define TC_OS_TEMPNAME_H

#include <stdbool.h>

#include "base/bytes.h"

/* One that nobody else has, for a file that will be called final; neither with a folder.
 * Owned; NULL when there is no memory or no randomness. */
char *tc_tempname_new(const char *final) TC_MUST_USE;
/* Could name be one of these? */
bool tc_tempname_is(const char *name, const char *final) TC_MUST_USE;

#endif
