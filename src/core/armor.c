/* The form by the first character; then the text without its white space goes
 * through the strict decoders of base/text.h. */
#include "core/armor.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

enum { FIRST_BYTE = 0x84, TAG_FIRST = 0xc0, TAG_LAST = 0xdb };

static const char tried[] = "no attestation document: raw ones begin with the byte 0x84, in hex "
                            "with 84, in base64 with h";

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

const char *tc_armor_name(enum tc_armor form)
{
    switch (form) {
    case TC_ARMOR_RAW:
        return "raw";
    case TC_ARMOR_HEX:
        return "hex";
    case TC_ARMOR_BASE64:
        return "base64";
    }
    return "raw";
}

static tc_status check_size(size_t size, struct tc_error *err)
{
    if (size <= TC_NITRODOC_MAX) return TC_OK;
    return tc_fail(err, TC_LIMIT, "attestation document: more than %d bytes", TC_NITRODOC_MAX);
}

/* The input without white space, as a string. */
static tc_status squeeze(struct tc_span input, struct tc_buf *ret_text, struct tc_error *err)
{
    for (size_t i = 0; i < input.size; i++)
        if (!is_space(input.data[i])) tc_buf_add_u8(ret_text, input.data[i]);
    return tc_buf_check(ret_text, "the attestation document's text", err);
}

static tc_status decode_hex(struct tc_buf *text, struct tc_buf *ret_document, struct tc_error *err)
{
    size_t digits = text->size;
    if (digits % 2 != 0)
        return tc_fail(err, TC_MALFORMED, "attestation document in hex: an odd number of digits");
    TC_TRY(check_size(digits / 2, err));
    TC_AUTO_FREE char *string = tc_buf_take_text(text);
    TC_AUTO_FREE uint8_t *bytes = malloc(digits / 2);
    if (!string || !bytes) return tc_fail(err, TC_SYSTEM, "out of memory for a document");
    /* A NUL inside makes the string shorter than the digits, and tc_unhex say no. */
    if (!tc_unhex(string, bytes, digits / 2))
        return tc_fail(err, TC_MALFORMED,
                       "attestation document in hex: a character that is neither a hex digit nor "
                       "white space");
    tc_buf_add(ret_document, bytes, digits / 2);
    return tc_buf_check(ret_document, "the attestation document", err);
}

static tc_status decode_base64(struct tc_buf *text, struct tc_buf *ret_document,
                               struct tc_error *err)
{
    bool standard = false, url = false, padded = false;
    for (size_t i = 0; i < text->size; i++) {
        uint8_t *c = &text->data[i];
        standard |= *c == '+' || *c == '/';
        url |= *c == '-' || *c == '_';
        padded |= *c == '=';
        if (*c == '-') *c = '+';
        if (*c == '_') *c = '/';
    }
    if (standard && url)
        return tc_fail(err, TC_MALFORMED,
                       "attestation document in base64: characters of the standard and of the URL "
                       "alphabet in one text");
    /* Padding is all there or not at all; one digit left over is no byte. */
    while (!padded && text->size % 4 > 1 && tc_buf_ok(text))
        tc_buf_add_u8(text, '=');
    TC_TRY(tc_buf_check(text, "the attestation document's text", err));
    TC_TRY(check_size(text->size / 4 * 3 > 2 ? text->size / 4 * 3 - 2 : 0, err));
    struct tc_buf document = tc_buf_new(TC_NITRODOC_MAX + 3);
    bool good = tc_base64_decode(tc_buf_span(text), &document);
    tc_status status = TC_OK;
    if (!good)
        status = tc_fail(err, TC_MALFORMED,
                         "attestation document in base64: cut, a character that is not base64, "
                         "wrong padding, or bits left over");
    if (status == TC_OK) status = check_size(document.size, err);
    if (status == TC_OK) {
        tc_buf_add_span(ret_document, tc_buf_span(&document));
        status = tc_buf_check(ret_document, "the attestation document", err);
    }
    tc_buf_free(&document);
    return status;
}

static tc_status refuse_form(struct tc_span input, size_t start, struct tc_error *err)
{
    if (start == input.size) return tc_fail(err, TC_MALFORMED, "%s; this is empty", tried);
    uint8_t first = input.data[start];
    if (start == 0 && first >= TAG_FIRST && first <= TAG_LAST)
        return tc_fail(err, TC_MALFORMED,
                       "%s; this begins with a CBOR tag (0x%02x), which the NSM's documents do not "
                       "have",
                       tried, first);
    return tc_fail(err, TC_MALFORMED, "%s; this begins with 0x%02x", tried, first);
}

tc_status tc_armor_decode(struct tc_span input, struct tc_buf *ret_document,
                          enum tc_armor *ret_form, struct tc_error *err)
{
    size_t start = 0;
    *ret_document = tc_buf_new(TC_NITRODOC_MAX);
    if (input.size > 0 && input.data[0] == FIRST_BYTE) {
        TC_TRY(check_size(input.size, err));
        tc_buf_add_span(ret_document, input);
        *ret_form = TC_ARMOR_RAW;
        return tc_buf_check(ret_document, "the attestation document", err);
    }
    if (input.size > TC_ARMOR_MAX)
        return tc_fail(err, TC_LIMIT, "attestation document: more than %d bytes of text",
                       TC_ARMOR_MAX);
    while (start < input.size && is_space(input.data[start]))
        start++;
    bool hex = start < input.size && input.data[start] == '8';
    if (!hex && (start == input.size || input.data[start] != 'h'))
        return refuse_form(input, start, err);
    struct tc_buf text TC_AUTO_BUF = tc_buf_new(TC_ARMOR_MAX + 4);
    TC_TRY(squeeze(input, &text, err));
    TC_TRY(hex ? decode_hex(&text, ret_document, err) : decode_base64(&text, ret_document, err));
    /* "80" and "gA..", and every other byte than 0x84. */
    if (ret_document->size == 0 || ret_document->data[0] != FIRST_BYTE)
        return refuse_form(input, start, err);
    *ret_form = hex ? TC_ARMOR_HEX : TC_ARMOR_BASE64;
    return TC_OK;
}
