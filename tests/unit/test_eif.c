/* Enclave images: what is read, in pieces of any size, and each rule by an image
 * that breaks it alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "core/eif.h"
#include "base/text.h"
#include "eif_sample.h"

#define TEXT(text) tc_span_of_text(text)

struct seen {
    struct tc_buf text; /* "kind index/ramdisk@offset+size data;" of each section */
    struct tc_eif_header header;
    unsigned warnings;
    unsigned refuse_at; /* 1 header, 2 begin, 3 data, 4 end; 0: never */
};

static tc_status refuse(const struct seen *seen, unsigned at, struct tc_error *err)
{
    return seen->refuse_at == at ? tc_fail(err, TC_INTERRUPTED, "enough") : TC_OK;
}

static tc_status on_header(void *context, const struct tc_eif_header *header, struct tc_error *err)
{
    struct seen *seen = context;
    seen->header = *header;
    return refuse(seen, 1, err);
}

static tc_status on_begin(void *context, const struct tc_eif_section *section, struct tc_error *err)
{
    struct seen *seen = context;
    tc_buf_add_format(&seen->text, "%s %zu/%zu@%llu+%llu ", tc_eif_kind_name(section->kind),
                      section->index, section->ramdisk, (unsigned long long)section->offset,
                      (unsigned long long)section->size);
    return refuse(seen, 2, err);
}

static tc_status on_data(void *context, struct tc_span bytes, struct tc_error *err)
{
    struct seen *seen = context;
    tc_buf_add_span(&seen->text, bytes);
    return refuse(seen, 3, err);
}

static tc_status on_end(void *context, struct tc_error *err)
{
    struct seen *seen = context;
    tc_buf_add_text(&seen->text, ";");
    return refuse(seen, 4, err);
}

static tc_status read_image(struct tc_span image, size_t piece, enum tc_eif_crc crc,
                            struct seen *seen, struct tc_error *err)
{
    struct tc_eif_handler handler = {seen, on_header, on_begin, on_data, on_end};
    struct tc_eif_reader *reader = tc_eif_reader_new(&handler, crc);
    assert_non_null(reader);
    tc_status status = TC_OK;
    while (status == TC_OK && image.size > 0) {
        size_t now = image.size < piece ? image.size : piece;
        status = tc_eif_reader_add(reader, (struct tc_span){image.data, now}, err);
        image.data += now;
        image.size -= now;
    }
    if (status == TC_OK) status = tc_eif_reader_finish(reader, err);
    seen->warnings = tc_eif_reader_warnings(reader);
    tc_eif_reader_free(reader);
    return status;
}

static const char sample_text[] = "kernel 0/0@560+6 KERNEL;cmdline 1/0@578+8 reboot=t;"
                                  "metadata 2/0@598+7 {\"a\":1};ramdisk 3/0@617+8 0707one.;"
                                  "ramdisk 4/1@637+7 0707two;";

static void test_pieces(void **state)
{
    (void)state;
    TC_AUTO_BUF struct tc_buf image = eif_sample();
    static const size_t sizes[] = {1, 2, 7, 11, 12, 13, 547, 548, 549, 4096};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct seen seen = {.text = tc_buf_new(65536)};
        struct tc_error err = {0};
        if (read_image(tc_buf_span(&image), sizes[i], TC_EIF_CRC_CHECKED, &seen, &err) != TC_OK)
            fail_msg("%zu: %s", sizes[i], err.message);
        TC_AUTO_FREE char *text = tc_buf_take_text(&seen.text);
        assert_string_equal(text, sample_text);
        assert_int_equal(seen.warnings, 0);
        assert_int_equal(seen.header.sections_count, 5);
        assert_int_equal(seen.header.file_size, image.size);
        assert_int_equal(seen.header.default_memory, 1 << 30);
        assert_int_equal(seen.header.default_cpus, 2);
        assert_false(seen.header.aarch64);
    }
}

static void test_callbacks_can_stop(void **state)
{
    (void)state;
    TC_AUTO_BUF struct tc_buf image = eif_sample();
    for (unsigned at = 1; at <= 4; at++) {
        struct seen seen = {.text = tc_buf_new(65536), .refuse_at = at};
        struct tc_error err = {0};
        assert_int_equal(read_image(tc_buf_span(&image), 9, TC_EIF_CRC_CHECKED, &seen, &err),
                         TC_INTERRUPTED);
        tc_buf_free(&seen.text);
    }
    /* And may be left out. */
    static const struct tc_eif_handler nobody = {0};
    struct tc_error err = {0};
    struct tc_eif_reader *reader = tc_eif_reader_new(&nobody, TC_EIF_CRC_CHECKED);
    assert_int_equal(tc_eif_reader_add(reader, tc_buf_span(&image), &err), TC_OK);
    assert_int_equal(tc_eif_reader_finish(reader, &err), TC_OK);
    tc_eif_reader_free(reader);
}

/* Read whole and in pieces: the status, and the rule's own words. */
static void assert_status(const struct tc_buf *image, enum tc_eif_crc crc, tc_status expected,
                          const char *words)
{
    static const size_t sizes[] = {1 << 22, 5};
    for (size_t i = 0; i < 2; i++) {
        struct seen seen = {.text = tc_buf_new(1 << 22)};
        struct tc_error err = {0};
        tc_status status = read_image(tc_buf_span(image), sizes[i], crc, &seen, &err);
        if (status != expected || !strstr(err.message, words))
            fail_msg("expected %s \"%s\", got %s: %s", tc_status_name(expected), words,
                     tc_status_name(status), err.message);
        tc_buf_free(&seen.text);
    }
}

static void assert_refused(struct tc_buf *image, const char *words)
{
    eif_sample_fix_crc(image);
    assert_status(image, TC_EIF_CRC_CHECKED, TC_MALFORMED, words);
}

static void test_header_rules(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        unsigned bytes;
        uint64_t value;
        const char *words;
    } breaks[] = {
        {3, 1, 'F', "does not begin with .eif"},
        {4, 2, 3, "version 3"},
        {4, 2, 5, "version 5"},
        {6, 2, 2, "flags 0x0002"},
        {6, 2, 0x8000, "flags 0x8000"},
        {24, 2, 1, "reserved field is not zero"},
        {540, 4, 1, "reserved field is not zero"},
        {26, 2, 3, "3 sections"},
        {26, 2, 0, "0 sections"},
        {26, 2, 33, "33 sections"},
        {26, 2, 65535, "65535 sections"},
        {26, 2, 4, "slot 4 of its table is set"},      /* offset and size of a fifth left */
        {26, 2, 6, "section 5 is at 0; expected 644"}, /* a sixth without any */
        {28 + 8 * 31, 8, 1, "slot 31 of its table is set"},
        {284 + 8 * 31, 8, 1, "slot 31 of its table is set"},
        {28, 8, 549, "section 0 is at 549"}, /* gap */
        {28, 8, 547, "section 0 is at 547"}, /* overlap with the header */
        {28 + 8, 8, 567, "section 1 is at 567; expected 566"},
        {28 + 8, 8, 565, "section 1 is at 565; expected 566"},
        {28 + 8, 8, 548, "section 1 is at 548; expected 566"}, /* the kernel again */
        {284, 8, 5, "section 1 is at 566; expected 565"},
        {284 + 8 * 4, 8, (uint64_t)1 << 40, "at most 1 TiB"},
        {284 + 8 * 4, 8, UINT64_MAX, "at most 1 TiB"},
        {284 + 8 * 4, 8, UINT64_MAX - 600, "at most 1 TiB"},
    };
    for (size_t i = 0; i < sizeof breaks / sizeof *breaks; i++) {
        TC_AUTO_BUF struct tc_buf image = eif_sample();
        eif_put(&image, breaks[i].at, breaks[i].bytes, breaks[i].value);
        assert_refused(&image, breaks[i].words);
    }
}

static void test_section_rules(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        unsigned bytes;
        uint64_t value;
        const char *words;
    } breaks[] = {
        {548, 2, 0, "section 0 of 5 has kind 0"},
        {548, 2, 6, "section 0 of 5 has kind 6"},
        {548, 2, 0x0101, "section 0 of 5 has kind 257"},
        {550, 2, 1, "section 0 has flags 0x0001"},
        {552, 8, 7, "section 0 says 7 bytes, and the header's table 6"},
        {552, 8, 5, "section 0 says 5 bytes, and the header's table 6"},
        {578, 1, '\n', "byte 0x0a"},
        {580, 1, 0, "byte 0x00"},
        {580, 1, 0x7f, "byte 0x7f"},
        {580, 1, 0xc3, "byte 0xc3"},
        {585, 1, 0x1f, "byte 0x1f"}, /* the last one */
        {598, 1, '[', "metadata"},
    };
    for (size_t i = 0; i < sizeof breaks / sizeof *breaks; i++) {
        TC_AUTO_BUF struct tc_buf image = eif_sample();
        eif_put(&image, breaks[i].at, breaks[i].bytes, breaks[i].value);
        assert_refused(&image, breaks[i].words);
    }
}

static void refuse_pieces(const struct eif_piece *pieces, size_t count, const char *words)
{
    TC_AUTO_BUF struct tc_buf image = eif_sample_of(pieces, count);
    assert_refused(&image, words);
}

static void test_order(void **state)
{
    (void)state;
    const struct eif_piece kernel = {1, TEXT("K")}, cmdline = {2, TEXT("c")},
                           metadata = {5, TEXT("{}")}, ramdisk = {3, TEXT("0707")},
                           signature = {4, TEXT("s")};
#define REFUSED(words, ...)                                                                        \
    refuse_pieces((const struct eif_piece[]){__VA_ARGS__},                                         \
                  sizeof((const struct eif_piece[]){__VA_ARGS__}) / sizeof(struct eif_piece),      \
                  words)
    REFUSED("section 1 of 5 has kind 1 (kernel)", kernel, kernel, cmdline, metadata, ramdisk);
    REFUSED("section 2 of 5 has kind 2 (cmdline)", kernel, cmdline, cmdline, metadata, ramdisk);
    REFUSED("section 3 of 5 has kind 5 (metadata)", kernel, cmdline, metadata, metadata, ramdisk);
    REFUSED("section 4 of 6 has kind 4 (signature)", kernel, cmdline, metadata, ramdisk, signature,
            signature);
    REFUSED("section 4 of 6 has kind 4 (signature)", kernel, cmdline, metadata, ramdisk, signature,
            ramdisk);
    REFUSED("section 3 of 4 has kind 4 (signature)", kernel, cmdline, metadata, signature);
    REFUSED("section 0 of 4 has kind 2 (cmdline)", cmdline, kernel, metadata, ramdisk);
    REFUSED("section 2 of 4 has kind 3 (ramdisk)", kernel, cmdline, ramdisk, metadata);
    REFUSED("section 4 of 5 has kind 5 (metadata)", kernel, cmdline, metadata, ramdisk, metadata);
    REFUSED("section 5 of 6 has kind 1 (kernel)", kernel, cmdline, metadata, ramdisk, ramdisk,
            kernel);
#undef REFUSED
    const struct eif_piece good[] = {kernel, cmdline, metadata, ramdisk, ramdisk, signature};
    TC_AUTO_BUF struct tc_buf image = eif_sample_of(good, 6);
    assert_status(&image, TC_EIF_CRC_CHECKED, TC_OK, "");
}

static void with_section(size_t index, struct tc_span data, const char *words)
{
    struct eif_piece pieces[] = {
        {1, TEXT("K")}, {2, TEXT("c")}, {5, TEXT("{}")}, {3, TEXT("0707")}, {4, TEXT("s")}};
    pieces[index].data = data;
    TC_AUTO_BUF struct tc_buf image = eif_sample_of(pieces, 5);
    if (words)
        assert_refused(&image, words);
    else
        assert_status(&image, TC_EIF_CRC_CHECKED, TC_OK, "");
}

static void test_caps(void **state)
{
    (void)state;
    TC_AUTO_FREE uint8_t *bytes = malloc((1 << 20) + 2);
    assert_non_null(bytes);
    memset(bytes, 'x', (1 << 20) + 2);
    with_section(1, (struct tc_span){bytes, 2047}, NULL);
    with_section(1, (struct tc_span){bytes, 2048}, "2048 bytes; expected at most 2047");
    with_section(1, TEXT(""), NULL);
    with_section(4, (struct tc_span){bytes, 32768}, NULL);
    with_section(4, (struct tc_span){bytes, 32769}, "32769 bytes; expected at most 32768");
    memset(bytes, ' ', (1 << 20) + 2);
    bytes[0] = '{';
    bytes[1] = '}';
    with_section(2, (struct tc_span){bytes, 1 << 20}, NULL);
    with_section(2, (struct tc_span){bytes, (1 << 20) + 1}, "1048577 bytes; expected at most");
    with_section(0, TEXT(""), "section 0 (kernel) is empty");
    with_section(2, TEXT(""), "section 2 (metadata) is empty");
    with_section(3, TEXT(""), "section 3 (ramdisk) is empty");
    with_section(4, TEXT(""), "section 4 (signature) is empty");
}

static void test_metadata(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "[]", "1", "\"a\"", "null", "{", "{}x", "{\"a\":1,\"a\":2}", "{\"a\":\"\xff\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        with_section(2, TEXT(bad[i]), "metadata");
    with_section(2, TEXT(" {\"a\":[1,{\"b\":null}]}\n"), NULL);
}

static void test_crc(void **state)
{
    (void)state;
    TC_AUTO_BUF struct tc_buf image = eif_sample();
    /* Any byte that no rule looks at. */
    static const size_t places[] = {15, 23, 544, 547, 560, 565, 617, 643};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        image.data[places[i]] ^= 0x40;
        assert_status(&image, TC_EIF_CRC_CHECKED, TC_REFUSED, "CRC-32");
        assert_status(&image, TC_EIF_CRC_IGNORED, TC_OK, "");
        image.data[places[i]] ^= 0x40;
    }
    assert_status(&image, TC_EIF_CRC_CHECKED, TC_OK, "");
}

static void test_cut_and_trailing(void **state)
{
    (void)state;
    TC_AUTO_BUF struct tc_buf image = eif_sample();
    size_t whole = image.size;
    for (size_t size = 0; size < whole; size++) {
        image.size = size;
        assert_status(&image, TC_EIF_CRC_IGNORED, TC_MALFORMED,
                      size < 548 ? "this is no enclave image" : "cut off");
    }
    image.size = whole;
    tc_buf_add_u8(&image, 0);
    assert_refused(&image, "bytes after its last section, which ends at 644");
}

static unsigned warnings_of(struct tc_span first, struct tc_span second, struct tc_span third)
{
    const struct eif_piece pieces[] = {{1, TEXT("K")}, {2, TEXT("c")}, {5, TEXT("{}")},
                                       {3, first},     {3, second},    {3, third}};
    TC_AUTO_BUF struct tc_buf image = eif_sample_of(pieces, third.size > 0 ? 6 : 5);
    struct seen seen = {.text = tc_buf_new(65536)};
    struct tc_error err = {0};
    assert_int_equal(read_image(tc_buf_span(&image), 1, TC_EIF_CRC_CHECKED, &seen, &err), TC_OK);
    tc_buf_free(&seen.text);
    return seen.warnings;
}

static void test_alignment(void **state)
{
    (void)state;
    const struct tc_span none = TEXT("");
    assert_int_equal(warnings_of(TEXT("0707"), TEXT("0707"), none), 0);
    assert_int_equal(warnings_of(TEXT("07071"), TEXT("0707"), none), TC_EIF_WARNING_UNALIGNED);
    assert_int_equal(warnings_of(TEXT("\x1f\x8b..."), TEXT("0707"), none),
                     TC_EIF_WARNING_UNALIGNED);
    assert_int_equal(warnings_of(TEXT("07071"), TEXT("\x1f\x8b"), none), 0);
    assert_int_equal(warnings_of(TEXT("07071"), TEXT("\x28\xb5"), none), 0);
    assert_int_equal(warnings_of(TEXT("07071"), TEXT("\x1f"), none), TC_EIF_WARNING_UNALIGNED);
    /* The sum of those before counts, not the last one's length. */
    assert_int_equal(warnings_of(TEXT("07071"), TEXT("\x1f\x8b."), TEXT("0707")), 0);
    assert_int_equal(warnings_of(TEXT("07071"), TEXT("\x1f\x8b.."), TEXT("0707")),
                     TC_EIF_WARNING_UNALIGNED);
}

static tc_status write_image(const struct eif_piece *pieces, size_t count, bool aarch64,
                             struct tc_buf *image, struct tc_error *err)
{
    struct tc_eif_header header = {
        .aarch64 = aarch64, .default_memory = 1 << 30, .default_cpus = 2, .sections_count = count};
    for (size_t i = 0; i < count && i < TC_EIF_SECTIONS_MAX; i++)
        header.sizes[i] = pieces[i].data.size;
    struct tc_eif_writer *writer = NULL;
    uint8_t head[TC_EIF_HEADER_SIZE] = {0};
    TC_TRY(tc_eif_writer_new(&header, &writer, err));
    tc_buf_add(image, head, sizeof head);
    tc_status status = TC_OK;
    for (size_t i = 0; status == TC_OK && i < count; i++) {
        status = tc_eif_writer_begin(writer, (enum tc_eif_kind)pieces[i].kind, image, err);
        for (size_t at = 0; status == TC_OK && at < pieces[i].data.size; at++) {
            status = tc_eif_writer_data(writer, (struct tc_span){pieces[i].data.data + at, 1}, err);
            tc_buf_add(image, pieces[i].data.data + at, 1);
        }
    }
    if (status == TC_OK) status = tc_eif_writer_finish(writer, head, err);
    if (status == TC_OK) memcpy(image->data, head, sizeof head);
    tc_eif_writer_free(writer);
    return status;
}

static void test_writer(void **state)
{
    (void)state;
    struct eif_piece pieces[] = {{1, TEXT("K")},       {2, TEXT("")},   {5, TEXT("{}")},
                                 {3, TEXT("0707...")}, {3, TEXT("BZ")}, {4, TEXT("s")}};
    for (int aarch64 = 0; aarch64 < 2; aarch64++) {
        TC_AUTO_BUF struct tc_buf by_hand = eif_sample_of(pieces, 6);
        TC_AUTO_BUF struct tc_buf written = tc_buf_new(65536);
        struct tc_error err = {0};
        if (aarch64) eif_put(&by_hand, 6, 2, 1);
        eif_sample_fix_crc(&by_hand);
        if (write_image(pieces, 6, aarch64, &written, &err) != TC_OK) fail_msg("%s", err.message);
        assert_true(tc_span_equal(tc_buf_span(&written), tc_buf_span(&by_hand)));
        struct seen seen = {.text = tc_buf_new(65536)};
        assert_int_equal(read_image(tc_buf_span(&written), 3, TC_EIF_CRC_CHECKED, &seen, &err),
                         TC_OK);
        assert_int_equal(seen.header.aarch64, aarch64);
        tc_buf_free(&seen.text);
    }
}

static void assert_not_written(const struct eif_piece *pieces, size_t count, tc_status expected,
                               const char *words)
{
    TC_AUTO_BUF struct tc_buf written = tc_buf_new(65536);
    struct tc_error err = {0};
    tc_status status = write_image(pieces, count, false, &written, &err);
    if (status != expected || !strstr(err.message, words))
        fail_msg("expected \"%s\", got %s: %s", words, tc_status_name(status), err.message);
}

static void test_writer_refuses(void **state)
{
    (void)state;
    struct eif_piece pieces[33] = {{1, TEXT("K")}, {2, TEXT("c")}, {5, TEXT("{}")}};
    for (size_t i = 3; i < 33; i++)
        pieces[i] = (struct eif_piece){3, TEXT("0707")};
    assert_not_written(pieces, 33, TC_LIMIT, "at most 32 sections");
    assert_not_written(pieces, 3, TC_MALFORMED, "3 sections");
    pieces[3].data = TEXT("07070");
    assert_not_written(pieces, 5, TC_REFUSED, "no multiple of 4");
    pieces[3].kind = 4;
    assert_not_written(pieces, 5, TC_MALFORMED, "has kind 4");
    pieces[1].data = TEXT("a\nb");
    assert_not_written(pieces, 5, TC_MALFORMED, "byte 0x0a");
    pieces[2].data = TEXT("[]");
    pieces[1].data = TEXT("a");
    assert_not_written(pieces, 5, TC_MALFORMED, "metadata");
}

static void test_writer_misused(void **state)
{
    (void)state;
    struct tc_eif_header header = {.sections_count = 4, .sizes = {1, 1, 2, 4}};
    struct tc_eif_writer *writer = NULL;
    struct tc_error err = {0};
    uint8_t head[TC_EIF_HEADER_SIZE];
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(4096);
    assert_int_equal(tc_eif_writer_new(&header, &writer, &err), TC_OK);
    assert_int_equal(tc_eif_writer_data(writer, TEXT("K"), &err), TC_USAGE);
    assert_int_equal(tc_eif_writer_begin(writer, TC_EIF_KERNEL, &buf, &err), TC_OK);
    assert_int_equal(tc_eif_writer_begin(writer, TC_EIF_CMDLINE, &buf, &err), TC_USAGE);
    assert_int_equal(tc_eif_writer_data(writer, TEXT("KK"), &err), TC_USAGE);
    assert_int_equal(tc_eif_writer_data(writer, TEXT("K"), &err), TC_OK);
    assert_int_equal(tc_eif_writer_finish(writer, head, &err), TC_MALFORMED);
    assert_int_equal(tc_eif_writer_begin(writer, TC_EIF_CMDLINE, &buf, &err), TC_OK);
    assert_int_equal(tc_eif_writer_data(writer, TEXT("c"), &err), TC_OK);
    assert_int_equal(tc_eif_writer_begin(writer, TC_EIF_METADATA, &buf, &err), TC_OK);
    assert_int_equal(tc_eif_writer_data(writer, TEXT("{}"), &err), TC_OK);
    assert_int_equal(tc_eif_writer_begin(writer, TC_EIF_RAMDISK, &buf, &err), TC_OK);
    assert_int_equal(tc_eif_writer_data(writer, TEXT("0707"), &err), TC_OK);
    assert_int_equal(tc_eif_writer_begin(writer, TC_EIF_SIGNATURE, &buf, &err), TC_USAGE);
    assert_int_equal(tc_eif_writer_finish(writer, head, &err), TC_OK);
    tc_eif_writer_free(writer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_callbacks_can_stop),
        cmocka_unit_test(test_header_rules),
        cmocka_unit_test(test_section_rules),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_caps),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_crc),
        cmocka_unit_test(test_cut_and_trailing),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_writer),
        cmocka_unit_test(test_writer_refuses),
        cmocka_unit_test(test_writer_misused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
