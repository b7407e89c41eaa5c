/* Package URLs (ECMA-427) of Debian packages, in the one form of the statement:
 *
 *   "pkg:deb/debian/" NAME "@" VERSION "?arch=" ARCHITECTURE
 *
 * Of the characters that Debian allows in them only '+' is percent-encoded. */
#ifndef TC_CORE_PURL_H
#define TC_CORE_PURL_H

#include "core/imagetext.h"

enum { TC_PURL_MAX = 3 * 3 * TC_IMAGE_WORD_MAX + 32 };

void tc_purl_write(const struct tc_image_package *package, struct tc_buf *buf);
/* Strict: what it takes, write writes again. ret_package gets owned strings; its
 * digest stays as it is. */
tc_status tc_purl_read(const char *text, struct tc_image_package *ret_package, struct tc_error *err)
    TC_MUST_USE;

#endif
