#include "cmd/image_show.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/x509.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cmd/print.h"
#include "core/jsonw.h"

enum {
    CHECKS_MAX = 4,
    WARNINGS_MAX = 6,
    NAME_MAX_SHOWN = 512,
    JSON_MAX = 8 << 20, /* metadata of 1 MiB, six characters for one at the most */
};

struct check {
    const char *name, *result; /* "pass", "fail", "not-asked" */
    const char *expected;
    char seen[TC_ERROR_MAX];
};

/* Everything that is said of an image, before it is printed in one form or another. */
struct view {
    struct check checks[CHECKS_MAX];
    size_t checks_count;
    char warnings[WARNINGS_MAX][TC_ERROR_MAX];
    size_t warnings_count;
    bool have_pcr8;
    struct tc_sha384 pcr8;
    bool pcr8_is_wished; /* of --cert, not of the image */
    bool good;
    bool have_certificate;
    char subject[NAME_MAX_SHOWN], issuer[NAME_MAX_SHOWN];
    struct tc_sha256 fingerprint;
};

static void bio_free(BIO **bio)
{
    BIO_free(*bio);
}

static void x509_free(X509 **certificate)
{
    X509_free(*certificate);
}

static void add_check(struct view *view, const char *name, const char *result, const char *expected,
                      const char *seen)
{
    struct check *check = &view->checks[view->checks_count++];
    check->name = name;
    check->result = result;
    check->expected = expected;
    (void)snprintf(check->seen, sizeof check->seen, "%s", seen);
    if (strcmp(result, "fail") == 0) view->good = false;
}

static void add_warning(struct view *view, const char *text)
{
    (void)snprintf(view->warnings[view->warnings_count++], sizeof *view->warnings, "%s", text);
}

static void name_of(const X509_NAME *name, char out[NAME_MAX_SHOWN])
{
    char *bytes = NULL;
    BIO *memory TC_CLEANUP(bio_free) = BIO_new(BIO_s_mem());
    out[0] = '\0';
    /* UTF-8 as it is; what does not belong on a terminal is escaped below. */
    const unsigned long flags = XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB;
    if (!memory || X509_NAME_print_ex(memory, name, 0, flags) < 0) return;
    long size = BIO_get_mem_data(memory, &bytes);
    if (size > 0)
        (void)tc_printable((struct tc_span){(const uint8_t *)bytes, (size_t)size}, out,
                           NAME_MAX_SHOWN);
}

static tc_status view_certificate(struct view *view, const struct tc_eifsig *signature,
                                  struct tc_error *err)
{
    struct tc_span der = tc_buf_span(&signature->certificate);
    const uint8_t *next = der.data;
    X509 *certificate TC_CLEANUP(x509_free) = d2i_X509(NULL, &next, (long)der.size);
    if (!certificate) return tc_fail(err, TC_SYSTEM, "out of memory for a certificate");
    name_of(X509_get_subject_name(certificate), view->subject);
    name_of(X509_get_issuer_name(certificate), view->issuer);
    view->have_certificate = true;
    return tc_sha256_of(der, &view->fingerprint, err);
}

static void check_wished(struct view *view, const struct tc_image_show *show,
                         const struct tc_image_facts *facts, const struct tc_sha384 *wished)
{
    static const char expected[] = "the image is signed with the certificate of --cert";
    if (!facts->is_signed) {
        add_check(view, "certificate", "not-asked", expected,
                  "the image is not signed: PCR8 is what it would have with that certificate");
        view->have_pcr8 = view->pcr8_is_wished = true;
        view->pcr8 = *wished;
        return;
    }
    bool same = facts->signature_is_read &&
                tc_span_equal(tc_buf_span(&facts->signature.certificate), show->certificate);
    add_check(view, "certificate", same ? "pass" : "fail", expected,
              same ? "that certificate" : "another certificate, or none that can be read");
}

/* The metadata is a hint that anybody can write: what is measured stands beside it. */
static void warn_of_text(struct view *view, const struct tc_imagefile_says *says,
                         const struct tc_image_facts *facts)
{
    char recipe[TC_SHA256_HEX];
    struct tc_span metadata = tc_buf_span(&facts->metadata);
    tc_hex((struct tc_span){says->content.text.recipe.bytes, TC_SHA256_SIZE}, recipe);
    if (!says->fits) add_warning(view, says->misfit.message);
    if (memmem(metadata.data, metadata.size, "\"Recipe\"", 8) &&
        !memmem(metadata.data, metadata.size, recipe, strlen(recipe)))
        add_warning(view, "the metadata names another recipe than the measured text: it is not "
                          "measured, believe the text");
}

static void warn(struct view *view, const struct tc_image_show *show,
                 const struct tc_image_facts *facts)
{
    if (facts->warnings & TC_EIF_WARNING_UNALIGNED)
        add_warning(view, "an uncompressed ramdisk does not start at a multiple of 4 bytes: Linux "
                          "leaves it out without a word");
    if (show->says && show->says->own) warn_of_text(view, show->says, facts);
    if (!facts->signature_is_read) return;
    if (show->now < facts->signature.not_before)
        add_warning(view, "the signing certificate is not valid yet: the image does not start");
    if (show->now > facts->signature.not_after)
        add_warning(view, "the signing certificate has expired: the image does not start any more");
}

static tc_status make_view(const struct tc_image_show *show, const struct tc_image_facts *facts,
                           struct view *view, struct tc_error *err)
{
    *view = (struct view){.good = true};
    add_check(view, "format", "pass", "an enclave image of version 4, without gaps or leftovers",
              "one");
    add_check(view, "crc", facts->crc_is_good ? "pass" : "fail",
              "the CRC-32 in the header is that of the file",
              facts->crc_is_good ? "it is" : facts->crc_problem);
    add_check(view, "signature",
              !facts->is_signed          ? "not-asked"
              : facts->signature_is_good ? "pass"
                                         : "fail",
              "a signature of this image's PCR0 by the certificate in it",
              !facts->is_signed          ? "the image is not signed"
              : facts->signature_is_good ? "one"
                                         : facts->signature_problem);
    if (facts->signature_is_read) {
        view->have_pcr8 = true;
        view->pcr8 = facts->signature.pcr8;
        TC_TRY(view_certificate(view, &facts->signature, err));
    }
    if (show->certificate.size > 0) {
        struct tc_sha384 wished;
        TC_TRY(tc_eifsig_pcr8(show->certificate, &wished, err));
        check_wished(view, show, facts, &wished);
    }
    warn(view, show, facts);
    return TC_OK;
}

static void print_foreign(FILE *stream, const char *label, struct tc_span text)
{
    size_t room = 4 * text.size + 1;
    char *shown = malloc(room);
    if (shown) (void)fprintf(stream, "  %-12s %s\n", label, tc_printable(text, shown, room));
    free(shown);
}

/* Nothing measures it, and some have a list of packages in it. */
static void print_metadata(FILE *stream, struct tc_span metadata)
{
    enum { SHOWN = 400 };
    size_t size = metadata.size;
    if (size > SHOWN) metadata.size = SHOWN;
    print_foreign(stream, "not measured", metadata);
    if (size > SHOWN)
        (void)fprintf(stream, "  %-12s ... (%zu bytes of metadata: --json has all)\n", "", size);
}

static void print_time(FILE *stream, const char *label, int64_t seconds)
{
    char stamp[TC_TIME_TEXT_SIZE];
    tc_format_time(seconds, stamp);
    tc_print_field(stream, label, stamp);
}

/* What the measured text says. */
static void print_text(FILE *stream, const struct tc_image_text *text)
{
    tc_print_field(stream, "image", text->name);
    tc_print_field_hex(stream, "recipe", text->recipe.bytes, TC_SHA256_SIZE);
    char line[64];
    (void)snprintf(line, sizeof line, "%zu (--json names them)", text->packages_count);
    tc_print_field(stream, "packages", line);
}

static void print_everything(FILE *stream, const struct tc_image_show *show,
                             const struct tc_image_facts *facts, const struct view *view)
{
    const struct tc_eif_header *header = &facts->header;
    char text[160], human[16];
    (void)snprintf(text, sizeof text, "%llu (%s)", (unsigned long long)header->file_size,
                   tc_human_size(header->file_size, human));
    tc_print_field(stream, "size", text);
    (void)snprintf(text, sizeof text, "%08x", (unsigned)header->crc);
    tc_print_field(stream, "CRC-32", text);
    (void)snprintf(text, sizeof text, "memory %s, %llu CPUs",
                   tc_human_size(header->default_memory, human),
                   (unsigned long long)header->default_cpus);
    tc_print_field(stream, "defaults", text);
    (void)fprintf(stream, "  %-12s %14s %14s  %s\n", "section", "offset", "bytes", "sha256");
    for (size_t i = 0; i < facts->sections_count; i++) {
        const struct tc_image_section *section = &facts->sections[i];
        char hex[TC_SHA256_HEX];
        tc_hex((struct tc_span){section->digest.bytes, TC_SHA256_SIZE}, hex);
        (void)fprintf(stream, "  %-12s %14llu %14llu  %s\n", tc_eif_kind_name(section->place.kind),
                      (unsigned long long)section->place.offset,
                      (unsigned long long)section->place.size, hex);
    }
    print_foreign(stream, "command line", tc_buf_span(&facts->cmdline));
    if (show->says && show->says->own) print_text(stream, &show->says->content.text);
    print_metadata(stream, tc_buf_span(&facts->metadata));
    if (!view->have_certificate) return;
    tc_print_field(stream, "signed by", view->subject);
    tc_print_field(stream, "issued by", view->issuer);
    tc_print_field(stream, "algorithm", tc_cose_algorithm_name(facts->signature.sign1.algorithm));
    print_time(stream, "valid from", facts->signature.not_before);
    print_time(stream, "valid until", facts->signature.not_after);
    tc_print_field_hex(stream, "certificate", view->fingerprint.bytes, TC_SHA256_SIZE);
}

tc_status tc_image_show_text(FILE *stream, const struct tc_image_show *show,
                             const struct tc_image_facts *facts, bool *ret_good,
                             struct tc_error *err)
{
    struct view view;
    char name[1024];
    static const char *const labels[] = {"PCR0", "PCR1", "PCR2"};
    TC_TRY(make_view(show, facts, &view, err));
    (void)fprintf(stream, "%s: %s\n", view.good ? "good" : "refused",
                  tc_printable(tc_span_of_text(show->name), name, sizeof name));
    tc_print_field(stream, "for", facts->header.aarch64 ? "aarch64" : "x86_64");
    if (show->everything) print_everything(stream, show, facts, &view);
    for (size_t i = 0; i < 3; i++)
        tc_print_field_hex(stream, labels[i], facts->pcr[i].bytes, TC_SHA384_SIZE);
    if (view.have_pcr8)
        tc_print_field_hex(stream, view.pcr8_is_wished ? "PCR8 if so" : "PCR8", view.pcr8.bytes,
                           TC_SHA384_SIZE);
    for (size_t i = 0; i < view.warnings_count; i++)
        tc_print_field(stream, "WARNING", view.warnings[i]);
    for (size_t i = 0; i < view.checks_count; i++) {
        const struct check *check = &view.checks[i];
        if (strcmp(check->result, "fail") == 0) tc_print_field(stream, "FAILED", check->seen);
    }
    *ret_good = view.good;
    return tc_print_flush(stream, err);
}

static void write_checks(struct tc_jsonw *w, const struct check *checks, size_t count)
{
    tc_jsonw_array(w, "checks");
    for (size_t i = 0; i < count; i++) {
        char seen[2 * TC_ERROR_MAX];
        tc_jsonw_object(w, NULL);
        tc_jsonw_text(w, "name", checks[i].name);
        tc_jsonw_text(w, "result", checks[i].result);
        tc_jsonw_text(w, "expected", checks[i].expected);
        tc_jsonw_text(w, "seen", tc_printable(tc_span_of_text(checks[i].seen), seen, sizeof seen));
        tc_jsonw_end_object(w);
    }
    tc_jsonw_end_array(w);
}

static void write_span(struct tc_jsonw *w, const char *key, const struct tc_buf *buf)
{
    TC_AUTO_FREE char *text = tc_span_to_text(tc_buf_span(buf));
    if (text)
        tc_jsonw_text(w, key, text);
    else
        w->buf->failed = true;
}

static void write_time(struct tc_jsonw *w, const char *key, int64_t seconds)
{
    char stamp[TC_TIME_TEXT_SIZE];
    tc_format_time(seconds, stamp);
    tc_jsonw_text(w, key, stamp);
}

static void write_text(struct tc_jsonw *w, const struct tc_image_text *text)
{
    tc_jsonw_object(w, "image");
    tc_jsonw_text(w, "name", text->name);
    tc_jsonw_hex(w, "recipe", text->recipe.bytes, TC_SHA256_SIZE);
    tc_jsonw_array(w, "packages");
    for (size_t i = 0; i < text->packages_count; i++) {
        const struct tc_image_package *package = &text->packages[i];
        tc_jsonw_object(w, NULL);
        tc_jsonw_text(w, "name", package->name);
        tc_jsonw_text(w, "version", package->version);
        tc_jsonw_text(w, "architecture", package->architecture);
        tc_jsonw_hex(w, "sha256", package->digest.bytes, TC_SHA256_SIZE);
        tc_jsonw_end_object(w);
    }
    tc_jsonw_end_array(w);
    tc_jsonw_end_object(w);
}

static void write_everything(struct tc_jsonw *w, const struct tc_image_show *show,
                             const struct tc_image_facts *facts, const struct view *view)
{
    char crc[9];
    (void)snprintf(crc, sizeof crc, "%08x", (unsigned)facts->header.crc);
    tc_jsonw_object(w, "header");
    tc_jsonw_u64(w, "version", TC_EIF_VERSION);
    tc_jsonw_u64(w, "default_memory", facts->header.default_memory);
    tc_jsonw_u64(w, "default_cpus", facts->header.default_cpus);
    tc_jsonw_u64(w, "size", facts->header.file_size);
    tc_jsonw_text(w, "crc32", crc);
    tc_jsonw_end_object(w);
    tc_jsonw_array(w, "sections");
    for (size_t i = 0; i < facts->sections_count; i++) {
        const struct tc_image_section *section = &facts->sections[i];
        tc_jsonw_object(w, NULL);
        tc_jsonw_text(w, "kind", tc_eif_kind_name(section->place.kind));
        tc_jsonw_u64(w, "offset", section->place.offset);
        tc_jsonw_u64(w, "size", section->place.size);
        tc_jsonw_hex(w, "sha256", section->digest.bytes, TC_SHA256_SIZE);
        tc_jsonw_end_object(w);
    }
    tc_jsonw_end_array(w);
    write_span(w, "cmdline", &facts->cmdline);
    if (show->says && show->says->own) write_text(w, &show->says->content.text);
    write_span(w, "metadata", &facts->metadata);
    if (!view->have_certificate) return;
    tc_jsonw_object(w, "signature");
    tc_jsonw_text(w, "algorithm", tc_cose_algorithm_name(facts->signature.sign1.algorithm));
    tc_jsonw_text(w, "subject", view->subject);
    tc_jsonw_text(w, "issuer", view->issuer);
    write_time(w, "not_before", facts->signature.not_before);
    write_time(w, "not_after", facts->signature.not_after);
    tc_jsonw_hex(w, "sha256", view->fingerprint.bytes, TC_SHA256_SIZE);
    tc_jsonw_end_object(w);
}

tc_status tc_image_show_json(FILE *stream, const struct tc_image_show *show,
                             const struct tc_image_facts *facts, bool *ret_good,
                             struct tc_error *err)
{
    struct view view;
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(JSON_MAX);
    struct tc_jsonw w = tc_jsonw_new(&buf);
    TC_TRY(make_view(show, facts, &view, err));
    tc_jsonw_object(&w, NULL);
    tc_jsonw_text(&w, "verdict", view.good ? "good" : "refused");
    write_checks(&w, view.checks, view.checks_count);
    tc_jsonw_array(&w, "warnings");
    for (size_t i = 0; i < view.warnings_count; i++)
        tc_jsonw_text(&w, NULL, view.warnings[i]);
    tc_jsonw_end_array(&w);
    tc_jsonw_text(&w, "architecture", facts->header.aarch64 ? "aarch64" : "x86_64");
    tc_jsonw_hex(&w, "pcr0", facts->pcr[0].bytes, TC_SHA384_SIZE);
    tc_jsonw_hex(&w, "pcr1", facts->pcr[1].bytes, TC_SHA384_SIZE);
    tc_jsonw_hex(&w, "pcr2", facts->pcr[2].bytes, TC_SHA384_SIZE);
    if (view.have_pcr8)
        tc_jsonw_hex(&w, view.pcr8_is_wished ? "pcr8_if_signed" : "pcr8", view.pcr8.bytes,
                     TC_SHA384_SIZE);
    if (show->everything) write_everything(&w, show, facts, &view);
    tc_jsonw_end_object(&w);
    TC_TRY(tc_buf_check(&buf, "what is said of the image", err));
    *ret_good = view.good;
    return tc_print_buf(stream, &buf, err);
}

tc_status tc_image_show_malformed(FILE *stream, const struct tc_error *reason, struct tc_error *err)
{
    TC_AUTO_BUF struct tc_buf buf = tc_buf_new(4 * TC_ERROR_MAX);
    struct tc_jsonw w = tc_jsonw_new(&buf);
    struct check check = {"format", "fail",
                          "an enclave image of version 4, without gaps or leftovers", ""};
    memcpy(check.seen, reason->message, sizeof check.seen);
    tc_jsonw_object(&w, NULL);
    tc_jsonw_text(&w, "verdict", "refused");
    write_checks(&w, &check, 1);
    tc_jsonw_end_object(&w);
    TC_TRY(tc_buf_check(&buf, "what is said of the image", err));
    return tc_print_buf(stream, &buf, err);
}
