/* Sample bundles before the relying party, for the tests of its checks: an outcome is the exact
 * set of checks that fail, for no other may. */
#ifndef TC_TESTS_VERIFY_LAB_H
#define TC_TESTS_VERIFY_LAB_H

#include "assert_ok.h"
#include "bundle_sample.h"
#include "verify/verify.h"

/* That of all samples; make_root and remove_root are cmocka's, for the group. */
extern struct sample_root root;
int make_root(void **state);
int remove_root(void **state);

/* A sample with these changes as a file; either may be NULL. */
int bundle_fd(sample_change *before, sample_change *after);

/* The sample's root, and its image by the user's own word; test_verify_image.c has the lists. */
struct tc_verify_options default_options(void);

/* NULL: there is none, or the test fails. */
const struct tc_check *find_check(const struct tc_verdict *verdict, const char *name);
const struct tc_check *check_named(const struct tc_verdict *verdict, const char *name);
bool has_failed(const struct tc_check *check);

struct outcome {
    const char *failed[24]; /* names of the checks that must fail, NULL-terminated */
    enum tc_verdict_kind kind;
};
extern const struct outcome development; /* none fails */

/* options NULL: the default ones. ret_verdict may be NULL. */
void expect_outcome(sample_change *before, sample_change *after,
                    const struct tc_verify_options *options, const struct outcome *outcome,
                    struct tc_verdict *ret_verdict);

/* Changes that several tests make. Before signing: */
void debug_mode(struct sample_parts *parts);
void falsely_measured(struct sample_parts *parts);
void unmeasured(struct sample_parts *parts);
/* After it, or before: */
void detach(struct sample_parts *parts);
void add_output(struct sample_parts *parts);

#endif
