/* Is the kernel's command line the measured one? No PCR covers where one section of
 * an image ends and the next begins. Who has an image can make another with the same
 * PCR0 whose kernel's section swallows the first words of the command line; the
 * kernel does not mind what is behind it, and runs without them. So the second
 * ramdisk holds the command line once more, and what runs is compared with it.
 *
 * Sections cut so that the command line is whole, and where it was, leave the kernel
 * before it as it was; the ramdisks behind it are one stream to the kernel, wherever
 * one of them ends. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "worker/boot.h"

enum { RUNNING_MAX = 8192 }; /* the kernel keeps 2048 */

static tc_status read_file(const char *path, struct tc_buf *buf, struct tc_error *err)
{
    TC_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot open %s", path);
    for (;;) {
        uint8_t piece[4096];
        ssize_t got = read(fd, piece, sizeof piece);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read %s", path);
        if (got == 0) return TC_OK;
        tc_buf_add(buf, piece, (size_t)got);
        TC_TRY(tc_buf_check(buf, path, err));
    }
}

tc_status tc_boot_check_text(const char *root, const char *cmdline, struct tc_buf *buf,
                             struct tc_error *err)
{
    char path[256];
    TC_AUTO_IMAGE_TEXT struct tc_image_text text = {0};
    TC_AUTO_BUF struct tc_buf running = tc_buf_new(RUNNING_MAX);
    if (snprintf(path, sizeof path, "%s%s", root, TC_BOOT_TEXT) >= (int)sizeof path)
        return tc_fail(err, TC_USAGE, "the path of the image's text is too long");
    TC_TRY(read_file(path, buf, err));
    TC_TRY(tc_image_text_decode(tc_buf_span(buf), &text, err));
    TC_TRY(read_file(cmdline, &running, err));
    return tc_image_cmdline_check(text.cmdline, tc_buf_span(&running), err);
}
