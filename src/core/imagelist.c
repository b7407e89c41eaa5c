/* Three steps, as for build.json: the JSON layer refuses what is no JSON, read_*
 * take one object each and decide right there what a value may be, and the order
 * of the whole is looked at last. */
#include "core/imagelist.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "core/json.h"
#include "core/jsonw.h"

#define SEQUENCE_MAX (((uint64_t)1 << 53) - 1) /* what every JSON reader takes exactly */

const struct tc_dsse_form tc_imagelist_form = {
    .payload_type = TC_IMAGELIST_PAYLOAD_TYPE,
    .max = TC_IMAGELIST_ENVELOPE_MAX,
    .signatures_max = TC_DSSE_SIGNATURES_MAX,
    .key_kinds = TC_KEYS_ALL,
};

void tc_imagelist_free(struct tc_imagelist *list)
{
    if (!list) return;
    for (size_t i = 0; i < list->images_count; i++)
        free(list->images[i].reason);
    free(list->images);
    *list = (struct tc_imagelist){0};
}

bool tc_image_name_is_good(const char *text)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+#-";
    size_t size = strlen(text);
    return size > 0 && size <= TC_IMAGE_NAME_MAX && strspn(text, allowed) == size;
}

bool tc_image_pcr0_is_good(const struct tc_sha384 *pcr0)
{
    uint8_t any = 0;
    for (size_t i = 0; i < sizeof pcr0->bytes; i++)
        any |= pcr0->bytes[i];
    return any != 0;
}

bool tc_image_is_revoked(const struct tc_image *image, int64_t signed_at)
{
    return image->revoked && (image->revoked_for_all || signed_at >= image->revoked_from);
}

static tc_status read_word(const struct tc_json *object, const char *key, char *out, size_t size,
                           struct tc_error *err)
{
    struct tc_json value;
    const char *text;
    TC_TRY(tc_json_get(object, key, &value, err));
    TC_TRY(tc_json_string(&value, size - 1, &text, err));
    if (!tc_image_name_is_good(text))
        return tc_json_fail(&value, err,
                            "must be a name of 1 to %zu letters, digits and any of . _ + # -",
                            size - 1);
    memcpy(out, text, strlen(text) + 1);
    return TC_OK;
}

static tc_status read_time(const struct tc_json *object, const char *key, int64_t *out,
                           struct tc_error *err)
{
    struct tc_json value;
    const char *text;
    TC_TRY(tc_json_get(object, key, &value, err));
    TC_TRY(tc_json_string(&value, TC_TIME_TEXT_SIZE, &text, err));
    if (!tc_parse_time(text, out))
        return tc_json_fail(&value, err, "must be a time like 2026-01-02T03:04:05Z");
    return TC_OK;
}

static tc_status read_hex(const struct tc_json *object, const char *key, uint8_t *out, size_t size,
                          struct tc_error *err)
{
    struct tc_json value;
    TC_TRY(tc_json_get(object, key, &value, err));
    return tc_json_hex(&value, out, size, err);
}

static tc_status read_revocation(const struct tc_json *at, struct tc_image *image,
                                 struct tc_error *err)
{
    static const char *const known[] = {"reason", "from", NULL};
    struct tc_json value;
    TC_TRY(tc_json_check_keys(at, known, err));
    TC_TRY(tc_json_get(at, "reason", &value, err));
    TC_TRY(tc_json_copy(&value, TC_IMAGE_REASON_MAX, &image->reason, err));
    if (!*image->reason) return tc_json_fail(&value, err, "must say why");
    image->revoked = true;
    image->revoked_for_all = !tc_json_find(at, "from", &value);
    return image->revoked_for_all ? TC_OK : read_time(at, "from", &image->revoked_from, err);
}

static tc_status read_image(const struct tc_json *at, struct tc_image *image, struct tc_error *err)
{
    static const char *const known[] = {"name", "version", "architecture", "pcr0",        "pcr1",
                                        "pcr2", "recipe",  "valid_from",   "valid_until", "revoked",
                                        NULL};
    static const char *const pcrs[3] = {"pcr0", "pcr1", "pcr2"};
    struct tc_json value;
    TC_TRY(tc_json_check_keys(at, known, err));
    TC_TRY(read_word(at, "name", image->name, sizeof image->name, err));
    TC_TRY(read_word(at, "version", image->version, sizeof image->version, err));
    TC_TRY(read_word(at, "architecture", image->architecture, sizeof image->architecture, err));
    for (size_t i = 0; i < 3; i++)
        TC_TRY(read_hex(at, pcrs[i], image->pcr[i].bytes, TC_SHA384_SIZE, err));
    if (!tc_image_pcr0_is_good(&image->pcr[0])) {
        TC_TRY(tc_json_get(at, "pcr0", &value, err));
        return tc_json_fail(&value, err, "is all zero, which is any debug enclave's");
    }
    TC_TRY(read_hex(at, "recipe", image->recipe.bytes, sizeof image->recipe.bytes, err));
    TC_TRY(read_time(at, "valid_from", &image->valid_from, err));
    TC_TRY(read_time(at, "valid_until", &image->valid_until, err));
    if (image->valid_until < image->valid_from) {
        TC_TRY(tc_json_get(at, "valid_until", &value, err));
        return tc_json_fail(&value, err, "is before valid_from");
    }
    return tc_json_find(at, "revoked", &value) ? read_revocation(&value, image, err) : TC_OK;
}

static int compare_pcr0(const void *a, const void *b)
{
    const struct tc_image *left = a, *right = b;
    return memcmp(left->pcr[0].bytes, right->pcr[0].bytes, TC_SHA384_SIZE);
}

/* Ascending and none twice. A draft is put in order first; its own order is then
 * no longer there to name the second of two. */
static tc_status check_order(const struct tc_json *at, enum tc_imagelist_kind kind,
                             struct tc_imagelist *list, struct tc_error *err)
{
    if (kind == TC_IMAGELIST_DRAFT && list->images_count > 1)
        qsort(list->images, list->images_count, sizeof *list->images, compare_pcr0);
    for (size_t i = 1; i < list->images_count; i++) {
        int order = compare_pcr0(&list->images[i - 1], &list->images[i]);
        if (order < 0) continue;
        char hex[TC_SHA384_HEX];
        tc_hex((struct tc_span){list->images[i].pcr[0].bytes, TC_SHA384_SIZE}, hex);
        if (order == 0) return tc_json_fail(at, err, "two entries have PCR0 %s", hex);
        return tc_json_fail(at, err,
                            "must be in ascending order of pcr0, and entry %zu (%s) is below the "
                            "one before it",
                            i, hex);
    }
    return TC_OK;
}

static tc_status read_images(const struct tc_json *at, enum tc_imagelist_kind kind,
                             struct tc_imagelist *list, struct tc_error *err)
{
    size_t count;
    TC_TRY(tc_json_array(at, TC_IMAGELIST_ENTRIES_MAX, &count, err));
    list->images = calloc(count + 1, sizeof *list->images);
    if (!list->images) return tc_fail(err, TC_SYSTEM, "out of memory for the list of images");
    for (size_t i = 0; i < count; i++) {
        struct tc_json entry = tc_json_at(at, i);
        list->images_count = i + 1; /* so that a half-read one is freed too */
        TC_TRY(read_image(&entry, &list->images[i], err));
    }
    return check_order(at, kind, list, err);
}

static tc_status read_list(const struct tc_json *top, enum tc_imagelist_kind kind,
                           struct tc_imagelist *list, struct tc_error *err)
{
    static const char *const known[] = {"type",        "sequence", "issued",
                                        "next_update", "images",   NULL};
    struct tc_json value;
    const char *text;
    /* The type first: of another version, unknown keys are no mistakes. */
    TC_TRY(tc_json_get(top, "type", &value, err));
    TC_TRY(tc_json_string(&value, 64, &text, err));
    if (strcmp(text, TC_IMAGELIST_TYPE) != 0)
        return tc_json_fail(&value, err, "must be " TC_IMAGELIST_TYPE);
    TC_TRY(tc_json_check_keys(top, known, err));
    TC_TRY(tc_json_get(top, "sequence", &value, err));
    TC_TRY(tc_json_u64(&value, SEQUENCE_MAX, &list->sequence, err));
    if (list->sequence == 0) return tc_json_fail(&value, err, "must be 1 or more");
    TC_TRY(read_time(top, "issued", &list->issued, err));
    TC_TRY(read_time(top, "next_update", &list->next_update, err));
    if (list->next_update < list->issued) {
        TC_TRY(tc_json_get(top, "next_update", &value, err));
        return tc_json_fail(&value, err, "is before issued");
    }
    TC_TRY(tc_json_get(top, "images", &value, err));
    return read_images(&value, kind, list, err);
}

tc_status tc_imagelist_read(struct tc_span json, const char *name, enum tc_imagelist_kind kind,
                            struct tc_imagelist *ret_list, struct tc_error *err)
{
    TC_AUTO_JSON struct tc_json_text *text = NULL;
    TC_AUTO_IMAGELIST struct tc_imagelist list = {0};
    TC_TRY(tc_json_parse(json, name, TC_IMAGELIST_MAX, &text, err));
    struct tc_json top = tc_json_top(text, name);
    TC_TRY(read_list(&top, kind, &list, err));
    *ret_list = list;
    list = (struct tc_imagelist){0};
    return TC_OK;
}

static void write_time(struct tc_jsonw *w, const char *key, int64_t seconds)
{
    char text[TC_TIME_TEXT_SIZE];
    tc_format_time(seconds, text);
    tc_jsonw_text(w, key, text);
}

static void write_image(struct tc_jsonw *w, const struct tc_image *image)
{
    tc_jsonw_object(w, NULL);
    tc_jsonw_text(w, "name", image->name);
    tc_jsonw_text(w, "version", image->version);
    tc_jsonw_text(w, "architecture", image->architecture);
    tc_jsonw_hex(w, "pcr0", image->pcr[0].bytes, TC_SHA384_SIZE);
    tc_jsonw_hex(w, "pcr1", image->pcr[1].bytes, TC_SHA384_SIZE);
    tc_jsonw_hex(w, "pcr2", image->pcr[2].bytes, TC_SHA384_SIZE);
    tc_jsonw_hex(w, "recipe", image->recipe.bytes, sizeof image->recipe.bytes);
    write_time(w, "valid_from", image->valid_from);
    write_time(w, "valid_until", image->valid_until);
    if (image->revoked) {
        tc_jsonw_object(w, "revoked");
        tc_jsonw_text(w, "reason", image->reason);
        if (!image->revoked_for_all) write_time(w, "from", image->revoked_from);
        tc_jsonw_end_object(w);
    }
    tc_jsonw_end_object(w);
}

tc_status tc_imagelist_write(const struct tc_imagelist *list, struct tc_buf *buf,
                             struct tc_error *err)
{
    struct tc_jsonw w = tc_jsonw_new(buf);
    tc_jsonw_object(&w, NULL);
    tc_jsonw_text(&w, "type", TC_IMAGELIST_TYPE);
    tc_jsonw_u64(&w, "sequence", list->sequence);
    write_time(&w, "issued", list->issued);
    write_time(&w, "next_update", list->next_update);
    tc_jsonw_array(&w, "images");
    for (size_t i = 0; i < list->images_count; i++)
        write_image(&w, &list->images[i]);
    tc_jsonw_end_array(&w);
    tc_jsonw_end_object(&w);
    return tc_buf_check(buf, "the list of images", err);
}

const struct tc_image *tc_imagelist_find(const struct tc_imagelist *list,
                                         const struct tc_sha384 *pcr0)
{
    if (list->images_count == 0) return NULL;
    struct tc_image wanted = {.pcr = {*pcr0}};
    return bsearch(&wanted, list->images, list->images_count, sizeof *list->images, compare_pcr0);
}
