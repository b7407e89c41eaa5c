/* Files that commands read: certificates, digests. */
#ifndef TC_CMD_FILES_H
#define TC_CMD_FILES_H

#include "core/digest.h"

/* One certificate, PEM or DER, as DER appended to buf. */
tc_status tc_read_certificate(const char *path, struct tc_buf *ret_der, struct tc_error *err)
    TC_MUST_USE;

/* Streams a regular file through SHA-256. */
tc_status tc_digest_file(const char *path, struct tc_sha256 *ret_digest, struct tc_error *err)
    TC_MUST_USE;

#endif
