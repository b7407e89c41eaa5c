/* A file that has no name until it is finished: nothing half-written is ever
 * seen, and nothing stays behind a crash, a kill or a power cut. Where the file system knows
 * no such file it has a hidden name meanwhile (os/tempname.h), which a crash leaves behind. */
#ifndef TC_OS_TEMPFILE_H
#define TC_OS_TEMPFILE_H

#include <stddef.h>

#include "base/status.h"

struct tc_tempfile {
    int fd;          /* read and write; -1 when not open */
    int folder_fd;   /* of the final name */
    char *path;      /* final, as the caller gave it */
    char *temporary; /* name in the folder, only where O_TMPFILE does not work */
};
#define TC_AUTO_TEMPFILE TC_CLEANUP(tc_tempfile_drop)
/* Start value: { .fd = -1, .folder_fd = -1 } */
#define TC_TEMPFILE_NONE                                                                           \
    (struct tc_tempfile)                                                                           \
    {                                                                                              \
        .fd = -1, .folder_fd = -1                                                                  \
    }

/* Opens an unnamed file in the folder of path, mode 0644 less the umask.
 * TC_USAGE when path is a folder or its folder does not exist or cannot be
 * written. */
tc_status tc_tempfile_open(const char *path, struct tc_tempfile *ret_file, struct tc_error *err)
    TC_MUST_USE;

/* Gives the file its final name, replacing what was there, in one step; closes. */
tc_status tc_tempfile_commit(struct tc_tempfile *file, struct tc_error *err) TC_MUST_USE;

/* The same for several, in their order: on failure each name is what it was. What stood at
 * one and cannot get it back stays beside it, and the error says where: nothing is lost.
 * Files that were never opened are left out; all are closed on success, and can only be
 * dropped on failure. */
tc_status tc_tempfile_commit_all(struct tc_tempfile *files, size_t count, struct tc_error *err)
    TC_MUST_USE;

/* Forgets the file; accepts one that was never opened or is committed. */
void tc_tempfile_drop(struct tc_tempfile *file);

#endif
