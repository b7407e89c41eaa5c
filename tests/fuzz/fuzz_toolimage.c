/* What an image says of itself, alone and in its ramdisk, the kernel's command line
 * beside it, and package URLs: whatever is accepted has one spelling. */
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "core/purl.h"
#include "core/toolramdisk.h"
#include "fuzz.h"

static void try_text(struct tc_span bytes)
{
    struct tc_error err = {0};
    TC_AUTO_IMAGE_TEXT struct tc_image_text text = {0};
    if (tc_image_text_decode(bytes, &text, &err) != TC_OK) return;
    TC_AUTO_BUF struct tc_buf again = tc_buf_new(TC_IMAGE_TEXT_MAX);
    FUZZ_CHECK(tc_image_text_encode(&text, &again, &err) == TC_OK);
    FUZZ_CHECK(tc_span_equal(tc_buf_span(&again), bytes));
    FUZZ_CHECK(tc_image_cmdline_check(text.cmdline, tc_span_of_text(text.cmdline), &err) == TC_OK);
}

static void try_ramdisk(struct tc_span bytes)
{
    struct tc_error err = {0};
    TC_AUTO_TOOLRAMDISK struct tc_toolramdisk ramdisk = {0};
    TC_AUTO_BUF struct tc_buf again = tc_buf_new(TC_TOOLRAMDISK_HEAD_MAX);
    struct tc_span head = bytes;
    if (head.size > TC_TOOLRAMDISK_HEAD_MAX) head.size = TC_TOOLRAMDISK_HEAD_MAX;
    if (tc_toolramdisk_decode(head, bytes.size, &ramdisk, &err) != TC_OK) return;
    if (ramdisk.self_contained) {
        FUZZ_CHECK(tc_toolramdisk_head(&ramdisk.text, ramdisk.root_size, &again, &err) == TC_OK);
        FUZZ_CHECK(again.size == ramdisk.root_offset);
        FUZZ_CHECK(ramdisk.root_offset + ramdisk.root_size < bytes.size);
        FUZZ_CHECK(memcmp(again.data, bytes.data, again.size) == 0);
    } else {
        FUZZ_CHECK(tc_toolramdisk_encode(&ramdisk.text, &ramdisk.verity, &again, &err) == TC_OK);
        FUZZ_CHECK(tc_span_equal(tc_buf_span(&again), bytes));
    }
}

/* "MEASURED\nRUNNING", and the first line as a package URL. */
static void try_lines(struct tc_span bytes)
{
    struct tc_error err = {0};
    const uint8_t *end = bytes.size > 0 ? memchr(bytes.data, '\n', bytes.size) : NULL;
    if (!end) return;
    size_t size = (size_t)(end - bytes.data);
    if (memchr(bytes.data, '\0', size)) return;
    TC_AUTO_FREE char *line = tc_span_to_text((struct tc_span){bytes.data, size});
    FUZZ_CHECK(line);
    struct tc_span running = {end + 1, bytes.size - size - 1};
    if (tc_image_cmdline_check(line, running, &err) == TC_OK) {
        FUZZ_CHECK(running.size >= size && memcmp(running.data, line, size) == 0);
        FUZZ_CHECK(!memchr(running.data, '\0', running.size));
    }
    struct tc_image_package package = {0};
    if (tc_purl_read(line, &package, &err) != TC_OK) return;
    TC_AUTO_BUF struct tc_buf again = tc_buf_new(TC_PURL_MAX);
    tc_purl_write(&package, &again);
    FUZZ_CHECK(tc_span_equal(tc_buf_span(&again), tc_span_of_text(line)));
    tc_image_package_done(&package);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try_text((struct tc_span){data, size});
    try_ramdisk((struct tc_span){data, size});
    try_lines((struct tc_span){data, size});
    return 0;
}
