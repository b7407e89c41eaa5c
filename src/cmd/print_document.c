#include "cmd/print_document.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/x509text.h"

/* Fields of 1024 bytes in hex, eight certificates, 32 PCRs: far below. */
enum { JSON_MAX = 1 << 18 };

static bool is_text(struct tc_span bytes)
{
    if (bytes.size == 0 || !tc_is_utf8(bytes)) return false;
    for (size_t i = 0; i < bytes.size; i++)
        if (bytes.data[i] < 0x20 || bytes.data[i] == 0x7f) return false;
    return true;
}

static bool is_zero(const uint8_t pcr[TC_PCR_SIZE])
{
    static const uint8_t zero[TC_PCR_SIZE];
    return memcmp(pcr, zero, TC_PCR_SIZE) == 0;
}

/* --- text --- */

static void print_bytes(FILE *stream, const char *label, bool present, struct tc_span bytes)
{
    char hex[2 * TC_NITRODOC_FIELD_MAX + 1], shown[4 * TC_NITRODOC_FIELD_MAX + 1];
    if (!present || bytes.size == 0) {
        tc_print_field(stream, label, present ? "empty" : "none");
        return;
    }
    tc_hex(bytes, hex);
    (void)fprintf(stream, "  %-12s %s\n", label, hex);
    if (is_text(bytes))
        (void)fprintf(stream, "  %-12s \"%s\"\n", "", tc_printable(bytes, shown, sizeof shown));
}

/* The zero ones (PCRs that nothing was measured into) take one line together. */
static void print_pcrs(FILE *stream, const struct tc_nitrodoc *document)
{
    char zero[160] = "", hex[TC_SHA384_HEX], label[8];
    size_t used = 0;
    for (unsigned i = 0; i < TC_NITRODOC_PCRS; i++) {
        if (!(document->pcr_present >> i & 1)) continue;
        if (is_zero(document->pcr[i])) {
            int size = snprintf(zero + used, sizeof zero - used, "%s%u", used > 0 ? " " : "", i);
            if (size > 0 && (size_t)size < sizeof zero - used) used += (size_t)size;
            continue;
        }
        (void)snprintf(label, sizeof label, "PCR%u", i);
        tc_hex((struct tc_span){document->pcr[i], TC_PCR_SIZE}, hex);
        tc_print_field(stream, label, hex);
    }
    if (used > 0) (void)fprintf(stream, "  %-12s PCR %s\n", "all zero", zero);
}

static void print_certificate(FILE *stream, size_t number, size_t count, struct tc_span der)
{
    struct tc_x509text text;
    struct tc_error err = {0};
    const char *role = number == 1 ? "root" : number == count ? "leaf" : "";
    (void)fprintf(stream, "certificate %zu of %zu%s%s\n", number, count, *role ? ", " : "", role);
    if (tc_x509text_read(der, &text, &err) != TC_OK) {
        tc_print_field(stream, "unreadable", err.message);
        return;
    }
    char from[TC_TIME_TEXT_SIZE], until[TC_TIME_TEXT_SIZE], hex[TC_SHA256_HEX];
    tc_format_time(text.from, from);
    tc_format_time(text.until, until);
    tc_hex((struct tc_span){text.fingerprint.bytes, sizeof text.fingerprint.bytes}, hex);
    /* The names are printable already; escaping them again would double backslashes. */
    (void)fprintf(stream, "  %-12s %s\n  %-12s %s\n  %-12s %s to %s\n  %-12s %s\n", "subject",
                  text.subject, "serial", text.serial, "valid", from, until, "sha256", hex);
}

tc_status tc_print_document(FILE *stream, const struct tc_attestation *read, const char *notice,
                            struct tc_error *err)
{
    const struct tc_nitrodoc *document = &read->document;
    char stamp[TC_TIME_TEXT_SIZE], module[4 * TC_NITRODOC_MODULE_MAX + 1];
    tc_format_time((int64_t)(document->timestamp / 1000), stamp);
    (void)fprintf(stream, "%s\n", notice);
    tc_print_field(stream, "form", tc_armor_name(read->form));
    (void)fprintf(stream, "  %-12s %s\n", "module",
                  tc_printable(document->module_id, module, sizeof module));
    tc_print_field(stream, "signed", stamp);
    tc_print_field(stream, "debug", tc_nitrodoc_is_debug(document)
                                        ? "yes: PCR0 is all zero, its host can read its memory"
                                        : "no");
    print_pcrs(stream, document);
    print_bytes(stream, "public_key", document->has_public_key, document->public_key);
    print_bytes(stream, "user_data", document->has_user_data, document->user_data);
    print_bytes(stream, "nonce", document->has_nonce, document->nonce);
    size_t count = document->cabundle_count + 1;
    for (size_t i = 0; i < count; i++)
        print_certificate(stream, i + 1, count,
                          i + 1 < count ? document->cabundle[i] : document->certificate);
    return tc_print_flush(stream, err);
}

tc_status tc_print_document_verdict(FILE *stream, const struct tc_verdict *verdict,
                                    const char *name, struct tc_error *err)
{
    tc_print_headline(stream, verdict, "", name);
    bool good =
        verdict->kind == TC_VERDICT_AUTHENTIC || verdict->kind == TC_VERDICT_DEVELOPMENT;
    if (good) {
        char stamp[TC_TIME_TEXT_SIZE];
        tc_format_time((int64_t)(verdict->signed_at / 1000), stamp);
        tc_print_field(stream, "signed", stamp);
    }
    tc_print_checks(stream, verdict);
    return tc_print_flush(stream, err);
}

/* --- JSON --- */

static void write_bytes(struct tc_jsonw *w, const char *key, bool present, struct tc_span bytes)
{
    if (present)
        tc_jsonw_hex(w, key, bytes.data, bytes.size);
    else
        tc_jsonw_null(w, key);
}

static void write_certificate(struct tc_jsonw *w, struct tc_span der)
{
    struct tc_x509text text;
    struct tc_error err = {0};
    tc_jsonw_object(w, NULL);
    if (tc_x509text_read(der, &text, &err) == TC_OK) {
        char from[TC_TIME_TEXT_SIZE], until[TC_TIME_TEXT_SIZE];
        tc_format_time(text.from, from);
        tc_format_time(text.until, until);
        tc_jsonw_text(w, "subject", text.subject);
        tc_jsonw_text(w, "issuer", text.issuer);
        tc_jsonw_text(w, "serial", text.serial);
        tc_jsonw_text(w, "not_before", from);
        tc_jsonw_text(w, "not_after", until);
        tc_jsonw_hex(w, "sha256", text.fingerprint.bytes, sizeof text.fingerprint.bytes);
    } else {
        tc_jsonw_text(w, "unreadable", err.message);
    }
    tc_jsonw_end_object(w);
}

static void write_document(struct tc_jsonw *w, const struct tc_attestation *read)
{
    const struct tc_nitrodoc *document = &read->document;
    char stamp[TC_TIME_TEXT_SIZE], module[4 * TC_NITRODOC_MODULE_MAX + 1];
    tc_format_time((int64_t)(document->timestamp / 1000), stamp);
    tc_jsonw_object(w, "document");
    tc_jsonw_text(w, "form", tc_armor_name(read->form));
    tc_jsonw_text(w, "module_id", tc_printable(document->module_id, module, sizeof module));
    tc_jsonw_text(w, "digest", "SHA384");
    tc_jsonw_u64(w, "timestamp_ms", document->timestamp);
    tc_jsonw_text(w, "signed_at", stamp);
    tc_jsonw_bool(w, "debug", tc_nitrodoc_is_debug(document));
    tc_jsonw_object(w, "pcrs");
    for (unsigned i = 0; i < TC_NITRODOC_PCRS; i++) {
        char index[4];
        (void)snprintf(index, sizeof index, "%u", i);
        if (document->pcr_present >> i & 1)
            tc_jsonw_hex(w, index, document->pcr[i], TC_PCR_SIZE);
    }
    tc_jsonw_end_object(w);
    write_bytes(w, "public_key", document->has_public_key, document->public_key);
    write_bytes(w, "user_data", document->has_user_data, document->user_data);
    write_bytes(w, "nonce", document->has_nonce, document->nonce);
    tc_jsonw_array(w, "certificates"); /* root first, the leaf last */
    for (size_t i = 0; i < document->cabundle_count; i++)
        write_certificate(w, document->cabundle[i]);
    write_certificate(w, document->certificate);
    tc_jsonw_end_array(w);
    tc_jsonw_end_object(w);
}

tc_status tc_print_document_json(FILE *stream, const struct tc_attestation *read,
                                 const struct tc_verdict *verdict, const char *notice,
                                 struct tc_error *err)
{
    static const struct tc_verdict none = {.kind = TC_VERDICT_UNDECIDED};
    const struct tc_verdict *shown = verdict ? verdict : &none;
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(JSON_MAX);
    struct tc_jsonw w = tc_jsonw_new(&buf);
    tc_jsonw_object(&w, NULL);
    tc_jsonw_text(&w, "verdict", tc_verdict_name(shown->kind));
    if (notice) tc_jsonw_text(&w, "notice", notice);
    if (verdict) tc_jsonw_bool(&w, "hardware", verdict->hardware);
    if (shown->reason[0]) tc_jsonw_text(&w, "reason", shown->reason);
    tc_print_write_checks(&w, shown);
    if (read->document.timestamp > 0) write_document(&w, read);
    tc_jsonw_end_object(&w);
    TC_TRY(tc_buf_check(&buf, "the verdict", err));
    return tc_print_buf(stream, &buf, err);
}
