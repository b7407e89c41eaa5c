#include "archive_lab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

char archive_folder[] = "/tmp/tc-archive-XXXXXX", archive_path[64];
uint8_t large[300000];

int archive_set_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (uint8_t)(i * 2654435761U >> 9);
    if (!mkdtemp(archive_folder)) return -1;
    (void)snprintf(archive_path, sizeof archive_path, "%s/net.tar", archive_folder);
    return 0;
}

int archive_tear_down(void **state)
{
    (void)state;
    (void)unlink(archive_path);
    return rmdir(archive_folder); /* nothing else may be there */
}

void make_line(const char *url, struct tc_span body, bool whole, struct tc_buf *buf)
{
    struct tc_error err = {0};
    char method[] = "GET", *text = strdup(url), name[] = "Content-Type", value[] = "text/plain";
    struct tc_archived_field field = {name, value};
    struct tc_archived archived = {
        .method = method, .url = text, .status = 200, .fields = &field, .fields_count = 1};
    assert_int_equal(tc_sha256_of((struct tc_span){0}, &archived.request, &err), TC_OK);
    assert_int_equal(tc_sha256_of(whole ? body : (struct tc_span){0}, &archived.digest, &err),
                     TC_OK);
    if (whole) archived.size = body.size;
    *buf = tc_buf_new(TC_ARCHIVED_LINE_MAX);
    assert_int_equal(tc_archived_write(&archived, buf, &err), TC_OK);
    free(text);
}

struct tc_archive_writer *new_writer(void)
{
    struct tc_error err = {0};
    struct tc_archive_writer *writer;
    if (tc_archive_writer_new(archive_path, &writer, &err) != TC_OK) fail_msg("%s", err.message);
    return writer;
}

void store(struct tc_archive_writer *writer, const char *url, struct tc_span body)
{
    struct tc_error err = {0};
    struct tc_archive_store *one;
    struct tc_buf line;
    make_line(url, body, false, &line);
    assert_int_equal(tc_archive_store_begin(writer, tc_buf_span(&line), &one, &err), TC_OK);
    for (size_t at = 0; at < body.size; at += 5000) {
        size_t size = body.size - at < 5000 ? body.size - at : 5000;
        assert_int_equal(tc_archive_store_add(one, (struct tc_span){body.data + at, size}, &err),
                         TC_OK);
    }
    assert_int_equal(tc_archive_store_finish(one, &err), TC_OK);
    tc_archive_store_free(one);
    tc_buf_free(&line);
}

void commit(struct tc_archive_writer *writer)
{
    struct tc_error err = {0};
    struct tc_tempfile file = TC_TEMPFILE_NONE;
    if (tc_archive_writer_finish(writer, &file, &err) != TC_OK) fail_msg("%s", err.message);
    tc_archive_writer_free(writer);
    if (tc_tempfile_commit(&file, &err) != TC_OK) fail_msg("%s", err.message);
}

struct tc_archive *open_archive(const char *name)
{
    struct tc_error err = {0};
    struct tc_archive *archive;
    if (tc_archive_open(name, &archive, &err) != TC_OK) fail_msg("%s", err.message);
    return archive;
}

void expect(const struct tc_archive *archive, const char *url, struct tc_span body)
{
    struct tc_error err = {0};
    struct tc_sha256 digest;
    struct tc_archive_part line_part, body_part;
    struct tc_buf line;
    make_line(url, body, true, &line);
    assert_int_equal(tc_sha256_of(tc_buf_span(&line), &digest, &err), TC_OK);
    assert_true(tc_archive_find(archive, &digest, &line_part, &body_part));
    assert_int_equal(line_part.size, line.size);
    assert_int_equal(body_part.size, body.size);
    uint8_t *bytes = malloc(line.size + body.size);
    assert_int_equal(tc_archive_read(archive, &line_part, bytes, line.size, &err), TC_OK);
    assert_memory_equal(bytes, line.data, line.size);
    size_t half = body.size / 2;
    assert_int_equal(tc_archive_read(archive, &body_part, bytes, half, &err), TC_OK);
    assert_int_equal(tc_archive_read(archive, &body_part, bytes + half, body.size - half, &err),
                     TC_OK);
    if (body.size > 0) assert_memory_equal(bytes, body.data, body.size);
    assert_int_equal(tc_archive_read(archive, &body_part, bytes, 1, &err), TC_USAGE);
    free(bytes);
    tc_buf_free(&line);
}
