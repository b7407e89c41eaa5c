#include "core/x509text.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "base/cleanup.h"
#include "base/text.h"

enum { SERIAL_BYTES_MAX = TC_X509TEXT_SERIAL_MAX / 2 - 2 };

static void free_x509(X509 **x509)
{
    X509_free(*x509);
    /* Failures leave entries in the thread's queue. */
    ERR_clear_error();
}

static void free_bio(BIO **bio)
{
    BIO_free(*bio);
}

/* The escapes of RFC 2253, then those of the terminal. */
static tc_status read_name(const X509_NAME *name, char out[TC_X509TEXT_NAME_MAX],
                           struct tc_error *err)
{
    BIO *bio TC_CLEANUP(free_bio) = BIO_new(BIO_s_mem());
    char *text = NULL;
    if (!bio || X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB) < 0)
        return tc_fail(err, TC_MALFORMED, "a name that cannot be read");
    long size = BIO_get_mem_data(bio, &text);
    struct tc_span span = {(const uint8_t *)text, size > 0 ? (size_t)size : 0};
    /* tc_printable doubles backslashes; a plain name keeps those of RFC 2253. */
    bool plain = span.size < TC_X509TEXT_NAME_MAX && tc_is_utf8(span);
    for (size_t i = 0; i < span.size; i++)
        if (span.data[i] < 0x20 || span.data[i] > 0x7e) plain = false;
    if (plain) {
        if (span.size > 0) memcpy(out, span.data, span.size);
        out[span.size] = '\0';
    } else {
        (void)tc_printable(span, out, TC_X509TEXT_NAME_MAX);
    }
    return TC_OK;
}

static tc_status read_serial(const ASN1_INTEGER *serial, char out[TC_X509TEXT_SERIAL_MAX],
                             struct tc_error *err)
{
    int size = ASN1_STRING_length(serial);
    if (size < 0 || size > SERIAL_BYTES_MAX)
        return tc_fail(err, TC_MALFORMED, "a serial number of %d bytes", size);
    bool negative = (ASN1_STRING_type(serial) & V_ASN1_NEG) != 0;
    out[0] = '-';
    tc_hex((struct tc_span){ASN1_STRING_get0_data(serial), (size_t)size}, out + negative);
    return TC_OK;
}

static tc_status read_time(const ASN1_TIME *time, int64_t *ret_seconds, struct tc_error *err)
{
    int days = 0, seconds = 0;
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int good = epoch && ASN1_TIME_diff(&days, &seconds, epoch, time);
    ASN1_TIME_free(epoch);
    if (!good) return tc_fail(err, TC_MALFORMED, "a date that is none");
    *ret_seconds = (int64_t)days * 86400 + seconds;
    return TC_OK;
}

tc_status tc_x509text_read(struct tc_span der, struct tc_x509text *ret_text, struct tc_error *err)
{
    struct tc_x509text text = {{0}};
    const uint8_t *next = der.data;
    X509 *x509 TC_CLEANUP(free_x509) = d2i_X509(NULL, &next, (long)der.size);
    if (!x509 || next != der.data + der.size)
        return tc_fail(err, TC_MALFORMED, "not an X.509 certificate");
    TC_TRY(read_name(X509_get_subject_name(x509), text.subject, err));
    TC_TRY(read_name(X509_get_issuer_name(x509), text.issuer, err));
    TC_TRY(read_serial(X509_get0_serialNumber(x509), text.serial, err));
    TC_TRY(read_time(X509_get0_notBefore(x509), &text.from, err));
    TC_TRY(read_time(X509_get0_notAfter(x509), &text.until, err));
    TC_TRY(tc_sha256_of(der, &text.fingerprint, err));
    *ret_text = text;
    return TC_OK;
}
