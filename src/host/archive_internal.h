/* Names in an archive. */
#ifndef TC_HOST_ARCHIVE_INTERNAL_H
#define TC_HOST_ARCHIVE_INTERNAL_H

#include <string.h>

#include "base/text.h"
#include "core/digest.h"

#define TC_ARCHIVE_INDEX_NAME "archive.jsonl"
#define TC_ARCHIVE_BODIES "bodies/"
enum { TC_ARCHIVE_BODY_NAME_SIZE = sizeof TC_ARCHIVE_BODIES - 1 + TC_SHA256_HEX };

static inline void tc_archive_body_name(const struct tc_sha256 *digest,
                                        char out[TC_ARCHIVE_BODY_NAME_SIZE])
{
    memcpy(out, TC_ARCHIVE_BODIES, sizeof TC_ARCHIVE_BODIES - 1);
    tc_hex((struct tc_span){digest->bytes, sizeof digest->bytes},
           out + sizeof TC_ARCHIVE_BODIES - 1);
}

#endif
