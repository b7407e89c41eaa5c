/* Output patterns of build.json: safe relative paths whose names may hold '*'
 * (any run of characters but '/'), '?' (one of them) and [...] sets. A leading
 * dot is matched only by a dot. "**" is refused: name the folder instead, which
 * ships its files. Pure; used by the collector to walk and by build.json's
 * reader to refuse early. */
#ifndef TC_CORE_OUTMATCH_H
#define TC_CORE_OUTMATCH_H

#include "base/bytes.h"

/* TC_USAGE with the reason when the pattern is absolute, holds "..", "**", an
 * empty name or an unfinished set, or is too long. A trailing '/' and "./" at the start are not
 * accepted either. */
tc_status tc_outmatch_check(const char *pattern, struct tc_error *err) TC_MUST_USE;

/* True when a name of the pattern holds no wildcard. */
bool tc_outmatch_is_plain(const char *name);

/* Does one name match one name of a pattern? Linear time in pattern * name. */
bool tc_outmatch_name(const char *pattern_name, const char *name);

#endif
