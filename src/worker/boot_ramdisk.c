/* Is everything there? The kernel unpacks ramdisks into at most half of the
 * memory. When that is too small it says "write error" and runs /init all the
 * same, on the part that fitted, under unchanged PCRs; and the host chooses the
 * memory. Unpacking ends for good at the first error, so the last file of a
 * ramdisk vouches for all before it: a file's name may appear before its bytes
 * are found not to fit, which is why the bytes are compared. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "worker/boot.h"

static tc_status check_mark(const char *root, const char *name, struct tc_error *err)
{
    static const char expected[] = TC_BOOT_MARK_TEXT;
    char path[256], seen[sizeof expected + 1];
    if (snprintf(path, sizeof path, "%s%s", root, name) >= (int)sizeof path)
        return tc_fail(err, TC_USAGE, "the path of a ramdisk's mark is too long");
    TC_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t got = fd < 0 ? -1 : read(fd, seen, sizeof seen);
    if (got == (ssize_t)sizeof expected - 1 && memcmp(seen, expected, sizeof expected - 1) == 0)
        return TC_OK;
    return tc_fail(err, TC_UNAVAILABLE,
                   "the enclave's ramdisk was unpacked in part (%s %s): nothing runs from it; give "
                   "the enclave more memory",
                   name, got < 0 ? "is missing" : "is cut off");
}

tc_status tc_boot_check_ramdisks(const char *root, struct tc_error *err)
{
    TC_TRY(check_mark(root, TC_BOOT_MARK_WORKER, err));
    return check_mark(root, TC_BOOT_MARK_TOOLCHAIN, err);
}
