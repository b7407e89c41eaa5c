/* One session: a fresh chain root -> intermediate -> leaf, a bank of 32 PCRs,
 * and a loop of request and answer. Keys of intermediate and leaf live in this
 * process only and die with it; the root's key is dropped as soon as it has
 * signed the intermediate.
 *
 * The rules of the bank are the NSM's: 0 to 15 are locked from the start; a
 * locked register is neither extended nor locked again (ReadOnlyIndex); a
 * document carries the locked ones. The requests come from a worker that may be
 * under attack by the build, so they are read as strictly as anything else; a
 * request that breaks the format gets an error answer, as from the hardware. */
#include "host/devattest.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/cose.h"
#include "core/nsmproto.h"
#include "core/pcr.h"
#include "host/devroot.h"
#include "os/blocks.h"

enum {
    REQUESTS_MAX = 4096,
    RANDOM_SIZE = 256, /* what the hardware gives at once */
    LOCKED_AT_START = 0xffff,
    MEASURED_PCRS = 3,
    BEFORE = 5 * 60,
    LIFETIME = 3 * 3600,
    MODULE_ID_SIZE = 64,
};

struct attester {
    struct tc_sha384 pcrs[TC_NITRODOC_PCRS];
    uint32_t locked;
    char module_id[MODULE_ID_SIZE];
    EVP_PKEY *leaf_key;
    struct tc_buf root, intermediate, leaf; /* DER */
};

static void attester_done(struct attester *attester)
{
    tc_devcert_free_key(&attester->leaf_key);
    tc_buf_free(&attester->root);
    tc_buf_free(&attester->intermediate);
    tc_buf_free(&attester->leaf);
}

/* --- the chain --- */

static tc_status add_der(X509 *certificate, struct tc_buf *buf, struct tc_error *err)
{
    uint8_t *der = NULL;
    int size = i2d_X509(certificate, &der);
    if (size <= 0) {
        ERR_clear_error();
        return tc_fail(err, TC_SYSTEM, "a certificate could not be encoded");
    }
    tc_buf_add(buf, der, (size_t)size);
    OPENSSL_free(der);
    return tc_buf_check(buf, "a certificate", err);
}

static tc_status make_chain(struct attester *attester, const char *folder, struct tc_error *err)
{
    struct tc_devcert_issuer root TC_CLEANUP(tc_devroot_done) = {0};
    struct tc_devcert_issuer intermediate TC_CLEANUP(tc_devroot_done) = {0};
    X509 *leaf TC_CLEANUP(tc_devcert_free) = NULL;
    int64_t now = time(NULL);
    TC_TRY(tc_devroot_load(folder, &root, err));
    TC_TRY(tc_devcert_key(&intermediate.key, err));
    TC_TRY(tc_devcert_key(&attester->leaf_key, err));
    struct tc_devcert_spec spec = {
        .name = "tee-compile development intermediate - NOT A TEE",
        .key = intermediate.key,
        .issuer = &root,
        .from = now - BEFORE,
        .until = now + LIFETIME,
        .ca = true,
        .path_length = 0,
    };
    TC_TRY(tc_devcert_make(&spec, &intermediate.certificate, err));
    spec.name = "tee-compile development session - NOT A TEE";
    spec.key = attester->leaf_key;
    spec.issuer = &intermediate;
    spec.ca = false;
    TC_TRY(tc_devcert_make(&spec, &leaf, err));
    TC_TRY(add_der(root.certificate, &attester->root, err));
    TC_TRY(add_der(intermediate.certificate, &attester->intermediate, err));
    return add_der(leaf, &attester->leaf, err);
}

static tc_status start(struct attester *attester, const struct tc_devattest_config *config,
                       struct tc_error *err)
{
    uint8_t id[8];
    char id_text[2 * sizeof id + 1];
    if (RAND_bytes(id, sizeof id) != 1)
        return tc_fail(err, TC_SYSTEM, "the cryptographic library has no random bytes");
    tc_hex((struct tc_span){id, sizeof id}, id_text);
    (void)snprintf(attester->module_id, sizeof attester->module_id, "development-%s", id_text);
    for (size_t i = 0; i < MEASURED_PCRS; i++)
        attester->pcrs[i] = config->pcrs[i];
    if (config->pcr8) attester->pcrs[8] = *config->pcr8;
    attester->locked = LOCKED_AT_START;
    attester->root = tc_buf_new(TC_NITRODOC_CERT_MAX);
    attester->intermediate = tc_buf_new(TC_NITRODOC_CERT_MAX);
    attester->leaf = tc_buf_new(TC_NITRODOC_CERT_MAX);
    return make_chain(attester, config->folder, err);
}

/* --- requests; each answers through response, or names an error in it --- */

static void refuse(struct tc_nsm_response *response, const char *name)
{
    response->error = tc_span_of_text(name);
}

/* The register that the request names, or NULL when it may not be had. */
static struct tc_sha384 *find_pcr(struct attester *attester, const struct tc_nsm_request *request,
                                  bool to_change, struct tc_nsm_response *response)
{
    if (request->index >= TC_NITRODOC_PCRS) {
        refuse(response, "InvalidIndex");
        return NULL;
    }
    if (to_change && attester->locked >> request->index & 1) {
        refuse(response, "ReadOnlyIndex");
        return NULL;
    }
    return &attester->pcrs[request->index];
}

static void describe_pcr(struct attester *attester, const struct tc_nsm_request *request,
                         struct tc_nsm_response *response)
{
    const struct tc_sha384 *pcr = find_pcr(attester, request, false, response);
    if (!pcr) return;
    response->data = (struct tc_span){pcr->bytes, sizeof pcr->bytes};
    response->lock = attester->locked >> request->index & 1;
}

static tc_status extend_pcr(struct attester *attester, const struct tc_nsm_request *request,
                            struct tc_nsm_response *response, struct tc_error *err)
{
    struct tc_sha384 *pcr = find_pcr(attester, request, true, response);
    if (!pcr) return TC_OK;
    if (request->data.size == 0) {
        refuse(response, "InvalidArgument");
        return TC_OK;
    }
    TC_TRY(tc_pcr_extend(pcr, request->data, err));
    response->data = (struct tc_span){pcr->bytes, sizeof pcr->bytes};
    return TC_OK;
}

static void lock_pcr(struct attester *attester, const struct tc_nsm_request *request,
                     struct tc_nsm_response *response)
{
    if (!find_pcr(attester, request, true, response)) return;
    attester->locked |= UINT32_C(1) << request->index;
}

static void describe_nsm(const struct attester *attester, struct tc_nsm_response *response)
{
    response->module_id = tc_span_of_text(attester->module_id);
    response->max_pcrs = TC_NITRODOC_PCRS;
    response->locked_pcrs = attester->locked;
}

static uint64_t now_in_ms(void)
{
    struct timespec now = {0};
    /* CLOCK_REALTIME does not fail with a valid pointer. */
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static tc_status sign(const struct attester *attester, struct tc_nitrodoc *document,
                      struct tc_buf *buf, struct tc_error *err)
{
    document->certificate = tc_buf_span(&attester->leaf);
    document->cabundle[0] = tc_buf_span(&attester->root);
    document->cabundle[1] = tc_buf_span(&attester->intermediate);
    document->cabundle_count = 2;
    struct tc_buf payload TC_AUTO_BUF = tc_buf_new(TC_NITRODOC_PAYLOAD_MAX);
    tc_nitrodoc_encode_payload(document, &payload);
    TC_TRY(tc_buf_check(&payload, "the payload of a document", err));
    return tc_cose_sign1_create(tc_buf_span(&payload), attester->leaf_key, buf, err);
}

static tc_status attest(const struct attester *attester, const struct tc_nsm_request *request,
                        struct tc_buf *room, struct tc_nsm_response *response, struct tc_error *err)
{
    if (request->user_data.size > TC_NSM_USER_DATA_MAX || request->nonce.size > TC_NSM_NONCE_MAX ||
        request->public_key.size > TC_NSM_PUBLIC_KEY_MAX) {
        refuse(response, "InputTooLarge");
        return TC_OK;
    }
    struct tc_nitrodoc document = {
        .module_id = tc_span_of_text(attester->module_id),
        .timestamp = now_in_ms(),
        .pcr_present = attester->locked,
        .has_public_key = request->has_public_key,
        .has_user_data = request->has_user_data,
        .has_nonce = request->has_nonce,
        .public_key = request->public_key,
        .user_data = request->user_data,
        .nonce = request->nonce,
    };
    for (size_t i = 0; i < TC_NITRODOC_PCRS; i++)
        memcpy(document.pcr[i], attester->pcrs[i].bytes, TC_PCR_SIZE);
    TC_TRY(sign(attester, &document, room, err));
    response->data = tc_buf_span(room);
    return TC_OK;
}

static tc_status get_random(uint8_t random[RANDOM_SIZE], struct tc_nsm_response *response,
                            struct tc_error *err)
{
    if (RAND_bytes(random, RANDOM_SIZE) != 1)
        return tc_fail(err, TC_SYSTEM, "the cryptographic library has no random bytes");
    response->data = (struct tc_span){random, RANDOM_SIZE};
    return TC_OK;
}

/* Appends the answer to one request to buf. */
static tc_status answer(struct attester *attester, struct tc_span bytes, struct tc_buf *buf,
                        struct tc_error *err)
{
    uint8_t random[RANDOM_SIZE];
    struct tc_buf room TC_AUTO_BUF = tc_buf_new(TC_NITRODOC_MAX);
    struct tc_nsm_request request = {.op = TC_NSM_DESCRIBE_NSM};
    struct tc_nsm_response response = {.op = TC_NSM_DESCRIBE_NSM};
    struct tc_error ignored = {0};
    if (tc_nsm_request_decode(bytes, &request, &ignored) != TC_OK) {
        refuse(&response, "InvalidArgument");
    } else {
        response.op = request.op;
        switch (request.op) {
        case TC_NSM_DESCRIBE_PCR: describe_pcr(attester, &request, &response); break;
        case TC_NSM_EXTEND_PCR: TC_TRY(extend_pcr(attester, &request, &response, err)); break;
        case TC_NSM_LOCK_PCR: lock_pcr(attester, &request, &response); break;
        case TC_NSM_DESCRIBE_NSM: describe_nsm(attester, &response); break;
        case TC_NSM_ATTESTATION:
            TC_TRY(attest(attester, &request, &room, &response, err));
            break;
        case TC_NSM_GET_RANDOM: TC_TRY(get_random(random, &response, err)); break;
        }
    }
    tc_nsm_response_encode(&response, buf);
    return tc_buf_check(buf, "an answer of the development attester", err);
}

static tc_status serve(int fd, struct attester *attester, struct tc_error *err)
{
    static const char peer[] = "the worker";
    uint8_t request[TC_NSM_REQUEST_MAX];
    struct tc_buf response TC_AUTO_BUF = tc_buf_new(TC_NSM_RESPONSE_MAX);
    for (unsigned i = 0; i < REQUESTS_MAX; i++) {
        size_t size = 0;
        TC_TRY(tc_block_receive(fd, request, sizeof request, peer, &size, err));
        if (size == 0) return TC_OK;
        tc_buf_reset(&response);
        TC_TRY(answer(attester, (struct tc_span){request, size}, &response, err));
        tc_status sent = tc_block_send(fd, tc_buf_span(&response), peer, err);
        /* A worker that is gone says elsewhere why; to the attester it hung up. */
        if (sent == TC_PEER) *err = (struct tc_error){0};
        if (sent != TC_OK) return sent == TC_PEER ? TC_OK : sent;
    }
    return tc_fail(err, TC_LIMIT, "the worker asked the attester more than %d times", REQUESTS_MAX);
}

tc_status tc_devattest_serve(int fd, const struct tc_devattest_config *config, struct tc_error *err)
{
    struct attester attester TC_CLEANUP(attester_done) = {0};
    if (start(&attester, config, err) != TC_OK || serve(fd, &attester, err) != TC_OK)
        return tc_wrap(err, "development attester");
    return TC_OK;
}

static tc_status check_measured(const struct tc_devattest_config *config,
                                const struct tc_nitrodoc *document, struct tc_error *err)
{
    for (size_t i = 0; i < MEASURED_PCRS; i++) {
        char expected[TC_SHA384_HEX], seen[TC_SHA384_HEX];
        if (memcmp(document->pcr[i], config->pcrs[i].bytes, TC_PCR_SIZE) == 0) continue;
        tc_hex((struct tc_span){config->pcrs[i].bytes, TC_PCR_SIZE}, expected);
        tc_hex((struct tc_span){document->pcr[i], TC_PCR_SIZE}, seen);
        return tc_fail(err, TC_REFUSED, "PCR%zu of the image is %s, and the emulator measured %s",
                       i, expected, seen);
    }
    return TC_OK;
}

tc_status tc_devattest_sign(const struct tc_devattest_config *config, struct tc_span claims,
                            struct tc_buf *buf, struct tc_error *err)
{
    struct attester attester TC_CLEANUP(attester_done) = {0};
    struct tc_nitrodoc document = {0};
    if (tc_nitrodoc_decode_unsigned(claims, &document, err) != TC_OK ||
        check_measured(config, &document, err) != TC_OK || start(&attester, config, err) != TC_OK)
        return tc_wrap(err, "development attester");
    /* An emulator gives itself the name of an instance; whoever reads it would take it for one. */
    document.module_id = tc_span_of_text(attester.module_id);
    if (sign(&attester, &document, buf, err) != TC_OK) return tc_wrap(err, "development attester");
    return TC_OK;
}
