/* Whole writes to descriptors. */
#ifndef TC_OS_FILES_H
#define TC_OS_FILES_H

#include "base/bytes.h"

/* Writes all of span; what names the file in the message. */
tc_status tc_write_all(int fd, struct tc_span span, const char *what, struct tc_error *err)
    TC_MUST_USE;

#endif
