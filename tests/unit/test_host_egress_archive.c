/* The host's egress of a build that is archived, and of one that is replayed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "archive_lab.h"
#include "egress_lab.h"

static uint8_t buf[TC_EGRESS_PAYLOAD_MAX + 1];

/* The kind, its payload in buf. */
static int read_frame(int fd, size_t *ret_size)
{
    int kind = receive_frame(fd, buf, TC_EGRESS_PAYLOAD_MAX, ret_size);
    assert_int_not_equal(kind, BAD_FRAME);
    return kind;
}

static struct tc_egress *new_egress(struct tc_archive_writer *writer,
                                    const struct tc_archive *archive)
{
    struct tc_egress_config config = {.archive = writer, .replay = archive};
    struct tc_egress *egress;
    struct tc_error err = {0};
    assert_int_equal(tc_egress_new(&config, &egress, &err), TC_OK);
    return egress;
}

static void send_response(int fd, const char *url, struct tc_span body)
{
    struct tc_buf line;
    make_line(url, body, false, &line);
    write_frame(fd, TC_EGRESS_HEAD, line.data, line.size);
    for (size_t at = 0; at < body.size; at += TC_EGRESS_PAYLOAD_MAX) {
        size_t size = body.size - at;
        if (size > TC_EGRESS_PAYLOAD_MAX) size = TC_EGRESS_PAYLOAD_MAX;
        write_frame(fd, TC_EGRESS_DATA, body.data + at, size);
    }
    tc_buf_free(&line);
}

static int ask_to_store(struct tc_egress *egress)
{
    size_t size;
    int fd = open_stream(egress);
    write_frame(fd, TC_EGRESS_STORE, "", 0);
    assert_int_equal(read_frame(fd, &size), 0);
    assert_int_equal(size, 0);
    return fd;
}

static void test_store(void **state)
{
    (void)state;
    static const struct {
        uint8_t kind;
        const char *bytes;
    } bad[] = {
        {TC_EGRESS_DATA, "data before the head"},
        {TC_EGRESS_HEAD, "no line"},
        {TC_EGRESS_END, ""},
        {0, "?"},
    };
    size_t size;
    struct tc_archive_writer *writer = new_writer();
    struct tc_egress *egress = new_egress(writer, NULL);
    int fd = ask_to_store(egress);
    send_response(fd, "https://a.example/large", (struct tc_span){large, sizeof large});
    write_frame(fd, TC_EGRESS_END, "", 0);
    assert_int_equal(read_frame(fd, &size), 0);
    assert_int_equal(read_frame(fd, &size), -1);
    (void)close(fd);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        fd = ask_to_store(egress);
        write_frame(fd, bad[i].kind, bad[i].bytes, strlen(bad[i].bytes));
        assert_true(read_frame(fd, &size) > 0);
        assert_true(size > 0);
        (void)close(fd);
    }
    /* Behind the head: another one, an empty piece, an end with bytes in it. */
    for (size_t i = 0; i < 3; i++) {
        fd = ask_to_store(egress);
        send_response(fd, "https://a.example/bad", tc_span_of_text("x"));
        static const uint8_t kinds[] = {TC_EGRESS_HEAD, TC_EGRESS_DATA, TC_EGRESS_END};
        write_frame(fd, kinds[i], "x", i == 1 ? 0 : 1);
        assert_true(read_frame(fd, &size) > 0);
        (void)close(fd);
    }
    /* Cut off before the end. */
    fd = ask_to_store(egress);
    send_response(fd, "https://a.example/cut", (struct tc_span){large, 100000});
    (void)shutdown(fd, SHUT_WR);
    assert_true(read_frame(fd, &size) > 0);
    (void)close(fd);
    fd = open_stream(egress);
    write_frame(fd, TC_EGRESS_STORE, "x", 1);
    assert_true(read_frame(fd, &size) > 0);
    (void)close(fd);
    tc_egress_stop(egress);
    commit(writer);
    struct tc_archive *archive = open_archive(archive_path);
    assert_int_equal(tc_archive_responses(archive), 1);
    expect(archive, "https://a.example/large", (struct tc_span){large, sizeof large});

    egress = new_egress(NULL, archive);
    fd = open_stream(egress);
    write_frame(fd, TC_EGRESS_STORE, "", 0);
    assert_true(read_frame(fd, &size) > 0);
    assert_non_null(strstr((char *)buf, "keeps no archive"));
    (void)close(fd);
    tc_egress_stop(egress);
    tc_archive_close(archive);
}

static int ask_for(struct tc_egress *egress, const void *bytes, size_t bytes_size)
{
    int fd = open_stream(egress);
    write_frame(fd, TC_EGRESS_REPLAY, bytes, bytes_size);
    return fd;
}

/* DATA frames up to END. */
static void expect_data(int fd, struct tc_span wanted)
{
    size_t at = 0, size;
    int kind;
    while ((kind = read_frame(fd, &size)) == TC_EGRESS_DATA) {
        assert_true(size > 0 && size <= wanted.size - at);
        assert_memory_equal(buf, wanted.data + at, size);
        at += size;
    }
    assert_int_equal(kind, TC_EGRESS_END);
    assert_int_equal(at, wanted.size);
    assert_int_equal(read_frame(fd, &size), -1);
    (void)close(fd);
}

static void test_replay(void **state)
{
    (void)state;
    struct tc_error err = {0};
    struct tc_archive_writer *writer = new_writer();
    store(writer, "https://a.example/large", (struct tc_span){large, sizeof large});
    store(writer, "https://a.example/empty", (struct tc_span){0});
    commit(writer);
    struct tc_archive *archive = open_archive(archive_path);
    struct tc_egress *egress = new_egress(NULL, archive);
    const struct tc_span bodies[] = {{large, sizeof large}, {0}};
    static const char *const urls[] = {"https://a.example/large", "https://a.example/empty"};
    struct tc_sha256 digest;
    struct tc_buf line;
    size_t size;
    for (size_t i = 0; i < 2; i++) {
        make_line(urls[i], bodies[i], true, &line);
        assert_int_equal(tc_sha256_of(tc_buf_span(&line), &digest, &err), TC_OK);
        int fd = ask_for(egress, digest.bytes, sizeof digest.bytes);
        assert_int_equal(read_frame(fd, &size), 0);
        assert_int_equal(read_frame(fd, &size), TC_EGRESS_HEAD);
        assert_int_equal(size, line.size);
        assert_memory_equal(buf, line.data, size);
        expect_data(fd, bodies[i]);
        tc_buf_free(&line);
    }
    struct tc_archive_part part = tc_archive_index_part(archive);
    uint8_t *index = malloc(part.size);
    const struct tc_span whole = {index, part.size};
    assert_int_equal(tc_archive_read(archive, &part, index, whole.size, &err), TC_OK);
    static const struct tc_sha256 none;
    int fd = ask_for(egress, none.bytes, sizeof none.bytes);
    assert_int_equal(read_frame(fd, &size), 0);
    expect_data(fd, whole);
    free(index);

    digest.bytes[0] ^= 1;
    fd = ask_for(egress, digest.bytes, sizeof digest.bytes);
    assert_true(read_frame(fd, &size) > 0);
    assert_non_null(strstr((char *)buf, "no such response"));
    (void)close(fd);
    fd = ask_for(egress, digest.bytes, 31);
    assert_true(read_frame(fd, &size) > 0);
    (void)close(fd);
    /* Nothing is dialled beside. */
    fd = open_stream(egress);
    write_frame(fd, TC_EGRESS_DIAL,
                "\x01\xbb"
                "a.example",
                11);
    assert_true(read_frame(fd, &size) > 0);
    assert_non_null(strstr((char *)buf, "nothing is dialled"));
    (void)close(fd);
    /* Somebody who stops to read does not hold up the end. */
    make_line(urls[0], bodies[0], true, &line);
    assert_int_equal(tc_sha256_of(tc_buf_span(&line), &digest, &err), TC_OK);
    fd = ask_for(egress, digest.bytes, sizeof digest.bytes);
    assert_int_equal(read_frame(fd, &size), 0);
    tc_egress_stop(egress);
    (void)close(fd);
    tc_buf_free(&line);
    tc_archive_close(archive);

    egress = new_egress(NULL, NULL);
    fd = ask_for(egress, none.bytes, sizeof none.bytes);
    assert_true(read_frame(fd, &size) > 0);
    assert_non_null(strstr((char *)buf, "no archive to replay"));
    (void)close(fd);
    tc_egress_stop(egress);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_store),
        cmocka_unit_test(test_replay),
    };
    return cmocka_run_group_tests(tests, archive_set_up, archive_tear_down);
}
