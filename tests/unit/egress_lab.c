#include "egress_lab.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>

#include <cmocka.h>

int open_stream(struct tc_egress *egress)
{
    int ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    tc_egress_take(egress, ends[0]);
    return ends[1];
}

/* --- for any thread --- */

bool send_all(int fd, const void *data, size_t size)
{
    const char *bytes = data;
    while (size > 0) {
        ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return false;
        bytes += sent;
        size -= (size_t)sent;
    }
    return true;
}

static bool receive_all(int fd, void *data, size_t size)
{
    char *bytes = data;
    while (size > 0) {
        ssize_t got = recv(fd, bytes, size, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        bytes += got;
        size -= (size_t)got;
    }
    return true;
}

bool send_frame(int fd, uint8_t kind, const void *payload, size_t size)
{
    uint8_t bytes[TC_EGRESS_HEADER_SIZE];
    const struct tc_egress_header header = {kind, (uint16_t)size};
    tc_egress_header_encode(&header, bytes);
    return send_all(fd, bytes, sizeof bytes) && send_all(fd, payload, size);
}

bool send_dial(int fd, const char *name, uint16_t port)
{
    struct tc_buf buf = tc_buf_new(512);
    const struct tc_egress_dial dial = {port, tc_span_of_text(name)};
    tc_egress_dial_encode(&dial, &buf);
    bool sent = send_frame(fd, TC_EGRESS_DIAL, buf.data, buf.size);
    tc_buf_free(&buf);
    return sent;
}

int receive_frame(int fd, void *out, size_t most, size_t *ret_size)
{
    uint8_t bytes[TC_EGRESS_HEADER_SIZE];
    struct tc_egress_header header;
    struct tc_error err = {0};
    if (!receive_all(fd, bytes, sizeof bytes)) return NO_FRAME;
    if (tc_egress_header_decode(bytes, &header, &err) != TC_OK || header.size > most)
        return BAD_FRAME;
    if (!receive_all(fd, out, header.size)) return NO_FRAME;
    ((char *)out)[header.size] = '\0';
    *ret_size = header.size;
    return header.kind;
}

/* --- for the thread of the test --- */

void write_all(int fd, const void *data, size_t size)
{
    assert_true(send_all(fd, data, size));
}

void read_all(int fd, void *data, size_t size)
{
    assert_true(receive_all(fd, data, size));
}

void expect_end(int fd)
{
    char byte;
    ssize_t got = recv(fd, &byte, 1, 0);
    assert_true(got == 0 || (got < 0 && errno == ECONNRESET));
}

void write_frame(int fd, uint8_t kind, const void *payload, size_t size)
{
    assert_true(send_frame(fd, kind, payload, size));
}

void ask_dial(int fd, const char *name, uint16_t port)
{
    assert_true(send_dial(fd, name, port));
}

uint8_t read_answer(int fd, char text[TC_EGRESS_TEXT_MAX + 1])
{
    size_t size;
    int kind = receive_frame(fd, text, TC_EGRESS_TEXT_MAX, &size);
    assert_true(kind >= 0);
    return (uint8_t)kind;
}
