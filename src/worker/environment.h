/* The environment of every command: complete and fixed, so that the same
 * build.json gives the same one on every machine; it stands in the statement. */
#ifndef TC_WORKER_ENVIRONMENT_H
#define TC_WORKER_ENVIRONMENT_H

#include "core/buildspec.h"

/* The worker's own variables, then build.json's, which win. host_tools: folders
 * whose bin/ goes before PATH (NULL-terminated). epoch is SOURCE_DATE_EPOCH.
 * ret_list is sorted, owned (strings too) and ends with NULL. */
tc_status tc_environment_build(const struct tc_buildspec *spec, int64_t epoch,
                               const char *const *host_tools, char ***ret_list, size_t *ret_count,
                               struct tc_error *err) TC_MUST_USE;

void tc_string_list_free(char **list, size_t count);

#endif
