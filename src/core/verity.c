#include "core/verity.h"

#include <string.h>

#include "base/text.h"

#define FIRST_LINE "tee-compile/verity/1"

static const uint64_t blocks_max = UINT64_C(1) << 40;

void tc_verity_encode(const struct tc_verity *verity, struct tc_buf *buf)
{
    char root[TC_SHA256_HEX], salt[2 * sizeof verity->salt + 1];
    tc_hex((struct tc_span){verity->root.bytes, sizeof verity->root.bytes}, root);
    tc_hex((struct tc_span){verity->salt, sizeof verity->salt}, salt);
    tc_buf_add_format(buf, FIRST_LINE "\ndata %llu\ntotal %llu\nroot %s\nsalt %s\n",
                      (unsigned long long)verity->data_blocks,
                      (unsigned long long)verity->total_blocks, root, salt);
}

/* Takes "word VALUE\n" off the text; VALUE goes NUL-terminated into out. */
static bool take_line(struct tc_span *text, const char *word, char *out, size_t out_size)
{
    size_t size = strlen(word);
    const uint8_t *end = memchr(text->data, '\n', text->size);
    if (!end) return false;
    size_t line = (size_t)(end - text->data);
    if (line < size || memcmp(text->data, word, size) != 0 || line - size >= out_size) return false;
    memcpy(out, text->data + size, line - size);
    out[line - size] = '\0';
    *text = (struct tc_span){end + 1, text->size - line - 1};
    return strlen(out) == line - size;
}

static bool read_number(const char *text, uint64_t *ret_number)
{
    uint64_t number = 0;
    if (*text < '1' || *text > '9') return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9') return false;
        number = number * 10 + (uint64_t)(*text - '0');
        if (number > blocks_max) return false;
    }
    *ret_number = number;
    return true;
}

tc_status tc_verity_decode(struct tc_span text, struct tc_verity *ret_verity, struct tc_error *err)
{
    struct tc_verity verity = {0};
    struct tc_span rest = text;
    char value[2 * TC_SHA256_SIZE + 1];
    bool good = take_line(&rest, FIRST_LINE, value, sizeof value) && *value == '\0' &&
                take_line(&rest, "data ", value, sizeof value) &&
                read_number(value, &verity.data_blocks) &&
                take_line(&rest, "total ", value, sizeof value) &&
                read_number(value, &verity.total_blocks) &&
                take_line(&rest, "root ", value, sizeof value) &&
                tc_unhex(value, verity.root.bytes, sizeof verity.root.bytes) &&
                take_line(&rest, "salt ", value, sizeof value) &&
                tc_unhex(value, verity.salt, sizeof verity.salt) && rest.size == 0 &&
                verity.total_blocks > verity.data_blocks;
    if (good) {
        /* One text for one image: what reads the same must be the same. */
        struct tc_buf again = tc_buf_new(TC_VERITY_TEXT_MAX);
        tc_verity_encode(&verity, &again);
        good = tc_buf_ok(&again) && tc_span_equal(tc_buf_span(&again), text);
        tc_buf_free(&again);
    }
    if (!good)
        return tc_fail(err, TC_MALFORMED,
                       "the image's description of its toolchain is not of the form "
                       FIRST_LINE);
    *ret_verity = verity;
    return TC_OK;
}

void tc_verity_parameters(const struct tc_verity *verity, const char *device, struct tc_buf *buf)
{
    char root[TC_SHA256_HEX], salt[2 * sizeof verity->salt + 1];
    unsigned long long data = verity->data_blocks;
    tc_hex((struct tc_span){verity->root.bytes, sizeof verity->root.bytes}, root);
    tc_hex((struct tc_span){verity->salt, sizeof verity->salt}, salt);
    tc_buf_add_format(buf,
                      "1 %s %s %d %d %llu %llu sha256 %s %s 2 panic_on_corruption panic_on_error",
                      device, device, TC_VERITY_BLOCK, TC_VERITY_BLOCK, data, data, root, salt);
    tc_buf_add_u8(buf, 0);
}
