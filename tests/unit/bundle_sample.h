/* Whole bundles for tests, signed by the development attester. Anything that
 * fails on the way aborts: a fixture has nobody to tell. */
#ifndef TC_TESTS_BUNDLE_SAMPLE_H
#define TC_TESTS_BUNDLE_SAMPLE_H

#include "core/userdata.h"
#include "statement_sample.h"

struct sample_root {
    char folder[64];   /* fresh, below /tmp */
    struct tc_buf der; /* the root's certificate */
};
int sample_root_make(struct sample_root *ret_root);
int sample_root_remove(struct sample_root *root);

/* A bundle in parts. Changes before signing are made by a case's `before`, those
 * to what was signed by its `after`. */
struct sample_parts {
    struct tc_statement statement;
    struct tc_userdata user_data;
    struct tc_sha384 pcrs[3]; /* of the attester */
    struct tc_sha384 pcr8;    /* zero: the image is not signed */
    bool other_binding;       /* PCR16 for another source */
    bool other_key;           /* the document names another key than the envelope's */
    bool no_user_data;
    uint8_t nonce[TC_WIRE_NONCE_MAX]; /* of the document */
    size_t nonce_size;

    struct tc_buf build_file, log, document, envelope, transcript, statement_json, outputs[2];
    bool omit_log, omit_statement, omit_document, omit_output[2];
    bool executable[2];
    const char *stranger; /* one more member at the end */
    const char *extra_output;
    const char *tail; /* bytes after the end */
};

typedef void sample_change(struct sample_parts *parts);

/* before and after may be NULL. */
void sample_parts_make(struct sample_parts *ret_parts, const struct sample_root *root,
                       sample_change *before, sample_change *after);
void sample_parts_free(struct sample_parts *parts);

/* The bundle as a memory file, at its start. */
int sample_bundle_fd(const struct sample_parts *parts);

#endif
