/* The Nitro Security Module's request and response CBOR, both directions: the
 * worker encodes requests and decodes responses, the development attester the
 * other way round. Shapes as in AWS's NSM API and lab-measured: bare text for
 * requests without arguments, one-entry maps otherwise, null for unset fields,
 * minimal integers; answers' keys in any order; {"Error": name}. */
#ifndef TC_CORE_NSMPROTO_H
#define TC_CORE_NSMPROTO_H

#include "core/nitrodoc.h"

enum {
    TC_NSM_REQUEST_MAX = 0x1000,
    TC_NSM_RESPONSE_MAX = 0x3000,
    TC_NSM_USER_DATA_MAX = 512,
    TC_NSM_NONCE_MAX = 512,
    TC_NSM_PUBLIC_KEY_MAX = 1024,
};

enum tc_nsm_op {
    TC_NSM_DESCRIBE_PCR = 1, /* index */
    TC_NSM_EXTEND_PCR = 2,   /* index, data */
    TC_NSM_LOCK_PCR = 3,     /* index */
    TC_NSM_DESCRIBE_NSM = 4,
    TC_NSM_ATTESTATION = 5, /* user_data, nonce, public_key, each optional */
    TC_NSM_GET_RANDOM = 6,
};

struct tc_nsm_request {
    enum tc_nsm_op op;
    uint64_t index;
    struct tc_span data; /* ExtendPCR */
    bool has_user_data, has_nonce, has_public_key;
    struct tc_span user_data, nonce, public_key;
};

struct tc_nsm_response {
    enum tc_nsm_op op;
    struct tc_span error;  /* "InvalidArgument", ...; not empty means failure */
    bool lock;             /* DescribePCR */
    struct tc_span data;   /* the PCR, the random bytes or the document */
    struct tc_span module_id; /* DescribeNSM, as the next two */
    uint64_t max_pcrs;
    uint32_t locked_pcrs; /* bit mask */
};

void tc_nsm_request_encode(const struct tc_nsm_request *request, struct tc_buf *buf);
tc_status tc_nsm_request_decode(struct tc_span bytes, struct tc_nsm_request *ret_request,
                                struct tc_error *err) TC_MUST_USE;
void tc_nsm_response_encode(const struct tc_nsm_response *response, struct tc_buf *buf);
/* expected: the op that was asked; another answer is TC_MALFORMED. An error
 * answer decodes to TC_OK with ret_response->error set. */
tc_status tc_nsm_response_decode(struct tc_span bytes, enum tc_nsm_op expected,
                                 struct tc_nsm_response *ret_response, struct tc_error *err)
    TC_MUST_USE;

#endif
