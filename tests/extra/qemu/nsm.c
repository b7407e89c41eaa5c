/* The NSM client of the worker on a device that was written by others: each
 * operation, and each error that this device can give. It knows eight names of
 * errors; over a driver that keeps sizes, three can be met. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/nitrodoc.h"
#include "guest.h"
#include "worker/nsm.h"

struct raw {
    uint64_t request, request_size, response, response_size;
};

/* Without the client: bytes there, and what comes back. Negative: errno. */
static int exchange(int fd, struct tc_span request, uint8_t *response, size_t *size)
{
    struct raw raw = {(uintptr_t)request.data, request.size, (uintptr_t)response, *size};
    if (ioctl(fd, _IOWR(0x0a, 0x0, struct raw), &raw) != 0) return -errno;
    *size = (size_t)raw.response_size;
    return 0;
}

static void check_refused(const char *what, tc_status status, const struct tc_error *err,
                          const char *name)
{
    check(what, status == TC_REFUSED && strstr(err->message, name) != NULL,
          status == TC_OK ? "it was done" : err->message);
}

/* --- DescribeNSM: the worker does not ask for it, its decoder knows it --- */

static uint32_t describe(int fd)
{
    uint8_t answer[TC_NSM_RESPONSE_MAX];
    size_t size = sizeof answer;
    struct tc_error err = {0};
    struct tc_nsm_response response = {0};
    const struct tc_nsm_request request = {.op = TC_NSM_DESCRIBE_NSM};
    TC_AUTO_BUF struct tc_buf encoded = tc_buf_new(TC_NSM_REQUEST_MAX);
    tc_nsm_request_encode(&request, &encoded);
    int failed = exchange(fd, tc_buf_span(&encoded), answer, &size);
    tc_status status = failed ? tc_fail_errno(&err, TC_SYSTEM, -failed, "ioctl")
                              : tc_nsm_response_decode((struct tc_span){answer, size},
                                                       TC_NSM_DESCRIBE_NSM, &response, &err);
    check("DescribeNSM",
          status == TC_OK && response.error.size == 0 && response.max_pcrs == 32 &&
              response.module_id.size > 0,
          err.message);
    return response.locked_pcrs;
}

/* --- PCRs --- */

static bool extended(const struct tc_sha384 *before, struct tc_span data,
                     const struct tc_sha384 *after)
{
    struct tc_error err = {0};
    struct tc_sha384 expected;
    struct tc_hash *hash = tc_hash_new(TC_HASH_SHA384);
    tc_hash_add(hash, before->bytes, sizeof before->bytes);
    tc_hash_add(hash, data.data, data.size);
    tc_status status = tc_hash_finish(hash, expected.bytes, sizeof expected.bytes, &err);
    tc_hash_free(hash);
    return status == TC_OK && memcmp(expected.bytes, after->bytes, sizeof expected.bytes) == 0;
}

static void check_pcrs(struct tc_nsm *nsm)
{
    static const uint8_t large[3000] = {1, 2, 3};
    const struct tc_span pieces[] = {tc_span_of_text("one"), {large, sizeof large}};
    struct tc_error err = {0};
    struct tc_sha384 value = {{0}}, next;
    bool locked = false, zero = true, good = true;
    for (unsigned i = 0; i < 3; i++) {
        char hex[TC_SHA384_HEX];
        good = good && tc_nsm_describe_pcr(nsm, i, &value, &locked, &err) == TC_OK && locked;
        tc_hex((struct tc_span){value.bytes, sizeof value.bytes}, hex);
        (void)printf("guest: pcr%u %s\n", i, hex);
    }
    check("DescribePCR of measured ones, which are locked", good, err.message);

    good = tc_nsm_describe_pcr(nsm, 16, &value, &locked, &err) == TC_OK && !locked;
    for (size_t i = 0; i < sizeof value.bytes; i++)
        zero = zero && value.bytes[i] == 0;
    check("DescribePCR of a fresh one", good && zero, err.message);
    for (size_t i = 0; i < 2; i++) {
        good = tc_nsm_extend_pcr(nsm, 16, pieces[i], &next, &err) == TC_OK;
        check("ExtendPCR", good && extended(&value, pieces[i], &next), err.message);
        value = next;
    }
    check("LockPCR", tc_nsm_lock_pcr(nsm, 16, &err) == TC_OK, err.message);
    good = tc_nsm_describe_pcr(nsm, 16, &next, &locked, &err) == TC_OK && locked;
    check("a locked one keeps its value", good && memcmp(&next, &value, sizeof next) == 0,
          err.message);

    check_refused("ExtendPCR of a locked one", tc_nsm_extend_pcr(nsm, 16, pieces[0], &next, &err),
                  &err, "ReadOnlyIndex");
    check_refused("ExtendPCR of a measured one", tc_nsm_extend_pcr(nsm, 0, pieces[0], &next, &err),
                  &err, "ReadOnlyIndex");
    check_refused("LockPCR twice", tc_nsm_lock_pcr(nsm, 16, &err), &err, "ReadOnlyIndex");
    check_refused("DescribePCR beyond the last", tc_nsm_describe_pcr(nsm, 32, &next, &locked, &err),
                  &err, "InvalidIndex");
    check_refused("ExtendPCR beyond the last", tc_nsm_extend_pcr(nsm, 32, pieces[0], &next, &err),
                  &err, "InvalidIndex");
    check_refused("LockPCR beyond the last", tc_nsm_lock_pcr(nsm, 255, &err), &err, "InvalidIndex");
    /* More than 8 bits are no index at all for it. */
    check_refused("an index of 9 bits", tc_nsm_describe_pcr(nsm, 256, &next, &locked, &err), &err,
                  "InvalidOperation");
}

/* --- random bytes --- */

static void check_random(struct tc_nsm *nsm)
{
    uint8_t first[700] = {0}, second[700] = {0}; /* more than one answer holds */
    struct tc_error err = {0};
    bool good = tc_nsm_random(nsm, first, sizeof first, &err) == TC_OK &&
                tc_nsm_random(nsm, second, sizeof second, &err) == TC_OK;
    check("GetRandom",
          good && memcmp(first, second, sizeof first) != 0 && memcmp(first, first + 350, 350) != 0,
          err.message);
}

/* --- attestation --- */

static void check_document(struct tc_nsm *nsm, const char *what, struct tc_span user_data,
                           struct tc_span nonce, struct tc_span public_key)
{
    struct tc_error err = {0};
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(TC_NITRODOC_MAX);
    tc_status status = tc_nsm_attest(nsm, user_data, nonce, public_key, &buf, &err);
    check(what, status == TC_OK && buf.size > 0, err.message);
    if (status != TC_OK) return;
    /* Nobody signed it: that is what the reader has to say, and nothing else. */
    struct tc_nitrodoc document;
    status = tc_nitrodoc_decode(tc_buf_span(&buf), &document, &err);
    check("its document is known to be an emulator's",
          status == TC_REFUSED && strstr(err.message, "emulator") != NULL, err.message);
    /* The fields as they were given, wherever they lie. */
    const struct tc_span fields[] = {user_data, nonce, public_key};
    for (size_t i = 0; i < 3; i++)
        check("it holds what was given",
              fields[i].size == 0 ||
                  memmem(buf.data, buf.size, fields[i].data, fields[i].size) != NULL,
              "a field is missing");
}

static void check_attestation(struct tc_nsm *nsm)
{
    static uint8_t user_data[TC_NSM_USER_DATA_MAX], nonce[TC_NSM_NONCE_MAX],
        public_key[TC_NSM_PUBLIC_KEY_MAX];
    const struct tc_span none = {NULL, 0};
    memset(user_data, 'u', sizeof user_data);
    memset(nonce, 'n', sizeof nonce);
    memset(public_key, 'k', sizeof public_key);
    check_document(nsm, "Attestation", none, none, none);
    check_document(nsm, "Attestation with fields", tc_span_of_text("data"),
                   tc_span_of_text("nonce"), tc_span_of_text("key"));
    check_document(nsm, "Attestation with fields as large as they may be",
                   (struct tc_span){user_data, sizeof user_data},
                   (struct tc_span){nonce, sizeof nonce},
                   (struct tc_span){public_key, sizeof public_key});
}

/* --- requests that the client never makes --- */

static void check_foreign(int fd)
{
    static const uint8_t many[TC_NSM_REQUEST_MAX + 1];
    static const char *const unknown[] = {"\x66Unlock", "\xa1\x67LockPCR\xa0",
                                          "\xa1\x67LockPCR\xa1\x65index\x61\x30", "\x01"};
    uint8_t answer[TC_NSM_RESPONSE_MAX];
    struct tc_error err = {0};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        struct tc_nsm_response response = {0};
        size_t size = sizeof answer;
        int failed = exchange(fd, tc_span_of_text(unknown[i]), answer, &size);
        tc_status status = failed ? TC_SYSTEM
                                  : tc_nsm_response_decode((struct tc_span){answer, size},
                                                           TC_NSM_LOCK_PCR, &response, &err);
        check("a request that is none",
              status == TC_OK && tc_span_equal(response.error, tc_span_of_text("InvalidOperation")),
              err.message);
    }
    size_t size = sizeof answer;
    check("a request that is too large ends at the driver",
          exchange(fd, (struct tc_span){many, sizeof many}, answer, &size) == -EMSGSIZE,
          "it passed");
    /* Cut without a word: why the client's room is always the largest. */
    size = 20;
    int failed = exchange(fd, tc_span_of_text("\x69GetRandom"), answer, &size);
    struct tc_nsm_response response = {0};
    check("an answer into too little room is cut, and not read",
          failed == 0 && size == 20 &&
              tc_nsm_response_decode((struct tc_span){answer, size}, TC_NSM_GET_RANDOM, &response,
                                     &err) == TC_MALFORMED,
          err.message);
}

void check_nsm(void)
{
    struct tc_error err = {0};
    struct tc_nsm nsm;
    TC_AUTO_CLOSE int fd = open("/dev/nsm", O_RDWR | O_CLOEXEC);
    bool good = fd >= 0 && tc_nsm_open(fd, &nsm, &err) == TC_OK && nsm.is_device;
    check("the NSM is there", good, err.message);
    if (!good) return;
    uint32_t before = describe(fd);
    check_pcrs(&nsm);
    check("DescribeNSM names what was locked", describe(fd) == (before | 1U << 16), "another mask");
    check_random(&nsm);
    check_attestation(&nsm);
    check_foreign(fd);
}
