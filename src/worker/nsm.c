/* One request at a time: encode, carry, decode. The carrier is the driver's one
 * ioctl, or a length-prefixed exchange over a socket. An answer is checked as
 * strictly as any other bytes, although the hardware is trusted: on the local
 * back end the other side is a process of the host.
 *
 * Plain system calls only: this is linked into the static worker. */
#include "worker/nsm.h"

#include <errno.h>
#include <string.h>

#include <sys/ioctl.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "os/blocks.h"

/* The driver's argument (linux/nsm.h of 6.8 and newer; older enclave kernels
 * have the same one without a header). resp_len is the room on the way in and
 * the answer's size on the way out. */
struct nsm_raw {
    uint64_t request_address, request_size;
    uint64_t response_address, response_size;
};
#define NSM_IOCTL_RAW _IOWR(0x0a, 0x0, struct nsm_raw)
_Static_assert(NSM_IOCTL_RAW == 0xc0200a00, "the number that the driver knows");

tc_status tc_nsm_open(int fd, struct tc_nsm *ret_nsm, struct tc_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "cannot look at the NSM's descriptor");
    if (!S_ISCHR(info.st_mode) && !S_ISSOCK(info.st_mode))
        return tc_fail(err, TC_UNAVAILABLE,
                       "the NSM is neither a device nor a socket: give /dev/nsm of an enclave or a "
                       "socket to the development attester");
    *ret_nsm = (struct tc_nsm){.fd = fd, .is_device = S_ISCHR(info.st_mode)};
    return TC_OK;
}

/* --- carriers --- */

static tc_status exchange_device(int fd, struct tc_span request, uint8_t *response,
                                 size_t *ret_size, struct tc_error *err)
{
    struct nsm_raw raw = {
        .request_address = (uintptr_t)request.data,
        .request_size = request.size,
        .response_address = (uintptr_t)response,
        /* Always all of it: into a smaller room the driver cuts an answer
         * without saying so. */
        .response_size = TC_NSM_RESPONSE_MAX,
    };
    /* Never tried again: a second ExtendPCR would be another extension. */
    if (ioctl(fd, NSM_IOCTL_RAW, &raw) != 0)
        return tc_fail_errno(err, TC_UNAVAILABLE, errno, "the NSM's driver refused a request");
    if (raw.response_size > TC_NSM_RESPONSE_MAX)
        return tc_fail(err, TC_MALFORMED, "the NSM's driver claims an answer of %llu bytes",
                       (unsigned long long)raw.response_size);
    *ret_size = (size_t)raw.response_size;
    return TC_OK;
}

static tc_status exchange_socket(int fd, struct tc_span request, uint8_t *response,
                                 size_t *ret_size, struct tc_error *err)
{
    static const char peer[] = "the attester";
    size_t size = 0;
    TC_TRY(tc_block_send(fd, request, peer, err));
    TC_TRY(tc_block_receive(fd, response, TC_NSM_RESPONSE_MAX, peer, &size, err));
    if (size == 0) return tc_fail(err, TC_PEER, "%s hung up instead of an answer", peer);
    *ret_size = size;
    return TC_OK;
}

/* response holds TC_NSM_RESPONSE_MAX bytes, which ret_answer's spans borrow. */
static tc_status ask(struct tc_nsm *nsm, const struct tc_nsm_request *request, uint8_t *response,
                     struct tc_nsm_response *ret_answer, struct tc_error *err)
{
    enum { SHOWN_MAX = 64 };
    size_t size = 0;
    struct tc_nsm_response answer = {.op = request->op};
    struct tc_buf encoded TC_AUTO_BUF = tc_buf_new(TC_NSM_REQUEST_MAX);
    tc_nsm_request_encode(request, &encoded);
    TC_TRY(tc_buf_check(&encoded, "a request to the NSM", err));
    if (nsm->is_device)
        TC_TRY(exchange_device(nsm->fd, tc_buf_span(&encoded), response, &size, err));
    else
        TC_TRY(exchange_socket(nsm->fd, tc_buf_span(&encoded), response, &size, err));
    TC_TRY(tc_nsm_response_decode((struct tc_span){response, size}, request->op, &answer, err));
    if (answer.error.size > 0) {
        char shown[SHOWN_MAX];
        return tc_fail(err, TC_REFUSED, "the NSM says %s",
                       tc_printable(answer.error, shown, sizeof shown));
    }
    *ret_answer = answer;
    return TC_OK;
}

/* --- operations --- */

static void copy_pcr(struct tc_span data, struct tc_sha384 *ret_value)
{
    memcpy(ret_value->bytes, data.data, sizeof ret_value->bytes);
}

tc_status tc_nsm_describe_pcr(struct tc_nsm *nsm, unsigned index, struct tc_sha384 *ret_value,
                              bool *ret_locked, struct tc_error *err)
{
    uint8_t room[TC_NSM_RESPONSE_MAX];
    const struct tc_nsm_request request = {.op = TC_NSM_DESCRIBE_PCR, .index = index};
    struct tc_nsm_response answer = {0};
    if (ask(nsm, &request, room, &answer, err) != TC_OK)
        return tc_wrap(err, "cannot read PCR%u", index);
    copy_pcr(answer.data, ret_value);
    *ret_locked = answer.lock;
    return TC_OK;
}

tc_status tc_nsm_extend_pcr(struct tc_nsm *nsm, unsigned index, struct tc_span data,
                            struct tc_sha384 *ret_value, struct tc_error *err)
{
    uint8_t room[TC_NSM_RESPONSE_MAX];
    const struct tc_nsm_request request = {
        .op = TC_NSM_EXTEND_PCR,
        .index = index,
        .data = data,
    };
    struct tc_nsm_response answer = {0};
    if (ask(nsm, &request, room, &answer, err) != TC_OK)
        return tc_wrap(err, "cannot extend PCR%u", index);
    copy_pcr(answer.data, ret_value);
    return TC_OK;
}

tc_status tc_nsm_lock_pcr(struct tc_nsm *nsm, unsigned index, struct tc_error *err)
{
    uint8_t room[TC_NSM_RESPONSE_MAX];
    const struct tc_nsm_request request = {.op = TC_NSM_LOCK_PCR, .index = index};
    struct tc_nsm_response answer = {0};
    if (ask(nsm, &request, room, &answer, err) != TC_OK)
        return tc_wrap(err, "cannot lock PCR%u", index);
    return TC_OK;
}

tc_status tc_nsm_random(struct tc_nsm *nsm, uint8_t *out, size_t size, struct tc_error *err)
{
    uint8_t room[TC_NSM_RESPONSE_MAX];
    const struct tc_nsm_request request = {.op = TC_NSM_GET_RANDOM};
    while (size > 0) {
        struct tc_nsm_response answer = {0};
        if (ask(nsm, &request, room, &answer, err) != TC_OK)
            return tc_wrap(err, "cannot get random bytes");
        size_t taken = answer.data.size < size ? answer.data.size : size;
        memcpy(out, answer.data.data, taken);
        out += taken;
        size -= taken;
    }
    return TC_OK;
}

tc_status tc_nsm_attest(struct tc_nsm *nsm, struct tc_span user_data, struct tc_span nonce,
                        struct tc_span public_key, struct tc_buf *buf, struct tc_error *err)
{
    uint8_t room[TC_NSM_RESPONSE_MAX];
    const struct tc_nsm_request request = {
        .op = TC_NSM_ATTESTATION,
        .has_user_data = user_data.size > 0,
        .has_nonce = nonce.size > 0,
        .has_public_key = public_key.size > 0,
        .user_data = user_data,
        .nonce = nonce,
        .public_key = public_key,
    };
    struct tc_nsm_response answer = {0};
    if (ask(nsm, &request, room, &answer, err) != TC_OK)
        return tc_wrap(err, "cannot get an attestation document");
    tc_buf_add_span(buf, answer.data);
    return tc_buf_check(buf, "the attestation document", err);
}
