/* What an image says of itself, the second ramdisk that carries it, and the root of
 * a dm-verity tree. The digests come from other programs: the ramdisk's from the
 * writer of tests/extra/qemu/eif.py, the trees' from veritysetup. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/text.h"
#include "core/toolramdisk.h"
#include "core/veritytree.h"

#define DIGEST_A "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define DIGEST_B "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
#define HEAD "tee-compile/image/1\nname c\nrecipe " DIGEST_A "\n"
#define SIZES "kernel 3965952\nramdisk 1099511627776\n"
#define CMDLINE "cmdline console=ttyS0 panic=-1\n"
#define PACKAGES                                                                                   \
    "packages 3\ngcc 4:14.2.0-1 amd64 " DIGEST_B "\nlibc6 2.41-12+deb13u1~x amd64 " DIGEST_A       \
    "\nlibc6 2.41-12+deb13u1~x i386 " DIGEST_A "\n"

static const char sample[] = HEAD SIZES CMDLINE PACKAGES;

static struct tc_span span_of(const char *text)
{
    return tc_span_of_text(text);
}

static tc_status decode(struct tc_span bytes, struct tc_image_text *ret)
{
    struct tc_error err = {0};
    return tc_image_text_decode(bytes, ret, &err);
}

/* --- the text --- */

static void test_text(void **state)
{
    struct tc_image_text text = {0};
    struct tc_error err = {0};
    (void)state;
    assert_int_equal(decode(span_of(sample), &text), TC_OK);
    assert_string_equal(text.name, "c");
    assert_int_equal(text.recipe.bytes[31], 0x1f);
    assert_int_equal(text.kernel_size, 3965952);
    assert_int_equal(text.ramdisk_size, UINT64_C(1) << 40);
    assert_string_equal(text.cmdline, "console=ttyS0 panic=-1");
    assert_int_equal(text.packages_count, 3);
    assert_string_equal(text.packages[0].name, "gcc");
    assert_string_equal(text.packages[0].version, "4:14.2.0-1");
    assert_string_equal(text.packages[2].architecture, "i386");
    assert_int_equal(text.packages[0].digest.bytes[0], 0xff);
    struct tc_buf again = tc_buf_new(TC_IMAGE_TEXT_MAX);
    assert_int_equal(tc_image_text_encode(&text, &again, &err), TC_OK);
    assert_true(tc_span_equal(tc_buf_span(&again), span_of(sample)));
    tc_buf_free(&again);
    tc_image_text_free(&text);
    tc_image_text_free(&text);
    tc_image_text_free(NULL);
}

static void test_text_without_packages(void **state)
{
    struct tc_image_text text = {0};
    (void)state;
    assert_int_equal(decode(span_of(HEAD SIZES CMDLINE "packages 0\n"), &text), TC_OK);
    assert_int_equal(text.packages_count, 0);
    tc_image_text_free(&text);
}

static void test_text_refuses(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "", "tee-compile/image/1", "tee-compile/image/1\n", "tee-compile/image/2\n",
        HEAD SIZES CMDLINE, HEAD SIZES CMDLINE "packages 00\n", HEAD SIZES CMDLINE "packages \n",
        HEAD SIZES CMDLINE "packages 0", HEAD SIZES CMDLINE "packages 0\n\n",
        HEAD SIZES CMDLINE "packages 1\n", HEAD SIZES CMDLINE "packages 4097\n",
        HEAD SIZES CMDLINE "packages 18446744073709551616\n", HEAD SIZES CMDLINE PACKAGES "\n",
        HEAD SIZES CMDLINE "packages 2\na 1 amd64 " DIGEST_A "\na 2 amd64 " DIGEST_A "\n",
        HEAD SIZES CMDLINE "packages 2\nb 1 amd64 " DIGEST_A "\na 1 amd64 " DIGEST_A "\n",
        HEAD SIZES CMDLINE "packages 1\nA 1 amd64 " DIGEST_A "\n",
        HEAD SIZES CMDLINE "packages 1\na 1_ amd64 " DIGEST_A "\n",
        HEAD SIZES CMDLINE "packages 1\na  amd64 " DIGEST_A "\n",
        HEAD SIZES CMDLINE "packages 1\na 1 amd64  " DIGEST_A "\n",
        HEAD SIZES CMDLINE "packages 1\n-a 1 amd64 " DIGEST_A "\n",
        HEAD SIZES CMDLINE "packages 1\na 1 amd64 " DIGEST_A " \n",
        HEAD "kernel 0\nramdisk 1\n" CMDLINE "packages 0\n",
        HEAD "kernel 1\nramdisk 0\n" CMDLINE "packages 0\n",
        HEAD "kernel 01\nramdisk 1\n" CMDLINE "packages 0\n",
        HEAD "kernel 1\nramdisk 1099511627777\n" CMDLINE "packages 0\n",
        HEAD "ramdisk 1\nkernel 1\n" CMDLINE "packages 0\n",
        HEAD SIZES "cmdline \npackages 0\n", HEAD SIZES "cmdline  a\npackages 0\n",
        HEAD SIZES "cmdline a \npackages 0\n", HEAD SIZES "cmdline a  b\npackages 0\n",
        HEAD SIZES "cmdline a\tb\npackages 0\n", HEAD SIZES "cmdline \303\244\npackages 0\n",
        "tee-compile/image/1\nname \nrecipe " DIGEST_A "\n" SIZES CMDLINE "packages 0\n",
        "tee-compile/image/1\nname C\nrecipe " DIGEST_A "\n" SIZES CMDLINE "packages 0\n",
        "tee-compile/image/1\nname 1\nrecipe " DIGEST_A "\n" SIZES CMDLINE "packages 0\n",
        "tee-compile/image/1\nname c/d\nrecipe " DIGEST_A "\n" SIZES CMDLINE "packages 0\n",
        "tee-compile/image/1\nname c\nrecipe " DIGEST_A "0\n" SIZES CMDLINE "packages 0\n",
        "tee-compile/image/1\nname c\nrecipe 0A0102030405060708090a0b0c0d0e0f101112131415161718191a1b"
        "1c1d1e1f\n" SIZES CMDLINE "packages 0\n",
    };
    struct tc_image_text untouched = {.packages_count = 77};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (decode(span_of(wrong[i]), &untouched) != TC_MALFORMED) fail_msg("accepted:\n%s", wrong[i]);
        assert_int_equal(untouched.packages_count, 77);
    }
}

/* Each character alone, and in each place. */
static void test_names(void **state)
{
    (void)state;
    for (unsigned c = 1; c < 256; c++) {
        bool letter = c >= 'a' && c <= 'z', digit = c >= '0' && c <= '9';
        const char first[] = {(char)c, '\0'}, later[] = {'a', (char)c, 'z', '\0'};
        const char last[] = {'a', (char)c, '\0'};
        bool good = letter || digit || c == '-' || c == '.';
        if (tc_image_text_name_is_good(first) != letter || tc_image_text_name_is_good(later) != good ||
            tc_image_text_name_is_good(last) != good)
            fail_msg("character %u", c);
    }
    static const char *const wrong[] = {"", "host", ".eif", "a.eif", "a.b.eif"};
    static const char *const right[] = {"hosts", "ghost", "host.", "eif", "a.eifs", "a.eif.", "aeif"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (tc_image_text_name_is_good(wrong[i])) fail_msg("accepted: %s", wrong[i]);
    for (size_t i = 0; i < sizeof right / sizeof *right; i++)
        if (!tc_image_text_name_is_good(right[i])) fail_msg("refused: %s", right[i]);
    char longest[TC_IMAGE_TEXT_NAME_MAX + 2] = "";
    memset(longest, 'a', TC_IMAGE_TEXT_NAME_MAX);
    assert_true(tc_image_text_name_is_good(longest));
    longest[TC_IMAGE_TEXT_NAME_MAX] = 'a';
    assert_false(tc_image_text_name_is_good(longest));
}

/* Whatever a byte is changed to, what is read is written again as it was. */
static void test_text_has_one_spelling(void **state)
{
    static const char others[] = {'0', '9', 'A', 'a', ' ', '\n', '\0', '-', '\177'};
    const size_t size = sizeof sample - 1;
    char changed[sizeof sample];
    (void)state;
    for (size_t i = 0; i < size; i++) {
        struct tc_image_text text = {0};
        assert_int_equal(decode((struct tc_span){(const uint8_t *)sample, i}, &text), TC_MALFORMED);
        for (size_t k = 0; k < sizeof others; k++) {
            memcpy(changed, sample, sizeof sample);
            changed[i] = others[k];
            struct tc_span bytes = {(const uint8_t *)changed, size};
            if (decode(bytes, &text) != TC_OK) continue;
            struct tc_error err = {0};
            struct tc_buf again = tc_buf_new(TC_IMAGE_TEXT_MAX);
            assert_int_equal(tc_image_text_encode(&text, &again, &err), TC_OK);
            assert_true(tc_span_equal(tc_buf_span(&again), bytes));
            tc_buf_free(&again);
            tc_image_text_free(&text);
        }
    }
}

static void test_text_writer_is_strict(void **state)
{
    struct tc_image_text text = {0};
    struct tc_error err = {0};
    struct tc_buf buf = tc_buf_new(TC_IMAGE_TEXT_MAX);
    (void)state;
    assert_int_equal(decode(span_of(sample), &text), TC_OK);
    text.kernel_size = 0;
    assert_int_equal(tc_image_text_encode(&text, &buf, &err), TC_USAGE);
    text.kernel_size = 1;
    text.packages[0].name[0] = 'z';
    assert_int_equal(tc_image_text_encode(&text, &buf, &err), TC_USAGE);
    text.packages[0].name[0] = 'g';
    text.cmdline[0] = '\n';
    assert_int_equal(tc_image_text_encode(&text, &buf, &err), TC_USAGE);
    assert_int_equal(buf.size, 0);
    assert_false(tc_image_text_name_is_good("a234567890123456789012345678901234567890123456789012345678901"
                                       "2345"));
    assert_true(tc_image_text_name_is_good("rust-1.85"));
    tc_buf_free(&buf);
    tc_image_text_free(&text);
}

/* --- the command line --- */

static void test_cmdline(void **state)
{
    static const char measured[] = "console=ttyS0 panic=-1";
    static const char *const good[] = {
        "console=ttyS0 panic=-1",
        "console=ttyS0 panic=-1\n",
        "console=ttyS0 panic=-1 reboot=t\n",
        "console=ttyS0 panic=-1 pci=off virtio_mmio.device=4K@0xc0001000:5\n",
        "console=ttyS0 panic=-1 reboot=t tsc_early_khz=2445356\n",
        "console=ttyS0 panic=-1  reboot=k virtio_mmio.device=512@0xfeb00e00:12 ",
        "console=ttyS0 panic=-1 virtio_mmio.device=4K@0xd0000000:5 virtio_mmio.device=4K@0xd0001000:6:1",
    };
    static const char *const wrong[] = {
        "",
        "\n",
        "console=ttyS0",
        "console=ttyS0 panic=-",
        "console=ttyS0 panic=-10",
        "console=ttyS0 panic=-1reboot=t",
        "console=ttyS0  panic=-1",
        " console=ttyS0 panic=-1",
        "reboot=t console=ttyS0 panic=-1",
        "console=ttyS0 panic=-1\n\n",
        "console=ttyS0 panic=-1\treboot=t",
        "console=ttyS0 panic=-1 rdinit=/usr/bin/bwrap",
        "console=ttyS0 panic=-1 --",
        "console=ttyS0 panic=-1 reboot=",
        "console=ttyS0 panic=-1 reboot=tk",
        "console=ttyS0 panic=-1 tsc_early_khz=",
        "console=ttyS0 panic=-1 tsc_early_khz=2x",
        "console=ttyS0 panic=-1 pci=offx",
        "console=ttyS0 panic=-1 pci=nocrs",
        "console=ttyS0 panic=-1 reboot=t,f",
        "console=ttyS0 panic=-1 reboot=T",
        "console=ttyS0 panic=-1 virtio_mmio.device=",
        "console=ttyS0 panic=-1 virtio_mmio.device=4K@0xd0000000",
        "console=ttyS0 panic=-1 virtio_mmio.device=4K@0xd0000000:5:",
        "console=ttyS0 panic=-1 virtio_mmio.device=4K@0xd0000000:5,x",
        "console=ttyS0 panic=-1 virtio_mmio.devices=4K@0xd0000000:5",
        "console=ttyS0 panic=-1 mem=64M",
    };
    struct tc_error err = {0};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (tc_image_cmdline_check(measured, span_of(good[i]), &err) != TC_OK)
            fail_msg("refused '%s': %s", good[i], err.message);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        if (tc_image_cmdline_check(measured, span_of(wrong[i]), &err) != TC_REFUSED)
            fail_msg("accepted '%s'", wrong[i]);
    }
    assert_int_equal(tc_image_cmdline_check(measured, (struct tc_span){0}, &err), TC_REFUSED);
    assert_int_equal(tc_image_cmdline_check("", span_of("a"), &err), TC_REFUSED);
    struct tc_span cut = {(const uint8_t *)"console=ttyS0 panic=-1 reboot=t\0x", 33};
    assert_int_equal(tc_image_cmdline_check(measured, cut, &err), TC_REFUSED);
    assert_int_equal(
        tc_image_cmdline_check(measured, span_of("console=ttyS0 panic=-1 init=/x"), &err), TC_REFUSED);
    assert_non_null(strstr(err.message, "'init=/x'"));
    assert_int_equal(tc_image_cmdline_check(measured, span_of("console=ttyS0 x"), &err), TC_REFUSED);
    assert_non_null(strstr(err.message, "expected 'panic=-1', found 'x'"));
}

/* --- the ramdisk --- */

static const struct tc_verity verity = {.data_blocks = 12,
                                        .total_blocks = 13,
                                        .root = {{0xaa, 0xbb}},
                                        .salt = {0x01}};

static void expect_digest(struct tc_span bytes, const char *expected)
{
    struct tc_error err = {0};
    struct tc_sha256 digest;
    char hex[TC_SHA256_HEX];
    assert_int_equal(tc_sha256_of(bytes, &digest, &err), TC_OK);
    tc_hex((struct tc_span){digest.bytes, sizeof digest.bytes}, hex);
    assert_string_equal(hex, expected);
}

static struct tc_buf paged_ramdisk(void)
{
    struct tc_image_text text = {0};
    struct tc_error err = {0};
    struct tc_buf buf = tc_buf_new(TC_TOOLRAMDISK_HEAD_MAX);
    assert_int_equal(decode(span_of(sample), &text), TC_OK);
    assert_int_equal(tc_toolramdisk_encode(&text, &verity, &buf, &err), TC_OK);
    tc_image_text_free(&text);
    return buf;
}

static void test_ramdisk(void **state)
{
    struct tc_error err = {0};
    struct tc_toolramdisk ramdisk = {0};
    struct tc_buf buf = paged_ramdisk();
    (void)state;
    expect_digest(tc_buf_span(&buf), "ffa21fb0073c8501b7072319dc6d7e20d203955f952502fdf963c06ad379d374");
    assert_int_equal(tc_toolramdisk_decode(tc_buf_span(&buf), buf.size, &ramdisk, &err), TC_OK);
    assert_string_equal(ramdisk.text.name, "c");
    assert_false(ramdisk.self_contained);
    assert_int_equal(ramdisk.verity.total_blocks, 13);
    assert_memory_equal(ramdisk.verity.root.bytes, verity.root.bytes, TC_SHA256_SIZE);
    tc_toolramdisk_free(&ramdisk);
    /* Size and bytes that do not fit to each other. */
    assert_int_equal(tc_toolramdisk_decode(tc_buf_span(&buf), buf.size + 1, &ramdisk, &err), TC_USAGE);
    tc_buf_add_u8(&buf, 0);
    assert_int_equal(tc_toolramdisk_decode(tc_buf_span(&buf), buf.size, &ramdisk, &err),
                     TC_MALFORMED);
    tc_buf_free(&buf);
}

/* Each byte counts, also those that the kernel would pass over. */
static void test_ramdisk_has_one_spelling(void **state)
{
    struct tc_error err = {0};
    struct tc_toolramdisk ramdisk = {0};
    struct tc_buf buf = paged_ramdisk();
    struct tc_buf again = tc_buf_new(TC_TOOLRAMDISK_HEAD_MAX);
    size_t taken = 0;
    (void)state;
    for (size_t i = 0; i < buf.size; i++) {
        struct tc_span cut = {buf.data, i};
        assert_int_not_equal(tc_toolramdisk_decode(cut, cut.size, &ramdisk, &err), TC_OK);
        buf.data[i] ^= 1;
        if (tc_toolramdisk_decode(tc_buf_span(&buf), buf.size, &ramdisk, &err) == TC_OK) {
            taken++; /* another digit, another letter of a name */
            tc_buf_reset(&again);
            assert_int_equal(tc_toolramdisk_encode(&ramdisk.text, &ramdisk.verity, &again, &err), TC_OK);
            assert_true(tc_span_equal(tc_buf_span(&again), tc_buf_span(&buf)));
            tc_toolramdisk_free(&ramdisk);
        }
        buf.data[i] ^= 1;
    }
    assert_true(taken > 100 && taken < 600);
    tc_buf_free(&again);
    tc_buf_free(&buf);
}

/* A file system of three blocks in it. */
static void test_self_contained(void **state)
{
    enum { ROOT = 3 * TC_VERITY_BLOCK };
    static uint8_t root[ROOT];
    struct tc_error err = {0};
    struct tc_image_text text = {0};
    struct tc_toolramdisk ramdisk = {0};
    struct tc_buf buf = tc_buf_new(1 << 16);
    (void)state;
    memset(root, 0x5a, sizeof root);
    assert_int_equal(decode(span_of(sample), &text), TC_OK);
    assert_int_equal(tc_toolramdisk_head(&text, ROOT, &buf, &err), TC_OK);
    size_t head = buf.size;
    tc_buf_add(&buf, root, ROOT);
    tc_toolramdisk_tail(head + ROOT, &buf);
    assert_true(tc_buf_ok(&buf));
    expect_digest(tc_buf_span(&buf), "a0642c9bd247e6eaf6f6361f1748345ef9c1fdd7224e7c9ddebff2e71a990f11");
    assert_int_equal(tc_toolramdisk_decode(tc_buf_span(&buf), buf.size, &ramdisk, &err), TC_OK);
    assert_true(ramdisk.self_contained);
    assert_int_equal(ramdisk.root_offset, head);
    assert_int_equal(ramdisk.root_size, ROOT);
    tc_toolramdisk_free(&ramdisk);
    struct tc_span shorter = {buf.data, buf.size - 512};
    assert_int_equal(tc_toolramdisk_decode(shorter, shorter.size, &ramdisk, &err), TC_MALFORMED);
    buf.data[head - 1] = 1; /* padding of the header */
    assert_int_equal(tc_toolramdisk_decode(tc_buf_span(&buf), buf.size, &ramdisk, &err),
                     TC_MALFORMED);
    const uint64_t sizes[] = {0, 4095, 4097, UINT64_C(1) << 32, UINT64_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        assert_int_equal(tc_toolramdisk_head(&text, sizes[i], &buf, &err), TC_USAGE);
    tc_image_text_free(&text);
    tc_buf_free(&buf);
}

/* --- the tree --- */

static void fill(uint64_t number, uint8_t block[TC_VERITY_BLOCK])
{
    for (size_t k = 0; k < TC_VERITY_BLOCK; k++)
        block[k] = (uint8_t)((number * 7 + k % 251) % 251);
}

/* Takes the tree's blocks, which come in no order, to their places. */
struct tree_sink {
    uint8_t *bytes;
    uint64_t first, total, seen;
};

static tc_status take_block(void *context, uint64_t block, const uint8_t bytes[TC_VERITY_BLOCK],
                            struct tc_error *err)
{
    struct tree_sink *sink = context;
    if (block < sink->first || block >= sink->total) return tc_fail(err, TC_SYSTEM, "no such place");
    memcpy(sink->bytes + (block - sink->first) * TC_VERITY_BLOCK, bytes, TC_VERITY_BLOCK);
    sink->seen++;
    return TC_OK;
}

static tc_status refuse_block(void *context, uint64_t block, const uint8_t bytes[TC_VERITY_BLOCK],
                              struct tc_error *err)
{
    (void)context;
    (void)block;
    (void)bytes;
    return tc_fail(err, TC_LIMIT, "the disk is full");
}

static const uint8_t salt[32] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15,
                                 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31};

static void test_trees_of_veritysetup(void **state)
{
    static const struct {
        uint64_t blocks, total;
        const char *root, *tree;
    } cases[] = {
        {1, 1, "f9629ec228b5c00268d95f3299754de3ec27dd878f059ded6c9b3955d01775ee",
         "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {2, 3, "b8d27e1973868609c1a922915ec7e7321249c012fe2c5b534db6e5f80fbb1a88",
         "c51f06adc2267c52ef11c31fd9368d7552984af64126266d4609e17573528136"},
        {128, 129, "62c14bcb5867b2c58d25f50a78c7fdfaf73d3053d50b2d47a2ed788b887642d1",
         "b28c4225df758d1b3c42062ea3d8eece7c89c97d9a9811de1280b3d52bf505be"},
        {129, 132, "7e718b2854903150238ed296e384261eb547bd9e74df2fa195ad1bcace7a28ae",
         "4c127ca4c0a1fa782153799bffa32e0961f178a30a28a9e306a43f439bf7dd1f"},
        {16384, 16513, "a6996244a669b9546d194104e89e61351c62a230dc497cedf97e4a7b425e0035",
         "c514ae66ad5587c47d6af424500124df78830e47823a2b61e0f808b39d379791"},
        {16385, 16517, "790a5fd312a02eec96e58cfe3ec430975c4ef44877b6f82b535a4be963c3fcbc",
         "ff737926aeb6da3d0809e799576bf1bc24d2ab53aa8bcfc9a2454ccd989dbad5"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tc_error err = {0};
        struct tc_sha256 root;
        char hex[TC_SHA256_HEX];
        uint64_t total = tc_veritytree_total(cases[i].blocks);
        assert_int_equal(total, cases[i].total);
        struct tree_sink sink = {.first = cases[i].blocks, .total = total};
        size_t tree_size = (size_t)(total - cases[i].blocks) * TC_VERITY_BLOCK;
        sink.bytes = calloc(1, tree_size + 1);
        assert_non_null(sink.bytes);
        struct tc_veritytree *tree = tc_veritytree_new(cases[i].blocks, salt, take_block, &sink);
        assert_non_null(tree);
        static uint8_t blocks[3 * TC_VERITY_BLOCK];
        for (uint64_t at = 0; at < cases[i].blocks;) {
            size_t count = 0;
            assert_int_equal(tc_veritytree_root(tree, &root, &err), TC_USAGE);
            for (; count < 3 && at < cases[i].blocks; count++, at++)
                fill(at, blocks + count * TC_VERITY_BLOCK);
            assert_int_equal(tc_veritytree_add(tree, blocks, count, &err), TC_OK);
        }
        assert_int_equal(tc_veritytree_root(tree, &root, &err), TC_OK);
        tc_hex((struct tc_span){root.bytes, sizeof root.bytes}, hex);
        assert_string_equal(hex, cases[i].root);
        assert_int_equal(sink.seen, total - cases[i].blocks);
        expect_digest((struct tc_span){sink.bytes, tree_size}, cases[i].tree);
        assert_int_equal(tc_veritytree_add(tree, blocks, 1, &err), TC_USAGE);
        tc_veritytree_free(tree);
        free(sink.bytes);
    }
}

static void test_tree_that_fails(void **state)
{
    struct tc_error err = {0};
    struct tc_sha256 root;
    static uint8_t blocks[2 * TC_VERITY_BLOCK];
    struct tc_veritytree *tree = tc_veritytree_new(2, salt, refuse_block, NULL);
    (void)state;
    assert_int_equal(tc_veritytree_add(tree, blocks, 2, &err), TC_LIMIT);
    assert_int_equal(tc_veritytree_root(tree, &root, &err), TC_USAGE);
    assert_int_equal(tc_veritytree_add(tree, blocks, 0, &err), TC_USAGE);
    tc_veritytree_free_ptr(&tree);
    tc_veritytree_free(NULL);
    assert_null(tc_veritytree_new(0, salt, NULL, NULL));
    assert_null(tc_veritytree_new((UINT64_C(1) << 40) + 1, salt, NULL, NULL));
    /* 2^40 blocks: 2^33 + 2^26 + 2^19 + 2^12 + 2^5 + 1 above them. */
    assert_int_equal(tc_veritytree_total(UINT64_C(1) << 40), UINT64_C(1108169199649));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_text_without_packages),
        cmocka_unit_test(test_text_refuses),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_text_has_one_spelling),
        cmocka_unit_test(test_text_writer_is_strict),
        cmocka_unit_test(test_cmdline),
        cmocka_unit_test(test_ramdisk),
        cmocka_unit_test(test_ramdisk_has_one_spelling),
        cmocka_unit_test(test_self_contained),
        cmocka_unit_test(test_trees_of_veritysetup),
        cmocka_unit_test(test_tree_that_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
