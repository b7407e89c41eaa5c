#include "core/ownimages.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "core/json.h"
#include "core/jsonw.h"

static tc_status read_word(const struct tc_json *value, char *out, struct tc_error *err)
{
    const char *text;
    TC_TRY(tc_json_string(value, TC_IMAGE_NAME_MAX, &text, err));
    if (!tc_image_name_is_good(text))
        return tc_json_fail(value, err,
                            "must be a name of 1 to %d letters, digits and any of . _ + # -",
                            TC_IMAGE_NAME_MAX);
    memcpy(out, text, strlen(text) + 1);
    return TC_OK;
}

static tc_status read_image(const struct tc_json *at, struct tc_own_image *image,
                            struct tc_error *err)
{
    static const char *const known[] = {"name", "version", "pcr0", "recipe", NULL};
    struct tc_json value;
    TC_TRY(tc_json_check_keys(at, known, err));
    TC_TRY(tc_json_get(at, "name", &value, err));
    TC_TRY(read_word(&value, image->name, err));
    if (tc_json_find(at, "version", &value)) TC_TRY(read_word(&value, image->version, err));
    TC_TRY(tc_json_get(at, "pcr0", &value, err));
    TC_TRY(tc_json_hex(&value, image->pcr0.bytes, sizeof image->pcr0.bytes, err));
    if (!tc_image_pcr0_is_good(&image->pcr0))
        return tc_json_fail(&value, err, "is all zero, which is any debug enclave's");
    image->has_recipe = tc_json_find(at, "recipe", &value);
    if (!image->has_recipe) return TC_OK;
    return tc_json_hex(&value, image->recipe.bytes, sizeof image->recipe.bytes, err);
}

tc_status tc_ownimages_read(struct tc_span json, const char *name, struct tc_own_image **ret_images,
                            size_t *ret_count, struct tc_error *err)
{
    static const char *const known[] = {"type", "images", NULL};
    TC_AUTO_JSON struct tc_json_text *parsed = NULL;
    TC_TRY(tc_json_parse(json, name, TC_OWNIMAGES_MAX, &parsed, err));
    struct tc_json top = tc_json_top(parsed, name), value;
    const char *text;
    size_t count;
    TC_TRY(tc_json_get(&top, "type", &value, err));
    TC_TRY(tc_json_string(&value, 64, &text, err));
    if (strcmp(text, TC_OWNIMAGES_TYPE) != 0)
        return tc_json_fail(&value, err, "must be " TC_OWNIMAGES_TYPE);
    TC_TRY(tc_json_check_keys(&top, known, err));
    TC_TRY(tc_json_get(&top, "images", &value, err));
    TC_TRY(tc_json_array(&value, TC_OWNIMAGES_ENTRIES_MAX, &count, err));
    TC_AUTO_FREE struct tc_own_image *images = calloc(count + 1, sizeof *images);
    if (!images) return tc_fail(err, TC_SYSTEM, "out of memory for %s", name);
    for (size_t i = 0; i < count; i++) {
        struct tc_json entry = tc_json_at(&value, i);
        TC_TRY(read_image(&entry, &images[i], err));
        if (i > 0 && memcmp(images[i - 1].pcr0.bytes, images[i].pcr0.bytes, TC_SHA384_SIZE) >= 0)
            return tc_json_fail(&entry, err, "must have a higher pcr0 than the entry before it");
    }
    *ret_images = TC_TAKE(images);
    *ret_count = count;
    return TC_OK;
}

tc_status tc_ownimages_write(const struct tc_own_image *images, size_t count, struct tc_buf *buf,
                             struct tc_error *err)
{
    struct tc_jsonw w = tc_jsonw_new(buf);
    tc_jsonw_object(&w, NULL);
    tc_jsonw_text(&w, "type", TC_OWNIMAGES_TYPE);
    tc_jsonw_array(&w, "images");
    for (size_t i = 0; i < count; i++) {
        tc_jsonw_object(&w, NULL);
        tc_jsonw_text(&w, "name", images[i].name);
        if (*images[i].version) tc_jsonw_text(&w, "version", images[i].version);
        tc_jsonw_hex(&w, "pcr0", images[i].pcr0.bytes, TC_SHA384_SIZE);
        if (images[i].has_recipe)
            tc_jsonw_hex(&w, "recipe", images[i].recipe.bytes, sizeof images[i].recipe.bytes);
        tc_jsonw_end_object(&w);
    }
    tc_jsonw_end_array(&w);
    tc_jsonw_end_object(&w);
    return tc_buf_check(buf, "the list of own images", err);
}
