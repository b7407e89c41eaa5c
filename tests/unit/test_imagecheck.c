/* The check of an image's file system beside the build (host/imagecheck.h). */
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/veritytree.h"
#include "host/imagecheck.h"
#include "host/imagerecord.h"

enum { BLOCKS = 300 };

static tc_status keep_block(void *context, uint64_t block, const uint8_t bytes[TC_VERITY_BLOCK],
                            struct tc_error *err)
{
    const int *fd = context;
    (void)err;
    assert_int_equal(pwrite(*fd, bytes, TC_VERITY_BLOCK, (off_t)(block * TC_VERITY_BLOCK)),
                     TC_VERITY_BLOCK);
    return TC_OK;
}

/* A file system of noise with its tree; set, as tc_imagefile_open leaves it. */
static void make_image(struct tc_imagefile *image)
{
    static uint8_t data[BLOCKS * TC_VERITY_BLOCK];
    struct tc_error err = {0};
    struct tc_verity *verity = &image->content.verity;
    int fd = memfd_create("erofs", MFD_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 2654435761U >> 24);
    assert_int_equal(pwrite(fd, data, sizeof data, 0), sizeof data);
    struct tc_veritytree *tree = tc_veritytree_new(BLOCKS, verity->salt, keep_block, &fd);
    assert_non_null(tree);
    assert_int_equal(tc_veritytree_add(tree, data, BLOCKS, &err), TC_OK);
    assert_int_equal(tc_veritytree_root(tree, &verity->root, &err), TC_OK);
    tc_veritytree_free(tree);
    verity->data_blocks = BLOCKS;
    verity->total_blocks = tc_veritytree_total(BLOCKS);
    assert_int_equal(tc_imagefile_set_root(image, fd, "the.erofs", "throw it away", &err), TC_OK);
    assert_false(image->root_checked);
    (void)close(fd);
}

static void damage(const struct tc_imagefile *image, uint64_t block)
{
    uint8_t byte;
    off_t at = (off_t)(block * TC_VERITY_BLOCK + 17);
    assert_int_equal(pread(image->root_fd, &byte, 1, at), 1);
    byte ^= 1;
    assert_int_equal(pwrite(image->root_fd, &byte, 1, at), 1);
}

static tc_status ask_with(const struct tc_imagefile *image, const char *records,
                          struct tc_error *err)
{
    struct tc_imagecheck *check = NULL;
    struct tc_error again = {0};
    assert_int_equal(tc_imagecheck_start(image, records, &check, err), TC_OK);
    tc_status status = tc_imagecheck_await(check, -1, err);
    assert_int_equal(tc_imagecheck_await(check, -1, &again), status);
    if (status != TC_OK) assert_string_equal(again.message, err->message);
    tc_imagecheck_stop(check);
    return status;
}

static tc_status ask(const struct tc_imagefile *image, struct tc_error *err)
{
    return ask_with(image, NULL, err);
}

static void test_good_and_damaged(void **state)
{
    (void)state;
    static const struct {
        uint64_t block;
        const char *says;
    } places[] = {{0, "root hash"}, {BLOCKS - 1, "root hash"}, {BLOCKS, "hash tree"}};
    TC_AUTO_IMAGEFILE struct tc_imagefile image = TC_IMAGEFILE_NONE;
    struct tc_error err = {0};
    make_image(&image);
    assert_int_equal(ask(&image, &err), TC_OK);
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        damage(&image, places[i].block);
        assert_int_equal(ask(&image, &err), TC_REFUSED);
        assert_non_null(strstr(err.message, places[i].says));
        assert_non_null(strstr(err.message, "the.erofs"));
        assert_non_null(strstr(err.message, "; throw it away"));
        damage(&image, places[i].block); /* undone */
    }
    assert_int_equal(ask(&image, &err), TC_OK);
    assert_int_equal(tc_imagefile_check_root(&image, &err), TC_OK);
    assert_true(image.root_checked);
}

/* The size is compared at once. */
static void test_size(void **state)
{
    (void)state;
    TC_AUTO_IMAGEFILE struct tc_imagefile image = TC_IMAGEFILE_NONE;
    TC_AUTO_IMAGEFILE struct tc_imagefile other = TC_IMAGEFILE_NONE;
    struct tc_error err = {0};
    make_image(&image);
    other.content.verity = image.content.verity;
    assert_int_equal(ftruncate(image.root_fd, 4096), 0);
    assert_int_equal(tc_imagefile_set_root(&other, image.root_fd, "cut", NULL, &err), TC_REFUSED);
    assert_int_equal(other.root_fd, -1);
    assert_int_equal(ask(&image, &err), TC_REFUSED); /* became shorter since */
}

/* What was found good is not read again, until it changes. */
static void test_records(void **state)
{
    (void)state;
    TC_AUTO_IMAGEFILE struct tc_imagefile image = TC_IMAGEFILE_NONE;
    struct tc_error err = {0};
    char folder[] = "/tmp/tee-imagecheck-XXXXXX", path[64 + TC_SHA256_HEX], hex[TC_SHA256_HEX];
    char renamed[64 + TC_SHA256_HEX];
    struct tc_sha256 other = {{1}};
    struct stat info;
    make_image(&image);
    const struct tc_sha256 *root = &image.content.verity.root;
    assert_non_null(mkdtemp(folder));
    tc_hex((struct tc_span){root->bytes, sizeof root->bytes}, hex);
    (void)snprintf(path, sizeof path, "%s/%s", folder, hex);
    assert_int_equal(fstat(image.root_fd, &info), 0);

    /* Changed just now: another change might not show. */
    assert_int_equal(ask_with(&image, folder, &err), TC_OK);
    assert_false(tc_imagerecord_holds(folder, root, image.root_fd));
    tc_imagerecord_keep(folder, root, image.root_fd, &info, info.st_ctim.tv_sec + 2);
    assert_int_equal(access(path, F_OK), -1);

    tc_imagerecord_keep(folder, root, image.root_fd, &info, info.st_ctim.tv_sec + 3);
    assert_true(tc_imagerecord_holds(folder, root, image.root_fd));
    assert_false(tc_imagerecord_holds(folder, &other, image.root_fd));
    /* Nor is it one of another image's when somebody calls it so. */
    tc_hex((struct tc_span){other.bytes, sizeof other.bytes}, hex);
    (void)snprintf(renamed, sizeof renamed, "%s/%s", folder, hex);
    assert_int_equal(rename(path, renamed), 0);
    assert_false(tc_imagerecord_holds(folder, &other, image.root_fd));
    assert_int_equal(rename(renamed, path), 0);
    assert_int_equal(ask_with(&image, folder, &err), TC_OK);
    assert_int_equal(chmod(path, 0620), 0); /* others can write it */
    assert_false(tc_imagerecord_holds(folder, root, image.root_fd));
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(truncate(path, 10), 0);
    assert_false(tc_imagerecord_holds(folder, root, image.root_fd));
    tc_imagerecord_keep(folder, root, image.root_fd, &info, info.st_ctim.tv_sec + 3);
    assert_true(tc_imagerecord_holds(folder, root, image.root_fd));

    struct stat after;
    for (;;) { /* until the clock of the file's times has gone on */
        damage(&image, 7);
        assert_int_equal(fstat(image.root_fd, &after), 0);
        if (memcmp(&after.st_ctim, &info.st_ctim, sizeof info.st_ctim) != 0) break;
        damage(&image, 7);
    }
    assert_false(tc_imagerecord_holds(folder, root, image.root_fd));
    assert_int_equal(ask_with(&image, folder, &err), TC_REFUSED);
    /* Changed while it was checked: nothing is recorded. */
    assert_int_equal(unlink(path), 0);
    struct stat earlier = info;
    earlier.st_mtim.tv_sec--;
    tc_imagerecord_keep(folder, root, image.root_fd, &earlier, info.st_ctim.tv_sec + 3);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(rmdir(folder), 0);
}

/* The process that checks, found as this one's only child. */
static pid_t find_child(void)
{
    char path[64], text[32] = "";
    (void)snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_non_null(fgets(text, sizeof text, file));
    (void)fclose(file);
    return (pid_t)strtol(text, NULL, 10);
}

/* So large that it is not checked before the test is over. */
static void make_large_image(struct tc_imagefile *image)
{
    make_image(image);
    image->content.verity.data_blocks = (uint64_t)1 << 30;
    image->content.verity.total_blocks = tc_veritytree_total((uint64_t)1 << 30);
    assert_int_equal(
        ftruncate(image->root_fd, (off_t)(image->content.verity.total_blocks * TC_VERITY_BLOCK)),
        0);
}

/* Soon after its start; whether it may leave a core. */
static bool may_leave_core(pid_t pid)
{
    char path[64], line[128], limit[32] = "";
    (void)snprintf(path, sizeof path, "/proc/%d/limits", (int)pid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        (void)sscanf(line, "Max core file size %31s", limit);
    (void)fclose(file);
    return strcmp(limit, "0") != 0 && strcmp(limit, "1") != 0;
}

static void test_leaves_no_core(void **state)
{
    (void)state;
    TC_AUTO_IMAGEFILE struct tc_imagefile image = TC_IMAGEFILE_NONE;
    struct tc_error err = {0};
    struct tc_imagecheck *check = NULL;
    struct rlimit before, raised;
    assert_int_equal(getrlimit(RLIMIT_CORE, &before), 0);
    raised = (struct rlimit){before.rlim_max, before.rlim_max};
    make_large_image(&image);
    assert_int_equal(setrlimit(RLIMIT_CORE, &raised), 0);
    assert_int_equal(tc_imagecheck_start(&image, NULL, &check, &err), TC_OK);
    assert_int_equal(setrlimit(RLIMIT_CORE, &before), 0);
    while (may_leave_core(find_child()))
        (void)poll(NULL, 0, 1);
    tc_imagecheck_stop(check);
}

static void test_killed_says_nothing(void **state)
{
    (void)state;
    TC_AUTO_IMAGEFILE struct tc_imagefile image = TC_IMAGEFILE_NONE;
    struct tc_error err = {0};
    struct tc_imagecheck *check = NULL;
    int ends[2];
    make_large_image(&image);
    assert_int_equal(tc_imagecheck_start(&image, NULL, &check, &err), TC_OK);
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "", 1), 1);
    assert_int_equal(tc_imagecheck_await(check, ends[0], &err), TC_INTERRUPTED);
    (void)close(ends[0]);
    (void)close(ends[1]);
    assert_int_equal(kill(find_child(), SIGKILL), 0);
    assert_int_equal(tc_imagecheck_await(check, -1, &err), TC_SYSTEM);
    assert_non_null(strstr(err.message, "before it had an answer"));
    assert_int_equal(tc_imagecheck_await(check, -1, &err), TC_SYSTEM);
    tc_imagecheck_stop(check);
}

static void test_stop_without_answer(void **state)
{
    (void)state;
    TC_AUTO_IMAGEFILE struct tc_imagefile image = TC_IMAGEFILE_NONE;
    struct tc_error err = {0};
    struct tc_imagecheck *check = NULL;
    make_image(&image);
    assert_int_equal(tc_imagecheck_start(&image, NULL, &check, &err), TC_OK);
    pid_t pid = find_child();
    tc_imagecheck_stop(check);
    assert_int_equal(kill(pid, 0), -1);
    tc_imagecheck_stop(NULL);
    /* Nothing to check: no process. */
    image.root_checked = true;
    assert_int_equal(tc_imagecheck_start(&image, NULL, &check, &err), TC_OK);
    assert_int_equal(tc_imagecheck_await(check, -1, &err), TC_OK);
    tc_imagecheck_stop(check);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_and_damaged),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_killed_says_nothing),
        cmocka_unit_test(test_good_and_damaged),    cmocka_unit_test(test_size),
        cmocka_unit_test(test_leaves_no_core),      cmocka_unit_test(test_killed_says_nothing),
        cmocka_unit_test(test_stop_without_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
