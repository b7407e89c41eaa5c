/* Paging: the NBD part, the description of a toolchain outside of the image, and
 * the server against a client that asks wrongly. The enclave's side needs a kernel
 * of its own: tests/extra/qemu. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/verity.h"
#include "host/pages.h"

/* --- the description --- */

static const char text[] = "tee-compile/verity/1\ndata 12\ntotal 14\n"
                           "root 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"
                           "salt ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\n";

static tc_status decode(const char *bytes, size_t size, struct tc_verity *ret)
{
    struct tc_error err = {0};
    return tc_verity_decode((struct tc_span){(const uint8_t *)bytes, size}, ret, &err);
}

static void test_description(void **state)
{
    struct tc_verity verity;
    (void)state;
    assert_int_equal(decode(text, sizeof text - 1, &verity), TC_OK);
    assert_int_equal(verity.data_blocks, 12);
    assert_int_equal(verity.total_blocks, 14);
    assert_int_equal(verity.root.bytes[31], 0x1f);
    assert_int_equal(verity.salt[0], 0xff);
    struct tc_buf table = tc_buf_new(TC_VERITY_PARAMETERS_MAX);
    tc_verity_parameters(&verity, "/dev/nbd0", &table);
    assert_true(tc_buf_ok(&table));
    assert_string_equal((const char *)table.data,
                        "1 /dev/nbd0 /dev/nbd0 4096 4096 12 12 sha256 "
                        "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f "
                        "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff "
                        "2 panic_on_corruption panic_on_error");
    tc_buf_free(&table);
}

/* No byte may be dropped, added or changed to one of these and still be read. */
static void test_description_is_strict(void **state)
{
    static const char others[] = {'0', '9', 'A', ' ', '\n', '\0', '-'};
    const size_t size = sizeof text - 1;
    struct tc_verity verity;
    char changed[sizeof text + 1];
    (void)state;
    for (size_t i = 0; i < size; i++) {
        assert_int_equal(decode(text, i, &verity), TC_MALFORMED);
        memcpy(changed, text, i);
        memcpy(changed + i, text + i + 1, size - i - 1);
        /* A number with a digit less is another number. */
        bool digit = text[i] >= '0' && text[i] <= '9' && i > 21 && i < 39;
        if (!digit) assert_int_equal(decode(changed, size - 1, &verity), TC_MALFORMED);
        memcpy(changed, text, size);
        for (size_t k = 0; k < sizeof others; k++) {
            changed[i] = others[k];
            if (changed[i] == text[i] || decode(changed, size, &verity) != TC_OK) continue;
            assert_true(others[k] == '0' || others[k] == '9'); /* a digit for a digit */
        }
    }
    memcpy(changed, text, sizeof text);
    assert_int_equal(decode(changed, sizeof text, &verity), TC_MALFORMED); /* a NUL more */
    const char *const wrong[] = {"data 014\ntotal 14", "data 0\ntotal 14", "data 14\ntotal 14",
                                 "data 15\ntotal 14", "data 1\ntotal 1099511627777",
                                 "data 18446744073709551617\ntotal 18446744073709551618"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char whole[sizeof text + 64];
        int length = snprintf(whole, sizeof whole, "tee-compile/verity/1\n%s%s", wrong[i],
                              strchr(strchr(strchr(text, '\n') + 1, '\n') + 1, '\n'));
        assert_int_equal(decode(whole, (size_t)length, &verity), TC_MALFORMED);
    }
}

/* --- the server --- */

enum { FILE_SIZE = 1024 * 1024 + 4096 };

struct server {
    int fd, file_fd;
    tc_status status;
    pthread_t thread;
};

static void *run(void *context)
{
    struct server *server = context;
    struct tc_error err = {0};
    server->status = tc_pages_serve(server->fd, server->file_fd, &err);
    (void)shutdown(server->fd, SHUT_RDWR);
    return NULL;
}

static uint8_t byte_at(size_t offset)
{
    return (uint8_t)(offset * 31 + offset / 4096);
}

/* Over its file; the client's end. */
static int start_server(struct server *server)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    server->fd = ends[0];
    assert_int_equal(pthread_create(&server->thread, NULL, run, server), 0);
    return ends[1];
}

static int start(struct server *server)
{
    static uint8_t bytes[FILE_SIZE];
    for (size_t i = 0; i < FILE_SIZE; i++)
        bytes[i] = byte_at(i);
    server->file_fd = memfd_create("pages", MFD_CLOEXEC);
    assert_int_equal(write(server->file_fd, bytes, FILE_SIZE), FILE_SIZE);
    return start_server(server);
}

static tc_status end(struct server *server, int client)
{
    (void)close(client);
    assert_int_equal(pthread_join(server->thread, NULL), 0);
    (void)close(server->fd);
    (void)close(server->file_fd);
    return server->status;
}

static void get(int fd, void *out, size_t size)
{
    assert_int_equal(recv(fd, out, size, MSG_WAITALL), size);
}

static void put(int fd, struct tc_buf *buf)
{
    assert_true(tc_buf_ok(buf));
    assert_int_equal(send(fd, buf->data, buf->size, MSG_NOSIGNAL), buf->size);
    tc_buf_free(buf);
}

static uint64_t greet(int client)
{
    uint8_t greeting[TC_NBD_GREETING_SIZE], export[TC_NBD_EXPORT_SIZE];
    struct tc_error err = {0};
    uint64_t size = 0;
    get(client, greeting, sizeof greeting);
    assert_int_equal(tc_nbd_greeting_check((struct tc_span){greeting, sizeof greeting}, &err), TC_OK);
    struct tc_buf choice = tc_buf_new(TC_NBD_CHOICE_SIZE);
    tc_nbd_choice_encode(&choice);
    put(client, &choice);
    get(client, export, sizeof export);
    assert_int_equal(tc_nbd_export_decode((struct tc_span){export, sizeof export}, &size, &err),
                     TC_OK);
    return size;
}

static void ask(int client, uint16_t command, uint64_t offset, uint32_t length)
{
    struct tc_buf buf = tc_buf_new(TC_NBD_REQUEST_SIZE);
    struct tc_nbd_request request = {command, 0x0102030405060708, offset, length};
    tc_nbd_request_encode(&request, &buf);
    put(client, &buf);
}

static uint32_t answer(int client)
{
    uint8_t reply[TC_NBD_REPLY_SIZE];
    struct tc_cursor cursor = tc_cursor_of((struct tc_span){reply, sizeof reply});
    uint32_t magic = 0, error = 0;
    uint64_t cookie = 0;
    get(client, reply, sizeof reply);
    assert_true(tc_cursor_u32(&cursor, &magic) && tc_cursor_u32(&cursor, &error) &&
                tc_cursor_u64(&cursor, &cookie));
    assert_int_equal(magic, 0x67446698);
    assert_true(cookie == 0x0102030405060708);
    return error;
}

static void expect_bytes(int client, uint64_t offset, uint32_t length)
{
    static uint8_t bytes[FILE_SIZE];
    ask(client, TC_NBD_READ, offset, length);
    assert_int_equal(answer(client), TC_NBD_OK);
    get(client, bytes, length);
    for (size_t i = 0; i < length; i++)
        assert_int_equal(bytes[i], byte_at(offset + i));
}

static void test_reads(void **state)
{
    struct server server;
    int client = start(&server);
    (void)state;
    assert_int_equal(greet(client), FILE_SIZE);
    expect_bytes(client, 0, 4096);
    expect_bytes(client, 4095, 2);
    expect_bytes(client, FILE_SIZE - 1, 1);
    expect_bytes(client, 0, FILE_SIZE);
    ask(client, TC_NBD_DISCONNECT, 0, 0);
    assert_int_equal(end(&server, client), TC_OK);
}

static void test_reads_outside(void **state)
{
    struct server server;
    int client = start(&server);
    (void)state;
    (void)greet(client);
    const struct {
        uint64_t offset;
        uint32_t length;
    } wrong[] = {{FILE_SIZE, 1},  {FILE_SIZE - 1, 2},     {0, FILE_SIZE + 1}, {0, 0},
                 {UINT64_MAX, 1}, {UINT64_MAX - 4095, 8192}, {0, UINT32_MAX}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        ask(client, TC_NBD_READ, wrong[i].offset, wrong[i].length);
        assert_int_equal(answer(client), TC_NBD_INVALID);
    }
    expect_bytes(client, 8192, 4096); /* and goes on */
    assert_int_equal(end(&server, client), TC_OK);
}

static void test_largest_read(void **state)
{
    const uint64_t size = (uint64_t)TC_NBD_READ_MAX + 4096;
    struct server server = {.file_fd = memfd_create("pages", MFD_CLOEXEC)};
    (void)state;
    assert_int_equal(ftruncate(server.file_fd, (off_t)size), 0);
    int client = start_server(&server);
    assert_true(greet(client) == size);
    ask(client, TC_NBD_READ, 0, TC_NBD_READ_MAX + 1);
    assert_int_equal(answer(client), TC_NBD_INVALID);
    ask(client, TC_NBD_READ, 0, TC_NBD_READ_MAX);
    assert_int_equal(answer(client), TC_NBD_OK);
    for (size_t done = 0; done < TC_NBD_READ_MAX;) {
        uint8_t piece[4096];
        get(client, piece, sizeof piece);
        done += sizeof piece;
    }
    ask(client, TC_NBD_READ, 4096, 1); /* nothing came beyond */
    assert_int_equal(answer(client), TC_NBD_OK);
    uint8_t byte;
    get(client, &byte, 1);
    assert_int_equal(end(&server, client), TC_OK);
}

static void test_other_commands(void **state)
{
    (void)state;
    for (uint16_t command = 1; command < 10; command++) {
        struct server server;
        int client = start(&server);
        if (command == TC_NBD_DISCONNECT) command++;
        (void)greet(client);
        ask(client, command, 0, 4096);
        uint8_t byte;
        assert_int_equal(recv(client, &byte, 1, MSG_WAITALL), 0);
        assert_int_equal(end(&server, client), TC_REFUSED);
    }
}

static void test_not_nbd(void **state)
{
    uint8_t greeting[TC_NBD_GREETING_SIZE];
    (void)state;
    for (size_t size = 1; size <= TC_NBD_CHOICE_SIZE; size++) {
        struct server server;
        int client = start(&server);
        struct tc_buf choice = tc_buf_new(TC_NBD_CHOICE_SIZE);
        tc_nbd_choice_encode(&choice);
        if (size == TC_NBD_CHOICE_SIZE)
            choice.data[7] ^= 1;
        else
            choice.size = size;
        put(client, &choice);
        assert_int_equal(shutdown(client, SHUT_WR), 0);
        uint8_t byte;
        get(client, greeting, sizeof greeting);
        assert_int_equal(recv(client, &byte, 1, MSG_WAITALL), 0); /* it has ended */
        assert_int_equal(end(&server, client), size == TC_NBD_CHOICE_SIZE ? TC_MALFORMED : TC_PEER);
    }
    struct server server;
    int client = start(&server);
    (void)greet(client);
    struct tc_buf noise = tc_buf_new(TC_NBD_REQUEST_SIZE);
    for (size_t i = 0; i < TC_NBD_REQUEST_SIZE; i++)
        tc_buf_add_u8(&noise, 0x25);
    put(client, &noise);
    assert_int_equal(end(&server, client), TC_MALFORMED);
}

/* --- what the enclave accepts as a server --- */

static void test_greeting_is_strict(void **state)
{
    struct tc_error err = {0};
    (void)state;
    for (size_t i = 0; i < TC_NBD_GREETING_SIZE; i++) {
        struct tc_buf greeting = tc_buf_new(TC_NBD_GREETING_SIZE);
        tc_nbd_greeting_encode(&greeting);
        assert_int_equal(tc_nbd_greeting_check((struct tc_span){greeting.data, i}, &err),
                         TC_MALFORMED);
        greeting.data[i] ^= 1;
        tc_status status = tc_nbd_greeting_check(tc_buf_span(&greeting), &err);
        if (i != TC_NBD_GREETING_SIZE - 2) /* flags that nobody has given a meaning yet */
            assert_int_not_equal(status, TC_OK);
        tc_buf_free(&greeting);
    }
}

static void test_export_must_be_read_only(void **state)
{
    struct tc_error err = {0};
    (void)state;
    for (unsigned flags = 0; flags < 8; flags++) {
        uint8_t bytes[] = {0, 0, 0, 0, 0, 0, 16, 0, 0, (uint8_t)flags};
        uint64_t size = 7;
        tc_status status = tc_nbd_export_decode((struct tc_span){bytes, sizeof bytes}, &size, &err);
        assert_int_equal(status, (flags & 3) == 3 ? TC_OK : TC_REFUSED);
        assert_int_equal(size, status == TC_OK ? 4096 : 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_description),
        cmocka_unit_test(test_description_is_strict),
        cmocka_unit_test(test_reads),
        cmocka_unit_test(test_reads_outside),
        cmocka_unit_test(test_largest_read),
        cmocka_unit_test(test_other_commands),
        cmocka_unit_test(test_not_nbd),
        cmocka_unit_test(test_greeting_is_strict),
        cmocka_unit_test(test_export_must_be_read_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
