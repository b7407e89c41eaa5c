/* The part of the NBD protocol in which an enclave reads its toolchain: one
 * export, read-only, opened in the oldest way that every server knows.
 *
 *   server  greeting  "NBDMAGIC" "IHAVEOPT" flags:u16
 *   client  choice    flags:u32 "IHAVEOPT" EXPORT_NAME:u32 0:u32
 *   server  export    size:u64 flags:u16
 *   then, any number of times, until the client says DISCONNECT or hangs up:
 *   client  request   0x25609513:u32 flags:u16 command:u16 cookie:u64 offset:u64 length:u32
 *   server  reply     0x67446698:u32 error:u32 cookie:u64, and the bytes of a READ
 *
 * All big-endian. The enclave's kernel speaks the second part itself. Neither side
 * believes the other: what is read is checked by dm-verity, what is asked for by
 * the server against its file. */
#ifndef TC_CORE_NBD_H
#define TC_CORE_NBD_H

#include "base/bytes.h"

enum {
    TC_NBD_GREETING_SIZE = 18,
    TC_NBD_CHOICE_SIZE = 20,
    TC_NBD_EXPORT_SIZE = 10,
    TC_NBD_REQUEST_SIZE = 28,
    TC_NBD_REPLY_SIZE = 16,
    TC_NBD_READ_MAX = 32 << 20, /* bytes of one request; the protocol's own cap */

    /* Transmission flags, which the kernel is told as they are. */
    TC_NBD_HAS_FLAGS = 1 << 0,
    TC_NBD_READ_ONLY = 1 << 1,

    TC_NBD_READ = 0,
    TC_NBD_DISCONNECT = 2,
};

/* Errors that a server answers with. */
enum { TC_NBD_OK = 0, TC_NBD_NOT_PERMITTED = 1, TC_NBD_IO = 5, TC_NBD_INVALID = 22 };

struct tc_nbd_request {
    uint16_t command; /* any: the server refuses those that it does not know */
    uint64_t cookie, offset;
    uint32_t length;
};

void tc_nbd_greeting_encode(struct tc_buf *buf);
tc_status tc_nbd_greeting_check(struct tc_span bytes, struct tc_error *err) TC_MUST_USE;

void tc_nbd_choice_encode(struct tc_buf *buf);
tc_status tc_nbd_choice_check(struct tc_span bytes, struct tc_error *err) TC_MUST_USE;

void tc_nbd_export_encode(uint64_t size, struct tc_buf *buf);
/* TC_REFUSED for an export that can be written to. */
tc_status tc_nbd_export_decode(struct tc_span bytes, uint64_t *ret_size, struct tc_error *err)
    TC_MUST_USE;

void tc_nbd_request_encode(const struct tc_nbd_request *request, struct tc_buf *buf);
tc_status tc_nbd_request_decode(struct tc_span bytes, struct tc_nbd_request *ret_request,
                                struct tc_error *err) TC_MUST_USE;

void tc_nbd_reply_encode(uint32_t error, uint64_t cookie, struct tc_buf *buf);

#endif
