/* The archive: written by several threads, read back, changed in every byte. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "archive_lab.h"
#include "base/text.h"
#include "core/bundle.h"

static char other[64];
static int other_fd; /* in memory: thousands of files are written */

static int set_up(void **state)
{
    if (archive_set_up(state) != 0) return -1;
    other_fd = memfd_create("other.tar", MFD_CLOEXEC);
    (void)snprintf(other, sizeof other, "/proc/self/fd/%d", other_fd);
    return other_fd < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    (void)close(other_fd);
    return archive_tear_down(state);
}

/* --- as it should be --- */

static void *store_many(void *argument)
{
    struct tc_archive_writer *writer = argument;
    for (size_t i = 0; i < 40; i++) {
        char url[64];
        (void)snprintf(url, sizeof url, "https://a.example/%zu", i);
        store(writer, url, (struct tc_span){large + i, i * 7000});
    }
    return NULL;
}

static void test_round_trip(void **state)
{
    (void)state;
    struct tc_archive_writer *writer = new_writer();
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, store_many, writer), 0);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    /* A response that broke off leaves nothing. */
    struct tc_error err = {0};
    struct tc_archive_store *cut;
    struct tc_buf line;
    make_line("https://a.example/cut", (struct tc_span){0}, false, &line);
    assert_int_equal(tc_archive_store_begin(writer, tc_buf_span(&line), &cut, &err), TC_OK);
    assert_int_equal(tc_archive_store_add(cut, (struct tc_span){large, sizeof large}, &err), TC_OK);
    tc_archive_store_free(cut);
    assert_int_equal(access(archive_path, F_OK), -1);
    commit(writer);

    struct tc_archive *archive = open_archive(archive_path);
    assert_int_equal(tc_archive_responses(archive), 160);
    for (size_t i = 0; i < 40; i++) {
        char url[64];
        (void)snprintf(url, sizeof url, "https://a.example/%zu", i);
        expect(archive, url, (struct tc_span){large + i, i * 7000});
    }
    /* Each body once. */
    struct stat info;
    assert_int_equal(stat(archive_path, &info), 0);
    assert_true(info.st_size < (off_t)(780 * 7000 + 40 * 1024 + 160 * 400));
    struct tc_archive_part part = tc_archive_index_part(archive);
    uint8_t *index = malloc(part.size);
    size_t size = part.size;
    struct tc_sha256 digest;
    assert_int_equal(tc_archive_read(archive, &part, index, size, &err), TC_OK);
    assert_int_equal(tc_sha256_of((struct tc_span){index, size}, &digest, &err), TC_OK);
    assert_memory_equal(&digest, tc_archive_digest(archive), sizeof digest);
    struct tc_archive_index *check = tc_archive_index_new();
    assert_int_equal(tc_archive_index_add(check, (struct tc_span){index, size}, &err), TC_OK);
    assert_int_equal(tc_archive_index_finish(check, &digest, &err), TC_OK);
    assert_int_equal(tc_archive_index_count(check), 160);
    assert_memory_equal(&digest, tc_archive_digest(archive), sizeof digest);
    tc_archive_index_free(check);
    free(index);
    tc_buf_free(&line);
    tc_archive_close(archive);
}

static void test_empty(void **state)
{
    (void)state;
    commit(new_writer());
    struct tc_archive *archive = open_archive(archive_path);
    struct tc_archive_part part;
    assert_int_equal(tc_archive_responses(archive), 0);
    assert_false(tc_archive_find(archive, tc_archive_digest(archive), &part, &part));
    tc_archive_close(archive);
}

/* Half a member is in the tar: nothing follows it, and no archive comes of it, though the
 * disk has room again. */
static void test_full_disk(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct tc_tempfile file = TC_TEMPFILE_NONE;
    struct tc_archive_writer *writer = new_writer();
    struct tc_archive_store *one;
    struct tc_buf line;
    struct rlimit before, small;
    static const struct tc_span body = {large, 5000};
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    for (int i = 0; i < 2; i++) {
        make_line("https://a.example/", body, false, &line);
        assert_int_equal(tc_archive_store_begin(writer, tc_buf_span(&line), &one, &err), TC_OK);
        assert_int_equal(tc_archive_store_add(one, body, &err), TC_OK);
        small = (struct rlimit){2 * TC_BUNDLE_BLOCK, before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, i == 0 ? &small : &before), 0);
        assert_int_equal(tc_archive_store_finish(one, &err), TC_SYSTEM);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        tc_archive_store_free(one);
        tc_buf_free(&line);
    }
    assert_int_equal(tc_archive_writer_finish(writer, &file, &err), TC_SYSTEM);
    if (!strstr(err.message, strerror(EFBIG))) fail_msg("%s", err.message);
    assert_int_equal(file.fd, -1);
    tc_archive_writer_free(writer);
    (void)signal(SIGXFSZ, SIG_DFL);
}

/* --- hostile files --- */

static void write_other(const uint8_t *bytes, size_t size)
{
    assert_int_equal(ftruncate(other_fd, 0), 0);
    assert_int_equal(pwrite(other_fd, bytes, size, 0), size);
}

static tc_status open_other(const uint8_t *bytes, size_t size)
{
    struct tc_error err = {0};
    struct tc_archive *archive = NULL;
    write_other(bytes, size);
    tc_status status = tc_archive_open(other, &archive, &err);
    tc_archive_close(archive);
    return status;
}

static size_t read_archive(uint8_t **ret_bytes)
{
    struct stat info;
    int fd = open(archive_path, O_RDONLY);
    assert_int_equal(fstat(fd, &info), 0);
    *ret_bytes = malloc((size_t)info.st_size + 2 * TC_BUNDLE_BLOCK);
    assert_int_equal(read(fd, *ret_bytes, (size_t)info.st_size), info.st_size);
    (void)close(fd);
    return (size_t)info.st_size;
}

static void test_every_byte(void **state)
{
    (void)state;
    struct tc_span body = tc_span_of_text("the body");
    struct tc_archive_writer *writer = new_writer();
    store(writer, "https://a.example/", body);
    store(writer, "https://b.example/", body);
    store(writer, "https://c.example/", (struct tc_span){0});
    commit(writer);
    uint8_t *bytes;
    size_t size = read_archive(&bytes);
    assert_int_equal(open_other(bytes, size), TC_OK);
    for (size_t at = 0; at < size; at++) {
        /* What a body holds is the worker's to check. */
        if (at >= TC_BUNDLE_BLOCK && at < TC_BUNDLE_BLOCK + body.size) continue;
        bool in_index = at >= 3 * TC_BUNDLE_BLOCK + TC_BUNDLE_BLOCK;
        for (unsigned flip = 1; flip < 256; flip = flip == 1 ? 0x20 : flip == 0x20 ? 0x80 : 256) {
            bytes[at] ^= (uint8_t)flip;
            tc_status status = open_other(bytes, size);
            bytes[at] ^= (uint8_t)flip;
            /* A line with another URL is a line, of another digest. */
            if (status == TC_OK && !in_index) fail_msg("byte %zu changed by %u", at, flip);
            if (status != TC_OK && status != TC_MALFORMED && status != TC_LIMIT)
                fail_msg("byte %zu changed by %u: status %d", at, flip, (int)status);
        }
    }
    for (size_t cut = 0; cut < size; cut++)
        if (open_other(bytes, cut) != TC_MALFORMED) fail_msg("cut at %zu", cut);
    memset(bytes + size, 0, TC_BUNDLE_BLOCK);
    assert_int_equal(open_other(bytes, size + TC_BUNDLE_BLOCK), TC_MALFORMED);
    assert_int_equal(open_other(bytes, size + 1), TC_MALFORMED);
    free(bytes);
}

static void add_member(struct tc_buf *tar, const char *name, struct tc_span content)
{
    static const uint8_t zeros[TC_BUNDLE_BLOCK];
    struct tc_error err = {0};
    const struct tc_bundle_member member = {tc_span_of_text(name), false, content.size};
    assert_int_equal(tc_bundle_write_header(&member, tar, &err), TC_OK);
    tc_buf_add_span(tar, content);
    tc_buf_add(tar, zeros, tc_bundle_padding(content.size));
}

static void body_name(struct tc_span body, char out[80])
{
    struct tc_error err = {0};
    struct tc_sha256 digest;
    assert_int_equal(tc_sha256_of(body, &digest, &err), TC_OK);
    memcpy(out, "bodies/", 7);
    tc_hex((struct tc_span){digest.bytes, sizeof digest.bytes}, out + 7);
}

enum member { BODY, OTHER_BODY, UPPER, FOREIGN, INDEX, EMPTY_INDEX, OPEN_INDEX, LONG, SHORT };

/* Tars that are well-formed and no archives. */
static void test_other_members(void **state)
{
    (void)state;
    static const uint8_t zeros[TC_BUNDLE_END_SIZE];
    static const struct {
        enum member members[4];
        size_t count;
        tc_status status;
    } cases[] = {
        {{BODY, INDEX}, 2, TC_OK},
        {{EMPTY_INDEX}, 1, TC_OK},
        {{INDEX}, 1, TC_MALFORMED}, /* a line without its body */
        {{OTHER_BODY, INDEX}, 2, TC_MALFORMED},
        {{BODY, OTHER_BODY, INDEX}, 3, TC_MALFORMED}, /* a body without a line */
        {{BODY, EMPTY_INDEX}, 2, TC_MALFORMED},
        {{BODY, BODY, INDEX}, 3, TC_MALFORMED},
        {{BODY, INDEX, INDEX}, 3, TC_MALFORMED},
        {{OPEN_INDEX}, 1, TC_MALFORMED}, /* ends within a line */
        {{INDEX, BODY}, 2, TC_MALFORMED},
        {{BODY, FOREIGN, INDEX}, 3, TC_MALFORMED},
        {{UPPER, INDEX}, 2, TC_MALFORMED},
        {{LONG, INDEX}, 2, TC_MALFORMED}, /* not as long as its line says */
        {{SHORT, INDEX}, 2, TC_MALFORMED},
        {{BODY}, 1, TC_MALFORMED},
        {{BODY}, 0, TC_MALFORMED},
    };
    struct tc_span body = tc_span_of_text("the body"), other_body = tc_span_of_text("another");
    char name[80], other_name[80], upper[80];
    struct tc_buf line;
    make_line("https://a.example/", body, true, &line);
    body_name(body, name);
    body_name(other_body, other_name);
    memcpy(upper, name, sizeof upper);
    for (size_t i = 7; upper[i]; i++)
        if (upper[i] >= 'a') upper[i] = (char)(upper[i] - 32);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct tc_buf tar = tc_buf_new(1 << 20);
        for (size_t j = 0; j < cases[i].count; j++)
            switch (cases[i].members[j]) {
            case BODY: add_member(&tar, name, body); break;
            case OTHER_BODY: add_member(&tar, other_name, other_body); break;
            case UPPER: add_member(&tar, upper, body); break;
            case FOREIGN: add_member(&tar, "notes", body); break;
            case INDEX: add_member(&tar, "archive.jsonl", tc_buf_span(&line)); break;
            case OPEN_INDEX:
                add_member(&tar, "archive.jsonl", (struct tc_span){line.data, line.size - 1});
                break;
            case EMPTY_INDEX: add_member(&tar, "archive.jsonl", (struct tc_span){0}); break;
            case LONG: add_member(&tar, name, tc_span_of_text("the body!")); break;
            case SHORT: add_member(&tar, name, tc_span_of_text("the bod")); break;
            }
        tc_buf_add(&tar, zeros, sizeof zeros);
        if (open_other(tar.data, tar.size) != cases[i].status) fail_msg("case %zu", i);
        tc_buf_free(&tar);
    }
    tc_buf_free(&line);
    struct tc_error err = {0};
    struct tc_archive *archive;
    assert_int_equal(tc_archive_open("/nowhere/net.tar", &archive, &err), TC_UNAVAILABLE);
    assert_int_equal(tc_archive_open(archive_folder, &archive, &err), TC_USAGE);
    assert_int_equal(tc_archive_open("/dev/null", &archive, &err), TC_USAGE);
}

/* A size that needs more than the header's field: nine GiB of nothing. */
static void test_large_body(void **state)
{
    (void)state;
    const uint64_t size = (uint64_t)9 << 30;
    static const uint8_t zeros[TC_BUNDLE_END_SIZE];
    struct tc_error err = {0};
    struct tc_buf head = tc_buf_new(8192), tail = tc_buf_new(1 << 20), line = tc_buf_new(65535);
    char method[] = "GET", url[] = "https://a.example/", name[80] = "bodies/";
    struct tc_archived archived = {.method = method, .url = url, .status = 200, .size = size};
    assert_int_equal(tc_archived_write(&archived, &line, &err), TC_OK);
    memset(name + 7, '0', 64);
    const struct tc_bundle_member member = {tc_span_of_text(name), false, size};
    assert_int_equal(tc_bundle_write_header(&member, &head, &err), TC_OK);
    assert_int_equal(head.size, 3 * TC_BUNDLE_BLOCK);
    add_member(&tail, "archive.jsonl", tc_buf_span(&line));
    tc_buf_add(&tail, zeros, sizeof zeros);
    int fd = other_fd;
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(pwrite(fd, head.data, head.size, 0), head.size);
    assert_int_equal(pwrite(fd, tail.data, tail.size, (off_t)(head.size + size)), tail.size);
    struct tc_archive *archive = open_archive(other);
    assert_int_equal(tc_archive_responses(archive), 1);
    tc_archive_close(archive);
    /* The same bytes, and a record that says another size. */
    for (size_t at = TC_BUNDLE_BLOCK; at < 3 * TC_BUNDLE_BLOCK; at++) {
        uint8_t byte = head.data[at] ^ 1;
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
        if (tc_archive_open(other, &archive, &err) != TC_MALFORMED) fail_msg("byte %zu", at);
        assert_int_equal(pwrite(fd, &head.data[at], 1, (off_t)at), 1);
    }
    tc_buf_free(&head);
    tc_buf_free(&tail);
    tc_buf_free(&line);
}

/* An index of nothing, as large as one may be, and a byte larger: that is not looked into. */
static void test_large_index(void **state)
{
    (void)state;
    for (uint64_t size = TC_ARCHIVE_INDEX_MAX; size <= TC_ARCHIVE_INDEX_MAX + 1; size++) {
        struct tc_error err = {0};
        struct tc_archive *archive;
        struct tc_buf head = tc_buf_new(8192);
        const struct tc_bundle_member member = {tc_span_of_text("archive.jsonl"), false, size};
        assert_int_equal(tc_bundle_write_header(&member, &head, &err), TC_OK);
        uint64_t end = head.size + size + tc_bundle_padding(size) + TC_BUNDLE_END_SIZE;
        assert_int_equal(ftruncate(other_fd, 0), 0);
        assert_int_equal(ftruncate(other_fd, (off_t)end), 0);
        assert_int_equal(pwrite(other_fd, head.data, head.size, 0), head.size);
        assert_int_equal(tc_archive_open(other, &archive, &err), TC_LIMIT);
        bool looked_into = strstr(err.message, "a line of archive.jsonl") != NULL;
        if (looked_into != (size == TC_ARCHIVE_INDEX_MAX)) fail_msg("%s", err.message);
        tc_buf_free(&head);
    }
    assert_int_equal(ftruncate(other_fd, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip), cmocka_unit_test(test_empty),
        cmocka_unit_test(test_every_byte), cmocka_unit_test(test_other_members),
        cmocka_unit_test(test_full_disk),  cmocka_unit_test(test_large_index),
        cmocka_unit_test(test_large_body),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
