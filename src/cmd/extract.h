/* Writes a bundle's outputs below a folder, all or nothing: into a fresh folder
 * beside it, which takes its name only when tc_extract_commit is called. Paths
 * come from a bundle and are hostile: every step is relative to an open folder
 * and follows no symlink. */
#ifndef TC_CMD_EXTRACT_H
#define TC_CMD_EXTRACT_H

#include "base/bytes.h"

struct tc_extract;

/* Checks that the folder can be made: it must not exist, or be an empty folder,
 * and the one it is in must be writable; TC_USAGE otherwise. Nothing is made
 * before the first output comes. */
tc_status tc_extract_open(const char *folder, struct tc_extract **ret_extract, struct tc_error *err)
    TC_MUST_USE;
/* Callbacks of verify.h; context is the tc_extract. */
tc_status tc_extract_begin(void *context, const char *path, bool executable, struct tc_error *err)
    TC_MUST_USE;
tc_status tc_extract_data(void *context, struct tc_span bytes, struct tc_error *err) TC_MUST_USE;
tc_status tc_extract_end(void *context, struct tc_error *err) TC_MUST_USE;
/* Gives the outputs their name; TC_UNAVAILABLE when there are none. */
tc_status tc_extract_commit(struct tc_extract *extract, struct tc_error *err) TC_MUST_USE;
/* Takes the name back, as far as it can be: for a caller who has more to name than this. An
 * empty folder that was there is there again. */
void tc_extract_revoke(struct tc_extract *extract);
/* Removes whatever was not committed. Accepts NULL. */
void tc_extract_free(struct tc_extract *extract);

#endif
