#include "core/eifmeasure.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "core/pcr.h"

struct tc_eifmeasure {
    struct tc_hash *image; /* kernel, command line, ramdisks; NULL: not wanted */
    struct tc_hash *rest;  /* ramdisks but the first; NULL: not wanted */
    struct tc_eif_section section;
    struct tc_sha384 first; /* PCR1 */
    bool have_first;
};

struct tc_eifmeasure *tc_eifmeasure_new(unsigned which)
{
    struct tc_eifmeasure *measure = calloc(1, sizeof *measure);
    if (!measure) return NULL;
    bool boot = (which & TC_EIFMEASURE_BOOT) != 0, rest = (which & TC_EIFMEASURE_REST) != 0;
    if (boot) measure->image = tc_hash_new(TC_HASH_SHA384);
    if (rest) measure->rest = tc_hash_new(TC_HASH_SHA384);
    if ((boot && !measure->image) || (rest && !measure->rest)) {
        tc_eifmeasure_free(measure);
        return NULL;
    }
    return measure;
}

void tc_eifmeasure_free(struct tc_eifmeasure *measure)
{
    if (!measure) return;
    tc_hash_free(measure->image);
    tc_hash_free(measure->rest);
    free(measure);
}

void tc_eifmeasure_free_ptr(struct tc_eifmeasure **measure)
{
    tc_eifmeasure_free(*measure);
    *measure = NULL;
}

static tc_status finish_pcr(struct tc_hash *hash, struct tc_sha384 *ret_pcr, struct tc_error *err)
{
    struct tc_sha384 digest, pcr = {{0}};
    TC_TRY(tc_hash_finish(hash, digest.bytes, sizeof digest.bytes, err));
    TC_TRY(tc_pcr_extend(&pcr, (struct tc_span){digest.bytes, sizeof digest.bytes}, err));
    *ret_pcr = pcr;
    return TC_OK;
}

void tc_eifmeasure_begin(struct tc_eifmeasure *measure, const struct tc_eif_section *section)
{
    measure->section = *section;
}

void tc_eifmeasure_data(struct tc_eifmeasure *measure, struct tc_span bytes)
{
    const struct tc_eif_section *section = &measure->section;
    bool measured = section->kind == TC_EIF_KERNEL || section->kind == TC_EIF_CMDLINE ||
                    section->kind == TC_EIF_RAMDISK;
    if (measure->image && measured) tc_hash_add(measure->image, bytes.data, bytes.size);
    if (measure->rest && section->kind == TC_EIF_RAMDISK && section->ramdisk > 0)
        tc_hash_add(measure->rest, bytes.data, bytes.size);
}

/* PCR1 is PCR0 as it would be if the image ended behind the first ramdisk. */
tc_status tc_eifmeasure_end(struct tc_eifmeasure *measure, struct tc_error *err)
{
    if (!measure->image || measure->section.kind != TC_EIF_RAMDISK || measure->section.ramdisk > 0)
        return TC_OK;
    TC_AUTO_HASH struct tc_hash *copy = tc_hash_copy(measure->image);
    if (!copy) return tc_fail(err, TC_SYSTEM, "out of memory for a digest");
    TC_TRY(finish_pcr(copy, &measure->first, err));
    measure->have_first = true;
    return TC_OK;
}

tc_status tc_eifmeasure_finish(struct tc_eifmeasure *measure, struct tc_sha384 ret_pcr[3],
                               struct tc_error *err)
{
    struct tc_sha384 image = {{0}}, rest = {{0}};
    if (measure->image && !measure->have_first)
        return tc_fail(err, TC_USAGE, "an image was measured that has not been read to its end");
    if (measure->image) TC_TRY(finish_pcr(measure->image, &image, err));
    if (measure->rest) TC_TRY(finish_pcr(measure->rest, &rest, err));
    if (measure->image) {
        ret_pcr[0] = image;
        ret_pcr[1] = measure->first;
    }
    if (measure->rest) ret_pcr[2] = rest;
    return TC_OK;
}
