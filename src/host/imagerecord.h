/* That the file system of an image was found good, so that the next build need not read
 * hundreds of megabytes again: a file for each root hash, which names the inode, its size
 * and both of its times. Whoever changes the file's content changes the time of its last
 * change with it, which nobody can set. That is as much as a check at the start of a build
 * is worth in any case (ADR 24); in an enclave dm-verity checks each read.
 *
 * Records are for speed alone: one that is missing, cannot be read, is somebody else's, or
 * says anything different means a check. */
#ifndef TC_HOST_IMAGERECORD_H
#define TC_HOST_IMAGERECORD_H

#include <stdbool.h>
#include <sys/stat.h>
#include <time.h>

#include "core/digest.h"

/* Was what fd is now, unchanged, found to have that root hash? */
bool tc_imagerecord_holds(const char *folder, const struct tc_sha256 *root, int fd);

/* After a check: before is of fstat as the check began, now the time. Nothing is recorded of
 * a file that was changed since, or so shortly before that its time might not show another
 * change. */
void tc_imagerecord_keep(const char *folder, const struct tc_sha256 *root, int fd,
                         const struct stat *before, time_t now);

#endif
