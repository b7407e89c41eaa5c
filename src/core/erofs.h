/* The head of an EROFS image, looked at before a kernel is: which features the file
 * system has. A kernel that meets a table of further devices opens each of them by
 * the path in the image, block devices of the host among them. */
#ifndef TC_CORE_EROFS_H
#define TC_CORE_EROFS_H

#include "base/bytes.h"

enum { TC_EROFS_HEAD = 1024 + 128 }; /* bytes: what stands before the superblock, and it */

/* head: the first TC_EROFS_HEAD bytes of a file system of size bytes. TC_REFUSED: no
 * EROFS, one that needs features that images of this project do not have, that uses
 * further devices, or that ends behind its file. */
tc_status tc_erofs_check(struct tc_span head, uint64_t size, struct tc_error *err) TC_MUST_USE;

#endif
