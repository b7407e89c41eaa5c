#include "host/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"

/* Bytes of the file that are in memory at once, however much one request asks for. */
enum { PIECE = 256 * 1024 };

struct server {
    int fd, file_fd;
    uint64_t size;
    uint8_t *piece;
};

/* *ret_all: false when the client hung up before the first byte. */
static tc_status receive(int fd, uint8_t *out, size_t size, bool *ret_all, struct tc_error *err)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = recv(fd, out + done, size - done, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno != ECONNRESET)
            return tc_fail_errno(err, TC_PEER, errno, "cannot read from the enclave");
        if (got <= 0 && done > 0)
            return tc_fail(err, TC_PEER, "the enclave hung up within a request for pages");
        if (got <= 0) break;
        done += (size_t)got;
    }
    *ret_all = done == size;
    return TC_OK;
}

static tc_status transmit(int fd, struct tc_span bytes, struct tc_error *err)
{
    while (bytes.size > 0) {
        ssize_t sent = send(fd, bytes.data, bytes.size, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0)
            return tc_fail_errno(err, TC_PEER, errno, "the enclave hung up while pages were sent");
        bytes.data += sent;
        bytes.size -= (size_t)sent;
    }
    return TC_OK;
}

static tc_status shake_hands(const struct server *server, bool *ret_all, struct tc_error *err)
{
    uint8_t choice[TC_NBD_CHOICE_SIZE];
    TC_AUTO_BUF struct tc_buf ours = tc_buf_new(TC_NBD_GREETING_SIZE);
    tc_nbd_greeting_encode(&ours);
    TC_TRY(tc_buf_check(&ours, "the greeting", err));
    TC_TRY(transmit(server->fd, tc_buf_span(&ours), err));
    TC_TRY(receive(server->fd, choice, sizeof choice, ret_all, err));
    if (!*ret_all) return TC_OK;
    TC_TRY(tc_nbd_choice_check((struct tc_span){choice, sizeof choice}, err));
    tc_buf_reset(&ours);
    tc_nbd_export_encode(server->size, &ours);
    TC_TRY(tc_buf_check(&ours, "the export", err));
    return transmit(server->fd, tc_buf_span(&ours), err);
}

static tc_status reply(const struct server *server, uint32_t error, uint64_t cookie,
                       struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_NBD_REPLY_SIZE);
    tc_nbd_reply_encode(error, cookie, &buf);
    TC_TRY(tc_buf_check(&buf, "a reply", err));
    return transmit(server->fd, tc_buf_span(&buf), err);
}

static tc_status read_piece(const struct server *server, uint64_t offset, size_t size,
                            struct tc_error *err)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = pread(server->file_fd, server->piece + done, size - done,
                            (off_t)(offset + done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return tc_fail_errno(err, TC_SYSTEM, errno, "cannot read the toolchain's file");
        if (got == 0)
            return tc_fail(err, TC_SYSTEM, "the toolchain's file became shorter while it was served");
        done += (size_t)got;
    }
    return TC_OK;
}

/* The first piece is read before the reply says that all is well; a later one that
 * fails can only end the connection, which the enclave takes as the error that it
 * is. */
static tc_status give(const struct server *server, const struct tc_nbd_request *request,
                      struct tc_error *err)
{
    uint64_t offset = request->offset, left = request->length;
    for (bool first = true; left > 0; first = false) {
        size_t size = left < PIECE ? (size_t)left : PIECE;
        struct tc_error reason = {0};
        tc_status status = read_piece(server, offset, size, &reason);
        if (status != TC_OK && first) return reply(server, TC_NBD_IO, request->cookie, err);
        if (status != TC_OK) {
            *err = reason;
            return status;
        }
        if (first) TC_TRY(reply(server, TC_NBD_OK, request->cookie, err));
        TC_TRY(transmit(server->fd, (struct tc_span){server->piece, size}, err));
        offset += size;
        left -= size;
    }
    return TC_OK;
}

/* What is wrong with a request; TC_NBD_OK: nothing. */
static uint32_t judge(const struct server *server, const struct tc_nbd_request *request)
{
    if (request->command != TC_NBD_READ) return TC_NBD_NOT_PERMITTED;
    if (request->length == 0 || request->length > TC_NBD_READ_MAX ||
        request->offset > server->size || request->length > server->size - request->offset)
        return TC_NBD_INVALID;
    return TC_NBD_OK;
}

static tc_status serve_requests(const struct server *server, struct tc_error *err)
{
    for (;;) {
        uint8_t bytes[TC_NBD_REQUEST_SIZE];
        struct tc_nbd_request request;
        bool all = false;
        TC_TRY(receive(server->fd, bytes, sizeof bytes, &all, err));
        if (!all) return TC_OK;
        TC_TRY(tc_nbd_request_decode((struct tc_span){bytes, sizeof bytes}, &request, err));
        if (request.command == TC_NBD_DISCONNECT) return TC_OK;
        /* A write brings its bytes along, which would be taken for requests. */
        uint32_t error = judge(server, &request);
        if (error == TC_NBD_NOT_PERMITTED)
            return tc_fail(err, TC_REFUSED, "the enclave sent command %u; its pages can only be read",
                           (unsigned)request.command);
        TC_TRY(error == TC_NBD_OK ? give(server, &request, err)
                                  : reply(server, error, request.cookie, err));
    }
}

tc_status tc_pages_serve(int fd, int file_fd, struct tc_error *err)
{
    struct stat info;
    bool all = false;
    if (fstat(file_fd, &info) != 0 || !S_ISREG(info.st_mode))
        return tc_fail(err, TC_USAGE, "pages are served from a regular file");
    TC_AUTO_FREE uint8_t *piece = malloc(PIECE);
    if (!piece) return tc_fail(err, TC_SYSTEM, "out of memory");
    const struct server server = {fd, file_fd, (uint64_t)info.st_size, piece};
    TC_TRY(shake_hands(&server, &all, err));
    return all ? serve_requests(&server, err) : TC_OK;
}
