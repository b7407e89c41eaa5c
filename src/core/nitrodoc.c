/* A Nitro document is COSE_Sign1 over a CBOR map of nine fields, signed by a
 * leaf certificate that the document itself carries together with its chain.
 *
 * decode reads every field by a table (name, reader); whatever is not in the
 * table is refused, and so is a field twice. authenticate trusts nothing that
 * decode returned: it walks the chain from the pinned root to the leaf and then
 * verifies the signature with the leaf's key over the payload bytes as received.
 *
 * Stricter than AWS's text, on purpose: PCRs of 48 bytes only (the text allows
 * 32 and 64 too, which contradict SHA384), PCR0, 1 and 2 always there, no fields
 * but the nine, no integers but shortest ones. All known real documents pass. */
#include "core/nitrodoc.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/cbor.h"
#include "core/cose.h"
#include "core/x509chain.h"

enum {
    MS_PER_SECOND = 1000,
    PCR_REQUIRED = 0x7,
    /* More than there are fields, so that a message names the key too many. */
    PAYLOAD_ENTRIES_MAX = 16,
};
/* The end of the year 9999: keeps times printable. */
static const uint64_t timestamp_max = UINT64_C(253402300799) * MS_PER_SECOND;

enum field {
    MODULE_ID,
    DIGEST,
    TIMESTAMP,
    PCRS,
    CERTIFICATE,
    CABUNDLE,
    PUBLIC_KEY,
    USER_DATA,
    NONCE,
    FIELDS,
};
/* Readers of NitroTPM documents, which chain to the same root, find
 * nitrotpm_pcrs there: an unknown key, hence refused. */
static const char *const field_names[FIELDS + 1] = {
    "module_id", "digest",     "timestamp", "pcrs",  "certificate",
    "cabundle",  "public_key", "user_data", "nonce", NULL,
};
enum { FIELDS_REQUIRED = (1 << PUBLIC_KEY) - 1 };

static tc_status read_digest(struct tc_cursor *cursor, struct tc_error *err)
{
    struct tc_span digest = {NULL, 0};
    TC_TRY(tc_cbor_text(cursor, "digest", sizeof "SHA384" - 1, &digest, err));
    if (!tc_span_equal(digest, tc_span_of_text("SHA384")))
        return tc_fail(err, TC_MALFORMED, "digest: expected SHA384");
    return TC_OK;
}

static tc_status read_module_id(struct tc_cursor *cursor, struct tc_span *ret_module_id,
                                struct tc_error *err)
{
    struct tc_span module_id = {NULL, 0};
    TC_TRY(tc_cbor_text(cursor, "module_id", TC_NITRODOC_MODULE_MAX, &module_id, err));
    if (module_id.size == 0) return tc_fail(err, TC_MALFORMED, "module_id: empty");
    *ret_module_id = module_id;
    return TC_OK;
}

static tc_status read_timestamp(struct tc_cursor *cursor, uint64_t *ret_timestamp,
                                struct tc_error *err)
{
    uint64_t timestamp = 0;
    TC_TRY(tc_cbor_unsigned(cursor, "timestamp", timestamp_max, &timestamp, err));
    if (timestamp == 0) return tc_fail(err, TC_MALFORMED, "timestamp: zero");
    *ret_timestamp = timestamp;
    return TC_OK;
}

static tc_status read_pcrs(struct tc_cursor *cursor, struct tc_nitrodoc *document,
                           struct tc_error *err)
{
    struct tc_cbor_map map = {0};
    TC_TRY(tc_cbor_map(cursor, "pcrs", TC_NITRODOC_PCRS, TC_CBOR_DEFINITE, &map, err));
    for (;;) {
        bool more = false;
        uint64_t index = 0;
        struct tc_span value = {NULL, 0};
        TC_TRY(tc_cbor_map_next(cursor, &map, &more, err));
        if (!more) break;
        TC_TRY(tc_cbor_unsigned(cursor, "PCR index", TC_NITRODOC_PCRS - 1, &index, err));
        char name[8];
        (void)snprintf(name, sizeof name, "PCR%u", (unsigned)(index % TC_NITRODOC_PCRS));
        TC_TRY(tc_cbor_bytes(cursor, name, TC_PCR_SIZE, &value, err));
        if (value.size != TC_PCR_SIZE)
            return tc_fail(err, TC_MALFORMED, "%s: %zu bytes; SHA384 has %d", name, value.size,
                           TC_PCR_SIZE);
        uint32_t bit = UINT32_C(1) << index;
        if (document->pcr_present & bit)
            return tc_fail(err, TC_MALFORMED, "%s is there twice", name);
        document->pcr_present |= bit;
        memcpy(document->pcr[index], value.data, TC_PCR_SIZE);
    }
    if ((document->pcr_present & PCR_REQUIRED) != PCR_REQUIRED)
        return tc_fail(err, TC_MALFORMED, "pcrs: PCR0, PCR1 and PCR2 must all be there");
    return TC_OK;
}

static tc_status read_certificate(struct tc_cursor *cursor, const char *what,
                                  struct tc_span *ret_certificate, struct tc_error *err)
{
    struct tc_span certificate = {NULL, 0};
    TC_TRY(tc_cbor_bytes(cursor, what, TC_NITRODOC_CERT_MAX, &certificate, err));
    if (certificate.size == 0) return tc_fail(err, TC_MALFORMED, "%s: empty", what);
    *ret_certificate = certificate;
    return TC_OK;
}

static tc_status read_cabundle(struct tc_cursor *cursor, struct tc_nitrodoc *document,
                               struct tc_error *err)
{
    size_t count = 0;
    TC_TRY(tc_cbor_array(cursor, "cabundle", TC_NITRODOC_CHAIN_MAX, &count, err));
    if (count == 0) return tc_fail(err, TC_MALFORMED, "cabundle: no certificate");
    for (size_t i = 0; i < count; i++)
        TC_TRY(read_certificate(cursor, "cabundle", &document->cabundle[i], err));
    document->cabundle_count = count;
    return TC_OK;
}

static tc_status read_field(struct tc_cursor *cursor, enum field field,
                            struct tc_nitrodoc *document, struct tc_error *err)
{
    struct optional {
        bool *present;
        struct tc_span *span;
    } optional = {0};
    switch (field) {
    case MODULE_ID: return read_module_id(cursor, &document->module_id, err);
    case DIGEST: return read_digest(cursor, err);
    case TIMESTAMP: return read_timestamp(cursor, &document->timestamp, err);
    case PCRS: return read_pcrs(cursor, document, err);
    case CERTIFICATE:
        return read_certificate(cursor, "certificate", &document->certificate, err);
    case CABUNDLE: return read_cabundle(cursor, document, err);
    case PUBLIC_KEY:
        optional = (struct optional){&document->has_public_key, &document->public_key};
        break;
    case USER_DATA:
        optional = (struct optional){&document->has_user_data, &document->user_data};
        break;
    case NONCE: optional = (struct optional){&document->has_nonce, &document->nonce}; break;
    case FIELDS: return tc_fail(err, TC_MALFORMED, "payload: unknown field");
    }
    return tc_cbor_bytes_or_null(cursor, field_names[field], TC_NITRODOC_FIELD_MAX,
                                 optional.present, optional.span, err);
}

static tc_status read_payload(struct tc_span payload, struct tc_nitrodoc *document,
                              struct tc_error *err)
{
    struct tc_cursor cursor = tc_cursor_of(payload);
    struct tc_cbor_map map = {0};
    uint32_t seen = 0;
    /* The NSM's firmware has written an indefinite map here since 2025. */
    TC_TRY(tc_cbor_map(&cursor, "payload", PAYLOAD_ENTRIES_MAX, TC_CBOR_MAY_BE_INDEFINITE, &map,
                       err));
    for (;;) {
        bool more = false;
        size_t field = FIELDS;
        TC_TRY(tc_cbor_map_next(&cursor, &map, &more, err));
        if (!more) break;
        TC_TRY(tc_cbor_key(&cursor, "payload", field_names, &seen, &field, err));
        TC_TRY(read_field(&cursor, (enum field)field, document, err));
    }
    TC_TRY(tc_cbor_end(&cursor, "payload", err));
    for (size_t i = 0; i < FIELDS; i++)
        if (FIELDS_REQUIRED >> i & ~(seen >> i) & 1)
            return tc_fail(err, TC_MALFORMED, "payload: %s is missing", field_names[i]);
    return TC_OK;
}

tc_status tc_nitrodoc_decode(struct tc_span bytes, struct tc_nitrodoc *ret_document,
                             struct tc_error *err)
{
    struct tc_nitrodoc document = {0};
    struct tc_cose_sign1 sign1 = {0};
    if (bytes.size > TC_NITRODOC_MAX)
        return tc_fail(err, TC_MALFORMED,
                       "attestation document: %zu bytes; at most %d are accepted", bytes.size,
                       TC_NITRODOC_MAX);
    if (tc_cose_sign1_decode(bytes, TC_NITRODOC_PAYLOAD_MAX, &sign1, err) != TC_OK ||
        read_payload(sign1.payload, &document, err) != TC_OK)
        return tc_wrap(err, "attestation document");
    document.protected_header = sign1.protected_header;
    document.payload = sign1.payload;
    document.signature = sign1.signature;
    *ret_document = document;
    return TC_OK;
}

tc_status tc_nitrodoc_decode_unsigned(struct tc_span bytes, struct tc_nitrodoc *ret_document,
                                      struct tc_error *err)
{
    struct tc_nitrodoc document = {0};
    struct tc_span payload;
    if (tc_cose_sign1_decode_unsigned(bytes, TC_NITRODOC_PAYLOAD_MAX, &payload, err) != TC_OK ||
        read_payload(payload, &document, err) != TC_OK)
        return tc_wrap(err, "an emulator's attestation document");
    *ret_document = document;
    return TC_OK;
}

static void free_key(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

/* Which times the chain was judged at: one of them may be what is wrong. */
static tc_status wrap_times(struct tc_error *err, int64_t signed_at, int64_t at)
{
    char signed_text[TC_TIME_TEXT_SIZE], at_text[TC_TIME_TEXT_SIZE];
    tc_format_time(signed_at, signed_text);
    tc_format_time(at, at_text);
    return tc_wrap(err, "attestation document: certificates, at the signed time %s%s%s",
                   signed_text, at == signed_at ? "" : " and at ",
                   at == signed_at ? "" : at_text);
}

tc_status tc_nitrodoc_authenticate(const struct tc_nitrodoc *document, struct tc_span root,
                                   int64_t at, struct tc_error *err)
{
    const struct tc_x509chain chain = {
        .root = root,
        .bundle = document->cabundle,
        .bundle_count = document->cabundle_count,
        .leaf = document->certificate,
    };
    const struct tc_cose_sign1 sign1 = {
        .protected_header = document->protected_header,
        .payload = document->payload,
        .signature = document->signature,
    };
    /* A document signed outside its own certificates' windows is wrong whenever
     * it is judged, so both moments, and with them all between, must be inside. */
    int64_t signed_at = (int64_t)(document->timestamp / MS_PER_SECOND);
    EVP_PKEY *key TC_CLEANUP(free_key) = NULL;
    if (tc_x509chain_verify(&chain, at < signed_at ? at : signed_at,
                            at > signed_at ? at : signed_at, &key, err) != TC_OK)
        return wrap_times(err, signed_at, at);
    if (tc_cose_sign1_verify(&sign1, key, err) != TC_OK)
        return tc_wrap(err, "attestation document");
    return TC_OK;
}

bool tc_nitrodoc_is_debug(const struct tc_nitrodoc *document)
{
    uint8_t any = 0;
    for (size_t i = 0; i < TC_PCR_SIZE; i++)
        any |= document->pcr[0][i];
    return any == 0;
}

static void add_optional(struct tc_buf *buf, enum field field, bool present, struct tc_span span)
{
    tc_cbor_add_name(buf, field_names[field]);
    if (present)
        tc_cbor_add_bytes(buf, span);
    else
        tc_cbor_add_null(buf);
}

void tc_nitrodoc_encode_payload(const struct tc_nitrodoc *document, struct tc_buf *buf)
{
    tc_cbor_add_map(buf, FIELDS);
    tc_cbor_add_name(buf, field_names[MODULE_ID]);
    tc_cbor_add_text(buf, document->module_id);
    tc_cbor_add_name(buf, field_names[DIGEST]);
    tc_cbor_add_name(buf, "SHA384");
    tc_cbor_add_name(buf, field_names[TIMESTAMP]);
    tc_cbor_add_unsigned(buf, document->timestamp);
    tc_cbor_add_name(buf, field_names[PCRS]);
    tc_cbor_add_map(buf, (size_t)__builtin_popcount(document->pcr_present));
    for (unsigned i = 0; i < TC_NITRODOC_PCRS; i++) {
        if (!(document->pcr_present >> i & 1)) continue;
        tc_cbor_add_unsigned(buf, i);
        tc_cbor_add_bytes(buf, (struct tc_span){document->pcr[i], TC_PCR_SIZE});
    }
    tc_cbor_add_name(buf, field_names[CERTIFICATE]);
    tc_cbor_add_bytes(buf, document->certificate);
    tc_cbor_add_name(buf, field_names[CABUNDLE]);
    tc_cbor_add_array(buf, document->cabundle_count);
    for (size_t i = 0; i < document->cabundle_count; i++)
        tc_cbor_add_bytes(buf, document->cabundle[i]);
    add_optional(buf, PUBLIC_KEY, document->has_public_key, document->public_key);
    add_optional(buf, USER_DATA, document->has_user_data, document->user_data);
    add_optional(buf, NONCE, document->has_nonce, document->nonce);
}
