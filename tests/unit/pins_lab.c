/* pins_lab: the readers of lock files, of Go modules and of lists of refs as a program, for
 * test_pins.py. Reads standard input.
 *
 *   pins_lab pins PATH       prints "KIND HEX" a digest, sorted
 *   pins_lab zip PIECE       prints the h1 digest of a zip that comes in pieces of this size
 *   pins_lab gomod -         prints the h1 digest of a go.mod
 *   pins_lab refs REF        prints the commit, and the tag's id when it is an annotated one
 *
 * Exit status 1 and the message on standard error when the answer is no. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/gitrefs.h"
#include "core/gozip.h"
#include "core/pins.h"

enum { INPUT_MAX = 1 << 28 };

static void print_hex(const uint8_t *bytes, size_t size, const char *end)
{
    for (size_t i = 0; i < size; i++)
        printf("%02x", bytes[i]);
    printf("%s", end);
}

/* Through the codec, whose form is what it prints from. */
static tc_status print_pins(const char *path, struct tc_span input, struct tc_error *err)
{
    static const char *const names[] = {"sha256", "sha512", "sha1", "gomod", "gozip"};
    static const size_t sizes[] = {TC_SHA256_SIZE, 64, TC_SHA1_SIZE, TC_SHA256_SIZE,
                                   TC_SHA256_SIZE};
    TC_AUTO_PINS struct tc_pins *pins = tc_pins_new();
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(INPUT_MAX);
    TC_TRY(tc_pins_add(pins, path, input, err));
    tc_pins_ready(pins);
    tc_pins_encode(pins, &buf);
    struct tc_cursor cursor = tc_cursor_of(tc_buf_span(&buf));
    struct tc_span file, entry;
    uint16_t files;
    uint32_t count;
    if (!tc_cursor_u16(&cursor, &files) || files != 1 || !tc_cursor_block(&cursor, 4096, &file))
        return tc_fail(err, TC_SYSTEM, "unexpected form");
    for (size_t kind = 0; kind < sizeof names / sizeof *names; kind++) {
        if (!tc_cursor_u32(&cursor, &count)) return tc_fail(err, TC_SYSTEM, "unexpected form");
        while (count-- > 0) {
            if (!tc_cursor_take(&cursor, sizes[kind] + 2, &entry))
                return tc_fail(err, TC_SYSTEM, "unexpected form");
            printf("%s ", names[kind]);
            print_hex(entry.data, sizes[kind], "\n");
        }
    }
    return TC_OK;
}

static tc_status print_zip(size_t piece, struct tc_span input, struct tc_error *err)
{
    TC_AUTO_GOZIP struct tc_gozip *zip = tc_gozip_new();
    struct tc_sha256 digest;
    while (input.size > 0) {
        struct tc_span part = {input.data, input.size < piece ? input.size : piece};
        tc_gozip_add(zip, part);
        input.data += part.size;
        input.size -= part.size;
    }
    TC_TRY(tc_gozip_finish(zip, &digest, err));
    print_hex(digest.bytes, sizeof digest.bytes, "\n");
    return TC_OK;
}

static tc_status print_mod(struct tc_span input, struct tc_error *err)
{
    struct tc_sha256 digest;
    TC_TRY(tc_sha256_of(input, &digest, err));
    TC_TRY(tc_go_mod_digest(&digest, &digest, err));
    print_hex(digest.bytes, sizeof digest.bytes, "\n");
    return TC_OK;
}

static tc_status print_ref(const char *name, struct tc_span input, struct tc_error *err)
{
    struct tc_git_ref ref;
    TC_TRY(tc_git_refs_find(input, name, &ref, err));
    print_hex(tc_git_ref_commit(&ref)->bytes, TC_SHA1_SIZE, ref.is_tag ? " " : "\n");
    if (ref.is_tag) print_hex(ref.id.bytes, TC_SHA1_SIZE, "\n");
    return TC_OK;
}

int main(int argc, char **argv)
{
    TC_AUTO_BUF struct tc_buf input = tc_buf_new(INPUT_MAX);
    struct tc_error err = {0};
    uint8_t block[65536];
    tc_status status = TC_USAGE;
    if (argc != 3) return 2;
    for (size_t size; (size = fread(block, 1, sizeof block, stdin)) > 0;)
        tc_buf_add(&input, block, size);
    if (!tc_buf_ok(&input)) return 2;
    if (strcmp(argv[1], "pins") == 0)
        status = print_pins(argv[2], tc_buf_span(&input), &err);
    else if (strcmp(argv[1], "zip") == 0)
        status = print_zip((size_t)strtoul(argv[2], NULL, 10), tc_buf_span(&input), &err);
    else if (strcmp(argv[1], "gomod") == 0)
        status = print_mod(tc_buf_span(&input), &err);
    else if (strcmp(argv[1], "refs") == 0)
        status = print_ref(argv[2], tc_buf_span(&input), &err);
    if (status == TC_OK) return 0;
    fprintf(stderr, "%s\n", err.message);
    return status == TC_USAGE || status == TC_SYSTEM ? 2 : 1;
}
