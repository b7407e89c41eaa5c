/* One file, up to four readers of it, each on its own thread (os/fanout.h):
 *
 *   facts    checks the CRC, keeps the small sections
 *   boot     PCR0 and PCR1
 *   rest     PCR2, over bytes that boot hashes too
 *   digests  SHA-256 of each section, where it is asked for
 *
 * Each parses the image for itself; that costs nothing beside the hashing, and
 * nothing has to be shared. */
#include "host/image_read.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "os/fanout.h"

struct reading {
    struct tc_image_facts *facts;
    struct tc_eif_reader *facts_reader, *boot_reader, *rest_reader, *digest_reader;
    struct tc_eifmeasure *boot, *rest;
    struct tc_hash *hash; /* of the section at hand */
    struct tc_sha256 digests[TC_EIF_SECTIONS_MAX];
    size_t digests_count;
};

static void reading_done(struct reading *reading)
{
    tc_eif_reader_free(reading->facts_reader);
    tc_eif_reader_free(reading->boot_reader);
    tc_eif_reader_free(reading->rest_reader);
    tc_eif_reader_free(reading->digest_reader);
    tc_eifmeasure_free(reading->boot);
    tc_eifmeasure_free(reading->rest);
    tc_hash_free(reading->hash);
}

static tc_status facts_header(void *context, const struct tc_eif_header *header,
                              struct tc_error *err)
{
    struct tc_image_facts *facts = context;
    (void)err;
    facts->header = *header;
    return TC_OK;
}

static tc_status facts_begin(void *context, const struct tc_eif_section *section,
                             struct tc_error *err)
{
    struct tc_image_facts *facts = context;
    (void)err;
    facts->sections[facts->sections_count++].place = *section;
    return TC_OK;
}

static tc_status facts_data(void *context, struct tc_span bytes, struct tc_error *err)
{
    struct tc_image_facts *facts = context;
    struct tc_buf *buf = NULL;
    switch (facts->sections[facts->sections_count - 1].place.kind) {
    case TC_EIF_CMDLINE:
        buf = &facts->cmdline;
        break;
    case TC_EIF_METADATA:
        buf = &facts->metadata;
        break;
    case TC_EIF_SIGNATURE:
        buf = &facts->signature_section;
        break;
    case TC_EIF_KERNEL:
    case TC_EIF_RAMDISK:
        return TC_OK;
    }
    tc_buf_add_span(buf, bytes);
    return tc_buf_check(buf, "a section of the image", err);
}

static tc_status measure_begin(void *context, const struct tc_eif_section *section,
                               struct tc_error *err)
{
    (void)err;
    tc_eifmeasure_begin(context, section);
    return TC_OK;
}

static tc_status measure_data(void *context, struct tc_span bytes, struct tc_error *err)
{
    (void)err;
    tc_eifmeasure_data(context, bytes);
    return TC_OK;
}

static tc_status measure_end(void *context, struct tc_error *err)
{
    return tc_eifmeasure_end(context, err);
}

static tc_status digest_begin(void *context, const struct tc_eif_section *section,
                              struct tc_error *err)
{
    struct reading *reading = context;
    (void)section;
    (void)err;
    tc_hash_restart(reading->hash);
    return TC_OK;
}

static tc_status digest_data(void *context, struct tc_span bytes, struct tc_error *err)
{
    struct reading *reading = context;
    (void)err;
    tc_hash_add(reading->hash, bytes.data, bytes.size);
    return TC_OK;
}

static tc_status digest_end(void *context, struct tc_error *err)
{
    struct reading *reading = context;
    struct tc_sha256 *digest = &reading->digests[reading->digests_count++];
    return tc_hash_finish(reading->hash, digest->bytes, sizeof digest->bytes, err);
}

static tc_status add(void *context, struct tc_span bytes, struct tc_error *err)
{
    return tc_eif_reader_add(context, bytes, err);
}

static tc_status prepare(struct reading *reading, bool with_digests, struct tc_error *err)
{
    reading->boot = tc_eifmeasure_new(TC_EIFMEASURE_BOOT);
    reading->rest = tc_eifmeasure_new(TC_EIFMEASURE_REST);
    reading->hash = tc_hash_new(TC_HASH_SHA256);
    struct tc_eif_handler facts = {reading->facts, facts_header, facts_begin, facts_data, NULL};
    struct tc_eif_handler boot = {reading->boot, NULL, measure_begin, measure_data, measure_end};
    struct tc_eif_handler rest = {reading->rest, NULL, measure_begin, measure_data, measure_end};
    struct tc_eif_handler digests = {reading, NULL, digest_begin, digest_data, digest_end};
    reading->facts_reader = tc_eif_reader_new(&facts, TC_EIF_CRC_CHECKED);
    reading->boot_reader = tc_eif_reader_new(&boot, TC_EIF_CRC_IGNORED);
    reading->rest_reader = tc_eif_reader_new(&rest, TC_EIF_CRC_IGNORED);
    if (with_digests) reading->digest_reader = tc_eif_reader_new(&digests, TC_EIF_CRC_IGNORED);
    if (!reading->boot || !reading->rest || !reading->hash || !reading->facts_reader ||
        !reading->boot_reader || !reading->rest_reader || (with_digests && !reading->digest_reader))
        return tc_fail(err, TC_SYSTEM, "out of memory to read an image");
    return TC_OK;
}

/* The image's end: a wrong CRC is a fact, anything else an error. */
static tc_status finish(struct reading *reading, struct tc_error *err)
{
    struct tc_image_facts *facts = reading->facts;
    struct tc_error problem = {0};
    tc_status status = tc_eif_reader_finish(reading->facts_reader, &problem);
    if (status != TC_OK && status != TC_REFUSED) {
        *err = problem;
        return status;
    }
    facts->crc_is_good = status == TC_OK;
    memcpy(facts->crc_problem, problem.message, sizeof facts->crc_problem);
    facts->warnings = tc_eif_reader_warnings(reading->facts_reader);
    TC_TRY(tc_eif_reader_finish(reading->boot_reader, err));
    TC_TRY(tc_eif_reader_finish(reading->rest_reader, err));
    if (reading->digest_reader) TC_TRY(tc_eif_reader_finish(reading->digest_reader, err));
    for (size_t i = 0; i < reading->digests_count; i++)
        facts->sections[i].digest = reading->digests[i];
    TC_TRY(tc_eifmeasure_finish(reading->boot, facts->pcr, err));
    return tc_eifmeasure_finish(reading->rest, facts->pcr, err);
}

static tc_status judge_signature(struct tc_image_facts *facts, struct tc_error *err)
{
    const struct tc_eif_section *last = &facts->sections[facts->sections_count - 1].place;
    facts->is_signed = last->kind == TC_EIF_SIGNATURE;
    if (!facts->is_signed) return TC_OK;
    struct tc_error problem = {0};
    tc_status status =
        tc_eifsig_decode(tc_buf_span(&facts->signature_section), &facts->signature, &problem);
    facts->signature_is_read = status == TC_OK;
    if (status == TC_OK) status = tc_eifsig_verify(&facts->signature, &facts->pcr[0], &problem);
    facts->signature_is_good = status == TC_OK;
    memcpy(facts->signature_problem, problem.message, sizeof facts->signature_problem);
    if (status != TC_SYSTEM) return TC_OK;
    *err = problem;
    return status;
}

static tc_status read_all(int fd, const char *what, bool with_digests, struct tc_image_facts *facts,
                          struct tc_error *err)
{
    struct reading reading TC_CLEANUP(reading_done) = {.facts = facts};
    TC_TRY(prepare(&reading, with_digests, err));
    const struct tc_fanout_lane lanes[] = {{reading.facts_reader, add},
                                           {reading.boot_reader, add},
                                           {reading.rest_reader, add},
                                           {reading.digest_reader, add}};
    TC_TRY(tc_fanout(fd, what, lanes, with_digests ? 4 : 3, err));
    TC_TRY(finish(&reading, err));
    return judge_signature(facts, err);
}

tc_status tc_image_read(int fd, const char *what, bool with_digests,
                        struct tc_image_facts *ret_facts, struct tc_error *err)
{
    struct tc_image_facts facts = {.cmdline = tc_buf_new(TC_EIF_CMDLINE_MAX),
                                   .metadata = tc_buf_new(TC_EIF_METADATA_MAX),
                                   .signature_section = tc_buf_new(TC_EIF_SIGNATURE_MAX)};
    tc_status status = read_all(fd, what, with_digests, &facts, err);
    if (status != TC_OK) {
        tc_image_facts_free(&facts);
        return status;
    }
    *ret_facts = facts;
    return TC_OK;
}

void tc_image_facts_free(struct tc_image_facts *facts)
{
    tc_buf_free(&facts->cmdline);
    tc_buf_free(&facts->metadata);
    tc_buf_free(&facts->signature_section);
    tc_eifsig_free(&facts->signature);
}

tc_status tc_image_check(const struct tc_image_facts *facts, struct tc_error *err)
{
    if (!facts->crc_is_good) return tc_fail(err, TC_REFUSED, "%s", facts->crc_problem);
    if (facts->is_signed && !facts->signature_is_good)
        return tc_fail(err, TC_REFUSED, "%s", facts->signature_problem);
    return TC_OK;
}
