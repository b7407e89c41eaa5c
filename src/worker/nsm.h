/* The Nitro Security Module as the monitor sees it: /dev/nsm by ioctl in an
 * enclave, or the development attester over a unix socket on the local back
 * end; the bytes are the same CBOR (nsmproto.h). Only the monitor has one.
 *
 * Over a socket each message is a u32 big-endian length and that many bytes. */
#ifndef TC_WORKER_NSM_H
#define TC_WORKER_NSM_H

#include "core/nsmproto.h"

struct tc_nsm {
    int fd;        /* borrowed */
    bool is_device; /* a character device: ioctl; else a stream socket */
};

/* Looks at fd to tell a device from a socket; anything else is TC_UNAVAILABLE. */
tc_status tc_nsm_open(int fd, struct tc_nsm *ret_nsm, struct tc_error *err) TC_MUST_USE;

tc_status tc_nsm_describe_pcr(struct tc_nsm *nsm, unsigned index, struct tc_sha384 *ret_value,
                              bool *ret_locked, struct tc_error *err) TC_MUST_USE;
tc_status tc_nsm_extend_pcr(struct tc_nsm *nsm, unsigned index, struct tc_span data,
                            struct tc_sha384 *ret_value, struct tc_error *err) TC_MUST_USE;
tc_status tc_nsm_lock_pcr(struct tc_nsm *nsm, unsigned index, struct tc_error *err) TC_MUST_USE;
/* Fills size bytes. */
tc_status tc_nsm_random(struct tc_nsm *nsm, uint8_t *out, size_t size, struct tc_error *err)
    TC_MUST_USE;
/* Appends the document to buf. Each span may be empty: then the field is null. */
tc_status tc_nsm_attest(struct tc_nsm *nsm, struct tc_span user_data, struct tc_span nonce,
                        struct tc_span public_key, struct tc_buf *buf, struct tc_error *err)
    TC_MUST_USE;

#endif
