/* A list of images, and what stands around it. The first byte says what the rest
 * is: a signed file, a payload, a draft, own images, a signer. Whatever is
 * accepted must write and read as the same again. */
#include <stdlib.h>
#include <string.h>

#include "core/ownimages.h"
#include "core/signer.h"

#include "fuzz.h"

static void write_again(const struct tc_imagelist *list)
{
    struct tc_error err = {0};
    struct tc_buf first = tc_buf_new(2 * (size_t)TC_IMAGELIST_MAX);
    struct tc_buf second = tc_buf_new(2 * (size_t)TC_IMAGELIST_MAX);
    struct tc_imagelist again;
    FUZZ_CHECK(tc_imagelist_write(list, &first, &err) == TC_OK);
    /* Only what the writer spells longer than the text did can pass the bound. */
    if (first.size <= TC_IMAGELIST_MAX) {
        FUZZ_CHECK(tc_imagelist_read(tc_buf_span(&first), "again", TC_IMAGELIST_SIGNED, &again,
                                     &err) == TC_OK);
        FUZZ_CHECK(again.images_count == list->images_count);
        FUZZ_CHECK(tc_imagelist_write(&again, &second, &err) == TC_OK);
        FUZZ_CHECK(tc_span_equal(tc_buf_span(&first), tc_buf_span(&second)));
        tc_imagelist_free(&again);
    }
    tc_buf_free(&first);
    tc_buf_free(&second);
}

static void try_list(struct tc_span text, enum tc_imagelist_kind kind)
{
    struct tc_error err = {0};
    struct tc_imagelist list;
    tc_status status = tc_imagelist_read(text, "images.json", kind, &list, &err);
    FUZZ_CHECK(status == TC_OK || status == TC_MALFORMED);
    if (status != TC_OK) return;
    FUZZ_CHECK(list.images_count <= TC_IMAGELIST_ENTRIES_MAX && list.sequence > 0);
    for (size_t i = 0; i < list.images_count; i++)
        FUZZ_CHECK(tc_imagelist_find(&list, &list.images[i].pcr[0]) == &list.images[i]);
    write_again(&list);
    tc_imagelist_free(&list);
}

static void try_envelope(struct tc_span text)
{
    struct tc_error err = {0};
    struct tc_dsse dsse;
    tc_status status = tc_dsse_read(text, "images.json", &tc_imagelist_form, &dsse, &err);
    FUZZ_CHECK(status == TC_OK || status == TC_MALFORMED);
    if (status != TC_OK) return;
    FUZZ_CHECK(dsse.signatures_count >= 1 && dsse.signatures_count <= TC_DSSE_SIGNATURES_MAX);
    FUZZ_CHECK(tc_dsse_names(&dsse, dsse.signatures[0].key));
    /* No key at all signed it. */
    FUZZ_CHECK(tc_dsse_check(&dsse, &tc_imagelist_form, text, &err) == TC_REFUSED);
    try_list(tc_buf_span(&dsse.payload), TC_IMAGELIST_SIGNED);
    tc_dsse_free(&dsse);
}

static void try_own(struct tc_span text)
{
    struct tc_error err = {0};
    struct tc_own_image *images, *again;
    size_t count, again_count;
    tc_status status = tc_ownimages_read(text, "own.json", &images, &count, &err);
    FUZZ_CHECK(status == TC_OK || status == TC_MALFORMED);
    if (status != TC_OK) return;
    struct tc_buf buf = tc_buf_new(2 * (size_t)TC_OWNIMAGES_MAX);
    FUZZ_CHECK(tc_ownimages_write(images, count, &buf, &err) == TC_OK);
    FUZZ_CHECK(tc_ownimages_read(tc_buf_span(&buf), "again", &again, &again_count, &err) == TC_OK);
    FUZZ_CHECK(again_count == count && memcmp(images, again, count * sizeof *images) == 0);
    free(images);
    free(again);
    tc_buf_free(&buf);
}

static void try_signer(struct tc_span text)
{
    struct tc_error err = {0};
    struct tc_signer signer;
    tc_status status = tc_signer_read(text, "key.pem", &signer, &err);
    FUZZ_CHECK(status == TC_OK || status == TC_MALFORMED || status == TC_REFUSED);
    if (status != TC_OK) return;
    FUZZ_CHECK(strlen(signer.id) == TC_SHA256_HEX - 1 && signer.spki.size > 0);
    FUZZ_CHECK(!signer.by_certificate || signer.kind == TC_KEY_P384);
    tc_signer_free(&signer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    struct tc_span text = {data + 1, size - 1};
    switch (data[0]) {
    case 'e': try_envelope(text); break;
    case 'l': try_list(text, TC_IMAGELIST_SIGNED); break;
    case 'd': try_list(text, TC_IMAGELIST_DRAFT); break;
    case 'o': try_own(text); break;
    case 's': try_signer(text); break;
    default: break;
    }
    return 0;
}
