/* Files that commands read: certificates, digests, policies. */
#ifndef TC_CMD_FILES_H
#define TC_CMD_FILES_H

#include <stdbool.h>

#include "core/policy.h"

/* The absolute path of a file that may not exist yet; owned, NULL when its folder
 * cannot be resolved. */
char *tc_absolute_path(const char *path) TC_MUST_USE;

/* Do both name one place? False when a folder cannot be resolved. */
bool tc_is_same_path(const char *one, const char *other) TC_MUST_USE;

/* One certificate, PEM or DER, as DER appended to buf. */
tc_status tc_read_certificate(const char *path, struct tc_buf *ret_der, struct tc_error *err)
    TC_MUST_USE;

/* Streams a regular file through SHA-256. */
tc_status tc_digest_file(const char *path, struct tc_sha256 *ret_digest, struct tc_error *err)
    TC_MUST_USE;

/* A policy (policy.h) from a file of any kind, a pipe too; messages begin with path. */
tc_status tc_read_policy(const char *path, struct tc_policy *ret_policy, struct tc_error *err)
    TC_MUST_USE;

#endif
